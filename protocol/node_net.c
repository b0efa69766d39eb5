#include <stdlib.h>
#include <string.h>

#include "protocol/fault.h"
#include "protocol/mem.h"
#include "protocol/node_state.h"

enum mode { MODE_FORMING, MODE_MEMBER, MODE_LEAVING, MODE_COUNT };

/* What is taken in which mode; everything else is dropped. */
static const bool allowed[MSG_COUNT][MODE_COUNT] = {
    [MSG_PULL] = {true, true, true},          [MSG_PUSH] = {true, true, true},
    [MSG_LEASE_ASK] = {true, false, false},   [MSG_LEASE_GRANT] = {true, false, false},
    [MSG_PROBE] = {true, true, true},         [MSG_PROBE_ACK] = {true, true, true},
    [MSG_CONFIG_ASK] = {false, true, false},  [MSG_CONFIG_GIVE] = {false, true, false},
    [MSG_SURVEY_ASK] = {true, true, false},   [MSG_SURVEY_READY] = {true, true, false},
    [MSG_SURVEY_GO] = {true, true, false},    [MSG_SURVEY_TELL] = {true, true, false},
    [MSG_SURVEY_END] = {true, true, false},   [MSG_VERIFY_ASK] = {false, true, false},
    [MSG_VERIFY_TELL] = {false, true, false},
};

#define CONFLICT_MS 60000

void net_drop(struct node *n, enum drop why)
{
    n->dropped[why]++;
}

static enum mode mode(const struct node *n)
{
    return n->work.leaving ? MODE_LEAVING : n->committed ? MODE_MEMBER : MODE_FORMING;
}

/* ---- statements that come in ---- */

/* False if all that changed is what the group's check does not look at. What is not named here counts, so a
 * field that is forgotten costs a check and no more. */
static bool matters_to_check(const struct profile *was, const struct profile *now)
{
    struct profile p = *now;
    if (p.phase < PHASE_LEAVING && was->phase < PHASE_LEAVING)
        p.phase = was->phase;
    p.able = was->able;
    p.ticket_nonce = was->ticket_nonce;
    p.asked_start = was->asked_start;
    memcpy(p.pod_address, was->pod_address, sizeof p.pod_address);
    memcpy(p.note, was->note, sizeof p.note);
    return memcmp(&p, was, sizeof p) != 0;
}

static void take_profile(struct node *n, struct member *m, const struct profile *p)
{
    bool first = !m->has_profile;
    if (first || m->profile.phase != p->phase)
        m->phase_since_ms = n->now_ms;
    if (first || matters_to_check(&m->profile, p))
        n->group_checked = false;
    m->profile = *p;
    m->has_profile = true;
    key_heard(m, p->key_epoch);
    n->formation_stale |= first;
    node_profile_taken(n, m);
    memcpy(m->box_pk, p->box_pk, sizeof m->box_pk);
    if (!n->members_dirty_ms)
        n->members_dirty_ms = n->now_ms;
    if (p->phase == PHASE_LEFT && !m->evicted)
        alive_left(n, m);
    else if (first && m->heard && n->started)
        out_event(n, EVENT_MEMBER_DISCOVERED, &m->id); /* now it has a name */
}

/* What a statement carries, decoded. */
struct payload {
    struct profile profile;
    struct grant grant;
    struct rekey rekey;
    struct ballot *ballot; /* owned */
};

/* A payload that does not decode is never kept, so it is not passed on either. */
static int decode_payload(struct node *n, const struct statement *s, struct payload *p)
{
    if (s->kind == STATEMENT_PROFILE)
        return profile_decode(s->payload, s->payload_bytes, &p->profile);
    if (s->kind == STATEMENT_GRANT) {
        int rc = grant_decode(s->payload, s->payload_bytes, &p->grant);
        return rc == 0 && !peer_id_equal(&p->grant.subject, &s->subject) ? KPEER_EINVAL : rc;
    }
    if (s->kind == STATEMENT_KEY)
        return rekey_decode(s->payload, s->payload_bytes, &p->rekey);
    int rc = ballot_decode(s->payload, s->payload_bytes, &n->told);
    if (rc)
        return rc;
    p->ballot = malloc(ballot_bytes(&n->told));
    if (!p->ballot)
        return KPEER_ENOMEM;
    memcpy(p->ballot, &n->told, ballot_bytes(&n->told));
    return 0;
}

