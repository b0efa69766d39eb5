#include <sodium.h>
#include <string.h>

#include "protocol/fault.h"
#include "protocol/mem.h"
#include "protocol/node_state.h"

#define RETRY_MS   2000
#define CONSOLE_MS 15000

static bool serving(const struct node *n)
{
    return node_is_founder(n) && n->work.joined[0] && n->work.leaving == LEAVE_NONE;
}

static size_t side_steps(const struct node *n)
{
    size_t count = 0;
    for (size_t i = 0; i < RUNNING_MAX; i++)
        count += n->running[i].id != 0 && n->running[i].id != n->work.main_step;
    return count;
}

/* Starts a step on a member's behalf, or leaves it for later when too many run. */
static uint32_t side(struct node *n, struct step *s, const struct member *m)
{
    return side_steps(n) < SIDE_MAX ? out_run(n, s, &m->id, 0) : 0;
}

static bool in_our_cluster(const struct node *n, const struct member *m)
{
    return strcmp(m->profile.cluster_id, n->record.cluster_id) == 0;
}

/* Another host, now gone or here under another identity, may have left a Node of this name. */
static bool name_was_used(const struct node *n, const struct member *m)
{
    if (m->job.served_nonce)
        return true; /* it joined, or tried to, before */
    for (size_t i = 0; i < n->member_count; i++) {
        const struct member *o = n->member[i];
        if (o != m && o->has_profile && strcmp(o->profile.name, m->profile.name) == 0)
            return true;
    }
    return false;
}

/* A living member of the cluster has this name: letting another in would take its Node over. */
static const struct member *name_holder(const struct node *n, const struct member *m)
{
    for (size_t i = 0; i < n->member_count; i++) {
        const struct member *o = n->member[i];
        if (o != m && o->has_profile && (o->self || o->state == STATE_ALIVE || o->state == STATE_SUSPECT) &&
            (o->self || o->profile.cluster_id[0]) && strcmp(o->profile.name, m->profile.name) == 0)
            return o;
    }
    return NULL;
}

static void refuse(struct member *m, const char *text)
{
    struct job *j = &m->job;
    j->served_nonce = j->grant.ticket_nonce = m->profile.ticket_nonce;
    j->grant.ticket_bytes = 0;
    mem_clip_text(j->grant.refused, sizeof j->grant.refused, text);
    j->changed = true;
}

/* A token lives for whole seconds, and its ticket no longer. */
static uint64_t ttl_ms(const struct node *n)
{
    return n->cfg.ticket_ttl_ms / 1000 * 1000;
}

/* What was asked of an earlier start of ours was served then, as like as not: whoever asked has joined since,
 * and its Node, deleted for a new one, would be missed. */
static bool asks_us(const struct node *n, const struct member *m)
{
    return m->profile.asked_start == n->boot || FAULT(EARLIER_REQUEST_SERVED);
}

static void serve_ticket(struct node *n, struct member *m)
{
    struct job *j = &m->job;
    struct step s = {0};
    if (!asks_us(n, m) || m->profile.ticket_nonce == 0 || m->profile.ticket_nonce == j->served_nonce ||
        j->mint_step || j->stale_step || j->revoke_step || m->profile.cluster_id[0])
        return;
    if (side_steps(n) >= SIDE_MAX)
        return; /* the names of all need no look before it is this one's turn */
    if (name_holder(n, m)) {
        refuse(m, "a member of this name is in the cluster already; give this host another name");
        return;
    }
    if (!j->stale_gone && name_was_used(n, m)) {
        s.kind = STEP_DELETE_NODE;
        memcpy(s.node_name, m->profile.name, sizeof s.node_name);
        j->stale_step = side(n, &s, m);
        return;
    }
    s.kind = STEP_TOKEN_MINT;
    s.ttl_s = (uint32_t)(ttl_ms(n) / 1000);
    memcpy(s.node_name, m->profile.name, sizeof s.node_name);
    j->mint_nonce = m->profile.ticket_nonce;
    j->mint_step = side(n, &s, m);
}

