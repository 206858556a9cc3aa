#define _GNU_SOURCE
#include "filesystem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

int linux_open_beneath(int root, const char *path, int flags, mode_t mode) {
    struct open_how how = {
        .flags = (uint64_t)(flags | O_CLOEXEC),
        .mode = (flags & O_CREAT) ? mode : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    int result;
    // EAGAIN: a rename elsewhere raced with the lookup (openat2(2)).
    do result = (int)syscall(SYS_openat2, root, path, &how, sizeof how);
    while (result < 0 && (errno == EAGAIN || errno == EINTR));
    return result;
}

ssize_t linux_getdents(int directory, void *buffer, size_t size) {
    return syscall(SYS_getdents64, directory, buffer, size);
}

int linux_syncfs(int descriptor) { return syncfs(descriptor); }
int linux_start_writeback(int descriptor) { return sync_file_range(descriptor, 0, 0, SYNC_FILE_RANGE_WRITE); }
off_t linux_seek_data(int descriptor, off_t offset) { return lseek(descriptor, offset, SEEK_DATA); }
off_t linux_seek_hole(int descriptor, off_t offset) { return lseek(descriptor, offset, SEEK_HOLE); }

ssize_t linux_copy_file_range(int from, off_t *from_offset, int to, off_t *to_offset, size_t length) {
    return copy_file_range(from, from_offset, to, to_offset, length, 0);
}

int linux_clone_file(int from, int to) { return ioctl(to, FICLONE, from); }

const int linux_open_path_flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;

uint32_t linux_device_major(uint64_t device) { return major(device); }
uint32_t linux_device_minor(uint64_t device) { return minor(device); }
uint64_t linux_make_device(uint32_t major_number, uint32_t minor_number) { return makedev(major_number, minor_number); }

ssize_t linux_lgetxattr(const char *path, const char *name, void *value, size_t size) {
    return lgetxattr(path, name, value, size);
}
ssize_t linux_llistxattr(const char *path, char *list, size_t size) { return llistxattr(path, list, size); }
int linux_lsetxattr(const char *path, const char *name, const void *value, size_t size) {
    return lsetxattr(path, name, value, size, 0);
}
int linux_lremovexattr(const char *path, const char *name) { return lremovexattr(path, name); }
ssize_t linux_fgetxattr(int descriptor, const char *name, void *value, size_t size) {
    return fgetxattr(descriptor, name, value, size);
}
ssize_t linux_flistxattr(int descriptor, char *list, size_t size) { return flistxattr(descriptor, list, size); }
int linux_fsetxattr(int descriptor, const char *name, const void *value, size_t size) {
    return fsetxattr(descriptor, name, value, size, 0);
}
int linux_fremovexattr(int descriptor, const char *name) { return fremovexattr(descriptor, name); }
