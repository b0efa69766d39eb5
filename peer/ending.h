/*
 * How the last agent of this host ended: two lines, what failed and what to do, in the run folder, where they
 * survive a full disk. The agent writes them (agent.c); the commands read them where no agent answers, so
 * that `kpeer status` names the cause also when there is nobody to ask. A new start of an agent takes them
 * back.
 */
#ifndef KPEER_ENDING_H
#define KPEER_ENDING_H

#include "protocol/err.h"

/* Opens the file in the run folder, which must be there, while there is still the right to. Returns a
 * descriptor for ending_tell, or a negative code. */
int ending_open(const char *run_dir, struct err *err);

/* Replaces what the file says by `why`, or empties it (NULL). Failing to is of no consequence for the agent.
 */
void ending_tell(int fd, const struct err *why);

/* Reads what the last agent left: text and hint of `out`, whose code stays. KPEER_ENOTFOUND: nothing is told.
 * The text comes from the agent's user, not from root. */
int ending_read(const char *run_dir, struct err *out);

#endif
