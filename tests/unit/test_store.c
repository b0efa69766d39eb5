/* The state folder under bad luck: torn, foreign and newer files, a full disk at each step, a copied disk. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <ftw.h>
#include <sodium.h>

#include "peer/agent/store.h"

static char dir[64];
static const char *failing;
static int failing_with;

static int fault(const char *step)
{
    return failing && strcmp(step, failing) == 0 ? failing_with : 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static struct store *open_store(void)
{
    struct store *s = NULL;
    struct err err = {0};
    if (store_open(&s, dir, &err))
        fail_msg("%s", err.text);
    return s;
}

static int set_up(void **state)
{
    snprintf(dir, sizeof dir, "/tmp/kpeer-store-XXXXXX");
    assert_non_null(mkdtemp(dir));
    failing = NULL;
    store_fault = NULL;
    *state = open_store();
    return 0;
}

static int tear_down(void **state)
{
    store_close(*state);
    return nftw(dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void path_of(char *out, const char *name)
{
    snprintf(out, 128, "%.60s/%.40s", dir, name);
}

static size_t read_raw(const char *name, uint8_t *out, size_t room)
{
    char path[128];
    path_of(path, name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(out, 1, room, f);
    fclose(f);
    return n;
}

static void write_raw(const char *name, const uint8_t *bytes, size_t n)
{
    char path[128];
    path_of(path, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

static void put(struct store *s, enum store_key key, const char *text)
{
    struct err err = {0};
    if (store_put(s, key, (const uint8_t *)text, strlen(text), &err))
        fail_msg("%s", err.text);
}

static void assert_holds(struct store *s, enum store_key key, const char *text)
{
    uint8_t *bytes = NULL;
    size_t n = 0;
    struct err err = {0};
    if (store_get(s, key, &bytes, &n, &err))
        fail_msg("%s", err.text);
    if (!text) {
        assert_null(bytes);
        return;
    }
    assert_int_equal(n, strlen(text));
    assert_memory_equal(bytes, text, n);
    free(bytes);
}

static int get_code(struct store *s, enum store_key key)
{
    uint8_t *bytes = NULL;
    size_t n = 0;
    struct err err = {0};
    int rc = store_get(s, key, &bytes, &n, &err);
    if (rc) {
        assert_null(bytes);
        assert_non_null(strstr(err.text, dir)); /* the file is named */
    }
    free(bytes);
    return rc;
}

static void test_put_and_get(void **state)
{
    struct store *s = *state;
    assert_holds(s, STORE_PROMISES, NULL);
    put(s, STORE_PROMISES, "one");
    put(s, STORE_CLUSTER, "");
    put(s, STORE_PROMISES, "two");
    assert_holds(s, STORE_PROMISES, "two");
    uint8_t *bytes = NULL;
    size_t n = 9;
    assert_int_equal(store_get(s, STORE_CLUSTER, &bytes, &n, NULL), 0);
    assert_non_null(bytes); /* empty is not absent */
    assert_int_equal(n, 0);
    free(bytes);
    struct stat st;
    char path[128];
    path_of(path, "promises");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
}

static void test_every_truncation_is_told(void **state)
{
    struct store *s = *state;
    uint8_t raw[256];
    put(s, STORE_CLUSTER, "a record");
    size_t n = read_raw("cluster", raw, sizeof raw);
    for (size_t i = 0; i < n; i++) {
        write_raw("cluster", raw, i);
        assert_int_equal(get_code(s, STORE_CLUSTER), KPEER_EIO);
    }
    raw[n] = 0;
    write_raw("cluster", raw, n + 1);
    assert_int_equal(get_code(s, STORE_CLUSTER), KPEER_EIO);
}

static void test_every_flipped_bit_is_told(void **state)
{
    struct store *s = *state;
    uint8_t raw[256];
    put(s, STORE_CLUSTER, "a record");
    size_t n = read_raw("cluster", raw, sizeof raw);
    for (size_t i = 0; i < 8 * n; i++) {
        raw[i / 8] ^= (uint8_t)(1U << i % 8);
        write_raw("cluster", raw, n);
        int rc = get_code(s, STORE_CLUSTER);
        assert_true(rc == KPEER_EIO || rc == KPEER_EVERSION);
        raw[i / 8] ^= (uint8_t)(1U << i % 8);
    }
}

