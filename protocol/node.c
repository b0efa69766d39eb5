#include "protocol/node.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/fault.h"
#include "protocol/mem.h"
#include "protocol/node_state.h"

void node_config_default(struct node_config *cfg)
{
    *cfg = (struct node_config){.port = 7373,
                                .pod_cidr = "10.244.0.0/16",
                                .service_cidr = "10.96.0.0/12",
                                .fix = true,
                                .settle_ms = 3000,
                                .beat_ms = 1000,
                                .lease_ms = 5000,
                                .ticket_ttl_ms = 600000,
                                .key_overlap_ms = 7u * 24 * 3600 * 1000};
}

/* ---- construction ---- */

static int node_init(struct node *n, const struct node_config *cfg, const struct identity *identity,
                     const struct secret *group_key, const struct stored *stored, struct err *err)
{
    n->cfg = *cfg;
    n->expected = cfg->expect;
    n->me = identity;
    secret_group_id(group_key, n->group_id);
    int rc = key_init(n, group_key, err);
    if (rc == 0)
        rc = node_load_promises(n, &stored[STORE_PROMISES], err);
    if (rc)
        return rc;
    struct member *self = node_member_add(n, &identity->id);
    if (!self)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    n->self = self;
    self->self = self->keyed = self->heard = true;
    node_set_state(n, self, STATE_ALIVE);
    memcpy(self->sign_pk, identity->sign_pk, sizeof self->sign_pk);
    memcpy(self->box_pk, identity->box_pk, sizeof self->box_pk);
    if (stored[STORE_CLUSTER].bytes)
        rc = node_adopt(n, stored[STORE_CLUSTER].bytes, stored[STORE_CLUSTER].n);
    if (rc == KPEER_ENOMEM)
        return err_set(err, rc, "out of memory");
    if (rc < 0)
        return err_set(err, rc == KPEER_EVERSION ? rc : KPEER_EINVAL,
                       "the stored cluster record cannot be read or is of another group");
    rc = node_load_members(n, &stored[STORE_MEMBERS], err);
    return rc ? rc : key_load(n, &stored[STORE_KEYS], err);
}

int node_new(struct node **out, const struct node_config *cfg, const struct identity *identity,
             const struct secret *group_key, const struct stored stored[static STORE_KEY_COUNT],
             uint64_t instance, const uint8_t seed[static 32], struct err *err)
{
    struct node *n = calloc(1, sizeof *n);
    if (!n)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    n->instance = instance;
    memcpy(n->rng_key, seed, sizeof n->rng_key);
    int rc = node_init(n, cfg, identity, group_key, stored, err);
    out_begin(n); /* nobody watches yet */
    if (rc == 0 && n->no_memory)
        rc = err_set(err, KPEER_ENOMEM, "out of memory");
    if (rc) {
        node_free(n);
        return rc;
    }
    *out = n;
    return 0;
}

void node_free(struct node *n)
{
    if (!n)
        return;
    for (size_t i = 0; i < n->member_count; i++) {
        sodium_memzero(&n->member[i]->job, sizeof n->member[i]->job);
        free(n->member[i]->ballot);
        free(n->member[i]);
    }
    gossip_fini(&n->gossip);
    survey_free(n);
    out_free(n);
    key_fini(n);
    free(n->cluster_blob);
    sodium_memzero(n, sizeof *n);
    free(n);
}

/* ---- the entry ---- */

/* A start is numbered so that it is later than every earlier one, also after a restored snapshot of the VM.
 */
