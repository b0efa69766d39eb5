/* Beacons: what was put in comes out, and nothing else is ever taken for one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "discovery/beacon.h"
#include "protocol/pack.h"

struct fixture {
    struct secret *key;
    struct seal *seal;
    struct identity *id;
    struct beacon beacon;
};

static void address_of(struct address *a, const char *text)
{
    assert_int_equal(address_parse(text, a), 0);
}

static int set_up(void **state)
{
    static struct fixture f;
    uint8_t bytes[32];
    memset(bytes, 7, sizeof bytes);
    f = (struct fixture){.key = secret_new(bytes)};
    assert_non_null(f.key);
    assert_int_equal(seal_new(&f.seal, f.key, NULL), 0);
    assert_int_equal(identity_new(&f.id, bytes, NULL), 0);
    f.beacon.hello = (struct hello){.id = f.id->id,
                                    .boot = 3,
                                    .instance = 0x123456789abcdef0,
                                    .counter = 42,
                                    .age_ms = 1000,
                                    .wall_ms = -5,
                                    .digest = UINT64_MAX,
                                    .members = 3,
                                    .port = 7373};
    memcpy(f.beacon.hello.sign_pk, f.id->sign_pk, SIGN_PK_BYTES);
    memcpy(f.beacon.hello.box_pk, f.id->box_pk, BOX_PK_BYTES);
    f.beacon.hello.outbid = (struct peer_id){{7}};
    f.beacon.hello.outbid_boot = 8;
    f.beacon.hello.outbid_instance = 9;
    address_of(&f.beacon.address, "192.168.56.11");
    f.beacon.interface = 3;
    f.beacon.heard_count = 2;
    for (size_t i = 0; i < 2; i++) {
        f.beacon.heard[i].id.b[0] = (uint8_t)(i + 1);
        f.beacon.heard[i].instance = 0xfffffff0 + (uint32_t)i;
        address_of(&f.beacon.heard[i].address, i ? "fd00::12" : "192.168.56.12");
    }
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    identity_free(f->id);
    seal_free(f->seal);
    secret_free(f->key);
    return 0;
}

static size_t encode(const struct fixture *f, uint8_t out[static BEACON_MAX_BYTES])
{
    const uint8_t nonce[SEAL_NONCE_BYTES] = {1};
    size_t n = 0;
    assert_int_equal(beacon_encode(f->seal, nonce, &f->beacon, out, &n, NULL), 0);
    return n;
}

static void test_comes_out_as_it_went_in(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[BEACON_MAX_BYTES];
    struct beacon b;
    struct err err = {0};
    size_t n = encode(f, bytes);
    if (beacon_decode(f->seal, bytes, n, &b, &err))
        fail_msg("%s", err.text);
    assert_true(peer_id_equal(&b.hello.id, &f->id->id));
    assert_int_equal(b.hello.boot, 3);
    assert_true(peer_id_equal(&b.hello.outbid, &f->beacon.hello.outbid));
    assert_int_equal(b.hello.outbid_boot, 8);
    assert_int_equal(b.hello.outbid_instance, 9);
    assert_true(b.hello.instance == f->beacon.hello.instance && b.hello.digest == UINT64_MAX);
    assert_int_equal(b.hello.counter, 42);
    assert_int_equal(b.hello.age_ms, 1000);
    assert_true(b.hello.wall_ms == -5);
    assert_int_equal(b.hello.members, 3);
    assert_int_equal(b.hello.port, 7373);
    assert_memory_equal(b.hello.box_pk, f->id->box_pk, BOX_PK_BYTES);
    assert_true(address_equal(&b.address, &f->beacon.address));
    assert_int_equal(b.interface, 3);
    assert_int_equal(b.heard_count, 2);
    assert_int_equal(b.heard[1].instance, 0xfffffff1);
    assert_true(address_equal(&b.heard[1].address, &f->beacon.heard[1].address));
}

/* Fields that are there where there is somebody to name, of either kind. */
static void test_names_who_is_outbid_or_has_failed(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[BEACON_MAX_BYTES];
    size_t n[4];
    for (unsigned round = 0; round < 4; round++) {
        struct hello *h = &f->beacon.hello;
        struct beacon b;
        h->outbid = (struct peer_id){{round & 1 ? 8 : 0}};
        h->outbid_boot = round & 1 ? 80 : 0;
        h->outbid_instance = round & 1 ? 81 : 0;
        h->failed = (struct peer_id){{0, round & 2 ? 9 : 0}};
        h->failed_instance = round & 2 ? 77 : 0;
        n[round] = encode(f, bytes);
        assert_int_equal(beacon_decode(f->seal, bytes, n[round], &b, NULL), 0);
        assert_true(peer_id_equal(&b.hello.outbid, &h->outbid) && peer_id_equal(&b.hello.failed, &h->failed));
        assert_true(b.hello.outbid_boot == h->outbid_boot && b.hello.outbid_instance == h->outbid_instance);
        assert_true(b.hello.failed_instance == h->failed_instance);
    }
    assert_true(n[0] < n[2] && n[2] < n[1] && n[1] < n[3]);
}

