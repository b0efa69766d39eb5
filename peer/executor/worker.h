/*
 * One step, carried out: what a worker process does from its fork to its exit. The executor alone uses this
 * module.
 */
#ifndef KPEER_WORKER_H
#define KPEER_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "peer/executor/context.h"
#include "protocol/step.h"

/* Whether the kind changes this host: such steps run one after the other, and are noted in the journal. */
bool worker_changes_host(enum step_kind kind);

/* The time limit of a step in milliseconds: what the asker wants, at most an hour, else the kind's own. */
uint32_t worker_limit_ms(const struct step *step);

/* Carries out a step that step_check has passed, in this process, and fills the result, which the caller ends
 * with step_result_fini. Progress goes to `progress`. */
void worker_run(const struct executor_config *cfg, const struct step *step,
                void (*progress)(void *arg, const struct step_progress *p), void *progress_arg,
                struct step_result *result);

/* A result that says a step failed, its texts made fit for a frame. */
void worker_fail(struct step_result *result, uint32_t id, enum step_kind kind, const struct err *err);

#endif
