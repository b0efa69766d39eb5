/*
 * The connections that we make, all on one ROUTER: each has a name there that is used once, so that whatever
 * comes late from a connection that was ended finds nobody.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "peer/agent/transport_state.h"
#include "peer/agent/zsocket.h"
#include "protocol/mem.h"

#define CALL_ENDPOINT    "inproc://calls"
#define EVENTS_WAITING   16384
#define RECONNECT_MS     100 /* … and up to twice as long: less often than the other side's gate allows */
#define RECONNECT_MAX_MS 1000
#define REMAKE_MS        1000 /* after a handshake that libzmq does not try again */
#define AT_ONCE          64   /* messages or events taken in a row */
#define IDLE_MS          60000
#define IDLE_LOOK_MS     15000

int call_open(struct transport *t, struct err *err)
{
    const int events = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED |
                       ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;
    static const struct zsocket_option options[] = {
        {ZMQ_ROUTER_MANDATORY, 1},           /* a full queue is told */
        {ZMQ_CONNECT_TIMEOUT, HANDSHAKE_MS}, /* the kernel would wait longer after each try */
        {ZMQ_RECONNECT_IVL, RECONNECT_MS},
        {ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS}};
    t->caller = zmq_socket(t->zmq, ZMQ_ROUTER);
    if (!t->caller)
        return zsocket_error(err, "cannot open the calling socket");
    int rc = transport_set_common(t->caller, err);
    if (!rc)
        rc = zsocket_set(t->caller, options, COUNT_OF(options), err);
    if (!rc)
        rc = zsocket_set_key(t->caller, ZMQ_CURVE_PUBLICKEY, t->me->box_pk, err);
    if (!rc)
        rc = zsocket_set_key(t->caller, ZMQ_CURVE_SECRETKEY, t->me->box_sk, err);
    return rc ? rc
              : zsocket_watch(t->zmq, t->caller, CALL_ENDPOINT, events, EVENTS_WAITING, &t->caller_monitor,
                              err);
}

/* libzmq ends connections by their endpoint: two links must not share one. */
static bool is_taken(const struct transport *t, const struct link *l)
{
    for (size_t i = 0; i < t->link_count; i++)
        if (t->link[i] != l && t->link[i]->call && strcmp(t->link[i]->endpoint, l->endpoint) == 0)
            return true;
    return false;
}

/* libzmq takes these options as they are when a connection is made. */
static int begin(struct transport *t, struct link *l, struct err *err)
{
    bool v6 = strchr(l->address, ':') != NULL;
    const struct zsocket_option options[] = {{ZMQ_IPV6, v6}};
    uint64_t name = ++t->serial;
    t->touched = true;
    snprintf(l->endpoint, sizeof l->endpoint, v6 ? "tcp://[%s]:%u" : "tcp://%s:%u", l->address, l->port);
    if (is_taken(t, l))
        return err_set(err, KPEER_ESTATE, "another peer is at %s", l->endpoint);
    int rc = zsocket_set(t->caller, options, COUNT_OF(options), err);
    if (!rc)
        rc = zsocket_set_key(t->caller, ZMQ_CURVE_SERVERKEY, l->box_pk, err);
    if (rc)
        return rc;
    if (zmq_setsockopt(t->caller, ZMQ_CONNECT_ROUTING_ID, &name, sizeof name) ||
        zmq_connect(t->caller, l->endpoint))
        return zsocket_error(err, "cannot connect a link");
    l->call = name;
    return 0;
}

/* An empty message: whoever gets it can answer over this connection. */
static void announce(struct transport *t, struct link *l)
{
    l->announced = call_send(t, l, NULL, 0) == 0;
}

int call(struct transport *t, struct link *l, struct err *err)
{
    if (l->call || l->remake_ms)
        return 0;
    int rc = begin(t, l, err);
    if (rc)
        l->remake_ms = t->now_ms + REMAKE_MS;
    else
        announce(t, l);
    return rc;
}

