/* What comes over the network. What is sealed or signed is sealed here, so that what is tried gets past it.
 */
#include <linux/if.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>

#include "discovery/address.h"
#include "discovery/beacon.h"
#include "discovery/nic.h"
#include "discovery/pulse.h"
#include "protocol/check.h"
#include "protocol/field.h"
#include "protocol/gossip.h"
#include "protocol/invite.h"
#include "protocol/record.h"
#include "protocol/seal.h"
#include "protocol/statement.h"
#include "protocol/survey.h"
#include "protocol/ticket.h"
#include "tests/fuzz/fuzz.h"

static struct secret *key;
static struct seal *seal;
static struct identity *peer[2];

static void set_up(void)
{
    if (key)
        return;
    key = secret_new((const uint8_t[GROUP_KEY_BYTES]){42});
    FUZZ_MUST(key && seal_new(&seal, key, NULL) == 0);
    for (uint8_t i = 0; i < 2; i++)
        FUZZ_MUST(identity_new(&peer[i], (const uint8_t[IDENTITY_SEED_BYTES]){i}, NULL) == 0);
}

static void same(const uint8_t *bytes, size_t n, const uint8_t *out, size_t out_bytes)
{
    FUZZ_MUST(out_bytes == n && memcmp(out, bytes, n) == 0);
}

/* ---- datagrams ---- */

static const uint8_t nonce[SEAL_NONCE_BYTES] = {1};

/* As it comes from a stranger: only what was sealed under the key opens. */
static void datagram(const uint8_t *bytes, size_t n)
{
    static uint8_t plain[4096], sealed[4096];
    uint8_t group[GROUP_ID_BYTES];
    enum seal_kind kind;
    size_t plain_bytes = 0;
    set_up();
    int peek = seal_peek(bytes, n, &kind, group);
    FUZZ_MUST(peek == 0 || n < SEAL_HEADER_BYTES || peek < 0);
    for (enum seal_kind k = SEAL_BEACON; k <= SEAL_PULSE; k++) {
        if (n > sizeof plain || seal_open(seal, k, bytes, n, plain, &plain_bytes))
            continue;
        FUZZ_MUST(peek == 0 && kind == k && memcmp(group, seal_key_id(seal), sizeof group) == 0);
        size_t again = seal_close(seal, k, bytes + 4 + GROUP_ID_BYTES, plain, plain_bytes, sealed);
        same(bytes, n, sealed, again);
    }
}

static void seed_datagram(struct fuzz_sink *sink)
{
    uint8_t out[128];
    set_up();
    fuzz_give(sink, out, seal_close(seal, SEAL_BEACON, nonce, (const uint8_t *)"plain", 5, out));
    fuzz_give(sink, out, seal_close(seal, SEAL_MESSAGE, nonce, (const uint8_t *)"plain", 5, out));
    fuzz_give(sink, out, seal_close(seal, SEAL_PULSE, nonce, (const uint8_t *)"plain", 5, out));
    fuzz_give(sink, out, seal_newcomer(nonce, nonce, out));
}

static void beacon(const uint8_t *bytes, size_t n)
{
    uint8_t sealed[BEACON_MAX_BYTES], again[BEACON_MAX_BYTES];
    struct beacon b;
    size_t again_bytes = 0;
    set_up();
    if (n > BEACON_MAX_BYTES - SEAL_OVERHEAD_BYTES)
        return;
    size_t sealed_bytes = seal_close(seal, SEAL_BEACON, nonce, bytes, n, sealed);
    if (beacon_decode(seal, sealed, sealed_bytes, &b, NULL))
        return;
    FUZZ_MUST(b.heard_count <= BEACON_HEARD_MAX && b.hello.port != 0);
    FUZZ_MUST(b.address.n == 4 || b.address.n == 16);
    FUZZ_MUST(beacon_encode(seal, nonce, &b, again, &again_bytes, NULL) == 0);
    same(sealed, sealed_bytes, again, again_bytes);
}

