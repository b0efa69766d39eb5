/* What is answered over HTTP: the reader alone, then connections to it over loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer/agent/exporter.h"
#include "protocol/mem.h"

#define HOST "Host: 127.0.0.1:7374\r\n"

static const struct {
    int status;
    const char *request;
} requests[] = {
    {200, "GET /metrics HTTP/1.1\r\n" HOST "\r\n"},
    {200, "GET /metrics HTTP/1.0\r\n\r\n"},
    {200, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"},
    {200, "GET /metrics HTTP/1.1\r\nHost:LocalHost:80 \r\n\r\n"},
    {200, "GET /metrics HTTP/1.1\r\nHost: 127.255.255.254:65535\r\n\r\n"},
    {200, "GET /metrics HTTP/1.1\r\nHost: [::1]\r\n\r\n"},
    {200, "GET /metrics HTTP/1.1\r\nHost: \t[::1]:7374\r\n\r\n"},
    {400, "GET /metrics HTTP/1.1\r\nHost: rebound.example:7374\r\n\r\n"},
    {400, "GET /metrics HTTP/1.0\r\nHost: rebound.example\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: rebound.example\r\n\r\n"},
    {400, "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1.example\r\n\r\n"},
    {400, "GET /metrics HTTP/1.1\r\nHost: 127.example\r\n\r\n"},
    {400, "GET /metrics HTTP/1.1\r\nHost: localhost.example\r\n\r\n"},
    {400, "GET /metrics HTTP/1.1\r\nHost: 128.0.0.1\r\n\r\n"},
    {400, "GET /metrics HTTP/1.1\r\nHost: 192.168.56.11:7374\r\n\r\n"},
    {400, "GET /metrics HTTP/1.1\r\nHost: [::2]:7374\r\n\r\n"},
    {400, "GET /metrics HTTP/1.1\r\nHost: ::1\r\n\r\n"},
    {400, "GET /metrics HTTP/1.1\r\nHost: a@127.0.0.1\r\n\r\n"},
    {400, "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:x\r\n\r\n"},
    {400, "GET /metrics HTTP/1.1\r\nHost:\r\n\r\n"},
    {400, "GET /metrics HTTP/1.1\r\nHost: :7374\r\n\r\n"},
    {200,
     "GET /metrics?a=b HTTP/1.1\r\nhost:127.0.0.1\r\nAccept: text/plain;version=0.0.4, */*;q=0.1\r\n\r\n"},
    {200, "GET /metrics HTTP/1.1\r\n" HOST "X-Empty:\r\nX-Tab: a\tb\r\nX-8: \xc3\xa9\r\n\r\nmore"},
    {404, "GET / HTTP/1.1\r\n" HOST "\r\n"},
    {404, "GET /metrics/ HTTP/1.1\r\n" HOST "\r\n"},
    {404, "GET /metricsx HTTP/1.1\r\n" HOST "\r\n"},
    {404, "GET /metric HTTP/1.1\r\n" HOST "\r\n"},
    {404, "GET /../metrics HTTP/1.1\r\n" HOST "\r\n"},
    {404, "GET http://127.0.0.1/metrics HTTP/1.1\r\n" HOST "\r\n"},
    {404, "OPTIONS * HTTP/1.1\r\n" HOST "\r\n"},
    {405, "HEAD /metrics HTTP/1.1\r\n" HOST "\r\n"},
    {405, "POST /metrics HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc"},
    {405, "get /metrics HTTP/1.1\r\n" HOST "\r\n"},
    {405, "GETS /metrics HTTP/1.1\r\n" HOST "\r\n"},
    {505, "GET /metrics HTTP/2.0\r\n" HOST "\r\n"},
    {505, "GET /metrics HTTP/0.9\r\n" HOST "\r\n"},
    {400, "GET /metrics HTTP/1.1\r\n\r\n"},
    {400, "GET /metrics HTTP/1.1\r\n" HOST HOST "\r\n"},
    {400, "GET /metrics HTTP/1.0\r\n" HOST HOST "\r\n"},
    {400, "GET /metrics\r\n\r\n"},
    {400, "GET  /metrics HTTP/1.1\r\n" HOST "\r\n"},
    {400, "GET /metrics  HTTP/1.1\r\n" HOST "\r\n"},
    {400, "GET /metrics HTTP/1.1 \r\n" HOST "\r\n"},
    {400, "GET /metrics HTTP/1.10\r\n" HOST "\r\n"},
    {400, "GET /metrics http/1.1\r\n" HOST "\r\n"},
    {400, " GET /metrics HTTP/1.1\r\n" HOST "\r\n"},
    {400, "\r\nGET /metrics HTTP/1.1\r\n" HOST "\r\n"},
    {400, "GET /metrics HTTP/1.1\n" HOST "\r\n\r\n"},
    {400, "GET /metrics HTTP/1.1\r\n" HOST " folded\r\n\r\n"},
    {400, "GET /metrics HTTP/1.1\r\nHost : a\r\n\r\n"},
    {400, "GET /metrics HTTP/1.1\r\nHost\r\n\r\n"},
    {400, "GET /metrics HTTP/1.1\r\n: a\r\n" HOST "\r\n"},
    {400, "GET /metrics HTTP/1.1\r\n" HOST "A: b\x01\r\n\r\n"},
    {400, "GET /metrics HTTP/1.1\r\n" HOST "A: b\nC: d\r\n\r\n"},
    {400, "GET /met\x7frics HTTP/1.1\r\n" HOST "\r\n"},
    {400, "G(T /metrics HTTP/1.1\r\n" HOST "\r\n"},
    {400, "\r\n\r\n"},
    {0, ""},
    {0, "GET /metrics HTTP/1.1\r\n" HOST "\r"},
    {0, "GET /metrics HTTP/1.1\n" HOST "\n"},
};