/* What was decoded is encoded again, byte by byte, however long the list is that its small numbers let in. */
static void test_a_full_list_goes_round(void **state)
{
    struct fixture *f = *state;
    const uint8_t nonce[SEAL_NONCE_BYTES] = {1};
    static const uint32_t instances[] = {7, 200, 60000, UINT32_MAX};
    uint8_t bytes[BEACON_MAX_BYTES], again[BEACON_MAX_BYTES];
    struct beacon b;
    f->beacon.heard_count = BEACON_HEARD_MAX;
    for (size_t round = 0; round < 2 * 2 * 4; round++) {
        f->beacon.hello.failed = (struct peer_id){{(uint8_t)(round % 2)}};
        for (size_t i = 0; i < BEACON_HEARD_MAX; i++)
            f->beacon.heard[i] = (struct beacon_heard){.id = {{(uint8_t)i}},
                                                       .instance = instances[round / 4],
                                                       .address = {.n = round / 2 % 2 ? 16 : 4}};
        size_t n = encode(f, bytes), again_n = 0;
        assert_int_equal(beacon_decode(f->seal, bytes, n, &b, NULL), 0);
        assert_true(n > BEACON_MAX_BYTES - 42 || b.heard_count == BEACON_HEARD_MAX);
        assert_int_equal(beacon_encode(f->seal, nonce, &b, again, &again_n, NULL), 0);
        assert_int_equal(again_n, n);
        assert_memory_equal(again, bytes, n);
    }
}

static void test_every_truncation_is_refused(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[BEACON_MAX_BYTES];
    struct beacon b;
    size_t n = encode(f, bytes);
    for (size_t i = 0; i < n; i++)
        assert_true(beacon_decode(f->seal, bytes, i, &b, NULL) < 0);
}

static void test_every_flipped_bit_is_refused(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[BEACON_MAX_BYTES];
    struct beacon b;
    size_t n = encode(f, bytes);
    for (size_t i = 0; i < 8 * n; i++) {
        bytes[i / 8] ^= (uint8_t)(1U << i % 8);
        assert_true(beacon_decode(f->seal, bytes, n, &b, NULL) < 0);
        bytes[i / 8] ^= (uint8_t)(1U << i % 8);
    }
    assert_int_equal(beacon_decode(f->seal, bytes, n, &b, NULL), 0);
}

/* A member may seal anything: whatever its plain text is, decoding it ends well. */
static void test_every_flipped_bit_under_the_seal(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[BEACON_MAX_BYTES], plain[BEACON_MAX_BYTES], again[BEACON_MAX_BYTES];
    const uint8_t nonce[SEAL_NONCE_BYTES] = {2};
    struct beacon b;
    size_t n = encode(f, bytes), plain_bytes = 0, taken = 0;
    assert_int_equal(seal_open(f->seal, SEAL_BEACON, bytes, n, plain, &plain_bytes), 0);
    for (size_t i = 0; i < 8 * plain_bytes; i++) {
        plain[i / 8] ^= (uint8_t)(1U << i % 8);
        size_t m = seal_close(f->seal, SEAL_BEACON, nonce, plain, plain_bytes, again);
        if (beacon_decode(f->seal, again, m, &b, NULL) == 0) {
            taken++;
            assert_true(b.heard_count <= BEACON_HEARD_MAX && b.hello.port != 0);
            assert_true(peer_id_equal(&b.hello.id, &f->id->id));
        }
        plain[i / 8] ^= (uint8_t)(1U << i % 8);
    }
    assert_true(taken > 0); /* numbers may take any value */
    for (size_t i = 0; i < plain_bytes; i++) {
        size_t m = seal_close(f->seal, SEAL_BEACON, nonce, plain, i, again);
        assert_true(beacon_decode(f->seal, again, m, &b, NULL) < 0);
    }
    plain[plain_bytes] = 0;
    size_t m = seal_close(f->seal, SEAL_BEACON, nonce, plain, plain_bytes + 1, again);
    assert_true(beacon_decode(f->seal, again, m, &b, NULL) < 0);
}