static void seed_beacon(struct fuzz_sink *sink)
{
    uint8_t sealed[BEACON_MAX_BYTES], plain[BEACON_MAX_BYTES];
    struct beacon b = {.interface = 3};
    size_t n = 0, plain_bytes = 0;
    set_up();
    b.hello = (struct hello){.id = peer[0]->id,
                             .boot = 3,
                             .instance = 0x123456789abcdef0,
                             .counter = 42,
                             .age_ms = 1000,
                             .wall_ms = -5,
                             .digest = UINT64_MAX,
                             .members = 3,
                             .port = 7373};
    memcpy(b.hello.sign_pk, peer[0]->sign_pk, SIGN_PK_BYTES);
    memcpy(b.hello.box_pk, peer[0]->box_pk, BOX_PK_BYTES);
    FUZZ_MUST(address_parse("192.168.56.11", &b.address) == 0);
    for (b.heard_count = 0; b.heard_count <= BEACON_HEARD_MAX; b.heard_count += 9) {
        if (b.heard_count == BEACON_HEARD_MAX) /* the longest that there is */
            b.hello.failed = peer[0]->id;
        for (size_t i = 0; i < b.heard_count; i++) {
            b.heard[i] = (struct beacon_heard){.id = {{(uint8_t)i}}, .instance = 7};
            FUZZ_MUST(address_parse("192.168.56.12", &b.heard[i].address) == 0);
        }
        FUZZ_MUST(beacon_encode(seal, nonce, &b, sealed, &n, NULL) == 0);
        FUZZ_MUST(seal_open(seal, SEAL_BEACON, sealed, n, plain, &plain_bytes) == 0);
        fuzz_give(sink, plain, plain_bytes);
    }
}

static void pulse(const uint8_t *bytes, size_t n)
{
    uint8_t sealed[PULSE_MAX_BYTES], again[PULSE_MAX_BYTES];
    struct pulse p;
    size_t again_bytes = 0;
    set_up();
    if (n > PULSE_MAX_BYTES - SEAL_OVERHEAD_BYTES)
        return;
    size_t sealed_bytes = seal_close(seal, SEAL_PULSE, nonce, bytes, n, sealed);
    if (pulse_decode(seal, sealed, sealed_bytes, &p, NULL))
        return;
    FUZZ_MUST(p.wish < PULSE_WISHES);
    FUZZ_MUST(pulse_encode(seal, nonce, &p, again, &again_bytes, NULL) == 0);
    same(sealed, sealed_bytes, again, again_bytes);
}

static void seed_pulse(struct fuzz_sink *sink)
{
    uint8_t sealed[PULSE_MAX_BYTES], plain[PULSE_MAX_BYTES];
    size_t n = 0, plain_bytes = 0;
    set_up();
    for (enum pulse_wish wish = PULSE_NOTHING; wish < PULSE_WISHES; wish++) {
        struct pulse p = {.id = peer[0]->id,
                          .boot = 1700000000,
                          .instance = wish ? UINT64_MAX : 5,
                          .counter = 42,
                          .to = wish ? UINT32_MAX : 0,
                          .digest = wish ? UINT64_MAX : 0,
                          .every_ms = wish ? 1000 : 0,
                          .next_ms = 60000,
                          .wish = wish};
        FUZZ_MUST(pulse_encode(seal, nonce, &p, sealed, &n, NULL) == 0);
        FUZZ_MUST(seal_open(seal, SEAL_PULSE, sealed, n, plain, &plain_bytes) == 0);
        fuzz_give(sink, plain, plain_bytes);
    }
}

/* ---- statements ---- */

static void statement(const uint8_t *bytes, size_t n)
{
    struct statement s;
    set_up();
    if (statement_decode(bytes, n, seal_key_id(seal), false, &s, NULL))
        return;
    FUZZ_MUST(s.payload >= bytes && s.payload + s.payload_bytes <= bytes + n);
    FUZZ_MUST(s.signature >= bytes && s.signature + SIGNATURE_BYTES <= bytes + n);
    int verified = statement_verify(&s, seal_key_id(seal), NULL);
    FUZZ_MUST(statement_decode(bytes, n, seal_key_id(seal), true, &s, NULL) == verified);
    if (verified == 0) { /* nobody but a holder of the key can say this: it is a seed's */
        uint8_t *out = NULL;
        size_t out_bytes = 0;
        FUZZ_MUST(peer_id_equal(&s.owner, &peer[0]->id));
        FUZZ_MUST(statement_encode(peer[0], seal_key_id(seal), s.kind, &s.subject, s.version, s.payload,
                                   s.payload_bytes, &out, &out_bytes, NULL) == 0);
        same(bytes, n, out, out_bytes);
        free(out);
    }
}

