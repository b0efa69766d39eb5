#include "peer/agent/transport.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "peer/agent/gate.h"
#include "peer/agent/zsocket.h"
#include "protocol/mem.h"
#include "protocol/step.h"

#define ZAP_ENDPOINT     "inproc://zeromq.zap.01"
#define ZAP_DOMAIN       "kpeer"
#define ZAP_FRAMES       7
#define QUEUE_MESSAGES   256 /* a link, each way */
#define HANDSHAKE_MS     5000
#define SILENT_S         8 /* after so long the kernel asks whether the other end is there */
#define ASK_AGAIN_S      1
#define UNHEARD_MS       14000 /* without a word from there the connection is lost: loss of 25 % is no reason */
#define RECONNECT_MS     100
#define RECONNECT_MAX_MS 1000
#define CURVE_OVERHEAD   64 /* libzmq measures the message as it is on the wire */
#define BACKLOG          256
#define SOCKETS_MAX      (2 * TRANSPORT_LINKS_MAX + 64)
#define AT_ONCE          64   /* messages taken from one socket in a row */
#define REMAKE_MS        1000 /* after a handshake that libzmq does not try again */
#define CONNS_AT_ONCE                                                                                        \
    1024 /* and so many of those who come and go: a flood of them must not be fallen behind */
#define EVENTS_WAITING 1000 /* of a link */
#define GATE_ENDPOINT  "inproc://gate"
#define FIXED_ITEMS    3 /* the ROUTER, the ZAP handler and the gate come before the links' monitors */

struct link {
    struct peer_id peer;
    char address[STEP_ADDRESS_BYTES];
    uint32_t ipv4; /* the same, in network order; 0: it is none */
    uint16_t port;
    uint8_t box_pk[BOX_PK_BYTES];
    void *socket;
    void *monitor;
    bool up;
    uint64_t remake_ms; /* 0: no need */
};

struct transport {
    const struct identity *me;
    struct transport_callbacks callbacks;
    void *ctx;
    void *zmq;
    void *zap;
    void *router;
    void *gate_monitor; /* tells of each connection that the ROUTER accepts or loses */
    struct gate *gate;
    int listener;    /* the ROUTER's */
    uint64_t serial; /* of monitor endpoints */
    uint64_t now_ms;
    struct transport_stats stats;
    size_t link_count;
    struct link *link[TRANSPORT_LINKS_MAX];
};

/* What both sides of a link have in common. Whether the peer's agent is there is for its beacons to tell;
 * here it is only for a connection not to outlive the other host, and that the kernels settle with fewer
 * bytes than libzmq. */
static int set_common(void *socket, struct err *err)
{
    static const struct zsocket_option options[] = {
        {ZMQ_LINGER, 0},
        {ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS},
        {ZMQ_TCP_KEEPALIVE, 1},
        {ZMQ_TCP_KEEPALIVE_IDLE, SILENT_S},
        {ZMQ_TCP_KEEPALIVE_INTVL, ASK_AGAIN_S},
        {ZMQ_TCP_MAXRT, UNHEARD_MS},
        {ZMQ_SNDHWM, QUEUE_MESSAGES},
        {ZMQ_RCVHWM, QUEUE_MESSAGES},
    };
    return zsocket_set(socket, options, COUNT_OF(options), err);
}

/* What unlimited queue it takes: libzmq's own thread would wait for us where it is full. */
static int open_gate(struct transport *t, struct err *err)
{
    int rc = gate_new(&t->gate, err);
    if (rc)
        return rc;
    return zsocket_watch(t->zmq, t->router, GATE_ENDPOINT, ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED, 0,
                         &t->gate_monitor, err);
}

/* The socket is made here and handed to libzmq, so that the gate can stand before it. */
static int listen_on(struct transport *t, uint16_t port, struct err *err)
{
    char endpoint[32];
    int rc = gate_listen(port, BACKLOG, &t->listener, err);
    if (rc)
        return rc;
    snprintf(endpoint, sizeof endpoint, "tcp://*:%u", port);
    if (zmq_setsockopt(t->router, ZMQ_USE_FD, &t->listener, sizeof t->listener) ||
        zmq_bind(t->router, endpoint)) {
        rc = zsocket_error(err, "cannot listen for links");
        close(t->listener);
    }
    return rc;
}