static void take_payload(struct node *n, struct member *m, const struct statement *s, struct payload *p,
                         bool stored)
{
    memcpy(m->sign_pk, s->sign_pk, sizeof m->sign_pk);
    m->keyed = true;
    if (s->kind == STATEMENT_PROFILE) {
        take_profile(n, m, &p->profile);
        m->profile_boot = s->version >> 32;
    } else if (s->kind == STATEMENT_BALLOT) {
        free(m->ballot);
        m->ballot = p->ballot;
        p->ballot = NULL;
        n->formation_stale = true;
    } else if (s->kind == STATEMENT_KEY) {
        key_told(n, &s->subject, &p->rekey);
    } else if (!stored && peer_id_equal(&s->subject, &n->me->id) && n->committed &&
               (peer_id_equal(&s->owner, &n->record.founder) || FAULT(GRANT_FROM_ANYBODY))) {
        work_grant(n, &p->grant);
    }
}

/* Keeps a statement that is new to us, or says why not. */
static int keep_statement(struct node *n, const struct statement *s, bool stored)
{
    struct payload p;
    p.ballot = NULL;
    int rc = decode_payload(n, s, &p);
    struct member *m = rc == 0 ? node_member_add(n, &s->owner) : NULL;
    if (rc == 0 && !m)
        rc = KPEER_ELIMIT;
    if (rc == 0)
        rc = gossip_put(&n->gossip, s);
    if (rc == 1) {
        take_payload(n, m, s, &p, stored);
        net_stir(n);
    }
    free(p.ballot);
    return rc < 0 ? rc : 0;
}

static void drop_statement(struct node *n, int rc)
{
    if (rc == KPEER_ENOMEM)
        n->no_memory = true;
    net_drop(n, rc == KPEER_EAUTH ? DROP_FORGED : rc == KPEER_EINVAL ? DROP_MALFORMED : DROP_LIMIT);
}

/* What we said ourselves before a restart is no news, but kept as the others keep it: or our digests would
 * differ for good. What we never said, a copy of this host said, which may be gone or out of hearing. */
static void take_back(struct node *n, const struct statement *s)
{
    int rc = statement_verify(s, n->group_id, NULL);
    if (rc == 0 && s->version < n->boot << 32)
        rc = gossip_put(&n->gossip, s);
    else if (rc == 0)
        net_outbid(n, s->version >> 32);
    if (rc < 0)
        drop_statement(n, rc);
}

/* Only the control plane grants, and rotates the key: nobody else may fill the others' memory with words to
 * whomever. */
static bool may_say(const struct node *n, const struct statement *s)
{
    return s->kind < STATEMENT_GRANT || FAULT(GRANT_FROM_ANYBODY) ||
           (n->committed && peer_id_equal(&s->owner, &n->record.founder));
}

void net_take(struct node *n, const uint8_t *wire, size_t bytes, bool stored)
{
    struct statement s;
    int rc = statement_decode(wire, bytes, n->group_id, false, &s, NULL);
    if (rc) {
        drop_statement(n, rc);
        return;
    }
    if (gossip_knows(&n->gossip, &s))
        return;
    if (peer_id_equal(&s.owner, &n->me->id)) {
        take_back(n, &s);
        return;
    }
    if (!may_say(n, &s)) {
        net_drop(n, DROP_STATE);
        return;
    }
    rc = FAULT(SIGNATURE_IGNORED) ? 0 : statement_verify(&s, n->group_id, NULL);
    if (rc == 0)
        rc = keep_statement(n, &s, stored);
    if (rc) {
        drop_statement(n, rc);
        return;
    }
    if (!stored && node_alive_count(n) > SMALL_GROUP)
        net_pass_on(n, &s);
}