static void test_a_foreign_id_is_refused(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[BEACON_MAX_BYTES];
    struct beacon b;
    f->beacon.hello.id.b[0] ^= 1;
    size_t n = encode(f, bytes);
    assert_int_equal(beacon_decode(f->seal, bytes, n, &b, NULL), KPEER_EAUTH);
}

static void test_another_group_is_told_apart(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[BEACON_MAX_BYTES], other[32] = {9};
    struct beacon b;
    size_t n = encode(f, bytes);
    struct secret *key = secret_new(other);
    struct seal *seal = NULL;
    assert_int_equal(seal_new(&seal, key, NULL), 0);
    assert_int_equal(beacon_decode(seal, bytes, n, &b, NULL), KPEER_EREFUSED);
    seal_free(seal);
    secret_free(key);
}

static void test_full_list_fits(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[BEACON_MAX_BYTES];
    struct beacon b;
    f->beacon.hello.counter = f->beacon.hello.age_ms = f->beacon.hello.boot = UINT64_MAX;
    f->beacon.hello.wall_ms = INT64_MIN;
    f->beacon.hello.members = f->beacon.interface = UINT32_MAX;
    f->beacon.heard_count = BEACON_HEARD_MAX;
    for (size_t i = 0; i < BEACON_HEARD_MAX; i++) {
        f->beacon.heard[i].instance = UINT32_MAX;
        address_of(&f->beacon.heard[i].address, "10.1.2.3");
    }
    size_t n = encode(f, bytes);
    assert_int_equal(beacon_decode(f->seal, bytes, n, &b, NULL), 0);
    assert_int_equal(b.heard_count, BEACON_HEARD_MAX);
    for (size_t i = 0; i < BEACON_HEARD_MAX; i++)
        address_of(&f->beacon.heard[i].address, "fd00:1:2:3:4:5:6:7");
    n = encode(f, bytes);
    assert_int_equal(beacon_decode(f->seal, bytes, n, &b, NULL), 0);
    assert_in_range(b.heard_count, 20, BEACON_HEARD_MAX - 1);
}

static void test_an_address_is_needed(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[BEACON_MAX_BYTES], nonce[SEAL_NONCE_BYTES] = {0};
    size_t n;
    f->beacon.address.n = 0;
    assert_int_equal(beacon_encode(f->seal, nonce, &f->beacon, bytes, &n, NULL), KPEER_EINVAL);
}

static void test_addresses_and_networks(void **state)
{
    struct address a, b;
    struct network net;
    char text[STEP_CIDR_BYTES];
    uint16_t port = 7373;
    (void)state;
    assert_int_equal(network_parse("192.168.56.77/25", &net, NULL), 0);
    network_text(&net, text);
    assert_string_equal(text, "192.168.56.0/25");
    address_of(&a, "192.168.56.127");
    address_of(&b, "192.168.56.128");
    assert_true(network_contains(&net, &a));
    assert_false(network_contains(&net, &b));
    address_of(&a, "::1");
    assert_false(network_contains(&net, &a));
    static const char *const bad[] = {"",           "1.2.3.4", "1.2.3.4/",  "1.2.3.4/33",
                                      "1.2.3.4/-1", "x/8",     "1.2.3.4/8 "};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(network_parse(bad[i], &net, NULL), KPEER_EINVAL);
    assert_int_equal(address_parse_endpoint("10.0.0.1:80", &a, &port, NULL), 0);
    assert_int_equal(port, 80);
    assert_int_equal(address_parse_endpoint("[fd00::1]:81", &a, &port, NULL), 0);
    assert_int_equal(port, 81);
    assert_int_equal(address_parse_endpoint("fd00::1", &a, &port, NULL), 0);
    assert_int_equal(port, 81);
    static const char *const worse[] = {"",         "10.0.0.1:",  "10.0.0.1:0", "10.0.0.1:65536",
                                        "[fd00::1", "[fd00::1]x", "host:7373",  "10.0.0.1:7x"};
    for (size_t i = 0; i < sizeof worse / sizeof worse[0]; i++)
        assert_int_equal(address_parse_endpoint(worse[i], &a, &port, NULL), KPEER_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_comes_out_as_it_went_in, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_names_who_is_outbid_or_has_failed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_full_list_goes_round, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_every_truncation_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_every_flipped_bit_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_every_flipped_bit_under_the_seal, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_foreign_id_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_another_group_is_told_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full_list_fits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_address_is_needed, set_up, tear_down),
        cmocka_unit_test(test_addresses_and_networks),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
