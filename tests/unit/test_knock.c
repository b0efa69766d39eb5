/* Knocking at ports of loopback: who is refused, and when an answer is none. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "peer/agent/knock.h"
#include "protocol/clock.h"

static const struct peer_id peer = {{7}};
static unsigned refusals;

static void on_refused(void *ctx, const struct peer_id *who)
{
    (void)ctx;
    assert_true(peer_id_equal(who, &peer));
    refusals++;
}

static struct knocks *open_knocks(void)
{
    struct knocks *k = NULL;
    refusals = 0;
    assert_int_equal(knocks_new(&k, on_refused, NULL, NULL), 0);
    return k;
}

static int listen_somewhere(uint16_t *port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof sa;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &n), 0);
    *port = ntohs(sa.sin_port);
    return fd;
}

/* Serves until there was a refusal, or the time is over. */
static bool serve(struct knocks *k, uint64_t ms)
{
    uint64_t end_ms = clock_ms() + ms;
    while (!refusals && clock_ms() < end_ms) {
        struct pollfd p = {.fd = knocks_fd(k), .events = POLLIN};
        (void)poll(&p, 1, 10);
        knocks_serve(k, clock_ms());
    }
    return refusals > 0;
}

static void test_nobody_listens(void **state)
{
    uint16_t port;
    struct knocks *k = open_knocks();
    (void)state;
    close(listen_somewhere(&port));
    knock(k, &peer, htonl(INADDR_LOOPBACK), port, clock_ms());
    assert_true(serve(k, 5000));
    assert_int_equal(refusals, 1);
    knocks_free(k);
}

/* The kernel takes a connection for a process that is about to end, and resets it then. */
static void test_the_process_ends_meanwhile(void **state)
{
    uint16_t port;
    struct knocks *k = open_knocks();
    (void)state;
    int fd = listen_somewhere(&port);
    knock(k, &peer, htonl(INADDR_LOOPBACK), port, clock_ms());
    assert_false(serve(k, 100));
    close(fd);
    assert_true(serve(k, 800));
    knocks_free(k);
}

/* Who lives says something; who hangs says nothing, and is not refused for that. */
static void test_somebody_listens(void **state)
{
    uint16_t port;
    struct knocks *k = open_knocks();
    (void)state;
    int fd = listen_somewhere(&port);
    knock(k, &peer, htonl(INADDR_LOOPBACK), port, clock_ms());
    int guest = accept(fd, NULL, NULL);
    assert_true(guest >= 0);
    assert_int_equal(send(guest, "hello", 5, MSG_NOSIGNAL), 5);
    assert_false(serve(k, 100));
    char byte;
    assert_true(recv(guest, &byte, 1, 0) <= 0); /* the knock is over */
    close(guest);
    knock(k, &peer, htonl(INADDR_LOOPBACK), port, clock_ms());
    assert_false(serve(k, 100));
    close(fd); /* … which comes too late */
    knocks_serve(k, clock_ms() + 10000);
    assert_int_equal(refusals, 0);
    knocks_free(k);
}

/* A host that resets each connection is asked a few times, and then left alone. */
static void test_it_ends(void **state)
{
    uint16_t port;
    struct knocks *k = open_knocks();
    struct linger hard = {.l_onoff = 1};
    unsigned guests = 0;
    (void)state;
    int fd = listen_somewhere(&port);
    knock(k, &peer, htonl(INADDR_LOOPBACK), port, clock_ms());
    for (struct pollfd p = {.fd = fd, .events = POLLIN}; poll(&p, 1, 200) > 0; guests++) {
        int guest = accept(fd, NULL, NULL);
        assert_true(guest >= 0);
        assert_int_equal(setsockopt(guest, SOL_SOCKET, SO_LINGER, &hard, sizeof hard), 0);
        close(guest);
        assert_true(guests < 100);
        (void)serve(k, 50);
    }
    assert_true(guests > 1);
    assert_int_equal(refusals, 0);
    close(fd);
    knocks_free(k);
}

/* More than there is room for are left out, and room is made again by time. */
static void test_many(void **state)
{
    uint16_t port;
    struct knocks *k = open_knocks();
    (void)state;
    int fd = listen_somewhere(&port);
    for (uint8_t i = 0; i < KNOCKS_MAX + 4; i++)
        knock(k, &(struct peer_id){{100, i}}, htonl(INADDR_LOOPBACK), port, clock_ms());
    knock(k, &peer, 0, 1, clock_ms()); /* an address that is none */
    knock(k, &peer, htonl(INADDR_LOOPBACK), 1, clock_ms());
    assert_false(serve(k, 100));
    knock(k, &peer, htonl(INADDR_LOOPBACK), 1, clock_ms() + 5000);
    assert_true(serve(k, 5000));
    knocks_free(k);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_the_process_ends_meanwhile),
        cmocka_unit_test(test_somebody_listens),
        cmocka_unit_test(test_it_ends),
        cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
