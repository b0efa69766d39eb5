/*
 * The one way in which the executor runs a program.
 *
 * A program gets an argument vector (no shell), an environment of PATH, HOME, LANG and what a request names,
 * its input from memory, a process group of its own and a time limit. Its output is handed on line by line,
 * escaped and capped, and kept up to a bound. A run ends when both pipes are at their end and the child is
 * reaped; a grandchild that keeps a pipe open delays that by SPAWN_LINGER_MS at most. Only the executor's
 * workers may call this module, and `kpeer report`.
 */
#ifndef KPEER_SPAWN_H
#define KPEER_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/err.h"

#define SPAWN_PATH       "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define SPAWN_ENV_MAX    8
#define SPAWN_LINE_BYTES 256 /* a line as told to on_line, with its NUL; the rest of a line is cut */
#define SPAWN_KEEP_BYTES (8 * 1024 * 1024) /* the most that is kept of each stream */
#define SPAWN_GRACE_MS   5000              /* from TERM to KILL, where a request says nothing else */
#define SPAWN_LINGER_MS  1000              /* how long a pipe may stay open after the child was reaped */

struct spawn_request {
    const char *program;     /* a name found on SPAWN_PATH, or an absolute path */
    const char *const *argv; /* NULL-ended, argv[0] included */
    const void *input;       /* its stdin; NULL: empty. Borrowed */
    size_t input_bytes;
    const char *kubeconfig; /* the value of KUBECONFIG; NULL: not set */
    const char *const *env; /* further NAME=VALUE, NULL-ended, SPAWN_ENV_MAX at most; NULL: none */
    uint32_t timeout_ms;    /* 0: none of its own (the step's limit still holds) */
    uint32_t grace_ms;      /* from TERM to KILL; 0: SPAWN_GRACE_MS, which no step may exceed */
    bool constant; /* a query whose answer hangs on the program and its arguments alone: one of the last half
                      minute will do (answers.h); on_line is not called for such a one */
    bool secret_output; /* output holds a secret: on_line is not called, the copies are wiped */
    void (*on_line)(void *ctx, bool is_stderr,
                    const char *line); /* may be NULL; `line` has no control characters */
    void *ctx;
};

struct spawn_result {
    int exit_status; /* of a child that ended by itself; -1 otherwise */
    int signal;      /* which signal ended it, or 0 */
    char *out;       /* stdout as it came, NUL-ended, never NULL after a run */
    size_t out_bytes;
    char *errout; /* stderr likewise */
    size_t errout_bytes;
    bool truncated; /* a stream was longer than SPAWN_KEEP_BYTES; its first part is kept */
    bool secret;
};

/* Runs a program to its end. 0 when it ran and ended by itself, whatever its exit status: look at `res`.
 * Errors: KPEER_ENOTFOUND no such program, KPEER_EIO it could not be started (errno in the text) or a signal
 * ended it, KPEER_ETIMEOUT its group was ended by TERM, grace, KILL, KPEER_ECANCELED (spawn_cancel) likewise,
 * KPEER_ENOMEM. Initialises `res` in any case; spawn_result_fini is due after each call. */
int spawn_run(const struct spawn_request *req, struct spawn_result *res, struct err *err);

/* As spawn_run; an exit status other than 0 is KPEER_EIO too, the text naming the program, the status and the
 * last line of its stderr (not where output is secret). */
int spawn_check(const struct spawn_request *req, struct spawn_result *res, struct err *err);

/* Ends the run that is under way in this process, and refuses later ones. Async-signal-safe. */
void spawn_cancel(void);

/* Whether spawn_cancel was called in this process. */
bool spawn_canceled(void);

/* Lets this process run programs again: for what is taken away in any ending. A later spawn_cancel counts. */
void spawn_uncancel(void);

/* Waits `ms` milliseconds, or until spawn_cancel is called: then KPEER_ECANCELED. */
int spawn_pause(uint32_t ms, struct err *err);

/* Frees the output, wiped first where it was secret. */
void spawn_result_fini(struct spawn_result *res);

/* Copies `n` bytes as printable text: control characters and what is not UTF-8 become \xNN, a tab a space;
 * cut to fit. Always NUL-ended. */
void spawn_escape(char *dst, size_t dst_bytes, const char *src, size_t n);

/* Where `program` is: itself if it is an absolute path of an executable file, else the first match on
 * SPAWN_PATH. KPEER_ENOTFOUND names the program. */
int spawn_find(const char *program, char *path, size_t path_bytes, struct err *err);

#endif
