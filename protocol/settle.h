/*
 * The half of formation that comes before any vote: looking until nothing new is seen, binding to one set,
 * constituting it, and leaving a set that cannot go on. docs/formation.md tells why the rules hold. Owned by
 * formation.c, its only caller.
 */
#ifndef KPEER_SETTLE_H
#define KPEER_SETTLE_H

#include "protocol/formation.h"

/* What is seen of a peer; NULL when it is unknown. */
const struct formation_peer *settle_peer(const struct formation_input *in, const struct peer_id *id);
/* The same for ids that are asked for in ascending order, as the members of a set are: *at, 0 at first, is
 * how far the peers were passed. */
const struct formation_peer *settle_next(const struct formation_input *in, size_t *at,
                                         const struct peer_id *id);
/* The latest ballot of that peer, our own included; NULL when unknown. */
const struct ballot *settle_next_ballot(const struct formation *f, const struct formation_input *in,
                                        size_t *at, const struct peer_id *id);

/* Does what the rules allow now. Returns enum formation_change bits. */
uint32_t settle_tick(struct formation *f, const struct formation_input *in);

/* When settle_tick should be called again although nothing was heard; at most a second ahead. */
uint64_t settle_wake(const struct formation *f, const struct formation_input *in);

#endif