static void profile(const uint8_t *bytes, size_t n)
{
    static uint8_t again[STATEMENT_PAYLOAD_MAX];
    static struct profile p;
    if (profile_decode(bytes, n, &p))
        return;
    FUZZ_FIELD(p.name);
    FUZZ_FIELD(p.note);
    FUZZ_MUST(p.nets.net_count <= FACTS_NETS_MAX && p.nets.mac_count <= FACTS_MACS_MAX);
    FUZZ_MUST(p.phase < PHASE_COUNT && p.role <= ROLE_WORKER);
    same(bytes, n, again, profile_encode(&p, again));

    /* What the group's check makes of such a host, beside another. */
    static struct profile other = {.name = "node2", .has_facts = true};
    struct check_fault fault[8];
    struct check_list list = {.fault = fault, .room = COUNT_OF(fault)};
    const struct check_host hosts[] = {{.profile = &p}, {.profile = &other}};
    check_hosts(hosts, 2, true, &list);
    FUZZ_MUST(list.count <= list.room);
    for (size_t i = 0; i < list.count; i++)
        FUZZ_MUST(fuzz_ends(fault[i].text, sizeof fault[i].text) && fault[i].text[0]);
}

static void ballot(const uint8_t *bytes, size_t n)
{
    static uint8_t again[STATEMENT_PAYLOAD_MAX];
    static struct ballot b;
    if (ballot_decode(bytes, n, &b))
        return;
    FUZZ_MUST(b.set.count <= ELECTORATE_MAX && ballot_bytes(&b) <= sizeof b);
    same(bytes, n, again, ballot_encode(&b, again));
    for (size_t i = 0; i < b.set.count; i++)
        FUZZ_MUST(electorate_index(&b.set, &b.set.member[i]) == (int)i);
}

static void rekey(const uint8_t *bytes, size_t n)
{
    uint8_t again[STATEMENT_PAYLOAD_MAX];
    struct rekey k;
    if (rekey_decode(bytes, n, &k))
        return;
    FUZZ_MUST(k.epoch > 0);
    same(bytes, n, again, rekey_encode(&k, again));
}

static void grant(const uint8_t *bytes, size_t n)
{
    static uint8_t again[STATEMENT_PAYLOAD_MAX];
    static struct grant g;
    if (grant_decode(bytes, n, &g))
        return;
    FUZZ_FIELD(g.refused);
    FUZZ_FIELD(g.reached);
    FUZZ_MUST(g.ticket_bytes <= TICKET_BOX_MAX);
    same(bytes, n, again, grant_encode(&g, again));
}

static const struct record a_record = {
    .cluster_id = "0123456789abcdef0123456789abcdef",
    .endpoint = "192.168.56.11:6443",
    .ca_hash = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    .kubernetes_version = "v1.20.2",
    .pod_cidr = "10.244.0.0/16",
    .service_cidr = "10.96.0.0/12",
    .founder_name = "node1",
    .term = 3,
};

static void two_of_them(struct electorate *set)
{
    bool ascending = peer_id_compare(&peer[0]->id, &peer[1]->id) < 0;
    *set = (struct electorate){.number = 1, .count = 2};
    set->member[0] = peer[!ascending]->id;
    set->member[1] = peer[ascending]->id;
}

static size_t a_profile(uint8_t out[static STATEMENT_PAYLOAD_MAX])
{
    static struct profile p = {
        .name = "node1",
        .version = "0.1.0",
        .address = "192.168.56.11",
        .port = 7373,
        .phase = PHASE_SETTLING,
        .able = true,
        .has_facts = true,
        .expect = 3,
        .facts = {.hostname = "node1", .cpus = 2, .memory_mb = 4000, .kubernetes_version = "v1.20.2"},
        .nets = {.net_count = 1, .net = {"192.168.56.0/24"}, .mac_count = 1},
        .pod_cidr = "10.244.0.0/16",
        .service_cidr = "10.96.0.0/12"};
    return profile_encode(&p, out);
}

