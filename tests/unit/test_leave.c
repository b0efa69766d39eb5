/* What `kpeer leave` believes when the agent stopped before it could answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "peer/command/command.h"

static char root[64];

static const char *in_root(const char *name)
{
    static char full[128];
    snprintf(full, sizeof full, "%s/%s", root, name);
    return full;
}

static int setup(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/kpeer-test-leave-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    unlink(in_root("kpeer.sock"));
    unlink(in_root("agent/identity"));
    rmdir(in_root("agent"));
    return rmdir(root);
}

/* An agent that takes both calls of the command and ends. */
static pid_t start_agent(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    pid_t pid;

    assert_true(strlen(in_root("kpeer.sock")) < sizeof at.sun_path);
    strcpy(at.sun_path, in_root("kpeer.sock"));
    unlink(at.sun_path);
    assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 2) == 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char byte;
        int first = accept(fd, NULL, NULL), second = accept(fd, NULL, NULL);

        _exit(read(first, &byte, 1) == 1 && read(second, &byte, 1) == 1 ? 0 : 1);
    }
    close(fd);
    return pid;
}

static int leave(void)
{
    struct call call = {.out = {.to = stdout}, .cfg = {.dry_run = true}}; /* no systemd is asked */
    struct err err = {0};
    pid_t agent = start_agent();
    int status = -1, code;

    snprintf(call.cfg.run_dir, sizeof call.cfg.run_dir, "%s", root);
    snprintf(call.cfg.state_dir, sizeof call.cfg.state_dir, "%s", root);
    code = cmd_leave(&call, &err);
    assert_int_equal(waitpid(agent, &status, 0), agent);
    assert_int_equal(status, 0);
    return code;
}

static void test_only_who_was_a_member_has_left(void **state)
{
    FILE *identity;

    (void)state;
    assert_int_equal(leave(), KPEER_EIO); /* no agent had its state here */
    assert_int_equal(mkdir(in_root("agent"), 0700), 0);
    identity = fopen(in_root("agent/identity"), "w");
    assert_non_null(identity);
    fclose(identity);
    assert_int_equal(leave(), KPEER_EIO);
    unlink(in_root("agent/identity"));
    assert_int_equal(leave(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_only_who_was_a_member_has_left, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
