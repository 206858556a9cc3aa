#define _GNU_SOURCE
#include "CLinuxProcess.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

const uint64_t clinux_resolve_confined = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
const uint64_t clinux_resolve_confined_no_links = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS;

const int clinux_o_path = O_PATH;
const long clinux_utime_omit = UTIME_OMIT;

// The thread that writes "0" moves itself, which takes no lock of the whole machine (cgroup_procs_write_start).
static int enter(const char *task_file) {
    int tasks = open(task_file, O_WRONLY | O_CLOEXEC);
    if (tasks < 0) return -1;
    ssize_t written = write(tasks, "0", 1);
    int error = errno;
    close(tasks);
    errno = error;
    return written == 1 ? 0 : -1;
}

// Runs between the fork and execve: system calls only, writes to nothing but the child's own stack. Gives errno.
static int become(const struct clinux_spawn_request *request) {
    struct sigaction standard = {.sa_handler = SIG_DFL};
    for (int number = 1; number < NSIG; number++) sigaction(number, &standard, NULL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (setsid() < 0) return errno;
    for (const char *const *file = request->task_files; file != NULL && *file != NULL; file++)
        if (enter(*file) < 0) return errno;
    if (request->detached_mounts != NULL) {
        if (unshare(CLONE_NEWNS) < 0) return errno;
        if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0) return errno;
        // A mount that has gone in the meantime needs no detaching.
        for (const char *const *path = request->detached_mounts; *path != NULL; path++) umount2(*path, MNT_DETACH);
    }
    if (request->directory != NULL && chdir(request->directory) < 0) return errno;
    // Move the three above 2 first, so that no dup2 overwrites one that is still needed.
    int moved[3];
    for (int i = 0; i < 3; i++) {
        moved[i] = fcntl(request->standard[i], F_DUPFD, 3);
        if (moved[i] < 0) return errno;
    }
    for (int i = 0; i < 3; i++)
        if (dup2(moved[i], i) < 0) return errno;
    if (syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC) < 0) return errno;
    execve(request->path, request->arguments, request->environment);
    return errno;
}

// A child that shares our memory until it has become the program.
static pid_t spawn_here(const struct clinux_spawn_request *request, int *failure) {
    volatile int error = 0;
    pid_t pid = vfork();
    if (pid == 0) {
        error = become(request);
        _exit(127);
    }
    *failure = error;
    return pid;
}

// A child born in another control group; vfork can't do that, so it has a copy of our memory and reports by a pipe.
static pid_t spawn_in_group(const struct clinux_spawn_request *request, int *failure) {
    int report[2];
    if (pipe2(report, O_CLOEXEC) < 0) return -1;
    struct clone_args how = {
        .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (uint64_t)request->group};
    pid_t pid = (pid_t)syscall(SYS_clone3, &how, sizeof how);
    if (pid == 0) {
        int error = become(request);
        (void)!write(report[1], &error, sizeof error);
        _exit(127);
    }
    int error = errno;
    close(report[1]);
    // Closed by execve, which is the end of a good start.
    if (pid > 0 && read(report[0], failure, sizeof *failure) < (ssize_t)sizeof *failure) *failure = 0;
    close(report[0]);
    errno = error;
    return pid;
}

pid_t clinux_spawn(const struct clinux_spawn_request *request, int *pidfd) {
    int failure = 0;
    sigset_t all, old;
    sigfillset(&all);
    // No handler of ours may run in the child while it shares our memory.
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pid_t pid = request->group < 0 ? spawn_here(request, &failure) : spawn_in_group(request, &failure);
    int error = errno;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (pid < 0) return -error;
    if (failure != 0) {
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {}
        return -failure;
    }
    int descriptor = (int)syscall(SYS_pidfd_open, pid, 0);
    if (descriptor < 0) {
        error = errno;
        kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {}
        return -error;
    }
    fcntl(descriptor, F_SETFD, FD_CLOEXEC);
    *pidfd = descriptor;
    return pid;
}

int clinux_reap(int pidfd) {
    siginfo_t info = {0};
    while (waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG) < 0)
        if (errno != EINTR) return -errno;
    if (info.si_pid == 0) return -EAGAIN;
    return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

int clinux_signal(int pidfd, int signal) {
    return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) < 0 ? -errno : 0;
}

int clinux_open_in(int root, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve) {
    struct open_how how = {.flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve};
    long result;
    // EAGAIN: a rename elsewhere raced with the confined lookup (openat2(2)).
    do result = syscall(SYS_openat2, root, path, &how, sizeof how);
    while (result < 0 && (errno == EINTR || errno == EAGAIN));
    return result < 0 ? -errno : (int)result;
}

int clinux_reflink(int target, int source) { return ioctl(target, FICLONE, source) < 0 ? -errno : 0; }

uint64_t clinux_device(uint32_t major, uint32_t minor) { return makedev(major, minor); }

int clinux_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC) < 0 ? -errno : 0; }

int clinux_accept(int listener) {
    int result = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    return result < 0 ? -errno : result;
}

int64_t clinux_delivery_rate(int socket, int *is_lower_bound) {
    struct tcp_info info;
    socklen_t size = sizeof info;
    *is_lower_bound = 0;
    if (getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) < 0) return -errno;
    // An older kernel tells less.
    if (size < offsetof(struct tcp_info, tcpi_delivery_rate) + sizeof info.tcpi_delivery_rate) return 0;
    *is_lower_bound = info.tcpi_delivery_rate_app_limited;
    return (int64_t)info.tcpi_delivery_rate;
}
