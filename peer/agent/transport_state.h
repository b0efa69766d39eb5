/*
 * What the transport's three files share. One peer may have called the other, or each the other: one
 * connection is enough for a link, and where there are two our own is taken.
 */
#ifndef KPEER_TRANSPORT_STATE_H
#define KPEER_TRANSPORT_STATE_H

#include <zmq.h>

#include "peer/agent/gate.h"
#include "peer/agent/knock.h"
#include "peer/agent/transport.h"
#include "protocol/step.h"

#define ZAP_DOMAIN     "kpeer"
#define HANDSHAKE_MS   5000
#define ROUTE_BYTES    32
#define ENDPOINT_BYTES (STEP_ADDRESS_BYTES + 24)
#define ASKING_MAX     16 /* who calls and is not known yet */
#define ASKING_FRAMES  4  /* of the question, that its answer begins with */

/* A message that waits for a connection. */
struct waiting {
    struct waiting *next;
    size_t n;
    uint8_t bytes[];
};

struct link {
    struct peer_id peer;
    char address[STEP_ADDRESS_BYTES];
    uint32_t ipv4; /* the same, in network order; 0: it is none */
    uint16_t port;
    uint8_t box_pk[BOX_PK_BYTES];
    bool keep;
    uint64_t used_ms;

    uint64_t call; /* the name of our connection; 0: we have not called */
    char endpoint[ENDPOINT_BYTES];
    bool up;
    bool announced;     /* our announcement was sent over it, or waits for it */
    uint64_t remake_ms; /* 0: no need */

    size_t route_bytes; /* 0: they have not called, or that connection is lost */
    bool route_dead;    /* … and is about to be told so */
    uint8_t route[ROUTE_BYTES];
    int route_fd;

    struct waiting *first, **end;
    size_t waiting, waiting_bytes;
    uint64_t wait_until_ms; /* of the first of them */
};

/* Whether one that calls is to be let in, asked by libzmq and not answered yet. */
struct asking {
    uint8_t box_pk[BOX_PK_BYTES];
    uint64_t until_ms; /* 0: unused */
    zmq_msg_t frame[ASKING_FRAMES];
};

struct transport {
    const struct identity *me;
    struct transport_callbacks callbacks;
    void *ctx;
    void *zmq;
    void *zap;
    void *router;         /* they call there */
    void *router_monitor; /* tells of each connection that it accepts or loses */
    void *caller;         /* we call from there */
    void *caller_monitor; /* tells of each connection that it makes or loses */
    struct gate *gate;
    struct knocks *knocks;
    bool touched;    /* something was done with a socket since all were looked at */
    int listener;    /* the router's */
    uint64_t serial; /* of our calls */
    uint64_t now_ms;
    uint64_t idle_look_ms;
    struct transport_stats stats;
    struct asking asking[ASKING_MAX];
    size_t link_count;
    struct link *link[TRANSPORT_LINKS_MAX];
};

/* What both sockets have in common. */
int transport_set_common(void *socket, struct err *err);

/* ---- transport_call.c: connections that we make ---- */

int call_open(struct transport *t, struct err *err);

/* Begins to connect; nothing where that has begun. The other side is told of the connection as soon as it
 * stands. A failure is tried again by call_tick. */
int call(struct transport *t, struct link *l, struct err *err);
void call_end(struct transport *t, struct link *l);

/* Over our connection, which may still be coming: KPEER_ELIMIT when its queue is full. */
int call_send(struct transport *t, struct link *l, const uint8_t *bytes, size_t n);

/* What came over it, and what became of it; bounded. */
void call_serve(struct transport *t);
void call_serve_events(struct transport *t);

/* Makes anew what libzmq gave up, and ends what has long been idle. Returns when to call again at the latest.
 */
uint64_t call_tick(struct transport *t);

/* ---- transport_admit.c: who may connect with us ---- */

/* Before there is any other socket: without a handler libzmq would let everybody in. */
int admit_open(struct transport *t, struct err *err);
void admit_close(struct transport *t);
void admit_serve(struct transport *t);

/* Lets in who called before it was linked, or with that key. */
void admit_linked(struct transport *t, const struct link *l);

/* Says no to who was not linked in time. Returns when to call again at the latest. */
uint64_t admit_tick(struct transport *t);

/* There is a connection, ours or theirs. */
bool transport_connected(const struct link *l);

/* A connection of a link is gone: its owner is told when it was the last one. */
void transport_lost(struct transport *t, struct link *l);

/* A message of an admitted peer. */
void transport_took(struct transport *t, struct link *l, const void *bytes, size_t n);

#endif
