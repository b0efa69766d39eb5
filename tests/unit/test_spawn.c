/* Running programs: output, status, limits, cancelling, stray grandchildren, and what a child inherits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <seccomp.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "peer/executor/answers.h"
#include "peer/executor/spawn.h"
#include "tests/unit/under_valgrind.h"

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

struct lines {
    char text[4096];
    size_t count;
};

static void collect(void *ctx, bool is_stderr, const char *line)
{
    struct lines *l = ctx;
    size_t used = strlen(l->text);

    l->count++;
    snprintf(l->text + used, sizeof(l->text) - used, "%s%s\n", is_stderr ? "E:" : "O:", line);
}

/* Runs a shell script; tests alone may do so. */
static int sh(const char *script, struct spawn_request req, struct spawn_result *res, struct err *err)
{
    const char *argv[] = {"sh", "-c", script, NULL};

    req.program = "sh";
    req.argv = argv;
    return spawn_run(&req, res, err);
}

static void test_output_and_status(void **state)
{
    struct lines l = {0};
    struct spawn_result res;
    (void)state;

    assert_int_equal(sh("echo one; echo two >&2; printf three; exit 7",
                        (struct spawn_request){.on_line = collect, .ctx = &l}, &res, NULL),
                     0);
    assert_int_equal(res.exit_status, 7);
    assert_string_equal(res.out, "one\nthree");
    assert_string_equal(res.errout, "two\n");
    assert_int_equal(l.count, 3);
    assert_non_null(strstr(l.text, "O:three\n"));
    assert_non_null(strstr(l.text, "E:two\n"));
    spawn_result_fini(&res);
}

static void test_input(void **state)
{
    char big[300000];
    struct spawn_result res;
    (void)state;

    memset(big, 'x', sizeof(big));
    assert_int_equal(sh("cat", (struct spawn_request){.input = big, .input_bytes = sizeof(big)}, &res, NULL),
                     0);
    assert_int_equal(res.out_bytes, sizeof(big));
    spawn_result_fini(&res);
    assert_int_equal(
        sh("cat /dev/stdin", (struct spawn_request){.input = "ab", .input_bytes = 2}, &res, NULL), 0);
    assert_string_equal(res.out, "ab");
    spawn_result_fini(&res);
    /* A program that never reads its input is no trouble. */
    assert_int_equal(sh("true", (struct spawn_request){.input = big, .input_bytes = sizeof(big)}, &res, NULL),
                     0);
    spawn_result_fini(&res);
}

static void test_lines_are_escaped_and_cut(void **state)
{
    struct lines l = {0};
    struct spawn_result res;
    char text[16];
    (void)state;

    assert_int_equal(
        sh("printf 'a\\033[31mb\\tc\\r\\n'; printf '\\377\\n'; head -c 5000 /dev/zero | tr '\\0' y; echo",
           (struct spawn_request){.on_line = collect, .ctx = &l}, &res, NULL),
        0);
    assert_int_equal(l.count, 3);
    assert_non_null(strstr(l.text, "O:a\\x1b[31mb c\n"));
    assert_non_null(strstr(l.text, "O:\\xff\n"));
    assert_int_equal(strlen(strstr(l.text, "O:yyy")), 2 + SPAWN_LINE_BYTES - 1 + 1);
    spawn_result_fini(&res);
    spawn_escape(text, 4, "€€", 6); /* a character that does not fit is left out whole */
    assert_string_equal(text, "€");
    spawn_escape(text, sizeof(text), "a\0b", 3);
    assert_string_equal(text, "a\\x00b");
}

static void test_no_such_program(void **state)
{
    const char *argv[] = {"x", NULL};
    struct spawn_result res;
    struct err err = {0};
    (void)state;

    assert_int_equal(spawn_run(&(struct spawn_request){.program = "kpeer-no-such", .argv = argv}, &res, &err),
                     KPEER_ENOTFOUND);
    assert_non_null(strstr(err.text, "kpeer-no-such"));
    assert_non_null(res.out);
    spawn_result_fini(&res);
    assert_int_equal(spawn_run(&(struct spawn_request){.program = "/etc/passwd", .argv = argv}, &res, &err),
                     KPEER_ENOTFOUND);
    spawn_result_fini(&res);
    assert_int_equal(spawn_run(&(struct spawn_request){.program = "../bin/sh", .argv = argv}, &res, &err),
                     KPEER_ENOTFOUND);
    spawn_result_fini(&res);
}

