/* Keys from the environment and from standard input. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "peer/keyfile.h"
#include "peer/keysource.h"

static struct secret *key, *other, *later;
static char folder[64], path[96], text[KEYTEXT_BYTES];

static int setup(void **state)
{
    uint8_t group[GROUP_ID_BYTES];
    (void)state;
    strcpy(folder, "/tmp/kpeer-source-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/group.key", folder);
    assert_int_equal(keyfile_generate(&key, NULL), 0);
    assert_int_equal(keyfile_generate(&other, NULL), 0);
    secret_group_id(key, group);
    later = secret_later(secret_bytes(other), group, 3);
    keytext_format(key, text);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    rmdir(folder);
    secret_free(key);
    secret_free(other);
    secret_free(later);
    return 0;
}

static void holds(const struct secret *wanted)
{
    struct secret *back = NULL;
    assert_int_equal(keyfile_read(path, &back, NULL), 0);
    assert_true(secret_equal(back, wanted));
    secret_free(back);
}

static void test_what_is_given_is_kept(void **state)
{
    struct err err = {0};
    (void)state;
    assert_int_equal(keysource_keep(path, key, false, NULL), 0);
    holds(key);
    assert_int_equal(keysource_keep(path, later, false, NULL), 0);
    holds(later);
    assert_int_equal(keysource_keep(path, key, false, NULL), 0); /* an older one changes nothing */
    holds(later);
    assert_int_equal(keysource_keep(path, other, false, &err), KPEER_EREFUSED);
    assert_non_null(strstr(err.hint, "--force"));
    holds(later);
    assert_int_equal(keysource_keep(path, other, true, NULL), 0);
    holds(other);
}

static void feed(const char *what)
{
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    assert_true(write(pipes[1], what, strlen(what)) == (ssize_t)strlen(what));
    close(pipes[1]);
    assert_true(dup2(pipes[0], STDIN_FILENO) == STDIN_FILENO);
    close(pipes[0]);
}

static void test_a_line_of_standard_input(void **state)
{
    char line[KEYSOURCE_LINE_BYTES], long_one[2 * KEYSOURCE_LINE_BYTES];
    struct secret *back = NULL;
    (void)state;
    feed("some words\r\nand more\n");
    assert_int_equal(keysource_line("", line, NULL), 0);
    assert_string_equal(line, "some words");
    assert_int_equal(keysource_line("", line, NULL), 0);
    assert_string_equal(line, "and more");
    assert_int_equal(keysource_line("", line, NULL), KPEER_EINVAL);
    memset(long_one, 'x', sizeof long_one - 1);
    long_one[sizeof long_one - 1] = '\0';
    feed(long_one);
    assert_int_equal(keysource_line("", line, NULL), KPEER_EINVAL);
    feed(text);
    assert_int_equal(keysource_ask(&back, NULL), 0);
    assert_true(secret_equal(back, key));
    secret_free(back);
}

/* The last test: what was taken stays taken. */
static void test_the_environment(void **state)
{
    char set[KEYTEXT_BYTES + 16];
    struct secret *back = NULL;
    struct err err = {0};
    (void)state;
    assert_false(keysource_from_environment());
    assert_int_equal(keysource_environment(&back, NULL), KPEER_ENOTFOUND);
    assert_int_equal(keysource_agent(path, &back, NULL), KPEER_ENOTFOUND);
    snprintf(set, sizeof set, KEYSOURCE_VARIABLE "=%s", text);
    assert_int_equal(putenv(set), 0);
    keysource_take_environment();
    assert_null(getenv(KEYSOURCE_VARIABLE));
    assert_null(strstr(set, "kpeer-group"));
    assert_true(sodium_is_zero((const unsigned char *)set + sizeof KEYSOURCE_VARIABLE, strlen(text)));
    assert_true(keysource_from_environment());
    assert_int_equal(keysource_agent(path, &back, NULL), 0);
    assert_true(secret_equal(back, key));
    secret_free(back);
    assert_int_equal(keyfile_write(path, later, false, NULL), 0);
    assert_int_equal(keysource_agent(path, &back, NULL), 0);
    assert_true(secret_equal(back, later));
    secret_free(back);
    assert_int_equal(keyfile_write(path, other, true, NULL), 0);
    assert_int_equal(keysource_agent(path, &back, &err), KPEER_EREFUSED);
    assert_non_null(strstr(err.text, KEYSOURCE_VARIABLE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_is_given_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_line_of_standard_input, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_environment, setup, teardown),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
