/* An invitation, from its code to the key: one guest gets it, and nobody else by any datagram. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "protocol/invite.h"
#include "protocol/keytext.h"
#include "protocol/seal.h"

static const uint8_t code[INVITE_CODE_BYTES] = {0x01, 0x23, 0x45, 0x67, 0x89};
static const uint8_t wrong[INVITE_CODE_BYTES] = {0x01, 0x23, 0x45, 0x67, 0x8a};

static struct secret *group_key(void)
{
    uint8_t bytes[GROUP_KEY_BYTES];
    memset(bytes, 0x5a, sizeof bytes);
    return secret_new(bytes);
}

static struct guest *new_guest(const uint8_t *told, uint8_t n)
{
    uint8_t session[INVITE_SESSION_BYTES], scalar[CPACE_SCALAR_BYTES];
    memset(session, n, sizeof session);
    memset(scalar, n + 1, sizeof scalar);
    scalar[31] &= 15;
    return guest_new(told, session, scalar);
}

static int take(struct invitation *inv, const uint8_t *bytes, size_t n, uint64_t now_ms, uint8_t *reply)
{
    static uint8_t turn;
    uint8_t random[CPACE_SCALAR_BYTES];
    struct secret *key = group_key();
    memset(random, ++turn, sizeof random);
    random[31] &= 15;
    random[0] |= 1;
    int rc = invitation_take(inv, bytes, n, key, random, now_ms, reply);
    secret_free(key);
    return rc;
}

/* ---- codes ---- */

static void test_codes(void **state)
{
    static const char *const bad[] = {
        "",  "abc", "012-345-67", "012-345-678-9", "012-345-67u", "012-345-6é", "012_345_678", "------------",
        "\n"};
    char text[INVITE_CODE_TEXT];
    uint8_t back[INVITE_CODE_BYTES];
    (void)state;
    for (int i = 0; i < 2000; i++) {
        uint8_t bytes[INVITE_CODE_BYTES];
        randombytes_buf(bytes, sizeof bytes);
        invite_code_text(bytes, text);
        assert_int_equal(strlen(text), INVITE_CODE_TEXT - 1);
        assert_int_equal(invite_code_parse(text, back, NULL), 0);
        assert_memory_equal(bytes, back, sizeof back);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err e = {0};
        assert_int_equal(invite_code_parse(bad[i], back, &e), KPEER_EINVAL);
        assert_true(e.text[0] != '\0');
    }
}

static void test_codes_as_people_type_them(void **state)
{
    static const uint8_t zeros_and_ones[INVITE_CODE_BYTES] = {0x00, 0x42, 0x00, 0x42, 0x00};
    char text[INVITE_CODE_TEXT], typed[32];
    uint8_t back[INVITE_CODE_BYTES];
    (void)state;
    invite_code_text(zeros_and_ones, text);
    size_t n = 0;
    for (const char *p = text; *p; p++) {
        char c = *p;
        if (c == '-')
            c = ' ';
        else if (c == '0')
            c = 'O';
        else if (c == '1')
            c = 'L';
        else if (c >= 'a' && c <= 'z')
            c = (char)(c - 'a' + 'A');
        typed[n++] = c;
    }
    typed[n] = '\0';
    assert_int_equal(invite_code_parse(typed, back, NULL), 0);
    assert_memory_equal(back, zeros_and_ones, sizeof back);
}

/* Each slip at one place is found. */
static void test_a_slip_is_told_from_another_code(void **state)
{
    static const char symbols[] = "0123456789abcdefghjkmnpqrstvwxyz";
    char text[INVITE_CODE_TEXT];
    uint8_t back[INVITE_CODE_BYTES];
    (void)state;
    invite_code_text(code, text);
    for (size_t i = 0; text[i]; i++)
        for (const char *s = symbols; text[i] != '-' && *s; s++) {
            char was = text[i];
            text[i] = *s;
            assert_int_equal(invite_code_parse(text, back, NULL), *s == was ? 0 : KPEER_EINVAL);
            text[i] = was;
        }
}

/* ---- the exchange ---- */

