/*
 * The sockets of a survey: listeners for a moment, and tries to reach other hosts' (protocol/survey.h has the
 * orders and what is reported).
 *
 * A listener proves that it is this survey's by a keyed hash, so that nobody else on the way passes for it;
 * it takes nothing from whoever connects. A datagram proves its sender the same way and is only noted, never
 * answered. Nothing blocks. The agent owns one of these; reports come from reach_tick and reach_readable
 * alone, never from within reach_do. Times are CLOCK_BOOTTIME milliseconds, brought by the caller.
 */
#ifndef KPEER_REACH_H
#define KPEER_REACH_H

#include "protocol/err.h"
#include "protocol/survey.h"

struct reach;

typedef void reach_callback(void *ctx, const struct reach_report *report);

int reach_new(struct reach **out, reach_callback *callback, void *ctx, struct err *err);
void reach_free(struct reach *r);

/* Carries an order out. What cannot be opened is reported as such, and no error. */
void reach_do(struct reach *r, const struct reach_order *order, uint64_t now_ms);

/* Readable when there is work; the same for the whole life. */
int reach_fd(const struct reach *r);
void reach_readable(struct reach *r, uint64_t now_ms);

/* Looks at what only time changes. Returns when to call again at the latest. */
uint64_t reach_tick(struct reach *r, uint64_t now_ms);

#endif
