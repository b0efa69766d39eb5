#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "protocol/check.h"
#include "protocol/fault.h"
#include "protocol/mem.h"
#include "protocol/node_state.h"

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

/* Which of its starts the founder speaks in, as far as it was heard; 0: not at all. A request is made to one
 * start: another one may know it from memory, or from others' memory, when it was served long ago. */
uint32_t work_founder_start(const struct node *n)
{
    static const struct peer_id nobody;
    const struct gossip_item *said = gossip_find(&n->gossip, &n->record.founder, STATEMENT_PROFILE, &nobody);
    return said ? (uint32_t)(said->version >> 32) : 0;
}

void work_ask_ticket(struct node *n)
{
    struct work *w = &n->work;
    if (!n->committed || node_is_founder(n) || w->joined[0] || !w->prepared || w->have_ticket ||
        w->main_step || w->need_reset || n->now_ms < w->retry_ms || w->leaving ||
        rename_next(n) != STEP_NONE) /* a token is made for the name that joins */
        return;
    uint32_t start = work_founder_start(n);
    bool asked = w->ticket_nonce && start == w->ticket_start;
    if (!start || (asked && n->now_ms < w->ticket_asked_ms + WORK_TICKET_WAIT_MS))
        return;
    if (!may_join(n))
        return;
    w->ticket_nonce = node_random(n) | 1;
    w->ticket_start = start;
    w->ticket_asked_ms = n->now_ms;
}

/* It goes on by itself; who wonders meanwhile is to know. */
static void ticket_expired(struct node *n)
{
    struct work *w = &n->work;
    snprintf(w->error, sizeof w->error, "the ticket from the master %s had expired when it came",
             n->record.founder_name);
    snprintf(w->hint, sizeof w->hint, "nothing: a new one is asked for within a minute");
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
    if (fits && (n->now_ms < w->ticket_asked_ms + t.ttl_ms || FAULT(TICKET_AGE_IGNORED))) {
        w->ticket = t;
        w->have_ticket = true;
        out_event(n, EVENT_TICKET_OPENED, &n->record.founder);
    } else {
        net_drop(n, fits ? DROP_STALE : DROP_FORGED);
        if (fits)
            ticket_expired(n);
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
        w->retry_ms = n->now_ms + WORK_RECHECK_MS;
    }
    if (w->leaving == LEAVE_REMOVAL && g->leave_nonce == w->leave_nonce)
        work_leave_reset(n);
}

/* The ticket is used once, whatever comes of it. */
void work_use_ticket(struct node *n, struct step *s)
{
    struct work *w = &n->work;
    memcpy(s->token, w->ticket.token, sizeof s->token);
    if (FAULT(TICKET_KEPT))
        return;
    w->ticket_used_nonce = w->ticket.nonce;
    w->have_ticket = false;
    w->ticket_nonce = 0;
    sodium_memzero(&w->ticket, sizeof w->ticket);
}
