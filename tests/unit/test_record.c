/* The committed record: whoever gets it checks it, and nothing but what a majority signed passes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "protocol/record.h"

#define PEERS 5

static struct identity *peer[PEERS];

static int by_id(const void *a, const void *b)
{
    return peer_id_compare(&(*(struct identity *const *)a)->id, &(*(struct identity *const *)b)->id);
}

static int set_up(void **state)
{
    (void)state;
    for (size_t i = 0; i < PEERS; i++) {
        uint8_t seed[32] = {(uint8_t)(i + 1)};
        assert_int_equal(identity_new(&peer[i], seed, NULL), 0);
    }
    qsort(peer, PEERS, sizeof peer[0], by_id);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < PEERS; i++)
        identity_free(peer[i]);
    return 0;
}

static void sign(struct committed *c, size_t slot, size_t who)
{
    uint8_t set_id[SET_ID_BYTES], text[ACCEPT_TEXT_BYTES];
    electorate_id(&c->set, set_id);
    record_accept_text(c->group_id, set_id, c->term, &c->record, text);
    c->signature[slot].member = (uint16_t)who;
    memcpy(c->signature[slot].sign_pk, peer[who]->sign_pk, SIGN_PK_BYTES);
    identity_sign(peer[who], ACCEPT_DOMAIN, text, sizeof text, c->signature[slot].sig);
}

/* Signed by the first `signers` of five. */
static struct committed *make(uint16_t signers)
{
    struct committed *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->group_id[0] = 5;
    c->term = 3;
    c->record = (struct record){.cluster_id = "0123456789abcdef0123456789abcdef",
                                .endpoint = "192.168.56.11:6443",
                                .kubernetes_version = "v1.20.2",
                                .founder = peer[0]->id,
                                .founder_name = "node1",
                                .term = 2};
    c->set = (struct electorate){.number = 1, .count = PEERS};
    for (size_t i = 0; i < PEERS; i++)
        c->set.member[i] = peer[i]->id;
    c->signature_count = signers;
    for (size_t i = 0; i < signers; i++)
        sign(c, i, i);
    return c;
}

static int verify(const struct committed *c)
{
    uint8_t *bytes = NULL;
    size_t n = 0;
    struct record r;
    struct err err = {0};
    assert_int_equal(committed_encode(c, &bytes, &n, NULL), 0);
    int rc = record_verify(bytes, n, &r, &err);
    free(bytes);
    if (rc)
        assert_true(err.text[0] != '\0');
    else
        assert_true(record_equal(&r, &c->record));
    return rc;
}

static void test_a_majority_is_needed(void **state)
{
    (void)state;
    for (uint16_t signers = 1; signers <= PEERS; signers++) {
        struct committed *c = make(signers);
        assert_int_equal(verify(c), signers >= 3 ? 0 : KPEER_EAUTH);
        free(c);
    }
}

static void test_what_was_not_signed_does_not_pass(void **state)
{
    (void)state;
    struct committed *c = make(3);
    c->record.endpoint[0] = '2';
    assert_int_equal(verify(c), KPEER_EAUTH);
    c->record.endpoint[0] = '1';
    c->term++;
    assert_int_equal(verify(c), KPEER_EAUTH);
    c->term--;
    c->group_id[0]++;
    assert_int_equal(verify(c), KPEER_EAUTH);
    c->group_id[0]--;
    c->set.number++;
    assert_int_equal(verify(c), KPEER_EAUTH);
    c->set.number--;
    c->set.count--; /* a smaller set, of which three are more than enough */
    assert_int_equal(verify(c), KPEER_EAUTH);
    c->set.count++;
    memcpy(c->signature[2].sign_pk, peer[4]->sign_pk, SIGN_PK_BYTES); /* another's key */
    assert_int_equal(verify(c), KPEER_EAUTH);
    sign(c, 2, 4);
    assert_int_equal(verify(c), 0);
    free(c);
}

static void test_one_voice_counts_once(void **state)
{
    (void)state;
    struct committed *c = make(3);
    sign(c, 1, 0);
    sign(c, 2, 0);
    assert_int_equal(verify(c), KPEER_EINVAL);
    sign(c, 0, 2); /* out of order */
    assert_int_equal(verify(c), KPEER_EINVAL);
    free(c);
}

static void test_cut_and_altered(void **state)
{
    (void)state;
    struct committed *c = make(3);
    struct record r = {.term = 99};
    uint8_t *bytes = NULL;
    size_t n = 0;
    assert_int_equal(committed_encode(c, &bytes, &n, NULL), 0);
    for (size_t cut = 0; cut < n; cut++)
        assert_int_not_equal(record_verify(bytes, cut, &r, NULL), 0);
    for (size_t i = 0; i < n; i++) {
        bytes[i] ^= (uint8_t)(1 << i % 8);
        assert_int_not_equal(record_verify(bytes, n, &r, NULL), 0);
        bytes[i] ^= (uint8_t)(1 << i % 8);
    }
    assert_int_equal(r.term, 99); /* set on success alone */
    assert_int_equal(record_verify(bytes, n, &r, NULL), 0);
    free(bytes);
    free(c);
}

static void test_sets(void **state)
{
    (void)state;
    struct committed *c = make(1);
    struct electorate other = c->set;
    uint8_t a[SET_ID_BYTES], b[SET_ID_BYTES];
    struct peer_id stranger = {{0}};
    for (size_t i = 0; i < PEERS; i++)
        assert_int_equal(electorate_index(&c->set, &peer[i]->id), i);
    assert_int_equal(electorate_index(&c->set, &stranger), -1);
    assert_true(electorate_equal(&c->set, &other));
    other.number = 2;
    assert_false(electorate_equal(&c->set, &other));
    electorate_id(&c->set, a);
    electorate_id(&other, b);
    assert_memory_not_equal(a, b, sizeof a);
    for (uint16_t n = 1; n < 8; n++) {
        other.count = n;
        assert_true(2 * electorate_majority(&other) > n && 2 * (electorate_majority(&other) - 1) <= n);
    }
    free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_majority_is_needed),
        cmocka_unit_test(test_what_was_not_signed_does_not_pass),
        cmocka_unit_test(test_one_voice_counts_once),
        cmocka_unit_test(test_cut_and_altered),
        cmocka_unit_test(test_sets),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
