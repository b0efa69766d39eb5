/*
 * What one piece of work costs: sealing, encoding, and one step of the core for each kind of event and
 * message. Prints a line a case: its name, how often it was done, the nanoseconds of one, and
 * its operations on curves and with ciphers.
 *
 * Under callgrind (micro.py) only what stands between BEGIN and END is counted, and each case is dumped by
 * its name. All that happens is the same each time, so the counts are.
 */
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_TOGGLE_COLLECT    ((void)0)
#define CALLGRIND_DUMP_STATS_AT(at) ((void)(at))
#endif

#include "discovery/beacon.h"
#include "protocol/node_state.h"
#include "protocol/record.h"
#include "protocol/statement.h"
#include "protocol/ticket.h"
#include "tests/unit/node_world.h"

#define PLAIN_BYTES 1024
#define HEARD       8
#define GROUP       4

static uint64_t times = 20; /* how often each piece of code is run, and each story played */

/* ---- counting ---- */

static struct {
    uint64_t calls;
    uint64_t ns;
    uint64_t crypto; /* operations on curves and with ciphers */
    bool on;
    struct timespec began;
} count;

static void must(bool good)
{
    if (!good)
        abort();
}

static uint64_t ns_since(const struct timespec *t)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)(now.tv_sec - t->tv_sec) * 1000000000 + (uint64_t)now.tv_nsec - (uint64_t)t->tv_nsec;
}

static void begin(void)
{
    count.on = true;
    clock_gettime(CLOCK_MONOTONIC, &count.began);
    CALLGRIND_TOGGLE_COLLECT;
}

static void end(void)
{
    CALLGRIND_TOGGLE_COLLECT;
    count.ns += ns_since(&count.began);
    count.on = false;
    count.calls++;
}

static void report(const char *name)
{
    CALLGRIND_DUMP_STATS_AT(name);
    if (count.calls)
        printf("%s\t%" PRIu64 "\t%" PRIu64 "\t%.2f\n", name, count.calls, count.ns / count.calls,
               (double)count.crypto / (double)count.calls);
    count.calls = count.ns = count.crypto = 0;
}

/* ---- what costs most, and is libsodium's ---- */

/* The linker brings the calls here (--wrap). */
#define COUNTED(name, parameters, arguments)                                                                 \
    int __real_##name parameters;                                                                            \
    int __wrap_##name parameters;                                                                            \
    int __wrap_##name parameters                                                                             \
    {                                                                                                        \
        count.crypto += count.on;                                                                            \
        return __real_##name arguments;                                                                      \
    }
typedef unsigned char *out;
typedef const unsigned char *in;
typedef unsigned long long length;

COUNTED(crypto_sign_detached, (out sig, length *sig_n, in m, length n, in sk), (sig, sig_n, m, n, sk))
COUNTED(crypto_sign_verify_detached, (in sig, in m, length n, in pk), (sig, m, n, pk))
COUNTED(crypto_aead_xchacha20poly1305_ietf_encrypt,
        (out c, length *c_n, in m, length n, in ad, length ad_n, in nsec, in nonce, in key),
        (c, c_n, m, n, ad, ad_n, nsec, nonce, key))
COUNTED(crypto_aead_xchacha20poly1305_ietf_decrypt,
        (out m, length *m_n, out nsec, in c, length n, in ad, length ad_n, in nonce, in key),
        (m, m_n, nsec, c, n, ad, ad_n, nonce, key))
COUNTED(crypto_box_seed_keypair, (out pk, out sk, in seed), (pk, sk, seed))
COUNTED(crypto_box_easy, (out c, in m, length n, in nonce, in pk, in sk), (c, m, n, nonce, pk, sk))
COUNTED(crypto_box_open_easy, (out m, in c, length n, in nonce, in pk, in sk), (m, c, n, nonce, pk, sk))

/* ---- bytes ---- */

static struct {
    struct secret *key;
    struct seal *seal;
    struct identity *me;
    uint8_t nonce[SEAL_NONCE_BYTES];
    uint8_t plain[PLAIN_BYTES];
    uint8_t sealed[PLAIN_BYTES + SEAL_OVERHEAD_BYTES];
    struct beacon beacon;
    uint8_t datagram[BEACON_MAX_BYTES];
    size_t datagram_bytes;
    struct profile profile;
    uint8_t payload[STATEMENT_PAYLOAD_MAX];
    size_t payload_bytes;
    uint8_t *wire;
    size_t wire_bytes;
    struct ticket ticket;
    uint8_t box[TICKET_BOX_MAX];
    uint16_t box_bytes;
} b;

