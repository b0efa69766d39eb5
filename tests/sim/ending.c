/*
 * How a run ends: everybody is ready in one cluster (invariant 8), or the rules say why nobody owes that.
 */
#include <string.h>

#include "protocol/check.h"
#include "protocol/node_state.h"
#include "tests/sim/promises.h"

#define COPY_MS 60000

const char *excuse_word(enum excuse excuse)
{
    static const char *const word[EXCUSE_COUNT] = {
        [EXCUSE_NONE] = "",
        [EXCUSE_LIAR] = "a member lies",
        [EXCUSE_MASTER] = "the master is gone for good",
        [EXCUSE_MAJORITY] = "a set lost its majority for good",
        [EXCUSE_FEW] = "fewer hosts are left than were expected",
        [EXCUSE_COPY] = "the master's identity was in use on two hosts at once",
        [EXCUSE_UNFIT] = "nobody who is left could be master",
    };
    return excuse < EXCUSE_COUNT ? word[excuse] : "?";
}

static size_t records_of(const struct world *w, uint32_t group)
{
    size_t n = 0;
    for (size_t i = 0; i < w->record_count; i++)
        n += w->record_group[i] == group;
    return n;
}

/* Those who are left of a set can neither decide under it nor leave it: too few of them have not signed it
 * off, and too few have, or may: who accepted a record must not, and a minority waits for the others. */
static bool stuck(const struct world *w, const struct host *h)
{
    const struct electorate *set = &h->node->formation.mine.set;
    size_t living = 0, decide = 0, off = 0, leave = 0, majority = set->count / 2u + 1;
    for (size_t i = 0; i < set->count; i++) {
        const struct voter *v = promises_voter(w, &set->member[i]);
        bool here = watch_holder(w, &set->member[i]) >= 0;
        /* What one who is gone signed off counts if it was heard. */
        const struct ballot *b = v ? &v->ballot : NULL;
        if (!here) {
            const struct member *m = node_member(h->node, &set->member[i]);
            b = m ? m->ballot : NULL;
        }
        bool signed_off = b && b->floor >= set->number;
        bool accepted = v && v->ballot.accepted && electorate_equal(&v->ballot.set, set);
        living += here;
        decide += here && !signed_off;
        off += signed_off;
        leave += signed_off || (here && !accepted);
    }
    bool may_leave = living >= majority && set->count - leave < majority;
    return decide < majority && set->count - off >= majority && !may_leave;
}

/* A host that is there but cannot go on, because those that it counts on are gone for good. Its set may have
 * been constituted for them although it is not for this host. */
static bool bereft(const struct world *w, const struct host *h)
{
    const struct formation *f = &h->node->formation;
    if (h->node->committed)
        return watch_holder(w, &h->node->record.founder) < 0;
    return f->mine.bound && stuck(w, h);
}

static bool nobody_fit(const struct world *w, uint32_t group)
{
    for (uint32_t i = 0; i < w->slots; i++) {
        const struct host *h = &w->host[i];
        if (h->exists && h->group == group && h->fate == FATE_COMES && h->slot % 3 != 2)
            return false;
    }
    return true;
}

/* Nothing else excuses a host that is not ready. */
static enum excuse excuse(const struct world *w)
{
    uint32_t here[GROUPS_MAX] = {0};
    if (w->owed == 0)
        return EXCUSE_FEW;
    if (w->s->liar != LIAR_NONE)
        return EXCUSE_LIAR;
    for (uint32_t i = 0; i < w->slots; i++) {
        const struct host *h = &w->host[i];
        here[h->group] += h->exists && h->fate == FATE_COMES;
        if (h->up && h->node && !h->ready && bereft(w, h))
            return h->node->committed ? EXCUSE_MASTER : EXCUSE_MAJORITY;
    }
    for (size_t i = 0; i < w->record_count; i++) {
        const struct voter *v = promises_voter(w, &w->record[i]->record.founder);
        if (v && v->shared)
            return EXCUSE_COPY;
        if (watch_holder(w, &w->record[i]->record.founder) < 0)
            return EXCUSE_MASTER; /* and with it, perhaps, all who knew that there was a cluster */
    }
    for (uint32_t g = 0; g < GROUPS_MAX; g++) {
        uint32_t expect = g == 0 ? w->s->expect : 0;
        if (records_of(w, g) == 0 && here[g] > 0 && here[g] < (expect ? expect : 2))
            return EXCUSE_FEW;
        if (records_of(w, g) == 0 && here[g] > 0 && nobody_fit(w, g))
            return EXCUSE_UNFIT;
    }
    return EXCUSE_NONE;
}

bool watch_hopeless(const struct world *w)
{
    return w->pending == 0 && excuse(w) != EXCUSE_NONE;
}

bool watch_done(const struct world *w)
{
    return w->ready == w->owed && w->pending == 0 && w->now_ms >= w->quiet_ms && !ticket_outstanding(w) &&
           keys_settled(w);
}

static void check_host(struct world *w, const struct host *h)
{
    const struct record *r = node_record(h->node);
    const char *part_of = h->kube.built[0] ? h->kube.built : h->kube.joined;
    if (!h->ready)
        return;
    if (!r || strcmp(part_of, r->cluster_id) != 0)
        broken(w, 2, "%s is part of %s, not of %s", h->name, part_of, r ? r->cluster_id : "any");
    if (h->kube.built[0] && (h->kube.joined[0] || !peer_id_equal(&r->founder, &h->identity->id)))
        broken(w, 3, "%s still has a control plane that it should have undone", h->name);
}

/* Invariant 7: a copy of a host has become another host, once they could hear each other for a while. */
static void check_copies(struct world *w)
{
    for (uint32_t i = 0; i < w->slots; i++)
        for (uint32_t k = i + 1; k < w->slots; k++) {
            const struct host *a = &w->host[i], *b = &w->host[k];
            if (a->up && b->up && w->now_ms > a->started_ms + COPY_MS &&
                w->now_ms > b->started_ms + COPY_MS && peer_id_equal(&a->identity->id, &b->identity->id))
                broken(w, 7, "%s and %s are still the same peer", a->name, b->name);
        }
}

static void tell_who_is_not(struct world *w)
{
    char who[160] = "";
    for (uint32_t i = 0; i < w->slots && strlen(who) < 100; i++) {
        const struct host *h = &w->host[i];
        if (h->exists && h->fate == FATE_COMES && !h->ready)
            snprintf(who + strlen(who), sizeof who - strlen(who), " %s (%s)", h->name,
                     h->up ? phase_word(h->node->work.phase) : "off");
    }
    broken(w, 8, "not ready after %u s:%s", (unsigned)(w->now_ms / 1000), who);
}

void watch_end(struct world *w)
{
    bool done = watch_done(w);
    for (uint32_t i = 0; i < w->slots && w->out->ok; i++)
        if (w->host[i].up)
            check_host(w, &w->host[i]);
    if (done)
        tickets_end(w);
    if (scenario_has(w->s, INCIDENT_CLONE))
        check_copies(w);
    if (!w->out->ok)
        return;
    w->out->excuse = done ? EXCUSE_NONE : excuse(w);
    if (!done && !w->out->excuse)
        tell_who_is_not(w);
    for (uint32_t g = 0; g < GROUPS_MAX; g++)
        if (records_of(w, g) > 1 && !scenario_may_split(w->s) && !scenario_loses_hosts(w->s))
            broken(w, 8, "%zu records were committed in one group", records_of(w, g));
}
