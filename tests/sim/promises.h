/*
 * The promises of every identity, as the disks have them. watch.c and host.c are the callers.
 */
#ifndef KPEER_TESTS_PROMISES_H
#define KPEER_TESTS_PROMISES_H

#include "tests/sim/world.h"

struct promises {
    bool constituted;
    struct ballot ballot;
    char founding[STEP_ID_BYTES];
    char joined[STEP_ID_BYTES];
};

bool ballot_same(const struct ballot *a, const struct ballot *b);
struct voter *promises_voter(const struct world *w, const struct peer_id *id);
/* False if a member of the set lies or shares its identity with another host. */
bool promises_honest(const struct world *w, const struct electorate *set);

/* Whether it ever stored a vote for `peer` in the set and term of `ballot`. */
bool promises_voted(const struct voter *v, const struct ballot *ballot, const struct peer_id *peer);

void promises_stored(struct world *w, struct host *h, const uint8_t *bytes, size_t n);
/* A core started from its disk: it knows what that disk says. */
void promises_loaded(struct world *w, struct host *h);
/* What it has granted by now: whoever votes for another before that is over breaks invariant 3. */
void promises_leased(struct world *w, struct host *h);
/* A message is about to leave (invariant 4). */
void promises_told(struct world *w, struct host *h, const uint8_t *bytes, size_t n);

#endif
