/* Whether this runs under valgrind, whose time goes slower and which cannot do all that the kernel can. */
#ifndef KPEER_TESTS_UNIT_UNDER_VALGRIND_H
#define KPEER_TESTS_UNIT_UNDER_VALGRIND_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static inline bool under_valgrind(void)
{
    const char *preload = getenv("LD_PRELOAD");

    return preload && strstr(preload, "vgpreload");
}

#endif
