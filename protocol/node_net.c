#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/mem.h"
#include "protocol/node_state.h"

/* Every message is an array: [type, sender, boot, instance, counter, ...]. docs/protocol.md lists them. */
enum message {
    MSG_PULL = 1,        /* have_record, summary: "this is what I have; give me what I lack" */
    MSG_PUSH = 2,        /* [statement...], record or nil */
    MSG_LEASE_ASK = 3,   /* set, term, round */
    MSG_LEASE_GRANT = 4, /* term, round */
    MSG_PROBE = 5,       /* target: zero or the receiver: "are you there?"; another: "ask that one for me" */
    MSG_PROBE_ACK = 6,   /* target: "that one is there" */
    MSG_CONFIG_ASK = 7,  /* request: the admin kubeconfig, please */
    MSG_CONFIG_GIVE = 8, /* request, code, box */
    MSG_COUNT
};

enum mode { MODE_FORMING, MODE_MEMBER, MODE_LEAVING, MODE_COUNT };

/* What is taken in which mode; everything else is dropped. */
static const bool allowed[MSG_COUNT][MODE_COUNT] = {
    [MSG_PULL] = {true, true, true},         [MSG_PUSH] = {true, true, true},
    [MSG_LEASE_ASK] = {true, false, false},  [MSG_LEASE_GRANT] = {true, false, false},
    [MSG_PROBE] = {true, true, true},        [MSG_PROBE_ACK] = {true, true, true},
    [MSG_CONFIG_ASK] = {false, true, false}, [MSG_CONFIG_GIVE] = {false, true, false},
};

#define MESSAGE_MAX   (256 * 1024)
#define PUSH_BYTES    (64 * 1024)
#define PULL_AGAIN_MS 500
#define CONFLICT_MS   60000

void net_drop(struct node *n, enum drop why)
{
    n->dropped[why]++;
}

static enum mode mode(const struct node *n)
{
    return n->work.leaving ? MODE_LEAVING : n->committed ? MODE_MEMBER : MODE_FORMING;
}

/* ---- sending ---- */

static void begin(struct node *n, struct pack_writer *w, enum message type, size_t fields)
{
    pack_writer_init(w, MESSAGE_MAX);
    pack_put_array(w, 5 + fields);
    pack_put_uint(w, type);
    pack_put_bin(w, n->me->id.b, PEER_ID_BYTES);
    pack_put_uint(w, n->boot);
    pack_put_uint(w, n->instance);
    pack_put_uint(w, ++n->message_counter);
}

/* Seals what was written and sends it. */
static void post(struct node *n, struct pack_writer *w, const struct member *to)
{
    uint8_t nonce[SEAL_NONCE_BYTES];
    if (pack_writer_end(w, NULL) == 0 && to && !to->self) {
        uint8_t *sealed = malloc(w->used + SEAL_OVERHEAD_BYTES);
        if (sealed) {
            node_random_bytes(n, nonce, sizeof nonce);
            size_t bytes = seal_close(n->seal, SEAL_MESSAGE, nonce, w->bytes, w->used, sealed);
            out_own(n, sealed, bytes);
            struct action *a = out_action(n, ACT_SEND);
            a->peer = to->id;
            a->bytes = sealed;
            a->n = bytes;
        } else {
            n->no_memory = true;
        }
    }
    pack_writer_fini(w);
}

static bool reachable(const struct member *m)
{
    return !m->self && m->linked && (m->state == STATE_ALIVE || m->state == STATE_SUSPECT);
}

static void send_items(struct node *n, const struct member *to, const struct gossip_item *const *item,
                       size_t count, bool record)
{
    struct pack_writer w;
    begin(n, &w, MSG_PUSH, 2);
    pack_put_array(&w, count);
    for (size_t i = 0; i < count; i++)
        pack_put_raw(&w, item[i]->wire, item[i]->wire_bytes);
    if (record && n->committed)
        pack_put_bin(&w, n->cluster_blob, n->cluster_bytes);
    else
        pack_put_nil(&w);
    post(n, &w, to);
}

/* News goes to everybody at once while the group is small, to a few at random when it is large: anti-entropy
 * carries it on from there. */
