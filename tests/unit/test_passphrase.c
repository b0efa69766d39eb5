/* Keys out of passphrases: the same everywhere, and from nothing simple. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sodium.h>
#include <string.h>

#include "peer/command/passphrase.h"
#include "protocol/mem.h"

static void test_simple_ones_are_refused(void **state)
{
    static const char *const simple[] = {
        "",
        "password",
        "Password2024!",
        "correct horse battery",
        "aaaaaaaaaa",
        "aaaaaaaaaaaaaaaaa",
        "abcdefghijklmnopqrst",
        "12345678901234567890",
        "qwertyuiop",
        "horse horse horse horse horse horse",
        "!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!",
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(simple); i++) {
        struct err err = {0};
        assert_int_equal(passphrase_check(simple[i], &err), KPEER_EREFUSED);
        assert_non_null(strstr(err.text, "bits by kpeer's estimate"));
        assert_true(!simple[i][0] || !strstr(err.text, simple[i]));
    }
}

static void test_strong_ones_are_taken(void **state)
{
    static const char *const strong[] = {
        "correct horse battery staple cloud",
        "lamp-violin-garden-copper-tram",
        "q7Wd9xK2mZ4rT8vB",
        "Zug47 Mond! Kerze? Regen; Tisch",
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(strong); i++)
        assert_int_equal(passphrase_check(strong[i], NULL), 0);
}

/* A change of salt, passes or memory would make every group's passphrase useless: the value is pinned. */
static void test_the_same_words_give_the_same_key(void **state)
{
    struct secret *a = NULL, *b = NULL, *c = NULL;
    uint8_t id[GROUP_ID_BYTES];
    char hex[2 * GROUP_ID_BYTES + 1];
    (void)state;
    assert_int_equal(passphrase_key("correct horse battery staple cloud", &a, NULL), 0);
    assert_int_equal(passphrase_key("correct horse battery staple cloud", &b, NULL), 0);
    assert_int_equal(passphrase_key("correct horse battery staple clouds", &c, NULL), 0);
    assert_true(secret_equal(a, b));
    assert_false(secret_equal(a, c));
    assert_int_equal(secret_epoch(a), 0);
    secret_group_id(a, id);
    mem_hex(hex, id, sizeof id);
    assert_string_equal(hex, "8160990c3fec0bb0fb6db0ef477afd38");
    secret_free(a);
    secret_free(b);
    secret_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_simple_ones_are_refused),
        cmocka_unit_test(test_strong_ones_are_taken),
        cmocka_unit_test(test_the_same_words_give_the_same_key),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
