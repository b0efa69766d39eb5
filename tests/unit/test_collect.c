/* What a report holds, with programs of the test's own in the place of kpeer and of some tools: they print
 * secrets, fail, die and are not there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer/command/collect.h"
#include "peer/executor/spawn.h"
#include "protocol/keytext.h"
#include "protocol/mem.h"

#define MARK "MARKER5ecret"

struct world {
    char root[64], dir[96], program[96], key[KEYTEXT_BYTES], hex[2 * GROUP_KEY_BYTES + 1];
    struct config cfg;
    size_t files, seen;
};

static void put(const struct world *w, const char *name, mode_t mode, const char *text)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", w->root, name);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static void tool(struct world *w, enum executor_tool which, const char *name, const char *script)
{
    put(w, name, 0755, script);
    snprintf(w->cfg.tools[which], sizeof w->cfg.tools[which], "%s/%s", w->root, name);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    uint8_t raw[GROUP_KEY_BYTES] = {0xab, 1, 2};
    struct secret *key = secret_new(raw);
    char script[1024], path[128];

    strcpy(w->root, "/tmp/kpeer-collect-XXXXXX");
    assert_non_null(mkdtemp(w->root));
    snprintf(w->dir, sizeof w->dir, "%s/report", w->root);
    assert_int_equal(mkdir(w->dir, 0755), 0);
    config_default(&w->cfg);
    snprintf(w->cfg.state_dir, sizeof w->cfg.state_dir, "%s/state", w->root);
    snprintf(w->cfg.run_dir, sizeof w->cfg.run_dir, "%s/run", w->root);
    snprintf(w->cfg.key_file, sizeof w->cfg.key_file, "%s/group.key", w->root);
    keytext_format(key, w->key);
    mem_hex(w->hex, secret_bytes(key), GROUP_KEY_BYTES);
    secret_free(key);
    put(w, "group.key", 0600, w->key);
    snprintf(script, sizeof script,
             "#!/bin/sh\necho \"asked: $*\"\necho 'the key is %s, in hex %s'\necho 'password: " MARK
             "' >&2\nexit 3\n",
             w->key, w->hex);
    put(w, "kpeer", 0755, script);
    snprintf(path, sizeof path, "%s/run", w->root);
    assert_int_equal(mkdir(path, 0755), 0);
    put(w, "run/ending", 0644, "it failed\nmend it\n");
    snprintf(w->program, sizeof w->program, "%s/kpeer", w->root);
    tool(w, TOOL_IP, "ip", "#!/bin/sh\necho first\nkill -9 $$\n");
    tool(w, TOOL_CRICTL, "crictl", "#!/bin/sh\nenv\n");
    strcpy(w->cfg.tools[TOOL_KUBEADM], "/nonexistent/kubeadm");
    *state = w;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

static int teardown(void **state)
{
    struct world *w = *state;

    nftw(w->root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(w);
    return 0;
}

static char *text_of(const struct world *w, const char *name)
{
    char path[256], *text = calloc(1, 1 << 20);
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", w->dir, name);
    f = fopen(path, "r");
    if (!f)
        fail_msg("%s is not there", name);
    assert_non_null(text);
    assert_true(fread(text, 1, (1 << 20) - 1, f) > 0);
    fclose(f);
    return text;
}

static struct world *looked_at;

static int look(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    const struct world *w = looked_at;
    cleanup_free char *text = calloc(1, (size_t)st->st_size + 1);
    char middle[KEYTEXT_BYTES];
    int fd = kind == FTW_F ? open(path, O_RDONLY) : -1;

    (void)at;
    assert_non_null(text);
    if (fd < 0)
        return 0;
    assert_int_equal(read(fd, text, (size_t)st->st_size), st->st_size);
    close(fd);
    snprintf(middle, sizeof middle, "%.60s", strchr(w->key, ':') + 1);
    if (strstr(text, MARK) || strstr(text, w->hex) || strstr(text, middle))
        fail_msg("%s shows a secret:\n%s", path, text);
    looked_at->files++;
    return 0;
}

static void on_file(void *ctx, const char *file)
{
    struct world *w = ctx;

    assert_non_null(file);
    w->seen++;
}

static void expect_line(const char *contents, const char *file, const char *how)
{
    const char *line = strstr(contents, file);

    if (!line || strncmp(line + 25, how, strlen(how)) != 0)
        fail_msg("%s: not \"%s\" in:\n%s", file, how, contents);
}

static void test_report(void **state)
{
    struct world *w = *state;
    const struct collect_order order = {.cfg = &w->cfg,
                                        .config_file = "/etc/other.yaml",
                                        .program = w->program,
                                        .dir = w->dir,
                                        .told = on_file,
                                        .ctx = w};
    struct collect_sum sum;
    struct err err = {0};
    char wanted[400];

    if (collect_run(&order, &sum, &err))
        fail_msg("%s", err.text);
    assert_true(w->seen > 40);
    assert_true(sum.missing >= 3);  /* ip, kubeadm, the journal */
    assert_true(sum.removed >= 14); /* of each answer of kpeer two of the key, and the password */

    cleanup_free char *contents = text_of(w, "contents.txt");
    expect_line(contents, "kpeer/status.json", "exit 3");
    expect_line(contents, "kpeer/journal.txt", "No such file");
    expect_line(contents, "network/addresses.txt", "ended by signal 9");
    expect_line(contents, "versions/kubeadm.txt", "no such program");
    expect_line(contents, "versions/crictl.txt", "ok");
    expect_line(contents, "system/os-release.txt", "ok");
    cleanup_free char *status = text_of(w, "kpeer/status.json");
    snprintf(wanted, sizeof wanted,
             "asked: status -o json --state-dir=%s/state --run-dir=%s/run --config=/etc/other.yaml\n",
             w->root, w->root);
    assert_ptr_equal(strstr(status, wanted), status);
    assert_non_null(strstr(status, "\n--- standard error ---\npassword: [removed]\n"));
    cleanup_free char *died = text_of(w, "network/addresses.txt");
    assert_string_equal(died, "first\n");
    cleanup_free char *env = text_of(w, "versions/crictl.txt");
    assert_null(strstr(env, "CALLERS_OWN"));
    cleanup_free char *ending = text_of(w, "kpeer/ending.txt");
    assert_string_equal(ending, "it failed\nmend it\n");
    cleanup_free char *config = text_of(w, "kpeer/config.json");
    assert_non_null(strstr(config, "\"key_file\""));

    looked_at = w;
    assert_int_equal(nftw(w->dir, look, 16, FTW_PHYS), 0);
    assert_int_equal(w->files, sum.files + 1); /* the contents themselves */
}