static void push(struct node *n, const struct gossip_item *item, bool record)
{
    uint32_t alive = node_alive_count(n);
    for (size_t i = 0; i < n->member_count; i++) {
        const struct member *m = n->member[i];
        if (reachable(m) && (alive <= PUSH_ALL_MAX || node_random(n) % alive < PUSH_SOME))
            send_items(n, m, &item, item ? 1 : 0, record);
    }
}

static void publish(struct node *n, enum statement_kind kind, const struct peer_id *subject,
                    const uint8_t *payload, size_t bytes)
{
    uint8_t *wire = NULL;
    size_t wire_bytes = 0;
    struct statement s;
    uint64_t version = n->boot << 32 | ++n->statement_count;
    if (bytes == 0 || statement_encode(n->me, n->group_id, kind, subject, version, payload, bytes, &wire,
                                       &wire_bytes, NULL) != 0) {
        n->no_memory = true;
        return;
    }
    if (statement_decode(wire, wire_bytes, n->group_id, false, &s, NULL) == 0 &&
        gossip_put(&n->gossip, &s) == 1) {
        const struct gossip_item *item = gossip_find(&n->gossip, &s.owner, s.kind, &s.subject);
        push(n, item, false);
    }
    free(wire);
}

void net_publish_profile(struct node *n)
{
    uint8_t payload[STATEMENT_PAYLOAD_MAX];
    struct member *self = node_self(n);
    struct profile p = {
        .port = n->cfg.port, .role = n->cfg.role, .rehearse = n->cfg.dry_run, .expect = n->cfg.expect};
    memcpy(p.name, n->cfg.name, sizeof p.name);
    memcpy(p.version, n->cfg.version, sizeof p.version);
    memcpy(p.address, n->address, sizeof p.address);
    memcpy(p.box_pk, n->me->box_pk, sizeof p.box_pk);
    memcpy(p.pod_cidr, n->cfg.pod_cidr, sizeof p.pod_cidr);
    memcpy(p.service_cidr, n->cfg.service_cidr, sizeof p.service_cidr);
    memcpy(p.wanted_version, n->cfg.kubernetes_version, sizeof p.wanted_version);
    p.has_facts = n->work.have_facts;
    p.facts = n->facts;
    p.nets = n->nets;
    work_fill_profile(n, &p);
    if (!self->has_profile || self->profile.phase != p.phase)
        self->phase_since_ms = n->now_ms;
    self->profile = p;
    self->has_profile = true;
    size_t bytes = profile_encode(&p, payload);
    if (bytes == n->profile_told_bytes && memcmp(payload, n->profile_told, bytes) == 0)
        return;
    memcpy(n->profile_told, payload, bytes);
    n->profile_told_bytes = bytes;
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
    push(n, NULL, true);
}

void net_ask_lease(struct node *n)
{
    const struct electorate *set = &n->formation.mine.set;
    uint8_t set_id[SET_ID_BYTES];
    struct pack_writer w;
    electorate_id(set, set_id);
    for (size_t i = 0; i < set->count; i++) {
        const struct member *m = node_member(n, &set->member[i]);
        if (!m || !reachable(m))
            continue;
        begin(n, &w, MSG_LEASE_ASK, 3);
        pack_put_bin(&w, set_id, sizeof set_id);
        pack_put_uint(&w, n->formation.mine.term);
        pack_put_uint(&w, n->formation.round);
        post(n, &w, m);
    }
}

void net_probe(struct node *n, const struct member *to, const struct peer_id *target)
{
    struct pack_writer w;
    begin(n, &w, MSG_PROBE, 1);
    pack_put_bin(&w, target->b, PEER_ID_BYTES);
    post(n, &w, to);
}

static void send_ack(struct node *n, const struct member *to, const struct peer_id *target)
{
    struct pack_writer w;
    begin(n, &w, MSG_PROBE_ACK, 1);
    pack_put_bin(&w, target->b, PEER_ID_BYTES);
    post(n, &w, to);
}

