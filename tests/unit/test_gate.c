/* How many may connect: counted by address and in all, and turned away by the kernel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer/agent/gate.h"

static struct gate *gate;
static struct gate_rule rule;

static int setup(void **state)
{
    (void)state;
    return gate_new(&gate, NULL);
}

static int teardown(void **state)
{
    (void)state;
    gate_free(gate);
    return 0;
}

static uint32_t address(unsigned n)
{
    return htonl(0xc0a83800u + n);
}

static void test_peace_has_no_rule(void **state)
{
    size_t strangers = 0;
    (void)state;
    for (int i = 0; i < 50; i++)
        gate_accepted(gate, 10 + i, address(1 + (unsigned)i), i % 2, 1000);
    assert_false(gate_rule(gate, 1000, &rule));
    assert_false(rule.members_only);
    assert_int_equal(rule.shut_count, 0);
    assert_int_equal(gate_open(gate, &strangers), 50);
    assert_int_equal(strangers, 25);
    assert_true(gate_wake(gate, 1000) == UINT64_MAX);
}

static void test_an_address_that_holds_too_many(void **state)
{
    (void)state;
    for (int i = 0; i < GATE_SOURCE_OPEN; i++)
        gate_accepted(gate, 10 + i, address(7), true, 1000);
    assert_true(gate_rule(gate, 1000, &rule));
    assert_false(rule.members_only);
    assert_int_equal(rule.shut_count, 1);
    assert_int_equal(rule.begun, 1);
    assert_int_equal(rule.shut[0], address(7));
    assert_true(gate_wake(gate, 1000) > 1000 && gate_wake(gate, 1000) < 2000);
    /* Not for one that ends, but when half of them have. */
    gate_closed(gate, 10);
    assert_false(gate_rule(gate, 60000, &rule));
    assert_int_equal(rule.shut_count, 1);
    assert_int_equal(rule.begun, 0);
    for (int i = 1; i < GATE_SOURCE_OPEN / 2; i++)
        gate_closed(gate, 10 + i);
    assert_true(gate_rule(gate, 60000, &rule));
    assert_int_equal(rule.shut_count, 0);
}

static void test_an_address_that_comes_too_often(void **state)
{
    (void)state;
    for (int i = 0; i < GATE_SOURCE_BURST; i++) {
        gate_accepted(gate, 10, address(7), false, 1000);
        gate_closed(gate, 10);
    }
    assert_int_equal(gate_open(gate, NULL), 0);
    assert_true(gate_rule(gate, 1000, &rule));
    assert_int_equal(rule.shut_count, 1);
    assert_false(gate_rule(gate, 1500, &rule));
    uint64_t half_ms = 1000 * GATE_SOURCE_BURST / 2 / GATE_SOURCE_PER_SECOND;
    assert_true(gate_rule(gate, 1000 + half_ms, &rule));
    assert_int_equal(rule.shut_count, 0);
}

static void test_strangers_in_all(void **state)
{
    (void)state;
    for (int i = 0; i < GATE_STRANGERS_OPEN; i++)
        gate_accepted(gate, 10 + i, address(1 + (unsigned)i), false, 1000);
    assert_true(gate_rule(gate, 1000, &rule));
    assert_true(rule.members_only);
    assert_int_equal(rule.begun, 1);
    assert_int_equal(rule.shut_count, 0);
    for (int i = 0; i < GATE_STRANGERS_OPEN; i++)
        gate_closed(gate, 10 + i);
    assert_true(gate_rule(gate, 2000, &rule));
    assert_false(rule.members_only);
}

/* More addresses than are kept: what cannot be counted by address counts in all. */
static void test_many_addresses_are_bounded(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4 * GATE_SOURCES_MAX; i++) {
        gate_accepted(gate, 10, htonl(0x0a000000u + i), false, 1000);
        gate_closed(gate, 10);
    }
    assert_true(gate_rule(gate, 1000, &rule));
    assert_true(rule.members_only);
    /* They are forgotten, and room is for others. */
    assert_true(gate_rule(gate, 100000, &rule));
    assert_false(rule.members_only);
    for (int i = 0; i < GATE_SOURCE_OPEN; i++)
        gate_accepted(gate, 10 + i, address(9), true, 100000);
    assert_true(gate_rule(gate, 100000, &rule));
    assert_int_equal(rule.shut_count, 1);
}

