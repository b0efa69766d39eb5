#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "protocol/check.h"
#include "protocol/mem.h"
#include "protocol/node_state.h"

#define ATTEMPTS_MAX   3    /* in a row, before this host says failed; it goes on trying, slowly */
#define BACKOFF_MS     5000 /* after the first failure; doubles */
#define BACKOFF_MAX_MS 120000
#define RECHECK_MS     30000  /* a red preflight is looked at again, since the user may be mending it */
#define TICKET_WAIT_MS 60000  /* then ask again: the control plane may have lost the request */
#define REMOVAL_MS     120000 /* for the control plane to drain and delete our Node */
#define GOODBYE_MS     300    /* for the goodbye to leave this host */

bool work_able(const struct node *n)
{
    const struct work *w = &n->work;
    return w->preflight == PREFLIGHT_GREEN && w->preflight_role == STEP_ROLE_MASTER && !w->need_reset &&
           n->now_ms >= w->able_ms && w->leaving == LEAVE_NONE;
}

void work_start(struct node *n)
{
    struct work *w = &n->work;
    const struct ballot *mine = &n->formation.mine;
    w->phase_since_ms = n->now_ms;
    if (w->founding[0] == '\0')
        return;
    /* An init was begun here. If its record was proposed, it may be the group's decision: it stays. */
    bool proposed = mine->accepted && strcmp(mine->record.cluster_id, w->founding) == 0;
    bool decided = n->committed && strcmp(n->record.cluster_id, w->founding) == 0;
    if (proposed || decided)
        w->inited = w->applied = w->prepared = true;
    else
        w->need_reset = true;
}

/* ---- what comes next ---- */

static bool group_is_set(const struct node *n)
{
    return n->committed || n->formation.constituted;
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
    if (!w->have_facts)
        return STEP_INSPECT;
    if (w->need_reset)
        return STEP_RESET;
    if (!settled_in && w->preflight != PREFLIGHT_GREEN)
        return STEP_PREFLIGHT;
    if (!group_is_set(n) || n->address[0] == '\0')
        return STEP_NONE;
    if (!settled_in && !w->prepared)
        return STEP_PREPARE;
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
    node_persist_promises(n);
}

