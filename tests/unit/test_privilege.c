/* Whom the agent becomes, and that nothing is left afterwards. What needs root is tried in a child. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "peer/agent/privilege.h"
#include "peer/agent/store.h"

static unsigned free_id; /* the one that is not taken; 0: none is taken */
static bool all_taken;

static bool taken(unsigned id)
{
    return all_taken || (free_id && id != free_id);
}

static int set_up(void **state)
{
    (void)state;
    free_id = 0;
    all_taken = false;
    return 0;
}

static void test_the_id_stays(void **state)
{
    unsigned id = 0;
    (void)state;
    assert_int_equal(privilege_unused(61200, "/var/lib/kpeer", taken, &id), 0);
    assert_int_equal(id, 61200);
    assert_int_equal(privilege_unused(PRIVILEGE_LAST, "/var/lib/kpeer", taken, &id), 0);
    assert_int_equal(id, PRIVILEGE_LAST);
}

static void test_one_of_the_range_that_follows_from_the_folder(void **state)
{
    static const unsigned outside[] = {0, 1000, PRIVILEGE_FIRST - 1, PRIVILEGE_LAST + 1, 65534, (unsigned)-1};
    unsigned id = 0, again = 0, other = 0;
    (void)state;
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++) {
        assert_int_equal(privilege_unused(outside[i], "/var/lib/kpeer", taken, &id), 0);
        assert_in_range(id, PRIVILEGE_FIRST, PRIVILEGE_LAST);
        assert_int_equal(privilege_unused(outside[i], "/var/lib/kpeer", taken, &again), 0);
        assert_int_equal(id, again);
    }
    assert_int_equal(privilege_unused(0, "/srv/kpeer", taken, &other), 0);
    assert_int_not_equal(id, other);
}

static void test_taken_ids_are_passed_over(void **state)
{
    unsigned id = 0;
    (void)state;
    for (free_id = PRIVILEGE_FIRST; free_id <= PRIVILEGE_LAST; free_id += 619) {
        assert_int_equal(privilege_unused(61300, "/var/lib/kpeer", taken, &id), 0);
        assert_int_equal(id, free_id);
    }
    all_taken = true;
    id = 7;
    assert_int_equal(privilege_unused(61300, "/var/lib/kpeer", taken, &id), KPEER_ENOTFOUND);
    assert_int_equal(id, 7);
}

static void test_who_is_there_is_seen(void **state)
{
    (void)state;
    assert_true(privilege_taken(0));
    assert_true(privilege_taken(geteuid()));
}

/* Runs a function in a child, which ends with what it returns. */
static int in_child(int (*work)(const char *), const char *arg)
{
    int status = -1;
    pid_t pid = fork();
    if (pid == 0)
        _exit(work(arg));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 100;
}

static unsigned long long status_of(const char *name, int base)
{
    char line[256];
    unsigned long long value = ~0ull;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':')
            value = strtoull(line + strlen(name) + 1, NULL, base);
    if (f)
        fclose(f);
    return value;
}

static int drop_all(const char *unused)
{
    static const char *const sets[] = {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"};
    struct privilege_user user;
    (void)unused;
    if (privilege_choose("", 0, "/nowhere/kpeer", &user, NULL) || !user.drop)
        return 1;
    if (privilege_drop(&user, NULL) || privilege_harden(NULL))
        return 2;
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++)
        if (status_of(sets[i], 16) != 0)
            return 10 + (int)i;
    if (geteuid() != user.uid || getegid() != user.gid || getgroups(0, NULL) != 0)
        return 3;
    if (setuid(0) == 0 || setgid(0) == 0 || seteuid(0) == 0)
        return 4;
    return prctl(PR_GET_DUMPABLE) == PRIVILEGE_DUMPABLE && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0
                                                                                                       : 5;
}

static void test_nothing_is_left_of_root(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(in_child(drop_all, NULL), 0);
}

static void owner_is(const char *dir, const char *name, unsigned owner)
{
    char path[128];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_uid, owner);
    assert_int_equal(unlinkat(AT_FDCWD, path, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0), 0);
}

static void make_file(const char *dir, const char *name, unsigned owner)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(fchown(fd, owner, owner), 0);
    close(fd);
}

/* The folder goes to the new user with all that is the agent's in it, and with nothing else. */
static void test_the_state_follows_the_user(void **state)
{
    char top[] = "/tmp/kpeer-privilege-XXXXXX", dir[64], other[128], linked[128];
    struct store *s = NULL;
    (void)state;
    if (geteuid() != 0)
        skip();
    assert_non_null(mkdtemp(top));
    snprintf(dir, sizeof dir, "%s/agent", top);
    assert_int_equal(mkdir(dir, 0700), 0);
    make_file(dir, "identity", 65534);
    make_file(top, "shadow", 0);
    snprintf(other, sizeof other, "%s/shadow", top);
    snprintf(linked, sizeof linked, "%s/linked", dir);
    assert_int_equal(link(other, linked), 0);
    snprintf(linked, sizeof linked, "%s/symbolic", dir);
    assert_int_equal(symlink(other, linked), 0);
    assert_int_equal(chown(dir, 65534, 65534), 0);
    assert_int_equal(store_open(&s, dir, NULL), 0);
    assert_int_equal(store_owner(s), 65534);
    assert_int_equal(store_give(s, 61234, 61234, NULL), 0);
    store_close(s);
    owner_is(dir, "identity", 61234);
    owner_is(dir, "lock", 61234);
    owner_is(dir, "linked", 0);
    owner_is(dir, "symbolic", 0);
    owner_is(top, "shadow", 0);
    owner_is(top, "agent", 61234);
    assert_int_equal(rmdir(top), 0);
}

/* Where others can write, what is there may be anybody's. */
static void test_a_strangers_folder_is_refused(void **state)
{
    char top[] = "/tmp/kpeer-privilege-XXXXXX", dir[64];
    struct store *s = NULL;
    (void)state;
    if (geteuid() != 0)
        skip();
    assert_non_null(mkdtemp(top));
    snprintf(dir, sizeof dir, "%s/agent", top);
    assert_int_equal(mkdir(dir, 0700), 0);
    assert_int_equal(chown(dir, 1234, 1234), 0);
    assert_int_equal(chmod(top, 0777), 0);
    assert_int_equal(store_open(&s, dir, NULL), KPEER_EREFUSED);
    assert_int_equal(chmod(top, 0700), 0);
    assert_int_equal(chown(top, 1234, 1234), 0);
    assert_int_equal(store_open(&s, dir, NULL), KPEER_EREFUSED);
    assert_int_equal(rmdir(dir), 0);
    assert_int_equal(rmdir(top), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_the_id_stays, set_up),
        cmocka_unit_test_setup(test_one_of_the_range_that_follows_from_the_folder, set_up),
        cmocka_unit_test_setup(test_taken_ids_are_passed_over, set_up),
        cmocka_unit_test(test_who_is_there_is_seen),
        cmocka_unit_test(test_nothing_is_left_of_root),
        cmocka_unit_test(test_the_state_follows_the_user),
        cmocka_unit_test(test_a_strangers_folder_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