void net_ask_kubeconfig(struct node *n, const struct member *founder, uint64_t request)
{
    struct pack_writer w;
    begin(n, &w, MSG_CONFIG_ASK, 1);
    pack_put_uint(&w, request);
    post(n, &w, founder);
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
    if (seal_box(to->box_pk, seed, bytes, bytes_n, box) == 0) {
        begin(n, &w, MSG_CONFIG_GIVE, 3);
        pack_put_uint(&w, request);
        pack_put_int(&w, code);
        pack_put_bin(&w, box, bytes_n + SEAL_BOX_OVERHEAD_BYTES);
        post(n, &w, to);
    }
    sodium_memzero(seed, sizeof seed);
    free(box);
}

/* ---- statements that come in ---- */

static void take_profile(struct node *n, struct member *m, const struct profile *p)
{
    bool first = !m->has_profile;
    if (first || m->profile.phase != p->phase)
        m->phase_since_ms = n->now_ms;
    m->profile = *p;
    m->has_profile = true;
    memcpy(m->box_pk, p->box_pk, sizeof m->box_pk);
    if (!n->members_dirty_ms)
        n->members_dirty_ms = n->now_ms;
    if (p->phase == PHASE_LEFT)
        alive_left(n, m);
    else if (first && m->heard && n->started)
        out_event(n, EVENT_MEMBER_DISCOVERED, &m->id); /* now it has a name */
}

static void take_ballot(struct node *n, struct member *m, const struct statement *s)
{
    if (!m->ballot)
        m->ballot = calloc(1, sizeof *m->ballot);
    if (!m->ballot)
        n->no_memory = true;
    else
        ballot_decode(s->payload, s->payload_bytes, m->ballot);
}

/* A payload that does not decode is never kept, so it is not passed on either. */
static bool payload_is_good(const struct statement *s, struct profile *p, struct grant *g)
{
    if (s->kind == STATEMENT_PROFILE)
        return profile_decode(s->payload, s->payload_bytes, p) == 0;
    if (s->kind == STATEMENT_GRANT)
        return grant_decode(s->payload, s->payload_bytes, g) == 0 && peer_id_equal(&g->subject, &s->subject);
    struct ballot *b = malloc(sizeof *b);
    bool good = b && ballot_decode(s->payload, s->payload_bytes, b) == 0;
    free(b);
    return good;
}

void net_take(struct node *n, const uint8_t *wire, size_t bytes, bool stored)
{
    struct statement s;
    struct profile p;
    struct grant g;
    if (statement_decode(wire, bytes, n->group_id, false, &s, NULL) != 0) {
        net_drop(n, DROP_MALFORMED);
        return;
    }
    /* What we said ourselves before a restart is no news, and nobody else may speak for us. */
    if (peer_id_equal(&s.owner, &n->me->id) || gossip_knows(&n->gossip, &s))
        return;
    if (statement_decode(wire, bytes, n->group_id, true, &s, NULL) != 0) {
        net_drop(n, DROP_FORGED);
        return;
    }
    struct member *m = payload_is_good(&s, &p, &g) ? node_member_add(n, &s.owner) : NULL;
    if (!m || gossip_put(&n->gossip, &s) != 1) {
        net_drop(n, m ? DROP_LIMIT : DROP_MALFORMED);
        return;
    }
    memcpy(m->sign_pk, s.sign_pk, sizeof m->sign_pk);
    m->keyed = true;
    if (s.kind == STATEMENT_PROFILE)
        take_profile(n, m, &p);
    else if (s.kind == STATEMENT_BALLOT)
        take_ballot(n, m, &s);
    else if (!stored && peer_id_equal(&s.subject, &n->me->id) && n->committed &&
             peer_id_equal(&s.owner, &n->record.founder))
        work_grant(n, &g);
    if (!stored && node_alive_count(n) > PUSH_ALL_MAX)
        push(n, gossip_find(&n->gossip, &s.owner, s.kind, &s.subject), false);
}

