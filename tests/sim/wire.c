#include <stdlib.h>
#include <string.h>

#include "discovery/beacon.h"
#include "discovery/pulse.h"
#include "protocol/mem.h"
#include "protocol/node_state.h"
#include "tests/sim/world.h"

bool chance(struct world *w, uint32_t per_mille)
{
    return per_mille && w->now_ms < w->s->faults_ms && draw_below(&w->net_rng, 1000) < per_mille;
}

/* ---- packets ---- */

static struct packet *packet_new(struct world *w, const struct host *from, const uint8_t *bytes, size_t n)
{
    struct packet *p = calloc(1, sizeof *p);
    uint8_t *copy = malloc(n ? n : 1);
    if (!p || !copy)
        abort();
    memcpy(copy, bytes, n);
    p->holders = 1;
    p->from = from->slot;
    p->group = from->group;
    p->sender = from->identity->id;
    memcpy(p->box_pk, from->identity->box_pk, sizeof p->box_pk);
    memcpy(p->address, from->address, sizeof p->address);
    p->bytes = copy;
    p->n = n;
    p->number = ++w->packets;
    return p;
}

void packet_release(struct packet *p)
{
    if (--p->holders > 0)
        return;
    free(p->bytes);
    free(p);
}

/* Somebody on the subnet records everything, and has room for so much. */
static void remember(struct world *w, struct packet *p)
{
    struct packet **place = &w->memory[p->number % REMEMBER_MAX];
    if (!scenario_has(w->s, INCIDENT_REPLAY))
        return;
    if (*place)
        packet_release(*place);
    *place = p;
    p->holders++;
}

/* ---- on the way ---- */

static bool on_other_side(uint64_t sides, uint32_t a, uint32_t b)
{
    return ((sides >> (a % 64) ^ sides >> (b % 64)) & 1) != 0;
}

bool wire_parted(const struct world *w, const struct host *from, const struct host *to)
{
    for (uint32_t i = 0; i < w->s->incident_count; i++) {
        const struct parting *p = &w->parting[i];
        if (w->now_ms < p->until_ms && on_other_side(p->sides, from->slot, to->slot) &&
            (!p->one_way || (p->sides >> (from->slot % 64) & 1)))
            return true;
    }
    return false;
}

static void deliver(struct world *w, const struct host *from, const struct host *to, struct packet *p)
{
    if (wire_parted(w, from, to) || chance(w, w->s->loss))
        return;
    for (unsigned copies = chance(w, w->s->doubled) ? 2 : 1; copies > 0; copies--) {
        uint64_t late = chance(w, w->s->slow) ? draw_below(&w->net_rng, 300) : 0;
        p->holders++;
        queue_put(&w->queue, (struct item){.at_ms = w->now_ms + 1 + draw_below(&w->net_rng, 4) + late,
                                           .kind = H_PACKET,
                                           .host = to->slot,
                                           .packet = p});
        w->out->messages++;
        w->out->bytes += p->n;
        if (p->kind == PACKET_BEACON) {
            w->out->beacons.messages++;
            w->out->beacons.bytes += p->n;
        }
    }
}

void wire_cast(struct world *w, struct host *h, const uint8_t *bytes, size_t n)
{
    struct packet *p = packet_new(w, h, bytes, n);
    p->kind = PACKET_BEACON;
    remember(w, p);
    for (uint32_t i = 0; i < w->slots; i++) {
        const struct host *to = &w->host[i];
        if (to != h && to->up && w->now_ms >= to->deaf_until_ms)
            deliver(w, h, to, p);
    }
    packet_release(p);
}

void wire_pass(struct world *w, struct host *h, struct host *to, const uint8_t *bytes, size_t n)
{
    struct packet *p = packet_new(w, h, bytes, n);
    p->to = to->slot;
    remember(w, p);
    deliver(w, h, to, p);
    packet_release(p);
}

void wire_forge(struct world *w, struct host *h, struct host *to, const uint8_t *bytes, size_t n)
{
    struct packet *p = packet_new(w, h, bytes, n);
    p->to = to->slot;
    p->forged = true;
    deliver(w, h, to, p);
    packet_release(p);
}

