#pragma once
#include <stddef.h>

/// What to mount; every path is relative to `base`, which keeps any number of layers within the kernel's limits.
struct linux_overlay {
    const char *base;
    /// Lower directories, uppermost first. Without an upper directory the kernel asks for two at least.
    const char *const *lowers;
    size_t lower_count;
    /// NULL together with `work` for a read-only tree.
    const char *upper;
    const char *work;
    const char *target;
    /// An empty directory for short link names, for kernels that lack `lowerdir+` (before 6.5).
    const char *links;
};

/// Mounts an overlay. Returns 0, or an errno value; `*stage` then names the call that failed.
int linux_mount_overlay(const struct linux_overlay *overlay, const char **stage);

/// Unmounts `target`; when it is busy it is detached and goes away with its last user. Returns 0 or an errno value.
int linux_unmount(const char *target);
