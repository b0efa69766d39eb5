/*
 * Progress (invariant 8). At any moment the faults may end: then all hosts but those in GONE run and hear each
 * other, news arrive before any time-out ends, and leases from before have run out. From there on the rules are
 * followed as the code has them, with what is seen: every way to go on must end with a committed record.
 *
 *   GONE  hosts, a bit each, that are off for good
 *   FIT   hosts that could found
 */
#ifndef GONE
#define GONE 0
#endif
#ifndef FIT
#define FIT ALL
#endif
#define HERE     (ALL & ~(GONE))
#define IS_HERE(x) ((HERE >> (x)) & 1)
#define IS_FIT(x)  (((FIT) >> (x)) & 1)

/* What a peer sees of itself and of the others is the same now. */
#define BOUND_IN(y, s)    (mine[y].set == (s))
#define OFF(y, s)         (IN(y, s) && mine[y].floor >= NUMBER(s))
#define SOMEBODY(F, s)    (F(0, s) || F(1, s) || F(2, s))
#define HOW_MANY(F, s)    (F(0, s) + F(1, s) + F(2, s))
#define ANY_OFF(s)        SOMEBODY(OFF, s)
#define OFF_HERE(y, s)    (OFF(y, s) && IS_HERE(y))
#define IN_HERE(y, s)     (IN(y, s) && IS_HERE(y))
#if MUTANT == WAITS_FOR_SIGNED_OFF
#define INSIDE(y, s)      IN(y, s)
#else
#define INSIDE(y, s)      (IN(y, s) && mine[y].floor < NUMBER(s))
#endif
#define FIT_INSIDE(y, s)  (INSIDE(y, s) && IS_HERE(y) && IS_FIT(y))
#define FIT_OUTSIDE(y, s) (!INSIDE(y, s) && IS_HERE(y) && IS_FIT(y))
#define UNBOUND_OF(y, s)  (IN(y, s) && (mine[y].set != (s) || mine[y].floor >= NUMBER(s)))
#define ALL_BOUND_NOW(s)  (!SOMEBODY(UNBOUND_OF, s))
#define VIEW_IS(s)        (MASK(s) == HERE)

/* outvoted, hopeless */
#define OUTVOTED(s)                                                                                          \
    (HOW_MANY(IN_HERE, s) >= MAJORITY(s) && HOW_MANY(IN_HERE, s) - HOW_MANY(OFF_HERE, s) < MAJORITY(s))
#define HOPELESS(s) ((OUTVOTED(s) || SOMEBODY(FIT_OUTSIDE, s)) && (!SOMEBODY(FIT_INSIDE, s) || OUTVOTED(s)))

#define MAY_LEAVE(x) (FORMING(x) && IS_HERE(x) && mine[x].accepted_term == 0)
#define SIGNS_OWN(x) (MAY_LEAVE(x) && BOUND(x) && mine[x].floor < NUMBER(mine[x].set))

/* sign_off_own: at once, and when a time is over. */
#if MUTANT == KEEPS_DEAD_SET
#define DEAD(x) false
#else
#define DEAD(x) (!mine[x].constituted && ANY_OFF(mine[x].set))
#endif
#define OWN_NOW(x)  (SIGNS_OWN(x) && (LEFT_OF(mine[x].set) < MAJORITY(mine[x].set) || DEAD(x)))
#define OWN_LATE(x) (SIGNS_OWN(x) && (mine[x].constituted -> HOPELESS(mine[x].set) : !VIEW_IS(mine[x].set)))

/* sign_off_others: what y is bound to counts on x and is not x's own set. */
#if MUTANT == NEVER_OBJECTS
#define COUNTS_ON(x, y) false
#else
#define COUNTS_ON(x, y)                                                                                      \
    (MAY_LEAVE(x) && !(BOUND(x) && mine[x].constituted) && FORMING(y) && BOUND(y)                            \
     && mine[y].set != mine[x].set && IN(x, mine[y].set) && NUMBER(mine[y].set) > mine[x].floor)
#endif
#define OBJECTS_NOW(x, y)  (COUNTS_ON(x, y) && (BOUND(x) || ANY_OFF(mine[y].set)))
#define OBJECTS_LATE(x, y) (COUNTS_ON(x, y) && !BOUND(x) && !VIEW_IS(mine[y].set))
/* objection: up to which number */
#define LATER_STAYS(x, y)                                                                                    \
    (BOUND(x) && !ANY_OFF(mine[y].set) && NUMBER(mine[y].set) > NUMBER(mine[x].set) && VIEW_IS(mine[y].set))
#define OBJECTION(x, y) (LATER_STAYS(x, y) -> NUMBER(mine[x].set) : NUMBER(mine[y].set))

