#include <arpa/inet.h>
#include <errno.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "peer/agent/transport_state.h"
#include "peer/agent/zsocket.h"
#include "protocol/mem.h"

#define QUEUE_MESSAGES 256 /* a connection, each way */
#define SILENT_S       8   /* after so long the kernel asks whether the other end is there */
#define ASK_AGAIN_S    1
#define UNHEARD_MS     14000 /* without a word from there the connection is lost: loss of 25 % is no reason */
#define CURVE_OVERHEAD 64    /* libzmq measures the message as it is on the wire */
#define BACKLOG        256
#define SOCKETS_MAX    16
#define AT_ONCE        64 /* messages taken from one socket in a row */
#define CONNS_AT_ONCE                                                                                        \
    1024 /* and so many of those who come and go: a flood of them must not be fallen behind */
#define GATE_ENDPOINT "inproc://gate"
#define WAITING_MAX   64 /* messages of a link, until there is a connection */
#define WAITING_BYTES (2 * TRANSPORT_MESSAGE_MAX)
#define CALLED_MS     700 /* so long we wait for a call that is due */

enum item {
    ITEM_ROUTER,
    ITEM_ZAP,
    ITEM_GATE,
    ITEM_CALLER,
    ITEM_CALLS,
    SOCKETS,
    ITEM_KNOCKS = SOCKETS,
    ITEM_COUNT
};

/* Whether the peer's agent is there is for its beacons to tell; here it is only for a connection not to
 * outlive the other host, and that the kernels settle with fewer bytes than libzmq. */
int transport_set_common(void *socket, struct err *err)
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
    int64_t largest = TRANSPORT_MESSAGE_MAX + CURVE_OVERHEAD;
    if (zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &largest, sizeof largest))
        return zsocket_error(err, "cannot set up a link's socket");
    return zsocket_set(socket, options, COUNT_OF(options), err);
}

/* What unlimited queue it takes: libzmq's own thread would wait for us where it is full. */
static int open_gate(struct transport *t, struct err *err)
{
    int rc = gate_new(&t->gate, err);
    if (rc)
        return rc;
    return zsocket_watch(t->zmq, t->router, GATE_ENDPOINT, ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED, 0,
                         &t->router_monitor, err);
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
    static const struct zsocket_option options[] = {{ZMQ_CURVE_SERVER, 1}, {ZMQ_ROUTER_MANDATORY, 1}};
    t->router = zmq_socket(t->zmq, ZMQ_ROUTER);
    if (!t->router)
        return zsocket_error(err, "cannot open the listening socket");
    int rc = transport_set_common(t->router, err);
    if (!rc)
        rc = zsocket_set(t->router, options, COUNT_OF(options), err);
    if (!rc)
        rc = zsocket_set_key(t->router, ZMQ_CURVE_SECRETKEY, t->me->box_sk, err);
    if (rc)
        return rc;
    if (zmq_setsockopt(t->router, ZMQ_ZAP_DOMAIN, ZAP_DOMAIN, strlen(ZAP_DOMAIN)))
        return zsocket_error(err, "cannot set up the listening socket");
    rc = open_gate(t, err);
    return rc ? rc : listen_on(t, port, err);
}

static knock_refused take_refusal;

static int open_all(struct transport *t, uint16_t port, struct err *err)
{
    t->zmq = zmq_ctx_new();
    if (!t->zmq)
        return zsocket_error(err, "cannot start libzmq");
    zmq_ctx_set(t->zmq, ZMQ_MAX_SOCKETS, SOCKETS_MAX);
    zmq_ctx_set(t->zmq, ZMQ_IO_THREADS, 1);
    /* The handler must be there before anybody can connect: without one libzmq would let everybody in. */
    int rc = admit_open(t, err);
    if (!rc)
        rc = open_router(t, port, err);
    if (!rc)
        rc = call_open(t, err);
    return rc ? rc : knocks_new(&t->knocks, take_refusal, t, err);
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
    int rc = open_all(t, port, err);
    if (rc) {
        transport_close(t);
        return rc;
    }
    *out = t;
    return 0;
}

static void drop_waiting(struct link *l)
{
    while (l->first) {
        struct waiting *w = l->first;
        l->first = w->next;
        free(w);
    }
    l->end = &l->first;
    l->waiting = l->waiting_bytes = 0;
}

static void free_link(struct transport *t, struct link *l)
{
    call_end(t, l);
    drop_waiting(l);
    free(l);
}