static void endpoint_of(const struct node *n, char out[static STEP_ADDRESS_BYTES + 8])
{
    bool v6 = strchr(n->address, ':') != NULL;
    snprintf(out, STEP_ADDRESS_BYTES + 8, v6 ? "[%s]:%u" : "%s:%u", n->address, n->cfg.api_port);
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
    memcpy(s->kubernetes_version,
           n->cfg.kubernetes_version[0] ? n->cfg.kubernetes_version : n->facts.kubernetes_version,
           sizeof s->kubernetes_version);
    endpoint_of(n, s->endpoint);
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

/* The ticket is used once, whatever comes of it. */
static void use_ticket(struct node *n, struct step *s)
{
    struct work *w = &n->work;
    memcpy(s->token, w->ticket.token, sizeof s->token);
    w->ticket_used_nonce = w->ticket.nonce;
    w->have_ticket = false;
    w->ticket_nonce = 0;
    sodium_memzero(&w->ticket, sizeof w->ticket);
}

static void begin_step(struct node *n, enum step_kind kind)
{
    struct work *w = &n->work;
    struct step s = {.kind = kind};
    if (kind == STEP_PREFLIGHT)
        w->preflight_role = role_to_check(n);
    if (kind == STEP_INIT && w->founding[0] == '\0')
        new_cluster_id(n);
    fill_step(n, &s);
    if (kind == STEP_JOIN)
        use_ticket(n, &s);
    keep_fields(&s);
    if (step_fields(kind) & STEP_F_RECORD) {
        s.record = n->cluster_blob;
        s.record_bytes = n->cluster_bytes;
    }
    if (kind == STEP_INIT)
        out_event(n, EVENT_INIT_STARTED, &n->me->id)->term = n->formation.mine.term;
    if (kind == STEP_JOIN)
        out_event(n, EVENT_JOIN_STARTED, &n->me->id);
    w->main_kind = kind;
    w->main_step = out_run(n, &s, NULL, 0);
    sodium_memzero(s.token, sizeof s.token);
}

/* ---- tickets ---- */

/* Checks ourselves against the cluster that is there, before we ask to be let in. */
static bool may_join(struct node *n)
{
    struct check_host host[MEMBERS_MAX];
    struct check_fault fault;
    const struct member *self = node_self(n);
    size_t count = 0;
    if (!self->has_profile)
        return false;
    host[count++] = (struct check_host){&self->profile, 0, true};
    for (size_t i = 0; i < n->member_count; i++) {
        const struct member *m = n->member[i];
        if (!m->self && m->has_profile && m->state != STATE_FAILED && m->state != STATE_LEFT &&
            (m->profile.cluster_id[0] || peer_id_compare(&m->id, &self->id) < 0))
            host[count++] = (struct check_host){&m->profile, m->clock_offset_ms, m->heard};
    }
    bool green = check_newcomer(host, count, &n->record, &fault);
    if (strcmp(fault.text, n->work.blocked) != 0) {
        memcpy(n->work.blocked, fault.text, sizeof n->work.blocked);
        memcpy(n->work.blocked_hint, fault.hint, sizeof n->work.blocked_hint);
        if (!green) {
            struct action *a = out_event(n, EVENT_BLOCKED, NULL);
            out_text(a, "%s", fault.text);
            memcpy(a->hint, fault.hint, sizeof a->hint);
        }
    }
    return green;
}

static void ask_ticket(struct node *n)
{
    struct work *w = &n->work;
    if (!n->committed || node_is_founder(n) || w->joined[0] || !w->prepared || w->have_ticket ||
        w->main_step || w->need_reset || n->now_ms < w->retry_ms || w->leaving)
        return;
    if (w->ticket_nonce && n->now_ms < w->ticket_asked_ms + TICKET_WAIT_MS)
        return;
    if (!may_join(n))
        return;
    w->ticket_nonce = node_random(n) | 1;
    w->ticket_asked_ms = n->now_ms;
}

static void open_ticket(struct node *n, const struct grant *g)
{
    struct work *w = &n->work;
    struct ticket t;
    if (g->ticket_bytes == 0 || g->ticket_nonce == 0 || g->ticket_nonce != w->ticket_nonce ||
        w->have_ticket || g->ticket_nonce == w->ticket_used_nonce)
        return;
    if (ticket_open(n->me, g->ticket, g->ticket_bytes, &t) != 0) {
        net_drop(n, DROP_FORGED);
        return;
    }
    bool fits = t.nonce == w->ticket_nonce && peer_id_equal(&t.issuer, &n->record.founder) &&
                strcmp(t.cluster_id, n->record.cluster_id) == 0 &&
                strcmp(t.ca_hash, n->record.ca_hash) == 0 && strcmp(t.endpoint, n->record.endpoint) == 0;
    if (fits && n->now_ms < w->ticket_asked_ms + t.ttl_ms) {
        w->ticket = t;
        w->have_ticket = true;
        out_event(n, EVENT_TICKET_OPENED, &n->record.founder);
    } else {
        net_drop(n, fits ? DROP_STALE : DROP_FORGED);
    }
    sodium_memzero(&t, sizeof t);
}

void work_grant(struct node *n, const struct grant *g)
{
    struct work *w = &n->work;
    open_ticket(n, g);
    memcpy(w->reached, g->reached, sizeof w->reached);
    if (g->refused[0] && w->ticket_nonce && g->ticket_nonce == w->ticket_nonce) {
        snprintf(w->blocked, sizeof w->blocked, "the master refuses: %s", g->refused);
        w->ticket_nonce = 0;
        w->retry_ms = n->now_ms + RECHECK_MS;
    }
    if (w->leaving == LEAVE_REMOVAL && g->leave_nonce == w->leave_nonce)
        w->leaving = LEAVE_RESET;
}

/* ---- founding ---- */

static void propose(struct node *n)
{
    struct work *w = &n->work;
    struct record r = {.founder = n->me->id, .term = n->formation.mine.term};
    if (!w->applied || n->committed || !formation_may_found(&n->formation, n->now_ms) ||
        n->formation.mine.accepted)
        return;
    memcpy(r.cluster_id, w->founding, sizeof r.cluster_id);
    memcpy(r.ca_hash, w->ca_hash, sizeof r.ca_hash);
    memcpy(r.pod_cidr, n->cfg.pod_cidr, sizeof r.pod_cidr);
    memcpy(r.service_cidr, n->cfg.service_cidr, sizeof r.service_cidr);
    memcpy(r.kubernetes_version,
           n->cfg.kubernetes_version[0] ? n->cfg.kubernetes_version : n->facts.kubernetes_version,
           sizeof r.kubernetes_version);
    memcpy(r.founder_name, n->cfg.name, sizeof r.founder_name);
    endpoint_of(n, r.endpoint);
    struct formation_input in = node_formation_input(n);
    if (formation_propose(&n->formation, &in, &r) != 0)
        return;
    node_persist_promises(n);
    net_publish_ballot(n);
}

/* What was begun and cannot become the group's cluster any more is undone. */
static void undo_founding(struct node *n)
{
    struct work *w = &n->work;
    w->inited = w->applied = w->proved = false;
    w->ca_hash[0] = '\0';
    w->need_reset = true;
}

/* Before the proposal, losing the lease ends the founding; after it the record may be committed by the
 * others, and undoing it would break what was accepted. */
void work_lease_lost(struct node *n)
{
    struct work *w = &n->work;
    bool founding =
        w->main_step && (w->main_kind == STEP_CA || w->main_kind == STEP_INIT || w->main_kind == STEP_APPLY);
    if (n->formation.mine.accepted)
        return;
    if (founding)
        out_cancel(n, w->main_step);
    if (w->founding[0] || w->ca_hash[0] || founding)
        undo_founding(n);
}

/* Another cluster was committed than the one that was begun here. */
static void drop_other_founding(struct node *n)
{
    struct work *w = &n->work;
    if (!n->committed || w->founding[0] == '\0' || strcmp(w->founding, n->record.cluster_id) == 0 ||
        w->need_reset)
        return;
    if (w->main_step && w->main_kind != STEP_RESET)
        out_cancel(n, w->main_step);
    undo_founding(n);
}

/* ---- results ---- */

static void failed(struct node *n, const struct step_result *r)
{
    struct work *w = &n->work;
    mem_clip_text(w->error, sizeof w->error, r->text);
    memcpy(w->hint, r->hint, sizeof w->hint);
    uint64_t pause = (uint64_t)BACKOFF_MS << (w->failures < 8 ? w->failures : 8);
    w->failures++;
    w->retry_ms = n->now_ms + (pause < BACKOFF_MAX_MS ? pause : BACKOFF_MAX_MS);
    w->failed = w->failures >= ATTEMPTS_MAX;
}

static void succeeded(struct work *w)
{
    w->failures = 0;
    w->failed = false;
    w->error[0] = w->hint[0] = '\0';
    w->retry_ms = 0;
}

static void preflight_done(struct node *n, const struct step_result *r)
{
    struct work *w = &n->work;
    if (r->have_facts)
        n->facts = r->facts;
    if (r->code == 0) {
        w->preflight = PREFLIGHT_GREEN;
        succeeded(w);
        return;
    }
    if (w->preflight_role == STEP_ROLE_MASTER && n->cfg.role == ROLE_AUTO && r->code == KPEER_EPREFLIGHT &&
        !w->master_red) {
        w->master_red = true; /* it may still do as a worker: look again at once */
        return;
    }
    w->preflight = PREFLIGHT_RED;
    w->failed = true;
    mem_clip_text(w->error, sizeof w->error, r->text);
    memcpy(w->hint, r->hint, sizeof w->hint);
    w->retry_ms = n->now_ms + RECHECK_MS;
}

/* Whatever went wrong in the middle is cleaned away before anything else is tried. */
static void founding_failed(struct node *n, const struct step_result *r)
{
    struct work *w = &n->work;
    if (r->code != KPEER_ECANCELED)
        failed(n, r);
    w->able_ms = w->retry_ms;
    if (formation_may_found(&n->formation, n->now_ms))
        formation_resign(&n->formation, w->retry_ms);
    undo_founding(n);
}

static void joined(struct node *n)
{
    struct work *w = &n->work;
    memcpy(w->joined, n->record.cluster_id, sizeof w->joined);
    succeeded(w);
    node_persist_promises(n);
    out_event(n, EVENT_JOIN_FINISHED, &n->me->id);
}

static void reset_done(struct node *n, const struct step_result *r)
{
    struct work *w = &n->work;
    if (w->leaving == LEAVE_RESET) {
        if (r->code && !w->leave_force) {
            out_reply(n, w->leave_request, r->code, r->text, r->hint);
            w->leaving = LEAVE_NONE;
            return;
        }
        w->leaving = LEAVE_UNDO;
        return;
    }
    if (r->code) {
        failed(n, r);
        w->reset_ms = n->now_ms + BACKOFF_MS;
        return;
    }
    w->need_reset = w->prepared = w->inited = w->applied = w->proved = false;
    w->ca_hash[0] = w->founding[0] = w->joined[0] = '\0';
    node_persist_promises(n);
}

static void undo_done(struct node *n, const struct step_result *r)
{
    struct work *w = &n->work;
    if (r->code && !w->leave_force) {
        out_reply(n, w->leave_request, r->code, r->text, r->hint);
        w->leaving = LEAVE_NONE;
        return;
    }
    w->leaving = LEAVE_DONE;
    w->leave_until_ms = n->now_ms + GOODBYE_MS;
    out_event(n, EVENT_LEFT, &n->me->id);
}

void work_result(struct node *n, const struct running *run, const struct step_result *r)
{
    struct work *w = &n->work;
    w->main_step = 0;
    switch (run->kind) {
    case STEP_INSPECT:
        if (r->code == 0 && r->have_facts) {
            n->facts = r->facts;
            w->have_facts = true;
            succeeded(w);
        } else {
            failed(n, r);
        }
        break;
    case STEP_PREFLIGHT:
        preflight_done(n, r);
        break;
    case STEP_PREPARE:
        w->prepared = r->code == 0;
        if (r->code != 0 && r->code != KPEER_ECANCELED)
            failed(n, r);
        break;
    case STEP_CA:
        if (r->code == 0 && r->ca_hash[0])
            memcpy(w->ca_hash, r->ca_hash, sizeof w->ca_hash);
        else
            founding_failed(n, r);
        break;
    case STEP_INIT:
        if (r->code == 0 && !w->need_reset) {
            w->inited = true;
            out_event(n, EVENT_INIT_FINISHED, &n->me->id)->took_ms = (uint32_t)(n->now_ms - run->started_ms);
        } else {
            founding_failed(n, r);
        }
        break;
    case STEP_APPLY:
        if (r->code == 0 && !w->need_reset) {
            w->applied = true;
            succeeded(w);
        } else
            founding_failed(n, r);
        break;
    case STEP_JOIN:
        if (r->code == 0) {
            joined(n);
        } else {
            failed(n, r);
            w->need_reset = true;
        }
        break;
    case STEP_PROVE:
        w->proved = r->code == 0;
        memcpy(w->pod_address, r->pod_address, sizeof w->pod_address);
        if (r->code == 0)
            succeeded(w);
        else if (r->code != KPEER_ECANCELED)
            failed(n, r);
        break;
    case STEP_RESET:
        reset_done(n, r);
        break;
    case STEP_UNDO:
        undo_done(n, r);
        break;
    default:
        break;
    }
}

/* ---- leaving ---- */

void work_leave(struct node *n, const struct node_event *ev)
{
    struct work *w = &n->work;
    if (w->leaving != LEAVE_NONE) {
        out_reply(n, ev->request, KPEER_ESTATE, "this host is leaving already", "");
        return;
    }
    if (node_is_founder(n) && !ev->force) {
        out_reply(n, ev->request, KPEER_EREFUSED,
                  "this host is the only control plane: if it leaves, the cluster is gone",
                  "kpeer leave --force here ends the cluster; let the workers leave first");
        return;
    }
    w->leave_request = ev->request;
    w->leave_force = ev->force;
    w->leave_nonce = node_random(n) | 1;
    w->leave_until_ms = n->now_ms + REMOVAL_MS;
    w->ticket_nonce = 0;
    if (w->main_step)
        out_cancel(n, w->main_step);
    bool removal = w->joined[0] && !node_is_founder(n) && !ev->force;
    w->leaving = removal ? LEAVE_REMOVAL : LEAVE_RESET;
}

static void leave_tick(struct node *n)
{
    struct work *w = &n->work;
    if (w->leaving == LEAVE_REMOVAL && n->now_ms >= w->leave_until_ms) {
        out_reply(n, w->leave_request, KPEER_ETIMEOUT,
                  "the master did not drain and delete this host's Node in time",
                  "is the master alive (kpeer members)? kpeer leave --force does the local part alone");
        w->leaving = LEAVE_NONE;
    } else if (w->leaving == LEAVE_DONE && n->now_ms >= w->leave_until_ms) {
        out_reply(n, w->leave_request, 0, "this host has left the group", "");
        out_action(n, ACT_STOP);
        n->stopped = true;
    }
}

void work_retry(struct node *n)
{
    struct work *w = &n->work;
    w->failures = 0;
    w->failed = false;
    w->retry_ms = w->able_ms = 0;
    w->master_red = false;
    if (w->preflight == PREFLIGHT_RED)
        w->preflight = PREFLIGHT_UNKNOWN;
}

/* ---- the tick, and what the others are told ---- */

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
    if (!w->proved || !n->committed || !reached) {
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
    if (w->leaving)
        return true;
    if (kind == STEP_RESET)
        return n->now_ms >= w->reset_ms;
    return n->now_ms >= w->retry_ms;
}

void work_tick(struct node *n)
{
    struct work *w = &n->work;
    if (n->stopped)
        return;
    leave_tick(n);
    if (n->stopped)
        return;
    drop_other_founding(n);
    founder_joins(n);
    propose(n);
    check_ready(n);
    ask_ticket(n);
    if (!w->main_step) {
        enum step_kind next = work_next(n);
        if (next != STEP_NONE && may_begin(n, next))
            begin_step(n, next);
    }
    update_phase(n);
}

static void fill_note(const struct node *n, char note[static 128])
{
    const struct work *w = &n->work;
    const char *text = w->failed ? w->error : w->blocked[0] ? w->blocked : w->error;
    mem_clip_text(note, 128, text);
}

void work_fill_profile(struct node *n, struct profile *p)
{
    const struct work *w = &n->work;
    p->phase = w->phase;
    p->able = work_able(n) && check_fit_for_master(p);
    memcpy(p->cluster_id, w->joined, sizeof p->cluster_id);
    p->ticket_nonce = w->ticket_nonce;
    p->leave_nonce = w->leaving == LEAVE_REMOVAL ? w->leave_nonce : 0;
    if (w->proved)
        memcpy(p->pod_address, w->pod_address, sizeof p->pod_address);
    fill_note(n, p->note);
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
    if (w->ticket_nonce && w->ticket_asked_ms + TICKET_WAIT_MS < at)
        at = w->ticket_asked_ms + TICKET_WAIT_MS;
    if (n->committed && w->blocked[0] && n->now_ms + 1000 < at)
        at = n->now_ms + 1000;
    return at;
}
