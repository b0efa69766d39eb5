/*
 * The deliberate faults of protocol/fault.h, to be chosen by word. A build of the simulator over the ordinary
 * core has none: everything here then says so. One fault is on at a time, for the whole process.
 */
#ifndef KPEER_TESTS_FAULT_H
#define KPEER_TESTS_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct fault_info {
    const char *word; /* "votes-twice" */
    int invariant;    /* of docs/formation.md: the one in danger */
    const char *rule; /* what is done wrong, in a sentence without a full stop */
};

/* How many faults this build has: 0 over the ordinary core. */
size_t fault_count(void);
/* i < fault_count(); never NULL. */
const struct fault_info *fault_at(size_t i);

/* Switches the fault of this word on, and any other off. False: there is none of this name, or this build has
 * no faults; told on stderr. */
bool fault_select(const char *word);
/* Switches all faults off. */
void fault_clear(void);
/* A line for each fault: word, invariant, rule; or that this build has none. */
void fault_list(FILE *to);

#endif
