#include "tests/sim/scenario.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/mem.h"

#define MANY_HOSTS 100

uint64_t draw(uint64_t *rng)
{
    uint64_t z = (*rng += 0x9e3779b97f4a7c15u); /* splitmix64 (Steele, Lea, Flood 2014) */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t draw_below(uint64_t *rng, uint64_t n)
{
    return n ? draw(rng) % n : 0;
}

const char *incident_word(enum incident_kind kind)
{
    static const char *const word[INCIDENT_KIND_COUNT] = {
        [INCIDENT_CRASH] = "crash",         [INCIDENT_POWER_CUT] = "power cut", [INCIDENT_GONE] = "gone",
        [INCIDENT_WIPE] = "wipe",           [INCIDENT_PAUSE] = "pause",         [INCIDENT_STOP] = "stop",
        [INCIDENT_PARTITION] = "partition", [INCIDENT_ONE_WAY] = "one way",     [INCIDENT_DEAF] = "deaf",
        [INCIDENT_CLOCK] = "clock jump",    [INCIDENT_ADDRESS] = "new address", [INCIDENT_LEAVE] = "leave",
        [INCIDENT_CLONE] = "clone",         [INCIDENT_REPLAY] = "replay",
    };
    return kind < INCIDENT_KIND_COUNT ? word[kind] : "?";
}

bool scenario_has(const struct scenario *s, enum incident_kind kind)
{
    for (uint32_t i = 0; i < s->incident_count; i++)
        if (s->incident[i].kind == kind && !s->incident[i].cut)
            return true;
    return false;
}

bool scenario_may_split(const struct scenario *s)
{
    return !s->expect && (scenario_has(s, INCIDENT_PARTITION) || scenario_has(s, INCIDENT_ONE_WAY) ||
                          scenario_has(s, INCIDENT_DEAF));
}

bool scenario_loses_hosts(const struct scenario *s)
{
    return scenario_has(s, INCIDENT_GONE) || scenario_has(s, INCIDENT_WIPE) ||
           scenario_has(s, INCIDENT_LEAVE) || scenario_has(s, INCIDENT_CLONE) || s->liar != LIAR_NONE;
}

/* How often each kind is drawn, of the sum. */
static const uint32_t weight[INCIDENT_KIND_COUNT] = {
    [INCIDENT_CRASH] = 30, [INCIDENT_POWER_CUT] = 12, [INCIDENT_GONE] = 4,       [INCIDENT_WIPE] = 5,
    [INCIDENT_PAUSE] = 12, [INCIDENT_STOP] = 8,       [INCIDENT_PARTITION] = 16, [INCIDENT_ONE_WAY] = 8,
    [INCIDENT_DEAF] = 5,   [INCIDENT_CLOCK] = 4,      [INCIDENT_ADDRESS] = 5,    [INCIDENT_LEAVE] = 6,
    [INCIDENT_CLONE] = 3,  [INCIDENT_REPLAY] = 8,
};

static enum incident_kind draw_kind(uint64_t *rng)
{
    uint64_t sum = 0;
    for (int i = 0; i < INCIDENT_KIND_COUNT; i++)
        sum += weight[i];
    uint64_t at = draw_below(rng, sum);
    int kind = 0;
    while (at >= weight[kind])
        at -= weight[kind++];
    return (enum incident_kind)kind;
}

/* Half of the incidents wait for a moment in which the group decides something. */
static void draw_moment(struct incident *in, uint64_t *rng, uint64_t faults_ms, bool founding)
{
    static const enum event_kind moments[] = {
        EVENT_ELECTORATE_BOUND, EVENT_ELECTORATE_CONSTITUTED,
        EVENT_ELECTION_STARTED, EVENT_ELECTED,
        EVENT_INIT_STARTED,     EVENT_INIT_FINISHED,
        EVENT_STEP_FINISHED,    EVENT_RECORD_COMMITTED,
        EVENT_TICKET_ISSUED,    EVENT_JOIN_STARTED,
        EVENT_LEASE_LOST,       EVENT_ELECTORATE_RELEASED,
    };
    static const enum event_kind crucial[] = {EVENT_ELECTORATE_CONSTITUTED, EVENT_ELECTED,
                                              EVENT_INIT_FINISHED};
    in->trigger = NO_TRIGGER;
    in->at_ms = draw_below(rng, draw(rng) % 2 ? 8000 : faults_ms);
    if (founding) {
        in->trigger = crucial[draw_below(rng, COUNT_OF(crucial))];
        in->nth = draw(rng) % 2 ? 1 : 1 + (uint32_t)draw_below(rng, 3);
        in->at_ms = draw_below(rng, 2500);
        return;
    }
    if (draw(rng) % 2)
        return;
    in->trigger = moments[draw_below(rng, COUNT_OF(moments))];
    in->nth = 1 + (uint32_t)draw_below(rng, in->trigger == EVENT_STEP_FINISHED ? 30 : 6);
    in->at_ms = draw(rng) % 2 ? draw_below(rng, 12) : draw_below(rng, 3000);
}

static void draw_incident(struct incident *in, const struct scenario *s, uint64_t *rng, bool founding)
{
    in->kind = founding && draw(rng) % 8 == 0 ? INCIDENT_LEAVE : draw_kind(rng);
    draw_moment(in, rng, s->faults_ms, founding);
    in->host =
        in->trigger != NO_TRIGGER && draw(rng) % 2 ? HOST_OF_EVENT : (uint32_t)draw_below(rng, s->hosts);
    in->sides = draw(rng);
    in->many = draw(rng) % (in->kind == INCIDENT_LEAVE ? 2 : 6) == 0;
    if (in->many && draw(rng) % 2)
        in->sides |= draw(rng); /* most of them */
    uint64_t shorter = 200 + draw_below(rng, 15000), longer = 500 + draw_below(rng, 20000);
    in->ms = in->kind == INCIDENT_CRASH ? shorter : longer;
    if (in->kind == INCIDENT_LEAVE && draw(rng) % 2)
        in->ms = FOREVER_MS;
    static const int64_t jumps[] = {-86400000, -3000, 700, 45000, 31536000000};
    in->jump_ms = jumps[draw_below(rng, COUNT_OF(jumps))];
}

/* A host that has joined is installed anew and joins again under its old name, and before its Node is proven
 * the master is started again: does it serve once more what it had served? Chance alone brings that about
 * once in ten thousand. */
static void draw_reinstalled(struct scenario *s, uint64_t *rng)
{
    uint32_t joins = s->group_of_second - 1;
    s->incident[s->incident_count++] = (struct incident){.kind = INCIDENT_WIPE,
                                                         .trigger = EVENT_JOIN_FINISHED,
                                                         .nth = 1 + (uint32_t)draw_below(rng, joins),
                                                         .at_ms = draw_below(rng, 3000),
                                                         .host = HOST_OF_EVENT,
                                                         .ms = 500 + draw_below(rng, 3000)};
    s->incident[s->incident_count++] = (struct incident){.kind = INCIDENT_CRASH,
                                                         .trigger = EVENT_TICKET_ISSUED,
                                                         .nth = joins + 1,
                                                         .at_ms = draw_below(rng, 5000),
                                                         .host = HOST_OF_EVENT,
                                                         .ms = 200 + draw_below(rng, 3000)};
}

void scenario_draw(struct scenario *s, uint64_t seed, uint32_t hosts)
{
    uint64_t rng = seed * 2654435761u + 1;
    uint64_t size = draw(&rng), more = draw(&rng);
    memset(s, 0, sizeof *s);
    s->seed = seed;
    s->faults_ms = 45000;
    s->end_ms = 900000;
    s->hosts = hosts ? hosts : size % 1000 == 0 ? 20 + (uint32_t)(more % 31) : 3 + (uint32_t)(more % 5);
    if (s->hosts > MANY_HOSTS)
        s->end_ms += s->hosts * UINT64_C(1000); /* the control plane lets in so many at once, and no more */
    s->group_of_second = s->hosts;
    if (draw(&rng) % 12 == 0 && !hosts)
        s->hosts += 2 + (uint32_t)draw_below(&rng, 2);
    s->expect = draw(&rng) % 2 ? s->group_of_second : 0;
    if (s->expect > 3 && draw(&rng) % 4 == 0)
        s->expect--; /* more hosts than were expected */
    s->spread_ms = draw(&rng) % 2 ? 0 : (uint32_t)draw_below(&rng, 8000);
    s->loss = draw(&rng) % 3 ? 0 : (uint32_t)draw_below(&rng, 250);
    s->doubled = draw(&rng) % 3 ? 0 : (uint32_t)draw_below(&rng, 100);
    s->slow = draw(&rng) % 3 ? 0 : (uint32_t)draw_below(&rng, 200);
    s->step_faults = draw(&rng) % 3 ? 0 : (uint32_t)draw_below(&rng, 150);
    s->slow_init = draw(&rng) % 40 == 0;
    uint64_t lies = draw_below(&rng, 40);
    s->liar = lies == 0 ? LIAR_FORGER : lies == 1 ? LIAR_TRAITOR : LIAR_NONE;
    s->incident_count = draw(&rng) % 4 == 0 ? 0 : 1 + (uint32_t)draw_below(&rng, 6);
    bool founding = draw(&rng) % 4 == 0; /* all of it happens while the group elects, founds and decides */
    for (uint32_t i = 0; i < s->incident_count; i++)
        draw_incident(&s->incident[i], s, &rng, founding);
    s->ticket_ttl_ms = draw(&rng) % 4 ? 600000 : 3000 + (uint32_t)draw_below(&rng, 9000);
    if (draw(&rng) % 5 == 0 && s->liar == LIAR_NONE && s->hosts <= MANY_HOSTS)
        s->rotations = 1 + (uint32_t)draw_below(&rng, 2);
    s->rotate_ms = (uint32_t)draw_below(&rng, 15000);
    if (draw(&rng) % 32 == 0 && s->group_of_second > 1)
        draw_reinstalled(s, &rng);
}

void scenario_cut(struct scenario *s, const struct cut *cut)
{
    if (cut->hosts && cut->hosts < s->hosts) {
        s->hosts = cut->hosts;
        if (s->group_of_second > s->hosts)
            s->group_of_second = s->hosts;
        if (s->expect > s->group_of_second)
            s->expect = s->group_of_second;
    }
    for (uint32_t i = 0; i < s->incident_count; i++)
        s->incident[i].cut = (cut->incidents >> i & 1) != 0 ||
                             (s->incident[i].host != HOST_OF_EVENT && s->incident[i].host >= s->hosts);
    s->loss = cut->loss ? 0 : s->loss;
    s->doubled = cut->doubled ? 0 : s->doubled;
    s->slow = cut->slow ? 0 : s->slow;
    s->step_faults = cut->steps ? 0 : s->step_faults;
    s->spread_ms = cut->spread ? 0 : s->spread_ms;
    s->liar = cut->liar ? LIAR_NONE : s->liar;
    s->rotations = cut->rotate ? 0 : s->rotations;
}

/* ---- a cut as text ---- */

struct word {
    const char *word;
    size_t at; /* of a bool in struct cut */
};

static const struct word words[] = {
    {"loss", offsetof(struct cut, loss)},     {"doubled", offsetof(struct cut, doubled)},
    {"slow", offsetof(struct cut, slow)},     {"steps", offsetof(struct cut, steps)},
    {"spread", offsetof(struct cut, spread)}, {"liar", offsetof(struct cut, liar)},
    {"rotate", offsetof(struct cut, rotate)},
};

void cut_text(const struct cut *cut, char out[static CUT_TEXT_BYTES])
{
    size_t n = 0;
    out[0] = '\0';
    if (cut->hosts)
        n += (size_t)snprintf(out + n, CUT_TEXT_BYTES - n, "hosts=%u,", cut->hosts);
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (*(const bool *)((const char *)cut + words[i].at))
            n += (size_t)snprintf(out + n, CUT_TEXT_BYTES - n, "%s,", words[i].word);
    for (int i = 0; i < INCIDENTS_MAX; i++)
        if (cut->incidents >> i & 1)
            n += (size_t)snprintf(out + n, CUT_TEXT_BYTES - n, "i%d,", i);
    if (n > 0)
        out[n - 1] = '\0';
}

static bool small_number(const char *text, unsigned long most, uint32_t *out)
{
    char *end = NULL;
    unsigned long v = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || v > most)
        return false;
    *out = (uint32_t)v;
    return true;
}

static bool cut_word(const char *word, struct cut *cut)
{
    uint32_t v = 0;
    if (strncmp(word, "hosts=", 6) == 0)
        return small_number(word + 6, HOSTS_MAX, &cut->hosts) && cut->hosts > 0;
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (strcmp(word, words[i].word) == 0)
            return *(bool *)((char *)cut + words[i].at) = true;
    if (word[0] != 'i' || !small_number(word + 1, INCIDENTS_MAX - 1, &v))
        return false;
    cut->incidents |= 1u << v;
    return true;
}

bool cut_parse(const char *text, struct cut *out)
{
    char copy[CUT_TEXT_BYTES];
    struct cut cut = {0};
    char *save = NULL;
    if (strlen(text) >= sizeof copy)
        return false;
    mem_copy_text(copy, sizeof copy, text);
    for (char *w = strtok_r(copy, ",", &save); w; w = strtok_r(NULL, ",", &save))
        if (!cut_word(w, &cut))
            return false;
    *out = cut;
    return true;
}
