/* The system call filter, tried in children: what is needed works, what is not fails, what is deadly kills.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <arpa/inet.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <sodium.h>
#include <zmq.h>

#include "peer/agent/exporter.h"
#include "peer/agent/filter.h"

static pid_t other; /* plays the executor: a process that waits to be ended */

static bool put_on(void)
{
    bool on = false;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && filter_enter(other, &on, NULL) == 0 && on;
}

/* Exit status of a child that does the work behind the filter, or 128 and the signal that ended it. */
static int behind(int (*work)(void))
{
    int status = -1;
    pid_t pid = fork();
    if (pid == 0)
        _exit(put_on() ? work() : 99);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static bool have_filter(void)
{
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) {
        bool on = false;
        int rc = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || filter_enter(0, &on, NULL);
        _exit(rc ? 2 : on);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
    return WEXITSTATUS(status) == 1;
}

#define NEED_FILTER()                                                                                        \
    do {                                                                                                     \
        if (!have_filter())                                                                                  \
            skip();                                                                                          \
    } while (0)

static void *in_thread(void *arg)
{
    bool *refused = arg;
    *refused = socket(AF_UNIX, SOCK_STREAM, 0) < 0 && errno == EPERM;
    return NULL;
}

static int use_thread(void)
{
    pthread_t thread;
    bool refused = false;
    if (pthread_create(&thread, NULL, in_thread, &refused) || pthread_join(thread, NULL))
        return 1;
    return refused ? 0 : 2;
}

/* Two sockets of libzmq, with CURVE, that find each other over TCP. */
static int use_zmq(void)
{
    char key[41], secret[41], at[64], got[8];
    size_t n = sizeof at;
    int one = 1, wait_ms = 10000;
    void *ctx = zmq_ctx_new(), *server = zmq_socket(ctx, ZMQ_ROUTER), *client = zmq_socket(ctx, ZMQ_DEALER);
    if (!server || !client || zmq_curve_keypair(key, secret))
        return 1;
    zmq_setsockopt(server, ZMQ_CURVE_SERVER, &one, sizeof one);
    zmq_setsockopt(server, ZMQ_CURVE_SECRETKEY, secret, sizeof secret);
    zmq_setsockopt(server, ZMQ_RCVTIMEO, &wait_ms, sizeof wait_ms);
    zmq_setsockopt(client, ZMQ_CURVE_SERVERKEY, key, sizeof key);
    zmq_setsockopt(client, ZMQ_CURVE_PUBLICKEY, key, sizeof key);
    zmq_setsockopt(client, ZMQ_CURVE_SECRETKEY, secret, sizeof secret);
    if (zmq_bind(server, "tcp://127.0.0.1:*") || zmq_getsockopt(server, ZMQ_LAST_ENDPOINT, at, &n))
        return 2;
    if (zmq_connect(client, at) || zmq_send(client, "hello", 5, 0) != 5)
        return 3;
    if (zmq_recv(server, got, sizeof got, 0) <= 0 || zmq_recv(server, got, sizeof got, 0) != 5)
        return 4;
    zmq_close(client);
    zmq_close(server);
    return zmq_ctx_term(ctx) ? 5 : 0;
}

static int use_guarded_memory(void)
{
    unsigned char *key = sodium_init() < 0 ? NULL : sodium_malloc(32);
    if (!key)
        return 1;
    randombytes_buf(key, 32);
    if (sodium_mprotect_readonly(key))
        return 2;
    sodium_free(key);
    return 0;
}

static int ask_size_of_packets(void)
{
    struct ifreq req = {.ifr_name = "lo"};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return fd < 0 ? 1 : ioctl(fd, SIOCGIFMTU, &req) ? 2 : 0;
}

static int list_interfaces(void)
{
    return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE) < 0;
}

static char *make_page(void *ctx, size_t *n)
{
    *n = 5;
    return strdup(ctx);
}

/* Opened before the filter, and asked from behind it: the answer comes. */
static struct exporter *opened;
static uint16_t opened_port;

static int serve_metrics(void)
{
    static const char request[] = "GET /metrics HTTP/1.0\r\n\r\n";
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_port = htons(opened_port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char out[1024];
    ssize_t n, got = 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof sa) ||
        send(fd, request, sizeof request - 1, 0) != sizeof request - 1)
        return 1;
    exporter_dispatch(opened, 1); /* takes it in */
    exporter_dispatch(opened, 1); /* answers */
    while ((n = recv(fd, out + got, sizeof out - (size_t)got, MSG_DONTWAIT)) > 0)
        got += n;
    exporter_tick(opened, 1 + EXPORTER_TIME_MS); /* ends it */
    return got > 5 && memcmp(out + got - 5, "hello", 5) == 0 && n == 0 ? 0 : 2;
}