static void test_foreign_newer_and_misplaced(void **state)
{
    struct store *s = *state;
    uint8_t raw[256];
    write_raw("members", (const uint8_t *)"somebody else's notes, long enough to be read as a file of ours",
              64);
    assert_int_equal(get_code(s, STORE_MEMBERS), KPEER_EIO);
    put(s, STORE_CLUSTER, "a record");
    size_t n = read_raw("cluster", raw, sizeof raw);
    write_raw("promises", raw, n); /* a good file under another's name */
    assert_int_equal(get_code(s, STORE_PROMISES), KPEER_EIO);
    raw[8]++; /* the version */
    write_raw("cluster", raw, n);
    assert_int_equal(get_code(s, STORE_CLUSTER), KPEER_EVERSION);
    char path[128];
    path_of(path, "cluster");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_int_equal(get_code(s, STORE_CLUSTER), KPEER_EIO);
}

static void test_a_full_disk_leaves_the_old(void **state)
{
    static const char *const steps[] = {"open", "write", "fsync", "rename"};
    struct store *s = *state;
    put(s, STORE_PROMISES, "old");
    store_fault = fault;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct err err = {0};
        char path[128];
        failing = steps[i];
        failing_with = ENOSPC;
        assert_int_equal(store_put(s, STORE_PROMISES, (const uint8_t *)"new", 3, &err), KPEER_EIO);
        assert_non_null(strstr(err.text, "No space left"));
        assert_non_null(strstr(err.text, "promises"));
        failing = NULL;
        assert_holds(s, STORE_PROMISES, "old");
        path_of(path, "promises.new");
        assert_int_equal(access(path, F_OK), -1);
    }
    failing = "fsync-dir"; /* it may be there or not after a crash: a promise it is not */
    assert_int_equal(store_put(s, STORE_PROMISES, (const uint8_t *)"new", 3, NULL), KPEER_EIO);
}

static void test_a_leftover_of_a_crash_is_harmless(void **state)
{
    struct store *s = *state;
    put(s, STORE_PROMISES, "old");
    write_raw("promises.new", (const uint8_t *)"half", 4);
    assert_holds(s, STORE_PROMISES, "old");
    put(s, STORE_PROMISES, "new");
    assert_holds(s, STORE_PROMISES, "new");
}

static void test_too_large_is_refused(void **state)
{
    uint8_t *big = calloc(1, STORE_BLOB_MAX + 1);
    assert_non_null(big);
    assert_int_equal(store_put(*state, STORE_MEMBERS, big, STORE_BLOB_MAX + 1, NULL), KPEER_ELIMIT);
    free(big);
}

static void test_one_agent_a_folder(void **state)
{
    struct store *second = NULL;
    struct err err = {0};
    (void)state;
    assert_int_equal(store_open(&second, dir, &err), KPEER_ESTATE);
    assert_null(second);
    assert_non_null(strstr(err.text, "another agent"));
}

static const struct store_host home = {
    .machine_id = {1}, .mac_count = 2, .mac = {{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}}};

static struct peer_id identity_on(struct store *s, const struct store_host *host, bool *renewed, char *stale)
{
    struct identity *id = NULL;
    struct err err = {0};
    if (store_identity(s, host, &id, renewed, stale, &err))
        fail_msg("%s", err.text);
    struct peer_id out = id->id;
    identity_free(id);
    return out;
}

static void test_identity_stays(void **state)
{
    struct store *s = *state;
    struct store_host changed = home;
    bool renewed;
    char stale[64];
    struct peer_id first = identity_on(s, &home, &renewed, stale);
    assert_false(renewed);
    struct peer_id again = identity_on(s, &home, &renewed, stale);
    assert_true(peer_id_equal(&first, &again) && !renewed);
    changed.mac[1][5] = 99; /* one card was replaced */
    again = identity_on(s, &changed, &renewed, stale);
    assert_true(peer_id_equal(&first, &again) && !renewed);
    changed.mac_count = 0; /* none is seen yet */
    again = identity_on(s, &changed, &renewed, stale);
    assert_true(peer_id_equal(&first, &again) && !renewed);
}

