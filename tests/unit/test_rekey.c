/* The step that puts a rotated key into the key file: a later key of the same group, and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer/executor/rekey.h"
#include "peer/keyfile.h"

static char folder[64], path[96];
static struct executor_config cfg;
static struct secret *first, *second, *third, *foreign;

static struct secret *later(const struct secret *of, uint32_t epoch)
{
    uint8_t raw[GROUP_KEY_BYTES], group[GROUP_ID_BYTES];

    randombytes_buf(raw, sizeof raw);
    secret_group_id(of, group);
    return secret_later(raw, group, epoch);
}

static int setup(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/kpeer-rekey-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/group.key", folder);
    memset(&cfg, 0, sizeof cfg);
    strcpy(cfg.key_file, path);
    assert_int_equal(keyfile_generate(&first, NULL), 0);
    assert_int_equal(keyfile_generate(&foreign, NULL), 0);
    second = later(first, 1);
    third = later(first, 2);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    assert_int_equal(rmdir(folder), 0); /* nothing else was left in it */
    secret_free(first);
    secret_free(second);
    secret_free(third);
    secret_free(foreign);
    return 0;
}

static void quiet(void *arg, const struct step_progress *p)
{
    (void)arg;
    assert_null(strstr(p->line, "kpeer-group-key"));
}

static int run(const struct secret *key, bool dry_run, struct err *err)
{
    struct exec_ctx ctx = {.cfg = &cfg, .kind = STEP_REKEY, .progress = quiet, .dry_run = dry_run};
    struct step step = {.id = 1, .kind = STEP_REKEY};
    static struct step_result result;

    keytext_pack(key, step.group_key);
    return rekey(&ctx, &step, &result, err);
}

static void holds(const struct secret *wanted)
{
    struct secret *back = NULL;
    struct stat st;

    assert_int_equal(keyfile_read(path, &back, NULL), 0);
    assert_true(secret_equal(back, wanted));
    secret_free(back);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

static void test_a_later_key_only(void **state)
{
    (void)state;
    assert_int_equal(keyfile_write(path, first, false, NULL), 0);
    assert_int_equal(run(second, true, NULL), 0);
    holds(first);
    assert_int_equal(run(second, false, NULL), 0);
    holds(second);
    assert_int_equal(run(third, false, NULL), 0);
    assert_int_equal(run(second, false, NULL), 0);
    holds(third);
}

static void test_what_is_not_touched(void **state)
{
    struct secret *other = later(foreign, 9);
    struct err err = {0};
    FILE *f;

    (void)state;
    assert_int_equal(run(second, false, NULL), 0); /* no file: the key came by another way */
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(keyfile_write(path, first, false, NULL), 0);
    assert_int_equal(run(other, false, &err), KPEER_EREFUSED);
    holds(first);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs("my own notes\n", f);
    fclose(f);
    assert_int_equal(run(second, false, &err), KPEER_EREFUSED);
    assert_non_null(strstr(err.text, path));
    secret_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_later_key_only, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_not_touched, setup, teardown),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
