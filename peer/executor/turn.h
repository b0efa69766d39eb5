/*
 * Whose turn it is to change the host. One executor runs its steps in order; but an agent that was killed
 * leaves an executor that is still ending its step while the next agent's executor begins. A step that
 * changes the host therefore holds a lock in the state folder from before it looks at the journal until its
 * process ends. The workers (worker.c) alone use this module.
 */
#ifndef KPEER_TURN_H
#define KPEER_TURN_H

#include "peer/executor/context.h"

/* Waits until no other executor's step changes this host, and says so where it has to. *fd holds the turn
 * until it is closed. Errors: KPEER_EIO, and those of exec_pause. */
int turn_take(struct exec_ctx *ctx, int *fd, struct err *err);

#endif
