/*
 * Where the agent may write, and what it may read (Landlock): a fence by paths that the kernel keeps for a
 * process which has no rights to spare. Made while root can still open the folders, put on afterwards. Only
 * the agent's start uses this module.
 */
#ifndef KPEER_LANDLOCK_H
#define KPEER_LANDLOCK_H

#include <stdbool.h>
#include <stddef.h>

#include "protocol/err.h"

enum landlock_use {
    LANDLOCK_READ,   /* a file, or what is below a folder, may be read */
    LANDLOCK_STORE,  /* a folder below which files are made, written, renamed, removed */
    LANDLOCK_REMOVE, /* a folder of which files may be removed */
};

struct landlock_path {
    const char *path; /* one that is not there is passed over */
    enum landlock_use use;
};

/* Makes the fence: everything but `paths` is outside. *fd is then handed to landlock_enter; -1, with 0
 * returned, where this kernel has no Landlock, or one in which files cannot be moved between folders (before
 * 5.19), or this build has none (as the system call filter). *abi: the kernel's version of it, 0 without. */
int landlock_make(const struct landlock_path *paths, size_t count, int *fd, int *abi, struct err *err);

/* Puts it on, on this thread and those that it starts, and closes `fd`; needs no_new_privs. Nothing with -1.
 */
int landlock_enter(int fd, struct err *err);

#endif
