/*
 * protocol/formation.c: stand, vote, accept, carry forward, propose, commit; and what a crash leaves.
 */

/* Of the promises that are told now: stored before, but for the deliberate faults. */
inline promise_vote(x)
{
#if MUTANT == VOTE_NOT_STORED
    skip
#else
    store(x)
#endif
}

inline promise_accepted(x)
{
#if MUTANT == ACCEPT_NOT_STORED
    skip
#else
    store(x)
#endif
}

/* ---- stand ---- */

#if TURNS
#define ITS_TURN(x, t) ((x) == (t)-1)
#else
#define ITS_TURN(x, t) true
#endif
#define STAND(x, unused, t)                                                                                  \
    :: d_step { ACTIVE(x) && !standing[x] && !leading[x] && ITS_TURN(x, t) && t <= CHAOS_TERMS           \
                && t > mine[x].term && !LEASED_TO_OTHER(x, x) ->                                             \
        stand(x, t)                                                                                          \
    }

inline stand(x, at)
{
    printf("%d stands in term %d\n", x, at);
    mine[x].term = at;
    mine[x].vote = x;
    standing[x] = true;
    grant(x, x);
    promise_vote(x);
    STOOD(mine[x].set, x) = STOOD(mine[x].set, x) | BIT(at);
    vote_term[x * PEERS + x] = 1 + mine[x].accepted_term;
    vote_record[x * PEERS + x] = mine[x].record
}

/* ---- answer_candidates: vote_for, accept_from ---- */

#if MUTANT == VOTES_TWICE
#define NEW_TERM(x, t) (t >= mine[x].term && !leading[x])
#else
#define NEW_TERM(x, t) (t > mine[x].term)
#endif
#define VOTE_FOR(x, c, t)                                                                                    \
    :: d_step { ACTIVE(x) && IN(c, mine[x].set) && NEW_TERM(x, t) && (STOOD(mine[x].set, c) & BIT(t)) != 0   \
                && !LEASED_TO_OTHER(x, c) -> vote_for(x, c, t) }

inline lose_lead(x)
{
    n = leading[x];
    step_back(x)
}

inline vote_for(x, by, at)
{
    printf("%d votes for %d in term %d\n", x, by, at);
    lose_lead(x);
    mine[x].term = at;
    mine[x].vote = by;
    grant(x, by);
    if
    :: n == 1 -> work_lease_lost(x)
    :: else
    fi;
    n = 0;
    promise_vote(x);
    /* Of use only to the candidacy that is under way. */
    if
    :: standing[by] && mine[by].set == mine[x].set && mine[by].term == at ->
        vote_term[by * PEERS + x] = 1 + mine[x].accepted_term;
        vote_record[by * PEERS + x] = mine[x].record
    :: else
    fi
}

/* Somebody accepted in term t what c proposed in it; the first to do so is c. */
inline tell_accepted(x, by, at)
{
    told_accepted[AT(mine[x].set, by, at)] = told_accepted[AT(mine[x].set, by, at)] | BIT(x);
    told_record[AT(mine[x].set, by, at)] = mine[x].record;
#if MUTANT == COMMITS_ACROSS_TERMS
    told_ever[mine[x].record] = told_ever[mine[x].record] | BIT(x);
#endif
    look_for_choice(mine[x].set, by, at)
}

#if MUTANT == ACCEPTS_OLD_TERM
#define MAY_ACCEPT(x, c, t) (mine[x].accepted_term < t)
#else
#define MAY_ACCEPT(x, c, t)                                                                                  \
    (t >= mine[x].term && mine[x].accepted_term < t                                                          \
     && (t > mine[x].term -> !LEASED_TO_OTHER(x, c) : mine[x].vote == c))
#endif
#define ACCEPT_FROM(x, c, t)                                                                                 \
    :: d_step { ACTIVE(x) && IN(c, mine[x].set) && (told_accepted[AT(mine[x].set, c, t)] & BIT(c)) != 0      \
                && MAY_ACCEPT(x, c, t) -> accept_from(x, c, t) }

inline accept_from(x, by, at)
{
    printf("%d accepts from %d in term %d\n", x, by, at);
    lose_lead(x);
#if MUTANT == ACCEPTS_OLD_TERM
    if :: at > mine[x].term -> mine[x].term = at; mine[x].vote = by :: else fi;
#else
    mine[x].term = at;
    mine[x].vote = by;
#endif
    mine[x].accepted_term = at;
    mine[x].record = told_record[AT(mine[x].set, by, at)];
    if
    :: n == 1 -> work_lease_lost(x)
    :: else
    fi;
    n = 0;
    promise_accepted(x);
    tell_accepted(x, by, at)
}

