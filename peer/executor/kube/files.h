/*
 * Files that this folder reads and writes outside the journal: bounded reads, and documents that hold a
 * token.
 *
 * A private document lives in a folder of its own on the run folder (memory, on a usual host), mode 0600 in
 * 0700, for as long as one child needs it, and is overwritten before it is removed. Used by this folder
 * alone.
 */
#ifndef KPEER_KUBE_FILES_H
#define KPEER_KUBE_FILES_H

#include <stdbool.h>
#include <stddef.h>

#include "peer/executor/context.h"
#include "protocol/err.h"

#define FILES_PATH_BYTES  512
#define FILES_PRIVATE_DIR "/run/kpeer-private"

/* Reads a whole regular file of at most `max` bytes, absolute and below the context's root. *out is NUL-ended
 * and the caller's to free. KPEER_ENOTFOUND: no such file; KPEER_ELIMIT: larger than max. */
int files_read(const struct exec_ctx *ctx, const char *path, size_t max, char **out, size_t *n,
               struct err *err);

/* As files_read, but `path` is taken as it is: for a file that root's configuration names. */
int files_read_at(const char *path, size_t max, char **out, size_t *n, struct err *err);

/* Whether something is at `path` below the context's root. */
bool files_exists(const struct exec_ctx *ctx, const char *path);

/* `cleanup_private struct files_private doc = {0};` removes the document on leaving the scope. */
struct files_private {
    char path[FILES_PATH_BYTES];
    size_t bytes;
};
#define cleanup_private __attribute__((cleanup(files_private_remove)))

/* Writes a document; doc->path is then good for an argument vector. */
int files_private_write(const struct exec_ctx *ctx, const char *name, const char *bytes, size_t n,
                        struct files_private *doc, struct err *err);
void files_private_remove(struct files_private *doc);

/* Removes what a crash may have left in the private folder. */
void files_private_sweep(const struct exec_ctx *ctx);

/* Removes everything in the folder at `path` below the context's root, and the folder too where `itself`.
 * Does not follow symbolic links nor leave the file system it began on (a mount below is left alone). Absent
 * is success; the first failure is told, the rest is still tried. */
int files_remove_tree(const struct exec_ctx *ctx, const char *path, bool itself, struct err *err);

#endif