static void test_odd_descriptors(void **state)
{
    (void)state;
    gate_closed(gate, -1);
    gate_closed(gate, 12345);
    gate_accepted(gate, -1, address(1), false, 0);
    gate_accepted(gate, INT32_MAX, address(1), false, 0);
    assert_int_equal(gate_open(gate, NULL), 0);
    /* The end of the first was not told: it is the same descriptor. */
    gate_accepted(gate, 5, 0, false, 0);
    gate_accepted(gate, 5, address(2), true, 0);
    assert_int_equal(gate_open(gate, NULL), 1);
    gate_closed(gate, 5);
    gate_closed(gate, 5);
    assert_int_equal(gate_open(gate, NULL), 0);
}

/* ---- the kernel's part ---- */

/* Whether a connection from this address of the loopback interface comes through. */
static bool connects(int listener, const char *from)
{
    struct sockaddr_in to, own = {.sin_family = AF_INET};
    socklen_t n = sizeof to;
    assert_int_equal(getsockname(listener, (struct sockaddr *)&to, &n), 0);
    assert_int_equal(inet_pton(AF_INET, "127.0.0.1", &to.sin_addr), 1);
    assert_int_equal(inet_pton(AF_INET, from, &own.sin_addr), 1);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&own, sizeof own), 0);
    (void)connect(fd, (struct sockaddr *)&to, sizeof to);
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    bool up = poll(&p, 1, 200) == 1 && !(p.revents & (POLLERR | POLLHUP));
    if (up) {
        int got = accept(listener, NULL, NULL);
        assert_true(got >= 0);
        assert_int_equal(gate_address(got), own.sin_addr.s_addr);
        close(got);
    }
    close(fd);
    return up;
}

static void test_filter(void **state)
{
    int fd = -1;
    uint32_t members[] = {inet_addr("127.0.0.3"), inet_addr("127.0.0.4")};
    (void)state;
    assert_int_equal(gate_listen(0, 16, &fd, NULL), 0);
    rule = (struct gate_rule){0};
    assert_int_equal(gate_filter(fd, &rule, NULL, 0), 0);
    assert_true(connects(fd, "127.0.0.2"));
    rule = (struct gate_rule){.shut_count = 1, .shut = {inet_addr("127.0.0.2")}};
    assert_int_equal(gate_filter(fd, &rule, NULL, 0), 0);
    assert_false(connects(fd, "127.0.0.2"));
    assert_true(connects(fd, "127.0.0.3"));
    rule = (struct gate_rule){.members_only = true, .shut_count = 1, .shut = {inet_addr("127.0.0.4")}};
    assert_int_equal(gate_filter(fd, &rule, members, 2), 0);
    assert_false(connects(fd, "127.0.0.2"));
    assert_true(connects(fd, "127.0.0.3"));
    assert_false(connects(fd, "127.0.0.4"));
    rule = (struct gate_rule){0};
    assert_int_equal(gate_filter(fd, &rule, members, 2), 0);
    assert_true(connects(fd, "127.0.0.2"));
    close(fd);
}

static void test_the_longest_filter(void **state)
{
    static uint32_t members[GATE_MEMBERS_MAX];
    int fd = -1;
    (void)state;
    for (unsigned i = 0; i < GATE_MEMBERS_MAX; i++)
        members[i] = htonl(0x0a000000u + i);
    members[GATE_MEMBERS_MAX - 1] = inet_addr("127.0.0.9");
    rule = (struct gate_rule){.members_only = true, .shut_count = GATE_SOURCES_MAX};
    for (unsigned i = 0; i < GATE_SOURCES_MAX; i++)
        rule.shut[i] = htonl(0x0b000000u + i);
    assert_int_equal(gate_listen(0, 16, &fd, NULL), 0);
    assert_int_equal(gate_filter(fd, &rule, members, GATE_MEMBERS_MAX), 0);
    assert_true(connects(fd, "127.0.0.9"));
    assert_false(connects(fd, "127.0.0.2"));
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_peace_has_no_rule, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_address_that_holds_too_many, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_address_that_comes_too_often, setup, teardown),
        cmocka_unit_test_setup_teardown(test_strangers_in_all, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_addresses_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_odd_descriptors, setup, teardown),
        cmocka_unit_test(test_filter),
        cmocka_unit_test(test_the_longest_filter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
