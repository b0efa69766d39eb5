/* The bounded msgpack reader and writer: round trips, limits, and everything that must be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/pack.h"

static void opens(const void *bytes, size_t n, bool well)
{
    struct pack_reader r;
    struct err err = {0};
    int code = pack_open(&r, bytes, n, 3, &err);

    assert_int_equal(code == 0, well);
    if (!well) {
        assert_true(pack_bad(&r));
        assert_string_not_equal(err.text, "");
        /* A reader that failed to open stays harmless. */
        assert_int_equal(pack_array(&r, 0, 10), 0);
        assert_int_equal(pack_uint(&r, UINT64_MAX), 0);
        assert_int_not_equal(pack_close(&r, &err), 0);
    }
}

static void test_numbers_round_trip(void **state)
{
    static const int64_t values[] = {
        0,         1,          127,       128,      255,    256,    65535,     65536,           -1,
        -32,       -33,        -128,      -129,     -32768, -32769, INT32_MIN, INT32_MIN - 1ll, INT64_MIN,
        INT64_MAX, UINT32_MAX, 1ll << 32, INT32_MAX};
    (void)state;

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        uint8_t bytes[16];
        struct pack_writer w;
        struct pack_reader r;

        pack_writer_into(&w, bytes, sizeof(bytes));
        pack_put_int(&w, values[i]);
        assert_int_equal(pack_writer_end(&w, NULL), 0);
        assert_int_equal(pack_open(&r, bytes, w.used, 0, NULL), 0);
        assert_true(pack_int(&r, INT64_MIN, INT64_MAX) == values[i]);
        assert_int_equal(pack_close(&r, NULL), 0);
        for (size_t n = 0; n < w.used; n++)
            opens(bytes, n, false);
    }
}

static void test_sizes_round_trip(void **state)
{
    static const size_t sizes[] = {0, 1, 31, 32, 255, 256, 65535, 65536};
    static char text[65537], back[65537];
    (void)state;

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct pack_writer w;
        struct pack_reader r;
        uint8_t *bytes = NULL;
        const uint8_t *bin;
        size_t n, bin_bytes;

        memset(text, 'x', sizes[i]);
        text[sizes[i]] = 0;
        pack_writer_init(&w, 1 << 20);
        pack_put_array(&w, 3);
        pack_put_str(&w, text);
        pack_put_bin(&w, text, sizes[i]);
        pack_put_bool(&w, true);
        assert_int_equal(pack_writer_take(&w, &bytes, &n, NULL), 0);
        pack_writer_fini(&w);
        assert_int_equal(pack_open(&r, bytes, n, 1, NULL), 0);
        assert_int_equal(pack_array(&r, 3, 3), 3);
        pack_str(&r, back, sizeof(back));
        bin = pack_bin(&r, sizes[i], sizes[i], &bin_bytes);
        assert_true(pack_bool(&r));
        assert_int_equal(pack_close(&r, NULL), 0);
        assert_string_equal(back, text);
        assert_memory_equal(bin, text, bin_bytes);
        free(bytes);
    }
}

static void test_hostile_counts(void **state)
{
    (void)state;
    opens("\xdd\x0f\xff\xff\xff", 5, false); /* 268 million elements in nothing */
    opens("\xdd\xff\xff\xff\xff", 5, false);
    opens("\xdc\xff\xff", 3, false);
    opens("\xdb\xff\xff\xff\xff", 5, false); /* a text of 4 GB */
    opens("\xc6\xff\xff\xff\xff", 5, false);
    opens("\x91\x91\x91\x91", 4, false);     /* ends within */
    opens("\x91\x91\x91\xc0", 4, true);      /* three deep: allowed here */
    opens("\x91\x91\x91\x91\xc0", 5, false); /* four deep */
    opens("", 0, false);
}

static void test_other_forms_are_refused(void **state)
{
    (void)state;
    opens("\xcc\x7f", 2, false);     /* 127 in two bytes */
    opens("\xcd\x00\xff", 3, false); /* 255 in three */
    opens("\xce\x00\x00\xff\xff", 5, false);
    opens("\xcf\x00\x00\x00\x00\xff\xff\xff\xff", 9, false);
    opens("\xd0\x05", 2, false); /* a positive number in a signed form */
    opens("\xd0\xff", 2, false); /* -1 in two bytes */
    opens("\xd1\xff\x80", 3, false);
    opens("\xd9\x01x", 3, false);
    opens("\xda\x00\x01x", 4, false);
    opens("\xc5\x00\x01x", 4, false);
    opens("\xdc\x00\x01\xc0", 4, false);
    opens("\x80", 1, false); /* a map */
    opens("\xde\x00\x00", 3, false);
    opens("\xca\x00\x00\x00\x00", 5, false); /* a float */
    opens("\xd4\x01\x00", 3, false);         /* an extension */
    opens("\xc1", 1, false);
    opens("\xc0\xc0", 2, false); /* bytes after its end */
}

static int read_text(const void *bytes, size_t n, size_t room)
{
    struct pack_reader r;
    char text[16];

    assert_int_equal(pack_open(&r, bytes, n, 1, NULL), 0);
    memset(text, 'z', sizeof(text));
    pack_str(&r, text, room);
    assert_int_equal(text[room - 1], 0);
    return pack_close(&r, NULL);
}