static void test_a_copied_disk_gets_a_new_identity(void **state)
{
    struct store *s = *state;
    struct store_host copy = home, other = home;
    bool renewed;
    char stale[64], path[128];
    struct peer_id first = identity_on(s, &home, &renewed, stale);
    put(s, STORE_PROMISES, "mine");
    copy.mac[0][5] = 7;
    copy.mac[1][5] = 8;
    struct peer_id second = identity_on(s, &copy, &renewed, stale);
    assert_true(renewed);
    assert_false(peer_id_equal(&first, &second));
    assert_holds(s, STORE_PROMISES, NULL);
    snprintf(path, sizeof path, "%.50s/%.40s/promises", dir, stale);
    assert_int_equal(access(path, F_OK), 0);
    other.machine_id[0] = 9;
    struct peer_id third = identity_on(s, &other, &renewed, stale);
    assert_true(renewed && !peer_id_equal(&third, &second));
}

/* A host that was given another machine-id stays who it is, also when a card is changed after that. */
static void test_another_machine_id(void **state)
{
    struct store *s = *state;
    struct store_host host = home;
    bool renewed;
    char stale[64];
    struct peer_id first = identity_on(s, &host, &renewed, stale);
    put(s, STORE_PROMISES, "mine");
    host.machine_id[0] = 9;
    struct peer_id again = identity_on(s, &host, &renewed, stale);
    assert_true(!renewed && peer_id_equal(&first, &again));
    host.mac[0][5] = 7;
    again = identity_on(s, &host, &renewed, stale);
    assert_true(!renewed && peer_id_equal(&first, &again));
    assert_holds(s, STORE_PROMISES, "mine");
}

static void test_renew(void **state)
{
    struct store *s = *state;
    bool renewed;
    char stale[64];
    struct peer_id first = identity_on(s, &home, &renewed, stale);
    put(s, STORE_CLUSTER, "x");
    assert_int_equal(store_renew(s, NULL), 0);
    assert_holds(s, STORE_CLUSTER, NULL);
    struct peer_id fresh = identity_on(s, &home, &renewed, stale);
    assert_false(peer_id_equal(&first, &fresh));
    assert_false(renewed);
}

static void test_blobs_without_identity_are_moved_aside(void **state)
{
    struct store *s = *state;
    bool renewed;
    char stale[64];
    put(s, STORE_PROMISES, "of an identity that is gone");
    (void)identity_on(s, &home, &renewed, stale);
    assert_true(renewed);
    assert_holds(s, STORE_PROMISES, NULL);
}

static void test_a_torn_identity_is_told(void **state)
{
    struct store *s = *state;
    struct identity *id = NULL;
    bool renewed;
    char stale[64];
    uint8_t raw[256];
    (void)identity_on(s, &home, &renewed, stale);
    size_t n = read_raw("identity", raw, sizeof raw);
    write_raw("identity", raw, n - 1);
    assert_int_equal(store_identity(s, &home, &id, &renewed, stale, NULL), KPEER_EIO);
    assert_null(id);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_put_and_get),
        TEST(test_every_truncation_is_told),
        TEST(test_every_flipped_bit_is_told),
        TEST(test_foreign_newer_and_misplaced),
        TEST(test_a_full_disk_leaves_the_old),
        TEST(test_a_leftover_of_a_crash_is_harmless),
        TEST(test_too_large_is_refused),
        TEST(test_one_agent_a_folder),
        TEST(test_identity_stays),
        TEST(test_a_copied_disk_gets_a_new_identity),
        TEST(test_another_machine_id),
        TEST(test_renew),
        TEST(test_blobs_without_identity_are_moved_aside),
        TEST(test_a_torn_identity_is_told),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
