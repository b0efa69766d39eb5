/*
 * A world for many cores in one process: virtual clock, network, disks and executors, all drawn from one
 * seed.
 *
 * The network delays, loses, doubles and reorders; hosts crash between any two actions, alone or all at once,
 * and start again with what they had stored; the network falls apart and heals; steps take time and fail.
 * After every step the invariants of docs/formation.md are checked against what really was stored, told and
 * run, not against what a node believes.
 */
#ifndef KPEER_TESTS_WORLD_H
#define KPEER_TESTS_WORLD_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct scenario {
    uint64_t seed;
    uint32_t hosts;
    uint32_t expect;      /* 0: not told */
    uint32_t spread_ms;   /* starts are spread over this time */
    uint32_t loss;        /* per 1000, each receiver on its own */
    uint32_t doubled;     /* per 1000 */
    uint32_t slow;        /* per 1000 messages that are delayed by up to 300 ms */
    uint32_t crashes;     /* while faults last */
    uint32_t step_faults; /* per 1000 steps that fail */
    uint32_t pauses;      /* hosts that stop for up to 20 s and go on */
    uint32_t power_cuts;  /* all hosts lose their power at once */
    uint32_t partitions;  /* the network falls into two parts for a while */
    uint64_t faults_ms;   /* faults end then */
    uint64_t end_ms;      /* by then all must be ready */
};

struct outcome {
    bool ok;
    char fault[256];   /* which invariant broke, or what did not come about */
    uint64_t ready_ms; /* virtual time when all were ready */
    uint64_t steps;    /* of all nodes */
    uint64_t messages;
    uint64_t hash; /* over the whole story: the same seed gives the same */
};

/* A scenario drawn from a seed; `hosts` 0: drawn too. */
void scenario_draw(struct scenario *s, uint64_t seed, uint32_t hosts);

/* Runs it; the story goes to `story` unless it is NULL. */
void world_run(const struct scenario *s, FILE *story, struct outcome *out);

#endif