static void seed_profile(struct fuzz_sink *sink)
{
    static uint8_t out[STATEMENT_PAYLOAD_MAX];
    fuzz_give(sink, out, a_profile(out));
}

static void seed_ballot(struct fuzz_sink *sink)
{
    static uint8_t out[STATEMENT_PAYLOAD_MAX];
    static struct ballot b = {.bound = true, .floor = 2, .term = 3, .accepted = true, .accepted_term = 3};
    set_up();
    two_of_them(&b.set);
    b.vote = peer[0]->id;
    b.record = a_record;
    b.record.founder = peer[0]->id;
    fuzz_give(sink, out, ballot_encode(&b, out));
    b.accepted = false;
    fuzz_give(sink, out, ballot_encode(&b, out));
    b.bound = false;
    fuzz_give(sink, out, ballot_encode(&b, out));
}

static void seed_rekey(struct fuzz_sink *sink)
{
    uint8_t out[STATEMENT_PAYLOAD_MAX];
    struct rekey k = {.epoch = 3, .box = {1, 2, 3}};
    fuzz_give(sink, out, rekey_encode(&k, out));
    k.evicted = true;
    fuzz_give(sink, out, rekey_encode(&k, out));
}

static void seed_grant(struct fuzz_sink *sink)
{
    static uint8_t out[STATEMENT_PAYLOAD_MAX];
    static struct grant g = {
        .ticket_nonce = 7, .ticket_bytes = 100, .reached = "10.244.1.2", .leave_nonce = 8};
    set_up();
    g.subject = peer[1]->id;
    fuzz_give(sink, out, grant_encode(&g, out));
}

static void seed_statement(struct fuzz_sink *sink)
{
    static uint8_t payload[STATEMENT_PAYLOAD_MAX];
    uint8_t *out = NULL;
    size_t n = 0;
    set_up();
    FUZZ_MUST(statement_encode(peer[0], seal_key_id(seal), STATEMENT_PROFILE, NULL, (uint64_t)3 << 32,
                               payload, a_profile(payload), &out, &n, NULL) == 0);
    fuzz_give(sink, out, n);
    free(out);
    FUZZ_MUST(statement_encode(peer[0], seal_key_id(seal), STATEMENT_GRANT, &peer[1]->id, 1,
                               (const uint8_t *)"x", 1, &out, &n, NULL) == 0);
    fuzz_give(sink, out, n);
    free(out);
}

/* ---- the committed record ---- */

static void committed(const uint8_t *bytes, size_t n)
{
    static struct committed c;
    static struct record r;
    uint8_t *out = NULL;
    size_t out_bytes = 0;
    if (committed_read(bytes, n, &c, NULL)) {
        FUZZ_MUST(record_verify(bytes, n, &r, NULL) < 0);
        return;
    }
    FUZZ_MUST(c.set.count <= ELECTORATE_MAX && c.signature_count <= c.set.count);
    FUZZ_MUST(committed_encode(&c, &out, &out_bytes, NULL) == 0);
    same(bytes, n, out, out_bytes);
    free(out);
    int verified = record_verify(bytes, n, &r, NULL);
    FUZZ_MUST(verified == committed_verify(&c, NULL));
    FUZZ_MUST(verified || record_equal(&r, &c.record));
}

static void seed_committed(struct fuzz_sink *sink)
{
    static struct committed c = {.term = 3, .signature_count = 2};
    uint8_t set_id[SET_ID_BYTES], text[ACCEPT_TEXT_BYTES];
    uint8_t *out = NULL;
    size_t n = 0;
    set_up();
    c.record = a_record;
    c.record.founder = peer[0]->id;
    two_of_them(&c.set);
    memcpy(c.group_id, seal_key_id(seal), sizeof c.group_id);
    electorate_id(&c.set, set_id);
    record_accept_text(c.group_id, set_id, c.term, &c.record, text);
    for (uint16_t i = 0; i < 2; i++) {
        const struct identity *who = peer_id_equal(&c.set.member[i], &peer[0]->id) ? peer[0] : peer[1];
        c.signature[i].member = i;
        memcpy(c.signature[i].sign_pk, who->sign_pk, SIGN_PK_BYTES);
        identity_sign(who, ACCEPT_DOMAIN, text, sizeof text, c.signature[i].sig);
    }
    FUZZ_MUST(committed_encode(&c, &out, &n, NULL) == 0);
    FUZZ_MUST(record_verify(out, n, &(struct record){0}, NULL) == 0);
    fuzz_give(sink, out, n);
    free(out);
}

