#include <sodium.h>
#include <string.h>
#include <stdlib.h>

#include "protocol/check.h"
#include "protocol/mem.h"
#include "protocol/node_state.h"

/* A rehearsal needs no kubeadm, but its documents name a version. */
#define REHEARSED_VERSION "v1.31.0"

void node_random_bytes(struct node *n, uint8_t *out, size_t bytes)
{
    uint8_t nonce[crypto_stream_chacha20_NONCEBYTES] = {0};
    uint64_t count = n->rng_count++;
    memcpy(nonce, &count, sizeof count);
    crypto_stream_chacha20(out, bytes, nonce, n->rng_key);
}

uint64_t node_random(struct node *n)
{
    uint64_t v = 0;
    node_random_bytes(n, (uint8_t *)&v, sizeof v);
    return v;
}

/* ---- members ---- */

static size_t lower_bound(const struct node *n, const struct peer_id *id)
{
    size_t lo = 0, hi = n->member_count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (peer_id_compare(&n->member[mid]->id, id) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct member *node_member(struct node *n, const struct peer_id *id)
{
    size_t i = lower_bound(n, id);
    return i < n->member_count && peer_id_equal(&n->member[i]->id, id) ? n->member[i] : NULL;
}

struct member *node_self(struct node *n)
{
    return n->self;
}

struct member *node_member_add(struct node *n, const struct peer_id *id)
{
    size_t i = lower_bound(n, id);
    if (i < n->member_count && peer_id_equal(&n->member[i]->id, id))
        return n->member[i];
    if (n->member_count == MEMBERS_MAX)
        return NULL;
    struct member *m = calloc(1, sizeof *m);
    if (!m) {
        n->no_memory = true;
        return NULL;
    }
    m->id = *id;
    m->state = STATE_FAILED; /* until heard */
    m->discovered_ms = n->now_ms;
    memmove(&n->member[i + 1], &n->member[i], (n->member_count - i) * sizeof n->member[0]);
    n->member[i] = m;
    n->member_count++;
    return m;
}

const char *node_name_of(struct node *n, const struct peer_id *id)
{
    const struct member *m = node_member(n, id);
    if (peer_id_equal(id, &n->me->id))
        return n->cfg.name;
    return m && m->has_profile ? m->profile.name : "";
}

static bool is_alive(enum member_state state)
{
    return state == STATE_ALIVE || state == STATE_SUSPECT;
}

bool node_lives(const struct member *m)
{
    return is_alive(m->state);
}

/* The largest number that anybody alive was told to wait for: raised at once, and counted anew when it may
 * fall. */
static void count_expected(struct node *n, const struct outline *was, const struct member *m)
{
    if (m->state == STATE_ALIVE && m->outline.expect >= n->expected) {
        n->expected = m->outline.expect;
        return;
    }
    if (was->expect < n->expected || n->expected == n->cfg.expect)
        return;
    n->expected = n->cfg.expect;
    for (size_t i = 0; i < n->member_count; i++)
        if (n->member[i]->state == STATE_ALIVE && n->member[i]->outline.expect > n->expected)
            n->expected = n->member[i]->outline.expect;
}

uint32_t node_expected(const struct node *n)
{
    return n->expected;
}

void node_set_state(struct node *n, struct member *m, enum member_state state)
{
    if (m->state == state)
        return;
    n->alive_count -= is_alive(m->state);
    n->alive_count += is_alive(state);
    if (is_alive(m->state) != is_alive(state)) {
        net_keep_soon(n);
        pulse_soon(n);
    }
    net_stir(n);
    m->state = state;
    n->group_checked = false;
    n->formation_stale = true;
    count_expected(n, &m->outline, m);
    if (state != STATE_ALIVE)
        n->alive_ms = 0;
}

uint32_t node_alive_count(const struct node *n)
{
    return n->alive_count;
}

uint64_t node_pause_ms(const struct node *n, uint64_t ms)
{
    return ms * n->alive_count / 32;
}

bool node_is_founder(const struct node *n)
{
    return n->committed && peer_id_equal(&n->record.founder, &n->me->id);
}

/* The version that this host would found or join with; empty: no kubeadm was found and none was asked for. */
const char *node_kubernetes_version(const struct node *n)
{
    if (n->cfg.kubernetes_version[0])
        return n->cfg.kubernetes_version;
    if (n->facts.kubernetes_version[0] || !n->cfg.dry_run)
        return n->facts.kubernetes_version;
    return REHEARSED_VERSION;
}

/* ---- formation's view of the group ---- */

static uint32_t rank_of(const struct profile *p)
{
    uint32_t pinned = p->role == ROLE_MASTER ? 0 : 1;
    uint32_t fit = p->facts.cpus >= CHECK_MASTER_CPUS && p->facts.memory_mb >= CHECK_MASTER_MEMORY_MB ? 0 : 1;
    return pinned << 1 | fit;
}

static bool presentable(const struct node *n, const struct profile *p)
{
    return p->address[0] && p->has_facts && p->rehearse == n->cfg.dry_run && p->cluster_id[0] == '\0' &&
           p->phase != PHASE_LEAVING && p->phase != PHASE_LEFT;
}

void node_profile_taken(struct node *n, struct member *m)
{
    const struct profile *p = &m->profile;
    struct outline was = m->outline;
    m->outline =
        (struct outline){.presentable = presentable(n, p),
                         .able = p->able,
                         .hopeful = check_fit_for_master(p) && p->phase != PHASE_FAILED,
                         .awaited = p->role == ROLE_MASTER && !p->note[0] && p->phase != PHASE_FAILED,
                         .rank = rank_of(p),
                         .expect = p->expect};
    n->formation_stale |= memcmp(&was, &m->outline, sizeof was) != 0;
    count_expected(n, &was, m);
}

/* The set that will found, or those who would be in it. */
void node_check_group(struct node *n)
{
    struct check_host host[ELECTORATE_MAX];
    struct check_fault fault;
    size_t count = 0;
    if (n->group_checked)
        return;
    n->group_checked = true;
    size_t most = ELECTORATE_MAX;
    uint32_t expected = n->formation.mine.bound ? 0 : node_expected(n);
    if (expected > 0 && expected < most)
        most = expected;
    for (size_t i = 0; i < n->member_count && count < most; i++) {
        const struct member *m = n->member[i];
        if (m->state != STATE_ALIVE || !m->has_profile || !m->outline.presentable)
            continue;
        if (n->formation.mine.bound && electorate_index(&n->formation.mine.set, &m->id) < 0)
            continue;
        host[count++] = (struct check_host){&m->profile, m->clock_offset_ms, m->self || m->heard};
    }
    bool green = check_group(host, count, n->formation.constituted, &fault);
    if (strcmp(fault.text, n->work.blocked) == 0)
        return;
    n->formation_stale = true;
    memcpy(n->work.blocked, fault.text, sizeof n->work.blocked);
    memcpy(n->work.blocked_hint, fault.hint, sizeof n->work.blocked_hint);
    if (green)
        return;
    struct action *a = out_event(n, EVENT_BLOCKED, NULL);
    out_text(a, "%s", fault.text);
    mem_copy_text(a->hint, sizeof a->hint, fault.hint);
}

/* Who is alive and not known yet may be in a cluster already: a moment is given to learn that. */
#define UNKNOWN_MS 15000

/* Nothing is known of it, or not yet what it is bound to, or it is in a cluster whose record we have not got
 * yet: a host that was installed anew is not let in at once where its earlier self had the address. */
static bool is_untold(const struct node *n, const struct member *m)
{
    return !m->has_profile || (!m->self && !m->ballot) ||
           (m->profile.cluster_id[0] && m->profile.rehearse == n->cfg.dry_run);
}

struct formation_input node_formation_input(struct node *n)
{
    uint64_t unknown_until_ms = 0;
    for (size_t i = 0; i < n->member_count; i++) {
        const struct member *m = n->member[i];
        const struct outline *o = &m->outline;
        bool profile = m->has_profile;
        n->peers[i] = (struct formation_peer){
            .id = m->id,
            .alive = is_alive(m->state),
            .left = m->state == STATE_LEFT,
            .in_view = m->state == STATE_ALIVE && profile && o->presentable && (m->self || m->ballot),
            .eligible = profile && (m->self ? work_able(n) : o->able),
            .hopeful = profile && o->hopeful,
            .awaited = profile && o->awaited,
            .rank = profile ? o->rank : UINT32_MAX,
            .discovered_ms = m->discovered_ms,
            .sign_pk = m->keyed ? m->sign_pk : NULL,
            .ballot = m->ballot,
        };
        if (is_alive(m->state) && is_untold(n, m) && m->discovered_ms + UNKNOWN_MS > unknown_until_ms)
            unknown_until_ms = m->discovered_ms + UNKNOWN_MS;
    }
    return (struct formation_input){.now_ms = n->now_ms,
                                    .me = n->me,
                                    .group_id = n->group_id,
                                    .peer = n->peers,
                                    .peer_count = n->member_count,
                                    .expect = node_expected(n),
                                    .lone = n->cfg.pinned || n->cfg.expect == 1,
                                    .checks_green = n->work.blocked[0] == '\0',
                                    .unknown_until_ms = unknown_until_ms,
                                    .settle_ms = n->cfg.settle_ms,
                                    .lease_ms = n->cfg.lease_ms};
}
