/* Pulses: what was put in comes out, and nothing else is ever taken for one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "discovery/pulse.h"

static const uint8_t nonce[SEAL_NONCE_BYTES] = {1};

struct fixture {
    struct secret *key[2];
    struct seal *seal[2];
    struct pulse pulse;
    uint8_t bytes[PULSE_MAX_BYTES];
    size_t n;
};

static int set_up(void **state)
{
    static struct fixture f;
    f = (struct fixture){.pulse = {.id = {{1, 2, 3}},
                                   .boot = UINT64_MAX,
                                   .instance = UINT64_MAX,
                                   .counter = UINT64_MAX,
                                   .to = UINT32_MAX,
                                   .digest = 0x123456789abcdef0,
                                   .every_ms = UINT32_MAX,
                                   .next_ms = UINT32_MAX,
                                   .wish = PULSE_BEACON}};
    for (uint8_t i = 0; i < 2; i++) {
        uint8_t bytes[32];
        memset(bytes, 7 + i, sizeof bytes);
        f.key[i] = secret_new(bytes);
        assert_non_null(f.key[i]);
        assert_int_equal(seal_new(&f.seal[i], f.key[i], NULL), 0);
    }
    assert_int_equal(pulse_encode(f.seal[0], nonce, &f.pulse, f.bytes, &f.n, NULL), 0);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 2; i++) {
        seal_free(f->seal[i]);
        secret_free(f->key[i]);
    }
    return 0;
}

static void test_there_and_back(void **state)
{
    struct fixture *f = *state;
    struct pulse p;
    assert_int_equal(pulse_decode(f->seal[0], f->bytes, f->n, &p, NULL), 0);
    assert_true(peer_id_equal(&p.id, &f->pulse.id));
    assert_true(p.boot == f->pulse.boot && p.instance == f->pulse.instance);
    assert_true(p.counter == f->pulse.counter && p.to == f->pulse.to);
    assert_true(p.digest == f->pulse.digest && p.wish == f->pulse.wish);
    assert_true(p.every_ms == f->pulse.every_ms && p.next_ms == f->pulse.next_ms);
}

static void test_whatever_was_altered_is_refused(void **state)
{
    struct fixture *f = *state;
    struct pulse p;
    for (size_t cut = 0; cut < f->n; cut++)
        assert_int_not_equal(pulse_decode(f->seal[0], f->bytes, cut, &p, NULL), 0);
    for (size_t i = 0; i < f->n; i++) {
        f->bytes[i] ^= 1;
        assert_int_not_equal(pulse_decode(f->seal[0], f->bytes, f->n, &p, NULL), 0);
        f->bytes[i] ^= 1;
    }
    assert_int_equal(pulse_decode(f->seal[1], f->bytes, f->n, &p, NULL), KPEER_EREFUSED);
}

/* Sealed by a member, and yet none. */
static void test_what_no_pulse_says(void **state)
{
    struct fixture *f = *state;
    uint8_t plain[PULSE_MAX_BYTES], again[2 * PULSE_MAX_BYTES];
    size_t plain_bytes = 0;
    struct pulse p = {.counter = 77};
    assert_int_equal(seal_open(f->seal[0], SEAL_PULSE, f->bytes, f->n, plain, &plain_bytes), 0);
    assert_int_equal(plain[plain_bytes - 1], PULSE_BEACON);
    plain[plain_bytes - 1] = PULSE_WISHES;
    size_t n = seal_close(f->seal[0], SEAL_PULSE, nonce, plain, plain_bytes, again);
    assert_int_equal(pulse_decode(f->seal[0], again, n, &p, NULL), KPEER_EINVAL);
    plain[plain_bytes - 1] = PULSE_NOTHING;
    n = seal_close(f->seal[0], SEAL_BEACON, nonce, plain, plain_bytes, again);
    assert_int_equal(pulse_decode(f->seal[0], again, n, &p, NULL), KPEER_EINVAL);
    n = seal_close(f->seal[0], SEAL_PULSE, nonce, plain, sizeof plain, again);
    assert_int_equal(pulse_decode(f->seal[0], again, n, &p, NULL), KPEER_ELIMIT);
    assert_int_equal(p.counter, 77);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_there_and_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_whatever_was_altered_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_no_pulse_says, set_up, tear_down),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
