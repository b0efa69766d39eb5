#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "protocol/check.h"
#include "protocol/fault.h"
#include "protocol/mem.h"
#include "protocol/node_state.h"

#define API_PORT 6443 /* of the API server: kubeadm's own default */

bool work_able(const struct node *n)
{
    const struct work *w = &n->work;
    return w->preflight == PREFLIGHT_GREEN && w->preflight_role == STEP_ROLE_MASTER && !w->need_reset &&
           n->now_ms >= w->able_ms && w->leaving == LEAVE_NONE;
}

void work_start(struct node *n)
{
    struct work *w = &n->work;
    w->phase_since_ms = n->now_ms;
    if (w->founding[0] == '\0')
        return;
    /* An init was begun here. If its record was proposed, it may be the group's decision: it stays. */
    bool decided = n->committed && strcmp(n->record.cluster_id, w->founding) == 0;
    if (w->proposed || decided)
        w->inited = w->applied = w->prepared = true;
    else
        w->need_reset = !FAULT(HALF_KEPT);
}

/* ---- what comes next ---- */

static bool group_is_set(const struct node *n)
{
    return n->committed || n->formation.constituted;
}

/* With others here a cluster will come: the time in which they settle is used. */
static bool in_company(const struct node *n)
{
    return node_alive_count(n) > 1;
}

static enum step_kind next_leaving(const struct work *w)
{
    switch (w->leaving) {
    case LEAVE_RESET:
        return STEP_RESET;
    case LEAVE_UNDO:
        return STEP_UNDO;
    default:
        return STEP_NONE;
    }
}

static enum step_kind next_member(const struct node *n)
{
    const struct work *w = &n->work;
    if (w->joined[0] == '\0' && !node_is_founder(n))
        return w->have_ticket ? STEP_JOIN : STEP_NONE;
    return w->proved ? STEP_NONE : STEP_PROVE;
}

static enum step_kind next_founder(const struct node *n)
{
    const struct work *w = &n->work;
    if (!formation_may_found(&n->formation, n->now_ms) || formation_carries(&n->formation))
        return STEP_NONE;
    if (w->ca_hash[0] == '\0')
        return STEP_CA;
    if (!w->inited)
        return STEP_INIT;
    return w->applied ? STEP_NONE : STEP_APPLY;
}

enum step_kind work_next(const struct node *n)
{
    const struct work *w = &n->work;
    bool settled_in = w->joined[0] || w->inited;
    if (w->leaving != LEAVE_NONE)
        return next_leaving(w);
    if (!w->have_facts || w->stale_facts)
        return STEP_INSPECT;
    if (w->need_reset)
        return STEP_RESET;
    if (!settled_in && w->preflight != PREFLIGHT_GREEN)
        return n->cfg.fix && !w->fixed ? STEP_FIX : STEP_PREFLIGHT;
    if (n->address[0] == '\0')
        return STEP_NONE;
    if (rename_next(n) != STEP_NONE)
        return rename_next(n);
    if (!settled_in && !w->prepared && (in_company(n) || group_is_set(n)))
        return STEP_PREPARE;
    if (!group_is_set(n))
        return STEP_NONE;
    return n->committed ? next_member(n) : next_founder(n);
}

static enum step_role role_to_check(const struct node *n)
{
    struct profile p = {.has_facts = true, .role = n->cfg.role, .facts = n->facts};
    if (n->cfg.role == ROLE_MASTER)
        return STEP_ROLE_MASTER;
    return check_fit_for_master(&p) && !n->work.master_red && !n->committed ? STEP_ROLE_MASTER
                                                                            : STEP_ROLE_WORKER;
}

static void new_cluster_id(struct node *n)
{
    uint8_t random[16];
    node_random_bytes(n, random, sizeof random);
    mem_hex(n->work.founding, random, sizeof random);
    if (!FAULT(FOUNDING_NOT_STORED))
        node_persist_promises(n);
}

void work_endpoint(const struct node *n, char out[static STEP_ADDRESS_BYTES + 8])
{
    bool v6 = strchr(n->address, ':') != NULL;
    snprintf(out, STEP_ADDRESS_BYTES + 8, v6 ? "[%s]:%u" : "%s:%u", n->address, API_PORT);
}

static void fill_step(struct node *n, struct step *s)
{
    const struct work *w = &n->work;
    s->role = n->work.preflight_role;
    memcpy(s->node_name, n->cfg.name, sizeof s->node_name);
    memcpy(s->address, n->address, sizeof s->address);
    memcpy(s->interface, n->interface, sizeof s->interface);
    memcpy(s->cluster_id, w->founding, sizeof s->cluster_id);
    memcpy(s->ca_hash, w->ca_hash, sizeof s->ca_hash);
    memcpy(s->pod_cidr, n->cfg.pod_cidr, sizeof s->pod_cidr);
    memcpy(s->service_cidr, n->cfg.service_cidr, sizeof s->service_cidr);
    mem_copy_text(s->kubernetes_version, sizeof s->kubernetes_version, node_kubernetes_version(n));
    work_endpoint(n, s->endpoint);
    if (!n->committed)
        return;
    memcpy(s->cluster_id, n->record.cluster_id, sizeof s->cluster_id);
    memcpy(s->ca_hash, n->record.ca_hash, sizeof s->ca_hash);
    memcpy(s->pod_cidr, n->record.pod_cidr, sizeof s->pod_cidr);
    memcpy(s->service_cidr, n->record.service_cidr, sizeof s->service_cidr);
    memcpy(s->kubernetes_version, n->record.kubernetes_version, sizeof s->kubernetes_version);
    memcpy(s->endpoint, n->record.endpoint, sizeof s->endpoint);
}

