/*
 * Whom to send beacons to one by one: the seeds that the user named, and the members met that way.
 *
 * A bounded table with a rate limit for each address, so that neither a seed that is silent nor a member that
 * shouts makes us send more than one datagram in SEEDS_INTERVAL_MS to it. Only an opened beacon of the group
 * enters anybody. Pure; the façade in discovery.h is its caller.
 */
#ifndef KPEER_SEEDS_H
#define KPEER_SEEDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "discovery/address.h"

#define SEEDS_MAX         128 /* seeds of the user's and members together */
#define SEEDS_INTERVAL_MS 200

struct seed {
    struct address address;
    uint16_t port;
    bool permanent;    /* named by the user */
    uint64_t heard_ms; /* a beacon of a member came from there by unicast; 0: never */
    uint64_t sent_ms;  /* 0: never */
};

struct seeds {
    size_t count;
    struct seed seed[SEEDS_MAX];
};

/* A seed of the user's; false when the table is full. Named twice is once. */
bool seeds_add(struct seeds *s, const struct address *address, uint16_t port);

/* A member's beacon came from there to us alone, or a member that reached us so says that it hears another
 * there. */
void seeds_heard(struct seeds *s, const struct address *address, uint16_t port, uint64_t now_ms,
                 uint32_t expiry_ms);

/* Calls `send` for each address whose turn it is, and notes it. Forgets members silent for `expiry_ms`. */
void seeds_each(struct seeds *s, uint64_t now_ms, uint32_t expiry_ms,
                void (*send)(void *ctx, const struct seed *seed), void *ctx);

#endif