#define ANSWER_CANDIDATE(x, c) EACH_TERM(VOTE_FOR, x, c) EACH_TERM(ACCEPT_FROM, x, c)

/* ---- take_votes: of those who voted, the candidate may have heard any that are a majority with it ---- */

#define VOTED(x, y, quorum) ((((quorum) >> (y)) & 1) == 0 || vote_term[(x) * PEERS + (y)] != 0)
#if PEERS == 3
#define ALL_VOTED(x, q) (VOTED(x, 0, q) && VOTED(x, 1, q) && VOTED(x, 2, q))
#elif PEERS == 4
#define ALL_VOTED(x, q) (VOTED(x, 0, q) && VOTED(x, 1, q) && VOTED(x, 2, q) && VOTED(x, 3, q))
#else
#define ALL_VOTED(x, q)                                                                                      \
    (VOTED(x, 0, q) && VOTED(x, 1, q) && VOTED(x, 2, q) && VOTED(x, 3, q) && VOTED(x, 4, q))
#endif
#define TAKE_VOTES(x, quorum)                                                                                \
    :: d_step { ((quorum) & BIT(x)) != 0 && standing[x] && ACTIVE(x)                                         \
                && POP(quorum) >= MAJORITY(mine[x].set) && ALL_VOTED(x, quorum) -> take_votes(x, quorum) }

#if MUTANT == CARRIES_LOWEST
#define BETTER(term_of_vote) (term_of_vote > 1 && (best == 0 || term_of_vote < best))
#else
#define BETTER(term_of_vote) (term_of_vote > 1 && term_of_vote > best)
#endif

inline take_votes(x, quorum)
{
    printf("%d leads, by the votes %d\n", x, quorum);
    best = 0;
    r = 0;
    i = 0;
    do
    :: i < PEERS ->
        if
        :: (((quorum) >> i) & 1) && BETTER(vote_term[x * PEERS + i]) ->
            best = vote_term[x * PEERS + i];
            r = vote_record[x * PEERS + i]
        :: else
        fi;
        i++
    :: else -> break
    od;
    i = 0;
    best = 0;
    standing[x] = false;
    leading[x] = true;
    forget_votes(x);
    lease_from_votes(x);
#if MUTANT != NOT_CARRIED_FORWARD
    if
    :: r != 0 ->
        printf("%d carries record %d forward\n", x, r);
        mine[x].record = r;
        mine[x].accepted_term = mine[x].term;
        promise_accepted(x);
        tell_accepted(x, x, mine[x].term)
    :: else
    fi;
#endif
    r = 0
}

/* Not elected in time; only its own vote hangs on the lease that it granted itself. */
#define GIVE_UP(x)                                                                                           \
    :: d_step { standing[x] -> give_up(x) }

/* keep_lease, when it is over; or the founding failed, and formation_resign. */
#if LEASE
#define LOSE_LEASE(x)                                                                                        \
    :: d_step { leading[x] && lease_left[x] == 0 -> keep_lease(x) }
#else
#define LOSE_LEASE(x)                                                                                        \
    :: d_step { leading[x] -> keep_lease(x) }
#endif
#define RESIGN(x)                                                                                            \
    :: d_step { leading[x] && founding[x] != 0 && !proposed[x] -> resign(x) }


inline give_up(x)
{
    printf("%d gives up standing\n", x);
    step_back(x);
    lease_free(x)
}

inline keep_lease(x)
{
    printf("%d loses its lease\n", x);
    step_back(x);
    work_lease_lost(x)
}

inline resign(x)
{
    printf("%d fails to found and resigns\n", x);
    step_back(x);
    undo_founding(x)
}

/* ---- founding, and formation_propose ---- */

