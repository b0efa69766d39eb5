/*
 * A member that lies: it holds the group's key and a right identity, runs the core as everybody does, and
 * says well-formed things besides that are not so.
 *
 * A forger does not touch its own promises. Whatever it says in the name of others, of the control plane, or
 * of a majority must change nothing: invariants 1 to 7 hold with it, and only progress is not owed. A traitor
 * also breaks its own promises, to one this and to the other that. Sets that it belongs to are then lost
 * (a majority counts on each of its members); what holds all the same is that nobody joins anything but a
 * record that a majority signed.
 */
#include <stdlib.h>
#include <string.h>

#include "discovery/beacon.h"
#include "protocol/mem.h"
#include "protocol/node_state.h"
#include "tests/sim/world.h"

#define LIES_PER_MILLE 60

bool liar_is(const struct world *w, const struct host *h)
{
    return w->s->liar != LIAR_NONE && h->slot == w->s->group_of_second - 1;
}

static uint64_t pick(struct world *w, uint64_t n)
{
    return draw_below(&w->liar_rng, n);
}

static bool lies_now(struct world *w)
{
    return w->now_ms < w->s->faults_ms && pick(w, 1000) < LIES_PER_MILLE;
}

static struct member *somebody(struct world *w, struct host *h)
{
    return h->node->member[pick(w, h->node->member_count)];
}

/* ---- beacons ---- */

static void wild_fields(struct world *w, struct hello *hello)
{
    hello->counter += 1 + pick(w, 1000);
    hello->digest = draw(&w->liar_rng);
    hello->members = (uint32_t)pick(w, 5000);
    hello->age_ms = pick(w, 1u << 30);
    if (pick(w, 2))
        hello->wall_ms += (int64_t)pick(w, 1u << 30) - (1 << 29);
}

/* In another's name: its keys are known to everybody who holds the group's. */
static void in_the_name_of(struct world *w, const struct member *m, struct hello *hello)
{
    hello->id = m->id;
    memcpy(hello->sign_pk, m->sign_pk, sizeof hello->sign_pk);
    hello->boot = m->boot;
    hello->instance = m->instance;
    hello->counter = m->hello_counter + 1;
    if (pick(w, 2))
        hello->instance ^= 1;
}

void liar_beacon(struct world *w, struct host *h, const struct hello *hello)
{
    struct beacon b = {.hello = *hello, .interface = 2};
    uint8_t nonce[SEAL_NONCE_BYTES], bytes[BEACON_MAX_BYTES];
    size_t n = 0;
    if (!lies_now(w))
        return;
    const struct member *m = somebody(w, h);
    if (m->self)
        wild_fields(w, &b.hello);
    else
        in_the_name_of(w, m, &b.hello);
    for (size_t i = 0; i < sizeof nonce; i++)
        nonce[i] = (uint8_t)draw(&w->liar_rng);
    if (address_parse(h->address, &b.address) != 0 ||
        beacon_encode(keys_seal(h, hello->epoch), nonce, &b, bytes, &n, NULL) != 0)
        return;
    tell(w, h, "lies: a beacon %s", m->self ? "with wild numbers" : "in another's name");
    wire_cast(w, h, bytes, n);
}

/* ---- messages ---- */

static void begin(struct world *w, struct host *h, struct pack_writer *out, enum message type, size_t fields,
                  const struct member *m)
{
    pack_writer_init(out, NET_MESSAGE_MAX);
    pack_put_array(out, 5 + fields);
    pack_put_uint(out, type);
    pack_put_bin(out, m->id.b, sizeof m->id.b);
    pack_put_uint(out, m->boot);
    pack_put_uint(out, m->instance);
    pack_put_uint(out, m->self ? ++h->node->message_counter : m->message_counter + 1 + pick(w, 1000));
}

static void finish(struct world *w, struct host *h, struct host *to, struct pack_writer *out, bool forged)
{
    uint8_t nonce[SEAL_NONCE_BYTES];
    if (pack_writer_end(out, NULL) == 0) {
        uint8_t *sealed = malloc(out->used + SEAL_OVERHEAD_BYTES);
        if (!sealed)
            abort();
        for (size_t i = 0; i < sizeof nonce; i++)
            nonce[i] = (uint8_t)draw(&w->liar_rng);
        size_t n = seal_close(keys_seal(h, UINT32_MAX), SEAL_MESSAGE, nonce, out->bytes, out->used, sealed);
        (forged ? wire_forge : wire_pass)(w, h, to, sealed, n);
        free(sealed);
    }
    pack_writer_fini(out);
}