static void serve_revocation(struct node *n, struct member *m)
{
    struct job *j = &m->job;
    struct step s = {.kind = STEP_TOKEN_REVOKE};
    bool used = in_our_cluster(n, m);
    bool asks_again = m->profile.ticket_nonce && m->profile.ticket_nonce != j->served_nonce;
    if (j->token_until_ms == 0 || j->revoke_step || FAULT(TOKEN_NOT_REVOKED) ||
        (!used && !asks_again && n->now_ms < j->token_until_ms))
        return;
    memcpy(s.token, j->token, sizeof s.token);
    j->revoke_step = side(n, &s, m);
    sodium_memzero(s.token, sizeof s.token);
}

static void serve_reach(struct node *n, struct member *m)
{
    struct job *j = &m->job;
    struct step s = {.kind = STEP_REACH};
    const char *pod = m->profile.pod_address;
    if (j->reach_step && strcmp(pod, j->reaching) != 0) { /* that pod is gone: its host was started again */
        out_cancel(n, j->reach_step);
        j->reach_step = 0;
    }
    if (pod[0] == '\0' || !in_our_cluster(n, m) || j->reach_step || strcmp(pod, j->reached) == 0)
        return;
    memcpy(s.pod_address, pod, sizeof s.pod_address);
    memcpy(j->reaching, pod, sizeof j->reaching);
    j->reach_step = side(n, &s, m);
}

static void serve_removal(struct node *n, struct member *m)
{
    struct job *j = &m->job;
    struct step s = {0};
    if (!asks_us(n, m) || m->profile.leave_nonce == 0 || m->profile.leave_nonce == j->left_nonce ||
        j->drain_step || j->delete_step)
        return;
    s.kind = j->drained ? STEP_DELETE_NODE : STEP_DRAIN;
    memcpy(s.node_name, m->profile.name, sizeof s.node_name);
    *(j->drained ? &j->delete_step : &j->drain_step) = side(n, &s, m);
}

/* An evicted host asks for nothing any more: its Node goes all the same, unless another host has its name. */
static void serve_eviction(struct node *n, struct member *m)
{
    struct job *j = &m->job;
    struct step s = {0};
    if (j->gone || j->drain_step || j->delete_step || n->now_ms < j->retry_ms)
        return;
    for (size_t i = 0; i < n->member_count; i++) {
        const struct member *o = n->member[i];
        j->gone |= o != m && !o->evicted && o->state != STATE_LEFT && o->has_profile &&
                   strcmp(o->profile.name, m->profile.name) == 0;
    }
    j->gone |= strcmp(n->cfg.name, m->profile.name) == 0;
    if (j->gone)
        return;
    s.kind = j->drained ? STEP_DELETE_NODE : STEP_DRAIN;
    memcpy(s.node_name, m->profile.name, sizeof s.node_name);
    *(j->drained ? &j->delete_step : &j->drain_step) = side(n, &s, m);
}

/* The kubeconfigs that our users wait for. */
static void await_founder(struct node *n)
{
    const struct member *founder = node_member(n, &n->record.founder);
    for (size_t i = 0; i < PENDING_MAX; i++) {
        struct pending *p = &n->pending[i];
        if (p->request && n->now_ms >= p->until_ms) {
            out_reply(n, p->request, KPEER_ETIMEOUT, "the master did not answer in time",
                      "see `kpeer members`: is the master alive?");
            p->request = 0;
        } else if (p->request && n->now_ms >= p->again_ms && founder) {
            p->again_ms = n->now_ms + FOUNDER_AGAIN_MS;
            net_ask_kubeconfig(n, founder, p->request);
        }
    }
}

void serve_tick(struct node *n)
{
    if (n->stopped)
        return;
    await_founder(n);
    if (!serving(n))
        return;
    for (size_t i = 0; i < n->member_count; i++) {
        struct member *m = n->member[i];
        if (m->evicted && m->has_profile)
            serve_eviction(n, m);
        if (m->self || !m->has_profile || m->state == STATE_FAILED || m->state == STATE_LEFT)
            continue;
        if (m->profile_boot < m->boot)
            continue; /* started anew: what it asks for now is on its way */
        if (n->now_ms >= m->job.retry_ms) {
            serve_revocation(n, m);
            serve_ticket(n, m);
            serve_reach(n, m);
            serve_removal(n, m);
        }
        if (m->job.changed) {
            m->job.changed = false;
            m->job.grant.subject = m->id;
            net_publish_grant(n, m);
        }
    }
}

