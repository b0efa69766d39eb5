#include "tests/sim/shrink.h"

struct search {
    uint64_t seed;
    uint32_t hosts;
    int invariant;
    unsigned tries;
    struct outcome last;
};

static bool breaks(struct search *s, const struct cut *cut)
{
    struct scenario scenario;
    scenario_draw(&scenario, s->seed, s->hosts);
    scenario_cut(&scenario, cut);
    struct outcome o;
    world_run(&scenario, NULL, &o);
    s->tries++;
    if (o.ok || o.invariant != s->invariant)
        return false;
    s->last = o;
    return true;
}

/* Tries with `less`; true: it is the cut from now on. */
static bool try(struct search *s, struct cut *cut, struct cut less)
{
    if (!breaks(s, &less))
        return false;
    *cut = less;
    return true;
}

static bool fewer_incidents(struct search *s, struct cut *cut, const struct scenario *whole)
{
    bool done = false;
    for (uint32_t i = 0; i < whole->incident_count; i++) {
        struct cut less = *cut;
        less.incidents |= 1u << i;
        if (less.incidents != cut->incidents)
            done |= try(s, cut, less);
    }
    return done;
}

static bool fewer_rates(struct search *s, struct cut *cut)
{
    bool *const rate[] = {&cut->loss,   &cut->doubled, &cut->slow,  &cut->steps,
                          &cut->spread, &cut->liar,    &cut->rotate};
    bool done = false;
    for (size_t i = 0; i < sizeof rate / sizeof rate[0]; i++) {
        if (*rate[i])
            continue;
        *rate[i] = true;
        if (breaks(s, cut))
            done = true;
        else
            *rate[i] = false;
    }
    return done;
}

static bool fewer_hosts(struct search *s, struct cut *cut, const struct scenario *whole)
{
    bool done = false;
    for (uint32_t n = cut->hosts ? cut->hosts - 1 : whole->hosts - 1; n >= 1; n--) {
        struct cut less = *cut;
        less.hosts = n;
        if (!try(s, cut, less))
            break;
        done = true;
    }
    return done;
}

bool shrink(uint64_t seed, uint32_t hosts, struct cut *cut, struct outcome *out, unsigned *tries)
{
    struct search s = {.seed = seed, .hosts = hosts};
    struct scenario whole;
    scenario_draw(&whole, seed, hosts);
    *cut = (struct cut){0};
    world_run(&whole, NULL, &s.last);
    s.tries = 1;
    s.invariant = s.last.invariant;
    for (bool less = !s.last.ok; less;) {
        less = fewer_incidents(&s, cut, &whole);
        less |= fewer_rates(&s, cut);
        less |= fewer_hosts(&s, cut, &whole);
    }
    *out = s.last;
    *tries = s.tries;
    return !s.last.ok;
}
