/*
 * What may never break: docs/formation.md has the numbers. These are looked at in every state;
 * look_for_choice (work.pml) adds that no second record is chosen (1), FOUND and PROPOSE that the lease runs (3).
 */

/* 2: whoever joins holds a record that a majority accepted, all of them the same. Its control plane stands. */
#define BREAKS_2(x)      (committed[x] != 0 && committed[x] != chosen)
#define BREAKS_STANDS(x) (committed[x] != 0 && founding[FOUNDER(committed[x])] != committed[x])
/* 3: init goes on only under the lease: whoever does not lead has ended and undone what it had not proposed. */
#define BREAKS_3(x) (founding[x] != 0 && !proposed[x] && !leading[x])
/* 3: of one set, two never believe in a lease at once. */
#if LEASE
#define BELIEVES(x)           (leading[x] && lease_left[x] > 0)
#define BREAKS_LEASE(x, y)    (x < y && BELIEVES(x) && BELIEVES(y) && mine[x].set == mine[y].set)
#else
#define BREAKS_LEASE(x, y) false
#endif

#define LOOK_AT(x)                                                                                           \
    :: d_step { BREAKS_2(x) -> BREAKS(2) }                                                                   \
    :: d_step { BREAKS_STANDS(x) -> BREAKS(STANDS) }                                                         \
    :: d_step { BREAKS_3(x) -> BREAKS(3) }
#define LOOK_AT_LEASES(x, y) :: d_step { BREAKS_LEASE(x, y) -> BREAKS(3) }
#define INVARIANTS           EACH_PEER(LOOK_AT) EACH_PAIR(LOOK_AT_LEASES)