static void seal_a_message(void)
{
    must(seal_close(b.seal, SEAL_MESSAGE, b.nonce, b.plain, sizeof b.plain, b.sealed) == sizeof b.sealed);
}

static void open_a_message(void)
{
    size_t n;
    must(seal_open(b.seal, SEAL_MESSAGE, b.sealed, sizeof b.sealed, b.plain, &n) == 0);
}

static void write_a_beacon(void)
{
    must(beacon_encode(b.seal, b.nonce, &b.beacon, b.datagram, &b.datagram_bytes, NULL) == 0);
}

static void read_a_beacon(void)
{
    static struct beacon got;
    must(beacon_decode(b.seal, b.datagram, b.datagram_bytes, &got, NULL) == 0);
}

static void encode_a_profile(void)
{
    b.payload_bytes = profile_encode(&b.profile, b.payload);
    must(b.payload_bytes > 0);
}

static void decode_a_profile(void)
{
    static struct profile got;
    must(profile_decode(b.payload, b.payload_bytes, &got) == 0);
}

static void sign_a_statement(void)
{
    free(b.wire);
    must(statement_encode(b.me, seal_key_id(b.seal), STATEMENT_PROFILE, NULL, 7, b.payload, b.payload_bytes,
                          &b.wire, &b.wire_bytes, NULL) == 0);
}

static void check_a_statement(void)
{
    struct statement s;
    must(statement_decode(b.wire, b.wire_bytes, seal_key_id(b.seal), true, &s, NULL) == 0);
}

static void seal_a_ticket(void)
{
    static const uint8_t seed[32] = {9};
    must(ticket_seal(&b.ticket, b.me->box_pk, seed, b.box, &b.box_bytes) == 0);
}

static void open_a_ticket(void)
{
    struct ticket got;
    must(ticket_open(b.me, b.box, b.box_bytes, &got) == 0);
}

static void make_bytes(void)
{
    static const uint8_t seed[32] = {7};
    struct hello *h = &b.beacon.hello;
    b.key = secret_new(seed);
    must(b.key && seal_new(&b.seal, b.key, NULL) == 0 && identity_new(&b.me, seed, NULL) == 0);
    *h = (struct hello){
        .id = b.me->id, .boot = 3, .instance = 1, .counter = 42, .members = HEARD, .port = 7373};
    memcpy(h->sign_pk, b.me->sign_pk, sizeof h->sign_pk);
    memcpy(h->box_pk, b.me->box_pk, sizeof h->box_pk);
    must(address_parse("192.168.56.11", &b.beacon.address) == 0);
    b.beacon.interface = 3;
    b.beacon.heard_count = HEARD;
    for (size_t i = 0; i < HEARD; i++) {
        b.beacon.heard[i] = (struct beacon_heard){.id = {{(uint8_t)(i + 1)}}, .instance = 5};
        b.beacon.heard[i].address = b.beacon.address;
    }
    b.profile = (struct profile){.name = "node1",
                                 .version = "0.0.0",
                                 .address = "192.168.56.11",
                                 .port = 7373,
                                 .phase = PHASE_READY,
                                 .able = true,
                                 .has_facts = true,
                                 .pod_cidr = "10.244.0.0/16",
                                 .service_cidr = "10.96.0.0/12"};
    b.profile.facts =
        (struct facts){.cpus = 2, .memory_mb = 4000, .hostname = "node1", .kubernetes_version = "v1.31.0"};
    b.ticket = (struct ticket){.joiner = b.me->id,
                               .issuer = b.me->id,
                               .nonce = 5,
                               .ttl_ms = 600000,
                               .cluster_id = "0123456789abcdef0123456789abcdef",
                               .endpoint = "192.168.56.11:6443",
                               .token = "abcdef.0123456789abcdef"};
}

/* In an order in which each has what it needs of those before it. */
static void bytes_cases(void)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } cases[] = {{"seal 1 KiB", seal_a_message},        {"open 1 KiB", open_a_message},
                 {"beacon, seal", write_a_beacon},      {"beacon, open", read_a_beacon},
                 {"profile, encode", encode_a_profile}, {"profile, decode", decode_a_profile},
                 {"statement, sign", sign_a_statement}, {"statement, check", check_a_statement},
                 {"ticket, seal", seal_a_ticket},       {"ticket, open", open_a_ticket}};
    make_bytes();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cases[i].run();
        for (uint64_t t = 0; t < times; t++) {
            begin();
            cases[i].run();
            end();
        }
        report(cases[i].name);
    }
    free(b.wire);
    identity_free(b.me);
    seal_free(b.seal);
    secret_free(b.key);
}

/* ---- steps ---- */

