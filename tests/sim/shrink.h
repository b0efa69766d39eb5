/*
 * Cutting a run that broke something down to a shorter one that breaks the same.
 */
#ifndef KPEER_TESTS_SHRINK_H
#define KPEER_TESTS_SHRINK_H

#include "tests/sim/run.h"

/* Takes away hosts, incidents and rates one after the other, for as long as a run with less of them still
 * breaks the invariant that the whole one breaks. `*cut` is what may be left out; returns false when the seed
 * breaks nothing. `tries`: runs that it took. */
bool shrink(uint64_t seed, uint32_t hosts, struct cut *cut, struct outcome *out, unsigned *tries);

#endif