void wire_beacon(struct world *w, struct host *h, const struct hello *hello)
{
    struct beacon b = {.hello = *hello, .interface = 2};
    uint8_t nonce[SEAL_NONCE_BYTES], bytes[BEACON_MAX_BYTES];
    size_t n = 0;
    struct err err;
    for (size_t i = 0; i < sizeof nonce; i++)
        nonce[i] = (uint8_t)draw(&w->net_rng);
    if (address_parse(h->address, &b.address) != 0 ||
        beacon_encode(keys_seal(h, hello->epoch), nonce, &b, bytes, &n, &err) != 0) {
        broken(w, 0, "%s makes a beacon that cannot be written", h->name);
        return;
    }
    wire_cast(w, h, bytes, n);
    if (liar_is(w, h))
        liar_beacon(w, h, hello);
}

static struct host *at_address(struct world *w, const char *address)
{
    for (uint32_t i = 0; i < w->slots; i++)
        if (strcmp(w->host[i].address, address) == 0)
            return &w->host[i];
    return NULL;
}

/* A datagram of this kind to whoever has that address, if anybody. */
static void send_alone(struct world *w, struct host *h, const struct action *a, enum packet_kind kind,
                       const uint8_t *bytes, size_t n)
{
    struct host *to = at_address(w, a->address);
    if (!to)
        return;
    struct packet *p = packet_new(w, h, bytes, n);
    p->kind = kind;
    p->to = to->slot;
    remember(w, p);
    deliver(w, h, to, p);
    packet_release(p);
}

void wire_pulse(struct world *w, struct host *h, const struct action *a)
{
    uint8_t nonce[SEAL_NONCE_BYTES], bytes[PULSE_MAX_BYTES];
    size_t n = 0;
    for (size_t i = 0; i < sizeof nonce; i++)
        nonce[i] = (uint8_t)draw(&w->net_rng);
    if (pulse_encode(keys_seal(h, a->pulse.epoch), nonce, &a->pulse, bytes, &n, NULL) != 0)
        broken(w, 0, "%s makes a pulse that cannot be written", h->name);
    else
        send_alone(w, h, a, PACKET_PULSE, bytes, n);
}

/* ---- links ---- */

static bool leads_to(const struct host *h, uint32_t slot, const struct peer_id *peer)
{
    return h->link[slot].up && peer_id_equal(&h->link[slot].peer, peer);
}

/* The host that the link to `peer` leads to; NULL when there is none. */
struct host *wire_partner(struct world *w, const struct host *h, const struct peer_id *peer)
{
    uint32_t likely = w->likely[likely_place(peer)];
    if (w->slots == w->s->hosts && leads_to(h, likely, peer)) /* without clones there is one at most */
        return &w->host[likely];
    for (uint32_t i = 0; i < w->slots; i++)
        if (leads_to(h, i, peer))
            return &w->host[i];
    return NULL;
}

void wire_send(struct world *w, struct host *h, const struct peer_id *to, const uint8_t *bytes, size_t n)
{
    struct host *partner = wire_partner(w, h, to);
    if (partner && partner->up)
        wire_pass(w, h, partner, bytes, n);
    if (liar_is(w, h))
        liar_message(w, h, to);
}

void wire_link(struct world *w, struct host *h, const struct action *a)
{
    const struct host *likely = &w->host[w->likely[likely_place(&a->peer)]];
    const struct host *to = strcmp(likely->address, a->address) == 0 ? likely : at_address(w, a->address);
    wire_unlink(h, w->slots, &a->peer);
    if (!to)
        return;
    struct link *l = &h->link[to->slot];
    /* A slot has room for one: a link to who that host was before does not take that of who it is now. */
    if (l->up && peer_id_equal(&l->peer, &to->identity->id) && !peer_id_equal(&a->peer, &l->peer))
        return;
    l->up = true;
    l->peer = a->peer;
    memcpy(l->box_pk, a->box_pk, sizeof l->box_pk);
}