/* ---- tickets ---- */

static const uint8_t box_seed[32] = {5};

static void ticket(const uint8_t *bytes, size_t n)
{
    uint8_t box[TICKET_BOX_MAX], again[TICKET_BOX_MAX];
    struct ticket t;
    uint16_t again_bytes = 0;
    set_up();
    (void)ticket_open(peer[0], bytes, n, &t);
    if (n > TICKET_BOX_MAX - SEAL_BOX_OVERHEAD_BYTES)
        return;
    FUZZ_MUST(seal_box(peer[0]->box_pk, box_seed, bytes, n, box) == 0);
    if (ticket_open(peer[0], box, n + SEAL_BOX_OVERHEAD_BYTES, &t))
        return;
    FUZZ_MUST(t.nonce != 0 && peer_id_equal(&t.joiner, &peer[0]->id));
    FUZZ_FIELD(t.token);
    FUZZ_MUST(ticket_seal(&t, peer[0]->box_pk, box_seed, again, &again_bytes) == 0);
    same(box, n + SEAL_BOX_OVERHEAD_BYTES, again, again_bytes);
}

static void seed_ticket(struct fuzz_sink *sink)
{
    uint8_t box[TICKET_BOX_MAX], plain[TICKET_BOX_MAX];
    uint16_t n = 0;
    set_up();
    struct ticket t = {.joiner = peer[0]->id,
                       .issuer = peer[1]->id,
                       .nonce = 9,
                       .ttl_ms = 600000,
                       .cluster_id = "0123456789abcdef0123456789abcdef",
                       .endpoint = "192.168.56.11:6443",
                       .token = "abcdef.0123456789abcdef"};
    memcpy(t.ca_hash, a_record.ca_hash, sizeof t.ca_hash);
    FUZZ_MUST(ticket_seal(&t, peer[0]->box_pk, box_seed, box, &n) == 0);
    FUZZ_MUST(seal_box_open(peer[0], box, n, plain) == 0);
    fuzz_give(sink, plain, n - SEAL_BOX_OVERHEAD_BYTES);
}

/* ---- summaries ---- */

static struct gossip known;

static void know(const struct identity *who, enum statement_kind kind, const struct peer_id *subject,
                 uint64_t version)
{
    struct statement s;
    uint8_t *wire = NULL;
    size_t n = 0;
    FUZZ_MUST(statement_encode(who, seal_key_id(seal), kind, subject, version, (const uint8_t *)"x", 1, &wire,
                               &n, NULL) == 0);
    FUZZ_MUST(statement_decode(wire, n, seal_key_id(seal), true, &s, NULL) == 0);
    FUZZ_MUST(gossip_put(&known, &s) == 1);
    free(wire);
}

static void know_something(void)
{
    set_up();
    if (known.count)
        return;
    know(peer[0], STATEMENT_PROFILE, NULL, 5);
    know(peer[0], STATEMENT_BALLOT, NULL, 6);
    know(peer[1], STATEMENT_PROFILE, NULL, 7);
    know(peer[1], STATEMENT_GRANT, &peer[0]->id, 8);
}

static void count_lacking(void *ctx, const struct gossip_item *item)
{
    FUZZ_MUST(item >= known.item && item < known.item + known.count);
    ++*(size_t *)ctx;
}

static void summary(const uint8_t *bytes, size_t n)
{
    struct pack_reader r;
    size_t lacking = 0;
    bool ahead = false;
    know_something();
    uint64_t digest = known.digest;
    if (pack_open(&r, bytes, n, 2, NULL))
        return;
    gossip_compare(&known, &r, count_lacking, &lacking, &ahead);
    FUZZ_MUST(lacking <= known.count && known.digest == digest && known.count == 4);
    if (pack_close(&r, NULL) || ahead || lacking)
        return;
    /* Neither has more: then it is our own summary, byte by byte. */
    uint8_t own[1024];
    struct pack_writer w;
    pack_writer_into(&w, own, sizeof own);
    gossip_summary_pack(&known, &w);
    FUZZ_MUST(pack_writer_end(&w, NULL) == 0);
    same(bytes, n, own, w.used);
}

