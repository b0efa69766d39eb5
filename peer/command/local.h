/*
 * A step on this host for a command, without an agent: the executor is started for this one step and ended
 * with it. `kpeer preflight` and `kpeer images` use it. Where an agent is at work too, the executor's own
 * turn keeps the two from changing the host at once.
 */
#ifndef KPEER_LOCAL_H
#define KPEER_LOCAL_H

#include "peer/config/config.h"
#include "protocol/err.h"
#include "protocol/step.h"

struct local_watch {
    void (*progress)(void *ctx, const struct step_progress *p); /* what the step tells; may be NULL */
    void (*idle)(void *ctx); /* some ten times a second while it runs, to draw; may be NULL */
    void *ctx;
};

/* Runs `step` (its id is set here) to its end. 0: *res holds its answer, a failure of the step itself
 * included (res->code, text, hint); step_result_fini is then due. A first SIGINT or SIGTERM cancels the step,
 * whose answer still comes; the caller's handlers are put back. Errors are of the executor itself: it could
 * not be started, or ended without an answer. */
int local_step(const struct config *cfg, const struct step *step, const struct local_watch *watch,
               struct step_result *res, struct err *err);

/* The error that the step's answer tells; 0 where it succeeded. */
int local_outcome(const struct step_result *res, struct err *err);

#endif
