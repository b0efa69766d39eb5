#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer/config/config.h"
#include "peer/keyfile.h"

struct world {
    char folder[64];
    char path[128];
    struct secret *key;
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);

    strcpy(w->folder, "/tmp/kpeer-key-XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    snprintf(w->path, sizeof w->path, "%s/group.key", w->folder);
    assert_int_equal(keyfile_generate(&w->key, NULL), 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    unlink(w->path);
    assert_int_equal(rmdir(w->folder), 0); /* nothing else was left in it */
    secret_free(w->key);
    free(w);
    return 0;
}

static void put(const struct world *w, const char *text)
{
    FILE *f = fopen(w->path, "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    chmod(w->path, 0600);
}

static void test_written_and_read(void **state)
{
    struct world *w = *state;
    struct secret *back = NULL;
    struct stat st;

    umask(0);
    assert_int_equal(keyfile_write(w->path, w->key, false, NULL), 0);
    assert_int_equal(stat(w->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(keyfile_read(w->path, &back, NULL), 0);
    assert_true(secret_equal(w->key, back));
    secret_free(back);
}

static void test_not_replaced(void **state)
{
    struct world *w = *state;
    struct secret *other = NULL, *back = NULL;

    assert_int_equal(keyfile_generate(&other, NULL), 0);
    assert_false(secret_equal(w->key, other));
    assert_int_equal(keyfile_write(w->path, w->key, false, NULL), 0);
    assert_int_equal(keyfile_write(w->path, other, false, NULL), KPEER_EREFUSED);
    assert_int_equal(keyfile_read(w->path, &back, NULL), 0);
    assert_true(secret_equal(w->key, back));
    secret_free(back);
    assert_int_equal(keyfile_write(w->path, other, true, NULL), 0);
    assert_int_equal(keyfile_read(w->path, &back, NULL), 0);
    assert_true(secret_equal(other, back));
    secret_free(back);
    secret_free(other);
}

static void test_judged(void **state)
{
    struct world *w = *state;
    struct secret *back = NULL;
    struct err err = {0};
    char link[160];

    assert_int_equal(keyfile_read(w->path, &back, NULL), KPEER_ENOTFOUND);
    assert_int_equal(keyfile_write(w->path, w->key, false, NULL), 0);
    for (mode_t bit = 1; bit <= 040; bit <<= 1) {
        chmod(w->path, 0600 | bit);
        assert_int_equal(keyfile_read(w->path, &back, &err), KPEER_EREFUSED);
        assert_non_null(strstr(err.hint, "chmod 600"));
    }
    chmod(w->path, 0400);
    assert_int_equal(keyfile_read(w->path, &back, NULL), 0);
    secret_free(back);
    snprintf(link, sizeof link, "%s/link", w->folder);
    assert_int_equal(symlink(w->path, link), 0);
    assert_int_equal(keyfile_read(link, &back, NULL), KPEER_EREFUSED);
    unlink(link);
    assert_int_equal(mkfifo(link, 0600), 0);
    assert_int_equal(keyfile_read(link, &back, NULL), KPEER_EREFUSED); /* and does not wait */
    unlink(link);
    assert_int_equal(keyfile_read(w->folder, &back, NULL), KPEER_EREFUSED);
}

static void test_foreign_owner(void **state)
{
    struct world *w = *state;
    struct secret *back = NULL;
    struct err err = {0};

    if (geteuid() != 0) {
        print_message("skipped: only root can give files away\n");
        skip();
    }
    assert_int_equal(keyfile_write(w->path, w->key, false, NULL), 0);
    assert_int_equal(chown(w->path, 12345, 0), 0);
    assert_int_equal(keyfile_read(w->path, &back, &err), KPEER_EREFUSED);
    assert_non_null(strstr(err.hint, "chown"));
}

/* Any one character that is mistyped, dropped or doubled is told apart from a key. */
static void test_mistyped(void **state)
{
    struct world *w = *state;
    char text[KEYTEXT_BYTES], bad[KEYTEXT_BYTES + 2];
    struct secret *back = NULL;
    size_t n;

    keytext_format(w->key, text);
    n = strlen(text);
    for (size_t i = 0; i < n; i++) {
        memcpy(bad, text, n + 1);
        bad[i] = bad[i] == 'A' ? 'B' : 'A';
        assert_int_not_equal(keytext_parse(bad, &back, NULL), 0);
        memmove(bad + i, text + i + 1, n - i);
        assert_int_not_equal(keytext_parse(bad, &back, NULL), 0);
        memcpy(bad, text, i + 1);
        memcpy(bad + i + 1, text + i, n - i + 1);
        assert_int_not_equal(keytext_parse(bad, &back, NULL), 0);
        memcpy(bad, text, i);
        bad[i] = '\0';
        assert_int_not_equal(keytext_parse(bad, &back, NULL), 0);
    }
    assert_null(back);
}

static void test_words_for_faults(void **state)
{
    struct world *w = *state;
    char text[KEYTEXT_BYTES];
    struct secret *back = NULL;
    struct err err = {0};

    keytext_format(w->key, text);
    text[20] = text[20] == 'x' ? 'y' : 'x';
    put(w, text);
    assert_int_equal(keyfile_read(w->path, &back, &err), KPEER_EINVAL);
    assert_non_null(strstr(err.text, "look for a typing error"));
    assert_null(strstr(err.text, text + 18));
    keytext_format(w->key, text);
    text[16] = '3';
    put(w, text);
    assert_int_equal(keyfile_read(w->path, &back, &err), KPEER_EVERSION);
    assert_non_null(strstr(err.text, "version 3"));
    assert_non_null(strstr(err.text, "newer kpeer"));
    text[16] = '1';
    put(w, text);
    assert_int_equal(keyfile_read(w->path, &back, &err), KPEER_EVERSION);
    assert_non_null(strstr(err.text, "make a new key"));
    put(w, "");
    assert_int_equal(keyfile_read(w->path, &back, &err), KPEER_EINVAL);
    put(w, "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n");
    assert_int_equal(keyfile_read(w->path, &back, &err), KPEER_EINVAL);
    assert_non_null(strstr(err.text, "no group key"));
}

static void test_line_ends(void **state)
{
    struct world *w = *state;
    char text[KEYTEXT_BYTES + 4];
    struct secret *back = NULL;

    keytext_format(w->key, text);
    strcat(text, "\r\n");
    put(w, text);
    assert_int_equal(keyfile_read(w->path, &back, NULL), 0);
    assert_true(secret_equal(w->key, back));
    secret_free(back);
}

/* A later key keeps its group and its epoch in its text; the first key of a group is of that group alone. */
static void test_later_key(void **state)
{
    struct world *w = *state;
    uint8_t group[GROUP_ID_BYTES], of_back[GROUP_ID_BYTES], raw[KEYTEXT_RAW_BYTES];
    char text[KEYTEXT_BYTES];
    struct secret *later, *back = NULL;

    secret_group_id(w->key, group);
    later = secret_later((const uint8_t *)"another key of thirty-two bytes!", group, 7);
    assert_non_null(later);
    keytext_format(later, text);
    assert_int_equal(keytext_parse(text, &back, NULL), 0);
    assert_true(secret_equal(later, back));
    assert_int_equal(secret_epoch(back), 7);
    secret_group_id(back, of_back);
    assert_memory_equal(group, of_back, sizeof group);
    secret_key_id(back, of_back);
    assert_memory_not_equal(group, of_back, sizeof group);
    secret_free(back);
    keytext_pack(later, raw);
    raw[sizeof raw - 1] = 0;
    assert_int_equal(keytext_unpack(raw, &back, NULL), KPEER_EINVAL);
    secret_free(later);
}

static void test_subnet_key(void **state)
{
    struct config cfg;
    struct secret *a = NULL, *b = NULL;

    (void)state;
    config_default(&cfg);
    cfg.trust = TRUST_SUBNET;
    assert_int_equal(keyfile_group_key(&cfg, &a, NULL), 0);
    assert_int_equal(keyfile_group_key(&cfg, &b, NULL), 0);
    assert_true(secret_equal(a, b));
    secret_free(a);
    secret_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_written_and_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(test_judged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_foreign_owner, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mistyped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_words_for_faults, setup, teardown),
        cmocka_unit_test_setup_teardown(test_line_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(test_later_key, setup, teardown),
        cmocka_unit_test(test_subnet_key),
    };

    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