static void seed_summary(struct fuzz_sink *sink)
{
    uint8_t own[1024];
    struct pack_writer w;
    know_something();
    pack_writer_into(&w, own, sizeof own);
    gossip_summary_pack(&known, &w);
    FUZZ_MUST(pack_writer_end(&w, NULL) == 0);
    fuzz_give(sink, own, w.used);
}

/* ---- texts of messages and of what a user types ---- */

static void fields(const uint8_t *bytes, size_t n)
{
    cleanup_free char *text = fuzz_text(bytes, n);
    char *second = text, *first = fuzz_line(&second), shown[STEP_CIDR_BYTES], again[STEP_CIDR_BYTES];
    struct address a;
    struct network net;
    uint16_t port = 1;
    FUZZ_MUST(check_cidr_overlap(first, second) == check_cidr_overlap(second, first));
    FUZZ_MUST(!field_cidr(first) || check_cidr_overlap(first, first));
    if (address_parse(first, &a) == 0) {
        address_text(&a, shown);
        FUZZ_MUST(address_parse(shown, &(struct address){0}) == 0);
    } else {
        FUZZ_MUST(!field_address(first));
    }
    if (network_parse(first, &net, NULL) == 0) {
        network_text(&net, shown);
        FUZZ_MUST(network_parse(shown, &net, NULL) == 0);
        network_text(&net, again);
        FUZZ_MUST(strcmp(shown, again) == 0 && network_contains(&net, &net.address));
    }
    if (field_endpoint(first))
        FUZZ_MUST(address_parse_endpoint(first, &a, &port, NULL) == 0 && port != 0);
    (void)address_parse_endpoint(first, &a, &port, NULL);
    FUZZ_MUST(!field_name(first) || fuzz_shows(first));
    FUZZ_MUST(!field_token(first) || strlen(first) + 1 == STEP_TOKEN_BYTES);
    FUZZ_MUST(!field_hash(first) || strlen(first) + 1 == STEP_HASH_BYTES);
    FUZZ_MUST(!field_cluster_id(first) || strlen(first) + 1 == STEP_ID_BYTES);
    (void)(field_interface(first) || field_version(first));
}

/* What hosts of a group told of each other: [how many, ring, then per host: answer, serves, mtu, clock,
 * listeners, and what it saw of each]. The survey's answers are read in node.c; this is what is made of them.
 */
static void survey(const uint8_t *bytes, size_t n)
{
    enum { HOSTS = 40 };
    static struct survey_host hosts[HOSTS];
    static struct profile profiles[HOSTS];
    static struct check_fault faults[SURVEY_FAULTS_MAX];
    struct check_list list = {.fault = faults, .room = COUNT_OF(faults)};
    size_t at = 2;
    if (n < 2)
        return;
    size_t count = bytes[0] % (HOSTS + 1), ring = count ? bytes[1] % (count + 1) : 0;
    memset(hosts, 0, sizeof hosts);
    for (size_t i = 0; i < count; i++) {
        struct survey_host *h = &hosts[i];
        const uint8_t *b = bytes + at;
        snprintf(profiles[i].name, sizeof profiles[i].name, "node%zu", i % 32);
        snprintf(profiles[i].address, sizeof profiles[i].address, "192.168.56.%zu", i + 1);
        h->check = (struct check_host){.profile = &profiles[i]};
        if (n - at < 12)
            continue;
        h->answer = b[0] % (ANSWER_FULL + 1);
        h->serves = b[1] % 2;
        h->mtu = (uint16_t)(b[2] * 257);
        h->check.clock_offset_ms = (int8_t)b[3] * 1000;
        h->check.has_offset = b[3] != 0;
        for (size_t k = 0; k < SURVEY_PORTS; k++)
            h->listen[k] = b[4 + k] % LISTEN_COUNT;
        for (size_t k = 0; k < SURVEY_SPREAD; k++) {
            h->seen.heard[k] = (uint16_t)(b[9 + k % 3] * 257);
            for (size_t p = 0; p < SURVEY_TCP_PORTS; p++)
                h->seen.tcp[k][p] = b[(k + p) % 12] % REACH_COUNT;
        }
        at += 12;
    }
    FUZZ_MUST(survey_judge(hosts, ring, count, &list) == 0);
    FUZZ_MUST(list.count <= list.room);
    for (size_t i = 0; i < list.count; i++) {
        FUZZ_MUST(fuzz_ends(faults[i].text, sizeof faults[i].text) && faults[i].text[0]);
        FUZZ_MUST(fuzz_ends(faults[i].check, sizeof faults[i].check) && fuzz_shows(faults[i].text));
        for (size_t k = 0; k < faults[i].host_count && k < CHECK_NAMED_MAX; k++)
            FUZZ_MUST(faults[i].host[k] < count);
    }
}

