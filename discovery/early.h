/*
 * The group's port for a moment, before an agent runs: what listening for a group (listen.h) and taking up an
 * invitation (meet.h) have in common. Those two alone use it.
 */
#ifndef KPEER_EARLY_H
#define KPEER_EARLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "discovery/evidence.h"
#include "discovery/multicast.h"
#include "protocol/err.h"

struct early {
    struct multicast net;
    size_t place_count;
    struct evidence_place place[EVIDENCE_PLACES_MAX];
};

struct early_calls {
    void (*say)(void *ctx, const struct early *e); /* at once, and again and again */
    /* A datagram came; true: that was all. */
    bool (*hear)(void *ctx, const uint8_t *bytes, size_t n, const struct multicast_from *from);
};

/* Opens the port on all usable interfaces that fit `pin` (may be NULL). `e` is zeroed by the caller and
 * closed by early_close, also after a failure. */
int early_open(struct early *e, const struct address *group, uint16_t port, const struct evidence_pin *pin,
               struct err *err);
void early_close(struct early *e);

/* The same bytes on every place. */
void early_send(const struct early *e, const uint8_t *bytes, size_t n);

/* Says and hears for `ms` milliseconds, or until that was all. KPEER_ECANCELED: a signal came; `what` names
 * what was being done. */
int early_run(const struct early *e, uint32_t ms, uint32_t say_every_ms, const struct early_calls *calls,
              void *ctx, const char *what, struct err *err);

#endif
