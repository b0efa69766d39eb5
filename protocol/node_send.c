#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/mem.h"
#include "protocol/node_state.h"

#define RECORD_AGAIN_MS 10000 /* how often a host of another cluster is told of ours */
#define PUSH_BYTES      (64 * 1024)

void net_begin(struct node *n, struct pack_writer *w, enum message type, size_t fields)
{
    pack_writer_init(w, NET_MESSAGE_MAX);
    pack_put_array(w, 5 + fields);
    pack_put_uint(w, type);
    pack_put_bin(w, n->me->id.b, PEER_ID_BYTES);
    pack_put_uint(w, n->boot);
    pack_put_uint(w, n->instance);
    pack_put_uint(w, ++n->message_counter);
}

static void send_sealed(struct node *n, const struct pack_writer *w, const struct member *to)
{
    uint8_t nonce[SEAL_NONCE_BYTES];
    uint8_t *sealed = malloc(w->used + SEAL_OVERHEAD_BYTES);
    if (!sealed) {
        n->no_memory = true;
        return;
    }
    node_random_bytes(n, nonce, sizeof nonce);
    size_t bytes = seal_close(key_seal(n, to), SEAL_MESSAGE, nonce, w->bytes, w->used, sealed);
    if (!out_own(n, sealed, bytes))
        return;
    struct action *a = out_action(n, ACT_SEND);
    a->peer = to->id;
    a->bytes = sealed;
    a->n = bytes;
}

void net_post(struct node *n, struct pack_writer *w, const struct member *to)
{
    int rc = pack_writer_end(w, NULL);
    if (rc == KPEER_ENOMEM)
        n->no_memory = true;
    else if (rc == 0 && to && !to->self)
        send_sealed(n, w, to);
    pack_writer_fini(w);
}

static void send_items(struct node *n, const struct member *to, const struct gossip_item *const *item,
                       size_t count, bool record)
{
    struct pack_writer w;
    net_begin(n, &w, MSG_PUSH, 2);
    pack_put_array(&w, count);
    for (size_t i = 0; i < count; i++)
        pack_put_raw(&w, item[i]->wire, item[i]->wire_bytes);
    if (record && n->committed)
        pack_put_bin(&w, n->cluster_blob, n->cluster_bytes);
    else
        pack_put_nil(&w);
    net_post(n, &w, to);
}

/* News goes to those with whom a connection is kept, at once: in a small group to everybody, in a large one
 * they pass it on. */
static bool is_told(const struct member *m)
{
    return m->kept && net_reachable(m);
}

void net_push(struct node *n, const struct gossip_item *item, bool record)
{
    for (size_t i = 0; i < n->member_count; i++)
        if (is_told(n->member[i]))
            send_items(n, n->member[i], &item, item ? 1 : 0, record);
}

bool net_state(struct node *n, enum statement_kind kind, const struct peer_id *subject,
               const uint8_t *payload, size_t bytes)
{
    uint8_t *wire = NULL;
    size_t wire_bytes = 0;
    struct statement s;
    uint64_t version = n->boot << 32 | ++n->statement_count;
    n->formation_stale = true;
    net_stir(n);
    if (bytes == 0 || statement_encode(n->me, n->group_id, kind, subject, version, payload, bytes, &wire,
                                       &wire_bytes, NULL) != 0) {
        n->no_memory = true;
        return false;
    }
    int rc = statement_decode(wire, wire_bytes, n->group_id, false, &s, NULL);
    if (rc == 0)
        rc = gossip_put(&n->gossip, &s);
    if (rc == KPEER_ENOMEM)
        n->no_memory = true;
    free(wire);
    return rc == 1;
}

static void publish(struct node *n, enum statement_kind kind, const struct peer_id *subject,
                    const uint8_t *payload, size_t bytes)
{
    static const struct peer_id nobody;
    if (net_state(n, kind, subject, payload, bytes))
        net_push(n, gossip_find(&n->gossip, &n->me->id, kind, subject ? subject : &nobody), false);
}

/* What stays as it was configured. */
static void begin_profile(const struct node *n, struct profile *p)
{
    p->port = n->cfg.port;
    p->role = n->cfg.role;
    p->rehearse = n->cfg.dry_run;
    p->expect = n->cfg.expect;
    memcpy(p->name, n->cfg.name, sizeof p->name);
    memcpy(p->version, n->cfg.version, sizeof p->version);
    memcpy(p->box_pk, n->me->box_pk, sizeof p->box_pk);
    memcpy(p->pod_cidr, n->cfg.pod_cidr, sizeof p->pod_cidr);
    memcpy(p->service_cidr, n->cfg.service_cidr, sizeof p->service_cidr);
    memcpy(p->wanted_version, n->cfg.kubernetes_version, sizeof p->wanted_version);
}

