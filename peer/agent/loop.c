#include "peer/agent/loop.h"

#include "protocol/clock.h"

#include <errno.h>
#include <stdlib.h>

/* zmq_poll counts monotonic time: after a suspended hour it would still wait for the rest. Bounded, so that a
 * wake time that passed meanwhile is noticed soon. */
#define WAIT_MAX_MS 2000

void loop_init(struct loop *loop)
{
    *loop = (struct loop){0};
}

void loop_fini(struct loop *loop)
{
    free(loop->items);
    loop_init(loop);
}

int loop_add(struct loop *loop, int fd, void (*ready)(void *ctx), void *ctx, struct err *err)
{
    if (loop->source_count == LOOP_SOURCES_MAX)
        return err_set(err, KPEER_ELIMIT, "the loop watches no more than %d descriptors", LOOP_SOURCES_MAX);
    loop->source[loop->source_count++] = (struct loop_source){.fd = fd, .ready = ready, .ctx = ctx};
    return 0;
}

void loop_remove(struct loop *loop, int fd)
{
    for (size_t i = 0; i < loop->source_count; i++)
        if (loop->source[i].fd == fd) {
            loop->source[i] = loop->source[--loop->source_count];
            return;
        }
}

/* The sources first, then the transport's items; returns how many there are, 0 when out of memory. */
static size_t fill_items(struct loop *loop)
{
    size_t n = loop->source_count + (loop->transport ? transport_item_count(loop->transport) : 0);
    if (n > loop->room) {
        zmq_pollitem_t *items = realloc(loop->items, 2 * n * sizeof *items);
        if (!items)
            return 0;
        loop->items = items;
        loop->room = 2 * n;
    }
    for (size_t i = 0; i < loop->source_count; i++)
        loop->items[i] = (zmq_pollitem_t){.fd = loop->source[i].fd, .events = ZMQ_POLLIN};
    if (loop->transport)
        transport_items(loop->transport, loop->items + loop->source_count);
    return n;
}

int loop_once(struct loop *loop, uint64_t wake_ms, struct err *err)
{
    size_t n = fill_items(loop);
    if (n == 0)
        return err_set(err, KPEER_ENOMEM, "no memory for the loop");
    uint64_t now = clock_ms();
    uint64_t wait = wake_ms > now ? wake_ms - now : 0;
    wait = wait < WAIT_MAX_MS ? wait : WAIT_MAX_MS;
    if (zmq_poll(loop->items, (int)n, (long)wait) < 0 && zmq_errno() != EINTR)
        return err_set(err, KPEER_EIO, "cannot wait for events: %s", zmq_strerror(zmq_errno()));
    /* Links may come and go in any callback: the transport's part, which is laid out by link, goes first. */
    if (loop->transport)
        transport_ready(loop->transport, loop->items + loop->source_count, clock_ms());
    for (size_t i = 0; i < loop->source_count; i++)
        if (loop->items[i].revents)
            loop->source[i].ready(loop->source[i].ctx);
    return 0;
}
