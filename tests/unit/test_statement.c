/* Statements: signed, versioned, decoded strictly, whatever the payload. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "protocol/statement.h"

static const uint8_t group[GROUP_ID_BYTES] = {1}, other_group[GROUP_ID_BYTES] = {2};
static struct identity *me;

static int set_up(void **state)
{
    static const uint8_t seed[32] = {3};
    (void)state;
    return identity_new(&me, seed, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    identity_free(me);
    return 0;
}

static struct profile a_profile(void)
{
    struct profile p = {.name = "node1",
                        .former_name = "node",
                        .version = "0.1.0",
                        .address = "192.168.56.11",
                        .port = 7373,
                        .role = ROLE_MASTER,
                        .phase = PHASE_JOINING,
                        .able = true,
                        .has_facts = true,
                        .expect = 3,
                        .pod_cidr = "10.244.0.0/16",
                        .service_cidr = "10.96.0.0/12",
                        .ticket_nonce = UINT64_MAX,
                        .asked_start = UINT32_MAX,
                        .note = "waits for \xc3\xa9tcd"};
    p.facts = (struct facts){.hostname = "node1", .cpus = 2, .memory_mb = 4000};
    p.nets.net_count = 1;
    strcpy(p.nets.net[0], "192.168.56.0/24");
    p.nets.mac_count = 1;
    p.nets.mac[0][0] = 2;
    return p;
}

static struct ballot *a_ballot(void)
{
    struct ballot *b = calloc(1, sizeof *b);
    assert_non_null(b);
    b->bound = b->accepted = true;
    b->floor = 1;
    b->term = 7;
    b->accepted_term = 6;
    b->set = (struct electorate){.number = 2, .count = 2, .member = {{{1}}, {{2}}}};
    strcpy(b->record.cluster_id, "0123456789abcdef0123456789abcdef");
    return b;
}

static void test_payloads_round_trip(void **state)
{
    (void)state;
    uint8_t out[STATEMENT_PAYLOAD_MAX], again[STATEMENT_PAYLOAD_MAX];
    struct profile p = a_profile(), p2;
    size_t n = profile_encode(&p, out);
    assert_int_equal(profile_decode(out, n, &p2), 0);
    assert_int_equal(profile_encode(&p2, again), n);
    assert_memory_equal(out, again, n);
    assert_string_equal(p2.note, p.note);
    assert_true(p2.ticket_nonce == UINT64_MAX);
    assert_true(p2.asked_start == UINT32_MAX);
    struct ballot *b = a_ballot(), *b2 = a_ballot();
    memset(b2, 0, sizeof *b2);
    n = ballot_encode(b, out);
    assert_int_equal(ballot_decode(out, n, b2), 0);
    assert_memory_equal(b, b2, sizeof *b);
    struct grant g = {.subject = {{4}}, .ticket_nonce = 9, .ticket_bytes = 3, .refused = "no"}, g2;
    n = grant_encode(&g, out);
    assert_int_equal(grant_decode(out, n, &g2), 0);
    assert_int_equal(g2.ticket_bytes, 3);
    assert_string_equal(g2.refused, "no");
    struct rekey k = {.epoch = 7, .box = {1, 2, 3}}, k2;
    n = rekey_encode(&k, out);
    assert_int_equal(rekey_decode(out, n, &k2), 0);
    assert_memory_equal(&k, &k2, sizeof k);
    for (size_t cut = 0; cut < n; cut++)
        assert_int_not_equal(rekey_decode(out, cut, &k2), 0);
    k = (struct rekey){.epoch = 7, .evicted = true};
    assert_int_equal(rekey_decode(out, rekey_encode(&k, out), &k2), 0);
    assert_true(k2.evicted);
    k.epoch = 0;
    assert_int_not_equal(rekey_decode(out, rekey_encode(&k, out), &k2), 0);
    free(b);
    free(b2);
}

static void test_the_largest_ballot_fits(void **state)
{
    (void)state;
    uint8_t out[STATEMENT_PAYLOAD_MAX];
    struct ballot *b = a_ballot();
    b->set.count = ELECTORATE_MAX;
    for (size_t i = 0; i < ELECTORATE_MAX; i++)
        b->set.member[i] = (struct peer_id){{(uint8_t)(i >> 8), (uint8_t)i}};
    size_t n = ballot_encode(b, out);
    assert_true(n > ELECTORATE_MAX * PEER_ID_BYTES);
    assert_int_equal(ballot_decode(out, n, b), 0);
    free(b);
}

static void test_payloads_altered_and_cut(void **state)
{
    (void)state;
    uint8_t out[STATEMENT_PAYLOAD_MAX];
    struct profile p = a_profile();
    struct ballot *b = a_ballot();
    struct grant g = {.subject = {{4}}, .ticket_nonce = 9, .ticket_bytes = 3};
    for (int kind = 0; kind < 3; kind++) {
        size_t n = kind == 0   ? profile_encode(&p, out)
                   : kind == 1 ? ballot_encode(b, out)
                               : grant_encode(&g, out);
        for (size_t bit = 0; bit <= 8 * n; bit++) {
            struct profile *p2 = malloc(sizeof *p2);
            struct ballot *b2 = malloc(sizeof *b2);
            struct grant g2;
            size_t bytes = bit % 8 == 0 ? bit / 8 : n; /* also each length */
            assert_true(p2 && b2);
            if (bit < 8 * n)
                out[bit / 8] ^= (uint8_t)(1 << bit % 8);
            int rc = kind == 0   ? profile_decode(out, bytes, p2)
                     : kind == 1 ? ballot_decode(out, bytes, b2)
                                 : grant_decode(out, bytes, &g2);
            if (bytes < n)
                assert_int_not_equal(rc, 0);
            if (rc == 0 && kind == 0)
                assert_non_null(memchr(p2->name, 0, sizeof p2->name));
            if (rc == 0 && kind == 1)
                assert_true(b2->set.count <= ELECTORATE_MAX);
            if (bit < 8 * n)
                out[bit / 8] ^= (uint8_t)(1 << bit % 8);
            free(p2);
            free(b2);
        }
    }
    free(b);
}

