/*
 * systemd's units: how they stand, and changing that so that it can be undone. Hosts without systemd have
 * none, which is no error. Used by this folder alone.
 */
#ifndef KPEER_HOST_UNIT_H
#define KPEER_HOST_UNIT_H

#include "peer/executor/context.h"
#include "peer/executor/host/parse_boot.h"

/* Whether systemd runs this host. */
bool unit_systemd(const struct exec_ctx *ctx);

/* How a unit stands; KPEER_ENOTFOUND: no systemd, or no such unit. */
int unit_read(struct exec_ctx *ctx, const char *name, struct parse_unit *unit, struct err *err);

/* active, activating and reloading are one: it runs, or is about to. */
bool unit_runs(const struct parse_unit *unit);

/* Whether it starts at boot. */
bool unit_enabled(const struct parse_unit *unit);

enum unit_wish { UNIT_ENABLED, UNIT_STARTED, UNIT_MASKED };

/* ENABLED: starts at boot; STARTED: that and runs now; MASKED: neither, whatever asks for it. Noted first;
 * nothing to do, nothing done. */
int unit_set(struct exec_ctx *ctx, const char *name, enum unit_wish wish, struct err *err);

/* Notes that the unit is to be restarted once what is changed next was put back. Then, after the change:
 * restarts it if it runs. */
int unit_note_restart(struct exec_ctx *ctx, const char *name, struct err *err);
int unit_restart(struct exec_ctx *ctx, const char *name, struct err *err);

/* The undoer of DEED_UNIT; `ctx` is the struct exec_ctx. */
int unit_undo(void *ctx, const struct journal_deed *d, enum journal_undone *how, struct err *err);

#endif
