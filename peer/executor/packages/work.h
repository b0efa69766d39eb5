/*
 * The folder in which packages are found and fetched, and apt as it is run over it.
 *
 * apt's lists, archives and sources for the time of an installation lie here, in place of those below
 * /var/lib/apt, /var/cache/apt and /etc/apt, which stay as they are. Used by this folder alone.
 */
#ifndef KPEER_PACKAGES_WORK_H
#define KPEER_PACKAGES_WORK_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "peer/executor/context.h"
#include "peer/executor/packages/apt_parse.h"

#define WORK_DIR "/var/cache/kpeer-packages"

/* Arguments for a program of apt's that runs without the folder: it leaves no cache behind. */
#define WORK_NO_TRACE                                                                                        \
    "-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=", "-o", "DPkg::Lock::Timeout=300"

struct work {
    struct exec_ctx *ctx;
    char dir[PATH_MAX / 2]; /* WORK_DIR below the configured root */
    bool offline;           /* packages come from a folder: no source of the host's is asked */
    bool all_fresh;         /* the host's own sources were refreshed in this run */
    char source[768];       /* the line for /etc/apt/sources.list.d; empty: none is needed there */
    uint8_t *key;           /* its key, binary */
    size_t key_bytes;
};

/* Which sources apt sees: Kubernetes' own repository, or that and all of the host's. */
enum work_sources { WORK_OWN, WORK_ALL };

/* Notes in the journal that the folder is to come: a power cut may leave it behind. */
int work_note(struct exec_ctx *ctx, struct err *err);

/* Makes the folder anew, with the host's lists to begin with. work_close removes it, unless
 * dpkg was cut off. */
int work_open(struct exec_ctx *ctx, struct work *w, struct err *err);
void work_close(struct work *w);

/* Removes the folder, with all in it. Absent is success. */
int work_remove(const struct exec_ctx *ctx, struct err *err);

/* Whether there is one, which is so only while packages are installed, and after a power cut meanwhile. */
bool work_is_there(const struct exec_ctx *ctx);

/* Writes a file of the folder. */
int work_put(const struct work *w, const char *name, const void *bytes, size_t n, struct err *err);

/* "<folder>/<name>" */
int work_path(const struct work *w, const char *name, char *out, size_t out_bytes, struct err *err);

/* Runs one of apt's programs: `args` NULL-ended, without the program's name. `what` begins the error's text;
 * a failure is condensed by apt_parse_failure. Output is not told, but for the progress of a run that is not
 * quiet. spawn_result_fini is due in any case. */
struct work_run {
    enum executor_tool tool;
    enum work_sources sources;
    const char *const *args;
    const char *what;
    uint32_t timeout_ms; /* 0: what is left of the step's time */
    bool quiet;
};
int work_apt(struct work *w, const struct work_run *run, struct spawn_result *res, struct err *err);

/* Fetches the lists of Kubernetes' repository, where any failure is one, or those of all sources, where what
 * is needed may still be there. */
int work_refresh(struct work *w, enum work_sources sources, struct err *err);

/* "apt-cache madison NAME"; the caller frees *out. */
int work_madison(struct work *w, enum work_sources sources, const char *name, char **out, struct err *err);

#endif