static void start(struct node *n, const struct node_event *ev)
{
    uint64_t seconds = ev->wall_ms > 0 ? (uint64_t)ev->wall_ms / 1000 : 0;
    uint64_t boot = n->boot + 1 > seconds ? n->boot + 1 : seconds;
    n->started = true;
    n->boot = boot > UINT32_MAX ? UINT32_MAX : boot;
    n->start_ms = n->now_ms;
    n->start_wall_ms = ev->wall_ms;
    for (size_t i = 0; i < n->member_count; i++)
        n->member[i]->discovered_ms =
            n->now_ms; /* those from the disk have all their time to be heard, too */
    struct member *self = node_self(n);
    self->boot = n->boot;
    self->instance = n->instance;
    n->formation.rng = node_random(n);
    /* The executor may still be ending steps that were numbered before the identity was renewed. */
    n->last_step_id = (uint32_t)(node_random(n) & 0x3fffffff);
    formation_start(&n->formation, n->me, n->now_ms, n->cfg.lease_ms);
    node_persist_promises(n);
    /* Nobody may have heard what we promised before we went down, or remember it after a power cut; and that
     * we promised nothing, others have to know before they count on us. */
    net_publish_ballot(n);
    out_text(out_event(n, EVENT_AGENT_STARTED, &n->me->id), "kpeer %s", n->cfg.version);
    key_start(n);
    work_start(n);
    n->beacon_ms = n->now_ms;
}

static void take_address(struct node *n, const struct node_event *ev)
{
    if (strcmp(n->address, ev->address) == 0 && strcmp(n->interface, ev->interface) == 0)
        return;
    memcpy(n->address, ev->address, sizeof n->address);
    memcpy(n->interface, ev->interface, sizeof n->interface);
    struct action *a = out_event(n, n->address[0] ? EVENT_ADDRESS_PROVEN : EVENT_ADDRESS_LOST, &n->me->id);
    memcpy(a->address, ev->address, sizeof a->address);
    out_text(a, "%s on %s", n->address[0] ? n->address : "no address is proven",
             n->interface[0] ? n->interface : "any interface");
    work_address_changed(n);
}

static void take_host(struct node *n, const struct node_event *ev)
{
    if (ev->facts) {
        n->facts = *ev->facts;
        n->work.have_facts = true;
    }
    if (ev->nets) {
        n->nets = *ev->nets;
        n->work.have_nets = true;
    }
}

static void take_progress(struct node *n, const struct step_progress *p)
{
    for (size_t i = 0; i < RUNNING_MAX; i++) {
        if (n->running[i].id != p->id || p->id == 0)
            continue;
        struct action *a = out_event(n, EVENT_STEP_PROGRESS, NULL);
        mem_copy_text(a->name, sizeof a->name, step_word(n->running[i].kind));
        out_text(a, "%s%s%s", p->phase, p->phase[0] && p->line[0] ? ": " : "", p->line);
        a->took_ms = (uint32_t)(n->now_ms - n->running[i].started_ms);
        verify_progress(n, p->id, a->text);
        if (p->id == n->work.main_step && n->work.main_kind == STEP_PROVE)
            mem_clip_text(n->work.missing, sizeof n->work.missing, p->line);
    }
}

static void tell_result(struct node *n, const struct running *run, const struct step_result *r)
{
    struct action *a = out_event(n, r->code ? EVENT_STEP_FAILED : EVENT_STEP_FINISHED, NULL);
    mem_copy_text(a->name, sizeof a->name, step_word(run->kind));
    out_text(a, "%s", r->code ? r->text : "");
    memcpy(a->hint, r->hint, sizeof a->hint);
    a->code = r->code;
    a->took_ms = (uint32_t)(n->now_ms - run->started_ms);
}

static void take_result(struct node *n, const struct step_result *r)
{
    for (size_t i = 0; i < RUNNING_MAX; i++) {
        if (n->running[i].id != r->id || r->id == 0)
            continue;
        struct running run = n->running[i];
        n->running[i].id = 0;
        tell_result(n, &run, r);
        if (run.id == n->work.main_step)
            work_result(n, &run, r);
        else
            serve_result(n, &run, r);
        return;
    }
}

