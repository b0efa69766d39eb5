/*
 * The keys of one group that a peer holds: the newest, under which the group speaks, and older ones that were
 * rotated away. An older key is open while members are still to be met under it, then closed: kept for a time
 * only so that a known member that comes back is recognised and handed the newest. The core owns the ring;
 * discovery looks at it to open and seal beacons. Guarded memory throughout. Pure.
 */
#ifndef KPEER_KEYRING_H
#define KPEER_KEYRING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/err.h"
#include "protocol/pack.h"
#include "protocol/seal.h"
#include "protocol/secret.h"

#define KEYRING_MAX 8

struct ring_key {
    uint32_t epoch;
    bool closed;
    int64_t until_ms; /* Unix time when it is forgotten; 0: never, for the newest */
    struct secret *secret;
    struct seal *seal;
};

struct keyring {
    size_t count;
    struct ring_key key[KEYRING_MAX]; /* the newest first */
};

/* A ring of one key, which is copied. */
int keyring_init(struct keyring *ring, const struct secret *first, struct err *err);
void keyring_fini(struct keyring *ring);

/* Takes `key` over, whatever comes of it; one of an epoch that is there already changes nothing. The oldest
 * goes when there is no room. */
int keyring_add(struct keyring *ring, struct secret *key, struct err *err);

uint32_t keyring_newest(const struct keyring *ring); /* its epoch */
const struct ring_key *keyring_epoch(const struct keyring *ring, uint32_t epoch);
const struct ring_key *keyring_find(const struct keyring *ring, const uint8_t key_id[static GROUP_ID_BYTES]);
/* The latest open key that a peer has that has those up to `epoch`; the newest where there is none. */
const struct ring_key *keyring_for(const struct keyring *ring, uint32_t epoch);

/* Forgets what is over. True if anything was. */
bool keyring_expire(struct keyring *ring, int64_t wall_ms);
/* All but the newest are closed from here on, or have an end. */
void keyring_close(struct keyring *ring);
void keyring_end(struct keyring *ring, int64_t until_ms);
bool keyring_settled(const struct keyring *ring); /* no older one is open */

/* The keys inside another encoding. Unpacking adds them to those that are there; KPEER_EINVAL: of another
 * group. */
void keyring_pack(struct pack_writer *w, const struct keyring *ring);
int keyring_unpack(struct pack_reader *r, struct keyring *ring, struct err *err);

#endif