static void test_exec_failure_is_told(void **state)
{
    char path[] = "/tmp/kpeer-spawn-XXXXXX";
    const char *argv[] = {"x", NULL};
    struct spawn_result res;
    struct err err = {0};
    int fd;
    (void)state;
    if (under_valgrind())
        skip(); /* a process of its does not outlive an exec that fails */

    fd = mkstemp(path);
    assert_true(fd >= 0);
    dprintf(fd, "#!/no/such/interpreter\n");
    close(fd);
    chmod(path, 0700);
    assert_int_equal(spawn_run(&(struct spawn_request){.program = path, .argv = argv}, &res, &err),
                     KPEER_EIO);
    assert_non_null(strstr(err.text, "No such file"));
    spawn_result_fini(&res);
    unlink(path);
}

/* A zombie that nobody has reaped yet is not alive. */
static bool is_alive(pid_t pid)
{
    char path[64], text[512] = "";
    const char *end;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    f = fopen(path, "r");
    if (!f)
        return false;
    if (!fgets(text, sizeof(text), f))
        text[0] = 0;
    fclose(f);
    end = strrchr(text, ')');
    return end && end[1] && end[2] != 'Z' && end[2] != 'X';
}

static void test_time_limit_ends_the_group(void **state)
{
    struct spawn_result res;
    struct err err = {0};
    uint64_t begun = now_ms();
    pid_t inner;
    (void)state;

    assert_int_equal(sh("sleep 60 & echo $!; wait", (struct spawn_request){.timeout_ms = 200}, &res, &err),
                     KPEER_ETIMEOUT);
    assert_true(now_ms() - begun < 3000);
    assert_int_equal(res.signal, SIGTERM);
    inner = (pid_t)atoi(res.out);
    assert_true(inner > 1);
    for (int i = 0; i < 200 && is_alive(inner); i++)
        usleep(10000);
    assert_false(is_alive(inner));
    spawn_result_fini(&res);
}

static void test_deaf_child_is_killed(void **state)
{
    struct spawn_result res;
    uint64_t begun = now_ms();
    (void)state;

    assert_int_equal(sh("trap '' TERM; while :; do sleep 1; done",
                        (struct spawn_request){.timeout_ms = 100, .grace_ms = 300}, &res, NULL),
                     KPEER_ETIMEOUT);
    assert_int_equal(res.signal, SIGKILL);
    assert_in_range(now_ms() - begun, 400, 3000);
    spawn_result_fini(&res);
}

static void test_grandchild_does_not_hang_it(void **state)
{
    struct spawn_result res;
    uint64_t begun = now_ms();
    (void)state;

    assert_int_equal(sh("sleep 30 & echo $!; echo done", (struct spawn_request){0}, &res, NULL), 0);
    assert_int_equal(res.exit_status, 0);
    assert_non_null(strstr(res.out, "done\n"));
    assert_in_range(now_ms() - begun, SPAWN_LINGER_MS - 100, SPAWN_LINGER_MS + 2000);
    kill((pid_t)atoi(res.out), SIGKILL);
    spawn_result_fini(&res);
}

static void test_signal_is_told(void **state)
{
    struct spawn_result res;
    struct err err = {0};
    (void)state;

    assert_int_equal(sh("kill -SEGV $$", (struct spawn_request){0}, &res, &err), KPEER_EIO);
    assert_int_equal(res.signal, SIGSEGV);
    assert_int_equal(res.exit_status, -1);
    assert_non_null(strstr(err.text, "signal 11"));
    spawn_result_fini(&res);
}

static void test_check_names_the_last_line(void **state)
{
    const char *argv[] = {"sh", "-c", "echo first >&2; echo 'the cause' >&2; echo >&2; exit 3", NULL};
    struct spawn_result res;
    struct err err = {0};
    (void)state;

    assert_int_equal(spawn_check(&(struct spawn_request){.program = "sh", .argv = argv}, &res, &err),
                     KPEER_EIO);
    assert_non_null(strstr(err.text, "status 3: the cause"));
    spawn_result_fini(&res);
    assert_int_equal(
        spawn_check(&(struct spawn_request){.program = "sh", .argv = argv, .secret_output = true}, &res,
                    &err),
        KPEER_EIO);
    assert_null(strstr(err.text, "cause"));
    spawn_result_fini(&res);
}

static void test_secret_output_is_not_told(void **state)
{
    struct lines l = {0};
    struct spawn_result res;
    (void)state;

    assert_int_equal(sh("echo secret",
                        (struct spawn_request){.secret_output = true, .on_line = collect, .ctx = &l}, &res,
                        NULL),
                     0);
    assert_string_equal(res.out, "secret\n");
    assert_int_equal(l.count, 0);
    spawn_result_fini(&res);
}