/* Another cluster in our group: each side keeps its own, and says so for as long as the other is met. */
static void second_cluster(struct node *n, const struct member *from, const uint8_t *blob, size_t bytes)
{
    const struct record *ours = n->committed ? &n->record : &n->formation.mine.record;
    if (record_verify(blob, bytes, &n->other, NULL) != 0)
        return;
    n->conflict_ms = n->now_ms;
    out_text(out_event(n, EVENT_CONFLICT, &from->id),
             "two clusters in one group: %s founded by %s, and %s founded by %s; nothing is merged",
             ours->cluster_id, ours->founder_name, n->other.cluster_id, n->other.founder_name);
}

static void take_record(struct node *n, const struct member *from, const uint8_t *blob, size_t bytes)
{
    if (n->committed && bytes == n->cluster_bytes && memcmp(blob, n->cluster_blob, bytes) == 0)
        return;
    if (n->committed && n->conflict_ms && n->now_ms < n->conflict_ms + CONFLICT_MS)
        return; /* it was told just now; signatures cost time */
    int rc = node_adopt(n, blob, bytes);
    if (rc == 1)
        net_push(n, NULL, true);
    else if (rc == KPEER_ESTATE && !(n->conflict_ms && n->now_ms < n->conflict_ms + CONFLICT_MS))
        second_cluster(n, from, blob, bytes);
    else if (rc < 0 && rc != KPEER_ESTATE)
        net_drop(n, DROP_FORGED);
}

/* ---- messages that come in ---- */

static void on_pull(struct node *n, struct member *m, struct pack_reader *r)
{
    bool has_record = pack_bool(r);
    bool ahead = net_give(n, m, r, has_record);
    if (pack_bad(r))
        return;
    if ((ahead || (has_record && !n->committed)) && n->now_ms >= m->pulled_ms + NET_PULL_AGAIN_MS / 10)
        net_pull(n, m);
}

static void on_push(struct node *n, struct member *m, struct pack_reader *r)
{
    struct pack_reader whole = *r; /* nothing is taken before all of it was read once without a fault */
    uint32_t count = pack_array(&whole, 0, NET_ITEMS_MAX);
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
    uint8_t set_id[SET_ID_BYTES];
    pack_bin_copy(r, set_id, sizeof set_id);
    uint64_t term = pack_uint(r, UINT64_MAX);
    uint64_t round = pack_uint(r, UINT64_MAX);
    if (pack_bad(r) ||
        !formation_lease_asked(&n->formation, &m->id, set_id, term, n->now_ms, n->cfg.lease_ms))
        return;
    net_grant_lease(n, m, set_id, term, round);
}

static void on_lease_grant(struct node *n, struct member *m, struct pack_reader *r)
{
    uint8_t set_id[SET_ID_BYTES];
    pack_bin_copy(r, set_id, sizeof set_id);
    uint64_t term = pack_uint(r, UINT64_MAX);
    uint64_t round = pack_uint(r, UINT64_MAX);
    if (!pack_bad(r))
        formation_lease_granted(&n->formation, &m->id, set_id, term, round, n->cfg.lease_ms);
}

/* "Is `target` there?", asked by `origin`: by itself, or through a member that asks for it. A member never
 * answers from memory: what it heard a moment ago may have died since. */
static void on_probe(struct node *n, struct member *m, struct pack_reader *r)
{
    struct peer_id target, origin;
    pack_bin_copy(r, target.b, sizeof target.b);
    pack_bin_copy(r, origin.b, sizeof origin.b);
    if (pack_bad(r))
        return;
    const struct member *t = node_member(n, &target);
    if (peer_id_equal(&target, &n->me->id))
        net_ack(n, m, &target, &origin);
    else if (t && net_reachable(t) && peer_id_equal(&origin, &m->id))
        net_probe(n, t, &target, &origin);
}

