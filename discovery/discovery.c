#include "discovery/discovery.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "discovery/multicast.h"
#include "discovery/nic.h"
#include "discovery/pulse.h"
#include "protocol/mem.h"

#define DATAGRAMS_AT_ONCE 64
#define RELOAD_RETRY_MS   1000
#define INTERVALS_KEPT    4
#define CONFLICT_TELL_MS  60000
#define EXPIRY_BEATS      10

struct discovery {
    struct discovery_config cfg;
    struct discovery_callbacks callbacks;
    void *ctx;
    struct multicast net;
    struct multicast seed_net; /* fd -1: the same port, the same socket */
    struct nic_watch *watch;
    struct evidence *evidence;
    struct seeds seeds;
    uint64_t reload_ms; /* read the interfaces (again) at this time; 0: no need */
    bool told_nets;
    struct host_nets nets;
    struct evidence_place own; /* as told; index 0: none */
    uint64_t announced_ms;
    uint32_t interval_ms[INTERVALS_KEPT]; /* between our own last beacons */
    uint64_t dropped[DROP_COUNT];
    uint64_t conflict_ms; /* when one was told last; 0: never */
    struct {
        struct address address;
        uint64_t ms;           /* 0: never */
    } seen[SIGN_CONFLICT + 1]; /* where other groups and claims on one address were heard last */
    struct hello hello;        /* the last one announced */
    uint64_t now_ms;
};

const char *discovery_drop_word(enum discovery_drop why)
{
    static const char *const words[DROP_COUNT] = {
        [DROP_FOREIGN] = "foreign", [DROP_GROUP] = "other-group",  [DROP_NEWCOMER] = "newcomer",
        [DROP_BAD] = "malformed",   [DROP_REPLAY] = "replayed",    [DROP_SOURCE] = "wrong-source",
        [DROP_FULL] = "too-many",   [DROP_CONFLICTED] = "conflict"};
    return (size_t)why < DROP_COUNT ? words[why] : "unknown";
}

const char *discovery_sign_word(enum discovery_sign sign)
{
    static const char *const words[SIGN_COUNT] = {[SIGN_OTHER_GROUP] = "other-group",
                                                  [SIGN_CONFLICT] = "conflict",
                                                  [SIGN_DEAF] = "deaf",
                                                  [SIGN_UNHEARD] = "unheard"};
    return (size_t)sign < SIGN_COUNT ? words[sign] : "unknown";
}

/* A callback may have announced, with a later time, before its caller goes on. */
static void set_now(struct discovery *d, uint64_t now_ms)
{
    if (now_ms > d->now_ms)
        d->now_ms = now_ms;
}

static bool fits(const struct evidence_pin *pin, const struct nic *nic, const struct network *net)
{
    if (!pin)
        return true;
    if (pin->interface[0] && strcmp(pin->interface, nic->name) != 0)
        return false;
    return !pin->have_subnet || network_contains(&pin->subnet, &net->address);
}

static size_t places_of(const struct nic_table *t, const struct evidence_pin *pin, struct evidence_place *out)
{
    size_t n = 0;
    for (size_t i = 0; i < t->count; i++) {
        const struct nic *nic = &t->nic[i];
        for (size_t k = 0; nic_usable(nic) && k < nic->address_count && n < EVIDENCE_PLACES_MAX; k++) {
            if (!fits(pin, nic, &nic->address[k]))
                continue;
            out[n] = (struct evidence_place){.index = nic->index, .net = nic->address[k]};
            memcpy(out[n].name, nic->name, sizeof out[n].name);
            n++;
        }
    }
    return n;
}

int discovery_places(const struct evidence_pin *pin, struct evidence_place out[static EVIDENCE_PLACES_MAX],
                     size_t *count, struct err *err)
{
    cleanup_free struct nic_table *t = calloc(1, sizeof *t);
    if (!t)
        return err_set(err, KPEER_ENOMEM, "no memory to list network interfaces");
    int rc = nic_list(t, err);
    if (!rc)
        *count = places_of(t, pin, out);
    return rc;
}

static void add_net(struct host_nets *nets, const struct network *net)
{
    char text[STEP_CIDR_BYTES] = ""; /* to its end: it is compared as bytes */
    network_text(net, text);
    for (size_t i = 0; i < nets->net_count; i++)
        if (strcmp(nets->net[i], text) == 0)
            return;
    if (nets->net_count < FACTS_NETS_MAX)
        memcpy(nets->net[nets->net_count++], text, sizeof text);
}

