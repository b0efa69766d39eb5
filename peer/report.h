/*
 * What the user interface says about a node, as JSON trees with the names of the command line: pure functions
 * from the core's views and actions. The agent makes them, commands render them (writer.h).
 */
#ifndef KPEER_REPORT_H
#define KPEER_REPORT_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "discovery/discovery.h"
#include "protocol/node.h"

/* New references; NULL when out of memory. */
json_t *report_members(const struct node *node, uint64_t now_ms); /* {"group", "cluster", "members": […]} */
json_t *report_status(const struct node *node, uint64_t now_ms);

/* Adds to a status what discovery heard and dropped (DROP_COUNT counters), as "heard"; a host that looks for
 * others and hears only a group with another key is told so under "waiting". */
void report_heard(json_t *status, const uint64_t *dropped);

/* Adds to "heard" how many links were refused to unknown keys, and how often somebody was turned away who
 * opened too many connections. After report_heard. */
void report_links(json_t *status, uint64_t refused, uint64_t shut);

/* Adds to "signs" what is amiss in what is heard now, by its word, with the address it is about. */
void report_sign(json_t *status, enum discovery_sign sign, const char *address);

json_t *report_record(const struct record *record); /* null for NULL */

/* Whether an event of this kind is about a step, whose word is its name. */
bool report_is_step(enum event_kind kind);

/* One event: `act` is an ACT_EVENT. `wall_us` Unix time, `mono_us` CLOCK_BOOTTIME, both microseconds. */
json_t *report_event(const struct action *act, int64_t wall_us, uint64_t mono_us);

/* "2026-01-02T03:04:05.000006Z"; `out` holds 32. */
void report_time(int64_t wall_us, char out[static 32]);

/* The last events, for replay. */
struct event_ring;
int event_ring_new(struct event_ring **out, size_t capacity);
void event_ring_free(struct event_ring *ring);

/* Keeps a reference of its own; the oldest makes room. */
void event_ring_push(struct event_ring *ring, json_t *event);

/* Calls `fn` for each event with mono_us at or after `from_us`, oldest first; `event` is borrowed. */
void event_ring_replay(const struct event_ring *ring, uint64_t from_us, void (*fn)(void *ctx, json_t *event),
                       void *ctx);

#endif
