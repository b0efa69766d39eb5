/*
 * The test of the test: does the simulator find each deliberate fault of protocol/fault.h, and nothing when
 * none is switched on? Called by sim.c for --faults.
 */
#ifndef KPEER_TESTS_FAULTS_H
#define KPEER_TESTS_FAULTS_H

#include <stdint.h>

/* Hunts each fault through seeds 1 to `most` in `jobs` processes until the invariant that the fault endangers
 * is broken, then runs without faults through as many seeds as the rarest took. Prints a table; returns 0, or
 * 1 when a fault was not found, something else came about than a broken invariant, or the healthy core broke
 * one; 2 when this build has no faults. `only` NULL: all of them. */
int faults_hunt(const char *only, uint64_t most, uint64_t jobs);

#endif
