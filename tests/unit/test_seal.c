/* Secrets, seals and identities: nothing opens but with the right key, and nothing altered opens at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "protocol/seal.h"

static const uint8_t key_bytes[32] = {1, 2, 3};
static const uint8_t other_bytes[32] = {1, 2, 4};

struct fixture {
    struct secret *key, *other;
    struct seal *seal, *foreign;
    struct identity *me, *she;
};

static int set_up(void **state)
{
    static struct fixture f;
    f = (struct fixture){.key = secret_new(key_bytes), .other = secret_new(other_bytes)};
    assert_int_equal(seal_new(&f.seal, f.key, NULL), 0);
    assert_int_equal(seal_new(&f.foreign, f.other, NULL), 0);
    assert_int_equal(identity_new(&f.me, key_bytes, NULL), 0);
    assert_int_equal(identity_new(&f.she, other_bytes, NULL), 0);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    seal_free(f->seal);
    seal_free(f->foreign);
    secret_free(f->key);
    secret_free(f->other);
    identity_free(f->me);
    identity_free(f->she);
    return 0;
}

static void test_a_datagram_comes_out_as_it_went_in(void **state)
{
    const struct fixture *f = *state;
    static const uint8_t nonce[SEAL_NONCE_BYTES] = {9};
    uint8_t plain[100] = "text", sealed[100 + SEAL_OVERHEAD_BYTES], out[100];
    size_t n = 0;
    enum seal_kind kind;
    uint8_t group_id[GROUP_ID_BYTES];
    for (size_t size = 0; size <= sizeof plain; size += 50) {
        size_t bytes = seal_close(f->seal, SEAL_MESSAGE, nonce, plain, size, sealed);
        assert_int_equal(bytes, size + SEAL_OVERHEAD_BYTES);
        assert_int_equal(seal_open(f->seal, SEAL_MESSAGE, sealed, bytes, out, &n), 0);
        assert_int_equal(n, size);
        assert_memory_equal(out, plain, size);
        assert_int_equal(seal_peek(sealed, bytes, &kind, group_id), 0);
        assert_int_equal(kind, SEAL_MESSAGE);
        assert_memory_equal(group_id, seal_key_id(f->seal), sizeof group_id);
    }
}

static void test_wrong_key_kind_version_and_size(void **state)
{
    const struct fixture *f = *state;
    static const uint8_t nonce[SEAL_NONCE_BYTES] = {9};
    uint8_t sealed[10 + SEAL_OVERHEAD_BYTES], out[sizeof sealed];
    size_t n = 77, bytes = seal_close(f->seal, SEAL_BEACON, nonce, key_bytes, 10, sealed);
    assert_int_equal(seal_open(f->foreign, SEAL_BEACON, sealed, bytes, out, &n), KPEER_EREFUSED);
    assert_int_equal(seal_open(f->seal, SEAL_MESSAGE, sealed, bytes, out, &n), KPEER_EINVAL);
    sealed[3] = SEAL_MESSAGE; /* a beacon passed off as a message: the keys differ */
    assert_int_equal(seal_open(f->seal, SEAL_MESSAGE, sealed, bytes, out, &n), KPEER_EAUTH);
    sealed[3] = SEAL_BEACON;
    sealed[2]++;
    assert_int_equal(seal_open(f->seal, SEAL_BEACON, sealed, bytes, out, &n), KPEER_EVERSION);
    sealed[2]--;
    for (size_t cut = 0; cut < bytes; cut++)
        assert_int_not_equal(seal_open(f->seal, SEAL_BEACON, sealed, cut, out, &n), 0);
    for (size_t bit = 0; bit < 8 * bytes; bit++) {
        sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_not_equal(seal_open(f->seal, SEAL_BEACON, sealed, bytes, out, &n), 0);
        sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(n, 77); /* set on success alone */
    assert_int_equal(seal_open(f->seal, SEAL_BEACON, sealed, bytes, out, &n), 0);
}

static void test_a_newcomer_is_a_bare_header(void **state)
{
    const struct fixture *f = *state;
    uint8_t out[SEAL_HEADER_BYTES + 1] = {0}, plain[SEAL_HEADER_BYTES];
    size_t n = 0;
    enum seal_kind kind;
    assert_int_equal(seal_newcomer(key_bytes, other_bytes, out), SEAL_HEADER_BYTES);
    assert_int_equal(seal_peek(out, SEAL_HEADER_BYTES, &kind, NULL), 0);
    assert_int_equal(kind, SEAL_NEWCOMER);
    assert_int_equal(seal_peek(out, SEAL_HEADER_BYTES + 1, &kind, NULL), KPEER_EINVAL);
    assert_int_equal(seal_open(f->seal, SEAL_NEWCOMER, out, SEAL_HEADER_BYTES, plain, &n), KPEER_EINVAL);
}