static int open_router(struct transport *t, uint16_t port, struct err *err)
{
    static const struct zsocket_option options[] = {{ZMQ_CURVE_SERVER, 1}};
    int64_t largest = TRANSPORT_MESSAGE_MAX + CURVE_OVERHEAD;
    t->router = zmq_socket(t->zmq, ZMQ_ROUTER);
    if (!t->router)
        return zsocket_error(err, "cannot open the listening socket");
    int rc = set_common(t->router, err);
    if (!rc)
        rc = zsocket_set(t->router, options, COUNT_OF(options), err);
    if (!rc)
        rc = zsocket_set_key(t->router, ZMQ_CURVE_SECRETKEY, t->me->box_sk, err);
    if (rc)
        return rc;
    if (zmq_setsockopt(t->router, ZMQ_MAXMSGSIZE, &largest, sizeof largest) ||
        zmq_setsockopt(t->router, ZMQ_ZAP_DOMAIN, ZAP_DOMAIN, strlen(ZAP_DOMAIN)))
        return zsocket_error(err, "cannot set up the listening socket");
    rc = open_gate(t, err);
    return rc ? rc : listen_on(t, port, err);
}

static int open_sockets(struct transport *t, uint16_t port, struct err *err)
{
    static const struct zsocket_option options[] = {{ZMQ_LINGER, 0}};
    t->zmq = zmq_ctx_new();
    if (!t->zmq)
        return zsocket_error(err, "cannot start libzmq");
    zmq_ctx_set(t->zmq, ZMQ_MAX_SOCKETS, SOCKETS_MAX);
    zmq_ctx_set(t->zmq, ZMQ_IO_THREADS, 1);
    /* The handler must be there before anybody can connect: without one libzmq would let everybody in. */
    t->zap = zmq_socket(t->zmq, ZMQ_ROUTER);
    if (!t->zap || zsocket_set(t->zap, options, COUNT_OF(options), err) || zmq_bind(t->zap, ZAP_ENDPOINT))
        return zsocket_error(err, "cannot open the admission socket");
    return open_router(t, port, err);
}

int transport_open(struct transport **out, const struct identity *me, uint16_t port,
                   const struct transport_callbacks *callbacks, void *ctx, struct err *err)
{
    struct transport *t = calloc(1, sizeof *t);
    if (!t)
        return err_set(err, KPEER_ENOMEM, "no memory for the transport");
    t->me = me;
    t->callbacks = *callbacks;
    t->ctx = ctx;
    int rc = open_sockets(t, port, err);
    if (rc) {
        transport_close(t);
        return rc;
    }
    *out = t;
    return 0;
}

static void disconnect_link(struct link *l)
{
    if (l->socket)
        zmq_socket_monitor(l->socket, NULL, 0);
    zsocket_close(&l->monitor);
    zsocket_close(&l->socket);
    l->up = false;
    l->remake_ms = 0;
}

void transport_close(struct transport *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->link_count; i++) {
        disconnect_link(t->link[i]);
        free(t->link[i]);
    }
    if (t->gate_monitor)
        zmq_socket_monitor(t->router, NULL, 0);
    zsocket_close(&t->gate_monitor);
    zsocket_close(&t->router);
    zsocket_close(&t->zap);
    if (t->zmq)
        zmq_ctx_term(t->zmq);
    gate_free(t->gate);
    free(t);
}

static struct link *find_link(const struct transport *t, const struct peer_id *peer)
{
    for (size_t i = 0; i < t->link_count; i++)
        if (peer_id_equal(&t->link[i]->peer, peer))
            return t->link[i];
    return NULL;
}

static int open_monitor(struct transport *t, struct link *l, struct err *err)
{
    const int events = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED |
                       ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;
    char endpoint[64];
    snprintf(endpoint, sizeof endpoint, "inproc://link-%llu", (unsigned long long)++t->serial);
    return zsocket_watch(t->zmq, l->socket, endpoint, events, EVENTS_WAITING, &l->monitor, err);
}

