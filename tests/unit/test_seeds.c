/* Whom to greet one by one: bounded, rate-limited, forgotten in time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "discovery/seeds.h"

#define EXPIRY 10000

static void count(void *ctx, const struct seed *seed)
{
    (void)seed;
    ++*(unsigned *)ctx;
}

static unsigned sent(struct seeds *s, uint64_t now_ms)
{
    unsigned n = 0;
    seeds_each(s, now_ms, EXPIRY, count, &n);
    return n;
}

static struct address numbered(unsigned i)
{
    return (struct address){.n = 4, .b = {10, 0, (uint8_t)(i >> 8), (uint8_t)i}};
}

static void test_named_seeds_stay(void **state)
{
    struct seeds s = {0};
    struct address a = numbered(1);
    (void)state;
    assert_true(seeds_add(&s, &a, 7373));
    assert_true(seeds_add(&s, &a, 7373));
    assert_true(seeds_add(&s, &a, 7374));
    assert_int_equal(sent(&s, 1000), 2);
    assert_int_equal(sent(&s, 1000 + 100 * EXPIRY), 2);
}

static void test_no_faster_than_the_limit(void **state)
{
    struct seeds s = {0};
    struct address a = numbered(1);
    unsigned n = 0;
    (void)state;
    assert_true(seeds_add(&s, &a, 7373));
    for (uint64_t t = 1; t <= 10 * SEEDS_INTERVAL_MS; t++) {
        seeds_heard(&s, &a, 7373, t, EXPIRY); /* a member that shouts */
        n += sent(&s, t);
    }
    assert_int_equal(n, 10);
}

static void test_silent_members_are_forgotten(void **state)
{
    struct seeds s = {0};
    struct address a = numbered(1), b = numbered(2);
    (void)state;
    seeds_heard(&s, &a, 7373, 1000, EXPIRY);
    assert_int_equal(sent(&s, 1000), 1);
    seeds_heard(&s, &b, 7373, 1000 + EXPIRY - 1, EXPIRY);
    assert_int_equal(sent(&s, 1000 + EXPIRY), 1);
    assert_int_equal(s.count, 1);
}

static void test_the_table_is_bounded(void **state)
{
    struct seeds s = {0};
    (void)state;
    for (unsigned i = 0; i < SEEDS_MAX + 50; i++) {
        struct address a = numbered(i);
        seeds_heard(&s, &a, 7373, 1000, EXPIRY);
    }
    assert_int_equal(s.count, SEEDS_MAX);
    struct address late = numbered(9999);
    assert_false(seeds_add(&s, &late, 7373));
    seeds_heard(&s, &late, 7373, 1000 + EXPIRY, EXPIRY); /* takes the place of one that is silent */
    assert_int_equal(sent(&s, 1000 + EXPIRY), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_named_seeds_stay),
        cmocka_unit_test(test_no_faster_than_the_limit),
        cmocka_unit_test(test_silent_members_are_forgotten),
        cmocka_unit_test(test_the_table_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