static void nets_of(const struct nic_table *t, struct host_nets *out)
{
    memset(out, 0, sizeof *out); /* padding included: it is compared as bytes */
    for (size_t i = 0; i < t->count; i++) {
        const struct nic *nic = &t->nic[i];
        for (size_t k = 0; nic_usable(nic) && k < nic->address_count; k++)
            add_net(out, &nic->address[k]);
        if (nic_identifies(nic) && out->mac_count < FACTS_MACS_MAX)
            memcpy(out->mac[out->mac_count++], nic->mac, sizeof nic->mac);
    }
}

static int reload(struct discovery *d, struct err *err)
{
    struct evidence_place places[EVIDENCE_PLACES_MAX];
    struct host_nets nets;
    cleanup_free struct nic_table *t = calloc(1, sizeof *t);
    if (!t)
        return err_set(err, KPEER_ENOMEM, "no memory to list network interfaces");
    int rc = nic_list(t, err);
    if (rc)
        return rc;
    size_t n = places_of(t, &d->cfg.pin, places);
    evidence_set_places(d->evidence, places, n);
    size_t failed = multicast_join(&d->net, places, n);
    d->reload_ms = failed ? d->now_ms + RELOAD_RETRY_MS : 0;
    nets_of(t, &nets);
    if (memcmp(&nets, &d->nets, sizeof nets) != 0) {
        d->nets = nets;
        d->told_nets = false;
    }
    return 0;
}

static int open_parts(struct discovery *d, struct err *err)
{
    int rc = evidence_new(&d->evidence, &d->cfg.me, d->cfg.instance, &d->cfg.pin, d->cfg.beat_ms, err);
    if (!rc)
        rc = nic_open(&d->watch, err);
    if (!rc)
        rc = multicast_open(&d->net, &d->cfg.group, d->cfg.multicast_port, err);
    if (!rc)
        rc = reload(d, err);
    if (!rc && d->cfg.seed_port != d->cfg.multicast_port)
        rc = multicast_open(&d->seed_net, &d->cfg.group, d->cfg.seed_port, err);
    for (size_t i = 0; !rc && i < d->cfg.seed_count && i < SEEDS_MAX; i++)
        seeds_add(&d->seeds, &d->cfg.seed[i].address, d->cfg.seed[i].port);
    return rc;
}

int discovery_open(struct discovery **out, const struct discovery_config *cfg,
                   const struct discovery_callbacks *callbacks, void *ctx, struct err *err)
{
    struct discovery *d = calloc(1, sizeof *d);
    if (!d)
        return err_set(err, KPEER_ENOMEM, "no memory for discovery");
    d->cfg = *cfg;
    d->callbacks = *callbacks;
    d->ctx = ctx;
    d->net.fd = d->seed_net.fd = -1;
    int rc = open_parts(d, err);
    if (rc) {
        discovery_close(d);
        return rc;
    }
    *out = d;
    return 0;
}

void discovery_close(struct discovery *d)
{
    if (!d)
        return;
    multicast_close(&d->net);
    multicast_close(&d->seed_net);
    nic_close(d->watch);
    evidence_free(d->evidence);
    free(d);
}

void discovery_fds(const struct discovery *d, int fds[static DISCOVERY_FDS])
{
    fds[0] = d->net.fd;
    fds[1] = nic_fd(d->watch);
    fds[2] = d->seed_net.fd;
}

const uint64_t *discovery_dropped(const struct discovery *d)
{
    return d->dropped;
}

/* The longest of the last intervals and of the next: the members of a group keep one pace, so ours tells when
 * to miss theirs. */
static uint32_t pace_ms(const struct discovery *d)
{
    uint32_t pace = d->hello.next_ms > d->cfg.beat_ms ? d->hello.next_ms : d->cfg.beat_ms;
    for (size_t i = 0; i < INTERVALS_KEPT; i++)
        pace = d->interval_ms[i] > pace ? d->interval_ms[i] : pace;
    return pace;
}

/* Others may be at rest while we are not, and one who is forgotten misses us: a datagram too many costs less.
 */
static uint32_t seed_expiry_ms(const struct discovery *d)
{
    uint32_t pace = pace_ms(d);
    return EXPIRY_BEATS * (pace > NODE_REST_MS ? pace : NODE_REST_MS);
}

/* Whoever has our address is not heard here, since the kernel drops what comes from there; others tell of it.
 */