#define RELEASE_NOW(x) (FORMING(x) && IS_HERE(x) && BOUND(x) && MAY_RELEASE(x))
#define CONSTITUTE_NOW(x)                                                                                    \
    (FORMING(x) && IS_HERE(x) && BOUND(x) && !mine[x].constituted && mine[x].floor < NUMBER(mine[x].set)     \
     && ALL_BOUND_NOW(mine[x].set))

/* bind_set. choose() gives all that are here: set KIND 0, or the one kind with these members. */
#define CONSTITUTED_WITHOUT(x, y)                                                                            \
    (x != y && IS_HERE(y) && FORMING(y) && BOUND(y) && mine[y].floor < NUMBER(mine[y].set)                   \
     && !IN(x, mine[y].set) && ALL_BOUND_NOW(mine[y].set))
#define COMES_LATE(x) (CONSTITUTED_WITHOUT(x, 0) || CONSTITUTED_WITHOUT(x, 1) || CONSTITUTED_WITHOUT(x, 2))
#define PROPOSED_BY(x, y)                                                                                    \
    (x != y && IS_HERE(y) && FORMING(y) && BOUND(y) && VIEW_IS(mine[y].set)                                  \
     && mine[y].floor < NUMBER(mine[y].set) && NUMBER(mine[y].set) > mine[x].floor)
#define BINDS(x) (FORMING(x) && IS_HERE(x) && !BOUND(x) && !COMES_LATE(x))
#define NOT_BEST(x, y, z) (PROPOSED_BY(x, z) && NUMBER(mine[z].set) > NUMBER(mine[y].set))
#define FOLLOWS(x, y)                                                                                        \
    (BINDS(x) && PROPOSED_BY(x, y) && !NOT_BEST(x, y, 0) && !NOT_BEST(x, y, 1) && !NOT_BEST(x, y, 2))
#define STARTS(x)                                                                                            \
    (BINDS(x) && !PROPOSED_BY(x, 0) && !PROPOSED_BY(x, 1) && !PROPOSED_BY(x, 2) && (HERE & (BIT(x) - 1)) == 0)
/* the index of the set of those who are here, under this number */
#define KIND_HERE       (HERE == ALL -> 0 : (HERE == 3 -> 1 : 2))
#define SET_HERE(k)     (((k)-1) * MASKS + 1 + KIND_HERE)

inline highest_number()
{
    n = 0;
    i = 0;
    do
    :: i < PEERS ->
        if :: mine[i].floor > n -> n = mine[i].floor :: else fi;
        if :: mine[i].set != 0 && NUMBER(mine[i].set) > n -> n = NUMBER(mine[i].set) :: else fi;
        i++
    :: else -> break
    od;
    i = 0
}

/* highest_term: among the ballots under its own set */
inline highest_term(x)
{
    n = 0;
    i = 0;
    do
    :: i < PEERS ->
        if :: mine[i].set == mine[x].set && mine[i].term > n -> n = mine[i].term :: else fi;
        i++
    :: else -> break
    od;
    i = 0
}

#define VOTE_OF(y, x) (mine[y].set == mine[x].set && mine[y].term == mine[x].term && mine[y].vote == x)
#define VOTES(x)      (VOTE_OF(0, x) | (VOTE_OF(1, x) << 1) | (VOTE_OF(2, x) << 2))
/* who renews its lease */
#define RENEWS(y, x)  (VOTE_OF(y, x) && ON(y))
#define FOLLOWERS(x)  (RENEWS(0, x) + RENEWS(1, x) + RENEWS(2, x))
#define ENOUGH(x)     (POP(VOTES(x)) >= MAJORITY(mine[x].set))
#define ON(x)         (IS_HERE(x) && ACTIVE(x))
/* answer_candidates: by the newest ballot of c */
#define SHOWS(x, c)   (mine[c].set == mine[x].set && mine[c].vote == c)
#define VOTES_NOW(x, c) (ON(x) && SHOWS(x, c) && mine[c].term > mine[x].term)
#define ACCEPTS_NOW(x, c)                                                                                    \
    (ON(x) && SHOWS(x, c) && mine[c].accepted_term != 0 && mine[c].accepted_term == mine[c].term             \
     && MAY_ACCEPT(x, c, mine[c].term))

#define AT_ONCE(x)                                                                                           \
    :: d_step { IS_HERE(x) && FORMING(x) && MAY_ADOPT(x) -> r = ADOPTED(x); adopt(x, r); r = 0 }             \
    :: d_step { OWN_NOW(x) -> sign_off(x, NUMBER(mine[x].set)) }                                             \
    :: d_step { RELEASE_NOW(x) -> release(x) }                                                               \
    :: d_step { CONSTITUTE_NOW(x) -> constitute(x) }                                                           \
    :: d_step { ON(x) && standing[x] && ENOUGH(x) -> n = VOTES(x); take_votes(x, n); n = 0 }                 \
    :: d_step { ON(x) && leading[x] && NOTHING_ACCEPTED(x) && founding[x] == 0 ->                            \
                found(x) }                                                                                   \
    :: d_step { ON(x) && leading[x] && NOTHING_ACCEPTED(x) && founding[x] != 0 && !proposed[x] -> propose(x) }
