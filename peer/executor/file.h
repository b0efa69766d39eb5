/*
 * Files as the executor reads and writes them: bounded, and atomically. Anybody in peer/executor may use this
 * module.
 */
#ifndef KPEER_FILE_H
#define KPEER_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "protocol/err.h"

/* Reads what is at `path`, at most `max` bytes, whatever size the file system tells (/proc tells none). *out
 * ends with a NUL that is not counted, and is the caller's to free. KPEER_ENOTFOUND: there is none;
 * KPEER_ELIMIT: larger than `max`; KPEER_EINVAL: not a regular file (symbolic links in its last part are
 * followed). */
int file_read(const char *path, size_t max, char **out, size_t *n, struct err *err);

/* Puts `n` bytes at `path` so that a crash leaves the old or the new file: new file, fsync, rename, fsync of
 * the folder. Owner and mode are as given; uid and gid -1 leave the caller's own. */
int file_put(const char *path, const void *bytes, size_t n, mode_t mode, uid_t uid, gid_t gid,
             struct err *err);

/* How a file is to look. */
struct file_look {
    mode_t mode;
    uid_t uid; /* -1: the caller's own */
    gid_t gid;
    bool dated; /* with this mtime, not that of the moment */
    struct timespec mtime;
};

/* As file_put, and the new file beside `path` always has the same name, so that file_sweep finds what a crash
 * left of it. For paths that one process at a time writes. */
int file_write(const char *path, const void *bytes, size_t n, const struct file_look *look, struct err *err);

/* Removes what a crash left of a file_write to `path`. */
int file_sweep(const char *path, struct err *err);

/* Removes the file and syncs its folder. Absent is success. */
int file_remove(const char *path, struct err *err);

/* Syncs the folder that `path` lies in, so that what was made or renamed there lasts. */
int file_sync_folder(const char *path, struct err *err);

/* Makes the folder `path` and the missing ones above it, with `mode` for the last and 0755 for the others. */
int file_make_dirs(const char *path, mode_t mode, struct err *err);

/* As file_make_dirs for the folder that `path` lies in. */
int file_make_parents(const char *path, struct err *err);

#endif