static void test_the_key_is_given_once(void **state)
{
    struct invitation *inv = invitation_new(code, 1000);
    struct guest *g = new_guest(code, 1), *late = new_guest(code, 7);
    struct secret *key = NULL, *want = group_key();
    uint8_t said[INVITE_BYTES], reply[INVITE_BYTES], again[INVITE_BYTES];
    (void)state;
    guest_say(g, said);
    assert_int_equal(take(inv, said, sizeof said, 1000, reply), 0);
    assert_int_equal(take(inv, said, sizeof said, 1300, again), 0); /* asked again: the same offer */
    assert_memory_equal(reply, again, sizeof reply);
    assert_int_equal(guest_take(g, reply, sizeof reply, &key), 0);
    assert_true(guest_claims(g) && !key);
    guest_say(late, said);
    assert_int_equal(take(inv, said, sizeof said, 1400, again), 0);
    assert_int_equal(guest_take(late, again, sizeof again, &key), 0);
    guest_say(g, said);
    assert_int_equal(take(inv, said, sizeof said, 1500, reply), 0);
    assert_int_equal(invitation_state(inv, 1500), INVITATION_GIVEN);
    assert_int_equal(take(inv, said, sizeof said, 1800, again), 0); /* its answer may have been lost */
    assert_memory_equal(reply, again, sizeof reply);
    assert_int_equal(guest_take(g, reply, sizeof reply, &key), 0);
    assert_non_null(key);
    assert_true(secret_equal(key, want));
    secret_free(key);
    guest_say(late, said);
    assert_int_equal(take(inv, said, sizeof said, 1900, again), KPEER_ESTATE); /* knows the code, too late */
    assert_int_equal(take(inv, reply, sizeof reply, 1900, again), KPEER_EINVAL);
    secret_free(want);
    guest_free(g);
    guest_free(late);
    invitation_free(inv);
}

static void test_a_rotated_key_keeps_its_group(void **state)
{
    struct invitation *inv = invitation_new(code, 1000);
    struct guest *g = new_guest(code, 1);
    uint8_t bytes[GROUP_KEY_BYTES] = {3}, group[GROUP_ID_BYTES] = {4}, got[GROUP_ID_BYTES];
    uint8_t said[INVITE_BYTES], reply[INVITE_BYTES], random[CPACE_SCALAR_BYTES] = {5};
    struct secret *key = NULL, *later = secret_later(bytes, group, 6);
    (void)state;
    for (int i = 0; i < 2; i++) {
        guest_say(g, said);
        assert_int_equal(invitation_take(inv, said, sizeof said, later, random, 1000, reply), 0);
        assert_int_equal(guest_take(g, reply, sizeof reply, &key), 0);
    }
    secret_group_id(key, got);
    assert_int_equal(secret_epoch(key), 6);
    assert_memory_equal(got, group, sizeof got);
    secret_free(key);
    secret_free(later);
    guest_free(g);
    invitation_free(inv);
}

static void test_another_code_gets_nothing(void **state)
{
    struct invitation *inv = invitation_new(code, 1000);
    struct guest *g = new_guest(wrong, 1);
    struct secret *key = NULL;
    uint8_t said[INVITE_BYTES], offer[INVITE_BYTES], reply[INVITE_BYTES];
    (void)state;
    guest_say(g, said);
    assert_int_equal(take(inv, said, sizeof said, 1000, offer), 0);
    for (unsigned i = 1; i <= INVITE_WRONG_MAX; i++) {
        assert_int_equal(guest_take(g, offer, sizeof offer, &key), KPEER_EAUTH);
        assert_int_equal(guest_wrong(g), i);
    }
    assert_int_equal(guest_take(g, offer, sizeof offer, &key), KPEER_ELIMIT);
    assert_false(guest_claims(g));
    assert_null(key);
    /* A claim without the key of the run. */
    memcpy(said, offer, sizeof said);
    said[20] = 3;
    memset(said + 21 + CPACE_TAG_BYTES, 0, INVITE_BYTES - 21 - CPACE_TAG_BYTES);
    assert_int_equal(take(inv, said, sizeof said, 1000, reply), KPEER_EAUTH);
    assert_int_equal(invitation_state(inv, 1000), INVITATION_OPEN);
    guest_free(g);
    invitation_free(inv);
}

