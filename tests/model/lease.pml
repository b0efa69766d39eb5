/*
 * Leases, on one clock. LEASE ticks are lease_ms; the leader's share of a tenth less is a whole tick here. The clock
 * goes on at any time (TICK), so a pause of a peer is nothing but ticks in which it takes no step.
 */
#if LEASE

byte granted_to[PEERS];
byte grant_left[PEERS]; /* ticks; 0: no grant runs */
byte lease_left[PEERS]; /* of a leader, as it believes */
byte stand_age[PEERS];  /* ticks since it stood */
/* One answer to a leader's question for its lease that is under way: how much lease it is worth (0: there is none),
 * to whom, and in which set and term it was granted. */
byte answer_left[PEERS];
byte answer_to[PEERS];
byte answer_term[PEERS];
byte answer_set[PEERS];

#define SHORT (LEASE - 1) /* what the leader counts */

#if MUTANT == LEASE_NOT_HONOURED
#define LEASED_TO_OTHER(x, c) false
#else
#define LEASED_TO_OTHER(x, c) (grant_left[x] > 0 && granted_to[x] != (c))
#endif
#define LEASE_LIVE(x) (lease_left[x] > 0)

#define grant(x, c)                                                                                          \
    granted_to[x] = c;                                                                                       \
    grant_left[x] = LEASE

inline lease_begin()
{
    i = 0;
    do
    :: i < PEERS ->
        granted_to[i] = NOBODY;
        answer_to[i] = NOBODY;
        i++
    :: else -> break
    od
}

inline forget_answer(y)
{
    answer_left[y] = 0;
    answer_to[y] = NOBODY;
    answer_term[y] = 0;
    answer_set[y] = 0
}

#define lease_from_votes(x)                                                                                  \
    lease_left[x] = (SHORT > stand_age[x] -> SHORT - stand_age[x] : 0);                                      \
    stand_age[x] = 0

/* It neither stands nor leads any more. Answers to it are of no use then: its next term is another one. */
inline lease_stop(x)
{
    lease_left[x] = 0;
    stand_age[x] = 0;
#if MUTANT != GRANT_OF_ANY_SET
    i = 0;
    do
    :: i < PEERS ->
        if
        :: answer_to[i] == x -> forget_answer(i)
        :: else
        fi;
        i++
    :: else -> break
    od;
    i = 0
#endif
}

inline lease_crash(x)
{
#if MUTANT == RESTART_FREES_LEASE
    granted_to[x] = NOBODY;
    grant_left[x] = 0
#else
    if
    :: mine[x].vote != NOBODY -> grant(x, mine[x].vote)
    :: else ->
        granted_to[x] = NOBODY;
        grant_left[x] = 0
    fi
#endif
}

#define lease_free(x) lease_quiet(x)
inline lease_quiet(x)
{
    granted_to[x] = NOBODY;
    grant_left[x] = 0
}

#if MUTANT == GRANT_OF_ANY_SET
#define ANSWER_FITS(y)                                                                                       \
    (leading[answer_to[y]] && mine[answer_to[y]].term == answer_term[y] && IN(y, mine[answer_to[y]].set))
#else
#define ANSWER_FITS(y)                                                                                       \
    (leading[answer_to[y]] && mine[answer_to[y]].term == answer_term[y] && mine[answer_to[y]].set == answer_set[y])
#endif
#if MUTANT == LEASE_FROM_ANSWER
#define WORTH(y) SHORT
#elif MUTANT == GRANT_OF_ANY_SET
/* Rounds are counted anew too: the old answer may bear the number of the newest round. */
#define WORTH(y) (mine[answer_to[y]].set == answer_set[y] -> answer_left[y] : SHORT)
#else
#define WORTH(y) answer_left[y]
#endif

#define MAY_GRANT(y)                                                                                         \
    (ACTIVE(y) && mine[y].vote != NOBODY && mine[y].vote != y && !LEASED_TO_OTHER(y, mine[y].vote))
#define ASKED_BY_LEADER(y)                                                                                   \
    (leading[mine[y].vote] && mine[mine[y].vote].set == mine[y].set && mine[mine[y].vote].term == mine[y].term)

/* formation_lease_asked and formation_lease_granted, at y: a question of its leader that was `late` ticks under way
 * is answered; the answer is lost; an answer arrives. With three peers one other member makes a majority. */
#define LEASES(y)                                                                                            \
    LEASE_ASKED(y, 0) LEASE_ASKED(y, 1)                                                                      \
    :: d_step { MAY_GRANT(y) ->                                                                              \
        printf("%d grants %d more of its lease; the answer is lost\n", y, mine[y].vote);                     \
        grant(y, mine[y].vote)                                                                               \
    }                                                                                                        \
    :: d_step { answer_left[y] > 0 && ANSWER_FITS(y) ->                                                      \
        printf("the answer of %d comes to %d\n", y, answer_to[y]);                                           \
        if                                                                                                   \
        :: WORTH(y) > lease_left[answer_to[y]] ->                                                            \
            lease_left[answer_to[y]] = WORTH(y)                                                              \
        :: else                                                                                              \
        fi;                                                                                                  \
        forget_answer(y)                                                                                     \
    }
#define LEASE_ASKED(y, late)                                                                                 \
    :: d_step { MAY_GRANT(y) && SHORT > late && ASKED_BY_LEADER(y) && (late > 0 || LEASE_LIVE(mine[y].vote)) -> \
        printf("%d grants %d more of its lease, asked %d ticks ago\n", y, mine[y].vote, late);               \
        grant(y, mine[y].vote);                                                                              \
        answer_left[y] = SHORT - late;                                                                       \
        answer_to[y] = mine[y].vote;                                                                         \
        answer_term[y] = mine[y].term;                                                                       \
        answer_set[y] = mine[y].set                                                                          \
    }

#if MUTANT == LEASE_FROM_ANSWER || MUTANT == GRANT_OF_ANY_SET
#define AGES(left) (left > 1)
#else
#define AGES(left) (left > 0)
#endif
#define TICK                                                                                                 \
    :: d_step {                                                                                              \
        printf("a tick\n");                                                                                  \
        i = 0;                                                                                               \
        do                                                                                                   \
        :: i < PEERS ->                                                                                      \
            if :: grant_left[i] > 0 -> grant_left[i] = grant_left[i] - 1 :: else fi;                         \
            if :: grant_left[i] == 0 -> granted_to[i] = NOBODY :: else fi;                                   \
            if :: lease_left[i] > 0 -> lease_left[i] = lease_left[i] - 1 :: else fi;                         \
            if :: standing[i] && stand_age[i] < LEASE -> stand_age[i] = stand_age[i] + 1 :: else fi;         \
            if :: AGES(answer_left[i]) -> answer_left[i] = answer_left[i] - 1 :: else fi;                    \
            if :: answer_left[i] == 0 -> forget_answer(i) :: else fi;                                        \
            i++                                                                                              \
        :: else -> break                                                                                     \
        od;                                                                                                  \
        i = 0                                                                                                \
    }

#else /* leases end whenever they like, and bind nobody: more can happen than with any clock */

#define LEASED_TO_OTHER(x, c) false
#define LEASE_LIVE(x)         true
#define grant(x, c)           skip
#define lease_begin()         skip
#define lease_from_votes(x)   skip
#define lease_stop(x)         skip
#define lease_crash(x)        skip
#define lease_quiet(x)        skip
#define lease_free(x)         skip

#endif