#define AT_ONCE_TO(x, y)                                                                                     \
    :: d_step { IS_HERE(x) && OBJECTS_NOW(x, y) && OBJECTION(x, y) > mine[x].floor ->                        \
        best = OBJECTION(x, y);                                                                              \
        sign_off(x, best);                                                                                   \
        best = 0                                                                                             \
    }                                                                                                        \
    :: d_step { FOLLOWS(x, y) -> bind_set(x, mine[y].set) }                                                  \
    :: d_step { ACCEPTS_NOW(x, y) -> accept_from(x, y, mine[y].term) }                                       \
    :: d_step { VOTES_NOW(x, y) && !ACCEPTS_NOW(x, y) -> vote_for(x, y, mine[y].term) }

#if MUTANT == SIGNED_OFF_FOR_GOOD
#define MAY_START(x) (STARTS(x) && mine[x].floor == 0)
#else
#define MAY_START(x) STARTS(x)
#endif
#define WHEN_TIME_IS_OVER(x)                                                                                 \
    :: d_step { OWN_LATE(x) -> sign_off(x, NUMBER(mine[x].set)) }                                            \
    :: d_step { MAY_START(x) ->                                                                              \
        highest_number();                                                                                    \
        MUST(n < NUMBERS, 8);                                                                                \
        best = SET_HERE(n + 1);                                                                              \
        bind_set(x, best);                                                                                   \
        best = 0;                                                                                            \
        n = 0                                                                                                \
    }                                                                                                        \
    :: d_step { ON(x) && standing[x] -> give_up(x) }                                                       \
    :: d_step { ON(x) && leading[x] && FOLLOWERS(x) < MAJORITY(mine[x].set) -> keep_lease(x) } \
    :: d_step { ON(x) && !standing[x] && !leading[x] && (mine[x].accepted_term != 0 || IS_FIT(x)) ->         \
        highest_term(x);                                                                                     \
        MUST(n < TERMS, 8);                                                                                  \
        best = n + 1;                                                                                        \
        n = 0;                                                                                               \
        stand(x, best);                                                                                      \
        best = 0                                                                                             \
    }
#define WHEN_TIME_IS_OVER_TO(x, y)                                                                           \
    :: d_step { IS_HERE(x) && OBJECTS_LATE(x, y) -> sign_off(x, NUMBER(mine[y].set)) }

/* With hosts off for good, that is promised only if those who are here can decide or leave what they are bound to. */
#define ABLE_HERE(y, s) (IN(y, s) && IS_HERE(y) && mine[y].floor < NUMBER(s))
#define STUCK(x)                                                                                             \
    || (IS_HERE(x) && FORMING(x) && BOUND(x) && HOW_MANY(ABLE_HERE, mine[x].set) < MAJORITY(mine[x].set)     \
        && LEFT_OF(mine[x].set) >= MAJORITY(mine[x].set))
#define MAY_CALM (!(false EACH_PEER(STUCK)))

#define DONE(x) && (!IS_HERE(x) || committed[x] != 0)

inline calm_begin()
{
    printf("the faults end\n");
    i = 0;
    do
    :: i < PEERS ->
        if
        :: !IS_HERE(i) && committed[i] == 0 -> n = i; step_back(n); i = n; work_lease_lost(n); n = 0
        :: else
        fi;
        i++
    :: else -> break
    od;
    i = 0;
    do
    :: i < SETS * PEERS -> told_standing[i] = 0; i++
    :: else -> break
    od;
    i = 0;
    do
    :: i <= SETS -> told_bound[i] = 0; i++
    :: else -> break
    od;
    i = 0
}

/* Nobody may go round for ever (an acceptance cycle), and nobody may be stuck. */
#define CALM_PHASE                                                                                           \
accept_calm:                                                                                                 \
    do                                                                                                       \
    :: true EACH_PEER(DONE) -> break                                                                         \
    :: else ->                                                                                               \
        if                                                                                                   \
        INVARIANTS                                                                                           \
        EACH_PEER(AT_ONCE)                                                                                   \
        EACH_PAIR(AT_ONCE_TO)                                                                                \
        :: else ->                                                                                           \
            if                                                                                               \
            EACH_PEER(WHEN_TIME_IS_OVER)                                                                     \
            EACH_PAIR(WHEN_TIME_IS_OVER_TO)                                                                  \
            :: else -> BREAKS(8)                                                                         \
            fi                                                                                               \
        fi                                                                                                   \
    od