static void take_record(struct node *n, const struct member *from, const uint8_t *blob, size_t bytes)
{
    if (n->committed && bytes == n->cluster_bytes && memcmp(blob, n->cluster_blob, bytes) == 0)
        return;
    int rc = node_adopt(n, blob, bytes);
    if (rc == 1) {
        push(n, NULL, true);
    } else if (rc == KPEER_ESTATE) {
        if (n->conflict_ms && n->now_ms < n->conflict_ms + CONFLICT_MS)
            return;
        struct record other;
        n->conflict_ms = n->now_ms;
        if (record_verify(blob, bytes, &other, NULL) == 0)
            out_text(out_event(n, EVENT_CONFLICT, &from->id),
                     "two clusters in one group: %s founded by %s, and %s founded by %s; nothing is merged",
                     n->committed ? n->record.cluster_id : n->formation.mine.record.cluster_id,
                     n->committed ? n->record.founder_name : n->formation.mine.record.founder_name,
                     other.cluster_id, other.founder_name);
    } else if (rc < 0) {
        net_drop(n, DROP_FORGED);
    }
}

/* ---- messages that come in ---- */

struct batch {
    struct node *n;
    const struct member *to;
    const struct gossip_item *item[256];
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

static void pull(struct node *n, struct member *m)
{
    struct pack_writer w;
    m->pulled_ms = n->now_ms;
    begin(n, &w, MSG_PULL, 2);
    pack_put_bool(&w, n->committed);
    gossip_summary_pack(&n->gossip, &w);
    post(n, &w, m);
}

static void on_pull(struct node *n, struct member *m, struct pack_reader *r)
{
    struct batch b = {.n = n, .to = m};
    bool ahead = false;
    bool has_record = pack_bool(r);
    gossip_compare(&n->gossip, r, lacks, &b, &ahead);
    if (pack_bad(r))
        return;
    flush(&b, n->committed && !has_record);
    if ((ahead || (has_record && !n->committed)) && n->now_ms >= m->pulled_ms + PULL_AGAIN_MS / 10)
        pull(n, m);
}

static void on_push(struct node *n, struct member *m, struct pack_reader *r)
{
    struct pack_reader whole = *r; /* nothing is taken before all of it was read once without a fault */
    uint32_t count = pack_array(&whole, 0, COUNT_OF(((struct batch *)0)->item));
    size_t bytes = 0;
    for (uint32_t i = 0; i < count; i++)
        pack_raw(&whole, &bytes);
    const uint8_t *blob = pack_nil(&whole) ? NULL : pack_bin(&whole, 1, STEP_RECORD_MAX, &bytes);
    if (pack_close(&whole, NULL) != 0) {
        pack_fail(r, KPEER_EINVAL, "push");
        return;
    }
    if (blob)
        take_record(n, m, blob, bytes);
    count = pack_array(r, 0, count);
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *wire = pack_raw(r, &bytes);
        net_take(n, wire, bytes, false);
    }
    *r = whole;
}

static void on_lease_ask(struct node *n, struct member *m, struct pack_reader *r)
{
    struct pack_writer w;
    uint8_t set_id[SET_ID_BYTES];
    pack_bin_copy(r, set_id, sizeof set_id);
    uint64_t term = pack_uint(r, UINT64_MAX);
    uint64_t round = pack_uint(r, UINT64_MAX);
    if (pack_bad(r) ||
        !formation_lease_asked(&n->formation, &m->id, set_id, term, n->now_ms, n->cfg.lease_ms))
        return;
    begin(n, &w, MSG_LEASE_GRANT, 2);
    pack_put_uint(&w, term);
    pack_put_uint(&w, round);
    post(n, &w, m);
}

static void on_lease_grant(struct node *n, struct member *m, struct pack_reader *r)
{
    uint64_t term = pack_uint(r, UINT64_MAX);
    uint64_t round = pack_uint(r, UINT64_MAX);
    if (!pack_bad(r))
        formation_lease_granted(&n->formation, &m->id, term, round, n->cfg.lease_ms);
}

static void on_probe(struct node *n, struct member *m, struct pack_reader *r)
{
    struct peer_id target;
    pack_bin_copy(r, target.b, sizeof target.b);
    if (pack_bad(r))
        return;
    struct member *t = node_member(n, &target);
    if (peer_id_equal(&target, &n->me->id))
        send_ack(n, m, &target);
    else if (t && t->state == STATE_ALIVE && n->now_ms < t->heard_ms + alive_beat_ms(n))
        send_ack(n, m, &target); /* heard just now */
    else if (t && reachable(t))
        net_probe(n, t, &target);
}

