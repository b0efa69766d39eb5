/*
 * Formation: how a group decides one cluster, as protocol/settle.c, protocol/formation.c and the founding in
 * protocol/node_work.c have it. docs/model.md tells what each part stands for and why the abstraction is sound.
 *
 * One step of spin is one rule of one peer: it changes its promises, stores them and tells them. What was told
 * stays known for ever and may be acted upon by anybody at any later time, or never: loss, delay, doubling and
 * reordering of messages are all of that form.
 *
 * Bounds, given with -D:
 *   PEERS    hosts, 3 to 5
 *   MASKS    how many different groups of members may form a set (1: all hosts; see MASK)
 *   NUMBERS  each of them under how many numbers
 *   TERMS    how many terms each set may use
 *   LEASE    length of a lease in ticks of the clock; 0: there is no clock, leases end at any time
 *   TURNS    1: in term 1 host 0 alone stands, in term 2 host 1, and so on; 0: anybody in any
 *   SETTLED  1: everybody is bound to set 1, which is constituted; 0: nobody is bound
 *   CALM     1: faults may end, and then a record must be committed (progress.pml)
 *   MUTANT   one deliberate fault (mutants.pml)
 */
#include "mutants.pml"
#include "bounds.pml"

/* ---- what a peer holds ---- */

/* struct ballot: its promises. Durable. */
typedef ballot {
    byte set;           /* index of the set that it is bound to; 0: not bound */
    byte floor;         /* every set with a number up to this is signed off */
    byte term;
    byte vote;          /* NOBODY: none */
    byte accepted_term; /* 0: nothing accepted */
    byte record;        /* the accepted one */
    bool constituted    /* stored with the ballot, not told */
};
ballot mine[PEERS];
ballot disk[PEERS]; /* what a restart finds */

/* struct formation and struct work: gone with a crash, but for `founding` and `proposed`. */
bool standing[PEERS];
bool leading[PEERS];
byte founding[PEERS];  /* the record whose control plane is being made, or stands, on this host; 0: none */
bool proposed[PEERS];  /* durable: that record was told, so others may have accepted it */
byte committed[PEERS]; /* durable: the record it holds with a majority's signatures, and joins or serves; 0: none */

/* ---- what was told, and is known to anybody who hears of it ---- */

byte told_bound[SETS + 1];         /* by set: who said that it is bound to it */
byte told_standing[SETS * PEERS];  /* by set and candidate: the terms in which it stood, a bit each */
byte told_accepted[SETS * PEERS * TERMS]; /* by set, leader and term: who accepted what that leader proposed then */
byte told_record[SETS * PEERS * TERMS];   /* what it was */
/* By candidate and voter: the vote in the candidacy that is under way. 0: none; else one more than the term of what
 * the voter had accepted, and the record. */
byte vote_term[PEERS * PEERS];
byte vote_record[PEERS * PEERS];

/* ---- what the checks remember ---- */

byte gathered; /* a record that formation_committed() finds if it hears of everything told; 0: none */
byte chosen;   /* the first record that a majority truly accepted in one term; 0: none */

hidden byte i, n, best, r;
hidden byte broken; /* the invariant that an assertion found broken, by its number in docs/formation.md */
#define STANDS 9    /* the founder never undoes what is decided: "When the founder loses its lease" there */
#define BREAKS(number) broken = number; assert(broken != number)
#define MUST(what, number) if :: !(what) -> BREAKS(number) :: else fi

#include "lease.pml"
#include "work.pml"
#include "settle.pml"
#include "decide.pml"
#include "invariants.pml"
#if CALM
#include "progress.pml"
#endif

#define HAS_COMMITTED(x) && committed[x] != 0
#define ALL_COMMITTED    (true EACH_PEER(HAS_COMMITTED))

inline begin()
{
    i = 0;
    do
    :: i < PEERS ->
        mine[i].vote = NOBODY;
#if SETTLED
        mine[i].set = 1;
        mine[i].constituted = true;
#endif
        store(i);
        i++
    :: else -> break
    od;
#if SETTLED
    told_bound[1] = ALL;
#endif
    lease_begin();
    i = 0
}

active proctype group()
{
    d_step { begin() };
    do
    INVARIANTS
#if SETTLED == 0 || SIGN_OFFS
    EACH_PEER(SETTLE)
#endif
    EACH_PEER(DECIDE)
    EACH_PAIR(ANSWER_CANDIDATE)
#if LEASE
    EACH_PEER(LEASES)
    TICK
#endif
#if CALM
    :: d_step { MAY_CALM -> calm_begin() } -> break
#endif
    :: ALL_COMMITTED -> break
    od;
#if CALM
    CALM_PHASE
#endif
}
