/*
 * The agent's one loop: plain descriptors and the transport's in one poll.
 *
 * Single-threaded. The agent owns the loop and adds its sources once.
 */
#ifndef KPEER_LOOP_H
#define KPEER_LOOP_H

#include <stddef.h>
#include <stdint.h>

#include "peer/agent/transport.h"
#include "protocol/err.h"

#define LOOP_SOURCES_MAX 16

struct loop_source {
    int fd;
    void (*ready)(void *ctx);
    void *ctx;
};

struct loop {
    size_t source_count;
    struct loop_source source[LOOP_SOURCES_MAX];
    struct transport *transport; /* may be NULL */
};

/* Watches a descriptor for reading. Only before the first loop_once or after loop_remove. */
int loop_add(struct loop *loop, int fd, void (*ready)(void *ctx), void *ctx, struct err *err);
void loop_remove(struct loop *loop, int fd);

/* Waits until something is ready or `wake_ms` (absolute) has come, and calls what is ready, once each. */
int loop_once(struct loop *loop, uint64_t wake_ms, struct err *err);

#endif