static void on_probe_ack(struct node *n, struct pack_reader *r)
{
    struct peer_id target;
    pack_bin_copy(r, target.b, sizeof target.b);
    struct member *t = pack_bad(r) ? NULL : node_member(n, &target);
    if (t && t->heard)
        alive_heard(n, t);
}

static void on_config_ask(struct node *n, struct member *m, struct pack_reader *r)
{
    uint64_t request = pack_uint(r, UINT64_MAX);
    if (!pack_bad(r))
        serve_kubeconfig(n, request, &m->id);
}

static struct pending *find_pending(struct node *n, uint64_t request)
{
    for (size_t i = 0; i < PENDING_MAX; i++)
        if (request && n->pending[i].request == request)
            return &n->pending[i];
    return NULL;
}

static void on_config_give(struct node *n, struct member *m, struct pack_reader *r)
{
    size_t bytes = 0;
    uint64_t request = pack_uint(r, UINT64_MAX);
    int code = (int)pack_int(r, -100, 0);
    const uint8_t *box =
        pack_bin(r, SEAL_BOX_OVERHEAD_BYTES, STEP_BLOB_MAX + SEAL_BOX_OVERHEAD_BYTES, &bytes);
    struct pending *p = find_pending(n, request);
    if (pack_bad(r) || !p || !peer_id_equal(&m->id, &n->record.founder))
        return;
    p->request = 0;
    uint8_t *plain = malloc(bytes);
    if (!plain) {
        n->no_memory = true;
        return;
    }
    out_own(n, plain, bytes);
    if (code == 0 && seal_box_open(n->me, box, bytes, plain) != 0)
        code = KPEER_EAUTH;
    out_reply(n, request, code, code ? "the master could not give its admin kubeconfig" : "", "");
    if (code == 0 && n->action_count > 0) {
        n->action[n->action_count - 1].bytes = plain;
        n->action[n->action_count - 1].n = bytes - SEAL_BOX_OVERHEAD_BYTES;
    }
}

/* A sliding window of 64: links keep order, the simulator's world does not. */
static bool fresh(uint64_t *top, uint64_t *window, uint64_t counter)
{
    if (counter > *top) {
        uint64_t ahead = counter - *top;
        *window = ahead < 64 ? *window << ahead | 1 : 1;
        *top = counter;
        return true;
    }
    uint64_t behind = *top - counter;
    if (behind >= 64 || (*window >> behind & 1))
        return false;
    *window |= (uint64_t)1 << behind;
    return true;
}

/* A later start of the same peer: what its earlier start said counts no more. */
static void new_instance(struct member *m, uint64_t boot, uint64_t instance)
{
    m->boot = boot;
    m->instance = instance;
    m->hello_counter = 0;
    m->message_counter = m->message_window = 0;
}

static bool of_this_start(struct member *m, uint64_t boot, uint64_t instance)
{
    if (boot > m->boot)
        new_instance(m, boot, instance);
    return boot == m->boot && instance == m->instance;
}

static struct member *read_sender(struct node *n, const struct node_event *ev, struct pack_reader *r,
                                  int *type)
{
    struct peer_id sender;
    pack_array(r, 5, 16);
    *type = (int)pack_uint(r, MSG_COUNT - 1);
    pack_bin_copy(r, sender.b, sizeof sender.b);
    uint64_t boot = pack_uint(r, UINT32_MAX);
    uint64_t instance = pack_uint(r, UINT64_MAX);
    uint64_t counter = pack_uint(r, UINT64_MAX);
    struct member *m = pack_bad(r) ? NULL : node_member(n, &sender);
    if (pack_bad(r) || *type == 0) {
        net_drop(n, DROP_MALFORMED);
        return NULL;
    }
    if (!peer_id_equal(&sender, &ev->peer)) {
        net_drop(n, DROP_FORGED);
        return NULL;
    }
    if (!m || !m->heard || m->self) {
        net_drop(n, DROP_UNKNOWN);
        return NULL;
    }
    if (!of_this_start(m, boot, instance)) {
        net_drop(n, DROP_STALE);
        return NULL;
    }
    if (!fresh(&m->message_counter, &m->message_window, counter)) {
        net_drop(n, DROP_REPLAYED);
        return NULL;
    }
    return m;
}