static void test_a_box_opens_for_one_alone(void **state)
{
    const struct fixture *f = *state;
    uint8_t plain[40] = "for her", box[40 + SEAL_BOX_OVERHEAD_BYTES], out[sizeof box];
    assert_int_equal(seal_box(f->she->box_pk, key_bytes, plain, sizeof plain, box), 0);
    assert_int_equal(seal_box_open(f->me, box, sizeof box, out), KPEER_EAUTH);
    for (size_t i = 0; i < sizeof box; i++) {
        box[i] ^= 1;
        assert_int_equal(seal_box_open(f->she, box, sizeof box, out), KPEER_EAUTH);
        box[i] ^= 1;
        assert_int_not_equal(seal_box_open(f->she, box, i, out), 0);
    }
    assert_int_equal(seal_box_open(f->she, box, sizeof box, out), 0);
    assert_memory_equal(out, plain, sizeof plain);
}

static void test_signatures_are_for_one_use(void **state)
{
    const struct fixture *f = *state;
    uint8_t sig[SIGNATURE_BYTES], again[SIGNATURE_BYTES];
    identity_sign(f->me, "one", key_bytes, 32, sig);
    identity_sign(f->me, "one", key_bytes, 32, again);
    assert_memory_equal(sig, again, sizeof sig);
    assert_true(identity_verify(f->me->sign_pk, "one", key_bytes, 32, sig));
    assert_false(identity_verify(f->me->sign_pk, "two", key_bytes, 32, sig));
    assert_false(identity_verify(f->me->sign_pk, "one", key_bytes, 31, sig));
    assert_false(identity_verify(f->she->sign_pk, "one", key_bytes, 32, sig));
    sig[0] ^= 1;
    assert_false(identity_verify(f->me->sign_pk, "one", key_bytes, 32, sig));
}

static void test_an_identity_is_its_seed(void **state)
{
    const struct fixture *f = *state;
    struct identity *again = NULL;
    struct peer_id id;
    char text[PEER_ID_TEXT];
    assert_int_equal(identity_new(&again, key_bytes, NULL), 0);
    assert_memory_equal(again, f->me, sizeof *again);
    assert_memory_not_equal(f->me->sign_sk, f->me->box_sk, 32);
    identity_id_of(f->me->sign_pk, &id);
    assert_true(peer_id_equal(&id, &f->me->id));
    assert_false(peer_id_equal(&id, &f->she->id));
    peer_id_text(&id, text);
    assert_int_equal(peer_id_parse(text, &id), 0);
    assert_true(peer_id_equal(&id, &f->me->id));
    text[3] = 'g';
    assert_int_equal(peer_id_parse(text, &id), KPEER_EINVAL);
    assert_int_equal(peer_id_parse("abcd", &id), KPEER_EINVAL);
    identity_free(again);
}

static void test_keys_of_a_group_differ_by_use(void **state)
{
    const struct fixture *f = *state;
    uint8_t a[32], b[32], c[32], id[GROUP_ID_BYTES];
    secret_derive(f->key, "one", a);
    secret_derive(f->key, "two", b);
    secret_derive(f->other, "one", c);
    assert_memory_not_equal(a, b, 32);
    assert_memory_not_equal(a, c, 32);
    secret_group_id(f->key, id);
    assert_memory_equal(id, seal_key_id(f->seal), sizeof id);
    assert_memory_not_equal(id, secret_bytes(f->key), sizeof id);
    assert_true(secret_equal(f->key, f->key));
    assert_false(secret_equal(f->key, f->other));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_datagram_comes_out_as_it_went_in),
        cmocka_unit_test(test_wrong_key_kind_version_and_size),
        cmocka_unit_test(test_a_newcomer_is_a_bare_header),
        cmocka_unit_test(test_a_box_opens_for_one_alone),
        cmocka_unit_test(test_signatures_are_for_one_use),
        cmocka_unit_test(test_an_identity_is_its_seed),
        cmocka_unit_test(test_keys_of_a_group_differ_by_use),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