static void test_ballots_that_contradict_themselves(void **state)
{
    (void)state;
    uint8_t out[STATEMENT_PAYLOAD_MAX];
    struct ballot *b = a_ballot();
    b->accepted_term = b->term + 1;
    assert_int_not_equal(ballot_decode(out, ballot_encode(b, out), b), 0);
    b->accepted_term = 1;
    b->bound = false;
    assert_int_not_equal(ballot_decode(out, ballot_encode(b, out), b), 0);
    b->bound = true;
    b->set.member[1] = b->set.member[0]; /* one member twice */
    assert_int_not_equal(ballot_decode(out, ballot_encode(b, out), b), 0);
    free(b);
}

static void test_only_the_owner_speaks(void **state)
{
    (void)state;
    uint8_t payload[STATEMENT_PAYLOAD_MAX], *wire = NULL;
    struct profile p = a_profile();
    struct statement s = {.version = 99};
    size_t bytes = profile_encode(&p, payload), n = 0;
    assert_int_equal(statement_encode(me, group, STATEMENT_PROFILE, NULL, 5, payload, bytes, &wire, &n, NULL),
                     0);
    assert_int_equal(statement_decode(wire, n, other_group, true, &s, NULL), KPEER_EAUTH);
    for (size_t i = 0; i < n; i++) {
        wire[i] ^= (uint8_t)(1 << i % 8);
        assert_int_not_equal(statement_decode(wire, n, group, true, &s, NULL), 0);
        wire[i] ^= (uint8_t)(1 << i % 8);
        assert_int_not_equal(statement_decode(wire, i, group, true, &s, NULL), 0);
    }
    assert_int_equal(s.version, 99); /* set on success alone */
    assert_int_equal(statement_decode(wire, n, group, true, &s, NULL), 0);
    assert_true(peer_id_equal(&s.owner, &me->id));
    assert_int_equal(s.version, 5);
    assert_int_equal(s.payload_bytes, bytes);
    free(wire);
}

static void test_kind_and_subject_go_together(void **state)
{
    (void)state;
    static const struct peer_id subject = {{6}};
    uint8_t payload[] = {0xc0}, *wire = NULL;
    struct statement s;
    size_t n = 0;
    for (int kind = STATEMENT_PROFILE; kind <= STATEMENT_KEY; kind++)
        for (int with = 0; with < 2; with++) {
            assert_int_equal(statement_encode(me, group, (enum statement_kind)kind, with ? &subject : NULL, 1,
                                              payload, 1, &wire, &n, NULL),
                             0);
            bool good = (kind >= STATEMENT_GRANT) == with;
            assert_int_equal(statement_decode(wire, n, group, true, &s, NULL) == 0, good);
            free(wire);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_payloads_round_trip),
        cmocka_unit_test(test_the_largest_ballot_fits),
        cmocka_unit_test(test_payloads_altered_and_cut),
        cmocka_unit_test(test_ballots_that_contradict_themselves),
        cmocka_unit_test(test_only_the_owner_speaks),
        cmocka_unit_test(test_kind_and_subject_go_together),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