/* Whoever hears all of an exchange and says it again gets nothing new, and no guest of another run takes it.
 */
static void test_said_again_by_others(void **state)
{
    struct invitation *inv = invitation_new(code, 1000), *another = invitation_new(code, 1000);
    struct guest *g = new_guest(code, 1), *other = new_guest(code, 2);
    struct secret *key = NULL;
    uint8_t ask[INVITE_BYTES], offer[INVITE_BYTES], claim[INVITE_BYTES], given[INVITE_BYTES],
        reply[INVITE_BYTES];
    (void)state;
    guest_say(g, ask);
    assert_int_equal(take(inv, ask, sizeof ask, 1000, offer), 0);
    assert_int_equal(guest_take(g, offer, sizeof offer, &key), 0);
    guest_say(g, claim);
    assert_int_equal(take(inv, claim, sizeof claim, 1000, given), 0);
    assert_int_equal(guest_take(other, offer, sizeof offer, &key), KPEER_EINVAL);
    assert_int_equal(guest_take(other, given, sizeof given, &key), KPEER_EINVAL);
    memcpy(offer + 4, "another session!", 16);
    assert_int_equal(take(another, ask, sizeof ask, 1000, reply), 0); /* the same ask to an invitation anew */
    assert_int_equal(take(another, claim, sizeof claim, 1000, reply), KPEER_EAUTH);
    guest_free(g);
    guest_free(other);
    invitation_free(inv);
    invitation_free(another);
}

/* Each bit of each datagram matters. */
static void test_bent_datagrams(void **state)
{
    struct secret *key = NULL;
    uint8_t said[INVITE_BYTES], reply[INVITE_BYTES], bent[INVITE_BYTES], out[INVITE_BYTES];
    (void)state;
    for (size_t bit = 0; bit < 8 * INVITE_BYTES; bit += 5) {
        struct invitation *inv = invitation_new(code, 1000);
        struct guest *g = new_guest(code, 1);
        for (int turn = 0; turn < 2; turn++) {
            guest_say(g, said);
            memcpy(bent, said, sizeof bent);
            bent[bit / 8] ^= (uint8_t)(1U << bit % 8);
            /* A bent ask may be another's honest ask, whose offer does not fit ours; a bent claim is none. */
            if (take(inv, bent, sizeof bent, 1000, out) == 0) {
                assert_int_equal(turn, 0);
                assert_int_not_equal(guest_take(g, out, sizeof out, &key), 0);
            }
            assert_int_equal(take(inv, said, sizeof said, 1000, reply), 0);
            memcpy(bent, reply, sizeof bent);
            bent[bit / 8] ^= (uint8_t)(1U << bit % 8);
            assert_int_not_equal(guest_take(g, bent, sizeof bent, &key), 0);
            assert_null(key);
            assert_int_equal(guest_take(g, reply, sizeof reply, &key), 0);
        }
        assert_non_null(key);
        secret_free(key);
        key = NULL;
        guest_free(g);
        invitation_free(inv);
    }
}

static void test_no_other_length(void **state)
{
    struct invitation *inv = invitation_new(code, 1000);
    struct guest *g = new_guest(code, 1);
    struct secret *key = NULL;
    uint8_t said[INVITE_BYTES + 1] = {0}, reply[INVITE_BYTES];
    (void)state;
    guest_say(g, said);
    for (size_t n = 0; n <= sizeof said; n++) {
        if (n == INVITE_BYTES)
            continue;
        assert_int_equal(take(inv, said, n, 1000, reply), KPEER_EINVAL);
        assert_int_equal(guest_take(g, said, n, &key), KPEER_EINVAL);
    }
    guest_free(g);
    invitation_free(inv);
}

/* ---- bounds ---- */