static int connect_link(struct transport *t, struct link *l, struct err *err)
{
    bool v6 = strchr(l->address, ':') != NULL;
    const struct zsocket_option options[] = {
        {ZMQ_IPV6, v6},
        {ZMQ_CONNECT_TIMEOUT, HANDSHAKE_MS}, /* the kernel would wait longer after each try */
        {ZMQ_RECONNECT_IVL, RECONNECT_MS},
        {ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS}};
    int64_t largest = 1024; /* nothing is ever answered on this socket */
    char endpoint[STEP_ADDRESS_BYTES + 24];
    l->socket = zmq_socket(t->zmq, ZMQ_DEALER);
    if (!l->socket)
        return zsocket_error(err, "cannot open a link");
    int rc = set_common(l->socket, err);
    if (!rc)
        rc = zsocket_set(l->socket, options, COUNT_OF(options), err);
    if (!rc)
        rc = zsocket_set_key(l->socket, ZMQ_CURVE_SERVERKEY, l->box_pk, err);
    if (!rc)
        rc = zsocket_set_key(l->socket, ZMQ_CURVE_PUBLICKEY, t->me->box_pk, err);
    if (!rc)
        rc = zsocket_set_key(l->socket, ZMQ_CURVE_SECRETKEY, t->me->box_sk, err);
    if (!rc)
        rc = open_monitor(t, l, err);
    if (rc)
        return rc;
    snprintf(endpoint, sizeof endpoint, v6 ? "tcp://[%s]:%u" : "tcp://%s:%u", l->address, l->port);
    if (zmq_setsockopt(l->socket, ZMQ_MAXMSGSIZE, &largest, sizeof largest) ||
        zmq_connect(l->socket, endpoint))
        return zsocket_error(err, "cannot connect a link");
    return 0;
}

/* ---- who may connect ---- */

static bool is_member(const struct transport *t, uint32_t address)
{
    for (size_t i = 0; address && i < t->link_count; i++)
        if (t->link[i]->ipv4 == address)
            return true;
    return false;
}

/* Asked after anything that may change the rule, or whom it lets through. */
static void keep_gate(struct transport *t, bool members_changed)
{
    _Static_assert(TRANSPORT_LINKS_MAX <= GATE_MEMBERS_MAX, "the gate has room for all members");
    struct gate_rule rule;
    uint32_t members[TRANSPORT_LINKS_MAX];
    size_t n = 0;
    bool changed = gate_rule(t->gate, t->now_ms, &rule);
    t->stats.shut += rule.begun;
    if (!changed && !(members_changed && rule.members_only))
        return;
    for (size_t i = 0; rule.members_only && i < t->link_count; i++)
        members[n++] = t->link[i]->ipv4;
    int rc = gate_filter(t->listener, &rule, members, n);
    t->stats.members_only = rule.members_only && rc == 0;
}

static struct link *add_link(struct transport *t, const struct peer_id *peer)
{
    if (t->link_count == TRANSPORT_LINKS_MAX)
        return NULL;
    struct link *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->peer = *peer;
    t->link[t->link_count++] = l;
    return l;
}

int transport_link(struct transport *t, const struct peer_id *peer, const char *address, uint16_t port,
                   const uint8_t box_pk[static BOX_PK_BYTES], struct err *err)
{
    struct link *l = find_link(t, peer);
    if (l && strcmp(l->address, address) == 0 && l->port == port &&
        memcmp(l->box_pk, box_pk, BOX_PK_BYTES) == 0)
        return 0;
    if (strlen(address) >= sizeof l->address)
        return err_set(err, KPEER_EINVAL, "a link's address is too long");
    if (!l)
        l = add_link(t, peer);
    if (!l)
        return err_set(err, KPEER_ELIMIT, "more than %d links, or no memory", TRANSPORT_LINKS_MAX);
    disconnect_link(l);
    mem_copy_text(l->address, sizeof l->address, address);
    if (inet_pton(AF_INET, address, &l->ipv4) != 1)
        l->ipv4 = 0;
    l->port = port;
    memcpy(l->box_pk, box_pk, BOX_PK_BYTES);
    int rc = connect_link(t, l, err);
    if (rc) {
        disconnect_link(l);
        l->remake_ms = t->now_ms + REMAKE_MS;
    }
    keep_gate(t, true);
    return rc;
}

void transport_unlink(struct transport *t, const struct peer_id *peer)
{
    for (size_t i = 0; i < t->link_count; i++) {
        if (!peer_id_equal(&t->link[i]->peer, peer))
            continue;
        disconnect_link(t->link[i]);
        free(t->link[i]);
        t->link[i] = t->link[--t->link_count];
        keep_gate(t, true);
        return;
    }
}

int transport_send(struct transport *t, const struct peer_id *peer, const uint8_t *bytes, size_t n)
{
    struct link *l = find_link(t, peer);
    if (!l || !l->socket || n > TRANSPORT_MESSAGE_MAX) {
        t->stats.dropped++;
        return n > TRANSPORT_MESSAGE_MAX ? KPEER_ELIMIT : KPEER_ENOTFOUND;
    }
    if (zmq_send(l->socket, bytes, n, ZMQ_DONTWAIT) < 0) {
        t->stats.dropped++;
        return KPEER_ELIMIT;
    }
    t->stats.sent++;
    t->stats.sent_bytes += n;
    return 0;
}

