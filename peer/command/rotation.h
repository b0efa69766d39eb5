/*
 * What `key rotate` and `evict` have in common: both ask the master's agent for a new group key, and wait
 * until the group goes by it.
 */
#ifndef KPEER_ROTATION_H
#define KPEER_ROTATION_H

#include <jansson.h>

#include "peer/command/command.h"

/* Asks the agent for `what`; takes `args` over. */
int rotation_ask(struct call *call, const char *what, json_t *args, struct err *err);

#endif
