#define _GNU_SOURCE
#include "overlay.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// From <sys/mount.h>, which clashes with <linux/mount.h>.
extern int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data);
extern int umount2(const char *target, int flags);
enum { detach = 2, no_follow = 8 };

// `volatile`: the upper directory is thrown away after a crash and made durable by the commit itself, so that neither
// fsync inside a step nor the unmount have to write back the whole file system.
// `redirect_dir=nofollow`: neither makes nor follows redirects, so that no layer's attribute can point elsewhere.
static const char *const settings[][2] = {
    {"index", "off"}, {"metacopy", "off"}, {"redirect_dir", "nofollow"}, {"xino", "off"}, {"nfs_export", "off"},
};
enum { settings_count = sizeof settings / sizeof settings[0] };

static int fs_config(int context, unsigned command, const char *key, const char *value) {
    return (int)syscall(SYS_fsconfig, context, command, key, value, 0);
}

// The mount API of Linux 6.5: one `lowerdir+` a layer, each at most 255 bytes.
static int mount_by_parameters(const struct linux_overlay *overlay, const char **stage) {
    *stage = "fsopen";
    int context = (int)syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC);
    if (context < 0) return errno;
    int error = 0;
    *stage = "fsconfig(lowerdir+)";
    for (size_t index = 0; index < overlay->lower_count && !error; index++)
        if (fs_config(context, FSCONFIG_SET_STRING, "lowerdir+", overlay->lowers[index])) error = errno;
    if (!error && overlay->upper) {
        *stage = "fsconfig(upperdir)";
        if (fs_config(context, FSCONFIG_SET_STRING, "upperdir", overlay->upper)
            || fs_config(context, FSCONFIG_SET_STRING, "workdir", overlay->work))
            error = errno;
        else if (fs_config(context, FSCONFIG_SET_FLAG, "volatile", NULL) && errno != EINVAL)
            error = errno;
    }
    // A setting that this kernel was built without is off anyway.
    for (int index = 0; index < settings_count && !error; index++)
        if (fs_config(context, FSCONFIG_SET_STRING, settings[index][0], settings[index][1]) && errno != EINVAL)
            error = errno;
    if (!error) {
        *stage = "fsconfig(create)";
        if (fs_config(context, FSCONFIG_CMD_CREATE, NULL, NULL)) error = errno;
    }
    int tree = -1;
    if (!error) {
        *stage = "fsmount";
        tree = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, overlay->upper ? 0 : MOUNT_ATTR_RDONLY);
        if (tree < 0) error = errno;
    }
    if (!error) {
        *stage = "move_mount";
        if (syscall(SYS_move_mount, tree, "", AT_FDCWD, overlay->target, MOVE_MOUNT_F_EMPTY_PATH)) error = errno;
    }
    if (tree >= 0) close(tree);
    close(context);
    return error;
}

// Before 6.5 all options share one page: short symbolic links make 500 layers fit.
static int mount_by_links(const struct linux_overlay *overlay, const char **stage) {
    char options[4096];
    char target[512], name[32];
    size_t used = (size_t)snprintf(options, sizeof options, "lowerdir=");
    int links = open(overlay->links, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *stage = "open(links)";
    if (links < 0) return errno;
    int error = 0;
    *stage = "symlinkat";
    for (size_t index = 0; index < overlay->lower_count && !error; index++) {
        snprintf(name, sizeof name, "%zx", index);
        snprintf(target, sizeof target, "../../../%s", overlay->lowers[index]);
        if (symlinkat(target, links, name)) error = errno;
        int length = snprintf(options + used, sizeof options - used, index ? ":%s" : "%s", name);
        used += (size_t)length;
        if (used >= sizeof options) error = E2BIG;
    }
    if (!error && overlay->upper) {
        snprintf(target, sizeof target, "../../../%s", overlay->upper);
        if (symlinkat(target, links, "u")) error = errno;
        snprintf(target, sizeof target, "../../../%s", overlay->work);
        if (!error && symlinkat(target, links, "w")) error = errno;
        used += (size_t)snprintf(options + used, sizeof options - used, ",upperdir=u,workdir=w");
        if (used >= sizeof options) error = E2BIG;
    }
    size_t plain = used;
    for (int index = 0; index < settings_count && used < sizeof options; index++)
        used += (size_t)snprintf(
            options + used, sizeof options - used, ",%s=%s", settings[index][0], settings[index][1]);
    if (used >= sizeof options) options[plain] = 0;
    if (!error) {
        snprintf(target, sizeof target, "../../../%s", overlay->target);
        *stage = "chdir(links)";
        if (fchdir(links)) error = errno;
    }
    unsigned long flags = overlay->upper ? 0 : 1 /* MS_RDONLY */;
    *stage = "mount";
    if (!error && mount("overlay", target, "overlay", flags, options)) {
        error = errno;
        if (error == EINVAL) {  // One of the settings is unknown here.
            options[plain] = 0;
            error = mount("overlay", target, "overlay", flags, options) ? errno : 0;
        }
    }
    close(links);
    return error;
}

struct request {
    const struct linux_overlay *overlay;
    const char *stage;
    int error;
};

static void *run(void *argument) {
    struct request *request = argument;
    // The working directory is the process's unless this thread leaves the sharing.
    request->stage = "unshare(CLONE_FS)";
    if (unshare(CLONE_FS)) return request->error = errno, NULL;
    request->stage = "chdir";
    if (chdir(request->overlay->base)) return request->error = errno, NULL;
    request->error = mount_by_parameters(request->overlay, &request->stage);
    int is_old_kernel = request->error == ENOSYS
        || (request->error == EINVAL && strcmp(request->stage, "fsconfig(lowerdir+)") == 0);
    if (is_old_kernel) request->error = mount_by_links(request->overlay, &request->stage);
    return NULL;
}

int linux_mount_overlay(const struct linux_overlay *overlay, const char **stage) {
    struct request request = {.overlay = overlay, .stage = "", .error = 0};
    pthread_t thread;
    *stage = "pthread_create";
    int error = pthread_create(&thread, NULL, run, &request);
    if (error) return error;
    pthread_join(thread, NULL);
    *stage = request.stage;
    return request.error;
}

int linux_unmount(const char *target) {
    if (umount2(target, no_follow) == 0) return 0;
    if (errno != EBUSY) return errno;
    return umount2(target, no_follow | detach) ? errno : 0;
}