static void test_environment_and_descriptors(void **state)
{
    static const char *const further[] = {"FRONTEND=none", NULL};
    static const char *const many[] = {"A=", "B=", "C=", "D=", "E=", "F=", "G=", "H=", "I=", NULL};
    struct spawn_result res;
    int extra = dup(0);
    (void)state;

    setenv("KPEER_LEAK", "1", 1);
    assert_int_equal(sh("env -u _ -u PWD -u OLDPWD -u SHLVL | sort; ls /proc/self/fd | tr '\\n' ' '; pwd",
                        (struct spawn_request){.kubeconfig = "/k", .env = further}, &res, NULL),
                     0);
    assert_non_null(
        strstr(res.out, "FRONTEND=none\nHOME=/root\nKUBECONFIG=/k\nLANG=C.UTF-8\nPATH=" SPAWN_PATH "\n"));
    assert_null(strstr(res.out, "KPEER_LEAK"));
    assert_non_null(strstr(res.out, "0 1 2 3 /\n")); /* the fourth is the folder that ls reads */
    spawn_result_fini(&res);
    assert_int_equal(sh("true", (struct spawn_request){.env = many}, &res, NULL), KPEER_EIO);
    spawn_result_fini(&res);
    close(extra);
}

static void test_output_is_bounded(void **state)
{
    struct spawn_result res;
    (void)state;

    assert_int_equal(sh("head -c 9000000 /dev/zero", (struct spawn_request){0}, &res, NULL), 0);
    assert_true(res.truncated);
    assert_int_equal(res.out_bytes, SPAWN_KEEP_BYTES);
    spawn_result_fini(&res);
}

static void on_alarm(int signal_number)
{
    (void)signal_number;
    spawn_cancel();
}

/* In a child, since a process that was told to stop starts nothing more. */
static void test_cancel(void **state)
{
    int status;
    pid_t pid = fork();
    (void)state;

    if (pid == 0) {
        struct spawn_result res;
        uint64_t begun = now_ms();

        signal(SIGALRM, on_alarm);
        ualarm(100000, 0);
        if (sh("sleep 60", (struct spawn_request){0}, &res, NULL) != KPEER_ECANCELED ||
            now_ms() - begun > 3000)
            _exit(1);
        spawn_result_fini(&res);
        if (sh("true", (struct spawn_request){0}, &res, NULL) != KPEER_ECANCELED)
            _exit(2);
        spawn_result_fini(&res);
        if (spawn_pause(10000, NULL) != KPEER_ECANCELED || !spawn_canceled())
            _exit(3);
        spawn_uncancel(); /* what is taken away in any ending … */
        if (sh("true", (struct spawn_request){0}, &res, NULL) != 0 || spawn_pause(1, NULL) != 0)
            _exit(4);
        spawn_result_fini(&res);
        spawn_cancel(); /* … ends as well */
        _exit(spawn_pause(10000, NULL) == KPEER_ECANCELED ? 0 : 5);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* The starter is killed: its program must not go on alone. */
static void test_program_dies_with_its_starter(void **state)
{
    int fd[2], status;
    char pid_text[16] = "", gone;
    pid_t starter;
    (void)state;

    assert_int_equal(pipe(fd), 0);
    starter = fork();
    if (starter == 0) {
        char line[64];
        struct spawn_result res;

        snprintf(line, sizeof(line), "echo $$ >/proc/%d/fd/%d; exec sleep 60", (int)getpid(), fd[1]);
        sh(line, (struct spawn_request){0}, &res, NULL);
        _exit(0);
    }
    close(fd[1]);
    assert_true(read(fd[0], pid_text, sizeof(pid_text) - 1) > 0);
    assert_true(atoi(pid_text) > 1);
    assert_int_equal(kill(starter, SIGKILL), 0);
    assert_int_equal(waitpid(starter, &status, 0), starter);
    for (uint64_t begun = now_ms(); kill(atoi(pid_text), 0) == 0 && now_ms() - begun < 3000;)
        usleep(10000);
    assert_int_equal(kill(atoi(pid_text), 0), -1);
    assert_int_equal(read(fd[0], &gone, 1), 0);
    close(fd[0]);
}

/* Writes a program that counts its runs in a file beside it, and tells the count. */
static void write_counter(const char *path, const char *words)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fprintf(f, "#!/bin/sh\n%s\necho run >> %s.runs; wc -l < %s.runs\n", words, path, path);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, 0755), 0);
}