/* Our own profile is kept up to date in place, which is cheap enough for every step; true if it changed. */
static bool refresh_profile(struct node *n, struct member *self)
{
    struct profile *p = &self->profile;
    struct facts facts = n->facts;
    enum phase phase = p->phase;
    bool first = !self->has_profile;
    if (first)
        begin_profile(n, p);
    if (n->cfg.dry_run)
        mem_copy_text(facts.kubernetes_version, sizeof facts.kubernetes_version, node_kubernetes_version(n));
    bool changed = first;
    changed |= mem_put(p->name, n->cfg.name, sizeof p->name);
    changed |= mem_put(p->former_name, n->work.first_name, sizeof p->former_name);
    changed |= mem_put(&p->has_facts, &n->work.have_facts, sizeof p->has_facts);
    changed |= mem_put(p->address, n->address, sizeof p->address);
    changed |= mem_put(&p->facts, &facts, sizeof p->facts);
    changed |= mem_put(&p->nets, &n->nets, sizeof p->nets);
    uint32_t epoch = keyring_newest(&n->keys.ring);
    changed |= mem_put(&p->key_epoch, &epoch, sizeof p->key_epoch);
    changed |= work_put_profile(n, p);
    if (first || phase != p->phase)
        self->phase_since_ms = n->now_ms;
    self->has_profile = true;
    if (changed)
        node_profile_taken(n, self);
    return changed;
}

void net_publish_profile(struct node *n)
{
    uint8_t payload[STATEMENT_PAYLOAD_MAX];
    struct member *self = node_self(n);
    if (!refresh_profile(n, self) && n->profile_told_bytes > 0)
        return;
    size_t bytes = profile_encode(&self->profile, payload);
    if (bytes == n->profile_told_bytes && memcmp(payload, n->profile_told, bytes) == 0)
        return;
    memcpy(n->profile_told, payload, bytes);
    n->profile_told_bytes = bytes;
    n->group_checked = false;
    publish(n, STATEMENT_PROFILE, NULL, payload, bytes);
}

void net_publish_ballot(struct node *n)
{
    uint8_t payload[STATEMENT_PAYLOAD_MAX];
    publish(n, STATEMENT_BALLOT, NULL, payload, ballot_encode(&n->formation.mine, payload));
}

void net_publish_grant(struct node *n, struct member *m)
{
    uint8_t payload[STATEMENT_PAYLOAD_MAX];
    publish(n, STATEMENT_GRANT, &m->id, payload, grant_encode(&m->job.grant, payload));
}

void net_push_cluster(struct node *n)
{
    net_push(n, NULL, true);
}

void net_ask_lease(struct node *n)
{
    const struct electorate *set = &n->formation.mine.set;
    uint8_t set_id[SET_ID_BYTES];
    struct pack_writer w;
    electorate_id(set, set_id);
    for (size_t i = 0; i < set->count; i++) {
        const struct member *m = node_member(n, &set->member[i]);
        if (!m || !net_reachable(m))
            continue;
        net_begin(n, &w, MSG_LEASE_ASK, 3);
        pack_put_bin(&w, set_id, sizeof set_id);
        pack_put_uint(&w, n->formation.mine.term);
        pack_put_uint(&w, n->formation.round);
        net_post(n, &w, m);
    }
}

void net_grant_lease(struct node *n, const struct member *to, const uint8_t set_id[static SET_ID_BYTES],
                     uint64_t term, uint64_t round)
{
    struct pack_writer w;
    net_begin(n, &w, MSG_LEASE_GRANT, 3);
    pack_put_bin(&w, set_id, SET_ID_BYTES);
    pack_put_uint(&w, term);
    pack_put_uint(&w, round);
    net_post(n, &w, to);
}

void net_probe(struct node *n, const struct member *to, const struct peer_id *target,
               const struct peer_id *origin)
{
    struct pack_writer w;
    net_begin(n, &w, MSG_PROBE, 2);
    pack_put_bin(&w, target->b, PEER_ID_BYTES);
    pack_put_bin(&w, origin->b, PEER_ID_BYTES);
    net_post(n, &w, to);
}

void net_ack(struct node *n, const struct member *to, const struct peer_id *target,
             const struct peer_id *origin)
{
    struct pack_writer w;
    net_begin(n, &w, MSG_PROBE_ACK, 2);
    pack_put_bin(&w, target->b, PEER_ID_BYTES);
    pack_put_bin(&w, origin->b, PEER_ID_BYTES);
    net_post(n, &w, to);
}

void net_ask_kubeconfig(struct node *n, const struct member *founder, uint64_t request)
{
    struct pack_writer w;
    net_begin(n, &w, MSG_CONFIG_ASK, 1);
    pack_put_uint(&w, request);
    net_post(n, &w, founder);
}

void net_give_kubeconfig(struct node *n, const struct member *to, uint64_t request, int code,
                         const uint8_t *bytes, size_t bytes_n)
{
    struct pack_writer w;
    uint8_t seed[32];
    uint8_t *box = malloc(bytes_n + SEAL_BOX_OVERHEAD_BYTES);
    if (!box) {
        n->no_memory = true;
        return;
    }
    node_random_bytes(n, seed, sizeof seed);
    if (seal_box(to->profile.box_pk, seed, bytes, bytes_n, box) == 0) {
        net_begin(n, &w, MSG_CONFIG_GIVE, 3);
        pack_put_uint(&w, request);
        pack_put_int(&w, code);
        pack_put_bin(&w, box, bytes_n + SEAL_BOX_OVERHEAD_BYTES);
        net_post(n, &w, to);
    }
    sodium_memzero(seed, sizeof seed);
    free(box);
}

