/*
 * Links between members: a ROUTER that listens and one that calls, both under CURVE.
 *
 * Only box keys learnt through transport_link are let in (ZAP, answered here in the agent's own thread), so
 * the sender of each message is known. A link is a connection when there is need of one: at once where it is
 * to be kept, otherwise as something is to be sent, until it has long been idle. One connection serves both
 * sides. A message to a peer without a link, or with a full queue, is dropped and counted: the core sends
 * again what matters.
 * How many connections a stranger may hold is bounded (gate.h). The agent's loop is the one caller; the first
 * transport_open starts libzmq's threads.
 */
#ifndef KPEER_TRANSPORT_H
#define KPEER_TRANSPORT_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/err.h"
#include "protocol/identity.h"

#define TRANSPORT_MESSAGE_MAX (260 * 1024) /* the core's largest message, sealed, and a little */
#define TRANSPORT_LINKS_MAX   1024
#define TRANSPORT_ITEMS       6 /* to be polled */

struct transport_callbacks {
    /* A message of an admitted peer; `bytes` are valid during the call. */
    void (*message)(void *ctx, const struct peer_id *peer, const uint8_t *bytes, size_t n);
    /* The connection with a linked peer was up and closed, and not for being idle on this side. Whoever made
     * it makes it anew. */
    void (*link_down)(void *ctx, const struct peer_id *peer);
    /* A knock was refused: nobody listens where the peer is linked. */
    void (*refused)(void *ctx, const struct peer_id *peer);
};

struct transport_stats {
    uint64_t sent, received;
    uint64_t sent_bytes, received_bytes;    /* of these messages, as the core knows them */
    uint64_t dropped;                       /* not sent: no link or a full queue */
    uint64_t refused;                       /* connections of unknown keys */
    uint64_t unlinked;                      /* messages of peers that are admitted no more */
    uint64_t handshakes, handshakes_failed; /* of our own links */
    uint64_t shut;                          /* how often somebody began to be turned away (gate.h) */
    bool members_only;                      /* strangers are turned away just now */
};

struct transport;

/* Listens on TCP `port` of all addresses. KPEER_EIO names the port when it is taken. */
int transport_open(struct transport **out, const struct identity *me, uint16_t port,
                   const struct transport_callbacks *callbacks, void *ctx, struct err *err);
void transport_close(struct transport *t);

/* Admits the peer's key, and connects with it as need be; again with other values replaces them. `keep`:
 * there is always to be a connection. `address` is text. KPEER_ELIMIT when there are too many links. */
int transport_link(struct transport *t, const struct peer_id *peer, const char *address, uint16_t port,
                   const uint8_t box_pk[static BOX_PK_BYTES], bool keep, struct err *err);
void transport_unlink(struct transport *t, const struct peer_id *peer);

/* KPEER_ENOTFOUND no link, KPEER_ELIMIT queue full or message too large; both are counted. */
int transport_send(struct transport *t, const struct peer_id *peer, const uint8_t *bytes, size_t n);

/* Asks the host of a linked peer whether anybody listens there still. */
void transport_knock(struct transport *t, const struct peer_id *peer);

/* What to poll for reading, before which transport_due is asked each time. */
void transport_items(const struct transport *t, struct pollfd items[static TRANSPORT_ITEMS]);

/* There is more to take already: do not wait. libzmq's descriptors tell of what comes, not of what is there,
 * and whatever was done with a socket may have used that up. */
bool transport_due(struct transport *t);

/* Takes what is ready, in bounded portions; `items` as polled. Callbacks may link, unlink and send. */
void transport_ready(struct transport *t, const struct pollfd items[static TRANSPORT_ITEMS], uint64_t now_ms);

/* Makes connections anew that libzmq gave up, and those that the other side was to make. Returns when to call
 * again at the latest. */
uint64_t transport_tick(struct transport *t, uint64_t now_ms);

const struct transport_stats *transport_stats(const struct transport *t);

/* How many links are connected (`up`) or always should be, and so how many of these are not. */
size_t transport_link_count(const struct transport *t, size_t *up);

#endif
