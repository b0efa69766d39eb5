/*
 * A few threads for work that mostly waits for programs. Used by this folder.
 */
#ifndef KPEER_POOL_H
#define KPEER_POOL_H

#include <stddef.h>

/* Calls work(arg, 0) to work(arg, count - 1), at most `parallel` of them at a time, and returns when all have
 * returned. Where no thread can be had the caller does the work itself. */
void pool_run(size_t count, size_t parallel, void (*work)(void *arg, size_t i), void *arg);

#endif
