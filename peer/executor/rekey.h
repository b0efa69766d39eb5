/*
 * The step that puts a rotated group key in the place of the older one. Which file that is stands in root's
 * own configuration, and only a later key of the same group is ever written.
 */
#ifndef KPEER_REKEY_H
#define KPEER_REKEY_H

#include "peer/executor/context.h"

/* Without a key file (the key came by another way) there is nothing to do. KPEER_EREFUSED: what is there is
 * no key, or that of another group; it is left as it is. */
int rekey(struct exec_ctx *ctx, const struct step *step, struct step_result *result, struct err *err);

#endif