static void push(struct world *w, struct host *h, struct host *to, const uint8_t *wire, size_t n,
                 const uint8_t *record, size_t record_n)
{
    struct pack_writer out;
    begin(w, h, &out, MSG_PUSH, 2, node_self(h->node));
    pack_put_array(&out, wire ? 1 : 0);
    if (wire)
        pack_put_raw(&out, wire, n);
    if (record)
        pack_put_bin(&out, record, record_n);
    else
        pack_put_nil(&out);
    finish(w, h, to, &out, false);
}

static void state(struct world *w, struct host *h, struct host *to, enum statement_kind kind,
                  const struct peer_id *subject, const uint8_t *payload, size_t n)
{
    uint8_t *wire = NULL;
    size_t wire_n = 0;
    uint64_t version = h->node->boot << 32 | ++h->node->statement_count;
    if (n && statement_encode(h->identity, h->node->group_id, kind, subject, version, payload, n, &wire,
                              &wire_n, NULL) == 0)
        push(w, h, to, wire, wire_n, NULL, 0);
    free(wire);
}

/* What another has said, one byte of it altered. */
static void alter_statement(struct world *w, struct host *h, struct host *to)
{
    const struct gossip *g = &h->node->gossip;
    if (g->count == 0)
        return;
    const struct gossip_item *item = &g->item[pick(w, g->count)];
    uint8_t *copy = malloc(item->wire_bytes);
    if (!copy)
        abort();
    memcpy(copy, item->wire, item->wire_bytes);
    copy[pick(w, item->wire_bytes)] ^= (uint8_t)(1 << pick(w, 8));
    tell(w, h, "lies: passes on an altered statement");
    push(w, h, to, copy, item->wire_bytes, NULL, 0);
    free(copy);
}

/* A statement in another's name, newer than all it said, with the liar's signature under it. */
static void forge_statement(struct world *w, struct host *h, struct host *to)
{
    const struct member *m = somebody(w, h);
    struct identity as = *h->identity;
    struct ballot b = {.floor = 1 + (uint32_t)pick(w, 1000)};
    uint8_t payload[STATEMENT_PAYLOAD_MAX], *wire = NULL;
    size_t n = ballot_encode(&b, payload), wire_n = 0;
    as.id = m->id;
    memcpy(as.sign_pk, m->sign_pk, sizeof as.sign_pk);
    if (!m->self && n &&
        statement_encode(&as, h->node->group_id, STATEMENT_BALLOT, &(struct peer_id){{0}},
                         (m->boot + 1) << 32, payload, n, &wire, &wire_n, NULL) == 0) {
        tell(w, h, "lies: a ballot in another's name");
        push(w, h, to, wire, wire_n, NULL, 0);
    }
    sodium_memzero(&as, sizeof as);
    free(wire);
}