static void handle(struct node *n, struct member *m, int type, struct pack_reader *r)
{
    switch ((enum message)type) {
    case MSG_PULL:
        on_pull(n, m, r);
        break;
    case MSG_PUSH:
        on_push(n, m, r);
        break;
    case MSG_LEASE_ASK:
        on_lease_ask(n, m, r);
        break;
    case MSG_LEASE_GRANT:
        on_lease_grant(n, m, r);
        break;
    case MSG_PROBE:
        on_probe(n, m, r);
        break;
    case MSG_PROBE_ACK:
        on_probe_ack(n, r);
        break;
    case MSG_CONFIG_ASK:
        on_config_ask(n, m, r);
        break;
    case MSG_CONFIG_GIVE:
        on_config_give(n, m, r);
        break;
    case MSG_COUNT:
        break;
    }
    if (pack_bad(r))
        net_drop(n, DROP_MALFORMED);
}

void net_message(struct node *n, const struct node_event *ev)
{
    int type = 0;
    struct pack_reader r;
    size_t bytes = 0;
    if (ev->n > MESSAGE_MAX + SEAL_OVERHEAD_BYTES || ev->n < SEAL_OVERHEAD_BYTES) {
        net_drop(n, DROP_LIMIT);
        return;
    }
    uint8_t *plain = malloc(ev->n);
    if (!plain) {
        n->no_memory = true;
        return;
    }
    out_own(n, plain, ev->n);
    int rc = seal_open(n->seal, SEAL_MESSAGE, ev->bytes, ev->n, plain, &bytes);
    if (rc == 0)
        rc = pack_open(&r, plain, bytes, 5, NULL) ? KPEER_EINVAL : 0;
    if (rc) {
        net_drop(n, rc == KPEER_EREFUSED ? DROP_FOREIGN : rc == KPEER_EAUTH ? DROP_FORGED : DROP_MALFORMED);
        return;
    }
    struct member *m = read_sender(n, ev, &r, &type);
    if (!m)
        return;
    if (!allowed[type][mode(n)]) {
        net_drop(n, DROP_STATE);
        return;
    }
    alive_heard(n, m);
    handle(n, m, type, &r);
}

/* ---- beacons ---- */

/* Our own identity, alive on another host: the later of the two renews itself. */
static void meet_clone(struct node *n, const struct hello *h)
{
    if (h->instance == n->instance)
        return; /* our own beacon came back */
    uint64_t age = n->now_ms - n->start_ms;
    if (h->boot < n->boot && h->age_ms < age)
        return; /* cannot be: replayed from an earlier start of ours */
    struct action *a = out_event(n, EVENT_CONFLICT, &n->me->id);
    out_text(a, "another host uses this host's identity: it was cloned from the same disk");
    if (age < h->age_ms || (age == h->age_ms && n->instance > h->instance)) {
        out_action(n, ACT_RENEW);
        n->stopped = true;
    }
}

static void link_to(struct node *n, struct member *m, const struct node_event *ev)
{
    const struct hello *h = ev->hello;
    bool same = m->linked && m->port == h->port && strcmp(m->address, ev->address) == 0 &&
                memcmp(m->box_pk, h->box_pk, BOX_PK_BYTES) == 0;
    memcpy(m->box_pk, h->box_pk, sizeof m->box_pk);
    if (same)
        return;
    m->port = h->port;
    memcpy(m->address, ev->address, sizeof m->address);
    m->linked = true;
    struct action *a = out_action(n, ACT_LINK);
    a->peer = m->id;
    a->port = m->port;
    memcpy(a->address, m->address, sizeof a->address);
    memcpy(a->box_pk, m->box_pk, sizeof a->box_pk);
}

/* Whoever hears a new peer answers at once, spread a little, so that a newcomer knows everybody within
 * milliseconds. */
