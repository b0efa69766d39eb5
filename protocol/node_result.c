#include <string.h>

#include "protocol/fault.h"
#include "protocol/mem.h"
#include "protocol/node_state.h"

#define ATTEMPTS_MAX   3    /* in a row, before this host says failed; it goes on trying, slowly */
#define BACKOFF_MS     5000 /* after the first failure; doubles */
#define BACKOFF_MAX_MS 120000

/* ---- founding ---- */

void work_propose(struct node *n)
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
    mem_copy_text(r.kubernetes_version, sizeof r.kubernetes_version, node_kubernetes_version(n));
    memcpy(r.founder_name, n->cfg.name, sizeof r.founder_name);
    work_endpoint(n, r.endpoint);
    struct formation_input in = node_formation_input(n);
    if (formation_propose(&n->formation, &in, &r) != 0)
        return;
    w->proposed = true; /* stored in the same write as the acceptance */
    if (FAULT(TOLD_BEFORE_STORED))
        net_publish_ballot(n);
    if (!FAULT(ACCEPTANCE_NOT_STORED))
        node_persist_promises(n);
    net_publish_ballot(n);
}

/* What was begun and cannot become the group's cluster any more is undone. */
static void undo_founding(struct node *n)
{
    struct work *w = &n->work;
    w->inited = w->applied = w->proved = w->proposed = false;
    w->ca_hash[0] = '\0';
    w->need_reset = true;
}

static bool founds_now(const struct work *w)
{
    return w->main_step &&
           (w->main_kind == STEP_CA || w->main_kind == STEP_INIT || w->main_kind == STEP_APPLY);
}

/* Before the proposal, losing the lease ends the founding; after it the record may be committed by the
 * others, and undoing it would break what was accepted. */
void work_lease_lost(struct node *n)
{
    struct work *w = &n->work;
    bool founding = founds_now(w);
    /* Whatever we accepted since: some have accepted ours, and a later leader may carry it forward. */
    if (w->proposed)
        return;
    if (founding && !FAULT(INIT_NOT_STOPPED))
        out_cancel(n, w->main_step);
    if (w->founding[0] || w->ca_hash[0] || founding)
        undo_founding(n);
}

/* Another cluster was committed than the one that was begun here. */
void work_drop_other_founding(struct node *n)
{
    struct work *w = &n->work;
    bool begun = w->founding[0] || w->ca_hash[0] || founds_now(w);
    bool decided = n->committed && strcmp(w->founding, n->record.cluster_id) == 0;
    if (!n->committed || !begun || decided || w->need_reset || FAULT(OTHER_FOUNDING_KEPT))
        return;
    if (w->main_step && w->main_kind != STEP_RESET)
        out_cancel(n, w->main_step);
    undo_founding(n);
}

/* What goes by an address that is ours no more would not end, or would build on it; a control plane that
 * nobody was asked to accept yet is built again where we are now. */
void work_address_changed(struct node *n)
{
    static const bool goes_by_it[STEP_KIND_COUNT] = {
        [STEP_INIT] = true, [STEP_APPLY] = true, [STEP_JOIN] = true, [STEP_PROVE] = true};
    struct work *w = &n->work;
    if (n->address[0] == '\0')
        return;
    if (w->main_step && goes_by_it[w->main_kind] && strcmp(w->step_address, n->address) != 0)
        out_cancel(n, w->main_step);
    if (w->inited && !w->proposed && !n->committed && strcmp(w->plane_address, n->address) != 0)
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

/* What could not be mended is for the check to tell, if it matters. An installation that failed is not: it is
 * tried again. */
static void fix_done(struct node *n, const struct step_result *r)
{
    struct work *w = &n->work;
    if (r->have_facts)
        n->facts = r->facts;
    w->fixed = r->code == 0 || r->code == KPEER_EPREFLIGHT;
    if (w->fixed)
        succeeded(w);
    else if (r->code != KPEER_ECANCELED)
        failed(n, r);
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
    w->fixed = false;
    w->failed = true;
    mem_clip_text(w->error, sizeof w->error, r->text);
    memcpy(w->hint, r->hint, sizeof w->hint);
    w->retry_ms = n->now_ms + WORK_RECHECK_MS;
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
    if (!FAULT(JOINED_NOT_STORED))
        node_persist_promises(n);
    out_event(n, EVENT_JOIN_FINISHED, &n->me->id);
}

static void reset_done(struct node *n, const struct step_result *r)
{
    struct work *w = &n->work;
    bool leaves = w->leaving == LEAVE_RESET;
    if (leaves && work_leave_failed(n, r))
        return;
    if (!leaves && r->code) {
        failed(n, r);
        w->reset_ms = n->now_ms + BACKOFF_MS;
        return;
    }
    w->need_reset = w->prepared = w->inited = w->applied = w->proved = false;
    w->ca_hash[0] = w->founding[0] = w->joined[0] = '\0';
    node_persist_promises(n);
    if (leaves)
        w->leaving = LEAVE_UNDO;
}

static void undo_done(struct node *n, const struct step_result *r)
{
    if (!work_leave_failed(n, r))
        work_leave_done(n);
}

static void rename_ended(struct node *n, enum step_kind kind, const struct step_result *r)
{
    struct work *w = &n->work;
    if (r->code == 0) {
        rename_done(n, kind);
        succeeded(w);
    } else if (r->code != KPEER_ECANCELED) {
        failed(n, r);
        /* A Node that it was under an identity that is forgotten: it becomes another one, under its new name.
         */
        w->need_reset = r->code == KPEER_ESTATE;
    }
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
            w->stale_facts = false;
            succeeded(w);
        } else {
            failed(n, r);
        }
        break;
    case STEP_FIX:
        fix_done(n, r);
        break;
    case STEP_PREFLIGHT:
        preflight_done(n, r);
        break;
    case STEP_RENAME:
    case STEP_MACHINE_ID:
        rename_ended(n, run->kind, r);
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
