#include "discovery/early.h"

#include <errno.h>
#include <poll.h>

#include "discovery/discovery.h"
#include "protocol/clock.h"

#define AT_ONCE 64 /* datagrams, before the time is looked at */

int early_open(struct early *e, const struct address *group, uint16_t port, const struct evidence_pin *pin,
               struct err *err)
{
    e->net.fd = -1;
    int rc = discovery_places(pin, e->place, &e->place_count, err);
    if (!rc)
        rc = multicast_open(&e->net, group, port, err);
    if (!rc)
        multicast_join(&e->net, e->place, e->place_count);
    return rc;
}

void early_close(struct early *e)
{
    multicast_close(&e->net);
}

void early_send(const struct early *e, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < e->place_count; i++)
        (void)multicast_send(&e->net, &e->place[i], bytes, n);
}

/* 1: that was all. */
static int hear(const struct early *e, const struct early_calls *calls, void *ctx)
{
    uint8_t buf[MULTICAST_DATAGRAM_BYTES];
    struct multicast_from from;
    size_t n;
    int rc = 0;
    for (int i = 0; i < AT_ONCE && (rc = multicast_receive(&e->net, buf, &n, &from)) > 0; i++)
        if (calls->hear(ctx, buf, n, &from))
            return 1;
    return rc < 0 ? rc : 0;
}

int early_run(const struct early *e, uint32_t ms, uint32_t say_every_ms, const struct early_calls *calls,
              void *ctx, const char *what, struct err *err)
{
    uint64_t say_ms = 0, end_ms = clock_ms() + ms;
    for (uint64_t now = clock_ms(); now < end_ms; now = clock_ms()) {
        if (now >= say_ms) {
            calls->say(ctx, e);
            say_ms = now + say_every_ms;
        }
        uint64_t wake = say_ms < end_ms ? say_ms : end_ms;
        struct pollfd p = {.fd = e->net.fd, .events = POLLIN};
        if (poll(&p, 1, (int)(wake - now)) < 0) {
            if (errno == EINTR)
                return err_set(err, KPEER_ECANCELED, "stopped while %s", what);
            return err_errno(err, errno, "%s", what);
        }
        int rc = hear(e, calls, ctx);
        if (rc < 0)
            return err_set(err, KPEER_EIO, "the discovery socket failed while %s", what);
        if (rc > 0)
            return 0;
    }
    return 0;
}
