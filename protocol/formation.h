/*
 * Formation: how a group decides one cluster record, once. docs/formation.md tells the rules and why they
 * hold.
 *
 * - bind: a peer binds itself to one set of peers at a time (the electorate it sees itself)
 * - constitute: a set is constituted once all of its members are bound to it; only then does anybody act
 *   under it
 * - vote, lease: terms and votes as in Raft's election; a vote and each renewal carry a lease, measured by
 * the leader from before it asked and by the voter from after it answered
 * - accept: the value is decided as in single-decree Paxos: who accepted a record says so with each later
 *   promise, and a later leader carries it forward instead of founding again
 * - sign off: a set that cannot go on is left only together with a majority of it, by peers that accepted
 *   nothing
 *
 * What must survive a crash (`mine`, `constituted`) is called promises: the owner stores it before it tells
 * anybody. Pure; owned by node.c. The half before any vote is in settle.c.
 */
#ifndef KPEER_FORMATION_H
#define KPEER_FORMATION_H

#include "protocol/identity.h"
#include "protocol/record.h"
#include "protocol/statement.h"

/* What formation sees of one peer, ourselves included. */
struct formation_peer {
    struct peer_id id;
    bool in_view; /* alive, with a proven address and known facts: would be part of a set proposed now */
    bool alive;
    bool left;     /* said that it leaves for good */
    bool eligible; /* could found a cluster */
    bool hopeful;  /* not eligible yet, but its own checks are not done: worth waiting for a little */
    bool awaited;  /* was told to be the master, and nothing went wrong there: it is waited for */
    uint32_t rank; /* lower stands first; equal ranks are settled by id */
    uint64_t discovered_ms;      /* when it was first heard of */
    const uint8_t *sign_pk;      /* NULL: not known yet */
    const struct ballot *ballot; /* NULL: not known yet. Ignored for ourselves. */
};

struct formation_input {
    uint64_t now_ms;
    const struct identity *me;
    const uint8_t *group_id;
    const struct formation_peer *peer; /* ascending by id; ourselves among them */
    size_t peer_count;
    uint32_t expect;           /* 0: not told */
    bool lone;                 /* may form a group of one */
    bool checks_green;         /* the group's own check found nothing against founding */
    uint64_t unknown_until_ms; /* somebody is heard of whom nothing is known yet, or no record of its cluster:
                                  without `expect`, settle not before */
    uint64_t settle_ms;
    uint64_t lease_ms;
};

/* What one tick changed; several may be set. */
enum formation_change {
    FORMATION_PROMISED = 1 << 0, /* `mine` changed: store it, then tell it */
    FORMATION_BOUND = 1 << 1,
    FORMATION_CONSTITUTED = 1 << 2,
    FORMATION_SIGNED_OFF = 1 << 3,
    FORMATION_RELEASED = 1 << 4, /* left its set: a majority signed it off */
    FORMATION_STANDS = 1 << 5,
    FORMATION_VOTED = 1 << 6,
    FORMATION_ELECTED = 1 << 7,
    FORMATION_LEASE_LOST = 1 << 8,
    FORMATION_ACCEPTED = 1 << 9,
    FORMATION_ASK_LEASE = 1 << 10,  /* ask every member of the set for the round `round` */
    FORMATION_STOOD_DOWN = 1 << 11, /* too few voted for us: our vote is free again */
};

#define FORMATION_LONE_SETTLES 6 /* a lone host settles this many times as long */
#define FORMATION_AWAIT_MS                                                                                   \
    1800000 /* how long a pinned master that is being made ready is waited for: the longest step that does   \
               so */
#define FORMATION_ROUNDS 8

struct formation {
    struct ballot mine; /* durable */
    bool constituted;   /* durable: we hold the binding of every member of our set */

    struct peer_id view[ELECTORATE_MAX]; /* who was in view at the last look */
    size_t view_count;
    uint64_t view_since_ms; /* nothing new since */
    uint64_t rng;           /* seeded by the owner; spreads the next candidacies */
    uint64_t bound_ms;
    uint64_t propose_ms; /* no set is proposed before: one was just given up */
    uint64_t constituted_ms;
    uint64_t hopeless_ms; /* since when our set cannot go on while others could; 0: it can */

    struct peer_id granted_to; /* whose lease we granted */
    uint64_t grant_until_ms;

    bool standing;
    bool leading;
    uint64_t stand_ms;
    uint64_t unready_ms;    /* when a member that is to be the master was last seen not ready */
    uint64_t not_before_ms; /* do not stand before */
    uint64_t lease_until_ms;
    uint64_t round;
    uint64_t round_sent_ms[FORMATION_ROUNDS];
    uint64_t ask_ms;
    struct {
        struct peer_id id;
        uint64_t round;
    } granted[ELECTORATE_MAX]; /* by index in the set */
};

/* Starts anew from what was stored (mine, constituted set by the caller), honouring a lease that may still
 * run. */
void formation_start(struct formation *f, const struct identity *me, uint64_t now_ms, uint64_t lease_ms);

/* Looks at everything known and does what the rules allow. Returns enum formation_change bits. */
uint32_t formation_tick(struct formation *f, const struct formation_input *in);

/* When formation_tick should be called again although nothing was heard. */
uint64_t formation_wake(const struct formation *f, const struct formation_input *in);

/* A leader asks us to renew its lease for `round`; true: granted, answer it. */
bool formation_lease_asked(struct formation *f, const struct peer_id *from,
                           const uint8_t set_id[static SET_ID_BYTES], uint64_t term, uint64_t now_ms,
                           uint64_t lease_ms);
/* A member granted us `round`. */
void formation_lease_granted(struct formation *f, const struct peer_id *from,
                             const uint8_t set_id[static SET_ID_BYTES], uint64_t term, uint64_t round,
                             uint64_t lease_ms);

/* True while we lead and our lease runs: the only time in which founding may go on. */
bool formation_may_found(const struct formation *f, uint64_t now_ms);
/* The leader proposes its record by accepting it first. KPEER_ESTATE without a live lease, or when it has
 * accepted one already. After success `mine` must be stored and told: from then on the record may be
 * committed by others. */
int formation_propose(struct formation *f, const struct formation_input *in, const struct record *record);
/* True when we lead and carry a record that an earlier leader had proposed. */
bool formation_carries(const struct formation *f);
/* Gives up leading (founding failed), and does not stand again before `until_ms`. */
void formation_resign(struct formation *f, uint64_t until_ms);

/* We leave for good: our set is signed off, unless we accepted a record in it. Returns true when `mine`
 * changed. */
bool formation_leave(struct formation *f);

/* True if a majority says that it accepted one record in one term: cheap, the signatures are not looked at.
 */
bool formation_accepted(const struct formation *f, const struct formation_input *in);
/* If a majority accepted one record in one term, fills *out (large: allocate it) and returns true. */
bool formation_committed(const struct formation *f, const struct formation_input *in, struct committed *out);

#endif
