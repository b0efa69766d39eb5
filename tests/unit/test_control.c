#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "peer/control.h"
#include "peer/control_frame.h"
#include "protocol/mem.h"

struct world {
    char folder[64];
    char path[100];
    struct control_server *server;
    uint64_t last_id;
    unsigned requests;
    uint64_t gone_id;
    unsigned gone;
};

/* What the agent would do, by the command's name. */
static void on_request(void *ctx, struct control_call *call)
{
    struct world *w = ctx;

    w->requests++;
    w->last_id = call->id;
    if (strcmp(call->cmd, "status") == 0)
        control_reply(call, json_pack("{s:s, s:O}", "phase", "ready", "args", call->args));
    else if (strcmp(call->cmd, "members") == 0)
        control_fail(call, KPEER_EREFUSED, "not today", "tomorrow");
    else if (strcmp(call->cmd, "events") == 0)
        control_subscribe(call);
    else if (strcmp(call->cmd, "kubeconfig") == 0)
        control_fail(call, KPEER_EIO, "bad \xff bytes", NULL);
    else if (strcmp(call->cmd, "verify") == 0)
        control_fail(call, KPEER_ETIMEOUT, "not in time", NULL);
    /* leave: stays open */
}

static void on_gone(void *ctx, uint64_t id)
{
    struct world *w = ctx;

    w->gone++;
    w->gone_id = id;
}

