/* Preloaded into one host's agent by the tests: its wall clock is off by KPEER_TEST_CLOCK seconds, as all
 * hosts of a lab share the machine's. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t which, struct timespec *ts)
{
    static int (*real)(clockid_t, struct timespec *);
    const char *off = getenv("KPEER_TEST_CLOCK");
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int rc = real(which, ts);
    if (rc == 0 && which == CLOCK_REALTIME && off)
        ts->tv_sec += atol(off);
    return rc;
}