/* What is counted in this story: steps with events of this kind, and of messages those of this type. */
static struct {
    const char *name;
    enum node_event_kind kind;
    uint64_t type;
} const steps[] = {
    {"step, start", EV_START, 0},
    {"step, address", EV_ADDRESS, 0},
    {"step, tick", EV_TICK, 0},
    {"step, beacon", EV_HELLO, 0},
    {"step, pull", EV_MESSAGE, MSG_PULL},
    {"step, push", EV_MESSAGE, MSG_PUSH},
    {"step, lease-ask", EV_MESSAGE, MSG_LEASE_ASK},
    {"step, lease-grant", EV_MESSAGE, MSG_LEASE_GRANT},
    {"step, probe", EV_MESSAGE, MSG_PROBE},
    {"step, probe-ack", EV_MESSAGE, MSG_PROBE_ACK},
    {"step, config-ask", EV_MESSAGE, MSG_CONFIG_ASK},
    {"step, survey-tell", EV_MESSAGE, MSG_SURVEY_TELL},
    {"step, link-down", EV_LINK_DOWN, 0},
    {"step, step-done", EV_STEP_DONE, 0},
};
static size_t wanted; /* the row of `steps` */
static struct world *world;

static uint64_t type_of(const struct node_event *ev)
{
    struct pack_reader r;
    uint8_t *plain;
    size_t n;
    uint64_t type;
    world_open(world, ev->bytes, ev->n, &plain, &n);
    must(pack_open(&r, plain, n, PACK_DEPTH_MAX, NULL) == 0);
    pack_array(&r, 1, 64);
    type = pack_uint(&r, UINT64_MAX);
    free(plain);
    return type;
}

int __real_node_step(struct node *n, const struct node_event *ev, uint64_t now_ms, struct actions *acts);
int __wrap_node_step(struct node *n, const struct node_event *ev, uint64_t now_ms, struct actions *acts);

int __wrap_node_step(struct node *n, const struct node_event *ev, uint64_t now_ms, struct actions *acts)
{
    if (ev->kind != steps[wanted].kind || (ev->kind == EV_MESSAGE && type_of(ev) != steps[wanted].type))
        return __real_node_step(n, ev, now_ms, acts);
    begin();
    int code = __real_node_step(n, ev, now_ms, acts);
    end();
    return code;
}

static size_t a_worker(const struct world *w)
{
    for (size_t i = 0; i < w->count; i++)
        if (!peer_id_equal(&w->peer[i].me->id, &node_record(w->peer[i].node)->founder))
            return i;
    abort();
}

/* Four hosts form a cluster, stay at rest, look at each other, ask for the kubeconfig; one dies and comes
 * back. */
static void play(void)
{
    struct node_event ask = {.kind = EV_SURVEY, .request = 1};
    struct peer_id other;
    size_t who;
    world = world_new(GROUP, GROUP);
    for (size_t i = 0; i < world->count; i++)
        world_start(world, i);
    must(world_run_ready(world, 60000));
    world_run(world, 10000);
    who = a_worker(world);
    other = node_record(world->peer[who].node)->founder;
    world_feed(world, who, &ask);
    world_run(world, 10000);
    ask.kind = EV_KUBECONFIG;
    world_feed(world, who, &ask);
    world_run(world, 1000);
    world_feed(world, who, &(struct node_event){.kind = EV_LINK_DOWN, .peer = other});
    world_run(world, 1000);
    world_stop(world, who);
    for (size_t i = 0; i < world->count; i++)
        world_feed(world, i, &(struct node_event){.kind = EV_LINK_DOWN, .peer = world->peer[who].me->id});
    world_run(world, 5000);
    world_start(world, who);
    world_run(world, 5000);
}

static void record_case(void)
{
    struct world_peer *p = &world->peer[0];
    struct record got;
    for (uint64_t t = 0; t < times; t++) {
        begin();
        must(record_verify(p->disk[STORE_CLUSTER], p->disk_bytes[STORE_CLUSTER], &got, NULL) == 0);
        end();
    }
    report("record, check");
}

static void steps_cases(void)
{
    for (wanted = 0; wanted < sizeof steps / sizeof steps[0]; wanted++) {
        play();
        report(steps[wanted].name);
        if (wanted == 0)
            record_case();
        world_free(world);
    }
}

int main(int argc, char **argv)
{
    if (argc > 2 || (argc == 2 && (times = strtoull(argv[1], NULL, 10)) == 0)) {
        fputs("usage: micro [TIMES]\n", stderr);
        return 2;
    }
    if (sodium_init() < 0)
        return 1;
    bytes_cases();
    steps_cases();
    return 0;
}