size_t transport_item_count(const struct transport *t)
{
    return FIXED_ITEMS + t->link_count;
}

void transport_items(const struct transport *t, zmq_pollitem_t *items)
{
    items[0] = (zmq_pollitem_t){.socket = t->router, .fd = -1, .events = ZMQ_POLLIN};
    items[1] = (zmq_pollitem_t){.socket = t->zap, .fd = -1, .events = ZMQ_POLLIN};
    items[2] = (zmq_pollitem_t){.socket = t->gate_monitor, .fd = -1, .events = ZMQ_POLLIN};
    for (size_t i = 0; i < t->link_count; i++) {
        void *monitor = t->link[i]->monitor;
        items[FIXED_ITEMS + i] =
            (zmq_pollitem_t){.socket = monitor, .fd = -1, .events = monitor ? ZMQ_POLLIN : 0};
    }
}

static const struct link *link_of_key(const struct transport *t, const uint8_t *box_pk)
{
    for (size_t i = 0; i < t->link_count; i++)
        if (memcmp(t->link[i]->box_pk, box_pk, BOX_PK_BYTES) == 0)
            return t->link[i];
    return NULL;
}

/* RFC 27 (ZAP): routing id, empty, then "1.0", request id, domain, address, identity, mechanism, credentials.
 * An unknown key gets 300, "try again": it may be a member whose beacon we have not heard yet, and on a 400
 * libzmq's client would give up for ever. */
static void answer_zap(struct transport *t, zmq_msg_t *frame, size_t n)
{
    enum { ROUTE, EMPTY, VERSION, REQUEST, DOMAIN, ADDRESS, IDENTITY, MECHANISM, KEY, COUNT };
    char user[PEER_ID_TEXT] = "";
    if (n < IDENTITY || zmq_msg_size(&frame[EMPTY]) != 0)
        return;
    const struct link *l = NULL;
    if (n == COUNT && zsocket_is(&frame[VERSION], "1.0") && zsocket_is(&frame[DOMAIN], ZAP_DOMAIN) &&
        zsocket_is(&frame[MECHANISM], "CURVE") && zmq_msg_size(&frame[KEY]) == BOX_PK_BYTES)
        l = link_of_key(t, zmq_msg_data(&frame[KEY]));
    if (l)
        peer_id_text(&l->peer, user);
    else
        t->stats.refused++;
    for (int i = ROUTE; i <= REQUEST; i++)
        zmq_send(t->zap, zmq_msg_data(&frame[i]), zmq_msg_size(&frame[i]), ZMQ_SNDMORE | ZMQ_DONTWAIT);
    zmq_send(t->zap, l ? "200" : "300", 3, ZMQ_SNDMORE | ZMQ_DONTWAIT);
    zmq_send(t->zap, "", 0, ZMQ_SNDMORE | ZMQ_DONTWAIT);
    zmq_send(t->zap, user, strlen(user), ZMQ_SNDMORE | ZMQ_DONTWAIT);
    zmq_send(t->zap, "", 0, ZMQ_DONTWAIT);
}

static void serve_zap(struct transport *t)
{
    zmq_msg_t frames[ZAP_FRAMES + 2];
    for (int i = 0; i < AT_ONCE; i++) {
        size_t n = zsocket_receive(t->zap, frames, COUNT_OF(frames));
        if (n == 0)
            return;
        answer_zap(t, frames, n);
        zsocket_free(frames, n);
    }
}

static void take_message(struct transport *t, zmq_msg_t *body)
{
    struct peer_id peer;
    const char *user = zmq_msg_gets(body, "User-Id");
    if (!user || peer_id_parse(user, &peer) || !find_link(t, &peer)) {
        t->stats.unlinked++;
        return;
    }
    t->stats.received++;
    t->stats.received_bytes += zmq_msg_size(body);
    t->callbacks.message(t->ctx, &peer, zmq_msg_data(body), zmq_msg_size(body));
}

static void serve_router(struct transport *t)
{
    for (int i = 0; i < AT_ONCE; i++) {
        zmq_msg_t frames[3];
        size_t n = zsocket_receive(t->router, frames, COUNT_OF(frames));
        if (n == 0)
            return;
        if (n == 2) /* routing id and one body */
            take_message(t, &frames[1]);
        zsocket_free(frames, n);
    }
}

