#include <string.h>

#include "protocol/mem.h"
#include "protocol/node_state.h"

#define REMOVAL_MS 120000 /* for the control plane to drain and delete our Node */
#define GOODBYE_MS 300    /* for the goodbye to leave this host */
#define RETRY_MS   5000   /* between attempts at what failed */

void work_leave_reset(struct node *n)
{
    n->work.leaving = LEAVE_RESET;
    node_persist_promises(n);
}

uint64_t work_leave_stored(const struct node *n)
{
    bool begun = n->work.leaving == LEAVE_RESET || n->work.leaving == LEAVE_UNDO;
    return begun ? 1 + (uint64_t)n->work.leave_force : 0;
}

void work_leave_load(struct node *n, uint64_t stored)
{
    n->work.leaving = stored ? LEAVE_RESET : LEAVE_NONE;
    n->work.leave_force = stored == 2;
}

/* It is on its way already, and whoever asked last is answered: who asked before may be gone. By force it
 * need not wait for the master, nor for what fails. */
static void leave_again(struct node *n, const struct node_event *ev)
{
    struct work *w = &n->work;
    if (w->leave_request)
        out_reply(n, w->leave_request, KPEER_ECANCELED, "another kpeer leave has taken over", "");
    w->leave_request = ev->request;
    if (!ev->force || w->leave_force)
        return;
    w->leave_force = true;
    w->reset_ms = 0;
    if (w->leaving == LEAVE_REMOVAL)
        work_leave_reset(n);
}

void work_leave(struct node *n, const struct node_event *ev)
{
    struct work *w = &n->work;
    if (w->leaving != LEAVE_NONE) {
        leave_again(n, ev);
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
    w->reset_ms = 0;
    if (w->main_step)
        out_cancel(n, w->main_step);
    bool removal = w->joined[0] && !node_is_founder(n) && !ev->force && !n->keys.evicted;
    if (removal)
        w->leaving = LEAVE_REMOVAL;
    else
        work_leave_reset(n);
}

void work_leave_tick(struct node *n)
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

/* Half of it is gone, so there is no way back to being a member: it goes on until it is done. */
bool work_leave_failed(struct node *n, const struct step_result *r)
{
    struct work *w = &n->work;
    if (r->code == 0 || (w->leave_force && r->code != KPEER_ECANCELED))
        return false;
    if (r->code == KPEER_ECANCELED)
        return true; /* it was under way for another reason, and begins anew */
    if (w->leave_request)
        out_reply(n, w->leave_request, r->code, r->text,
                  r->hint[0] ? r->hint : "kpeer tries it again; kpeer leave --force goes on without it");
    w->leave_request = 0;
    w->reset_ms = n->now_ms + RETRY_MS;
    mem_clip_text(w->error, sizeof w->error, r->text);
    memcpy(w->hint, r->hint, sizeof w->hint);
    return true;
}

void work_leave_done(struct node *n)
{
    /* The others need not wait for a vote that never comes. */
    if (!n->committed && formation_leave(&n->formation)) {
        node_persist_promises(n);
        net_publish_ballot(n);
    }
    n->work.leaving = LEAVE_DONE;
    n->work.leave_until_ms = n->now_ms + GOODBYE_MS;
    out_event(n, EVENT_LEFT, &n->me->id);
}