static int ask_counter(const char *path, const char *word, bool constant, int status)
{
    const char *argv[] = {"counter", word, NULL};
    struct spawn_result res;
    int count;

    assert_int_equal(
        spawn_run(&(struct spawn_request){.program = path, .argv = argv, .constant = constant}, &res, NULL),
        0);
    assert_int_equal(res.exit_status, status);
    assert_int_equal(strlen(res.out), res.out_bytes);
    assert_string_equal(res.errout, "");
    count = atoi(res.out);
    spawn_result_fini(&res);
    return count;
}

/* What hangs on the program alone is asked once, also by another worker, until the program is another one. */
static void test_constant_answers(void **state)
{
    char path[] = "/tmp/kpeer-spawn-XXXXXX", runs[64];
    int fd = mkstemp(path), status;
    pid_t worker;
    (void)state;

    close(fd);
    snprintf(runs, sizeof(runs), "%s.runs", path);
    write_counter(path, "");
    assert_int_equal(ask_counter(path, "a", true, 0), 1); /* nothing is kept before the memory is open */
    assert_int_equal(ask_counter(path, "a", true, 0), 2);
    answers_open();
    worker = fork();
    if (worker == 0)
        _exit(ask_counter(path, "a", true, 0) == 3 ? 0 : 1);
    assert_int_equal(waitpid(worker, &status, 0), worker);
    assert_int_equal(status, 0);
    assert_int_equal(ask_counter(path, "a", true, 0), 3);
    assert_int_equal(ask_counter(path, "a", false, 0), 4); /* asked for no such answer */
    assert_int_equal(ask_counter(path, "b", true, 0), 5);
    assert_int_equal(ask_counter(path, "a", true, 0), 3);
    unlink(path);
    write_counter(path, "# another one");
    assert_int_equal(ask_counter(path, "a", true, 0), 6);
    write_counter(path, "echo run >> $0.runs; exit 3");
    ask_counter(path, "a", true, 3); /* a failure is no answer */
    ask_counter(path, "a", true, 3);
    write_counter(path, "");
    assert_int_equal(ask_counter(path, "a", true, 0), 9);
    for (int i = 0; i < 3 * ANSWERS_MAX; i++) { /* more than are kept: the oldest go */
        char word[8];

        snprintf(word, sizeof(word), "%d", i);
        assert_int_equal(ask_counter(path, word, true, 0), 10 + i);
        assert_int_equal(ask_counter(path, word, true, 0), 10 + i);
    }
    assert_int_equal(ask_counter(path, "a", true, 0), 10 + 3 * ANSWERS_MAX);
    unlink(path);
    unlink(runs);
}

/* From here on as behind a filter that does not know the call, or under valgrind. */
static void test_no_descriptors_of_processes(void **state)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    (void)state;

    assert_non_null(filter);
    assert_int_equal(seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(pidfd_open), 0), 0);
    assert_int_equal(seccomp_load(filter), 0);
    seccomp_release(filter);
    assert_int_equal(syscall(SYS_pidfd_open, getpid(), 0), -1);
    assert_int_equal(errno, ENOSYS);
}

int main(void)
{
    const struct CMUnitTest once[] = {
        cmocka_unit_test(test_constant_answers),
    };
    const struct CMUnitTest before[] = {
        cmocka_unit_test(test_no_descriptors_of_processes),
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_output_and_status),
        cmocka_unit_test(test_input),
        cmocka_unit_test(test_lines_are_escaped_and_cut),
        cmocka_unit_test(test_no_such_program),
        cmocka_unit_test(test_exec_failure_is_told),
        cmocka_unit_test(test_time_limit_ends_the_group),
        cmocka_unit_test(test_deaf_child_is_killed),
        cmocka_unit_test(test_grandchild_does_not_hang_it),
        cmocka_unit_test(test_signal_is_told),
        cmocka_unit_test(test_check_names_the_last_line),
        cmocka_unit_test(test_secret_output_is_not_told),
        cmocka_unit_test(test_environment_and_descriptors),
        cmocka_unit_test(test_output_is_bounded),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_program_dies_with_its_starter),
    };

    if (cmocka_run_group_tests(once, NULL, NULL) || cmocka_run_group_tests(tests, NULL, NULL))
        return 1;
    return cmocka_run_group_tests(before, NULL, NULL) || cmocka_run_group_tests(tests, NULL, NULL);
}
