#include "protocol/wanted.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/mem.h"

static void test_versions(void **state)
{
    struct version v = {0};

    (void)state;
    assert_true(version_parse("1.31.4", &v));
    assert_int_equal(v.major, 1);
    assert_int_equal(v.minor, 31);
    assert_int_equal(v.patch, 4);
    assert_true(version_parse("v1.23.3-00", &v));
    assert_int_equal(v.minor, 23);
    assert_true(version_parse("v1.31.0-rc.1+build", &v));
}

static void test_no_versions(void **state)
{
    static const char *const odd[] = {"",         "v",         "1",        "1.31",    "1.31.",
                                      "1.31.4.5", " 1.31.4",   "1.31.4 ",  "1..4",    "1.31.x",
                                      "01.31.4",  "1.031.4",   "1.31.04",  "-1.31.4", "vv1.31.4",
                                      "1.31.4~",  "1.99999.4", "1.31.4\n", "stable"};
    struct version v = {.major = 7};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(odd); i++)
        assert_false(version_parse(odd[i], &v));
    assert_int_equal(v.major, 7);
}

static void test_order(void **state)
{
    static const char *const rising[] = {"1.9.12", "1.10.0", "1.10.1", "1.31.4", "2.0.0"};
    struct version a, b;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rising); i++)
        for (size_t k = 0; k < COUNT_OF(rising); k++) {
            assert_true(version_parse(rising[i], &a) && version_parse(rising[k], &b));
            assert_true((version_compare(&a, &b) < 0) == (i < k) && (version_compare(&a, &b) > 0) == (i > k));
        }
}

static void test_normalise(void **state)
{
    static const char *const pairs[][2] = {{"1.31", "v1.31"},    {"v1.31", "v1.31"},   {"1.31.4", "v1.31.4"},
                                           {"v1.0.0", "v1.0.0"}, {"stable", "stable"}, {"1.031", NULL},
                                           {"1.31.4-1.1", NULL}, {"1", NULL},          {"Stable", NULL},
                                           {"", NULL},           {"1.31.", NULL},      {"latest", NULL},
                                           {"1.31.4.1", NULL},   {"12345.1.1", NULL}};
    char out[32];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(pairs); i++) {
        bool ok = wanted_normalise(pairs[i][0], out, sizeof(out));

        assert_int_equal(ok, pairs[i][1] != NULL);
        if (ok)
            assert_string_equal(out, pairs[i][1]);
    }
    assert_false(wanted_normalise("1.31.4", out, 7));
    assert_true(wanted_normalise("1.31.4", out, 8));
}

static void test_fits(void **state)
{
    (void)state;
    assert_true(wanted_fits("v1.31.4", "v1.31.4"));
    assert_true(wanted_fits("v1.31.4", "1.31.4-1.1"));
    assert_false(wanted_fits("v1.31.4", "v1.31.5"));
    assert_true(wanted_fits("v1.31", "v1.31.5"));
    assert_false(wanted_fits("v1.3", "v1.31.5"));
    assert_false(wanted_fits("v1.31", "v1.32.0"));
    assert_true(wanted_fits("stable", "v1.9.0"));
    assert_true(wanted_fits("", "v1.9.0"));
    assert_false(wanted_fits("", ""));
    assert_false(wanted_fits("stable", "none"));
    assert_true(wanted_is_exact("v1.31.4"));
    assert_false(wanted_is_exact("v1.31") || wanted_is_exact("stable") || wanted_is_exact(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_versions),  cmocka_unit_test(test_no_versions), cmocka_unit_test(test_order),
        cmocka_unit_test(test_normalise), cmocka_unit_test(test_fits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