/* ---- results ---- */

/* The ticket answers the request that the token was made for: whoever asked anew meanwhile, under another
 * name perhaps, passes it over, and its token is revoked. */
static void minted(struct node *n, struct member *m, const struct step_result *r)
{
    struct job *j = &m->job;
    uint8_t seed[32];
    struct ticket t = {.joiner = m->id, .issuer = n->me->id, .nonce = j->mint_nonce, .ttl_ms = ttl_ms(n)};
    memcpy(t.cluster_id, n->record.cluster_id, sizeof t.cluster_id);
    memcpy(t.endpoint, n->record.endpoint, sizeof t.endpoint);
    memcpy(t.ca_hash, n->record.ca_hash, sizeof t.ca_hash);
    memcpy(t.token, r->token, sizeof t.token);
    memcpy(j->token, r->token, sizeof j->token);
    j->token_until_ms = n->now_ms + ttl_ms(n);
    node_random_bytes(n, seed, sizeof seed);
    if (FAULT(TICKET_SEED_FIXED))
        memset(seed, 0, sizeof seed);
    const struct member *to = FAULT(TICKET_TO_ANOTHER) ? n->member[0] : m;
    if (t.nonce && ticket_seal(&t, to->profile.box_pk, seed, j->grant.ticket, &j->grant.ticket_bytes) == 0) {
        j->served_nonce = j->grant.ticket_nonce = t.nonce;
        j->grant.refused[0] = '\0';
        j->stale_gone = false;
        j->changed = true;
        if (n->members_dirty_ms)
            node_persist_members(n); /* who may be a member is not forgotten: a new key is for it, too */
        out_event(n, EVENT_TICKET_ISSUED, &m->id);
    }
    sodium_memzero(&t, sizeof t);
    sodium_memzero(seed, sizeof seed);
}

static void later(struct node *n, struct job *j)
{
    j->retry_ms = n->now_ms + RETRY_MS;
}

static void member_result(struct node *n, struct member *m, const struct running *run,
                          const struct step_result *r)
{
    struct job *j = &m->job;
    if (r->code && r->code != KPEER_ECANCELED)
        later(n, j);
    if (run->id == j->mint_step) {
        j->mint_step = 0;
        if (r->code == 0)
            minted(n, m, r);
    } else if (run->id == j->stale_step) {
        j->stale_step = 0;
        j->stale_gone = r->code == 0;
    } else if (run->id == j->revoke_step) {
        j->revoke_step = 0;
        if (r->code == 0) {
            j->token_until_ms = 0;
            sodium_memzero(j->token, sizeof j->token);
        }
    } else if (run->id == j->reach_step) {
        j->reach_step = 0;
        if (r->code == 0) {
            memcpy(j->reached, j->reaching, sizeof j->reached);
            memcpy(j->grant.reached, j->reached, sizeof j->grant.reached);
            j->changed = true;
        }
    } else if (run->id == j->drain_step) {
        j->drain_step = 0;
        j->drained =
            true; /* a drain that failed does not keep a host from leaving: its Node goes all the same */
        j->retry_ms = 0;
    } else if (run->id == j->delete_step) {
        j->delete_step = 0;
        if (r->code == 0) {
            j->drained = false;
            j->gone = m->evicted;
            j->left_nonce = j->grant.leave_nonce = m->profile.leave_nonce;
            j->reached[0] = j->grant.reached[0] = '\0';
            j->changed = true;
        }
    }
}

static void console_result(struct node *n, const struct running *run, const struct step_result *r)
{
    bool local = peer_id_equal(&run->subject, &n->me->id);
    struct member *m = node_member(n, &run->subject);
    if (!local) {
        if (m && r->code == 0)
            out_event(n, EVENT_CONSOLE_SERVED, &m->id);
        if (m)
            net_give_kubeconfig(n, m, run->request, r->code, r->blob, r->blob_bytes);
        return;
    }
    uint8_t *copy = r->blob_bytes ? out_copy(n, r->blob, r->blob_bytes) : NULL;
    out_reply(n, run->request, r->code, r->text, r->hint);
    if (n->action_count > 0 && copy && r->code == 0) {
        n->action[n->action_count - 1].bytes = copy;
        n->action[n->action_count - 1].n = r->blob_bytes;
    }
}