static bool own_conflict(const struct discovery *d, uint64_t now_ms, struct address *where)
{
    const struct evidence_place *places;
    size_t count = evidence_places(d->evidence, &places);
    for (size_t i = 0; i < count; i++) {
        *where = places[i].net.address;
        if (evidence_conflicted(d->evidence, where, now_ms))
            return true;
    }
    return false;
}

bool discovery_sign(const struct discovery *d, enum discovery_sign sign, uint64_t now_ms,
                    char address[static STEP_ADDRESS_BYTES])
{
    struct address where = {0};
    bool all = false, there;
    if (sign == SIGN_DEAF || sign == SIGN_UNHEARD) {
        there = evidence_deaf(d->evidence, now_ms, &where, &all) && all == (sign == SIGN_UNHEARD);
    } else {
        there = d->seen[sign].ms && now_ms < d->seen[sign].ms + EXPIRY_BEATS * pace_ms(d);
        if (there)
            where = d->seen[sign].address;
        else if (sign == SIGN_CONFLICT)
            there = own_conflict(d, now_ms, &where);
    }
    if (there)
        address_text(&where, address);
    return there;
}

static enum discovery_drop drop_reason(int code)
{
    switch (code) {
    case KPEER_EREPLAY:
        return DROP_REPLAY;
    case KPEER_EAUTH:
        return DROP_SOURCE;
    case KPEER_ELIMIT:
        return DROP_FULL;
    default:
        return DROP_CONFLICTED;
    }
}

static void tell_hello(struct discovery *d, const struct hello *hello, const struct address *source)
{
    struct address address = *source;
    char text[STEP_ADDRESS_BYTES];
    (void)evidence_peer(d->evidence, &hello->id, d->now_ms, &address);
    address_text(&address, text);
    d->callbacks.hello(d->ctx, hello, text);
}

/* Where there is no multicast, whoever reached us alone tells whom else it hears: those are greeted too, so
 * that a few seeds are enough for all to hear each other. */
static void meet_heard(struct discovery *d, const struct beacon *b)
{
    struct address known;
    for (size_t i = 0; i < b->heard_count; i++) {
        const struct beacon_heard *h = &b->heard[i];
        if (!peer_id_equal(&h->id, &d->cfg.me) && !evidence_peer(d->evidence, &h->id, d->now_ms, &known))
            seeds_heard(&d->seeds, &h->address, d->cfg.seed_port, d->now_ms, seed_expiry_ms(d));
    }
}

static void see(struct discovery *d, enum discovery_sign sign, const struct address *where)
{
    d->seen[sign].address = *where;
    d->seen[sign].ms = d->now_ms;
}

static void tell_conflict(struct discovery *d, const struct address *source)
{
    char text[STEP_ADDRESS_BYTES];
    if (!evidence_conflicted(d->evidence, source, d->now_ms))
        return;
    see(d, SIGN_CONFLICT, source);
    if (d->conflict_ms && d->now_ms - d->conflict_ms < CONFLICT_TELL_MS)
        return;
    d->conflict_ms = d->now_ms;
    address_text(source, text);
    d->callbacks.conflict(d->ctx, text);
}

static void tell_own(struct discovery *d)
{
    struct evidence_place own = {0};
    char text[STEP_ADDRESS_BYTES] = "";
    bool have = evidence_own(d->evidence, d->now_ms, &own);
    if (own.index == d->own.index && address_equal(&own.net.address, &d->own.net.address))
        return;
    d->own = own;
    if (have)
        address_text(&own.net.address, text);
    d->callbacks.own_address(d->ctx, text, own.name);
}

static void take_beacon(struct discovery *d, const struct ring_key *key, const uint8_t *bytes, size_t n,
                        const struct multicast_from *from)
{
    char text[STEP_ADDRESS_BYTES];
    struct beacon b;
    if (beacon_decode(key->seal, bytes, n, &b, NULL)) {
        d->dropped[DROP_BAD]++;
        return;
    }
    b.hello.epoch = key->epoch;
    if (key->closed) {
        address_text(&from->source, text);
        d->callbacks.hello(d->ctx, &b.hello, text);
        return;
    }
    int rc = evidence_hear(d->evidence, &b, from->index, &from->source, d->now_ms);
    if (rc) {
        /* Our own come back from a seed list that names us too: nothing to count. */
        if (!peer_id_equal(&b.hello.id, &d->cfg.me) || b.hello.instance != d->cfg.instance)
            d->dropped[drop_reason(rc)]++;
        if (rc == KPEER_EREFUSED)
            tell_conflict(d, &from->source);
        return;
    }
    if (!from->to_group && !peer_id_equal(&b.hello.id, &d->cfg.me)) {
        seeds_heard(&d->seeds, &from->source, from->port, d->now_ms, seed_expiry_ms(d));
        meet_heard(d, &b);
    }
    tell_hello(d, &b.hello, &from->source);
    tell_own(d);
}