static void test_it_ends(void **state)
{
    struct invitation *inv = invitation_new(code, 1000);
    struct guest *g = new_guest(code, 1);
    struct secret *key = NULL;
    uint8_t said[INVITE_BYTES], reply[INVITE_BYTES];
    (void)state;
    guest_say(g, said);
    assert_int_equal(take(inv, said, sizeof said, 1000, reply), 0);
    assert_int_equal(guest_take(g, reply, sizeof reply, &key), 0);
    guest_say(g, said);
    uint64_t end_ms = 1000 + INVITE_LIFE_MS;
    assert_int_equal(take(inv, said, sizeof said, end_ms, reply), KPEER_ESTATE);
    assert_int_equal(invitation_state(inv, end_ms), INVITATION_EXPIRED);
    assert_int_equal(take(inv, said, sizeof said, end_ms - 1, reply), 0);
    assert_int_equal(take(inv, said, sizeof said, end_ms, reply), KPEER_ESTATE); /* given, and over */
    guest_free(g);
    invitation_free(inv);
}

static int strange_ask(struct invitation *inv, uint32_t n, uint64_t now_ms)
{
    uint8_t session[INVITE_SESSION_BYTES] = {0}, scalar[CPACE_SCALAR_BYTES] = {9};
    uint8_t said[INVITE_BYTES], reply[INVITE_BYTES];
    memcpy(session, &n, sizeof n);
    struct guest *g = guest_new(wrong, session, scalar);
    guest_say(g, said);
    guest_free(g);
    return take(inv, said, sizeof said, now_ms, reply);
}

/* Strangers' tries are bounded in time and in all; a guest that got its offer is not pushed out by a burst.
 */
static void test_tries_are_bounded(void **state)
{
    struct invitation *inv = invitation_new(code, 1000);
    struct guest *g = new_guest(code, 1);
    struct secret *key = NULL;
    uint8_t said[INVITE_BYTES], reply[INVITE_BYTES];
    unsigned taken = 0;
    uint32_t n = 0;
    (void)state;
    guest_say(g, said);
    assert_int_equal(take(inv, said, sizeof said, 1000, reply), 0);
    assert_int_equal(guest_take(g, reply, sizeof reply, &key), 0);
    for (int i = 0; i < 1000; i++)
        taken += strange_ask(inv, n++, 1000) == 0;
    assert_int_equal(taken, INVITE_BURST - 1);
    assert_int_equal(strange_ask(inv, n++, 1000), KPEER_ELIMIT);
    assert_int_equal(strange_ask(inv, n++, 1000 + INVITE_RATE_MS), 0);
    assert_int_equal(strange_ask(inv, n++, 1000 + INVITE_RATE_MS), KPEER_ELIMIT);
    guest_say(g, said);
    assert_int_equal(take(inv, said, sizeof said, 1000 + INVITE_RATE_MS, reply), 0);
    assert_int_equal(guest_take(g, reply, sizeof reply, &key), 0);
    secret_free(key);
    guest_free(g);
    invitation_free(inv);
}

static void test_too_many_tries_end_it(void **state)
{
    struct invitation *inv = invitation_new(code, 1000);
    uint64_t now_ms = 1000;
    unsigned taken = 0;
    (void)state;
    for (uint32_t n = 0; n < INVITE_TRIES_MAX + 10; n++, now_ms += INVITE_RATE_MS)
        taken += strange_ask(inv, n, now_ms) == 0;
    assert_int_equal(taken, INVITE_TRIES_MAX);
    assert_int_equal(invitation_state(inv, now_ms), INVITATION_SPOILED);
    invitation_free(inv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_codes),
        cmocka_unit_test(test_codes_as_people_type_them),
        cmocka_unit_test(test_a_slip_is_told_from_another_code),
        cmocka_unit_test(test_the_key_is_given_once),
        cmocka_unit_test(test_a_rotated_key_keeps_its_group),
        cmocka_unit_test(test_another_code_gets_nothing),
        cmocka_unit_test(test_said_again_by_others),
        cmocka_unit_test(test_bent_datagrams),
        cmocka_unit_test(test_no_other_length),
        cmocka_unit_test(test_it_ends),
        cmocka_unit_test(test_tries_are_bounded),
        cmocka_unit_test(test_too_many_tries_end_it),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
