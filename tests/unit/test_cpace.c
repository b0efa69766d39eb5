/* CPace: the draft's own test vectors (draft-irtf-cfrg-cpace, "Test vector for CPace using group ristretto255
 * and hash SHA-512"), and what is no share. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "protocol/cpace.h"
#include "protocol/err.h"

#define PRS "Password"
#define CI                                                                                                   \
    "\x0b"                                                                                                   \
    "A_initiator"                                                                                            \
    "\x0b"                                                                                                   \
    "B_responder"
#define SID       "7e4b4791d6a8ef019b936c79fb7f2c57"
#define YA_SCALAR "da3d23700a9e5699258aef94dc060dfda5ebb61f02a5ea77fad53f4ff0976d08"
#define YA        "d6bac480f2c386c394efc7c47adb9925dcd2630b64f240c50f8d0eec482b9157"
#define YB_SCALAR "d2316b454718c35362d83d69df6320f38578ed5984651435e2949762d900b80d"
#define YB        "3ea7e0b19560d7c0b0f5734f63b955286dfa8232b5ebe63324e2d9e7433f7258"
#define ISK                                                                                                  \
    "b69effbf61b51d56401c0f65601abe428de8206feaaf0e32198896dcae7b35cd"                                       \
    "2b38950a39dfd5d4a79164614c2984f7daa460b588c1e80c3fa2068af7900447"

static void unhex(const char *hex, uint8_t *out, size_t n)
{
    size_t got = 0;
    assert_int_equal(sodium_hex2bin(out, n, hex, strlen(hex), NULL, &got, NULL), 0);
    assert_int_equal(got, n);
}

static struct cpace_bytes bytes_of(const void *p, size_t n)
{
    return (struct cpace_bytes){p, n};
}

struct vector {
    uint8_t sid[16], a_scalar[32], b_scalar[32], a_share[32], b_share[32], isk[64];
    struct cpace_said a, b;
};

static void fill(struct vector *v)
{
    unhex(SID, v->sid, sizeof v->sid);
    unhex(YA_SCALAR, v->a_scalar, sizeof v->a_scalar);
    unhex(YB_SCALAR, v->b_scalar, sizeof v->b_scalar);
    unhex(YA, v->a_share, sizeof v->a_share);
    unhex(YB, v->b_share, sizeof v->b_share);
    unhex(ISK, v->isk, sizeof v->isk);
    memcpy(v->a.share, v->a_share, sizeof v->a.share);
    memcpy(v->b.share, v->b_share, sizeof v->b.share);
    v->a.ad = bytes_of("ADa", 3);
    v->b.ad = bytes_of("ADb", 3);
}

static void test_shares_of_the_draft(void **state)
{
    struct vector v;
    uint8_t share[32];
    (void)state;
    fill(&v);
    struct cpace_bytes prs = bytes_of(PRS, sizeof PRS - 1), ci = bytes_of(CI, sizeof CI - 1);
    assert_int_equal(cpace_share(prs, ci, bytes_of(v.sid, 16), v.a_scalar, share), 0);
    assert_memory_equal(share, v.a_share, sizeof share);
    assert_int_equal(cpace_share(prs, ci, bytes_of(v.sid, 16), v.b_scalar, share), 0);
    assert_memory_equal(share, v.b_share, sizeof share);
}

static void test_the_key_of_the_draft(void **state)
{
    struct vector v;
    uint8_t isk[64];
    (void)state;
    fill(&v);
    assert_int_equal(cpace_isk(v.a_scalar, v.b_share, bytes_of(v.sid, 16), &v.a, &v.b, isk), 0);
    assert_memory_equal(isk, v.isk, sizeof isk);
    assert_int_equal(cpace_isk(v.b_scalar, v.a_share, bytes_of(v.sid, 16), &v.a, &v.b, isk), 0);
    assert_memory_equal(isk, v.isk, sizeof isk);
}

/* A password longer than a block leaves no room for zeros: lengths of two bytes, and no zero in between. */
static void test_a_long_password(void **state)
{
    struct vector v;
    uint8_t one[32], other[32];
    char words[200];
    (void)state;
    fill(&v);
    memset(words, 'w', sizeof words);
    assert_int_equal(cpace_share(bytes_of(words, 200), bytes_of("", 0), bytes_of(v.sid, 16), v.a_scalar, one),
                     0);
    assert_int_equal(
        cpace_share(bytes_of(words, 199), bytes_of("w", 1), bytes_of(v.sid, 16), v.a_scalar, other), 0);
    assert_memory_not_equal(one, other, sizeof one);
}

static void test_what_is_no_share_is_refused(void **state)
{
    struct vector v;
    uint8_t isk[64], none[32] = {0}, share[32];
    (void)state;
    fill(&v);
    assert_int_equal(cpace_isk(v.a_scalar, none, bytes_of(v.sid, 16), &v.a, &v.b, isk),
                     KPEER_EINVAL); /* identity */
    memset(share, 0xff, sizeof share);
    assert_int_equal(cpace_isk(v.a_scalar, share, bytes_of(v.sid, 16), &v.a, &v.b, isk), KPEER_EINVAL);
    memcpy(share, v.b_share, sizeof share);
    share[0] ^= 1; /* a negative one */
    assert_int_equal(cpace_isk(v.a_scalar, share, bytes_of(v.sid, 16), &v.a, &v.b, isk), KPEER_EINVAL);
    assert_int_equal(cpace_share(bytes_of(PRS, 8), bytes_of("", 0), bytes_of(v.sid, 16), none, share),
                     KPEER_EINVAL);
}

/* The tags differ by who says them, by session and by key, as does the key itself. */
static void test_all_of_it_is_bound(void **state)
{
    struct vector v;
    uint8_t isk[64], tag[32], another[32];
    (void)state;
    fill(&v);
    cpace_tag(v.isk, bytes_of(v.sid, 16), &v.a, tag);
    cpace_tag(v.isk, bytes_of(v.sid, 16), &v.b, another);
    assert_memory_not_equal(tag, another, sizeof tag);
    cpace_tag(v.isk, bytes_of(v.sid, 15), &v.a, another);
    assert_memory_not_equal(tag, another, sizeof tag);
    assert_int_equal(cpace_isk(v.a_scalar, v.b_share, bytes_of(v.sid, 16), &v.b, &v.a, isk), 0);
    assert_memory_not_equal(isk, v.isk, sizeof isk);
    v.a.ad = bytes_of("ADx", 3);
    assert_int_equal(cpace_isk(v.a_scalar, v.b_share, bytes_of(v.sid, 16), &v.a, &v.b, isk), 0);
    assert_memory_not_equal(isk, v.isk, sizeof isk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shares_of_the_draft), cmocka_unit_test(test_the_key_of_the_draft),
        cmocka_unit_test(test_a_long_password),     cmocka_unit_test(test_what_is_no_share_is_refused),
        cmocka_unit_test(test_all_of_it_is_bound),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