static void test_requests(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(requests); i++) {
        int status = exporter_judge(requests[i].request, strlen(requests[i].request));
        if (status != requests[i].status)
            fail_msg("%d and not %d: %s", status, requests[i].status, requests[i].request);
    }
}

/* Whatever the place, a NUL or a cut never makes a good request of another one, and what is whole stays so.
 */
static void test_cut_and_altered(void **state)
{
    static const char good[] = "GET /metrics HTTP/1.1\r\n" HOST "\r\n";
    char text[sizeof good];
    size_t n = sizeof good - 1;

    (void)state;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(exporter_judge(good, i), 0);
        memcpy(text, good, sizeof text);
        text[i] = '\0';
        assert_int_not_equal(exporter_judge(text, n), 200);
    }
    assert_int_equal(exporter_judge(good, n), 200);
}

static void test_too_large(void **state)
{
    char text[EXPORTER_REQUEST_BYTES];

    (void)state;
    memset(text, 'A', sizeof text);
    assert_int_equal(exporter_judge(text, sizeof text - 1), 0);
    assert_int_equal(exporter_judge(text, sizeof text), 431);
}

/* ---- connections ---- */

struct world {
    struct exporter *e;
    uint16_t port;
    unsigned pages;
    size_t page_bytes; /* 0: there is none */
    uint64_t now_ms;
};

static char *make_page(void *ctx, size_t *n)
{
    struct world *w = ctx;
    char *page = w->page_bytes ? malloc(w->page_bytes) : NULL;

    w->pages++;
    if (page)
        memset(page, 'm', w->page_bytes);
    *n = w->page_bytes;
    return page;
}

static uint16_t free_port(void)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof sa;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &n), 0);
    close(fd);
    return ntohs(sa.sin_port);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);

    w->port = free_port();
    w->page_bytes = 1000;
    w->now_ms = 1000;
    assert_int_equal(exporter_open(&w->e, "127.0.0.1", w->port, make_page, w, NULL), 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    exporter_close(w->e);
    free(w);
    return 0;
}

static void serve(struct world *w)
{
    struct pollfd p = {.fd = exporter_fd(w->e), .events = POLLIN};

    for (int i = 0; i < 1000 && poll(&p, 1, i ? 0 : 2) > 0; i++)
        exporter_dispatch(w->e, w->now_ms);
}