static const struct control_callbacks callbacks = {.request = on_request, .gone = on_gone};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);

    strcpy(w->folder, "/tmp/kpeer-control-XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    chmod(w->folder, 0755);
    snprintf(w->path, sizeof w->path, "%s/kpeer.sock", w->folder);
    assert_int_equal(control_server_new(&w->server, w->path, "daemon", &callbacks, w, NULL), 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    control_server_free(w->server);
    assert_int_not_equal(access(w->path, F_OK), 0);
    rmdir(w->folder);
    free(w);
    return 0;
}

/* Lets the server work until nothing is to be done any more. */
static void run_server(struct world *w)
{
    struct pollfd p = {.fd = control_server_fd(w->server), .events = POLLIN};

    for (int i = 0; i < 1000 && poll(&p, 1, i ? 0 : 20) > 0; i++)
        control_server_dispatch(w->server);
}

static struct control_client *connect_to(struct world *w)
{
    struct control_client *c = NULL;

    assert_int_equal(control_connect(&c, w->path, NULL), 0);
    return c;
}

static void test_answer(void **state)
{
    struct world *w = *state;
    struct control_client *c = connect_to(w);
    enum control_kind kind;
    json_t *out = NULL;

    for (int round = 0; round < 2; round++) {
        assert_int_equal(control_request(c, "status", json_pack("{s:[n,b,i,s]}", "x", 1, -7, "ä\n"), NULL),
                         0);
        run_server(w);
        assert_int_equal(control_next(c, 1000, &kind, &out, NULL), 0);
        assert_int_equal(kind, CONTROL_DATA);
        assert_string_equal(json_string_value(json_object_get(out, "phase")), "ready");
        json_t *x = json_object_get(json_object_get(out, "args"), "x");
        assert_int_equal(json_integer_value(json_array_get(x, 2)), -7);
        assert_string_equal(json_string_value(json_array_get(x, 3)), "ä\n");
        json_decref(out);
        assert_int_equal(control_next(c, 1000, &kind, &out, NULL), 0);
        assert_int_equal(kind, CONTROL_DONE);
    }
    control_close(c);
}

static void test_error_answer(void **state)
{
    struct world *w = *state;
    struct control_client *c = connect_to(w);
    struct err err = {0};
    json_t *out = NULL;

    assert_int_equal(control_request(c, "members", NULL, NULL), 0);
    run_server(w);
    assert_int_equal(control_ask(c, "kubeconfig", NULL, 1000, &out, &err), KPEER_EREFUSED);
    assert_string_equal(err.text, "not today");
    assert_string_equal(err.hint, "tomorrow");
    control_close(c);
}

/* That nothing came yet, and an answer that tells of a time limit, are two things. */
static void test_error_answer_is_a_time_limit(void **state)
{
    struct world *w = *state;
    struct control_client *c = connect_to(w);
    enum control_kind kind;
    struct err err = {0};
    json_t *out = NULL;

    assert_int_equal(control_request(c, "verify", NULL, NULL), 0);
    assert_int_equal(control_next(c, 0, &kind, &out, &err), 0);
    assert_true(kind == CONTROL_NOTHING && !out);
    run_server(w);
    assert_int_equal(control_next(c, 1000, &kind, &out, &err), KPEER_ETIMEOUT);
    assert_string_equal(err.text, "not in time");
    control_close(c);
    c = connect_to(w);
    assert_int_equal(control_ask(c, "leave", NULL, 0, &out, &err), KPEER_ETIMEOUT);
    assert_string_equal(err.text, "the agent did not answer in time");
    control_close(c);
}

static void test_error_text_is_no_utf8(void **state)
{
    struct world *w = *state;
    struct control_client *c = connect_to(w);
    enum control_kind kind;
    struct err err = {0};
    json_t *out = NULL;

    assert_int_equal(control_request(c, "kubeconfig", NULL, NULL), 0);
    run_server(w);
    assert_int_equal(control_next(c, 1000, &kind, &out, &err), KPEER_EIO);
    assert_string_equal(err.text, "(unreadable)");
    control_close(c);
}

static void test_unknown_request(void **state)
{
    struct world *w = *state;
    struct control_client *c = connect_to(w);
    enum control_kind kind;
    json_t *out = NULL;

    assert_int_equal(control_request(c, "shutdown", NULL, NULL), 0);
    run_server(w);
    assert_int_equal(control_next(c, 1000, &kind, &out, NULL), KPEER_EINVAL);
    assert_int_equal(w->requests, 0);
    control_close(c);
}

/* Whoever asks without a pause gets one answer in each round of the agent's loop, and not the whole of it. */
static void test_one_request_a_round(void **state)
{
    struct world *w = *state;
    struct control_client *c = connect_to(w);

    control_server_dispatch(w->server); /* accepts */
    for (int i = 0; i < 3; i++)
        assert_int_equal(control_request(c, "status", NULL, NULL), 0);
    for (unsigned i = 1; i <= 3; i++) {
        control_server_dispatch(w->server);
        assert_int_equal(w->requests, i);
    }
    control_close(c);
}

static void test_events(void **state)
{
    struct world *w = *state;
    struct control_client *c = connect_to(w), *other = connect_to(w);
    enum control_kind kind;
    json_t *out = NULL;

    assert_int_equal(control_request(c, "events", NULL, NULL), 0);
    run_server(w);
    control_broadcast_event(w->server, json_pack("{s:s}", "event", "elected"));
    assert_int_equal(control_next(c, 1000, &kind, &out, NULL), 0);
    assert_int_equal(kind, CONTROL_EVENT);
    assert_string_equal(json_string_value(json_object_get(out, "event")), "elected");
    json_decref(out);
    assert_int_equal(control_next(other, 0, &kind, &out, NULL), 0);
    assert_int_equal(kind, CONTROL_NOTHING);
    control_close(other);
    control_close(c);
}

/* An answer may come later; a call whose client went away is not found any more. */
static void test_late_answer(void **state)
{
    struct world *w = *state;
    struct control_client *c = connect_to(w);
    enum control_kind kind;
    json_t *out = NULL;
    uint64_t id;

    control_request(c, "leave", NULL, NULL);
    run_server(w);
    id = w->last_id;
    assert_non_null(control_find(w->server, id));
    assert_int_equal(control_next(c, 0, &kind, &out, NULL), 0);
    assert_int_equal(kind, CONTROL_NOTHING);
    control_reply(control_find(w->server, id), NULL);
    assert_null(control_find(w->server, id));
    assert_int_equal(control_next(c, 1000, &kind, &out, NULL), 0);
    assert_int_equal(kind, CONTROL_DONE);
    control_request(c, "leave", NULL, NULL);
    run_server(w);
    assert_int_not_equal(w->last_id, id);
    control_close(c);
    run_server(w);
    assert_null(control_find(w->server, w->last_id));
}

static int raw_connect(struct world *w)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

    strcpy(to.sun_path, w->path);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

/* Whether the server cut us off. */
static bool is_cut(struct world *w, int fd)
{
    char byte;

    run_server(w);
    return recv(fd, &byte, 1, 0) == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
}

/* Told once, with the call that was open, and of no client whose call had ended. */
static void test_gone(void **state)
{
    struct world *w = *state;
    struct control_client *waits = connect_to(w), *done = connect_to(w);

    assert_int_equal(control_request(done, "members", NULL, NULL), 0);
    run_server(w);
    assert_int_equal(control_request(waits, "leave", NULL, NULL), 0);
    run_server(w);
    uint64_t id = w->last_id;
    control_close(done);
    run_server(w);
    assert_int_equal(w->gone, 0);
    control_close(waits);
    run_server(w);
    assert_int_equal(w->gone, 1);
    assert_true(w->gone_id == id && control_find(w->server, id) == NULL);
}

static void test_hostile_frames(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
    } frames[] = {
        {"\0\0\0\0", 4},                                     /* empty */
        {"\xff\xff\xff\xff", 4},                             /* too long */
        {"\0\1\0\1", 4},                                     /* one more than allowed */
        {"\0\0\0\5\xdd\x0f\xff\xff\xff", 9},                 /* a count which nothing follows */
        {"\0\0\0\1\x81", 5},                                 /* a map */
        {"\0\0\0\2\xc0\xc0", 6},                             /* trailing bytes */
        {"\0\0\0\1\xcb", 5},                                 /* a float */
        {"\0\0\0\3\x92\x01\x00", 7},                         /* an object with a key and no value */
        {"\0\0\0\2\x91\x02", 6},                             /* neither list nor object */
        {"\0\0\0\5\x93\x01\xc4\x00\xc0", 9},                 /* an empty key */
        {"\0\0\0\12\x95\x01\xc4\x01k\xc0\xc4\x01k\xc0", 14}, /* a key twice */
        {"\0\0\0\6\x93\x01\xc4\x01\xff\xc0", 10},            /* a key that is no UTF-8 */
        {"\0\0\0\4\x92\x00\xc4\x01", 8},                     /* a text that is not there */
    };

    struct world *w = *state;

    for (size_t i = 0; i < COUNT_OF(frames); i++) {
        int fd = raw_connect(w);

        assert_int_equal(send(fd, frames[i].bytes, frames[i].n, MSG_NOSIGNAL), frames[i].n);
        if (!is_cut(w, fd))
            fail_msg("frame %zu was not refused", i);
        close(fd);
    }
    assert_int_equal(w->requests, 0);
}