#if MUTANT == FOUNDS_WITHOUT_LEASE
#define MAY_FOUND(x) (ACTIVE(x) && leading[x])
#else
#define MAY_FOUND(x) (ACTIVE(x) && leading[x] && LEASE_LIVE(x))
#endif
#if MUTANT == NOT_CARRIED_FORWARD
#define NOTHING_ACCEPTED(x) (mine[x].accepted_term < mine[x].term)
#else
#define NOTHING_ACCEPTED(x) (mine[x].accepted_term == 0)
#endif
/* next_founder: the steps cluster-ca, kubeadm-init, apply-network. What a former founding left is reset first. */
#define FOUND(x)                                                                                             \
    :: d_step { MAY_FOUND(x) && NOTHING_ACCEPTED(x) && founding[x] == 0 ->                                   \
        MUST(LEASE_LIVE(x), 3);                                                                              \
        found(x)                                                                                             \
    }
#define PROPOSE(x)                                                                                           \
    :: d_step { MAY_FOUND(x) && NOTHING_ACCEPTED(x) && founding[x] != 0 && !proposed[x] ->                   \
        MUST(LEASE_LIVE(x), 3);                                                                              \
        propose(x)                                                                                           \
    }

inline found(x)
{
    founding[x] = RECORD(mine[x].set, x, mine[x].term);
    printf("%d founds, as record %d\n", x, founding[x])
}

inline propose(x)
{
    printf("%d proposes record %d\n", x, founding[x]);
    mine[x].record = founding[x];
    mine[x].accepted_term = mine[x].term;
    proposed[x] = true;
    promise_accepted(x);
    tell_accepted(x, x, mine[x].term)
}

/* ---- a committed record: formation_committed or node_adopt; then the join, or the founder's service ---- */

#define SET_OF(rec)          (((rec)-1) / TERMS / PEERS + 1)
#define SECOND_CLUSTER(x, b) (mine[x].accepted_term != 0 && mine[x].record != (b) && mine[x].set != SET_OF(b))
#if MUTANT == JOINS_PROPOSED
#define MAY_ADOPT(x) (mine[x].accepted_term != 0)
#define ADOPTED(x)   mine[x].record
#else
#define MAY_ADOPT(x) (gathered != 0 && !SECOND_CLUSTER(x, gathered))
#define ADOPTED(x)   gathered
#endif
#define ADOPT(x)                                                                                             \
    :: d_step { FORMING(x) && MAY_ADOPT(x) -> r = ADOPTED(x); adopt(x, r); r = 0 }

/* From now on form() returns at once, and a restart finds the record. What it promised before is of no more use to
 * itself, and cleared here so that spin sees one state in place of many. What it told stays told. */
/* leave_other_set: those who still count on it in another set than the record's must know. */
inline leave_other_set(x, b)
{
    if
    :: BOUND(x) && mine[x].set != SET_OF(b) && mine[x].accepted_term == 0 && mine[x].floor < NUMBER(mine[x].set) ->
        mine[x].floor = NUMBER(mine[x].set)
    :: else
    fi
}

inline adopt(x, b)
{
    printf("%d has the committed record %d\n", x, b);
    leave_other_set(x, b);
    committed[x] = b;
    if
    :: founding[x] != b -> undo_founding(x)
    :: else
    fi;
    step_back(x);
    lease_quiet(x);
    mine[x].set = 0;
    mine[x].term = 0;
    mine[x].vote = NOBODY;
    mine[x].accepted_term = 0;
    mine[x].record = 0;
    mine[x].constituted = false;
    store(x)
}

/* ---- a crash and the start after it: formation_start, work_start ---- */

#define CRASH(x)                                                                                             \
    :: d_step { FORMING(x) -> crash(x) }

inline crash(x)
{
    printf("%d crashes and starts again\n", x);
    mine[x].set = disk[x].set;
    mine[x].floor = disk[x].floor;
    mine[x].term = disk[x].term;
    mine[x].vote = disk[x].vote;
    mine[x].accepted_term = disk[x].accepted_term;
    mine[x].record = disk[x].record;
    mine[x].constituted = disk[x].constituted;
    step_back(x);
    lease_crash(x);
    if
    :: !KEEPS(x) -> undo_founding(x)
    :: else
    fi
}

#define DECIDE(x)                                                                                            \
    EACH_TERM(STAND, x, x)                                                                                   \
    EACH_QUORUM(TAKE_VOTES, x)                                                                               \
    GIVE_UP(x)                                                                                               \
    LOSE_LEASE(x)                                                                                            \
    RESIGN(x)                                                                                                \
    FOUND(x)                                                                                                 \
    PROPOSE(x)                                                                                               \
    ADOPT(x)                                                                                                 \
    CRASH(x)
