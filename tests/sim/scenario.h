/*
 * What will go wrong in one run: hosts, rates, and a list of incidents, all drawn from one seed.
 *
 * A scenario is plain data, so a run that broke something can be cut down: fewer hosts, fewer incidents, no
 * loss. A cut is written as text ("hosts=3,loss,i2") and read again, so that the shorter run has a name, too.
 */
#ifndef KPEER_TESTS_SCENARIO_H
#define KPEER_TESTS_SCENARIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/node.h"

#define INCIDENTS_MAX  24
#define HOSTS_MAX      1024             /* as many as a core knows */
#define HOST_OF_EVENT  UINT32_MAX       /* the host that the trigger's event happened on */
#define NO_TRIGGER     EVENT_KIND_COUNT /* the incident has a time of its own */
#define CUT_TEXT_BYTES 256
#define GROUPS_MAX     2
#define FOREVER_MS     UINT64_MAX

enum incident_kind {
    INCIDENT_CRASH,     /* loses its power between two actions, and starts again `ms` later */
    INCIDENT_POWER_CUT, /* all hosts at once */
    INCIDENT_GONE,      /* loses its power for good */
    INCIDENT_WIPE,      /* comes back after `ms` with an empty disk, as a reinstalled host */
    INCIDENT_PAUSE,     /* the whole host stands still for `ms` and goes on as if nothing had been */
    INCIDENT_STOP,      /* its agent alone stands still: what it had begun goes on */
    INCIDENT_PARTITION, /* nothing passes between two sides */
    INCIDENT_ONE_WAY,   /* nothing passes from one side to the other; the other way all is well */
    INCIDENT_DEAF,      /* it hears no multicast, while its links work */
    INCIDENT_CLOCK,     /* its wall clock jumps by `jump_ms` */
    INCIDENT_ADDRESS,   /* it gets another address */
    INCIDENT_LEAVE,     /* `kpeer leave`; comes back as new after `ms`, unless that is FOREVER_MS */
    INCIDENT_CLONE,     /* a copy of it, disk and identity, is started beside it */
    INCIDENT_REPLAY,    /* somebody sends again, or altered, what went over the wire before */
    INCIDENT_KIND_COUNT
};

struct incident {
    enum incident_kind kind;
    enum event_kind trigger; /* happens when this event is told for the nth time in the run … */
    uint32_t nth;
    uint64_t at_ms; /* … so much later; without a trigger: at this time */
    uint32_t host;
    uint64_t ms;
    int64_t jump_ms;
    uint64_t sides; /* who is on which side */
    bool many;      /* happens to the others on one side, not to the host */
    bool cut;       /* taken out */
};

enum liar { LIAR_NONE, LIAR_FORGER, LIAR_TRAITOR };

struct scenario {
    uint64_t seed;
    uint32_t hosts;
    uint32_t group_of_second; /* hosts from this one on hold another group's key; == hosts: one group only */
    uint32_t expect;          /* of the first group; 0: not told */
    uint32_t spread_ms;       /* starts are spread over this time */
    uint32_t loss;            /* per 1000, each receiver on its own */
    uint32_t doubled;         /* per 1000 */
    uint32_t slow;            /* per 1000 messages that are delayed by up to 300 ms */
    uint32_t step_faults;     /* per 1000 steps that fail */
    uint32_t ticket_ttl_ms;
    bool slow_init;     /* init takes up to five minutes */
    uint32_t rotations; /* of the key of the first group */
    uint32_t rotate_ms; /* the first comes so much after the record */
    enum liar liar;     /* the last host of the first group lies: see liar.h */
    uint32_t incident_count;
    struct incident incident[INCIDENTS_MAX];
    uint64_t faults_ms; /* faults end then */
    uint64_t end_ms;    /* by then all must be ready */
    uint64_t rest_ms;   /* how long the world goes on after that; what it costs is counted apart */
};

/* What is left out of a scenario. All zero: nothing. */
struct cut {
    uint32_t hosts; /* 0: all */
    bool loss, doubled, slow, steps, spread, liar, rotate;
    uint32_t incidents; /* bit i: incident i */
};

/* A scenario drawn from a seed; `hosts` 0: drawn too. */
void scenario_draw(struct scenario *s, uint64_t seed, uint32_t hosts);
void scenario_cut(struct scenario *s, const struct cut *cut);

void cut_text(const struct cut *cut, char out[static CUT_TEXT_BYTES]);
/* False when the text is not a cut. */
bool cut_parse(const char *text, struct cut *out);

const char *incident_word(enum incident_kind kind);

/* Whether the group may fall apart into several clusters by the rules: without `expect` and with something
 * that keeps its hosts from seeing each other while they settle. */
bool scenario_may_split(const struct scenario *s);
/* Whether hosts may come back as others, or not at all. */
bool scenario_loses_hosts(const struct scenario *s);
bool scenario_has(const struct scenario *s, enum incident_kind kind);

/* The next number of a generator of its own: splitmix64. */
uint64_t draw(uint64_t *rng);
uint64_t draw_below(uint64_t *rng, uint64_t n);

#endif