static void on_probe_ack(struct node *n, struct member *m, struct pack_reader *r)
{
    struct peer_id target, origin;
    pack_bin_copy(r, target.b, sizeof target.b);
    pack_bin_copy(r, origin.b, sizeof origin.b);
    if (pack_bad(r))
        return;
    struct member *t = node_member(n, &target);
    const struct member *o = node_member(n, &origin);
    if (peer_id_equal(&origin, &n->me->id) && t && t->heard)
        alive_heard(n, t);
    else if (o && net_reachable(o) && peer_id_equal(&target, &m->id))
        net_ack(n, o, &target, &origin);
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
    if (!out_own(n, plain, bytes))
        return;
    if (code == 0 && seal_box_open(n->me, box, bytes, plain) != 0)
        code = KPEER_EAUTH;
    if (code == KPEER_EREFUSED)
        out_reply(n, request, code, "the master gives its admin kubeconfig to other hosts alone",
                  "name this host under roles.console in the master's kpeer.yaml, and start its agent anew");
    else
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
    m->hello_counter = m->pulse_counter = 0;
    m->every_ms = 0;
    m->message_counter = m->message_window = 0;
}

bool net_of_this_start(struct member *m, uint64_t boot, uint64_t instance)
{
    if (boot > m->boot)
        new_instance(m, boot, instance);
    return (boot == m->boot && (instance == m->instance || FAULT(INSTANCE_IGNORED))) ||
           (boot < m->boot && FAULT(EARLIER_START_HEARD));
}

static struct member *read_sender(struct node *n, const struct node_event *ev, struct pack_reader *r,
                                  int *type, uint32_t epoch)
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
    if (!peer_id_equal(&sender, &ev->peer) && !FAULT(SENDER_IGNORED)) {
        net_drop(n, DROP_FORGED);
        return NULL;
    }
    if (!m || !m->heard || m->self || !key_accepts(n, epoch, m)) {
        net_drop(n, DROP_UNKNOWN);
        return NULL;
    }
    if (!net_of_this_start(m, boot, instance)) {
        net_drop(n, DROP_STALE);
        return NULL;
    }
    if (!fresh(&m->message_counter, &m->message_window, counter) && !FAULT(REPLAY_TAKEN)) {
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
        on_probe_ack(n, m, r);
        break;
    case MSG_CONFIG_ASK:
        on_config_ask(n, m, r);
        break;
    case MSG_CONFIG_GIVE:
        on_config_give(n, m, r);
        break;
    case MSG_SURVEY_ASK:
    case MSG_SURVEY_READY:
    case MSG_SURVEY_GO:
    case MSG_SURVEY_TELL:
    case MSG_SURVEY_END:
        survey_message(n, m, (enum message)type, r);
        break;
    case MSG_VERIFY_ASK:
    case MSG_VERIFY_TELL:
        verify_message(n, m, (enum message)type, r);
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
    if (ev->n > NET_MESSAGE_MAX + SEAL_OVERHEAD_BYTES || ev->n < SEAL_OVERHEAD_BYTES) {
        net_drop(n, DROP_LIMIT);
        return;
    }
    uint8_t *plain = malloc(ev->n);
    if (!plain) {
        n->no_memory = true;
        return;
    }
    if (!out_own(n, plain, ev->n))
        return;
    uint32_t epoch = 0;
    int rc = key_open(n, ev->bytes, ev->n, plain, &bytes, &epoch);
    if (rc == 0)
        rc = pack_open(&r, plain, bytes, 5, NULL) ? KPEER_EINVAL : 0;
    if (rc) {
        net_drop(n, rc == KPEER_EREFUSED ? DROP_FOREIGN : rc == KPEER_EAUTH ? DROP_FORGED : DROP_MALFORMED);
        return;
    }
    struct member *m = read_sender(n, ev, &r, &type, epoch);
    if (!m)
        return;
    key_heard(m, epoch);
    if (!allowed[type][mode(n)]) {
        net_drop(n, DROP_STATE);
        return;
    }
    alive_heard(n, m);
    handle(n, m, type, &r);
}
