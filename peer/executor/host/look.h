/*
 * Looking at a host below the configured root. Used by this folder alone.
 */
#ifndef KPEER_HOST_LOOK_H
#define KPEER_HOST_LOOK_H

#include <stdbool.h>
#include <stddef.h>

#include "peer/executor/context.h"

#define LOOK_TEXT_MAX (1024 * 1024) /* /proc/net/tcp of a busy host fits */

/* The text of a file, or NULL where there is none that can be read; the caller frees it. */
char *look_text(const struct exec_ctx *ctx, const char *path);

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
