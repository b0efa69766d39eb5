#include <stdio.h>
#include <string.h>

#include "protocol/mem.h"
#include "protocol/node_state.h"

static const char *const role_words[] = {"undecided", "master", "worker"};
static const char *const state_words[] = {"alive", "suspect", "failed", "left"};
static const char *const phase_words[PHASE_COUNT] = {"looking",      "settling", "electing", "preparing",
                                                     "initialising", "joining",  "ready",    "leaving",
                                                     "failed",       "left"};
static const char *const event_words[EVENT_KIND_COUNT] = {
    [EVENT_AGENT_STARTED] = "agent-started",
    [EVENT_MEMBER_DISCOVERED] = "member-discovered",
    [EVENT_MEMBER_ALIVE] = "member-alive",
    [EVENT_MEMBER_SUSPECT] = "member-suspect",
    [EVENT_MEMBER_FAILED] = "member-failed",
    [EVENT_MEMBER_LEFT] = "member-left",
    [EVENT_ADDRESS_PROVEN] = "address-proven",
    [EVENT_ADDRESS_LOST] = "address-lost",
    [EVENT_ELECTORATE_BOUND] = "electorate-bound",
    [EVENT_ELECTORATE_CONSTITUTED] = "electorate-constituted",
    [EVENT_ELECTORATE_RELEASED] = "electorate-released",
    [EVENT_ELECTION_STARTED] = "election-started",
    [EVENT_ELECTED] = "elected",
    [EVENT_LEASE_LOST] = "lease-lost",
    [EVENT_INIT_STARTED] = "init-started",
    [EVENT_INIT_FINISHED] = "init-finished",
    [EVENT_RECORD_COMMITTED] = "record-committed",
    [EVENT_TICKET_ISSUED] = "ticket-issued",
    [EVENT_TICKET_OPENED] = "ticket-opened",
    [EVENT_JOIN_STARTED] = "join-started",
    [EVENT_JOIN_FINISHED] = "join-finished",
    [EVENT_NODE_READY] = "node-ready",
    [EVENT_STEP_STARTED] = "step-started",
    [EVENT_STEP_PROGRESS] = "step-progress",
    [EVENT_STEP_FINISHED] = "step-finished",
    [EVENT_STEP_FAILED] = "step-failed",
    [EVENT_CONFLICT] = "conflict",
    [EVENT_PHASE] = "phase",
    [EVENT_BLOCKED] = "blocked",
    [EVENT_RENAMED] = "renamed",
    [EVENT_LEFT] = "left",
    [EVENT_KEY_ROTATED] = "key-rotated",
    [EVENT_KEY_CLOSED] = "key-closed",
    [EVENT_EVICTED] = "evicted",
    [EVENT_CONSOLE_SERVED] = "console-served",
    [EVENT_CONSOLE_REFUSED] = "console-refused",
    [EVENT_VERIFY_STARTED] = "verify-started",
    [EVENT_INVITED] = "invited",
    [EVENT_KEY_GIVEN] = "key-given",
    [EVENT_INVITATION_SPOILED] = "invitation-spoiled",
};
static const char *const drop_words[] = {"foreign", "malformed", "forged", "replayed",
                                         "unknown", "stale",     "state",  "limit"};

const char *role_word(enum member_role role)
{
    return (size_t)role < COUNT_OF(role_words) ? role_words[role] : "undecided";
}

const char *state_word(enum member_state state)
{
    return (size_t)state < COUNT_OF(state_words) ? state_words[state] : "failed";
}

const char *phase_word(enum phase phase)
{
    return (size_t)phase < COUNT_OF(phase_words) ? phase_words[phase] : "failed";
}

const char *event_word(enum event_kind kind)
{
    return (size_t)kind < COUNT_OF(event_words) ? event_words[kind] : "unknown";
}

const char *node_drop_word(size_t i)
{
    return i < COUNT_OF(drop_words) ? drop_words[i] : "unknown";
}

/* A host that left and came back is another peer of the same name: the one that left is no more of interest.
 */
static bool superseded(const struct node *n, const struct member *m)
{
    for (size_t i = 0; i < n->member_count; i++) {
        const struct member *o = n->member[i];
        if (m->state == STATE_LEFT && o->state == STATE_ALIVE && o->has_profile &&
            strcmp(o->profile.name, m->profile.name) == 0)
            return true;
    }
    return false;
}

