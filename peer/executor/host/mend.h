/*
 * Changing a host below the configured root, as the fixes of this folder do it: files through the journal,
 * programs through their configured paths. Used by this folder alone.
 */
#ifndef KPEER_HOST_MEND_H
#define KPEER_HOST_MEND_H

#include "peer/executor/context.h"

/* Puts a text at `path` (absolute, below the root) through the journal; a file that is there keeps its mode,
 * a new one gets `mode`. */
int mend_file(struct exec_ctx *ctx, const char *path, const char *text, size_t n, mode_t mode,
              struct err *err);

/* Sets a kernel setting, "/proc/sys/...", through the journal. */
int mend_sysctl(struct exec_ctx *ctx, const char *path, const char *value, struct err *err);

/* Runs a tool quietly to its end; `argv` as in struct exec_run. Below another root the tools that are not
 * configured do not exist, or a test would change the machine. spawn_result_fini is due in any case. */
int mend_run(struct exec_ctx *ctx, enum executor_tool tool, const char *const *argv, bool read_only,
             struct spawn_result *res, struct err *err);

/* The same where the output does not matter. */
int mend_do(struct exec_ctx *ctx, enum executor_tool tool, const char *const *argv, struct err *err);

#endif
