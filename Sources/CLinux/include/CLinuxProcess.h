#pragma once
// Processes by pidfd, and path resolution confined to a directory. System calls only, no decisions.

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// What a new process gets. Every field is used as it is; NULL lists are empty.
struct clinux_spawn_request {
    const char *path;
    char *const *arguments;
    char *const *environment;
    /// Becomes the working directory.
    const char *directory;
    /// Become descriptors 0, 1 and 2; every other descriptor is closed.
    int standard[3];
    /// Mounts to detach in a private mount namespace before the program starts, NULL terminated. NULL: no namespace.
    const char *const *detached_mounts;
    /// Files to which the process writes "0" before anything else: `tasks` of v1 control groups, NULL terminated. NULL: none.
    const char *const *task_files;
    /// Directory of the v2 control group in which the process is born; negative: in ours.
    int group;
};

/// Starts a process in a session of its own with default signal handling. Returns its pid and stores a pidfd, or returns
/// -errno of the call that failed, that of execve too.
pid_t clinux_spawn(const struct clinux_spawn_request *request, int *pidfd);

/// A rule of what processes of a control group may do with device nodes.
struct clinux_device_rule {
    /// BPF_DEVCG_DEV_ and BPF_DEVCG_ACC_ bits of linux/bpf.h.
    uint32_t type, access;
    /// Negative: any.
    int64_t major, minor;
};

/// Lets processes of a v2 control group only do what a rule allows (a BPF_PROG_TYPE_CGROUP_DEVICE program); 0 or -errno.
int clinux_restrict_devices(int group, const struct clinux_device_rule *rules, size_t count);

/// Reaps the process behind a pidfd that has become readable: exit code, or 128 + signal; -errno if it still runs.
int clinux_reap(int pidfd);

/// Sends a signal to the process behind a pidfd; 0 or -errno.
int clinux_signal(int pidfd, int signal);

/// openat2 with RESOLVE_ constants of linux/openat2.h; a descriptor or -errno.
int clinux_open_in(int root, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve);

/// RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS, and with RESOLVE_NO_SYMLINKS.
extern const uint64_t clinux_resolve_confined;
extern const uint64_t clinux_resolve_confined_no_links;

/// Shares the whole content of one file with another (FICLONE); 0 or -errno.
int clinux_reflink(int target, int source);

/// O_PATH, which only GNU sources see.
extern const int clinux_o_path;

/// UTIME_OMIT: leaves a time as it is.
extern const long clinux_utime_omit;

/// makedev, a macro in C.
uint64_t clinux_device(uint32_t major, uint32_t minor);

/// pipe2 and accept4 with CLOEXEC, which only GNU sources see; 0 or a descriptor, or -errno.
int clinux_pipe(int ends[2]);
int clinux_accept(int listener);

/// tcpi_delivery_rate of a TCP socket, bytes a second, 0 before anything was measured, or -errno. `is_lower_bound` is set
/// when the sender had too little to send, so that the network may carry more.
int64_t clinux_delivery_rate(int socket, int *is_lower_bound);
