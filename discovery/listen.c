#include "discovery/listen.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "discovery/early.h"
#include "protocol/mem.h"
#include "protocol/seal.h"

#define ANNOUNCE_MS 250

struct listening {
    struct early early;
    uint8_t tag[16]; /* ours: what comes back with it is our own */
    size_t tag_count;
    uint8_t tags[LISTEN_HEARD_MAX][16];
    struct listen_result *result;
};

static void announce(void *ctx, const struct early *e)
{
    const struct listening *l = ctx;
    uint8_t nonce[SEAL_NONCE_BYTES], out[SEAL_HEADER_BYTES];
    randombytes_buf(nonce, sizeof nonce);
    early_send(e, out, seal_newcomer(l->tag, nonce, out));
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

static bool hear(void *ctx, const uint8_t *bytes, size_t n, const struct multicast_from *from)
{
    struct listening *l = ctx;
    enum seal_kind kind;
    uint8_t id[GROUP_ID_BYTES];
    if (seal_peek(bytes, n, &kind, id) || kind == SEAL_INVITE)
        return false;
    if (kind == SEAL_NEWCOMER)
        note_newcomer(l, id, &from->source);
    else
        note_group(l->result, id, &from->source);
    return false;
}

int discovery_listen(const struct address *group, uint16_t port, const struct evidence_pin *pin, uint32_t ms,
                     struct listen_result *out, struct err *err)
{
    static const struct early_calls calls = {.say = announce, .hear = hear};
    struct listen_result result = {0};
    cleanup_free struct listening *l = calloc(1, sizeof *l);
    if (!l)
        return err_set(err, KPEER_ENOMEM, "no memory to listen for a group");
    l->result = &result;
    randombytes_buf(l->tag, sizeof l->tag);
    int rc = early_open(&l->early, group, port, pin, err);
    result.interfaces = l->early.net.joined_count;
    if (!rc)
        rc = early_run(&l->early, ms, ANNOUNCE_MS, &calls, l, "listening for a group", err);
    early_close(&l->early);
    if (!rc)
        *out = result;
    return rc;
}
