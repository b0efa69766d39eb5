/*
 * One run of a scenario, from outside: what sim.c and shrink.c see of the world.
 */
#ifndef KPEER_TESTS_RUN_H
#define KPEER_TESTS_RUN_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tests/sim/scenario.h"

/* Why a run may end without a cluster for all: what the rules do not promise then. */
enum excuse {
    EXCUSE_NONE,
    EXCUSE_LIAR,     /* a member lies */
    EXCUSE_MASTER,   /* the master is gone for good */
    EXCUSE_MAJORITY, /* a set lost its majority for good */
    EXCUSE_FEW,      /* fewer hosts are left than were expected */
    EXCUSE_COPY,     /* the master's identity was in use on two hosts at once */
    EXCUSE_UNFIT,    /* nobody who is left could be master */
    EXCUSE_COUNT
};
const char *excuse_word(enum excuse excuse);

/* What went over the wire; each receiver of a beacon counts. */
struct toll {
    uint64_t messages;
    uint64_t bytes;
};

struct milestone {
    uint64_t events;
    uint64_t ms;
};

struct outcome {
    bool ok;
    int invariant;   /* of docs/formation.md that broke; 0: another thing that must not be */
    char fault[256]; /* which, or what did not come about */
    enum excuse excuse;
    uint64_t ended_ms; /* virtual time when all were ready */
    uint64_t peer_ms;  /* virtual time that hosts were up, summed */
    uint64_t steps;    /* of all nodes */
    uint64_t messages;
    uint64_t bytes;
    struct toll beacons; /* those of `messages` and `bytes` that were multicast */
    struct toll rest;    /* what came in the scenario's rest, and is no part of the above */
    /* Virtual time of what comes about once where nothing goes wrong; 0: it did not. */
    struct milestone known;    /* everybody has discovered everybody */
    struct milestone elected;  /* the first has heard of an elected one */
    struct milestone recorded; /* the first holds the record */
    struct milestone held;     /* everybody does */
    struct milestone ready;    /* everybody is */
    uint64_t hash;             /* over the whole story: the same seed gives the same */
};

/* Runs it; the story goes to `story` unless it is NULL. */
void world_run(const struct scenario *s, FILE *story, struct outcome *out);

#endif
