#include "discovery/meet.h"

#include <sodium.h>
#include <string.h>

#include "discovery/early.h"

#define SAY_MS 300

struct meeting {
    struct early early;
    struct guest *guest;
    struct multicast_from offered; /* who made the offer that fitted */
    struct secret *key;
};

/* The place that a datagram came in on; NULL: it is none of ours. */
static const struct evidence_place *place_of(const struct early *e, const struct multicast_from *from)
{
    for (size_t i = 0; i < e->place_count; i++)
        if (e->place[i].index == from->index && network_contains(&e->place[i].net, &from->source))
            return &e->place[i];
    return NULL;
}

static void say(void *ctx, const struct early *e)
{
    const struct meeting *m = ctx;
    uint8_t out[INVITE_BYTES];
    guest_say(m->guest, out);
    if (!guest_claims(m->guest)) {
        early_send(e, out, sizeof out);
        return;
    }
    const struct evidence_place *place = place_of(e, &m->offered);
    if (place)
        (void)multicast_send_to(&e->net, place, &m->offered.source, m->offered.port, out, sizeof out);
}

static bool hear(void *ctx, const uint8_t *bytes, size_t n, const struct multicast_from *from)
{
    struct meeting *m = ctx;
    bool claimed = guest_claims(m->guest);
    if (!place_of(&m->early, from) || guest_take(m->guest, bytes, n, &m->key))
        return false;
    if (!claimed && guest_claims(m->guest)) {
        m->offered = *from;
        say(m, &m->early);
    }
    return m->key != NULL;
}

static int judge(const struct meeting *m, struct address *from, struct err *err)
{
    char text[STEP_ADDRESS_BYTES];
    *from = m->offered.source;
    address_text(from, text);
    if (m->key)
        return 0;
    if (guest_claims(m->guest))
        return err_set(err, KPEER_ETIMEOUT, "the host %s invites us, but did not give the key", text);
    if (guest_wrong(m->guest) == INVITE_WRONG_MAX)
        return err_set(err, KPEER_EAUTH, "%u answers came, and none of them fits this code",
                       guest_wrong(m->guest));
    if (guest_wrong(m->guest))
        return err_set(err, KPEER_EAUTH, "a host invites, but with another code");
    return err_set(err, KPEER_ENOTFOUND, "no host that invites was heard");
}

static int meet(struct meeting *m, uint32_t ms, struct address *from, struct err *err)
{
    static const struct early_calls calls = {.say = say, .hear = hear};
    int rc = early_run(&m->early, ms, SAY_MS, &calls, m, "looking for the host that invites", err);
    return rc ? rc : judge(m, from, err);
}

int discovery_meet(const struct address *group, uint16_t port, const struct evidence_pin *pin,
                   const uint8_t code[static INVITE_CODE_BYTES], uint32_t ms, struct secret **key,
                   struct address *from, struct err *err)
{
    struct meeting m = {0};
    uint8_t session[INVITE_SESSION_BYTES], scalar[CPACE_SCALAR_BYTES];
    randombytes_buf(session, sizeof session);
    randombytes_buf(scalar, sizeof scalar);
    m.guest = guest_new(code, session, scalar);
    sodium_memzero(scalar, sizeof scalar);
    if (!m.guest)
        return err_set(err, KPEER_ENOMEM, "no guarded memory to look for the host that invites");
    int rc = early_open(&m.early, group, port, pin, err);
    if (!rc)
        rc = meet(&m, ms, from, err);
    early_close(&m.early);
    guest_free(m.guest);
    *key = m.key;
    return rc;
}