void wire_unlink(struct host *h, uint32_t slots, const struct peer_id *peer)
{
    for (uint32_t i = 0; i < slots; i++)
        if (h->link[i].up && peer_id_equal(&h->link[i].peer, peer))
            h->link[i].up = false;
}

/* Whose agent is down may have a host that is up, which says so; or it lost power. It may be back when that
 * is heard.
 */
void wire_knock(struct world *w, struct host *h, const struct peer_id *peer)
{
    const struct host *partner = wire_partner(w, h, peer);
    if (!partner || partner->up || wire_parted(w, h, partner) || draw(&w->net_rng) % 2)
        return;
    queue_put(&w->queue, (struct item){.at_ms = w->now_ms + 1 + draw_below(&w->net_rng, 5),
                                       .kind = H_REFUSED,
                                       .host = h->slot,
                                       .number = partner->slot});
}

void wire_break(struct world *w, struct host *h)
{
    memset(h->link, 0, w->slots * sizeof *h->link);
    for (uint32_t i = 0; i < w->slots; i++)
        if (w->host[i].up && w->host[i].link[h->slot].up && draw(&w->net_rng) % 2)
            queue_put(&w->queue, (struct item){.at_ms = w->now_ms + 1 + draw_below(&w->net_rng, 5),
                                               .kind = H_LINK_DOWN,
                                               .host = i,
                                               .number = h->slot});
}

/* ---- arriving ---- */

/* A beacon of another group, altered, or not from anybody with the key ends here, as it does in discovery/.
 */
static const struct ring_key *open_beacon(struct world *w, const struct host *h, struct packet *p)
{
    const struct ring_key *k = keys_find(h, p->bytes, p->n);
    struct beacon b;
    if (!k || p->opened)
        return k;
    if (beacon_decode(k->seal, p->bytes, p->n, &b, NULL) != 0)
        return NULL;
    if (p->group != h->group || p->altered)
        broken(w, 7, "%s opened a beacon that was %s", h->name, p->altered ? "altered" : "of another group");
    p->hello = b.hello;
    p->opened = true;
    return k;
}

/* A start of this number is known, and it is not this one. */
static bool of_another_instance(const struct host *h, const struct hello *hello)
{
    const struct member *m = node_member(h->node, &hello->id);
    return m && !m->self && m->boot == hello->boot && m->instance != hello->instance;
}

/* False: refused for the key that it is sealed under, which may be another matter tomorrow, so that it was
 * not heard. Without a rotation whatever is refused is refused for good. */
static bool taken(struct world *w, struct host *h, const struct node_event *ev)
{
    uint64_t generation = h->generation, before = host_dropped(h);
    host_feed(w, h, ev);
    return w->newest[h->group] == 0 || h->generation != generation || host_dropped(h) == before;
}

static void beacon_arrives(struct world *w, struct host *h, struct packet *p)
{
    struct hello hello;
    struct node_event ev = {.kind = EV_HELLO, .hello = &hello};
    memcpy(ev.address, p->address, sizeof ev.address);
    const struct ring_key *k = open_beacon(w, h, p);
    if (!k)
        return;
    hello = p->hello;
    hello.epoch = k->epoch;
    if (k->closed) { /* evidence of nothing, and told again as often as it comes */
        host_feed(w, h, &ev);
        return;
    }
    bool own = peer_id_equal(&p->hello.id, &h->identity->id); /* reflected, or a clone's */
    struct heard_packet *last = &h->heard[p->from].beacon;
    bool again = p->number <= last->number && peer_id_equal(&last->id, &p->hello.id);
    if (again && !own && !liar_is(w, &w->host[p->from])) {
        host_feed_again(w, h, &ev, "a beacon that it had heard before");
        return;
    }
    struct heard_packet was = *last;
    *last = (struct heard_packet){p->number, p->hello.id};
    if (of_another_instance(h, &p->hello))
        host_feed_again(w, h, &ev, "a beacon of another instance");
    else if (!taken(w, h, &ev))
        *last = was;
}