static void test_texts(void **state)
{
    (void)state;
    assert_int_equal(read_text("\xa3"
                               "abc",
                               4, 4),
                     0);
    assert_int_equal(read_text("\xa3"
                               "abc",
                               4, 3),
                     KPEER_ELIMIT);
    assert_int_equal(read_text("\xa3"
                               "a\0c",
                               4, 8),
                     KPEER_EINVAL);
    assert_int_equal(read_text("\xa2"
                               "a\n",
                               3, 8),
                     KPEER_EINVAL);
    assert_int_equal(read_text("\xa3\xe2\x82\xac", 4, 8), 0);
    assert_int_equal(read_text("\xa2\xe2\x82", 3, 8), KPEER_EINVAL);
    assert_int_equal(read_text("\xa2\xc0\x80", 3, 8), KPEER_EINVAL);     /* a NUL in two bytes */
    assert_int_equal(read_text("\xa3\xed\xa0\x80", 4, 8), KPEER_EINVAL); /* half a surrogate pair */
    assert_int_equal(read_text("\xa2\xc2\x85", 3, 8), KPEER_EINVAL); /* a control character beyond ASCII */
    assert_int_equal(read_text("\xa4\xf4\x90\x80\x80", 5, 8), KPEER_EINVAL);
    assert_int_equal(read_text("\x05", 1, 8), KPEER_EINVAL);
}

static void test_first_fault_sticks(void **state)
{
    static const uint8_t bytes[] = {0x93, 0x05, 0x06, 0x07};
    struct pack_reader r;
    struct err err = {0};
    char text[4];
    size_t n;
    (void)state;

    assert_int_equal(pack_open(&r, bytes, sizeof(bytes), 1, &err), 0);
    pack_array(&r, 3, 3);
    pack_field(&r, "first");
    assert_int_equal(pack_uint(&r, 4), 0);
    pack_field(&r, "second");
    assert_int_equal(pack_uint(&r, 100), 0);
    pack_str(&r, text, sizeof(text));
    assert_null(pack_bin(&r, 0, 1, &n));
    assert_null(pack_raw(&r, &n));
    assert_false(pack_nil(&r));
    assert_int_equal(pack_close(&r, &err), KPEER_EINVAL);
    assert_non_null(strstr(err.text, "first"));
}

static void test_leftover_elements(void **state)
{
    static const uint8_t bytes[] = {0x92, 0x05, 0x06};
    struct pack_reader r;
    (void)state;

    assert_int_equal(pack_open(&r, bytes, sizeof(bytes), 1, NULL), 0);
    pack_array(&r, 2, 2);
    assert_int_equal(pack_uint(&r, 9), 5);
    assert_int_equal(pack_close(&r, NULL), KPEER_EINVAL);
    assert_int_equal(pack_open(&r, bytes, sizeof(bytes), 1, NULL), 0);
    assert_int_equal(pack_array(&r, 0, 1), 0);
    assert_int_equal(pack_close(&r, NULL), KPEER_ELIMIT);
}

static void test_raw_is_the_value_as_it_came(void **state)
{
    static const uint8_t bytes[] = {0x92, 0x92, 0xa1, 'x', 0x01, 0xc3};
    struct pack_reader r;
    const uint8_t *raw;
    size_t n;
    (void)state;

    assert_int_equal(pack_open(&r, bytes, sizeof(bytes), 2, NULL), 0);
    pack_array(&r, 2, 2);
    raw = pack_raw(&r, &n);
    assert_ptr_equal(raw, bytes + 1);
    assert_int_equal(n, 4);
    assert_true(pack_bool(&r));
    assert_int_equal(pack_close(&r, NULL), 0);
}

static void test_writer_limits(void **state)
{
    struct pack_writer w;
    uint8_t small[4];
    (void)state;

    pack_writer_into(&w, small, sizeof(small));
    pack_put_str(&w, "abc");
    assert_int_equal(pack_writer_end(&w, NULL), 0);
    pack_put_uint(&w, 1);
    assert_int_equal(pack_writer_end(&w, NULL), KPEER_ELIMIT);
    pack_writer_init(&w, 100);
    pack_put_str(&w, "a\nb");
    assert_int_equal(pack_writer_end(&w, NULL), KPEER_EINVAL);
    pack_writer_fini(&w);
    pack_writer_fini(&w);
}

/* Whatever bytes come: an answer, and never a read beyond them (the sanitizers watch). */
static void test_noise(void **state)
{
    uint32_t seed = 1;
    (void)state;

    for (int round = 0; round < 200000; round++) {
        size_t n = 1 + (seed >> 8) % 24;
        uint8_t *bytes = malloc(n);
        struct pack_reader r;

        for (size_t i = 0; i < n; i++) {
            seed = seed * 1664525 + 1013904223;
            bytes[i] = (uint8_t)(seed >> 24);
        }
        if (pack_open(&r, bytes, n, 4, NULL) == 0) {
            size_t raw;

            assert_ptr_equal(pack_raw(&r, &raw), bytes);
            assert_int_equal(raw, n);
            assert_int_equal(pack_close(&r, NULL), 0);
        }
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_round_trip),
        cmocka_unit_test(test_sizes_round_trip),
        cmocka_unit_test(test_hostile_counts),
        cmocka_unit_test(test_other_forms_are_refused),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_first_fault_sticks),
        cmocka_unit_test(test_leftover_elements),
        cmocka_unit_test(test_raw_is_the_value_as_it_came),
        cmocka_unit_test(test_writer_limits),
        cmocka_unit_test(test_noise),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
