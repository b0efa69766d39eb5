/*
 * Who may connect with us: the admission of RFC 27 (ZAP), where libzmq asks for each connection and waits for
 * the answer.
 *
 * The one that calls has heard us; its own beacon may still be on its way to us, or be next in our queue. So
 * a key that is not known yet keeps its answer for a moment: one that says no is not tried again before
 * libzmq gives up the handshake, which takes seconds. Nobody without our public key, which goes sealed, comes
 * so far.
 */
#include <string.h>

#include "peer/agent/transport_state.h"
#include "peer/agent/zsocket.h"
#include "protocol/mem.h"

#define ZAP_ENDPOINT "inproc://zeromq.zap.01"
#define AT_ONCE      64   /* questions taken in a row */
#define UNKNOWN_MS   1500 /* so long the answer is kept: a beat, and half of one */

enum zap_frame { ROUTE, EMPTY, VERSION, REQUEST, DOMAIN, ADDRESS, IDENTITY, MECHANISM, KEY, ZAP_FRAMES };
_Static_assert(REQUEST + 1 == ASKING_FRAMES, "an answer begins with the question's first frames");

int admit_open(struct transport *t, struct err *err)
{
    static const struct zsocket_option options[] = {{ZMQ_LINGER, 0}};
    t->zap = zmq_socket(t->zmq, ZMQ_ROUTER);
    if (!t->zap || zsocket_set(t->zap, options, COUNT_OF(options), err) || zmq_bind(t->zap, ZAP_ENDPOINT))
        return zsocket_error(err, "cannot open the admission socket");
    return 0;
}

/* The answer: the question's first frames, and then whose key it is; NULL: nobody's. That is 300, "try
 * again", for on a 400 libzmq's client would give up for ever. */
static void answer(struct transport *t, zmq_msg_t *frame, const struct link *l)
{
    char user[PEER_ID_TEXT] = "";
    t->touched = true;
    if (l)
        peer_id_text(&l->peer, user);
    else
        t->stats.refused++;
    for (int i = ROUTE; i <= REQUEST; i++)
        zmq_msg_send(&frame[i], t->zap, ZMQ_SNDMORE | ZMQ_DONTWAIT);
    zmq_send(t->zap, l ? "200" : "300", 3, ZMQ_SNDMORE | ZMQ_DONTWAIT);
    zmq_send(t->zap, "", 0, ZMQ_SNDMORE | ZMQ_DONTWAIT);
    zmq_send(t->zap, user, strlen(user), ZMQ_SNDMORE | ZMQ_DONTWAIT);
    zmq_send(t->zap, "", 0, ZMQ_DONTWAIT);
}

static const struct link *link_of_key(const struct transport *t, const uint8_t *box_pk)
{
    for (size_t i = 0; i < t->link_count; i++)
        if (memcmp(t->link[i]->box_pk, box_pk, BOX_PK_BYTES) == 0)
            return t->link[i];
    return NULL;
}

static bool keep(struct transport *t, zmq_msg_t *frame)
{
    struct asking *a = t->asking;
    while (a < t->asking + ASKING_MAX && a->until_ms)
        a++;
    if (a == t->asking + ASKING_MAX)
        return false;
    memcpy(a->box_pk, zmq_msg_data(&frame[KEY]), BOX_PK_BYTES);
    a->until_ms = t->now_ms + UNKNOWN_MS;
    for (int i = ROUTE; i <= REQUEST; i++) {
        zmq_msg_init(&a->frame[i]);
        zmq_msg_move(&a->frame[i], &frame[i]);
    }
    return true;
}

static void end_asking(struct transport *t, struct asking *a, const struct link *l)
{
    answer(t, a->frame, l);
    zsocket_free(a->frame, COUNT_OF(a->frame));
    a->until_ms = 0;
}

static void take_question(struct transport *t, zmq_msg_t *frame, size_t n)
{
    const struct link *l = NULL;
    if (n <= REQUEST || zmq_msg_size(&frame[EMPTY]) != 0)
        return;
    if (n == ZAP_FRAMES && zsocket_is(&frame[VERSION], "1.0") && zsocket_is(&frame[DOMAIN], ZAP_DOMAIN) &&
        zsocket_is(&frame[MECHANISM], "CURVE") && zmq_msg_size(&frame[KEY]) == BOX_PK_BYTES) {
        l = link_of_key(t, zmq_msg_data(&frame[KEY]));
        if (!l && keep(t, frame))
            return;
    }
    answer(t, frame, l);
}

void admit_serve(struct transport *t)
{
    zmq_msg_t frames[ZAP_FRAMES];
    for (int i = 0; i < AT_ONCE; i++) {
        size_t n = zsocket_receive(t->zap, frames, COUNT_OF(frames));
        if (n == 0)
            return;
        take_question(t, frames, n);
        zsocket_free(frames, n);
    }
}

void admit_linked(struct transport *t, const struct link *l)
{
    for (struct asking *a = t->asking; a < t->asking + ASKING_MAX; a++)
        if (a->until_ms && memcmp(a->box_pk, l->box_pk, BOX_PK_BYTES) == 0)
            end_asking(t, a, l);
}

uint64_t admit_tick(struct transport *t)
{
    uint64_t wake = UINT64_MAX;
    for (struct asking *a = t->asking; a < t->asking + ASKING_MAX; a++) {
        if (a->until_ms && t->now_ms >= a->until_ms)
            end_asking(t, a, NULL);
        if (a->until_ms && a->until_ms < wake)
            wake = a->until_ms;
    }
    return wake;
}

void admit_close(struct transport *t)
{
    for (struct asking *a = t->asking; a < t->asking + ASKING_MAX; a++)
        if (a->until_ms)
            zsocket_free(a->frame, COUNT_OF(a->frame));
    zsocket_close(&t->zap);
}