/* Back on the interface that it came in on, from an address there that can reach the guest. */
static void reply_to(struct discovery *d, const struct multicast_from *from, const uint8_t *bytes, size_t n)
{
    const struct evidence_place *places;
    size_t count = evidence_places(d->evidence, &places);
    for (size_t i = 0; i < count; i++)
        if (places[i].index == from->index && network_contains(&places[i].net, &from->source)) {
            (void)multicast_send_to(&d->net, &places[i], &from->source, from->port, bytes, n);
            return;
        }
}

static void take_guest(struct discovery *d, const uint8_t *bytes, size_t n, const struct multicast_from *from)
{
    char text[STEP_ADDRESS_BYTES];
    uint8_t reply[INVITE_BYTES];
    address_text(&from->source, text);
    if (d->callbacks.invited(d->ctx, bytes, n, text, reply))
        reply_to(d, from, reply, sizeof reply);
    else
        d->dropped[DROP_NEWCOMER]++;
}

static void take_stranger(struct discovery *d, const struct multicast_from *from)
{
    d->dropped[DROP_GROUP]++;
    see(d, SIGN_OTHER_GROUP, &from->source);
}

static void take_pulse(struct discovery *d, const struct ring_key *key, const uint8_t *bytes, size_t n)
{
    struct pulse pulse;
    if (pulse_decode(key->seal, bytes, n, &pulse, NULL)) {
        d->dropped[DROP_BAD]++;
        return;
    }
    pulse.epoch = key->epoch;
    d->callbacks.pulse(d->ctx, &pulse);
}

static void take_datagram(struct discovery *d, const uint8_t *bytes, size_t n,
                          const struct multicast_from *from)
{
    const struct ring_key *key;
    enum seal_kind kind;
    uint8_t key_id[GROUP_ID_BYTES];
    if (seal_peek(bytes, n, &kind, key_id) || kind == SEAL_MESSAGE)
        d->dropped[DROP_FOREIGN]++;
    else if (kind == SEAL_NEWCOMER)
        d->dropped[DROP_NEWCOMER]++;
    else if (kind == SEAL_INVITE)
        take_guest(d, bytes, n, from);
    else if ((key = keyring_find(d->cfg.keys, key_id)) == NULL)
        take_stranger(d, from);
    else if (kind == SEAL_KEY)
        d->callbacks.handed(d->ctx, bytes, n);
    else if (kind == SEAL_PULSE)
        take_pulse(d, key, bytes, n);
    else
        take_beacon(d, key, bytes, n, from);
}

static void tell_nets(struct discovery *d)
{
    if (d->told_nets)
        return;
    d->told_nets = true;
    d->callbacks.nets(d->ctx, &d->nets);
}

static void take_waiting(struct discovery *d, const struct multicast *net)
{
    uint8_t buf[MULTICAST_DATAGRAM_BYTES];
    struct multicast_from from;
    size_t n;
    for (int i = 0; i < DATAGRAMS_AT_ONCE && multicast_receive(net, buf, &n, &from) > 0; i++)
        take_datagram(d, buf, n, &from);
}

void discovery_readable(struct discovery *d, uint64_t now_ms)
{
    set_now(d, now_ms);
    if (nic_drain(d->watch))
        d->reload_ms = d->now_ms;
    take_waiting(d, &d->net);
    if (d->seed_net.fd >= 0)
        take_waiting(d, &d->seed_net);
    discovery_tick(d, now_ms);
}

static int seal_copy(struct discovery *d, const struct evidence_place *place, uint8_t *out, size_t *n)
{
    struct beacon b = {.hello = d->hello, .address = place->net.address, .interface = place->index};
    uint8_t nonce[SEAL_NONCE_BYTES];
    const struct ring_key *key = keyring_epoch(d->cfg.keys, d->hello.epoch);
    b.heard_count = evidence_heard(d->evidence, place->index, d->now_ms, b.heard, BEACON_HEARD_MAX);
    randombytes_buf(nonce, sizeof nonce);
    return beacon_encode(key ? key->seal : d->cfg.keys->key[0].seal, nonce, &b, out, n, NULL);
}