/* The run folder is the agent's user's: where a link stands in the file's place, root does not follow it. */
static void test_ending_elsewhere(void **state)
{
    struct world *w = *state;
    const struct collect_order order = {.cfg = &w->cfg, .program = w->program, .dir = w->dir};
    struct collect_sum sum;
    char path[128];

    put(w, "other", 0600, "nobody else's business\n");
    snprintf(path, sizeof path, "%s/run/ending", w->root);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("../other", path), 0);
    assert_int_equal(collect_run(&order, &sum, NULL), 0);
    cleanup_free char *contents = text_of(w, "contents.txt");
    expect_line(contents, "kpeer/ending.txt", "nothing");
    snprintf(path, sizeof path, "%s/kpeer/ending.txt", w->dir);
    assert_int_not_equal(access(path, F_OK), 0);
}

/* Last, as nothing is run in this process afterwards. */
static void test_cancelled(void **state)
{
    struct world *w = *state;
    const struct collect_order order = {.cfg = &w->cfg, .program = w->program, .dir = w->dir};
    struct collect_sum sum;
    struct err err = {0};

    spawn_cancel();
    assert_int_equal(collect_run(&order, &sum, &err), KPEER_ECANCELED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_report, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ending_elsewhere, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancelled, setup, teardown),
    };

    if (sodium_init() < 0 || setenv("CALLERS_OWN", MARK, 1))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