/* The other end's key is the one that we admit, and the other way round. */
static bool admitted(struct world *w, const struct host *h, const struct packet *p)
{
    if (leads_to(h, p->from, &p->sender))
        return memcmp(h->link[p->from].box_pk, p->box_pk, BOX_PK_BYTES) == 0;
    for (uint32_t i = 0; i < w->slots; i++)
        if (h->link[i].up && peer_id_equal(&h->link[i].peer, &p->sender))
            return memcmp(h->link[i].box_pk, p->box_pk, BOX_PK_BYTES) == 0;
    return false;
}

static void message_arrives(struct world *w, struct host *h, struct packet *p)
{
    struct node_event ev = {.kind = EV_MESSAGE, .peer = p->sender, .bytes = p->bytes, .n = p->n};
    if (p->group != h->group || !admitted(w, h, p))
        return;
    if (p->taken == h->generation || p->forged) {
        host_feed_again(w, h, &ev,
                        p->forged ? "a message in another's name" : "a message that it had heard before");
        return;
    }
    uint64_t generation = h->generation;
    p->taken = generation;
    if (!taken(w, h, &ev) && p->taken == generation)
        p->taken = 0;
    if (h->up && liar_is(w, h))
        liar_hears(w, h);
}

void wire_hand(struct world *w, struct host *h, const struct action *a)
{
    send_alone(w, h, a, PACKET_KEY, a->bytes, a->n);
}

static void pulse_arrives(struct world *w, struct host *h, const struct packet *p)
{
    const struct ring_key *k = keys_find(h, p->bytes, p->n);
    struct pulse pulse;
    struct node_event ev = {.kind = EV_PULSE, .pulse = &pulse};
    if (!k || pulse_decode(k->seal, p->bytes, p->n, &pulse, NULL) != 0)
        return;
    if (p->group != h->group || p->altered)
        broken(w, 7, "%s opened a pulse that was %s", h->name, p->altered ? "altered" : "of another group");
    pulse.epoch = k->epoch;
    struct heard_packet *last = &h->heard[p->from].pulse;
    if (p->number <= last->number && peer_id_equal(&last->id, &pulse.id) && !liar_is(w, &w->host[p->from])) {
        host_feed_again(w, h, &ev, "a pulse that it had heard before");
        return;
    }
    uint64_t generation = h->generation, before = host_dropped(h);
    host_feed(w, h, &ev);
    if (h->generation == generation && host_dropped(h) == before)
        *last = (struct heard_packet){p->number, pulse.id};
}

void wire_arrive(struct world *w, struct host *h, struct packet *p)
{
    switch (p->kind) {
    case PACKET_MESSAGE:
        message_arrives(w, h, p);
        break;
    case PACKET_BEACON:
        beacon_arrives(w, h, p);
        break;
    case PACKET_PULSE:
        pulse_arrives(w, h, p);
        break;
    case PACKET_KEY:
        if (keys_find(h, p->bytes, p->n))
            host_feed(w, h, &(struct node_event){.kind = EV_HANDED, .bytes = p->bytes, .n = p->n});
        break;
    }
}

/* What was recorded is sent again, or altered by a bit. Links would not take it (CURVE); the core must not.
 */
void wire_replay(struct world *w, struct host *at)
{
    for (size_t i = 0; i < REMEMBER_MAX; i++) {
        struct packet *p = w->memory[i];
        if (!p || draw(&w->net_rng) % 3 == 0)
            continue;
        bool datagram = p->kind == PACKET_BEACON || p->kind == PACKET_PULSE;
        bool altered = datagram && p->n > 0 && draw(&w->net_rng) % 4 == 0;
        struct packet *again = p;
        if (altered) {
            again = packet_new(w, &w->host[p->from], p->bytes, p->n);
            again->kind = p->kind;
            again->to = p->to;
            again->altered = true;
            again->bytes[draw_below(&w->net_rng, p->n)] ^= (uint8_t)(1 << draw(&w->net_rng) % 8);
        } else {
            p->holders++;
        }
        queue_put(&w->queue, (struct item){.at_ms = w->now_ms + 1 + draw_below(&w->net_rng, 50),
                                           .kind = H_PACKET,
                                           .host = p->kind == PACKET_BEACON ? at->slot : p->to,
                                           .packet = again});
    }
}