void serve_result(struct node *n, const struct running *run, const struct step_result *r)
{
    if (run->kind == STEP_KUBECONFIG) {
        console_result(n, run, r);
        return;
    }
    if (run->kind == STEP_VERIFY) {
        verify_result(n, r);
        return;
    }
    if (run->kind == STEP_REKEY) {
        key_filed(n, r);
        return;
    }
    struct member *m = node_member(n, &run->subject);
    if (m)
        member_result(n, m, run, r);
}

/* ---- the admin kubeconfig ---- */

static void ask_founder(struct node *n, uint64_t request)
{
    const struct member *founder = node_member(n, &n->record.founder);
    struct pending *slot = NULL;
    for (size_t i = 0; i < PENDING_MAX && !slot; i++)
        if (n->pending[i].request == 0)
            slot = &n->pending[i];
    if (!slot || !founder || founder->state != STATE_ALIVE) {
        out_reply(n, request, slot ? KPEER_EIO : KPEER_ELIMIT,
                  slot ? "the master cannot be reached from here" : "too many requests are waiting",
                  "see `kpeer members`: is the master alive?");
        return;
    }
    slot->request = request;
    slot->until_ms = n->now_ms + CONSOLE_MS;
    slot->again_ms = n->now_ms + FOUNDER_AGAIN_MS;
    net_ask_kubeconfig(n, founder, request);
}

static bool is_asked(const struct node *n, const struct peer_id *asker, uint64_t request)
{
    for (size_t i = 0; i < RUNNING_MAX; i++)
        if (n->running[i].id && n->running[i].kind == STEP_KUBECONFIG && n->running[i].request == request &&
            peer_id_equal(&n->running[i].subject, asker))
            return true;
    return false;
}

/* What this host's administrator has settled. Root of this very host reads the file anyway. */
static bool may_be_console(const struct node *n, const struct member *m)
{
    char id[PEER_ID_TEXT];
    peer_id_text(&m->id, id);
    for (size_t i = 0; i < n->cfg.console_count; i++)
        if (strcmp(n->cfg.console[i], m->profile.name) == 0 || strcmp(n->cfg.console[i], id) == 0)
            return true;
    return !n->cfg.console_set;
}

/* `asker` NULL: our own user. Only members of the cluster get it, over their own link, in a box only they can
 * open. */
void serve_kubeconfig(struct node *n, uint64_t request, const struct peer_id *asker)
{
    struct step s = {.kind = STEP_KUBECONFIG};
    const struct member *m = asker ? node_member(n, asker) : NULL;
    if (!n->committed) {
        if (!asker)
            out_reply(n, request, KPEER_ESTATE, "there is no cluster yet",
                      "kpeer status tells what it waits for");
        return;
    }
    if (!node_is_founder(n)) {
        if (!asker)
            ask_founder(n, request);
        return;
    }
    if (asker && (!m || !m->has_profile || !in_our_cluster(n, m) || is_asked(n, asker, request)))
        return;
    if (asker && !may_be_console(n, m)) {
        out_event(n, EVENT_CONSOLE_REFUSED, asker);
        net_give_kubeconfig(n, m, request, KPEER_EREFUSED, NULL, 0);
        return;
    }
    if (side_steps(n) >= SIDE_MAX || !out_run(n, &s, asker ? asker : &n->me->id, request))
        out_reply(n, asker ? 0 : request, KPEER_ELIMIT, "too much is going on; try again", "");
}

uint64_t serve_wake(const struct node *n)
{
    uint64_t at = UINT64_MAX;
    for (size_t i = 0; i < PENDING_MAX; i++) {
        const struct pending *p = &n->pending[i];
        uint64_t due_ms = p->again_ms < p->until_ms ? p->again_ms : p->until_ms;
        if (p->request && due_ms < at)
            at = due_ms;
    }
    if (!serving(n))
        return at;
    for (size_t i = 0; i < n->member_count; i++) {
        const struct job *j = &n->member[i]->job;
        if (j->retry_ms > n->now_ms && j->retry_ms < at)
            at = j->retry_ms;
        if (j->token_until_ms > n->now_ms && j->token_until_ms < at)
            at = j->token_until_ms;
    }
    return at;
}