/* A cluster of its own, "decided" by the set that it is in, which only it has signed. */
static void forge_record(struct world *w, struct host *h, struct host *to)
{
    struct committed *c = calloc(1, sizeof *c);
    const struct ballot *mine = &h->node->formation.mine;
    uint8_t set_id[SET_ID_BYTES], text[ACCEPT_TEXT_BYTES], *blob = NULL;
    size_t n = 0;
    int at = mine->bound ? electorate_index(&mine->set, &h->identity->id) : -1;
    if (!c)
        abort();
    if (at >= 0 && mine->set.count > 1) {
        memcpy(c->group_id, h->node->group_id, sizeof c->group_id);
        c->term = mine->term + 1;
        c->set = mine->set;
        c->record = (struct record){.founder = h->identity->id, .term = c->term};
        mem_copy_text(c->record.cluster_id, sizeof c->record.cluster_id, "00000000000000000000000000000bad");
        snprintf(c->record.endpoint, sizeof c->record.endpoint, "%.40s:6443", h->address);
        mem_copy_text(c->record.ca_hash, sizeof c->record.ca_hash,
                      "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
        mem_copy_text(c->record.kubernetes_version, sizeof c->record.kubernetes_version, "v1.20.2");
        mem_copy_text(c->record.pod_cidr, sizeof c->record.pod_cidr, "10.244.0.0/16");
        mem_copy_text(c->record.service_cidr, sizeof c->record.service_cidr, "10.96.0.0/12");
        memcpy(c->record.founder_name, h->name, sizeof c->record.founder_name);
        electorate_id(&c->set, set_id);
        record_accept_text(c->group_id, set_id, c->term, &c->record, text);
        /* Its own good signature as often as a majority needs, under the others' places. */
        for (uint16_t i = 0; i < c->set.count; i++) {
            struct commit_signature *s = &c->signature[c->signature_count++];
            s->member = i;
            memcpy(s->sign_pk, h->identity->sign_pk, sizeof s->sign_pk);
            identity_sign(h->identity, ACCEPT_DOMAIN, text, sizeof text, s->sig);
        }
        if (committed_encode(c, &blob, &n, NULL) == 0) {
            tell(w, h, "lies: a record that nobody else signed");
            push(w, h, to, NULL, 0, blob, n);
        }
    }
    free(blob);
    free(c);
}

/* Somebody who asks for a ticket. */
static const struct member *asker(struct world *w, const struct host *h)
{
    size_t from = pick(w, h->node->member_count);
    for (size_t i = 0; i < h->node->member_count; i++) {
        const struct member *m = h->node->member[(from + i) % h->node->member_count];
        if (!m->self && m->has_profile && m->profile.ticket_nonce)
            return m;
    }
    return NULL;
}

/* A ticket to whoever asks for one, as if this were the control plane. */
static void forge_grant(struct world *w, struct host *h)
{
    const struct member *m = asker(w, h);
    int64_t to = m ? watch_holder(w, &m->id) : -1;
    if (to < 0 || !h->node->committed || node_is_founder(h->node))
        return; /* the control plane may give whatever ticket it likes */
    struct grant g = {.subject = m->id, .ticket_nonce = m->profile.ticket_nonce};
    struct ticket t = {.joiner = m->id, .nonce = m->profile.ticket_nonce, .ttl_ms = 600000};
    uint8_t seed[32], payload[STATEMENT_PAYLOAD_MAX];
    t.issuer = h->node->record.founder;
    memcpy(t.cluster_id, h->node->record.cluster_id, sizeof t.cluster_id);
    memcpy(t.endpoint, h->node->record.endpoint, sizeof t.endpoint);
    memcpy(t.ca_hash, h->node->record.ca_hash, sizeof t.ca_hash);
    mem_copy_text(t.token, sizeof t.token, "badbad.0123456789abcdef");
    for (size_t i = 0; i < sizeof seed; i++)
        seed[i] = (uint8_t)draw(&w->liar_rng);
    if (ticket_seal(&t, m->profile.box_pk, seed, g.ticket, &g.ticket_bytes) != 0)
        return;
    tell(w, h, "lies: a ticket for %s", m->profile.name);
    state(w, h, &w->host[to], STATEMENT_GRANT, &m->id, payload, grant_encode(&g, payload));
}

/* Another's id inside a message on its own link. */
static void forge_sender(struct world *w, struct host *h, struct host *to)
{
    const struct member *m = somebody(w, h);
    struct pack_writer out;
    if (m->self)
        return;
    tell(w, h, "lies: a lease in another's name");
    uint8_t set_id[SET_ID_BYTES];
    electorate_id(&h->node->formation.mine.set, set_id);
    begin(w, h, &out, MSG_LEASE_GRANT, 3, m);
    pack_put_bin(&out, set_id, sizeof set_id);
    pack_put_uint(&out, h->node->formation.mine.term);
    pack_put_uint(&out, 1 + pick(w, 20));
    finish(w, h, to, &out, true);
}

/* To each another ballot of its own: this is where trust in a member ends. */
static void betray(struct world *w, struct host *h, struct host *to)
{
    struct ballot *b = malloc(sizeof *b);
    uint8_t payload[STATEMENT_PAYLOAD_MAX];
    if (!b)
        abort();
    *b = h->node->formation.mine;
    b->accepted = false;
    b->term += pick(w, 3);
    b->vote = somebody(w, h)->id;
    if (pick(w, 4) == 0)
        b->floor += (uint32_t)pick(w, 3);
    tell(w, h, "lies: breaks its own promises towards %s", to->name);
    state(w, h, to, STATEMENT_BALLOT, &(struct peer_id){{0}}, payload, ballot_encode(b, payload));
    free(b);
}

void liar_message(struct world *w, struct host *h, const struct peer_id *to)
{
    struct host *partner = wire_partner(w, h, to);
    if (!partner || !partner->up || !lies_now(w))
        return;
    switch (pick(w, w->s->liar == LIAR_TRAITOR ? 7 : 4)) {
    case 0:
        alter_statement(w, h, partner);
        break;
    case 1:
        forge_statement(w, h, partner);
        break;
    case 2:
        forge_record(w, h, partner);
        break;
    case 3:
        forge_sender(w, h, partner);
        break;
    default:
        betray(w, h, partner);
        break;
    }
}

/* Who asks for a ticket waits but for a moment: whoever wants to be faster than the control plane must not
 * wait to be asked. */
void liar_hears(struct world *w, struct host *h)
{
    if (w->now_ms < w->s->faults_ms && pick(w, 4) == 0)
        forge_grant(w, h);
}