static void seed_survey(struct fuzz_sink *sink)
{
    uint8_t out[2 + 40 * 12];
    for (uint8_t count = 1; count <= 40; count += 13) {
        out[0] = out[1] = count;
        for (size_t i = 0; i < 12u * count; i++)
            out[2 + i] = i % 12 == 0 ? ANSWER_FULL : i % 12 == 2 || i % 12 > 8 ? 6 : 1;
        fuzz_give(sink, out, 2 + 12u * count);
    }
}

/* ---- the kernel's word on interfaces ---- */

static void netlink(const uint8_t *bytes, size_t n)
{
    static struct nic_table t;
    t = (struct nic_table){0};
    (void)nic_parse(&t, bytes, n);
    FUZZ_MUST(t.count <= NIC_MAX);
    for (size_t i = 0; i < t.count; i++) {
        const struct nic *nic = &t.nic[i];
        FUZZ_FIELD(nic->name);
        FUZZ_FIELD(nic->kind);
        FUZZ_MUST(nic->address_count <= NIC_ADDRESSES_MAX);
        (void)nic_usable(nic);
        (void)nic_identifies(nic);
    }
}

static void put_attribute(uint8_t *out, size_t *n, uint16_t type, const void *body, size_t bytes)
{
    struct rtattr a = {.rta_len = (uint16_t)(sizeof a + bytes), .rta_type = type};
    memcpy(out + *n, &a, sizeof a);
    memcpy(out + *n + sizeof a, body, bytes);
    *n += RTA_ALIGN(sizeof a + bytes);
}

static void seed_netlink(struct fuzz_sink *sink)
{
    uint8_t out[256] = {0};
    struct ifinfomsg link = {.ifi_index = 2, .ifi_flags = IFF_UP | IFF_MULTICAST};
    struct ifaddrmsg address = {.ifa_family = 2, .ifa_prefixlen = 24, .ifa_index = 2};
    struct nlmsghdr head = {.nlmsg_type = RTM_NEWLINK};
    size_t n = sizeof head + sizeof link, second;
    memcpy(out + sizeof head, &link, sizeof link);
    put_attribute(out, &n, IFLA_IFNAME, "eth1", 5);
    put_attribute(out, &n, IFLA_ADDRESS, "\x08\x00\x27\x01\x02\x03", 6);
    head.nlmsg_len = (uint32_t)n;
    memcpy(out, &head, sizeof head);
    fuzz_give(sink, out, n);
    second = n;
    memcpy(out + n + sizeof head, &address, sizeof address);
    n += sizeof head + sizeof address;
    put_attribute(out, &n, IFA_LOCAL, "\xc0\xa8\x38\x0b", 4);
    head = (struct nlmsghdr){.nlmsg_type = RTM_NEWADDR, .nlmsg_len = (uint32_t)(n - second)};
    memcpy(out + second, &head, sizeof head);
    fuzz_give(sink, out, n);
}

/* ---- invitations ---- */

#define INVITE_PIECE (1 + INVITE_BYTES)

static const uint8_t invite_code[INVITE_CODE_BYTES] = {1, 2, 3, 4, 5};

/* An honest guest and the host that invites it, with somebody between them who knows no code. Each piece is
 * who hears it and what it hears: as it is, or laid over what the other side has just said. */
