/*
 * What `kpeer up` says when it is done: what was built, and what to type next. Commands are the only callers.
 */
#ifndef KPEER_OUTCOME_H
#define KPEER_OUTCOME_H

#include <jansson.h>
#include <stdbool.h>

#include "peer/command/progress.h"

struct outcome {
    const json_t *status, *members; /* the agent's answers to these questions; members may be NULL */
    long long took_ms;              /* how long `up` was at it */
    bool rehearsed;
    const char *flags; /* that every command for this agent needs, each after a blank; "" for none */
};

void outcome_tell(struct progress *p, const struct outcome *o);

#endif
