/* The sockets of a survey, on addresses of the loopback interface: who listens is reached, who does not is
 * not, and nobody else passes for a listener. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <arpa/inet.h>
#include <poll.h>
#include <sodium.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "discovery/reach.h"
#include "protocol/mem.h"

#define ENDS     3
#define LIMIT_MS 1500

static struct side {
    struct reach *reach;
    struct reach_host self;
    struct reach_report told;
    size_t reports;
} side[ENDS];

static uint64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void on_report(void *ctx, const struct reach_report *report)
{
    struct side *s = ctx;
    s->told = *report;
    s->reports++;
}

static void run_until(size_t reports)
{
    for (uint64_t end = now_ms() + 10000; now_ms() < end;) {
        struct pollfd p[ENDS];
        size_t done = 0;
        uint64_t wake = now_ms() + 100;
        for (size_t i = 0; i < ENDS; i++) {
            uint64_t at = reach_tick(side[i].reach, now_ms());
            wake = at < wake ? at : wake;
            p[i] = (struct pollfd){.fd = reach_fd(side[i].reach), .events = POLLIN};
            done += side[i].reports == reports;
        }
        if (done == ENDS)
            return;
        poll(p, ENDS, wake > now_ms() ? (int)(wake - now_ms()) : 0);
        for (size_t i = 0; i < ENDS; i++)
            if (p[i].revents)
                reach_readable(side[i].reach, now_ms());
    }
    fail_msg("no report in time");
}

static struct reach_order order_of(size_t i, enum reach_what what)
{
    struct reach_order o = {.what = what, .survey = 9, .key = {1}, .limit_ms = LIMIT_MS};
    o.me = side[i].self.id;
    memcpy(o.address, side[i].self.address, sizeof o.address);
    strcpy(o.interface, "lo");
    o.mtu = side[i].told.mtu;
    o.count = ENDS - 1;
    for (size_t d = 0; d < o.count; d++) {
        o.next[d] = side[(i + 1 + d) % ENDS].self;
        o.before[d] = side[(i + ENDS - 1 - d) % ENDS].self;
    }
    return o;
}

static void do_all(enum reach_what what)
{
    for (size_t i = 0; i < ENDS; i++) {
        struct reach_order o = order_of(i, what);
        reach_do(side[i].reach, &o, now_ms());
    }
}

static int open_all(void **state)
{
    (void)state;
    memset(side, 0, sizeof side);
    for (size_t i = 0; i < ENDS; i++) {
        assert_int_equal(reach_new(&side[i].reach, on_report, &side[i], NULL), 0);
        side[i].self.id.b[0] = (uint8_t)(i + 1);
        snprintf(side[i].self.address, sizeof side[i].self.address, "127.7.73.%zu", i + 1);
    }
    do_all(REACH_OPEN);
    run_until(1);
    for (size_t i = 0; i < ENDS; i++) {
        side[i].self.mtu = side[i].told.mtu;
        memcpy(side[i].self.listen, side[i].told.listen, sizeof side[i].self.listen);
    }
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    for (size_t i = 0; i < ENDS; i++)
        reach_free(side[i].reach);
    return 0;
}

static void test_all_reach_all(void **state)
{
    (void)state;
    uint64_t began = now_ms();
    do_all(REACH_TRY);
    run_until(2);
    assert_true(now_ms() - began < LIMIT_MS); /* nobody waits for the limit when all is there */
    for (size_t i = 0; i < ENDS; i++) {
        assert_int_equal(side[i].told.what, REACH_TRY);
        for (size_t d = 0; d < ENDS - 1; d++) {
            for (unsigned p = 0; p < SURVEY_TCP_PORTS; p++)
                assert_int_equal(side[i].told.seen.tcp[d][p], REACH_OK);
            if (side[i].self.listen[SURVEY_UDP] == LISTEN_OURS)
                assert_int_equal(side[i].told.seen.heard[d], side[i].self.mtu);
        }
    }
    do_all(REACH_CLOSE);
    run_until(2);
}

static void test_who_closed_is_not_reached(void **state)
{
    (void)state;
    struct reach_order o = order_of(2, REACH_CLOSE);
    reach_do(side[2].reach, &o, now_ms());
    for (size_t i = 0; i < 2; i++) {
        o = order_of(i, REACH_TRY);
        reach_do(side[i].reach, &o, now_ms());
    }
    side[2].reports = 2; /* it owes no report */
    run_until(2);
    assert_int_equal(side[1].told.seen.tcp[0][0], REACH_REFUSED);
    assert_int_equal(side[0].told.seen.tcp[1][0], REACH_REFUSED);
    assert_int_equal(side[0].told.seen.tcp[0][0], REACH_OK);
    assert_int_equal(side[1].told.seen.heard[1], 0);
    assert_int_equal(side[0].told.seen.heard[0], 0);
}

/* Somebody listens there who does not know the key. */
static void test_another_answers(void **state)
{
    (void)state;
    struct reach_order o = order_of(2, REACH_OPEN);
    o.key[0] = 2;
    reach_do(side[2].reach, &o, now_ms());
    o = order_of(1, REACH_TRY);
    reach_do(side[1].reach, &o, now_ms());
    side[0].reports = 2; /* it is not asked */
    run_until(2);
    if (side[2].self.listen[1] == LISTEN_OURS)
        assert_int_equal(side[1].told.seen.tcp[0][1], REACH_OTHER);
    assert_int_equal(side[1].told.seen.tcp[1][1], REACH_OK);
}

static void test_strangers_datagrams_are_nothing(void **state)
{
    (void)state;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(survey_port[SURVEY_UDP])};
    uint8_t junk[1400] = {0};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    inet_pton(AF_INET, side[0].self.address, &to.sin_addr);
    memcpy(junk + 16, side[1].self.id.b, PEER_ID_BYTES); /* it says it is another */
    junk[32] = (sizeof junk + 28) >> 8;
    junk[33] = (sizeof junk + 28) & 255;
    assert_int_equal(sendto(fd, junk, sizeof junk, 0, (struct sockaddr *)&to, sizeof to), sizeof junk);
    close(fd);
    struct reach_order o = order_of(0, REACH_TRY);
    reach_do(side[0].reach, &o, now_ms());
    side[1].reports = side[2].reports = 2;
    run_until(2);
    assert_int_equal(side[0].told.seen.heard[0], 0);
    assert_int_equal(side[0].told.seen.heard[1], 0);
}

static void test_orders_out_of_turn(void **state)
{
    (void)state;
    struct reach_order o = order_of(0, REACH_TRY);
    o.survey = 10; /* of another survey */
    reach_do(side[0].reach, &o, now_ms());
    assert_true(reach_tick(side[0].reach, now_ms() + 10 * LIMIT_MS) == UINT64_MAX);
    o.survey = 9;
    o.count = SURVEY_SPREAD + 1;
    reach_do(side[0].reach, &o, now_ms());
    assert_true(reach_tick(side[0].reach, now_ms() + 10 * LIMIT_MS) == UINT64_MAX);
    assert_int_equal(side[0].reports, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_all_reach_all, open_all, close_all),
        cmocka_unit_test_setup_teardown(test_who_closed_is_not_reached, open_all, close_all),
        cmocka_unit_test_setup_teardown(test_another_answers, open_all, close_all),
        cmocka_unit_test_setup_teardown(test_strangers_datagrams_are_nothing, open_all, close_all),
        cmocka_unit_test_setup_teardown(test_orders_out_of_turn, open_all, close_all),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