static void test_metrics_are_served(void **state)
{
    static char page[] = "hello";
    (void)state;
    NEED_FILTER();
    for (opened_port = 20000; opened_port < 30000; opened_port++)
        if (exporter_open(&opened, "127.0.0.1", opened_port, make_page, page, NULL) == 0)
            break;
    assert_non_null(opened);
    assert_int_equal(behind(serve_metrics), 0);
    exporter_close(opened);
}

static void test_what_is_needed_works(void **state)
{
    (void)state;
    NEED_FILTER();
    assert_int_equal(behind(use_thread), 0);
    assert_int_equal(behind(use_zmq), 0);
    assert_int_equal(behind(use_guarded_memory), 0);
    assert_int_equal(behind(ask_size_of_packets), 0);
    assert_int_equal(behind(list_interfaces), 0);
}

/* Each of these is 0 when the call fails as it should. */
static int fails(long rc)
{
    return rc == -1 && errno == EPERM ? 0 : 1;
}

static int make_local_socket(void)
{
    return fails(socket(AF_UNIX, SOCK_STREAM, 0));
}
static int make_packet_socket(void)
{
    return fails(socket(AF_PACKET, SOCK_RAW, 0));
}
static int make_other_netlink(void)
{
    return fails(socket(AF_NETLINK, SOCK_RAW, NETLINK_AUDIT));
}
static int map_code(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED &&
                   errno == EPERM
               ? 0
               : 1;
}
static int turn_to_code(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page == MAP_FAILED ? 2 : fails(mprotect(page, 4096, PROT_READ | PROT_EXEC));
}
static int signal_parent(void)
{
    return fails(kill(getppid(), SIGTERM));
}
static int be_dumpable(void)
{
    return fails(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
}
static int change_mode(void)
{
    return fails(chmod("/tmp", 0700));
}
static int change_owner(void)
{
    return fails(chown("/tmp", 0, 0));
}
static int become_root(void)
{
    return fails(setresuid(0, 0, 0));
}
static int link_file(void)
{
    return fails(symlink("/etc/passwd", "/tmp/kpeer-filter-link"));
}
static int ask_terminal(void)
{
    return fails(syscall(SYS_ioctl, 0, 0x5412 /* TIOCSTI: types for the user */, "x"));
}
static int unknown_call(void)
{
    return fails(syscall(4095));
}

static void test_what_is_not_needed_fails(void **state)
{
    int (*const work[])(void) = {make_local_socket, make_packet_socket, make_other_netlink, map_code,
                                 turn_to_code,      signal_parent,      be_dumpable,        change_mode,
                                 change_owner,      become_root,        link_file,          ask_terminal,
                                 unknown_call};
    (void)state;
    NEED_FILTER();
    for (size_t i = 0; i < sizeof work / sizeof work[0]; i++)
        if (behind(work[i]) != 0)
            fail_msg("call %zu of the list was not refused: %d", i, behind(work[i]));
}

static int run_program(void)
{
    return execl("/bin/true", "true", (char *)NULL);
}

static int run_shell(void)
{
    return system("true");
}

static int fork_once(void)
{
    return fork() == 0 ? 0 : 1;
}

static int trace_parent(void)
{
    return (int)syscall(SYS_ptrace, 16 /* PTRACE_ATTACH */, getppid(), 0, 0);
}

static int make_namespace(void)
{
    return (int)syscall(SYS_unshare, 0x10000000 /* CLONE_NEWUSER */);
}

static int file_in_memory(void)
{
    return (int)syscall(SYS_memfd_create, "x", 0);
}

static void test_what_is_deadly_kills(void **state)
{
    int (*const work[])(void) = {run_program,  run_shell,      fork_once,
                                 trace_parent, make_namespace, file_in_memory};
    (void)state;
    NEED_FILTER();
    for (size_t i = 0; i < sizeof work / sizeof work[0]; i++)
        assert_int_equal(behind(work[i]), 128 + SIGSYS);
}

static int end_executor(void)
{
    return kill(other, SIGKILL);
}

static void test_the_executor_may_be_ended(void **state)
{
    int status = 0;
    (void)state;
    NEED_FILTER();
    other = fork();
    if (other == 0)
        for (;;)
            pause();
    assert_int_equal(behind(end_executor), 0);
    assert_int_equal(waitpid(other, &status, 0), other);
    assert_true(WIFSIGNALED(status));
    other = 0;
}

static void test_each_call_is_there_once_with_a_reason(void **state)
{
    (void)state;
    for (size_t i = 0; i < filter_allowed_count; i++) {
        assert_true(strlen(filter_allowed[i].reason) > 4);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(filter_allowed[i].name, filter_allowed[k].name);
        for (size_t k = 0; k < filter_deadly_count; k++)
            assert_string_not_equal(filter_allowed[i].name, filter_deadly[k].name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metrics_are_served),
        cmocka_unit_test(test_what_is_needed_works),
        cmocka_unit_test(test_what_is_not_needed_fails),
        cmocka_unit_test(test_what_is_deadly_kills),
        cmocka_unit_test(test_the_executor_may_be_ended),
        cmocka_unit_test(test_each_call_is_there_once_with_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