static bool shown(const struct node *n, const struct member *m)
{
    return m->self || (m->has_profile && !superseded(n, m));
}

size_t node_member_count(const struct node *n)
{
    size_t count = 0;
    for (size_t i = 0; i < n->member_count; i++)
        count += shown(n, n->member[i]);
    return count;
}

static bool shows_before(const struct member *a, const struct member *b)
{
    if (a->self != b->self)
        return a->self;
    int c = strcmp(a->profile.name, b->profile.name);
    return c ? c < 0 : peer_id_compare(&a->id, &b->id) < 0;
}

/* The i-th to be shown: ourselves, then by name. Selection, since a table is drawn rarely and groups are
 * small. */
static const struct member *nth(const struct node *n, size_t i)
{
    const struct member *last = NULL, *best = NULL;
    for (size_t k = 0; k <= i; k++) {
        best = NULL;
        for (size_t j = 0; j < n->member_count; j++) {
            const struct member *m = n->member[j];
            if (shown(n, m) && (!last || shows_before(last, m)) && (!best || shows_before(m, best)))
                best = m;
        }
        last = best;
        if (!best)
            break;
    }
    return best;
}

static enum member_role role_of(const struct node *n, const struct member *m)
{
    if (!n->committed)
        return MEMBER_UNDECIDED;
    if (peer_id_equal(&m->id, &n->record.founder))
        return MEMBER_MASTER;
    return m->has_profile && m->profile.cluster_id[0] ? MEMBER_WORKER : MEMBER_UNDECIDED;
}

void node_member_view(const struct node *n, size_t i, uint64_t now_ms, struct member_view *out)
{
    const struct member *m = nth(n, i);
    memset(out, 0, sizeof *out);
    if (!m)
        return;
    out->id = m->id;
    memcpy(out->name, m->self ? n->cfg.name : m->profile.name, sizeof out->name);
    memcpy(out->address, m->profile.address, sizeof out->address);
    if (out->address[0] == '\0')
        memcpy(out->address, m->address, sizeof out->address);
    out->role = role_of(n, m);
    out->state = m->state;
    out->phase = m->profile.phase;
    memcpy(out->version, m->profile.version, sizeof out->version);
    memcpy(out->kubernetes_version, m->profile.facts.kubernetes_version, sizeof out->kubernetes_version);
    out->self = m->self;
    out->last_heard_ms = m->self || now_ms < m->heard_ms ? 0 : now_ms - m->heard_ms;
    out->phase_ms = now_ms > m->phase_since_ms ? now_ms - m->phase_since_ms : 0;
    memcpy(out->note, m->profile.note, sizeof out->note);
    if (m->evicted)
        mem_copy_text(out->note, sizeof out->note, "evicted");
}

static const struct member *member_of(const struct node *n, const struct peer_id *id)
{
    for (size_t i = 0; i < n->member_count; i++)
        if (peer_id_equal(&n->member[i]->id, id))
            return n->member[i];
    return NULL;
}

static bool is_here(const struct member *m)
{
    return m && (m->self || m->state == STATE_ALIVE || m->state == STATE_SUSPECT);
}

/* A set that is decided upon without us, as far as we were told; NULL: none. */
static const struct electorate *set_of_others(const struct node *n)
{
    for (size_t i = 0; i < n->member_count; i++) {
        const struct member *m = n->member[i];
        if (!m->self && is_here(m) && m->ballot && m->ballot->bound &&
            m->ballot->floor < m->ballot->set.number && electorate_index(&m->ballot->set, &n->me->id) < 0)
            return &m->ballot->set;
    }
    return NULL;
}