/* A kind carries its own fields and no others: the executor refuses the rest. */
static void keep_fields(struct step *s)
{
    uint32_t f = step_fields(s->kind);
    struct {
        uint32_t field;
        void *p;
        size_t n;
    } all[] = {
        {STEP_F_NODE_NAME, s->node_name, sizeof s->node_name},
        {STEP_F_ADDRESS, s->address, sizeof s->address},
        {STEP_F_INTERFACE, s->interface, sizeof s->interface},
        {STEP_F_ENDPOINT, s->endpoint, sizeof s->endpoint},
        {STEP_F_POD_CIDR, s->pod_cidr, sizeof s->pod_cidr},
        {STEP_F_SERVICE_CIDR, s->service_cidr, sizeof s->service_cidr},
        {STEP_F_VERSION, s->kubernetes_version, sizeof s->kubernetes_version},
        {STEP_F_CA_HASH, s->ca_hash, sizeof s->ca_hash},
        {STEP_F_TOKEN, s->token, sizeof s->token},
        {STEP_F_CLUSTER_ID, s->cluster_id, sizeof s->cluster_id},
    };
    for (size_t i = 0; i < COUNT_OF(all); i++)
        if (!(f & all[i].field))
            memset(all[i].p, 0, all[i].n);
}

static void begin_step(struct node *n, enum step_kind kind)
{
    struct work *w = &n->work;
    struct step s = {.kind = kind};
    survey_yield(n);
    if (kind == STEP_FIX || kind == STEP_PREFLIGHT)
        w->preflight_role = role_to_check(n);
    if (kind == STEP_INIT && w->founding[0] == '\0')
        new_cluster_id(n);
    fill_step(n, &s);
    if (kind == STEP_RENAME || kind == STEP_MACHINE_ID)
        w->ticket_nonce = 0; /* whoever was let in under a name that is shared must ask again */
    if (kind == STEP_RENAME) {
        rename_new_name(n, w->new_name);
        memcpy(s.node_name, w->new_name, sizeof s.node_name);
    }
    if (kind == STEP_JOIN)
        work_use_ticket(n, &s);
    keep_fields(&s);
    if (step_fields(kind) & STEP_F_RECORD) {
        s.record = n->cluster_blob;
        s.record_bytes = n->cluster_bytes;
    }
    if (kind == STEP_INIT)
        out_event(n, EVENT_INIT_STARTED, &n->me->id)->term = n->formation.mine.term;
    if (kind == STEP_JOIN)
        out_event(n, EVENT_JOIN_STARTED, &n->me->id);
    memcpy(w->step_address, n->address, sizeof w->step_address);
    if (kind == STEP_INIT)
        memcpy(w->plane_address, n->address, sizeof w->plane_address);
    if (kind == STEP_PROVE)
        memcpy(w->proven_address, n->address, sizeof w->proven_address);
    w->missing[0] = '\0';
    w->main_kind = kind;
    w->main_step = out_run(n, &s, NULL, 0);
    sodium_memzero(s.token, sizeof s.token);
}

/* ---- the tick, and what the others are told ---- */

void work_retry(struct node *n)
{
    struct work *w = &n->work;
    w->failures = 0;
    w->failed = false;
    w->retry_ms = w->able_ms = 0;
    w->master_red = false;
    if (w->preflight == PREFLIGHT_RED)
        w->preflight = PREFLIGHT_UNKNOWN;
    w->fixed = false;
}

static enum phase phase_now(const struct node *n)
{
    const struct work *w = &n->work;
    if (w->leaving == LEAVE_DONE)
        return PHASE_LEFT;
    if (w->leaving)
        return PHASE_LEAVING;
    if (w->failed)
        return PHASE_FAILED;
    if (w->ready_told && w->proved)
        return PHASE_READY;
    if (n->committed) {
        if (node_is_founder(n))
            return PHASE_INITIALISING;
        return w->prepared || w->joined[0] ? PHASE_JOINING : PHASE_PREPARING;
    }
    if (w->main_kind == STEP_INIT || w->inited)
        if (w->main_step || w->inited)
            return PHASE_INITIALISING;
    if (n->formation.constituted)
        return peer_id_is_zero(&n->formation.mine.vote) || n->work.blocked[0] ? PHASE_ELECTING
                                                                              : PHASE_PREPARING;
    return node_alive_count(n) > 1 && n->address[0] ? PHASE_SETTLING : PHASE_LOOKING;
}

