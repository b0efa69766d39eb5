/* Anti-entropy: two that compare notes end up with the same, and a lying summary does no harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "protocol/gossip.h"

static void put(struct gossip *g, uint8_t owner, enum statement_kind kind, uint64_t version, int expect)
{
    struct statement s = {.kind = kind, .owner = {{owner}}, .version = version};
    uint8_t wire[3] = {owner, (uint8_t)kind, (uint8_t)version};
    s.wire = wire;
    s.wire_bytes = sizeof wire;
    if (kind == STATEMENT_GRANT)
        s.subject = (struct peer_id){{9}};
    assert_int_equal(gossip_put(g, &s), expect);
    assert_true(gossip_knows(g, &s));
}

static void test_the_newest_is_kept(void **state)
{
    (void)state;
    struct gossip g = {0};
    put(&g, 2, STATEMENT_PROFILE, 5, 1);
    uint64_t digest = g.digest;
    put(&g, 2, STATEMENT_PROFILE, 5, 0);
    put(&g, 2, STATEMENT_PROFILE, 4, 0);
    assert_true(g.digest == digest);
    put(&g, 2, STATEMENT_PROFILE, 6, 1);
    assert_true(g.digest != digest);
    assert_int_equal(g.count, 1);
    const struct gossip_item *it =
        gossip_find(&g, &(struct peer_id){{2}}, STATEMENT_PROFILE, &(struct peer_id){{0}});
    assert_non_null(it);
    assert_int_equal(it->wire[2], 6);
    gossip_fini(&g);
}

static void test_the_digest_does_not_depend_on_the_order(void **state)
{
    (void)state;
    struct gossip a = {0}, b = {0};
    for (uint8_t i = 1; i < 100; i++) {
        put(&a, i, STATEMENT_PROFILE, i, 1);
        put(&b, (uint8_t)(100 - i), STATEMENT_PROFILE, (uint64_t)(100 - i), 1);
    }
    assert_true(a.digest == b.digest);
    gossip_forget(&a, &(struct peer_id){{7}});
    assert_true(a.digest != b.digest);
    assert_int_equal(a.count, 98);
    gossip_forget(&b, &(struct peer_id){{7}});
    assert_true(a.digest == b.digest);
    gossip_fini(&a);
    gossip_fini(&b);
}

static void lacks(void *ctx, const struct gossip_item *item)
{
    struct statement s = {.kind = item->kind,
                          .owner = item->owner,
                          .subject = item->subject,
                          .version = item->version,
                          .wire = item->wire,
                          .wire_bytes = item->wire_bytes};
    assert_int_equal(gossip_put(ctx, &s), 1); /* never something that is there already */
}

/* `from` hears the summary of `to` and gives it what it lacks. */
static bool give(const struct gossip *from, struct gossip *to)
{
    struct pack_writer w;
    struct pack_reader r;
    bool ahead = false;
    pack_writer_init(&w, 1 << 20);
    gossip_summary_pack(to, &w);
    assert_int_equal(pack_writer_end(&w, NULL), 0);
    assert_int_equal(pack_open(&r, w.bytes, w.used, 3, NULL), 0);
    gossip_compare(from, &r, lacks, to, &ahead);
    assert_int_equal(pack_close(&r, NULL), 0);
    pack_writer_fini(&w);
    return ahead;
}

static void test_two_become_alike(void **state)
{
    (void)state;
    struct gossip a = {0}, b = {0};
    for (uint8_t i = 1; i < 60; i++) {
        if (i % 2)
            put(&a, i, STATEMENT_PROFILE, i % 5, 1);
        if (i % 3)
            put(&b, i, STATEMENT_PROFILE, i % 7, 1);
        if (i % 5 == 0)
            put(&a, i, STATEMENT_GRANT, 1, 1);
    }
    assert_true(give(&a, &b)); /* b had something newer, too */
    assert_false(give(&b, &a));
    assert_true(a.digest == b.digest);
    assert_int_equal(a.count, b.count);
    assert_false(give(&a, &b));
    gossip_fini(&a);
    gossip_fini(&b);
}

static void count(void *ctx, const struct gossip_item *item)
{
    (void)item;
    ++*(size_t *)ctx;
}

static void test_a_summary_out_of_order_is_a_fault(void **state)
{
    (void)state;
    static const uint8_t owners[][2] = {{2, 1}, {1, 1}};
    for (size_t k = 0; k < 2; k++) {
        struct gossip g = {0};
        struct pack_writer w;
        struct pack_reader r;
        bool ahead = false;
        size_t n = 0;
        put(&g, 3, STATEMENT_PROFILE, 1, 1);
        pack_writer_init(&w, 4096);
        pack_put_array(&w, 2);
        for (size_t i = 0; i < 2; i++) {
            struct peer_id id = {{owners[k][i]}}, zero = {{0}};
            pack_put_array(&w, 4);
            pack_put_bin(&w, id.b, sizeof id.b);
            pack_put_uint(&w, STATEMENT_PROFILE);
            pack_put_bin(&w, zero.b, sizeof zero.b);
            pack_put_uint(&w, 1);
        }
        assert_int_equal(pack_open(&r, w.bytes, w.used, 3, NULL), 0);
        gossip_compare(&g, &r, count, &n, &ahead);
        assert_int_not_equal(pack_close(&r, NULL), 0);
        assert_int_equal(n, 0);
        pack_writer_fini(&w);
        gossip_fini(&g);
    }
}

static void test_there_is_a_limit(void **state)
{
    (void)state;
    struct gossip g = {0};
    uint8_t wire[1] = {0};
    struct statement s = {.kind = STATEMENT_PROFILE, .version = 1, .wire = wire, .wire_bytes = 1};
    for (uint32_t i = 0; i <= GOSSIP_ITEMS_MAX; i++) {
        memcpy(s.owner.b, &i, sizeof i);
        assert_int_equal(gossip_put(&g, &s), i < GOSSIP_ITEMS_MAX ? 1 : KPEER_ELIMIT);
    }
    s.owner = g.item[17].owner; /* what is there can still be renewed */
    s.version = 2;
    assert_int_equal(gossip_put(&g, &s), 1);
    gossip_fini(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_newest_is_kept),
        cmocka_unit_test(test_the_digest_does_not_depend_on_the_order),
        cmocka_unit_test(test_two_become_alike),
        cmocka_unit_test(test_a_summary_out_of_order_is_a_fault),
        cmocka_unit_test(test_there_is_a_limit),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
