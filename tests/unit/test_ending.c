#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer/ending.h"

static char dir[64], path[96];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/kpeer-ending-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/ending", dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(dir);
}

static void put(const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

/* What was told is read, the code of the one who asks stays, and a start takes it back. */
static void test_told(void **state)
{
    struct err why = {0}, got = {.code = KPEER_ENOAGENT};
    int fd = ending_open(dir, NULL);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(ending_read(dir, &got), KPEER_ENOTFOUND);
    err_set(&why, KPEER_EIO, "cannot write promises: no space, and a longer text than the next one");
    err_hint(&why, "free the disk");
    ending_tell(fd, &why);
    assert_int_equal(ending_read(dir, &got), 0);
    assert_int_equal(got.code, KPEER_ENOAGENT);
    assert_string_equal(got.text, why.text);
    assert_string_equal(got.hint, "free the disk");
    err_set(&why, KPEER_EIO, "short");
    ending_tell(fd, &why);
    assert_int_equal(ending_read(dir, &got), 0);
    assert_string_equal(got.text, "short");
    assert_string_equal(got.hint, "");
    ending_tell(fd, NULL);
    assert_int_equal(ending_read(dir, &got), KPEER_ENOTFOUND);
    close(fd);
    ending_tell(-1, &why);
}

/* The file belongs to the agent's user: whatever is in it does no harm. */
static void test_foreign_content(void **state)
{
    static char large[8192];
    struct err got = {0};

    (void)state;
    assert_int_equal(ending_read("/nowhere", &got), KPEER_ENOTFOUND);
    put("no line end");
    assert_int_equal(ending_read(dir, &got), 0);
    assert_string_equal(got.text, "no line end");
    assert_string_equal(got.hint, "");
    memset(large, 'a', sizeof large - 1);
    put(large);
    assert_int_equal(ending_read(dir, &got), 0);
    assert_int_equal(strlen(got.text), ERR_TEXT_BYTES - 1);
    put("");
    assert_int_equal(ending_read(dir, &got), KPEER_ENOTFOUND);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(ending_read(dir, &got), KPEER_ENOTFOUND);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_int_equal(ending_read(dir, &got), KPEER_ENOTFOUND);
    assert_true(ending_open(dir, NULL) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_told, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_foreign_content, make_dir, remove_dir),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
