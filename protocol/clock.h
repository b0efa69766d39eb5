/* The clock of all but the core, which is told the time: check.purity refuses it there. It stands here since
 * discovery and the executor, which know nothing of each other, both go by it. */
#ifndef KPEER_CLOCK_H
#define KPEER_CLOCK_H

#include <stdint.h>
#include <time.h>

/* CLOCK_BOOTTIME in milliseconds: it counts the time that the host was suspended. */
static inline uint64_t clock_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

#endif