static void dispatch(struct node *n, const struct node_event *ev)
{
    switch (ev->kind) {
    case EV_START:
        start(n, ev);
        break;
    case EV_TICK:
        break;
    case EV_HELLO:
        net_hello(n, ev);
        break;
    case EV_PULSE:
        pulse_heard(n, ev);
        break;
    case EV_MESSAGE:
        net_message(n, ev);
        break;
    case EV_LINK_DOWN: {
        struct member *m = node_member(n, &ev->peer);
        if (m)
            alive_link_down(n, m);
        break;
    }
    case EV_REFUSED: {
        struct member *m = node_member(n, &ev->peer);
        if (m)
            alive_refused(n, m);
        break;
    }
    case EV_ADDRESS:
        take_address(n, ev);
        break;
    case EV_HOST:
        take_host(n, ev);
        break;
    case EV_STEP_PROGRESS:
        take_progress(n, ev->progress);
        break;
    case EV_STEP_DONE:
        take_result(n, ev->result);
        break;
    case EV_LEAVE:
        work_leave(n, ev);
        break;
    case EV_KUBECONFIG:
        serve_kubeconfig(n, ev->request, NULL);
        break;
    case EV_FIX:
        rename_request(n, ev->request);
        break;
    case EV_SURVEY:
        survey_request(n, ev->request);
        break;
    case EV_REACH:
        survey_reach(n, ev->reach);
        break;
    case EV_ROTATE:
        key_rotate(n, ev->request);
        break;
    case EV_EVICT:
        key_evict(n, ev->request, ev->who);
        break;
    case EV_HANDED:
        key_handed(n, ev);
        break;
    case EV_RETRY:
        work_retry(n);
        break;
    case EV_STOPPING:
        net_say_stopping(n);
        break;
    case EV_VERIFY:
        verify_request(n, ev->request, ev->timeout_ms);
        break;
    case EV_GONE:
        verify_gone(n, ev->request);
        break;
    }
}

/* ---- the end of each step: decide, store, tell ---- */

static void tell_formation(struct node *n, uint32_t done)
{
    const struct ballot *b = &n->formation.mine;
    if (done & FORMATION_RELEASED)
        out_text(out_event(n, EVENT_ELECTORATE_RELEASED, NULL), "the set of hosts changed; settling anew");
    if (done & FORMATION_BOUND)
        out_text(out_event(n, EVENT_ELECTORATE_BOUND, NULL), "%u hosts, number %u", b->set.count,
                 b->set.number);
    if (done & FORMATION_CONSTITUTED)
        out_text(out_event(n, EVENT_ELECTORATE_CONSTITUTED, NULL), "%u hosts decide", b->set.count);
    if (done & FORMATION_STANDS)
        out_event(n, EVENT_ELECTION_STARTED, &n->me->id)->term = b->term;
    if (done & FORMATION_VOTED)
        out_event(n, EVENT_ELECTED, &b->vote)->term = b->term;
    if (done & FORMATION_ELECTED)
        out_event(n, EVENT_ELECTED, &n->me->id)->term = b->term;
    if (done & FORMATION_LEASE_LOST)
        out_event(n, EVENT_LEASE_LOST, &n->me->id)->term = b->term;
}

static void commit_if_decided(struct node *n, const struct formation_input *in)
{
    struct committed *c;
    uint8_t *blob = NULL;
    size_t bytes = 0;
    if (!formation_accepted(&n->formation, in))
        return;
    c = malloc(sizeof *c);
    if (!c) {
        n->no_memory = true;
        return;
    }
    int rc = formation_committed(&n->formation, in, c) ? committed_encode(c, &blob, &bytes, NULL) : 0;
    if (blob && node_adopt(n, blob, bytes) == 1)
        net_push_cluster(n);
    if (rc == KPEER_ENOMEM)
        n->no_memory = true;
    free(blob);
    free(c);
}

/* In a large group what others say is looked at together. */
static bool formation_waits(const struct node *n)
{
    return n->alive_count > SMALL_GROUP && n->hears &&
           n->now_ms < n->formed_ms + node_pause_ms(n, FORMATION_GAP_MS) && n->now_ms < n->formation_ms;
}

/* Formation depends on what changed since it ran, and on time only as far as it said so. */
static bool formation_due(struct node *n)
{
    if (formation_waits(n))
        return false;
    node_check_group(n);
    return n->formation_stale || n->now_ms >= n->formation_ms || work_able(n) != n->was_able;
}