static void answer_soon(struct node *n)
{
    uint64_t spread = 5 + node_alive_count(n);
    uint64_t at = n->now_ms + 1 + node_random(n) % spread;
    if (at < n->beacon_ms)
        n->beacon_ms = at;
}

void net_hello(struct node *n, const struct node_event *ev)
{
    const struct hello *h = ev->hello;
    struct peer_id id;
    identity_id_of(h->sign_pk, &id);
    if (!peer_id_equal(&id, &h->id)) {
        net_drop(n, DROP_FORGED);
        return;
    }
    if (peer_id_equal(&id, &n->me->id)) {
        meet_clone(n, h);
        return;
    }
    struct member *m = node_member_add(n, &id);
    if (!m) {
        net_drop(n, DROP_LIMIT);
        return;
    }
    bool first = !m->heard;
    if (!of_this_start(m, h->boot, h->instance)) {
        net_drop(n, DROP_STALE);
        return;
    }
    if (h->counter <= m->hello_counter) {
        net_drop(n, DROP_REPLAYED);
        return;
    }
    bool was_gone = m->state == STATE_FAILED || m->state == STATE_LEFT;
    m->hello_counter = h->counter;
    memcpy(m->sign_pk, h->sign_pk, sizeof m->sign_pk);
    m->keyed = m->heard = true;
    m->clock_offset_ms = h->wall_ms - n->wall_ms;
    m->digest = h->digest;
    if (first || was_gone)
        answer_soon(n);
    if (first && m->has_profile)
        out_event(n, EVENT_MEMBER_DISCOVERED, &m->id);
    link_to(n, m, ev);
    alive_heard(n, m);
}

static uint64_t digest(const struct node *n)
{
    uint64_t v = 0;
    uint8_t h[32];
    if (n->committed) {
        record_hash(&n->record, h);
        memcpy(&v, h, sizeof v);
    }
    return n->gossip.digest ^ v;
}

static void beacon(struct node *n)
{
    static const uint32_t early_ms[] = {50, 150, 300, 500}; /* after the first, second, … of a start */
    struct hello *h = &n->hello;
    *h = (struct hello){.id = n->me->id,
                        .boot = n->boot,
                        .instance = n->instance,
                        .counter = ++n->hello_counter,
                        .age_ms = n->now_ms - n->start_ms,
                        .wall_ms = n->wall_ms,
                        .digest = digest(n),
                        .members = node_alive_count(n),
                        .port = n->cfg.port};
    memcpy(h->sign_pk, n->me->sign_pk, sizeof h->sign_pk);
    memcpy(h->box_pk, n->me->box_pk, sizeof h->box_pk);
    out_action(n, ACT_BEACON)->hello = h;
    uint64_t steady = alive_beat_ms(n);
    uint64_t wait = n->beacons_sent < COUNT_OF(early_ms) ? early_ms[n->beacons_sent] : steady;
    if (wait >= steady)
        wait = steady - steady / 10 + node_random(n) % (steady / 5 + 1);
    n->beacons_sent++;
    n->beacon_ms = n->now_ms + wait;
}

static void expire_pending(struct node *n)
{
    for (size_t i = 0; i < PENDING_MAX; i++) {
        struct pending *p = &n->pending[i];
        if (p->request == 0 || n->now_ms < p->until_ms)
            continue;
        out_reply(n, p->request, KPEER_ETIMEOUT, "the master did not answer in time",
                  "see `kpeer members`: is the master alive?");
        p->request = 0;
    }
}

void net_tick(struct node *n)
{
    if (n->stopped)
        return;
    if (n->now_ms >= n->beacon_ms)
        beacon(n);
    uint64_t mine = digest(n);
    for (size_t i = 0; i < n->member_count; i++) {
        struct member *m = n->member[i];
        if (reachable(m) && m->digest != mine && m->digest != 0 &&
            (m->pulled_ms == 0 || n->now_ms >= m->pulled_ms + PULL_AGAIN_MS)) {
            pull(n, m);
            m->digest = 0; /* until its next beacon */
        }
    }
    expire_pending(n);
}