/* Deep nesting is refused, not followed. */
static void test_deep_frame(void **state)
{
    struct world *w = *state;
    uint8_t frame[4 + 4000];
    int fd = raw_connect(w);

    memset(frame, 0x91, sizeof frame);
    memcpy(frame, "\0\0\x0f\xa0", 4);
    assert_int_equal(send(fd, frame, sizeof frame, MSG_NOSIGNAL), sizeof frame);
    assert_true(is_cut(w, fd));
    close(fd);
}

/* A good request in single bytes works; every flipped bit of it is answered or cut, never more. */
static void test_bytewise_and_flipped(void **state)
{
    struct world *w = *state;
    json_t *request = json_pack("{s:s, s:{s:b, s:i}}", "cmd", "status", "args", "force", 1, "n", 300);
    uint8_t *frame;
    size_t n;
    int fd = raw_connect(w);

    assert_int_equal(control_frame_encode(request, 4096, &frame, &n, NULL), 0);
    json_decref(request);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(send(fd, frame + i, 1, MSG_NOSIGNAL), 1);
        run_server(w);
    }
    assert_int_equal(w->requests, 1);
    close(fd);
    for (size_t bit = 0; bit < 8 * n; bit++) {
        frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
        fd = raw_connect(w);
        assert_int_equal(send(fd, frame, n, MSG_NOSIGNAL), n);
        run_server(w);
        close(fd);
        frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    free(frame);
    run_server(w);
}

/* A second request while one is open is no protocol. */
static void test_two_at_once(void **state)
{
    struct world *w = *state;
    struct control_client *c = connect_to(w);
    enum control_kind kind;
    json_t *out = NULL;

    control_request(c, "leave", NULL, NULL);
    run_server(w);
    control_request(c, "leave", NULL, NULL);
    run_server(w);
    assert_int_equal(w->requests, 1);
    assert_null(control_find(w->server, w->last_id));
    assert_int_equal(control_next(c, 1000, &kind, &out, NULL), KPEER_EIO);
    control_close(c);
}

