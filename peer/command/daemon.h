/*
 * Starting the agent for `kpeer up` and taking it away after `kpeer leave`: as a systemd unit where systemd
 * runs, else as a background process. A start that fails is told to the caller. Only commands call this
 * module.
 */
#ifndef KPEER_DAEMON_H
#define KPEER_DAEMON_H

#include <limits.h>
#include <stdbool.h>

#include "peer/command/command.h"

#define DAEMON_UNIT "kpeer.service"

/* The unit as packages bring it: kpeer.service beside this file. */
extern const char daemon_unit[];

/* Whether systemd would start the agent: it runs, we are root, and this is no rehearsal. */
bool daemon_has_systemd(const struct config *cfg);

/* The program that runs: kpeer itself. */
int daemon_own_path(char out[static PATH_MAX], struct err *err);

/* Starts the agent with the flags that `call` was given and waits until it answers or failed. `how` gets
 * "systemd unit kpeer.service" or "background process, log in …". */
int daemon_start(const struct call *call, char *how, size_t how_bytes, struct err *err);

/* Stops and disables the unit, and removes what `up` wrote of it; nothing where there is no systemd. */
int daemon_remove(const struct config *cfg, struct err *err);

/* Whether such a unit is there that would start an agent at the next boot, or that `up` wrote. */
bool daemon_is_set_up(const struct config *cfg);

/* Whether the unit runs an agent now. */
bool daemon_runs(const struct config *cfg);

/* The text, which the caller frees, of a unit that starts `program` with the flags and KPEER_ settings of the
 * environment that `up` was given; of what a drop-in adds to another unit for it. */
int daemon_unit_text(const struct call *call, const char *program, char *const *env, bool dropin, char **out,
                     struct err *err);

#endif