static void take_event(struct transport *t, struct link *l, uint16_t event)
{
    if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
        l->up = true;
        t->stats.handshakes++;
        return;
    }
    t->stats.handshakes_failed += event != ZMQ_EVENT_DISCONNECTED;
    /* After such a failed handshake libzmq does not connect anew; we do. */
    if (event != ZMQ_EVENT_DISCONNECTED && !l->remake_ms)
        l->remake_ms = t->now_ms + REMAKE_MS;
    if (!l->up)
        return;
    l->up = false;
    struct peer_id peer = l->peer;
    t->callbacks.link_down(t->ctx, &peer);
}

static void serve_gate(struct transport *t)
{
    for (int i = 0; i < CONNS_AT_ONCE; i++) {
        zmq_msg_t frames[2];
        uint16_t event = 0;
        uint32_t value = 0;
        size_t n = zsocket_receive(t->gate_monitor, frames, COUNT_OF(frames));
        if (n == 0)
            break;
        if (zmq_msg_size(&frames[0]) >= sizeof event + sizeof value) {
            memcpy(&event, zmq_msg_data(&frames[0]), sizeof event);
            memcpy(&value, (const uint8_t *)zmq_msg_data(&frames[0]) + sizeof event, sizeof value);
        }
        zsocket_free(frames, n);
        uint32_t from = event == ZMQ_EVENT_ACCEPTED ? gate_address((int)value) : 0;
        if (event == ZMQ_EVENT_ACCEPTED)
            gate_accepted(t->gate, (int)value, from, is_member(t, from), t->now_ms);
        else
            gate_closed(t->gate, (int)value);
    }
    keep_gate(t, false);
}

/* An event is two frames: number (16 bits) and value, then the endpoint. The link may be gone after each. */
static void serve_monitor(struct transport *t, const struct peer_id *peer)
{
    for (int i = 0; i < AT_ONCE; i++) {
        struct link *l = find_link(t, peer);
        zmq_msg_t frames[2];
        size_t n = l && l->monitor ? zsocket_receive(l->monitor, frames, COUNT_OF(frames)) : 0;
        if (n == 0)
            return;
        uint16_t event = 0;
        if (zmq_msg_size(&frames[0]) >= sizeof event)
            memcpy(&event, zmq_msg_data(&frames[0]), sizeof event);
        zsocket_free(frames, n);
        take_event(t, l, event);
    }
}

void transport_ready(struct transport *t, const zmq_pollitem_t *items, uint64_t now_ms)
{
    struct peer_id ready[AT_ONCE];
    size_t n = 0;
    t->now_ms = now_ms;
    for (size_t i = 0; i < t->link_count && n < AT_ONCE; i++)
        if (items[FIXED_ITEMS + i].revents & ZMQ_POLLIN)
            ready[n++] = t->link[i]->peer;
    bool zap = items[1].revents & ZMQ_POLLIN, router = items[0].revents & ZMQ_POLLIN;
    if (items[2].revents & ZMQ_POLLIN)
        serve_gate(t);
    if (zap)
        serve_zap(t);
    if (router)
        serve_router(t);
    for (size_t i = 0; i < n; i++)
        serve_monitor(t, &ready[i]);
}

uint64_t transport_tick(struct transport *t, uint64_t now_ms)
{
    uint64_t wake = UINT64_MAX;
    t->now_ms = now_ms;
    for (size_t i = 0; i < t->link_count; i++) {
        struct link *l = t->link[i];
        if (l->remake_ms && now_ms >= l->remake_ms) {
            disconnect_link(l);
            if (connect_link(t, l, NULL)) {
                disconnect_link(l);
                l->remake_ms = now_ms + REMAKE_MS;
            }
        }
        if (l->remake_ms && l->remake_ms < wake)
            wake = l->remake_ms;
    }
    if (gate_wake(t->gate, now_ms) != UINT64_MAX)
        keep_gate(t, false);
    uint64_t gate = gate_wake(t->gate, now_ms);
    return gate < wake ? gate : wake;
}

const struct transport_stats *transport_stats(const struct transport *t)
{
    return &t->stats;
}

size_t transport_link_count(const struct transport *t, size_t *up)
{
    *up = 0;
    for (size_t i = 0; i < t->link_count; i++)
        *up += t->link[i]->up;
    return t->link_count;
}
