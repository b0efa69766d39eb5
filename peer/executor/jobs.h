/*
 * The executor's jobs: which steps wait, run or have ended, and their worker processes.
 *
 * A worker is forked for each step, leads a session of its own and answers over a socket pair of its own; its
 * result goes on to the agent once it is reaped. The executor's loop alone uses this module.
 */
#ifndef KPEER_JOBS_H
#define KPEER_JOBS_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "peer/executor/executor.h"
#include "protocol/step.h"

#define JOBS_MAX 64

enum job_state { JOB_FREE, JOB_QUEUED, JOB_RUNNING, JOB_DONE };

struct job {
    enum job_state state;
    uint64_t order; /* of arrival */
    uint32_t id;
    enum step_kind kind;
    uint8_t *frame; /* the step as it came; may hold a token, so it is wiped */
    size_t frame_bytes;
    struct step step; /* borrows from frame */
    pid_t pid;
    int fd;           /* the worker's end of talk; -1 */
    bool reaped;      /* the worker is gone; its last words may still be in fd */
    int status;       /* as waitpid gave it */
    uint64_t end_ms;  /* when it should have ended by itself, with what it needs to say so */
    uint64_t kill_ms; /* once told to end: when its session is killed; 0: not told */
    int why;          /* KPEER_ECANCELED, KPEER_ETIMEOUT, or 0 */
    uint64_t begun_ms;
    uint8_t *result; /* JOB_DONE, or what a running worker has answered already */
    size_t result_bytes;
};

struct jobs {
    const struct executor_config *cfg;
    struct job job[JOBS_MAX];
    uint64_t next_order;
    uint64_t refused; /* frames that were dropped */
    /* Tells the agent a frame that may be lost (progress). */
    void (*tell)(void *ctx, const uint8_t *bytes, size_t n);
    void *ctx;
};

void jobs_init(struct jobs *jobs, const struct executor_config *cfg,
               void (*tell)(void *ctx, const uint8_t *bytes, size_t n), void *ctx);
void jobs_fini(struct jobs *jobs);

/* Takes a step frame over: it waits, or its refusal is its result. Malformed frames, numbers in use and one
 * step too many are errors, after which there is no result. */
int jobs_add(struct jobs *jobs, const uint8_t *bytes, size_t n, struct err *err);

/* Stops a step. Its result still comes. A step that is not there is no error: it has just ended. */
void jobs_cancel(struct jobs *jobs, uint32_t id);
void jobs_cancel_all(struct jobs *jobs);

/* Starts what may start now. */
void jobs_start(struct jobs *jobs);

/* Collects workers that have ended. */
void jobs_reap(struct jobs *jobs);

/* Ends what is over its time; returns milliseconds until it is to be called again, -1: no need. */
int jobs_tick(struct jobs *jobs);

/* The workers' descriptors: fills `fds` and returns how many; then reads from those that poll says are ready.
 */
size_t jobs_poll(const struct jobs *jobs, struct pollfd fds[static JOBS_MAX]);
void jobs_read(struct jobs *jobs, const struct pollfd *fds, size_t count);

/* A job whose result is to be told to the agent, or NULL; jobs_told frees it. The earliest first. */
struct job *jobs_done(struct jobs *jobs);
void jobs_told(struct job *job);

/* Whether any worker runs. */
bool jobs_running(const struct jobs *jobs);

#endif
