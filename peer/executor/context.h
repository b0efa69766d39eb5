/*
 * What the functions that carry out a step work with: the configuration, the journal and a way to tell how it
 * goes.
 *
 * A context belongs to one worker process and one step. host/ and kube/ get it from the executor; nobody
 * makes one but the executor and tests.
 */
#ifndef KPEER_CONTEXT_H
#define KPEER_CONTEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "peer/executor/executor.h"
#include "peer/executor/journal.h"
#include "peer/executor/spawn.h"
#include "protocol/clock.h"
#include "protocol/err.h"
#include "protocol/step.h"

struct exec_ctx {
    const struct executor_config *cfg;
    struct journal *journal;
    bool dry_run;         /* change nothing, say what would be done through exec_say */
    bool is_root;         /* whether this process has root's rights over the host */
    uint64_t deadline_ms; /* CLOCK_BOOTTIME milliseconds by which the step must be done */
    uint32_t step_id;
    enum step_kind kind;
    /* Tells something worth showing; set by the executor, a collector in tests. */
    void (*progress)(void *arg, const struct step_progress *p);
    void *progress_arg;
};

/* Tells a phase and a line (printf style; escaped, capped). `phase` may be NULL or empty, percent -1. Never a
 * secret. */
void exec_say(struct exec_ctx *ctx, const char *phase, int32_t percent, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* As spawn_request.on_line with ctx = the struct exec_ctx: each line becomes progress. */
void exec_on_line(void *ctx, bool is_stderr, const char *line);

/* Tells a document that a rehearsal would use, a line at a time. `what` names it. */
void exec_say_document(struct exec_ctx *ctx, const char *what, const char *text);

/* The program to run for `tool`: the configured path, or its name. Never NULL; good for
 * spawn_request.program. */
const char *exec_tool(const struct exec_ctx *ctx, enum executor_tool tool);

/* Milliseconds left until the step's deadline; 0 once it has passed. */
uint32_t exec_left_ms(const struct exec_ctx *ctx);

/* Runs a tool with the step's remaining time as limit and its output as progress; argv[0] is filled in:
 * argv[0] of `argv` must be there and may be "". In dry_run it tells the command and returns 0 with empty
 * output and status 0. `input`, `kubeconfig`, `env` and `secret_output` as in struct spawn_request. Errors as
 * spawn_check. */
struct exec_run {
    enum executor_tool tool;
    const char *const *argv; /* NULL-ended; argv[0] is ignored and replaced by the tool's name */
    const void *input;
    size_t input_bytes;
    const char *kubeconfig;
    const char *const *env; /* as in struct spawn_request */
    /* In place of exec_on_line; gets the struct exec_ctx. */
    void (*on_line)(void *ctx, bool is_stderr, const char *line);
    uint32_t timeout_ms; /* 0: what is left of the step's time */
    bool secret_output;
    bool quiet;     /* its output is not progress (a query) */
    bool constant;  /* as in struct spawn_request */
    bool read_only; /* changes nothing: run in dry_run too */
};
int exec_run(struct exec_ctx *ctx, const struct exec_run *run, struct spawn_result *res, struct err *err);

/* "/etc/kubernetes" below the configured root: `path` is absolute, the answer goes into out[PATH_MAX-like
 * size]. */
int exec_path(const struct exec_ctx *ctx, const char *path, char *out, size_t out_bytes, struct err *err);

/* Waits up to `ms` or until the step is cancelled or its deadline is there: between two looks at a condition
 * that nothing announces. 0, or KPEER_ETIMEOUT, KPEER_ECANCELED. */
int exec_pause(struct exec_ctx *ctx, uint32_t ms, struct err *err);

#endif