/* ---- what another lacks ---- */

struct batch {
    struct node *n;
    const struct member *to;
    const struct gossip_item *item[NET_ITEMS_MAX];
    size_t count;
    size_t bytes;
};

static void flush(struct batch *b, bool record)
{
    if (b->count == 0 && !record)
        return;
    send_items(b->n, b->to, b->item, b->count, record);
    b->count = b->bytes = 0;
}

static void lacks(void *ctx, const struct gossip_item *item)
{
    struct batch *b = ctx;
    if (b->count == COUNT_OF(b->item) || b->bytes + item->wire_bytes > PUSH_BYTES)
        flush(b, false);
    b->item[b->count++] = item;
    b->bytes += item->wire_bytes;
}

static void add_own(struct batch *b, enum statement_kind kind)
{
    static const struct peer_id nobody;
    const struct gossip_item *item = gossip_find(&b->n->gossip, &b->n->me->id, kind, &nobody);
    if (item)
        lacks(b, item);
}

/* Our ballot as well while we are free, so that whoever sees us can count on us. Once it names a set, it goes
 * with the ballots of that set's others, to whoever asks: alone it does not say whether they decide already.
 */
void net_introduce(struct node *n, const struct member *to)
{
    struct batch b = {.n = n, .to = to};
    if (!is_told(to))
        return;
    add_own(&b, STATEMENT_PROFILE);
    if (!n->committed && !n->formation.mine.bound)
        add_own(&b, STATEMENT_BALLOT);
    flush(&b, false);
}

void net_pass_on(struct node *n, const struct statement *s)
{
    uint64_t next_ms = n->passed_ms + node_pause_ms(n, NEWS_MS);
    if (n->news_ms == 0)
        n->news_ms = next_ms > n->now_ms ? next_ms : n->now_ms;
    if (n->news_count < NEWS_MAX)
        n->news[n->news_count++] = (struct gossip_key){s->owner, s->kind, s->subject};
}

void net_push_kind(struct node *n, enum statement_kind kind)
{
    for (size_t i = 0; i < n->member_count; i++) {
        struct batch b = {.n = n, .to = n->member[i]};
        for (size_t k = 0; is_told(b.to) && k < n->gossip.count; k++)
            if (n->gossip.item[k].kind == kind && peer_id_equal(&n->gossip.item[k].owner, &n->me->id))
                lacks(&b, &n->gossip.item[k]);
        flush(&b, false);
    }
}

void net_news_tick(struct node *n)
{
    const struct gossip_item *item[NEWS_MAX];
    size_t count = 0;
    if (n->news_ms == 0 || n->now_ms < n->news_ms)
        return;
    for (size_t i = 0; i < n->news_count; i++) {
        const struct gossip_key *k = &n->news[i];
        item[count] = gossip_find(&n->gossip, &k->owner, k->kind, &k->subject);
        count += item[count] != NULL;
    }
    size_t from = node_random(n) % n->member_count, told = 0;
    for (size_t i = 0; i < n->member_count && told < NEWS_SOME; i++) {
        struct batch b = {.n = n, .to = n->member[(from + i) % n->member_count]};
        if (!is_told(b.to))
            continue;
        for (size_t k = 0; k < count; k++)
            lacks(&b, item[k]);
        flush(&b, false);
        told++;
    }
    n->news_count = 0;
    n->news_ms = 0;
    n->passed_ms = n->now_ms;
}

void net_pull(struct node *n, struct member *m)
{
    struct pack_writer w;
    m->pulled_ms = n->now_ms;
    net_begin(n, &w, MSG_PULL, 2);
    pack_put_bool(&w, n->committed);
    gossip_summary_pack(&n->gossip, &w);
    net_post(n, &w, m);
}

/* Whoever has none gets our record; whoever is in another cluster does now and then, so that both sides know.
 */
static bool record_is_due(const struct node *n, struct member *to, bool has_record)
{
    if (!n->committed || !has_record)
        return n->committed;
    if (!to->has_profile || !to->profile.cluster_id[0] ||
        strcmp(to->profile.cluster_id, n->record.cluster_id) == 0 ||
        (to->record_given_ms && n->now_ms < to->record_given_ms + RECORD_AGAIN_MS))
        return false;
    to->record_given_ms = n->now_ms;
    return true;
}

bool net_give(struct node *n, struct member *to, struct pack_reader *summary, bool has_record)
{
    struct batch b = {.n = n, .to = to};
    bool ahead = false;
    gossip_compare(&n->gossip, summary, lacks, &b, &ahead);
    if (!pack_bad(summary))
        flush(&b, record_is_due(n, to, has_record));
    return ahead;
}