static int dial(const struct world *w)
{
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_port = htons(w->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Serves and reads until the other end closes; the bytes that came, of which the first are in `out`. */
static size_t hear(struct world *w, int fd, char *out, size_t room)
{
    size_t got = 0;

    for (int i = 0; i < 10000; i++) {
        char bytes[65536];
        serve(w);
        ssize_t n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (n == 0)
            break;
        if (n < 0)
            continue;
        for (ssize_t at = 0; at < n; at++, got++)
            if (got + 1 < room)
                out[got] = bytes[at];
    }
    out[got < room ? got : room - 1] = '\0';
    close(fd);
    return got;
}

static void test_answer(void **state)
{
    struct world *w = *state;
    char out[512];
    int fd = dial(w);

    /* In pieces, as a network may bring it. */
    say(fd, "GET /metrics HT");
    serve(w);
    assert_int_equal(w->pages, 0);
    say(fd, "TP/1.1\r\n" HOST "\r\n");
    size_t n = hear(w, fd, out, sizeof out);
    assert_int_equal(w->pages, 1);
    assert_ptr_equal(strstr(out, "HTTP/1.1 200 OK\r\n"), out);
    assert_non_null(strstr(out, "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert_non_null(strstr(out, "\r\nContent-Length: 1000\r\n"));
    const char *body = strstr(out, "\r\n\r\n");
    assert_non_null(body);
    assert_int_equal(n, (size_t)(body + 4 - out) + 1000);
}

static void test_refusals(void **state)
{
    static const struct {
        const char *request, *answer;
    } cases[] = {
        {"GET / HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 404 Not Found\r\n"},
        {"POST /metrics HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 405 Method Not Allowed\r\n"},
        {"nonsense\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"},
    };
    struct world *w = *state;
    char out[512];

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        int fd = dial(w);
        say(fd, cases[i].request);
        hear(w, fd, out, sizeof out);
        assert_ptr_equal(strstr(out, cases[i].answer), out);
    }
    assert_int_equal(w->pages, 0);
    w->page_bytes = 0;
    int fd = dial(w);
    say(fd, requests[0].request);
    hear(w, fd, out, sizeof out);
    assert_ptr_equal(strstr(out, "HTTP/1.1 503 Service Unavailable\r\n"), out);
}

/* More than the kernel's buffers hold, to one that has said all it has to say. */
static void test_large_page(void **state)
{
    struct world *w = *state;
    char out[256];
    int fd = dial(w);

    w->page_bytes = 16 * 1024 * 1024;
    say(fd, requests[0].request);
    shutdown(fd, SHUT_WR);
    assert_true(hear(w, fd, out, sizeof out) > w->page_bytes);
    assert_int_equal(w->pages, 1);
}

static void test_too_much_is_said(void **state)
{
    struct world *w = *state;
    char out[512], line[1001];
    int fd = dial(w);

    memset(line, 'A', sizeof line - 1);
    line[sizeof line - 1] = '\0';
    for (int i = 0; i < 5; i++)
        say(fd, line);
    hear(w, fd, out, sizeof out);
    assert_ptr_equal(strstr(out, "HTTP/1.1 431 "), out);
}

static bool is_closed(int fd)
{
    char byte;
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 200) > 0 && recv(fd, &byte, 1, MSG_DONTWAIT) <= 0;
}

/* Who says nothing, and who does not go after the answer, is ended in time and not before. */
static void test_time(void **state)
{
    struct world *w = *state;
    int silent = dial(w), lingers = dial(w);

    assert_true(exporter_tick(w->e, w->now_ms) == UINT64_MAX);
    assert_true(exporter_tick(NULL, w->now_ms) == UINT64_MAX);
    serve(w);
    say(lingers, requests[0].request);
    serve(w);
    assert_true(exporter_tick(w->e, w->now_ms + 10) == w->now_ms + EXPORTER_TIME_MS);
    assert_true(exporter_tick(w->e, w->now_ms + EXPORTER_TIME_MS - 1) == w->now_ms + EXPORTER_TIME_MS);
    assert_false(is_closed(silent));
    assert_true(exporter_tick(w->e, w->now_ms + EXPORTER_TIME_MS) == UINT64_MAX);
    assert_true(is_closed(silent));
    close(silent);
    close(lingers);
}

/* The oldest makes room: however many hold on to a connection, the next is answered. */
static void test_crowd(void **state)
{
    struct world *w = *state;
    char out[512];
    int crowd[3 * EXPORTER_CLIENTS_MAX];

    for (size_t i = 0; i < COUNT_OF(crowd); i++) {
        w->now_ms++;
        crowd[i] = dial(w);
        serve(w);
    }
    assert_true(is_closed(crowd[0]));
    assert_false(is_closed(crowd[COUNT_OF(crowd) - 1]));
    int fd = dial(w);
    w->now_ms++;
    say(fd, requests[0].request);
    hear(w, fd, out, sizeof out);
    assert_ptr_equal(strstr(out, "HTTP/1.1 200 OK\r\n"), out);
    for (size_t i = 0; i < COUNT_OF(crowd); i++)
        close(crowd[i]);
}

static void test_addresses(void **state)
{
    struct world *w = *state;
    struct exporter *other = NULL;
    struct err err = {0};

    assert_int_equal(exporter_open(&other, "127.0.0.1", w->port, make_page, w, &err), KPEER_EIO);
    assert_non_null(strstr(err.text, "127.0.0.1"));
    assert_true(err.hint[0]);
    assert_int_equal(exporter_open(&other, "localhost", w->port, make_page, w, &err), KPEER_EINVAL);
    assert_null(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_cut_and_altered),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test_setup_teardown(test_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large_page, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_much_is_said, setup, teardown),
        cmocka_unit_test_setup_teardown(test_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_crowd, setup, teardown),
        cmocka_unit_test_setup_teardown(test_addresses, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
