/*
 * protocol/settle.c: bind, constitute, sign off, release. When the code does one of these depends on what it sees
 * and for how long; here each happens at any time unless a promise forbids it. A peer may hold an old ballot of
 * another, so "nobody signed it off" never hinders, and "somebody signed it off" needs that it was told.
 */

/* node_persist_promises: always before anybody is told. */
inline store(x)
{
    disk[x].set = mine[x].set;
    disk[x].floor = mine[x].floor;
    disk[x].term = mine[x].term;
    disk[x].vote = mine[x].vote;
    disk[x].accepted_term = mine[x].accepted_term;
    disk[x].record = mine[x].record;
    disk[x].constituted = mine[x].constituted
}

inline forget_votes(x)
{
    i = 0;
    do
    :: i < PEERS ->
        vote_term[x * PEERS + i] = 0;
        vote_record[x * PEERS + i] = 0;
        i++
    :: else -> break
    od;
    i = 0
}

/* It neither stands nor leads from now on. */
inline step_back(x)
{
    standing[x] = false;
    leading[x] = false;
    forget_votes(x);
    lease_stop(x)
}

#define FORMING(x) (committed[x] == 0)
#define BOUND(x)   (mine[x].set != 0)

#if MUTANT == ACTS_SIGNED_OFF
#define SIGNED_OFF(x, s) false
#else
#define SIGNED_OFF(x, s) (mine[x].floor >= NUMBER(s))
#endif
/* active: may act under its set at all. */
#define ACTIVE(x) (FORMING(x) && BOUND(x) && mine[x].constituted && !SIGNED_OFF(x, mine[x].set))

/* ---- bind_set ---- */

#define MAY_BIND(x, s) (FORMING(x) && !BOUND(x) && IN(x, s) && NUMBER(s) > mine[x].floor)
#define BIND(x, s)                                                                                           \
    :: d_step { NUMBER(s) <= CHAOS_NUMBERS && MAY_BIND(x, s) -> bind_set(x, s) }

inline bind_set(x, to)
{
    printf("%d binds to the set %d, number %d\n", x, MASK(to), NUMBER(to));
    mine[x].set = to;
    mine[x].term = 0;
    mine[x].vote = NOBODY;
    store(x);
    told_bound[to] = told_bound[to] | BIT(x)
}

/* ---- constitute ---- */

#if MUTANT == NOT_ALL_BOUND
#define ALL_BOUND(s) (POP(told_bound[s]) >= MAJORITY(s))
#else
#define ALL_BOUND(s) (told_bound[s] == MASK(s))
#endif
#define CONSTITUTE(x)                                                                                        \
    :: d_step { FORMING(x) && BOUND(x) && !mine[x].constituted && mine[x].floor < NUMBER(mine[x].set)        \
                && ALL_BOUND(mine[x].set) -> constitute(x) }

inline constitute(x)
{
    printf("%d: its set is constituted\n", x);
    mine[x].constituted = true;
    store(x)
}

/* ---- sign_off, and formation_leave ---- */

#if MUTANT == SIGNS_OFF_ACCEPTED
#define NO_PROMISE_HINDERS(x) true
#else
#define NO_PROMISE_HINDERS(x) (mine[x].accepted_term == 0)
#endif
/* Once its set is constituted, it signs off this one alone. */
#define SIGN_OFF(x, number)                                                                                  \
    :: d_step { FORMING(x) && NO_PROMISE_HINDERS(x) && number <= CHAOS_NUMBERS && number > mine[x].floor     \
                && (!mine[x].constituted || number == NUMBER(mine[x].set)) -> sign_off(x, number) }

inline sign_off(x, number)
{
    printf("%d signs off up to number %d\n", x, number);
    n = leading[x];
    mine[x].floor = number;
    step_back(x);
#if MUTANT != SIGN_OFF_KEEPS_INIT
    if
    :: n == 1 -> work_lease_lost(x)
    :: else
    fi;
#endif
    n = 0;
#if MUTANT == SIGN_OFF_NOT_STORED
    told_floor[x] = number
#else
    store(x)
#endif
}

/* ---- release ---- */

#define LEFT_OF(s) (SIZE(s) - SIGNED(0, s) - SIGNED(1, s) - SIGNED(2, s) - SIGNED3(s) - SIGNED4(s))
#if MUTANT == SIGN_OFF_NOT_STORED
byte told_floor[PEERS];
#define SIGNED(y, s) (IN(y, s) && (mine[y].floor >= NUMBER(s) || told_floor[y] >= NUMBER(s)))
#else
#define SIGNED(y, s) (IN(y, s) && mine[y].floor >= NUMBER(s))
#endif
#if PEERS > 3
#define SIGNED3(s) SIGNED(3, s)
#else
#define SIGNED3(s) 0
#endif
#if PEERS > 4
#define SIGNED4(s) SIGNED(4, s)
#else
#define SIGNED4(s) 0
#endif
#if MUTANT == RELEASE_TOO_EARLY
#define MAY_RELEASE(x) (LEFT_OF(mine[x].set) <= MAJORITY(mine[x].set))
#else
#define MAY_RELEASE(x) (LEFT_OF(mine[x].set) < MAJORITY(mine[x].set))
#endif
#define RELEASE(x)                                                                                           \
    :: d_step { FORMING(x) && BOUND(x) && MAY_RELEASE(x) -> release(x) }

inline release(x)
{
    printf("%d releases its set\n", x);
    if
    :: mine[x].floor < NUMBER(mine[x].set) -> mine[x].floor = NUMBER(mine[x].set)
    :: else
    fi;
    mine[x].set = 0;
    mine[x].accepted_term = 0;
    mine[x].record = 0;
    mine[x].constituted = false;
    /* Binding does this; nothing looks at them before. */
    mine[x].term = 0;
    mine[x].vote = NOBODY;
    step_back(x);
    proposed[x] = false;
    work_lease_lost(x);
    store(x)
}

#define SETTLE(x)                                                                                            \
    EACH_SET(BIND, x)                                                                                        \
    CONSTITUTE(x)                                                                                            \
    EACH_NUMBER(SIGN_OFF, x)                                                                                 \
    RELEASE(x)
