#include "tests/sim/fault.h"

#include <string.h>

#include "protocol/fault.h"

#ifdef KPEER_TEST_FAULTS

enum fault fault_on = FAULT_NONE;

static const struct fault_info table[] = {
#define FAULT_ROW(name, word, invariant, rule) {word, invariant, rule},
    FAULTS(FAULT_ROW)
#undef FAULT_ROW
};

size_t fault_count(void)
{
    return sizeof table / sizeof table[0];
}

const struct fault_info *fault_at(size_t i)
{
    return &table[i];
}

static void switch_on(size_t i)
{
    fault_on = (enum fault)(i + 1); /* rows follow FAULT_NONE in the enum's order */
}

void fault_clear(void)
{
    fault_on = FAULT_NONE;
}

#else

size_t fault_count(void)
{
    return 0;
}

const struct fault_info *fault_at(size_t i)
{
    static const struct fault_info none = {"none", 0, "this build has no faults"};
    (void)i;
    return &none;
}

static void switch_on(size_t i)
{
    (void)i;
}

void fault_clear(void)
{
}

#endif

bool fault_select(const char *word)
{
    for (size_t i = 0; i < fault_count(); i++) {
        if (strcmp(fault_at(i)->word, word) == 0) {
            switch_on(i);
            return true;
        }
    }
    if (fault_count() == 0)
        fprintf(stderr, "sim: this build has no faults; sim-faulty has\n");
    else
        fprintf(stderr, "sim: there is no fault %s; --list-faults names them\n", word);
    return false;
}

void fault_list(FILE *to)
{
    for (size_t i = 0; i < fault_count(); i++)
        fprintf(to, "%-22s %d  %s\n", fault_at(i)->word, fault_at(i)->invariant, fault_at(i)->rule);
    if (fault_count() == 0)
        fprintf(to, "this build has no faults\n");
}