static void waiting_to_settle(const struct node *n, char *out, size_t bytes)
{
    uint32_t alive = node_alive_count(n), expect = node_expected(n);
    const struct electorate *others = n->formation.mine.bound ? NULL : set_of_others(n);
    if (others)
        snprintf(out, bytes, "the %u host%s that decide%s already: this one came later and joins then",
                 others->count, others->count == 1 ? "" : "s", others->count == 1 ? "s" : "");
    else if (expect > alive)
        snprintf(out, bytes, "%u more host%s: %u of %u expected are here", expect - alive,
                 expect - alive == 1 ? "" : "s", alive, expect);
    else if (alive == 1 && !n->cfg.pinned && expect != 1)
        snprintf(out, bytes, "other hosts: run kpeer up on them too (none was heard yet)");
    else if (n->address[0] == '\0')
        snprintf(out, bytes, "an address on which another host hears this one");
    else if (n->formation.mine.bound)
        snprintf(out, bytes, "the other hosts to agree on who decides (%u hosts)",
                 n->formation.mine.set.count);
    else
        snprintf(out, bytes, "%u host%s to settle: nobody new for %u s", alive, alive == 1 ? "" : "s",
                 (alive == 1 ? FORMATION_LONE_SETTLES : 1) * n->cfg.settle_ms / 1000);
}

/* Without a majority of the set nothing can be decided, and nobody but its hosts, or whoever gives them up,
 * can change that. */
static bool lost_majority(const struct node *n, char *out, size_t bytes)
{
    const struct electorate *set = &n->formation.mine.set;
    uint32_t here = 0;
    size_t used = 0;
    char names[160] = "";
    for (uint32_t i = 0; i < set->count; i++) {
        const struct member *m = member_of(n, &set->member[i]);
        here += is_here(m);
        if (m && !is_here(m) && m->has_profile && used < sizeof names)
            used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "",
                                     m->profile.name);
    }
    if (2 * here > set->count)
        return false;
    snprintf(out, bytes, "a majority of the %u hosts that decide: %u of them %s here%s%s", set->count, here,
             here == 1 ? "is" : "are", names[0] ? "; not heard: " : "", names);
    return true;
}

static void waiting_for_decision(const struct node *n, struct node_status *out)
{
    if (lost_majority(n, out->waiting, sizeof out->waiting))
        snprintf(out->hint, sizeof out->hint,
                 "start those that are missing; if they are gone for good: kpeer leave --force on each host "
                 "of the set that "
                 "is left, then kpeer up");
    else
        snprintf(out->waiting, sizeof out->waiting, "the master to found the cluster");
}

static void waiting_for_ticket(const struct node *n, struct node_status *out)
{
    char mine[STEP_ADDRESS_BYTES + 8];
    const char *name = n->record.founder_name;
    work_endpoint(n, mine);
    if (strcmp(mine, n->record.endpoint) == 0) {
        snprintf(out->waiting, sizeof out->waiting, "the master %s, which has this host's address", name);
        snprintf(out->hint, sizeof out->hint,
                 "if this host was the master and its state folder is another one now: put that back, or end "
                 "the cluster: "
                 "kpeer leave --force");
    } else if (!is_here(member_of(n, &n->record.founder))) {
        snprintf(out->waiting, sizeof out->waiting, "the master %s, which is not heard", name);
        snprintf(out->hint, sizeof out->hint, "start it: on %s: sudo kpeer up", name);
    } else {
        snprintf(out->waiting, sizeof out->waiting, "a ticket from the master %s", name);
    }
}

/* What this host waits for, and where somebody has to do something about it, what. */
static void waiting_for(const struct node *n, struct node_status *out)
{
    const struct work *w = &n->work;
    if (w->ready_told || w->leaving)
        return;
    if (w->blocked[0])
        mem_clip_text(out->waiting, sizeof out->waiting, w->blocked);
    else if (w->main_step)
        snprintf(out->waiting, sizeof out->waiting, "%s on this host%s%s", step_word(w->main_kind),
                 w->missing[0] ? ": " : "", w->missing);
    else if (!n->committed && !n->formation.constituted)
        waiting_to_settle(n, out->waiting, sizeof out->waiting);
    else if (!n->committed)
        waiting_for_decision(n, out);
    else if (w->ticket_nonce)
        waiting_for_ticket(n, out);
    else if (w->proved)
        snprintf(out->waiting, sizeof out->waiting, "the master to reach the probe pod %s on this host",
                 w->pod_address);
}

static void name_of(const struct node *n, const struct peer_id *id, char out[static STEP_NAME_BYTES])
{
    const struct member *m = member_of(n, id);
    if (m)
        memcpy(out, m->self ? n->cfg.name : m->profile.name, STEP_NAME_BYTES);
}