static void update_phase(struct node *n)
{
    struct work *w = &n->work;
    enum phase p = phase_now(n);
    if (p == w->phase)
        return;
    struct action *a = out_event(n, EVENT_PHASE, &n->me->id);
    out_text(a, "%s", phase_word(p));
    a->took_ms = (uint32_t)(n->now_ms - w->phase_since_ms);
    w->phase = p;
    w->phase_since_ms = n->now_ms;
}

/* A worker is ready when its proven pod has answered from another host; the master, when its own proof is
 * there. */
static void check_ready(struct node *n)
{
    struct work *w = &n->work;
    bool reached = node_is_founder(n) || (w->pod_address[0] && strcmp(w->pod_address, w->reached) == 0);
    if (!w->proved || !n->committed || !reached || w->leaving) {
        w->ready_told = false;
        return;
    }
    if (w->ready_told)
        return;
    w->ready_told = true;
    struct action *a = out_event(n, EVENT_NODE_READY, &n->me->id);
    a->took_ms = (uint32_t)(n->now_ms - n->start_ms);
    out_text(a, "proven: identity, address, pod network%s",
             node_is_founder(n) ? "" : ", and a pod here answers from another host");
}

static void founder_joins(struct node *n)
{
    struct work *w = &n->work;
    if (!node_is_founder(n) || w->joined[0] || strcmp(w->founding, n->record.cluster_id) != 0)
        return;
    memcpy(w->joined, n->record.cluster_id, sizeof w->joined);
    node_persist_promises(n);
}

/* Cleaning up does not wait for the pause that follows a failure, and is tried for as long as it takes. */
static bool may_begin(const struct node *n, enum step_kind kind)
{
    const struct work *w = &n->work;
    if (kind == STEP_RESET || w->leaving)
        return n->now_ms >= w->reset_ms;
    return n->now_ms >= w->retry_ms;
}

void work_tick(struct node *n)
{
    struct work *w = &n->work;
    if (n->stopped)
        return;
    work_leave_tick(n);
    if (n->stopped || (n->keys.evicted && w->leaving == LEAVE_NONE))
        return;
    work_drop_other_founding(n);
    founder_joins(n);
    work_propose(n);
    check_ready(n);
    work_ask_ticket(n);
    rename_tick(n);
    if (!w->main_step) {
        enum step_kind next = work_next(n);
        if (next != STEP_NONE && may_begin(n, next))
            begin_step(n, next);
    }
    update_phase(n);
}

static bool put_note(const struct node *n, struct profile *p)
{
    const struct work *w = &n->work;
    char note[sizeof p->note] = "";
    mem_clip_text(note, sizeof note, w->failed || !w->blocked[0] ? w->error : w->blocked);
    return mem_put(p->note, note, sizeof note);
}

bool work_put_profile(struct node *n, struct profile *p)
{
    static const char no_pod[STEP_ADDRESS_BYTES];
    const struct work *w = &n->work;
    bool able = work_able(n) && check_fit_for_master(p);
    uint64_t leave_nonce = w->leaving == LEAVE_REMOVAL ? w->leave_nonce : 0;
    uint32_t start = leave_nonce ? work_founder_start(n) : w->ticket_nonce ? w->ticket_start : 0;
    bool changed = put_note(n, p);
    changed |= mem_put(&p->phase, &w->phase, sizeof p->phase);
    changed |= mem_put(&p->able, &able, sizeof p->able);
    changed |= mem_put(p->cluster_id, w->joined, sizeof p->cluster_id);
    changed |= mem_put(&p->ticket_nonce, &w->ticket_nonce, sizeof p->ticket_nonce);
    changed |= mem_put(&p->leave_nonce, &leave_nonce, sizeof p->leave_nonce);
    changed |= mem_put(&p->asked_start, &start, sizeof p->asked_start);
    changed |= mem_put(p->pod_address, w->proved ? w->pod_address : no_pod, sizeof p->pod_address);
    return changed;
}

uint64_t work_wake(const struct node *n)
{
    const struct work *w = &n->work;
    uint64_t at = UINT64_MAX;
    if (w->leaving == LEAVE_REMOVAL || w->leaving == LEAVE_DONE)
        at = w->leave_until_ms;
    if (w->retry_ms > n->now_ms && w->retry_ms < at)
        at = w->retry_ms;
    if (w->reset_ms > n->now_ms && w->reset_ms < at)
        at = w->reset_ms;
    if (w->able_ms > n->now_ms && w->able_ms < at)
        at = w->able_ms;
    if (w->ticket_nonce && w->ticket_asked_ms + WORK_TICKET_WAIT_MS < at)
        at = w->ticket_asked_ms + WORK_TICKET_WAIT_MS;
    if (n->committed && w->blocked[0] && n->now_ms + 1000 < at)
        at = n->now_ms + 1000;
    return at;
}
