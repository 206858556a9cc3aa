#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// System calls that libc's headers hide behind _GNU_SOURCE or that have no wrapper. All return -1 with errno set on
// failure, as the calls themselves do.

/// Opens `path` below `root` and refuses to leave it or to follow any symbolic link (openat2, RESOLVE_BENEATH).
int linux_open_beneath(int root, const char *path, int flags, mode_t mode);

/// Raw directory records (getdents64).
ssize_t linux_getdents(int directory, void *buffer, size_t size);

/// Writes back everything dirty on the file system that holds `descriptor`.
int linux_syncfs(int descriptor);

/// Starts to write back a file's dirty pages, so that syncing several files later takes one journal commit, not one each.
int linux_start_writeback(int descriptor);

/// Next offset at or after `offset` that holds data; ENXIO when only a hole follows.
off_t linux_seek_data(int descriptor, off_t offset);
/// Next offset at or after `offset` that is a hole; the end of the file counts as one.
off_t linux_seek_hole(int descriptor, off_t offset);

/// Copies by reference where the file system can, by bytes in the kernel otherwise.
ssize_t linux_copy_file_range(int from, off_t *from_offset, int to, off_t *to_offset, size_t length);
/// Shares all extents of `from` with `to` (FICLONE).
int linux_clone_file(int from, int to);

/// O_PATH | O_NOFOLLOW | O_CLOEXEC.
extern const int linux_open_path_flags;

uint32_t linux_device_major(uint64_t device);
uint32_t linux_device_minor(uint64_t device);
uint64_t linux_make_device(uint32_t major, uint32_t minor);

ssize_t linux_lgetxattr(const char *path, const char *name, void *value, size_t size);
ssize_t linux_llistxattr(const char *path, char *list, size_t size);
int linux_lsetxattr(const char *path, const char *name, const void *value, size_t size);
int linux_lremovexattr(const char *path, const char *name);
ssize_t linux_fgetxattr(int descriptor, const char *name, void *value, size_t size);
ssize_t linux_flistxattr(int descriptor, char *list, size_t size);
int linux_fsetxattr(int descriptor, const char *name, const void *value, size_t size);
int linux_fremovexattr(int descriptor, const char *name);
