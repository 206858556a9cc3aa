#pragma once

#include <sys/types.h>
#include <sys/xattr.h>

/// Opens `path` below the directory `root` with openat2(2): never above it, never through a symbolic link.
///
/// `O_CLOEXEC` is added to `flags`. Returns a descriptor, or the negative error number.
int pb_open_beneath(int root, const char *path, int flags, mode_t mode);