/* Whoever does not read is cut off, and the others do not notice. */
static void test_slow_client(void **state)
{
    struct world *w = *state;
    struct control_client *slow = connect_to(w), *good = connect_to(w);
    char *big = calloc(1, 100001);
    enum control_kind kind;
    json_t *out = NULL;

    memset(big, 'x', 100000);
    control_request(slow, "events", NULL, NULL);
    run_server(w);
    uint64_t id = w->last_id;
    for (int i = 0; i < 2 * CONTROL_QUEUE_BYTES / 100000 && control_find(w->server, id); i++)
        control_broadcast_event(w->server, json_pack("{s:s}", "text", big));
    assert_null(control_find(w->server, id));
    control_request(good, "status", NULL, NULL);
    run_server(w);
    assert_int_equal(control_next(good, 1000, &kind, &out, NULL), 0);
    json_decref(out);
    free(big);
    control_close(slow);
    control_close(good);
}

/* Asks as another user; the child's exit status is the negated code. */
static int ask_as(struct world *w, uid_t uid, gid_t gid, gid_t extra, const char *cmd)
{
    pid_t pid = fork();
    int status = -1;

    if (pid == 0) {
        struct control_client *c = NULL;
        enum control_kind kind;
        json_t *out = NULL;
        int code;

        if (setgroups(extra ? 1 : 0, &extra) || setgid(gid) || setuid(uid))
            _exit(99);
        code = control_connect(&c, w->path, NULL);
        if (!code)
            code = control_request(c, cmd, NULL, NULL);
        if (!code)
            code = control_next(c, 2000, &kind, &out, NULL);
        _exit(-code);
    }
    for (int i = 0; i < 2000 && waitpid(pid, &status, WNOHANG) == 0; i++)
        run_server(w);
    return WIFEXITED(status) ? -WEXITSTATUS(status) : -1000;
}

static void test_credentials(void **state)
{
    struct world *w = *state;
    const struct group *readers = getgrnam("daemon");

    if (geteuid() != 0 || !readers) {
        print_message("skipped: only root can become another user\n");
        skip();
    }
    assert_int_equal(ask_as(w, 12345, 12345, 0, "status"), KPEER_EREFUSED);
    assert_int_equal(ask_as(w, 12345, readers->gr_gid, 0, "status"), 0);
    assert_int_equal(ask_as(w, 12345, 12345, readers->gr_gid, "status"), 0);
    assert_int_equal(ask_as(w, 12345, readers->gr_gid, 0, "leave"), KPEER_EREFUSED);
    assert_int_equal(ask_as(w, 12345, readers->gr_gid, 0, "kubeconfig"), KPEER_EREFUSED);
    assert_int_equal(w->requests, 2);
    control_server_allow(w->server, 12345);
    assert_int_equal(ask_as(w, 12345, 12345, 0, "kubeconfig"), KPEER_EIO);
}

/* More clients than there is room for: root still gets in when the others may only read. */
static void test_full(void **state)
{
    struct world *w = *state;
    int fd[CONTROL_CLIENTS_MAX + 8];
    struct control_client *c;
    enum control_kind kind;
    json_t *out = NULL;

    for (size_t i = 0; i < COUNT_OF(fd); i++) {
        fd[i] = raw_connect(w);
        run_server(w);
    }
    for (size_t i = 0; i < COUNT_OF(fd); i++)
        close(fd[i]);
    run_server(w);
    c = connect_to(w);
    control_request(c, "status", NULL, NULL);
    run_server(w);
    assert_int_equal(control_next(c, 1000, &kind, &out, NULL), 0);
    json_decref(out);
    control_close(c);
}

/* Strangers who take all the room, and say nothing until we close the pipe; *done ends. */
static pid_t crowd(struct world *w, int *done)
{
    int in[2], out[2];
    char byte = 0;
    pid_t pid;

    assert_int_equal(pipe(in), 0);
    assert_int_equal(pipe(out), 0);
    pid = fork();
    if (pid == 0) {
        close(in[1]);
        if (setgroups(0, NULL) || setgid(12345) || setuid(12345))
            _exit(99);
        for (int i = 0; i < CONTROL_CLIENTS_MAX; i++)
            raw_connect(w);
        _exit(write(out[1], "", 1) == 1 && read(in[0], &byte, 1) == 0 ? 0 : 1);
    }
    close(in[0]);
    close(out[1]);
    assert_int_equal(read(out[0], &byte, 1), 1);
    close(out[0]);
    run_server(w);
    *done = in[1];
    return pid;
}