/* Formation runs until nothing changes: a vote may elect at once in a group of one. */
static void form(struct node *n)
{
    if ((n->committed && !FAULT(ELECTS_AFTER_COMMIT)) || n->work.leaving)
        return;
    if (!formation_due(n))
        return;
    n->formation_stale = false;
    n->formation_ms = 0;
    n->formed_ms = n->now_ms;
    n->was_able = work_able(n);
    for (int i = 0; i < 4; i++) {
        struct formation_input in = node_formation_input(n);
        uint32_t done = formation_tick(&n->formation, &in);
        if (done & (FORMATION_BOUND | FORMATION_CONSTITUTED | FORMATION_RELEASED))
            n->group_checked = false;
        if (done & FORMATION_RELEASED)
            n->work.proposed = false; /* nobody can carry it forward any more */
        if (done & FORMATION_PROMISED) {
            if (FAULT(TOLD_BEFORE_STORED))
                net_publish_ballot(n);
            if (!(FAULT(VOTE_NOT_STORED) &&
                  (done & (FORMATION_VOTED | FORMATION_ACCEPTED)) == FORMATION_VOTED) &&
                !(FAULT(ACCEPTANCE_NOT_STORED) && done & FORMATION_ACCEPTED))
                node_persist_promises(n);
            net_publish_ballot(n);
        }
        tell_formation(n, done);
        if (done & (FORMATION_LEASE_LOST | FORMATION_RELEASED))
            work_lease_lost(n);
        if (done & FORMATION_ASK_LEASE)
            net_ask_lease(n);
        commit_if_decided(n, &in);
        if (!(done & ~(uint32_t)FORMATION_ASK_LEASE) || n->committed)
            return;
    }
}

static uint64_t min64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t wake(struct node *n)
{
    bool out = n->keys.evicted; /* says and does nothing any more but leave */
    uint64_t at = min64(alive_wake(n), min64(survey_wake(n), verify_wake(n)));
    at = min64(at, key_wake(n));
    at = min64(at, pulse_wake(n));
    if (!out)
        at = min64(at, min64(n->beacon_ms, serve_wake(n)));
    if (!out || n->work.leaving != LEAVE_NONE)
        at = min64(at, work_wake(n));
    if (n->news_ms && !out)
        at = min64(at, n->news_ms);
    if (n->keep_ms)
        at = min64(at, n->keep_ms);
    if (n->members_dirty_ms)
        at = min64(at, n->members_dirty_ms + NODE_SNAPSHOT_MS);
    if (!n->committed && !n->work.leaving) {
        if (formation_waits(n)) {
            at = min64(at, n->formed_ms + node_pause_ms(n, FORMATION_GAP_MS));
        } else if (n->formation_ms <= n->now_ms || n->formation_stale) {
            struct formation_input in = node_formation_input(n);
            n->formation_ms = formation_wake(&n->formation, &in);
        }
        at = min64(at, n->formation_ms);
    }
    return at > n->now_ms ? at : n->now_ms + 1;
}

int node_step(struct node *n, const struct node_event *event, uint64_t now_ms, struct actions *out)
{
    out_begin(n);
    n->now_ms = now_ms > n->now_ms ? now_ms : n->now_ms;
    if (event->wall_ms)
        n->wall_ms = event->wall_ms;
    if (!n->stopped && (n->started || event->kind == EV_START)) {
        bool was_committed = n->committed;
        alive_late(n, n->wake_ms);
        n->hears = event->kind == EV_HELLO || event->kind == EV_PULSE || event->kind == EV_MESSAGE ||
                   event->kind == EV_HANDED || event->kind == EV_TICK;
        n->formation_stale |= !n->hears;
        dispatch(n, event);
        net_publish_profile(n);
        alive_tick(n);
        form(n);
        uint32_t told = n->statement_count;
        work_tick(n);
        serve_tick(n);
        net_publish_profile(n);
        if (n->statement_count != told)
            form(n); /* our own new profile or ballot may be what was missing */
        if (n->committed && !was_committed)
            work_tick(n);
        net_publish_profile(n);
        survey_tick(n);
        verify_tick(n);
        key_tick(n);
        net_keep(n);
        net_tick(n);
        if (n->members_dirty_ms && n->now_ms >= n->members_dirty_ms + NODE_SNAPSHOT_MS)
            node_persist_members(n);
    }
    n->wake_ms = wake(n);
    *out = (struct actions){.list = n->action, .count = n->action_count, .wake_ms = n->wake_ms};
    if (!n->no_memory)
        return 0;
    out->count = 0; /* some of them may be missing: better none */
    return KPEER_ENOMEM;
}