void transport_close(struct transport *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->link_count; i++)
        free_link(t, t->link[i]);
    if (t->router_monitor)
        zmq_socket_monitor(t->router, NULL, 0);
    if (t->caller_monitor)
        zmq_socket_monitor(t->caller, NULL, 0);
    zsocket_close(&t->router_monitor);
    zsocket_close(&t->caller_monitor);
    zsocket_close(&t->caller);
    zsocket_close(&t->router);
    admit_close(t);
    if (t->zmq)
        zmq_ctx_term(t->zmq);
    gate_free(t->gate);
    knocks_free(t->knocks);
    free(t);
}

static struct link *find_link(const struct transport *t, const struct peer_id *peer)
{
    for (size_t i = 0; i < t->link_count; i++)
        if (peer_id_equal(&t->link[i]->peer, peer))
            return t->link[i];
    return NULL;
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

/* ---- links ---- */

/* Both sides begin at the same moment: one of them is to call, and the other waits for it a while. */
static bool we_call(const struct transport *t, const struct link *l)
{
    return peer_id_compare(&t->me->id, &l->peer) > 0;
}

static bool has_route(const struct link *l)
{
    return l->route_bytes && !l->route_dead;
}

bool transport_connected(const struct link *l)
{
    return l->up || has_route(l);
}

static struct link *add_link(struct transport *t, const struct peer_id *peer)
{
    if (t->link_count == TRANSPORT_LINKS_MAX)
        return NULL;
    struct link *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->peer = *peer;
    l->end = &l->first;
    l->used_ms = t->now_ms;
    t->link[t->link_count++] = l;
    return l;
}

static bool same_place(const struct link *l, const char *address, uint16_t port, const uint8_t *box_pk)
{
    return strcmp(l->address, address) == 0 && l->port == port &&
           memcmp(l->box_pk, box_pk, BOX_PK_BYTES) == 0;
}

/* Whoever had this address before has it no more: libzmq ends connections by address. */
static void free_place(struct transport *t, const char *address, uint16_t port)
{
    for (size_t i = 0; i < t->link_count; i++)
        if (strcmp(t->link[i]->address, address) == 0 && t->link[i]->port == port)
            call_end(t, t->link[i]);
}

int transport_link(struct transport *t, const struct peer_id *peer, const char *address, uint16_t port,
                   const uint8_t box_pk[static BOX_PK_BYTES], bool keep, struct err *err)
{
    struct link *l = find_link(t, peer);
    if (strlen(address) >= sizeof l->address)
        return err_set(err, KPEER_EINVAL, "a link's address is too long");
    if (!l)
        l = add_link(t, peer);
    if (!l)
        return err_set(err, KPEER_ELIMIT, "more than %d links, or no memory", TRANSPORT_LINKS_MAX);
    if (!same_place(l, address, port, box_pk)) {
        call_end(t, l);
        free_place(t, address, port);
        if (memcmp(l->box_pk, box_pk, BOX_PK_BYTES) != 0)
            l->route_bytes = 0; /* a connection of theirs is known by their key, wherever it comes from */
        mem_copy_text(l->address, sizeof l->address, address);
        if (inet_pton(AF_INET, address, &l->ipv4) != 1)
            l->ipv4 = 0;
        l->port = port;
        memcpy(l->box_pk, box_pk, BOX_PK_BYTES);
        keep_gate(t, true);
        admit_linked(t, l);
    }
    l->keep = keep;
    bool wanted = l->first || (keep && !has_route(l));
    return wanted && we_call(t, l) ? call(t, l, err) : 0;
}

void transport_unlink(struct transport *t, const struct peer_id *peer)
{
    for (size_t i = 0; i < t->link_count; i++) {
        if (!peer_id_equal(&t->link[i]->peer, peer))
            continue;
        free_link(t, t->link[i]);
        t->link[i] = t->link[--t->link_count];
        keep_gate(t, true);
        return;
    }
}

/* ---- sending ---- */

/* KPEER_ENOTFOUND: the connection is gone; whoever waits for that is told by lose_route. */
static int answer(struct transport *t, struct link *l, const uint8_t *bytes, size_t n)
{
    t->touched = true;
    if (zmq_send(t->router, l->route, l->route_bytes, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0) {
        l->route_dead = zmq_errno() == EHOSTUNREACH;
        return l->route_dead ? KPEER_ENOTFOUND : KPEER_ELIMIT;
    }
    return zmq_send(t->router, bytes, n, ZMQ_DONTWAIT) < 0 ? KPEER_ELIMIT : 0;
}

static int wait_for_call(struct transport *t, struct link *l, const uint8_t *bytes, size_t n)
{
    struct waiting *w = NULL;
    if (l->waiting < WAITING_MAX && l->waiting_bytes + n <= WAITING_BYTES)
        w = malloc(sizeof *w + n);
    if (!w)
        return KPEER_ELIMIT;
    *w = (struct waiting){.n = n};
    memcpy(w->bytes, bytes, n);
    if (!l->first)
        l->wait_until_ms = t->now_ms + CALLED_MS;
    *l->end = w;
    l->end = &w->next;
    l->waiting++;
    l->waiting_bytes += n;
    return 0;
}

/* Over our own connection, or theirs, or when there is one. One of ours that is only coming is not waited for
 * where theirs stands. */
static int send_over(struct transport *t, struct link *l, const uint8_t *bytes, size_t n)
{
    if (!(l->call && l->up) && has_route(l)) {
        int rc = answer(t, l, bytes, n);
        if (rc != KPEER_ENOTFOUND)
            return rc;
    }
    if (!l->call && (!l->keep || we_call(t, l)))
        (void)call(t, l, NULL);
    return l->call ? call_send(t, l, bytes, n) : wait_for_call(t, l, bytes, n);
}

static void send_waiting(struct transport *t, struct link *l)
{
    struct waiting *w = l->first;
    l->first = NULL;
    drop_waiting(l);
    while (w) {
        struct waiting *next = w->next;
        if (send_over(t, l, w->bytes, w->n))
            t->stats.dropped++;
        free(w);
        w = next;
    }
}

int transport_send(struct transport *t, const struct peer_id *peer, const uint8_t *bytes, size_t n)
{
    struct link *l = find_link(t, peer);
    int rc = !l ? KPEER_ENOTFOUND : n > TRANSPORT_MESSAGE_MAX ? KPEER_ELIMIT : send_over(t, l, bytes, n);
    if (rc) {
        t->stats.dropped++;
        return rc;
    }
    l->used_ms = t->now_ms;
    t->stats.sent++;
    t->stats.sent_bytes += n;
    return 0;
}

void transport_knock(struct transport *t, const struct peer_id *peer)
{
    const struct link *l = find_link(t, peer);
    if (l)
        knock(t->knocks, peer, l->ipv4, l->port, t->now_ms);
}

/* The sockets are the first items. */
static void sockets_of(const struct transport *t, void *out[static SOCKETS])
{
    void *const sockets[SOCKETS] = {[ITEM_ROUTER] = t->router,
                                    [ITEM_ZAP] = t->zap,
                                    [ITEM_GATE] = t->router_monitor,
                                    [ITEM_CALLER] = t->caller,
                                    [ITEM_CALLS] = t->caller_monitor};
    memcpy(out, sockets, sizeof sockets);
}

void transport_items(const struct transport *t, struct pollfd items[static TRANSPORT_ITEMS])
{
    void *socket[SOCKETS];
    sockets_of(t, socket);
    for (int i = 0; i < SOCKETS; i++)
        items[i] = (struct pollfd){.fd = zsocket_fd(socket[i]), .events = POLLIN};
    items[ITEM_KNOCKS] = (struct pollfd){.fd = knocks_fd(t->knocks), .events = POLLIN};
}

bool transport_due(struct transport *t)
{
    void *socket[SOCKETS];
    sockets_of(t, socket);
    for (int i = 0; t->touched && i < SOCKETS; i++)
        if (zsocket_has_some(socket[i]))
            return true;
    t->touched = false;
    return false;
}

/* ---- what comes in ---- */

void transport_took(struct transport *t, struct link *l, const void *bytes, size_t n)
{
    struct peer_id peer = l->peer;
    l->used_ms = t->now_ms;
    if (n == 0)
        return;
    t->stats.received++;
    t->stats.received_bytes += n;
    t->callbacks.message(t->ctx, &peer, bytes, n);
}

void transport_lost(struct transport *t, struct link *l)
{
    struct peer_id peer = l->peer;
    if (!transport_connected(l))
        t->callbacks.link_down(t->ctx, &peer);
}

/* Whoever calls takes answers over the same connection. */
static void take_route(struct transport *t, struct link *l, zmq_msg_t *route, zmq_msg_t *body)
{
    size_t n = zmq_msg_size(route);
    if (n > sizeof l->route)
        return;
    memcpy(l->route, zmq_msg_data(route), n);
    l->route_bytes = n;
    l->route_dead = false;
    l->route_fd = zmq_msg_get(body, ZMQ_SRCFD);
    send_waiting(t, l);
}

static void take_message(struct transport *t, zmq_msg_t *route, zmq_msg_t *body)
{
    struct peer_id peer;
    const char *user = zmq_msg_gets(body, "User-Id");
    struct link *l = user && peer_id_parse(user, &peer) == 0 ? find_link(t, &peer) : NULL;
    if (!l) {
        t->stats.unlinked++;
        return;
    }
    if (zmq_msg_size(body) == 0 || !has_route(l))
        take_route(t, l, route, body);
    transport_took(t, l, zmq_msg_data(body), zmq_msg_size(body));
}

static void serve_router(struct transport *t)
{
    for (int i = 0; i < AT_ONCE; i++) {
        zmq_msg_t frames[3];
        size_t n = zsocket_receive(t->router, frames, COUNT_OF(frames));
        if (n == 0)
            return;
        if (n == 2) /* routing id and one body */
            take_message(t, &frames[0], &frames[1]);
        zsocket_free(frames, n);
    }
}

/* A callback may change the list of links. */
static void lose_route(struct transport *t, int fd)
{
    for (size_t i = 0; i < t->link_count;) {
        struct link *l = t->link[i++];
        if (!l->route_bytes || l->route_fd != fd)
            continue;
        l->route_bytes = 0;
        l->route_dead = false;
        transport_lost(t, l);
        i = 0;
    }
}

/* Whoever is connected with us is there, whatever a firewall says to others who knock. */
static void take_refusal(void *ctx, const struct peer_id *peer)
{
    struct transport *t = ctx;
    const struct link *l = find_link(t, peer);
    if (l && !transport_connected(l))
        t->callbacks.refused(t->ctx, peer);
}

static void serve_gate(struct transport *t)
{
    for (int i = 0; i < CONNS_AT_ONCE; i++) {
        zmq_msg_t frames[2];
        uint16_t event = 0;
        uint32_t value = 0;
        size_t n = zsocket_receive_event(t->router_monitor, frames, &event, &value);
        if (n == 0)
            break;
        zsocket_free(frames, n);
        uint32_t from = event == ZMQ_EVENT_ACCEPTED ? gate_address((int)value) : 0;
        if (event == ZMQ_EVENT_ACCEPTED) {
            gate_accepted(t->gate, (int)value, from, is_member(t, from), t->now_ms);
        } else {
            gate_closed(t->gate, (int)value);
            lose_route(t, (int)value);
        }
    }
    keep_gate(t, false);
}

void transport_ready(struct transport *t, const struct pollfd items[static TRANSPORT_ITEMS], uint64_t now_ms)
{
    static void (*const serve[SOCKETS])(struct transport * t) = {[ITEM_ROUTER] = serve_router,
                                                                 [ITEM_ZAP] = admit_serve,
                                                                 [ITEM_GATE] = serve_gate,
                                                                 [ITEM_CALLER] = call_serve,
                                                                 [ITEM_CALLS] = call_serve_events};
    _Static_assert(ITEM_COUNT == TRANSPORT_ITEMS, "an item for each socket, and one for the knocks");
    void *socket[SOCKETS];
    t->now_ms = now_ms;
    sockets_of(t, socket);
    for (int i = 0; i < SOCKETS; i++)
        t->touched |= items[i].revents != 0;
    if (t->touched)
        serve_gate(t); /* first, and always: a connection's descriptor may be the next one's by now */
    for (int i = 0; t->touched && i < SOCKETS; i++)
        if (i != ITEM_GATE && zsocket_has_some(socket[i]))
            serve[i](t);
    if (items[ITEM_KNOCKS].revents)
        knocks_serve(t->knocks, t->now_ms);
}

/* Whoever was to call us has not: perhaps it cannot, or does not hear us. */
static uint64_t call_instead(struct transport *t)
{
    uint64_t wake = UINT64_MAX;
    for (size_t i = 0; i < t->link_count; i++) {
        struct link *l = t->link[i];
        if (!l->first)
            continue;
        if (t->now_ms >= l->wait_until_ms) {
            (void)call(t, l, NULL);
            l->wait_until_ms = t->now_ms + CALLED_MS;
            if (l->call)
                send_waiting(t, l);
        }
        if (l->first && l->wait_until_ms < wake)
            wake = l->wait_until_ms;
    }
    return wake;
}

uint64_t transport_tick(struct transport *t, uint64_t now_ms)
{
    t->now_ms = now_ms;
    uint64_t calls = call_tick(t), waiting = call_instead(t), admit = admit_tick(t);
    if (gate_wake(t->gate, now_ms) != UINT64_MAX)
        keep_gate(t, false);
    uint64_t gate = gate_wake(t->gate, now_ms);
    uint64_t wake = calls < waiting ? calls : waiting;
    wake = admit < wake ? admit : wake;
    return gate < wake ? gate : wake;
}

const struct transport_stats *transport_stats(const struct transport *t)
{
    return &t->stats;
}

size_t transport_link_count(const struct transport *t, size_t *up)
{
    size_t down = 0;
    *up = 0;
    for (size_t i = 0; i < t->link_count; i++) {
        bool connected = transport_connected(t->link[i]);
        *up += connected;
        down += !connected && t->link[i]->keep;
    }
    return *up + down;
}
