/* Changes of an input that keep its form; see mutate.c. fuzz.c mixes them with libFuzzer's own. */
#ifndef KPEER_TESTS_FUZZ_MUTATE_H
#define KPEER_TESTS_FUZZ_MUTATE_H

#include <stddef.h>
#include <stdint.h>

/* Changes `n` bytes in place, with room for `most`; returns the new length. The same seed makes the same
 * change. As they are when the target has no form that is known here. */
size_t fuzz_mutate(const char *target, uint8_t *bytes, size_t n, size_t most, uint64_t seed);

#endif
