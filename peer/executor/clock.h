/* The executor's clock. */
#ifndef KPEER_EXECUTOR_CLOCK_H
#define KPEER_EXECUTOR_CLOCK_H

#include <stdint.h>
#include <time.h>

/* CLOCK_BOOTTIME in milliseconds: it counts the time that the host was suspended. */
static inline uint64_t exec_now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

#endif
