/*
 * Listening before a group key exists: is there a group on this network, or another host without a key?
 *
 * Whoever has no key cannot open a beacon, but sees its clear header, and tells other newcomers of itself by
 * a header without a body. `kpeer up` calls this, before any agent runs.
 */
#ifndef KPEER_LISTEN_H
#define KPEER_LISTEN_H

#include <stddef.h>
#include <stdint.h>

#include "discovery/address.h"
#include "discovery/evidence.h"
#include "protocol/err.h"
#include "protocol/secret.h"

#define LISTEN_HEARD_MAX 16

struct listen_group {
    uint8_t id[GROUP_ID_BYTES];
    struct address from; /* where it was heard first */
};

struct listen_result {
    size_t interfaces; /* on how many it listened; 0: no network */
    size_t group_count;
    struct listen_group group[LISTEN_HEARD_MAX]; /* each once */
    size_t newcomer_count;
    struct address newcomer[LISTEN_HEARD_MAX]; /* each newcomer once */
};

/* Listens on the group's port of all usable interfaces (those that fit `pin`, which may be NULL) for `ms`
 * milliseconds, announcing itself meanwhile. 0, or KPEER_EIO and the like when it cannot listen. */
int discovery_listen(const struct address *group, uint16_t port, const struct evidence_pin *pin, uint32_t ms,
                     struct listen_result *out, struct err *err);

#endif
