/* The fence by paths, tried in children: what is inside works, what is outside fails, whoever asks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <ftw.h>

#include "peer/agent/landlock.h"

static char top[64];

static const char *in(const char *name)
{
    static char path[4][128];
    static int next;
    char *out = path[next++ % 4];
    snprintf(out, sizeof path[0], "%s/%s", top, name);
    return out;
}

static void make(const char *name)
{
    int fd = open(in(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "text", 4), 4);
    close(fd);
}

static int set_up(void **state)
{
    static const char *const folders[] = {"state", "run", "other"};
    (void)state;
    strcpy(top, "/tmp/kpeer-landlock-XXXXXX");
    if (!mkdtemp(top))
        return -1;
    for (size_t i = 0; i < 3; i++)
        if (mkdir(in(folders[i]), 0755))
            return -1;
    make("state/promises");
    make("run/sock");
    make("other/file");
    make("readable");
    return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int tear_down(void **state)
{
    (void)state;
    return nftw(top, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static int fence(int *abi)
{
    const struct landlock_path paths[] = {{in("state"), LANDLOCK_STORE},
                                          {in("run"), LANDLOCK_REMOVE},
                                          {in("readable"), LANDLOCK_READ},
                                          {in("nothing"), LANDLOCK_READ}};
    int fd = -1;
    int rc = landlock_make(paths, sizeof paths / sizeof paths[0], &fd, abi, NULL);
    if (rc || fd < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return rc ? rc : 1;
    return landlock_enter(fd, NULL);
}

static bool opens(const char *name, int flags)
{
    int fd = open(name[0] == '/' ? name : in(name), flags | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static bool refused(int rc)
{
    return rc < 0 && (errno == EACCES || errno == EXDEV);
}

/* 0, or the line that does not hold. */
static int inside(void)
{
#define HOLDS(what)                                                                                          \
    do {                                                                                                     \
        if (!(what))                                                                                         \
            return __LINE__ % 250 + 1;                                                                       \
    } while (0)
    HOLDS(opens("state/promises", O_RDWR));
    HOLDS(opens("state/promises.new", O_WRONLY | O_CREAT | O_TRUNC));
    HOLDS(rename(in("state/promises.new"), in("state/promises")) == 0);
    HOLDS(mkdir(in("state/stale-1"), 0700) == 0);
    HOLDS(rename(in("state/promises"), in("state/stale-1/promises")) == 0);
    HOLDS(unlink(in("state/stale-1/promises")) == 0);
    HOLDS(opens("readable", O_RDONLY));
    HOLDS(unlink(in("run/sock")) == 0);
    return 0;
}

static int outside(void)
{
    HOLDS(!opens("readable", O_WRONLY));
    HOLDS(!opens("other/file", O_RDONLY) && errno == EACCES);
    HOLDS(!opens("other/file", O_WRONLY));
    HOLDS(!opens("other/new", O_WRONLY | O_CREAT));
    HOLDS(!opens("run/new", O_WRONLY | O_CREAT));
    HOLDS(!opens("/etc/passwd", O_RDONLY));
    HOLDS(!opens("/proc/self/mem", O_RDWR));
    HOLDS(!opens("/dev/null", O_WRONLY));
    HOLDS(refused(unlink(in("other/file"))));
    HOLDS(refused(mkdir(in("other/folder"), 0700)));
    HOLDS(refused(rename(in("state/promises"), in("other/promises"))));
    HOLDS(refused(rename(in("other/file"), in("state/file"))));
    HOLDS(refused(link(in("other/file"), in("state/linked"))));
    HOLDS(refused(symlink("/etc/passwd", in("state/link"))));
    HOLDS(refused(mkfifo(in("state/fifo"), 0600)));
    HOLDS(refused(truncate(in("other/file"), 0)));
    return 0;
}

static int behind(int (*work)(void))
{
    int status = -1, abi = 0;
    pid_t pid = fork();
    if (pid == 0)
        _exit(fence(&abi) ? 255 : work());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static bool have_landlock(void)
{
    int fd = -1, abi = 0;
    assert_int_equal(landlock_make(NULL, 0, &fd, &abi, NULL), 0);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static void test_inside(void **state)
{
    (void)state;
    if (!have_landlock())
        skip();
    assert_int_equal(behind(inside), 0);
}

static void test_outside(void **state)
{
    (void)state;
    if (!have_landlock())
        skip();
    assert_int_equal(behind(outside), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_inside, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_outside, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
