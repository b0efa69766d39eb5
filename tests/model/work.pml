/*
 * Founding, and what becomes of it: protocol/node_work.c, protocol/node_result.c. A control plane is being made or
 * stands on host x while founding[x] is not 0.
 */

/* undo_founding: the record's control plane is reset. It must not be the group's. */
inline undo_founding(x)
{
    if
    :: founding[x] != 0 ->
        printf("%d undoes what it founded, record %d\n", x, founding[x]);
        MUST(founding[x] != chosen, STANDS);
        founding[x] = 0;
        proposed[x] = false
    :: else
    fi
}

#if MUTANT == UNDOES_PROPOSED
#define KEEPS(x) false
#elif MUTANT == KEEPS_BY_BALLOT
#define KEEPS(x) (mine[x].accepted_term != 0 && mine[x].record == founding[x])
#else
#define KEEPS(x) proposed[x]
#endif

/* work_lease_lost: what was not proposed is undone. */
inline work_lease_lost(x)
{
    if
    :: !KEEPS(x) -> undo_founding(x)
    :: else
    fi
}

/* formation_committed: a majority accepted this record in this one term. */
#if MUTANT == COMMITS_ACROSS_TERMS
byte told_ever[SETS * PEERS * TERMS + 1]; /* by record: who accepted it, in whatever term */
#define GATHERED(s, c, t) (POP(told_ever[told_record[AT(s, c, t)]]) >= MAJORITY(s))
#else
#define GATHERED(s, c, t) (POP(told_accepted[AT(s, c, t)]) >= MAJORITY(s))
#endif

/* Somebody has told that it accepted: is a record chosen now? It is the only one, and its control plane stands. */
inline look_for_choice(in_set, by, at)
{
    if
    :: GATHERED(in_set, by, at) -> gathered = told_record[AT(in_set, by, at)]
    :: else
    fi;
    if
    :: POP(told_accepted[AT(in_set, by, at)]) >= TRUE_MAJORITY(in_set) ->
        MUST(chosen == 0 || chosen == told_record[AT(in_set, by, at)], 1);
        chosen = told_record[AT(in_set, by, at)];
        MUST(founding[FOUNDER(chosen)] == chosen, STANDS)
    :: else
    fi
}
