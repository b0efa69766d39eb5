#include "discovery/listen.h"

#include <errno.h>
#include <poll.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "discovery/discovery.h"
#include "discovery/multicast.h"
#include "protocol/mem.h"
#include "protocol/seal.h"

#define ANNOUNCE_MS 250
#define AT_ONCE     64 /* datagrams, before the time is looked at */

struct listening {
    struct multicast net;
    size_t place_count;
    struct evidence_place place[EVIDENCE_PLACES_MAX];
    uint8_t tag[16]; /* ours: what comes back with it is our own */
    size_t tag_count;
    uint8_t tags[LISTEN_HEARD_MAX][16];
    struct listen_result *result;
};

static uint64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void announce(const struct listening *l)
{
    uint8_t nonce[SEAL_NONCE_BYTES], out[SEAL_HEADER_BYTES];
    randombytes_buf(nonce, sizeof nonce);
    size_t n = seal_newcomer(l->tag, nonce, out);
    for (size_t i = 0; i < l->place_count; i++)
        (void)multicast_send(&l->net, &l->place[i], out, n);
}

static void note_group(struct listen_result *r, const uint8_t *id, const struct address *from)
{
    for (size_t i = 0; i < r->group_count; i++)
        if (memcmp(r->group[i].id, id, GROUP_ID_BYTES) == 0)
            return;
    if (r->group_count == LISTEN_HEARD_MAX)
        return;
    struct listen_group *g = &r->group[r->group_count++];
    memcpy(g->id, id, GROUP_ID_BYTES);
    g->from = *from;
}

/* One newcomer has one tag, however many interfaces it is heard on. */
static void note_newcomer(struct listening *l, const uint8_t *tag, const struct address *from)
{
    if (memcmp(tag, l->tag, sizeof l->tag) == 0 || l->tag_count == LISTEN_HEARD_MAX)
        return;
    for (size_t i = 0; i < l->tag_count; i++)
        if (memcmp(l->tags[i], tag, sizeof l->tag) == 0)
            return;
    memcpy(l->tags[l->tag_count++], tag, sizeof l->tag);
    l->result->newcomer[l->result->newcomer_count++] = *from;
}

static int hear(struct listening *l)
{
    uint8_t buf[MULTICAST_DATAGRAM_BYTES];
    struct multicast_from from;
    size_t n;
    int rc = 0;
    for (int i = 0; i < AT_ONCE && (rc = multicast_receive(&l->net, buf, &n, &from)) > 0; i++) {
        enum seal_kind kind;
        uint8_t id[GROUP_ID_BYTES];
        if (seal_peek(buf, n, &kind, id))
            continue;
        if (kind == SEAL_NEWCOMER)
            note_newcomer(l, id, &from.source);
        else
            note_group(l->result, id, &from.source);
    }
    return rc < 0 ? rc : 0;
}

static int listen_until(struct listening *l, uint64_t end_ms, struct err *err)
{
    uint64_t announce_ms = 0;
    for (uint64_t now = now_ms(); now < end_ms; now = now_ms()) {
        if (now >= announce_ms) {
            announce(l);
            announce_ms = now + ANNOUNCE_MS;
        }
        uint64_t wake = announce_ms < end_ms ? announce_ms : end_ms;
        struct pollfd p = {.fd = l->net.fd, .events = POLLIN};
        if (poll(&p, 1, (int)(wake - now)) < 0) {
            if (errno == EINTR)
                return err_set(err, KPEER_ECANCELED, "stopped while listening for a group");
            return err_errno(err, errno, "cannot listen for a group");
        }
        if (hear(l) < 0)
            return err_set(err, KPEER_EIO, "the discovery socket failed while listening for a group");
    }
    return 0;
}

int discovery_listen(const struct address *group, uint16_t port, const struct evidence_pin *pin, uint32_t ms,
                     struct listen_result *out, struct err *err)
{
    struct listen_result result = {0};
    cleanup_free struct listening *l = calloc(1, sizeof *l);
    if (!l)
        return err_set(err, KPEER_ENOMEM, "no memory to listen for a group");
    l->result = &result;
    randombytes_buf(l->tag, sizeof l->tag);
    int rc = discovery_places(pin, l->place, &l->place_count, err);
    if (!rc)
        rc = multicast_open(&l->net, group, port, err);
    if (rc)
        return rc;
    multicast_join(&l->net, l->place, l->place_count);
    result.interfaces = l->net.joined_count;
    rc = listen_until(l, now_ms() + ms, err);
    multicast_close(&l->net);
    if (!rc)
        *out = result;
    return rc;
}