/* A second cluster is an error for as long as a host of it is met. */
static void show_conflict(const struct node *n, struct node_status *out)
{
    const struct record *ours = n->committed ? &n->record : &n->formation.mine.record;
    if (!n->conflict_ms || out->error[0])
        return;
    for (size_t i = 0; i < n->member_count; i++) {
        const struct member *m = n->member[i];
        if (m->self || !is_here(m) || !m->has_profile ||
            strcmp(m->profile.cluster_id, n->other.cluster_id) != 0)
            continue;
        snprintf(out->error, sizeof out->error,
                 "conflict: two clusters in one group: %.8s founded by %s, and %.8s founded by %s; nothing "
                 "is merged",
                 ours->cluster_id, ours->founder_name, n->other.cluster_id, n->other.founder_name);
        snprintf(out->hint, sizeof out->hint,
                 "choose one; on the hosts of the other: kpeer leave (on its master, last: kpeer leave "
                 "--force), then kpeer up");
        return;
    }
}

/* A Node and a control plane stay at the address under which they began: a host that has another one now is
 * cut off, however alive its agent is. */
static void show_moved(const struct node *n, struct node_status *out)
{
    const struct member *master = n->committed ? member_of(n, &n->record.founder) : NULL;
    char now[STEP_ADDRESS_BYTES + 8];
    if (!master || !n->work.joined[0] || !n->address[0])
        return;
    work_endpoint(n, now);
    size_t bytes = strlen(master->profile.address);
    bool away = master->self ? strcmp(now, n->record.endpoint) != 0
                             : is_here(master) && master->has_profile && bytes &&
                                   (strncmp(n->record.endpoint, master->profile.address, bytes) != 0 ||
                                    n->record.endpoint[bytes] != ':');
    if (away)
        snprintf(out->error, sizeof out->error,
                 "the master %s is at %s now, but the cluster's endpoint is %s", n->record.founder_name,
                 master->self ? n->address : master->profile.address, n->record.endpoint);
    else if (!master->self && n->work.proved && strcmp(n->work.proven_address, n->address) != 0)
        snprintf(out->error, sizeof out->error, "this host is at %s now, but its Node is at %s", n->address,
                 n->work.proven_address);
    else
        return;
    snprintf(out->hint, sizeof out->hint, "%s",
             away ? "give the master its address again, and a fixed one; the endpoint cannot be moved"
                  : "give it that address again; or: kpeer leave, then kpeer up");
}

void node_status_view(const struct node *n, uint64_t now_ms, struct node_status *out)
{
    const struct formation *f = &n->formation;
    memset(out, 0, sizeof *out);
    out->phase = n->work.phase;
    for (size_t i = 0; i < n->member_count; i++)
        if (n->member[i]->self)
            out->role = role_of(n, n->member[i]);
    memcpy(out->address, n->address, sizeof out->address);
    memcpy(out->interface, n->interface, sizeof out->interface);
    waiting_for(n, out);
    memcpy(out->error, n->work.error, sizeof out->error);
    if (n->work.blocked[0] || n->work.error[0])
        memcpy(out->hint, n->work.error[0] ? n->work.hint : n->work.blocked_hint, sizeof out->hint);
    if (n->work.blocked[0] && !out->error[0])
        memcpy(out->error, n->work.blocked, sizeof out->error);
    key_show(n, out);
    show_conflict(n, out);
    show_moved(n, out);
    out->healthy = n->work.phase == PHASE_READY && !out->error[0] && n->address[0];
    out->electorate = f->mine.bound ? f->mine.set.count : 0;
    out->constituted = f->constituted;
    out->expect = node_expected(n);
    out->term = f->mine.term;
    out->leader = n->committed ? n->record.founder : f->mine.vote;
    name_of(n, &out->leader, out->leader_name);
    out->lease_left_ms = f->leading && f->lease_until_ms > now_ms ? f->lease_until_ms - now_ms : 0;
    memcpy(out->dropped, n->dropped, sizeof out->dropped);
    for (size_t i = 0; i < RUNNING_MAX; i++)
        out->steps_running += n->running[i].id != 0;
}

const struct record *node_record(const struct node *n)
{
    return n->committed ? &n->record : NULL;
}

const uint8_t *node_group_id(const struct node *n)
{
    return n->group_id;
}

const struct keyring *node_keyring(const struct node *n)
{
    return &n->keys.ring;
}

const struct peer_id *node_id(const struct node *n)
{
    return &n->me->id;
}