/* A unicast copy names the address that the kernel sends from on the way there. */
static void send_to_seed(void *ctx, const struct seed *seed)
{
    struct discovery *d = ctx;
    const struct multicast *net = d->seed_net.fd >= 0 ? &d->seed_net : &d->net;
    const struct evidence_place *places;
    size_t n, count = evidence_places(d->evidence, &places);
    struct address own;
    uint8_t out[BEACON_MAX_BYTES];
    if (multicast_route(&seed->address, &own))
        return;
    for (size_t i = 0; i < count; i++)
        if (address_equal(&places[i].net.address, &own) && seal_copy(d, &places[i], out, &n) == 0)
            (void)multicast_send_to(net, &places[i], &seed->address, seed->port, out, n);
}

/* From where to send to this address: the place that we use if it is on its subnet, else the one that the
 * kernel would take; NULL: there is no way. */
static const struct evidence_place *place_towards(const struct discovery *d, const struct address *to)
{
    const struct evidence_place *places;
    size_t count = evidence_places(d->evidence, &places);
    struct address own = d->own.net.address;
    if (d->own.index == 0 || !network_contains(&d->own.net, to))
        if (multicast_route(to, &own))
            return NULL;
    for (size_t i = 0; i < count; i++)
        if (address_equal(&places[i].net.address, &own))
            return &places[i];
    return NULL;
}

static void send_alone(const struct discovery *d, const char *address, uint16_t port, const uint8_t *bytes,
                       size_t n)
{
    const struct multicast *net = d->seed_net.fd >= 0 ? &d->seed_net : &d->net;
    const struct evidence_place *place;
    struct address to;
    if (address_parse(address, &to) == 0 && (place = place_towards(d, &to)) != NULL)
        (void)multicast_send_to(net, place, &to, port, bytes, n);
}

void discovery_hand(struct discovery *d, const char *address, const uint8_t *bytes, size_t n)
{
    send_alone(d, address, d->cfg.seed_port, bytes, n);
}

void discovery_pulse(struct discovery *d, const char *address, uint16_t port, const struct pulse *pulse)
{
    const struct ring_key *key = keyring_epoch(d->cfg.keys, pulse->epoch);
    uint8_t nonce[SEAL_NONCE_BYTES], out[PULSE_MAX_BYTES];
    size_t n;
    randombytes_buf(nonce, sizeof nonce);
    if (key && pulse_encode(key->seal, nonce, pulse, out, &n, NULL) == 0)
        send_alone(d, address, port, out, n);
}

static void note_interval(struct discovery *d)
{
    uint64_t interval = d->announced_ms ? d->now_ms - d->announced_ms : 0;
    memmove(&d->interval_ms[1], &d->interval_ms[0], (INTERVALS_KEPT - 1) * sizeof d->interval_ms[0]);
    /* A host that slept did not beat slowly. */
    d->interval_ms[0] = interval < 60000 ? (uint32_t)interval : 60000;
    d->announced_ms = d->now_ms;
    evidence_set_beat(d->evidence, pace_ms(d));
}

void discovery_announce(struct discovery *d, const struct hello *hello, uint64_t now_ms)
{
    const struct evidence_place *places;
    size_t n, count = evidence_places(d->evidence, &places);
    uint8_t out[BEACON_MAX_BYTES];
    set_now(d, now_ms);
    d->hello = *hello;
    note_interval(d);
    for (size_t i = 0; i < count; i++)
        if (seal_copy(d, &places[i], out, &n) == 0)
            (void)multicast_send(&d->net, &places[i], out, n);
    seeds_each(&d->seeds, d->now_ms, seed_expiry_ms(d), send_to_seed, d);
    evidence_next(d->evidence);
}

uint64_t discovery_tick(struct discovery *d, uint64_t now_ms)
{
    set_now(d, now_ms);
    if (d->reload_ms && d->now_ms >= d->reload_ms && reload(d, NULL))
        d->reload_ms = d->now_ms + RELOAD_RETRY_MS;
    tell_nets(d);
    tell_own(d);
    uint64_t wake = evidence_wake(d->evidence, d->now_ms);
    return d->reload_ms && d->reload_ms < wake ? d->reload_ms : wake;
}