/* Who may read is not kept out by those who may not. */
static void test_full_of_strangers(void **state)
{
    struct world *w = *state;
    const struct group *readers = getgrnam("daemon");
    int done, status;

    if (geteuid() != 0 || !readers) {
        print_message("skipped: only root can become another user\n");
        skip();
    }
    pid_t pid = crowd(w, &done);
    assert_int_equal(ask_as(w, 54321, 54321, 0, "status"), KPEER_EIO);
    assert_int_equal(ask_as(w, 12345, 12345, readers->gr_gid, "status"), 0);
    close(done);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_no_agent(void **state)
{
    struct control_client *c = NULL;
    struct err err = {0};

    (void)state;
    assert_int_equal(control_connect(&c, "/tmp/kpeer-no-such-folder/s", &err), KPEER_ENOAGENT);
    assert_true(err.hint[0] != '\0');
    assert_int_equal(err_exit_status(KPEER_ENOAGENT), 3);
}

/* What the agent's user puts in the place of the socket once it is bound, in a folder that is theirs. */
static const char *put_there;

int __real_bind(int fd, const struct sockaddr *to, socklen_t n);
int __wrap_bind(int fd, const struct sockaddr *to, socklen_t n);
int __wrap_bind(int fd, const struct sockaddr *to, socklen_t n)
{
    int rc = __real_bind(fd, to, n);

    if (rc == 0 && put_there) {
        const char *path = ((const struct sockaddr_un *)to)->sun_path;
        assert_int_equal(unlink(path), 0);
        assert_int_equal(symlink(put_there, path), 0);
    }
    return rc;
}

/* All users may connect, whatever the mask; and the mode is the socket's from the start: nothing is changed
 * by its name. */
static void test_mode(void **state)
{
    struct world *w = *state;
    struct control_server *second = NULL;
    char path[100], victim[100];
    struct stat st;
    mode_t mask = umask(077);
    FILE *f;

    snprintf(path, sizeof path, "%s/mode", w->folder);
    snprintf(victim, sizeof victim, "%s/victim", w->folder);
    assert_int_equal(control_server_new(&second, path, NULL, &callbacks, w, NULL), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0666);
    control_server_free(second);
    assert_int_equal(umask(mask), 077);
    f = fopen(victim, "w");
    assert_non_null(f);
    fclose(f);
    assert_int_equal(chmod(victim, 0600), 0);
    put_there = victim;
    assert_int_equal(control_server_new(&second, path, NULL, &callbacks, w, NULL), 0);
    put_there = NULL;
    assert_int_equal(stat(victim, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    control_server_free(second);
    unlink(path);
    assert_int_equal(unlink(victim), 0);
}

/* A second server is refused while the first lives; what a dead one left is replaced. */
static void test_second_server(void **state)
{
    struct world *w = *state;
    struct control_server *second = NULL;
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    assert_int_equal(control_server_new(&second, w->path, NULL, &callbacks, w, NULL), KPEER_ESTATE);
    snprintf(to.sun_path, sizeof to.sun_path, "%s/stale", w->folder);
    assert_int_equal(bind(fd, (struct sockaddr *)&to, sizeof to), 0);
    close(fd);
    assert_int_equal(control_server_new(&second, to.sun_path, NULL, &callbacks, w, NULL), 0);
    control_server_free(second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_error_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_error_answer_is_a_time_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_error_text_is_no_utf8, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unknown_request, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_request_a_round, setup, teardown),
        cmocka_unit_test_setup_teardown(test_events, setup, teardown),
        cmocka_unit_test_setup_teardown(test_late_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hostile_frames, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deep_frame, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bytewise_and_flipped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_two_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slow_client, setup, teardown),
        cmocka_unit_test_setup_teardown(test_credentials, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_of_strangers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mode, setup, teardown),
        cmocka_unit_test_setup_teardown(test_second_server, setup, teardown),
        cmocka_unit_test(test_no_agent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