void call_end(struct transport *t, struct link *l)
{
    if (l->call) {
        zmq_disconnect(t->caller, l->endpoint);
        t->touched = true;
    }
    l->call = 0;
    l->up = l->announced = false;
    l->remake_ms = 0;
}

int call_send(struct transport *t, struct link *l, const uint8_t *bytes, size_t n)
{
    t->touched = true;
    if (zmq_send(t->caller, &l->call, sizeof l->call, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0) {
        bool ended = zmq_errno() == EHOSTUNREACH; /* by libzmq, for good, and not always with an event */
        if (ended) {
            call_end(t, l);
            l->remake_ms = t->now_ms + REMAKE_MS;
        }
        return KPEER_ELIMIT;
    }
    return zmq_send(t->caller, bytes, n, ZMQ_DONTWAIT) < 0 ? KPEER_ELIMIT : 0;
}

static struct link *link_of_call(const struct transport *t, zmq_msg_t *name)
{
    uint64_t call = 0;
    if (zmq_msg_size(name) != sizeof call)
        return NULL;
    memcpy(&call, zmq_msg_data(name), sizeof call);
    for (size_t i = 0; call && i < t->link_count; i++)
        if (t->link[i]->call == call)
            return t->link[i];
    return NULL;
}

void call_serve(struct transport *t)
{
    for (int i = 0; i < AT_ONCE; i++) {
        zmq_msg_t frames[3];
        size_t n = zsocket_receive(t->caller, frames, COUNT_OF(frames));
        if (n == 0)
            return;
        struct link *l = n == 2 ? link_of_call(t, &frames[0]) : NULL;
        if (l)
            transport_took(t, l, zmq_msg_data(&frames[1]), zmq_msg_size(&frames[1]));
        zsocket_free(frames, n);
    }
}

static void take_event(struct transport *t, struct link *l, uint16_t event)
{
    if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
        t->stats.handshakes++;
        l->up = true;
        if (!l->announced)
            announce(t, l);
        return;
    }
    t->stats.handshakes_failed += event != ZMQ_EVENT_DISCONNECTED;
    /* After such a failed handshake libzmq does not connect anew; we do. */
    if (event != ZMQ_EVENT_DISCONNECTED && !l->remake_ms)
        l->remake_ms = t->now_ms + REMAKE_MS;
    if (!l->up)
        return;
    l->up = l->announced = false;
    transport_lost(t, l);
}

static struct link *link_of_endpoint(const struct transport *t, zmq_msg_t *endpoint)
{
    for (size_t i = 0; i < t->link_count; i++)
        if (t->link[i]->call && zsocket_is(endpoint, t->link[i]->endpoint))
            return t->link[i];
    return NULL;
}

void call_serve_events(struct transport *t)
{
    for (int i = 0; i < AT_ONCE; i++) {
        zmq_msg_t frames[2];
        uint16_t event = 0;
        uint32_t value = 0;
        size_t n = zsocket_receive_event(t->caller_monitor, frames, &event, &value);
        if (n == 0)
            return;
        struct link *l = n == 2 ? link_of_endpoint(t, &frames[1]) : NULL;
        if (l)
            take_event(t, l, event);
        zsocket_free(frames, n);
    }
}

static void end_idle(struct transport *t)
{
    if (t->now_ms < t->idle_look_ms)
        return;
    t->idle_look_ms = t->now_ms + IDLE_LOOK_MS;
    for (size_t i = 0; i < t->link_count; i++) {
        struct link *l = t->link[i];
        if (l->call && !l->keep && t->now_ms >= l->used_ms + IDLE_MS)
            call_end(t, l);
    }
}

uint64_t call_tick(struct transport *t)
{
    end_idle(t);
    uint64_t wake = t->idle_look_ms;
    for (size_t i = 0; i < t->link_count; i++) {
        struct link *l = t->link[i];
        if (l->remake_ms && t->now_ms >= l->remake_ms) {
            call_end(t, l);
            (void)call(t, l, NULL);
        }
        if (l->up && !l->announced)
            announce(t, l);
        if (l->remake_ms && l->remake_ms < wake)
            wake = l->remake_ms;
    }
    return wake;
}
