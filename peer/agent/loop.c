#include "peer/agent/loop.h"

#include "protocol/clock.h"

#include <errno.h>
#include <poll.h>

/* poll counts monotonic time: after a suspended hour it would still wait for the rest. Bounded, so that a
 * wake time that passed meanwhile is noticed soon. */
#define WAIT_MAX_MS 2000

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

int loop_once(struct loop *loop, uint64_t wake_ms, struct err *err)
{
    struct pollfd items[TRANSPORT_ITEMS + LOOP_SOURCES_MAX];
    size_t links = loop->transport ? TRANSPORT_ITEMS : 0, n = links;
    if (loop->transport)
        transport_items(loop->transport, items);
    for (size_t i = 0; i < loop->source_count; i++)
        items[n++] = (struct pollfd){.fd = loop->source[i].fd, .events = POLLIN};
    uint64_t now = clock_ms();
    uint64_t wait = wake_ms > now ? wake_ms - now : 0;
    wait = wait < WAIT_MAX_MS ? wait : WAIT_MAX_MS;
    if (loop->transport && transport_due(loop->transport))
        wait = 0;
    int rc = poll(items, (nfds_t)n, (int)wait);
    if (rc < 0 && errno != EINTR)
        return err_errno(err, errno, "cannot wait for events");
    for (size_t i = 0; rc < 0 && i < n; i++)
        items[i].revents = 0;
    if (loop->transport)
        transport_ready(loop->transport, items, clock_ms());
    for (size_t i = 0; i < loop->source_count; i++)
        if (items[links + i].revents)
            loop->source[i].ready(loop->source[i].ctx);
    return 0;
}
