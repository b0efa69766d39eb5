/* Tickets: opened by the one they were made for, unaltered, and by nobody else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "protocol/ticket.h"

static const uint8_t seed_a[32] = {1}, seed_b[32] = {2};

static void test_a_ticket_is_for_one_host(void **state)
{
    (void)state;
    struct identity *joiner = NULL, *other = NULL;
    uint8_t box[TICKET_BOX_MAX];
    uint16_t n = 0;
    struct ticket got = {.nonce = 1};
    assert_int_equal(identity_new(&joiner, seed_a, NULL), 0);
    assert_int_equal(identity_new(&other, seed_b, NULL), 0);
    struct ticket t = {.joiner = joiner->id,
                       .issuer = other->id,
                       .nonce = 42,
                       .ttl_ms = 600000,
                       .cluster_id = "0123456789abcdef0123456789abcdef",
                       .endpoint = "[fd00:aaaa:bbbb:cccc:dddd:eeee:ffff:1111]:6443",
                       .ca_hash = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                       .token = "abcdef.0123456789abcdef"};
    assert_int_equal(ticket_seal(&t, joiner->box_pk, seed_b, box, &n), 0);
    assert_null(memmem(box, n, t.token, 6)); /* a relay learns nothing */
    assert_int_equal(ticket_open(other, box, n, &got), KPEER_EAUTH);
    for (size_t i = 0; i < n; i++) {
        box[i] ^= 0x10;
        assert_int_not_equal(ticket_open(joiner, box, n, &got), 0);
        box[i] ^= 0x10;
        assert_int_not_equal(ticket_open(joiner, box, i, &got), 0);
    }
    assert_int_equal(got.nonce, 1); /* set on success alone */
    assert_int_equal(ticket_open(joiner, box, n, &got), 0);
    assert_true(peer_id_equal(&got.joiner, &t.joiner) && peer_id_equal(&got.issuer, &t.issuer));
    assert_true(got.nonce == t.nonce && got.ttl_ms == t.ttl_ms);
    assert_string_equal(got.cluster_id, t.cluster_id);
    assert_string_equal(got.endpoint, t.endpoint);
    assert_string_equal(got.ca_hash, t.ca_hash);
    assert_string_equal(got.token, t.token);
    /* Sealed to a host whose id is not the one inside: somebody passes a ticket on under his own name. */
    assert_int_equal(ticket_seal(&t, other->box_pk, seed_a, box, &n), 0);
    assert_int_equal(ticket_open(other, box, n, &got), KPEER_EAUTH);
    t.nonce = 0; /* answers no request */
    assert_int_equal(ticket_seal(&t, joiner->box_pk, seed_a, box, &n), 0);
    assert_int_equal(ticket_open(joiner, box, n, &got), KPEER_EAUTH);
    identity_free(joiner);
    identity_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_ticket_is_for_one_host),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