static void invite(const uint8_t *bytes, size_t n)
{
    static const uint8_t session[INVITE_SESSION_BYTES] = {6}, scalar[CPACE_SCALAR_BYTES] = {7};
    uint8_t said[INVITE_BYTES], reply[INVITE_BYTES] = {0}, random[CPACE_SCALAR_BYTES] = {8};
    struct secret *got = NULL;
    set_up();
    struct invitation *inv = invitation_new(invite_code, 1000);
    struct guest *g = guest_new(invite_code, session, scalar);
    bool claimed = false; /* the inviting host heard the guest's own claim */
    FUZZ_MUST(inv && g);
    for (uint64_t now = 1000; !got && n >= INVITE_PIECE;
         n -= INVITE_PIECE, bytes += INVITE_PIECE, now += 50) {
        bool to_guest = bytes[0] & 1, over = bytes[0] & 2;
        if (to_guest)
            memcpy(said, reply, sizeof said);
        else
            guest_say(g, said);
        for (size_t i = 0; i < INVITE_BYTES; i++)
            said[i] = (uint8_t)(over ? said[i] ^ bytes[1 + i] : bytes[1 + i]);
        if (to_guest) {
            (void)guest_take(g, said, sizeof said, &got);
            continue;
        }
        uint8_t own[INVITE_BYTES];
        guest_say(g, own);
        claimed = claimed || (guest_claims(g) && memcmp(own, said, sizeof own) == 0);
        random[1] = (uint8_t)now;
        (void)invitation_take(inv, said, sizeof said, key, random, now, reply);
        FUZZ_MUST(claimed || invitation_state(inv, now) == INVITATION_OPEN);
    }
    FUZZ_MUST(!got || secret_equal(got, key));
    secret_free(got);
    guest_free(g);
    invitation_free(inv);
}

static void seed_invite(struct fuzz_sink *sink)
{
    uint8_t out[5 * INVITE_PIECE] = {0};
    for (size_t i = 0; i < 5; i++)
        out[i * INVITE_PIECE] = (uint8_t)(2 | (i & 1));
    fuzz_give(sink, out, sizeof out);
    out[INVITE_PIECE + 40] = 1;
    fuzz_give(sink, out, sizeof out);
}

/* What a person types as a code. */
static void code_text(const uint8_t *bytes, size_t n)
{
    char *text = fuzz_text(bytes, n), again[INVITE_CODE_TEXT];
    uint8_t code[INVITE_CODE_BYTES], back[INVITE_CODE_BYTES];
    struct err e = {0};
    if (invite_code_parse(text, code, &e)) {
        FUZZ_MUST(fuzz_shows(e.text));
    } else {
        invite_code_text(code, again);
        FUZZ_MUST(invite_code_parse(again, back, NULL) == 0 && memcmp(code, back, sizeof code) == 0);
    }
    free(text);
}

static void seed_code_text(struct fuzz_sink *sink)
{
    char text[INVITE_CODE_TEXT];
    invite_code_text(invite_code, text);
    fuzz_give(sink, text, sizeof text - 1);
}

const struct fuzz_target fuzz_wire[] = {
    {"netlink", "what the kernel says of interfaces", 1024, netlink, seed_netlink},
    {"datagram", "a datagram as it comes", 1500, datagram, seed_datagram},
    {"beacon", "a beacon's plain bytes", BEACON_MAX_BYTES, beacon, seed_beacon},
    {"pulse", "a pulse's plain bytes", PULSE_MAX_BYTES, pulse, seed_pulse},
    {"statement", "a signed statement", 1024, statement, seed_statement},
    {"profile", "a profile, and what the group's check says of it", 1024, profile, seed_profile},
    {"ballot", "a ballot", 1024, ballot, seed_ballot},
    {"grant", "a grant", 1024, grant, seed_grant},
    {"rekey", "a member's part of a rotation", 256, rekey, seed_rekey},
    {"committed", "a committed record", 2048, committed, seed_committed},
    {"ticket", "a ticket's plain bytes", TICKET_BOX_MAX, ticket, seed_ticket},
    {"summary", "a summary of what a peer keeps", 1024, summary, seed_summary},
    {"survey", "what hosts tell of each other, and what is made of it", 512, survey, seed_survey},
    {"invite", "datagrams between a guest and the host that invites it", 8 * INVITE_PIECE, invite,
     seed_invite},
    {"code", "an invitation's code", 32, code_text, seed_code_text},
    {"fields", "addresses, networks, names in messages and settings", 160, fields, NULL},
    {0},
};
