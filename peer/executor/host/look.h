/*
 * Looking at a host below the configured root. Used by this folder alone.
 */
#ifndef KPEER_HOST_LOOK_H
#define KPEER_HOST_LOOK_H

#include <stdbool.h>
#include <stddef.h>

#include "peer/executor/context.h"

#define LOOK_NAMES_MAX 512
#define LOOK_TEXT_MAX  (1024 * 1024) /* /proc/net/tcp of a busy host fits */

/* The text of a file, or NULL where there is none that can be read; the caller frees it. */
char *look_text(const struct exec_ctx *ctx, const char *path);

/* As look_text, with its length and why it cannot be read; KPEER_ENOTFOUND: there is none. */
int look_read(const struct exec_ctx *ctx, const char *path, char **text, size_t *n, struct err *err);

/* The text of the file `name` in a folder, as look_text. */
char *look_in(const struct exec_ctx *ctx, const char *dir, const char *name);

/* The names in a folder that end with `suffix`, sorted bytewise, at most LOOK_NAMES_MAX; free with
 * look_names_free. A folder that is not there has none. */
struct look_names {
    char *names[LOOK_NAMES_MAX];
    size_t count;
};
void look_list(const struct exec_ctx *ctx, const char *dir, const char *suffix, struct look_names *out);
void look_names_free(struct look_names *names);

/* Its first line without blanks round it; empty where there is none. False: not there or too long. */
bool look_line(const struct exec_ctx *ctx, const char *path, char *out, size_t out_bytes);

bool look_exists(const struct exec_ctx *ctx, const char *path);
bool look_socket(const struct exec_ctx *ctx, const char *path);

/* Whether the folder has an entry whose name contains `part` ("" for any); its name goes into out. */
bool look_entry(const struct exec_ctx *ctx, const char *dir, const char *part, char *out, size_t out_bytes);

/* The container runtime whose socket is there: "containerd", "cri-o", "cri-dockerd", or NULL. */
const char *look_runtime(const struct exec_ctx *ctx);

/* Asks a program for its version ("v1.20.2"); KPEER_ENOTFOUND: no such program. */
int look_version(struct exec_ctx *ctx, const char *program, const char *const *argv, char *out,
                 size_t out_bytes, struct err *err);

#endif
