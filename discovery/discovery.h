/*
 * How peers find each other: the façade over interfaces, multicast, seeds and evidence that the agent uses.
 *
 * Owns the sockets. Everything heard comes back through callbacks, from discovery_readable and
 * discovery_tick alone, never from within another call. Times are CLOCK_BOOTTIME milliseconds, brought by the
 * caller.
 */
#ifndef KPEER_DISCOVERY_H
#define KPEER_DISCOVERY_H

#include <stddef.h>
#include <stdint.h>

#include "discovery/address.h"
#include "discovery/evidence.h"
#include "discovery/seeds.h"
#include "protocol/err.h"
#include "protocol/invite.h"
#include "protocol/keyring.h"
#include "protocol/node.h"
#include "protocol/seal.h"

#define DISCOVERY_FDS 3

struct discovery_config {
    struct address group; /* multicast */
    uint16_t multicast_port;
    uint16_t seed_port; /* where beacons sent to us alone arrive; may be the same */
    struct evidence_pin pin;
    uint32_t beat_ms;
    struct peer_id me;
    uint64_t instance;
    const struct keyring *keys; /* borrowed; may change between calls */
    size_t seed_count;
    struct {
        struct address address;
        uint16_t port;
    } seed[SEEDS_MAX];
};

struct discovery_callbacks {
    /* A beacon was opened and its sender is usable at `address` (text). Also for a beacon of our own id with
     * another instance. One under a
     * closed key is told as well, and is evidence of nothing. */
    void (*hello)(void *ctx, const struct hello *hello, const char *address);
    /* A pulse was opened. */
    void (*pulse)(void *ctx, const struct pulse *pulse);
    /* A datagram of kind SEAL_KEY came, under one of the keys. */
    void (*handed)(void *ctx, const uint8_t *bytes, size_t n);
    /* A datagram of kind SEAL_INVITE came from `from` (text). True: `reply` goes back there. */
    bool (*invited)(void *ctx, const uint8_t *bytes, size_t n, const char *from,
                    uint8_t reply[static INVITE_BYTES]);
    /* Our own address changed; both empty when there is none any more. */
    void (*own_address)(void *ctx, const char *address, const char *interface);
    /* A beacon came from an address that two hosts claim (told once a minute at most). */
    void (*conflict)(void *ctx, const char *address);
    /* The host's networks changed (or are told for the first time). */
    void (*nets)(void *ctx, const struct host_nets *nets);
};

/* Why datagrams were dropped. */
enum discovery_drop {
    DROP_FOREIGN,    /* not ours, another version */
    DROP_GROUP,      /* a beacon of another group */
    DROP_NEWCOMER,   /* a host without a key that listens, or asks for an invitation that is not here */
    DROP_BAD,        /* altered or malformed */
    DROP_REPLAY,     /* not newer than what was heard */
    DROP_SOURCE,     /* does not come from where it says */
    DROP_CONFLICTED, /* its address is claimed twice */
    DROP_FULL,       /* more peers than the table holds */
    DROP_COUNT
};
const char *discovery_drop_word(enum discovery_drop why);

struct discovery;

/* Opens sockets and reads the interfaces; nothing is sent yet. The first discovery_tick tells nets and, where
 * pinned, the own address. */
int discovery_open(struct discovery **out, const struct discovery_config *cfg,
                   const struct discovery_callbacks *callbacks, void *ctx, struct err *err);
void discovery_close(struct discovery *d);

/* The descriptors to watch for reading, -1 where there is none; the same for the whole life. */
void discovery_fds(const struct discovery *d, int fds[static DISCOVERY_FDS]);

/* One of them is readable (which one is found out here). At most a bounded number of datagrams is taken at
 * once. */
void discovery_readable(struct discovery *d, uint64_t now_ms);

/* Sends `hello` on every place and to the seeds. */
void discovery_announce(struct discovery *d, const struct hello *hello, uint64_t now_ms);

/* Sends a datagram to a host that was just heard at `address` (text), or drops it. */
void discovery_hand(struct discovery *d, const char *address, const uint8_t *bytes, size_t n);

/* Sends a pulse to the member that was heard at `address` (text) and has that port, or drops it. */
void discovery_pulse(struct discovery *d, const char *address, uint16_t port, const struct pulse *pulse);

/* Looks at what only time changes. Returns when to call again at the latest. */
uint64_t discovery_tick(struct discovery *d, uint64_t now_ms);

/* What is amiss in what is heard now, with the address it is about. */
enum discovery_sign {
    SIGN_OTHER_GROUP, /* hosts with another key */
    SIGN_CONFLICT,    /* two hosts at one address */
    SIGN_DEAF,        /* a host of this group is heard there that does not hear this one */
    SIGN_UNHEARD,     /* several are, and none of them hears this one */
    SIGN_COUNT
};
const char *discovery_sign_word(enum discovery_sign sign);

/* False: it is not so now. */
bool discovery_sign(const struct discovery *d, enum discovery_sign sign, uint64_t now_ms,
                    char address[static STEP_ADDRESS_BYTES]);

const uint64_t *discovery_dropped(const struct discovery *d); /* DROP_COUNT counters */

/* The usable addresses of this host that fit `pin` (may be NULL). */
int discovery_places(const struct evidence_pin *pin, struct evidence_place out[static EVIDENCE_PLACES_MAX],
                     size_t *count, struct err *err);

#endif
