/* Two and three transports in one process over loopback: who gets in, who is told as sender, what is noticed.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <sodium.h>

#include "peer/agent/loop.h"
#include "peer/agent/transport.h"
#include "protocol/clock.h"
#include "tests/unit/under_valgrind.h"

#define WAIT_MS 10000

struct end {
    struct identity *id;
    struct transport *t;
    uint16_t port;
    unsigned messages, downs, refusals;
    struct peer_id from, lost, refused;
    size_t last_bytes;
    char last[64];
};

static void on_message(void *ctx, const struct peer_id *peer, const uint8_t *bytes, size_t n)
{
    struct end *e = ctx;
    e->messages++;
    e->from = *peer;
    e->last_bytes = n;
    memcpy(e->last, bytes, n < sizeof e->last ? n : sizeof e->last);
}

static void on_down(void *ctx, const struct peer_id *peer)
{
    struct end *e = ctx;
    e->downs++;
    e->lost = *peer;
}

static void on_refused(void *ctx, const struct peer_id *peer)
{
    struct end *e = ctx;
    e->refusals++;
    e->refused = *peer;
}

static const struct transport_callbacks callbacks = {
    .message = on_message, .link_down = on_down, .refused = on_refused};

static uint16_t free_port(void)
{
    struct sockaddr_in sa = {.sin_family = AF_INET};
    socklen_t n = sizeof sa;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &n), 0);
    close(fd);
    return ntohs(sa.sin_port);
}

static void end_open(struct end *e, uint8_t seed_byte)
{
    uint8_t seed[IDENTITY_SEED_BYTES];
    struct err err = {0};
    *e = (struct end){.port = free_port()};
    memset(seed, seed_byte, sizeof seed);
    assert_int_equal(identity_new(&e->id, seed, &err), 0);
    if (transport_open(&e->t, e->id, e->port, &callbacks, e, &err))
        fail_msg("%s", err.text);
    (void)transport_tick(e->t, clock_ms());
}

static void end_close(struct end *e)
{
    transport_close(e->t);
    identity_free(e->id);
}

static void link_to(struct end *from, const struct end *to)
{
    assert_int_equal(transport_link(from->t, &to->id->id, "127.0.0.1", to->port, to->id->box_pk, true, NULL),
                     0);
}

/* Serves all ends until `*counter` reaches `want` or the time is over; true when it did. */
static bool serve_until(struct end **ends, size_t n, const void *counter, uint64_t want, size_t bytes,
                        uint64_t ms)
{
    uint64_t end_ms = clock_ms() + ms;
    struct pollfd items[24 * TRANSPORT_ITEMS];
    for (;;) {
        uint64_t value = 0;
        memcpy(&value, counter, bytes);
        if (value >= want)
            return true;
        if (clock_ms() >= end_ms)
            return false;
        size_t count = 0;
        bool due = false;
        for (size_t i = 0; i < n; i++) {
            transport_items(ends[i]->t, items + count);
            due |= transport_due(ends[i]->t);
            count += TRANSPORT_ITEMS;
        }
        poll(items, count, due ? 0 : 20);
        for (size_t i = 0, at = 0; i < n; i++) {
            transport_ready(ends[i]->t, items + at, clock_ms());
            transport_tick(ends[i]->t, clock_ms());
            at += TRANSPORT_ITEMS;
        }
    }
}

static bool serve_messages(struct end **ends, size_t n, const struct end *at, unsigned want, uint64_t ms)
{
    return serve_until(ends, n, &at->messages, want, sizeof at->messages, ms);
}

static void test_admitted_passes_with_its_name(void **state)
{
    struct end a, b, *ends[] = {&a, &b};
    (void)state;
    end_open(&a, 1);
    end_open(&b, 2);
    link_to(&a, &b);
    link_to(&b, &a);
    assert_int_equal(transport_send(a.t, &b.id->id, (const uint8_t *)"hello", 5), 0);
    assert_true(serve_messages(ends, 2, &b, 1, WAIT_MS));
    assert_true(peer_id_equal(&b.from, &a.id->id));
    assert_int_equal(b.last_bytes, 5);
    assert_memory_equal(b.last, "hello", 5);
    assert_int_equal(transport_send(b.t, &a.id->id, (const uint8_t *)"back", 4), 0);
    assert_true(serve_messages(ends, 2, &a, 1, WAIT_MS));
    assert_true(peer_id_equal(&a.from, &b.id->id));
    end_close(&a);
    end_close(&b);
}

static void test_unknown_key_is_refused_until_admitted(void **state)
{
    struct end a, b, *ends[] = {&a, &b};
    (void)state;
    end_open(&a, 3);
    end_open(&b, 4);
    link_to(&a, &b);
    assert_int_equal(transport_send(a.t, &b.id->id, (const uint8_t *)"let me in", 9), 0);
    assert_true(serve_until(ends, 2, &transport_stats(b.t)->refused, 1, sizeof(uint64_t), WAIT_MS));
    assert_int_equal(b.messages, 0);
    /* b hears a's beacon at last: the message that waited comes through. */
    link_to(&b, &a);
    assert_true(serve_messages(ends, 2, &b, 1, WAIT_MS));
    assert_memory_equal(b.last, "let me in", 9);
    end_close(&a);
    end_close(&b);
}

/* Its beacon comes right behind its call: the first handshake succeeds. */
static void test_who_calls_before_it_is_known(void **state)
{
    struct end a, b, *ends[] = {&a, &b};
    (void)state;
    end_open(&a, 3);
    end_open(&b, 4);
    link_to(&a, &b);
    assert_int_equal(transport_send(a.t, &b.id->id, (const uint8_t *)"soon", 4), 0);
    assert_false(serve_messages(ends, 2, &b, 1, 400));
    link_to(&b, &a);
    assert_true(serve_messages(ends, 2, &b, 1, WAIT_MS));
    assert_int_equal(transport_stats(b.t)->refused, 0);
    assert_true(transport_stats(a.t)->handshakes == 1 && transport_stats(a.t)->handshakes_failed == 0);
    end_close(&a);
    end_close(&b);
}

/* More of them than answers are kept: the first are let in when they are linked, the rest tries again. */
static void test_many_call_before_they_are_known(void **state)
{
    enum { CALLERS = 16 + 4 };
    static struct end end[CALLERS + 1];
    struct end *ends[CALLERS + 1], *b = &end[CALLERS];
    (void)state;
    if (under_valgrind())
        skip(); /* so many handshakes at once take longer than libzmq gives one */
    for (size_t i = 0; i <= CALLERS; i++) {
        end_open(&end[i], (uint8_t)(40 + i));
        ends[i] = &end[i];
    }
    for (size_t i = 0; i < CALLERS; i++) {
        link_to(&end[i], b);
        assert_int_equal(transport_send(end[i].t, &b->id->id, (const uint8_t *)"x", 1), 0);
    }
    (void)serve_messages(ends, CALLERS + 1, b, 1, 300);
    for (size_t i = 0; i < CALLERS; i++)
        link_to(b, &end[i]);
    assert_true(serve_messages(ends, CALLERS + 1, b, CALLERS, 2 * WAIT_MS));
    for (size_t i = 0; i <= CALLERS; i++)
        end_close(&end[i]);
}

static void test_unlinked_is_heard_no_more(void **state)
{
    struct end a, b, *ends[] = {&a, &b};
    (void)state;
    end_open(&a, 5);
    end_open(&b, 6);
    link_to(&a, &b);
    link_to(&b, &a);
    assert_int_equal(transport_send(a.t, &b.id->id, (const uint8_t *)"1", 1), 0);
    assert_true(serve_messages(ends, 2, &b, 1, WAIT_MS));
    transport_unlink(b.t, &a.id->id);
    assert_int_equal(transport_send(a.t, &b.id->id, (const uint8_t *)"2", 1), 0);
    assert_false(serve_messages(ends, 2, &b, 2, 300));
    /* Over the connection that it has, or asking for another one. */
    assert_int_equal(transport_send(a.t, &b.id->id, (const uint8_t *)"2", 1), 0);
    assert_false(serve_messages(ends, 2, &b, 2, 3000));
    assert_true(transport_stats(b.t)->unlinked + transport_stats(b.t)->refused > 0);
    assert_int_equal(transport_send(b.t, &a.id->id, (const uint8_t *)"3", 1), KPEER_ENOTFOUND);
    assert_int_equal(transport_stats(b.t)->dropped, 1);
    end_close(&a);
    end_close(&b);
}

static void test_link_down_is_noticed_and_mended(void **state)
{
    struct end a, b, *both[] = {&a, &b}, *alone[] = {&a};
    (void)state;
    end_open(&a, 7);
    end_open(&b, 8);
    link_to(&a, &b);
    link_to(&b, &a);
    assert_int_equal(transport_send(a.t, &b.id->id, (const uint8_t *)"x", 1), 0);
    assert_true(serve_messages(both, 2, &b, 1, WAIT_MS));
    transport_close(b.t);
    uint64_t start_ms = clock_ms();
    assert_true(serve_until(alone, 1, &a.downs, 1, sizeof a.downs, WAIT_MS));
    assert_true(clock_ms() - start_ms < 1500);
    assert_true(peer_id_equal(&a.lost, &b.id->id));
    assert_int_equal(transport_open(&b.t, b.id, b.port, &callbacks, &b, NULL), 0);
    link_to(&b, &a);
    assert_int_equal(transport_send(a.t, &b.id->id, (const uint8_t *)"y", 1), 0);
    assert_true(serve_messages(both, 2, &b, 2, WAIT_MS));
    end_close(&a);
    end_close(&b);
}

/* Whichever of them called the other: one connection serves both, and both see it close. */
static void test_one_connection_serves_both(void **state)
{
    (void)state;
    for (uint8_t first = 0; first < 2; first++) {
        struct end end[2], *both[] = {&end[0], &end[1]};
        end_open(&end[0], 20);
        end_open(&end[1], 21);
        struct end *stays = &end[first], *goes = &end[!first], *alone[] = {stays};
        link_to(stays, goes);
        link_to(goes, stays);
        assert_int_equal(transport_send(stays->t, &goes->id->id, (const uint8_t *)"a", 1), 0);
        assert_int_equal(transport_send(goes->t, &stays->id->id, (const uint8_t *)"b", 1), 0);
        assert_true(serve_messages(both, 2, stays, 1, WAIT_MS));
        assert_true(serve_messages(both, 2, goes, 1, WAIT_MS));
        (void)serve_until(both, 2, &stays->downs, 1, sizeof stays->downs, 400);
        assert_int_equal(transport_stats(stays->t)->handshakes + transport_stats(goes->t)->handshakes, 1);
        transport_close(goes->t);
        assert_true(serve_until(alone, 1, &stays->downs, 1, sizeof stays->downs, 1000));
        assert_true(peer_id_equal(&stays->lost, &goes->id->id));
        transport_knock(stays->t, &goes->id->id);
        assert_true(serve_until(alone, 1, &stays->refusals, 1, sizeof stays->refusals, 1000));
        assert_true(peer_id_equal(&stays->refused, &goes->id->id));
        identity_free(goes->id);
        end_close(stays);
    }
}

/* A peer that is there refuses nothing, and one that nothing is known of is not asked. */
static void test_who_listens_is_not_refused(void **state)
{
    struct end a, b, *ends[] = {&a, &b};
    (void)state;
    end_open(&a, 22);
    end_open(&b, 23);
    transport_knock(a.t, &b.id->id);
    link_to(&a, &b);
    transport_knock(a.t, &b.id->id);
    assert_false(serve_until(ends, 2, &a.refusals, 1, sizeof a.refusals, 500));
    end_close(&a);
    end_close(&b);
}

/* Another peer at the address of one: the one that was told last is reached there, and stays so when the
 * other goes. */
static void test_an_address_that_changes_hands(void **state)
{
    struct end a, b, *ends[] = {&a, &b};
    struct peer_id gone = {{0}};
    uint8_t key[BOX_PK_BYTES] = {9};
    (void)state;
    end_open(&a, 25);
    end_open(&b, 24);
    link_to(&b, &a);
    assert_int_equal(transport_link(a.t, &gone, "127.0.0.1", b.port, key, true, NULL), 0);
    assert_int_equal(transport_send(a.t, &gone, (const uint8_t *)"x", 1), 0);
    link_to(&a, &b);
    assert_int_equal(transport_send(a.t, &b.id->id, (const uint8_t *)"1", 1), 0);
    assert_true(serve_messages(ends, 2, &b, 1, WAIT_MS));
    (void)transport_send(a.t, &gone, (const uint8_t *)"x", 1);
    assert_false(serve_messages(ends, 2, &b, 2, 1500));
    transport_unlink(a.t, &gone);
    assert_int_equal(transport_send(a.t, &b.id->id, (const uint8_t *)"2", 1), 0);
    assert_true(serve_messages(ends, 2, &b, 2, WAIT_MS));
    end_close(&a);
    end_close(&b);
}

static void test_wrong_server_key_gives_no_link(void **state)
{
    struct end a, b, *ends[] = {&a, &b};
    uint8_t wrong[BOX_PK_BYTES];
    (void)state;
    end_open(&a, 9);
    end_open(&b, 10);
    randombytes_buf(wrong, sizeof wrong);
    link_to(&b, &a);
    assert_int_equal(transport_link(a.t, &b.id->id, "127.0.0.1", b.port, wrong, true, NULL), 0);
    assert_int_equal(transport_send(a.t, &b.id->id, (const uint8_t *)"x", 1), 0);
    assert_false(serve_messages(ends, 2, &b, 1, 700));
    /* The right key (the peer has a new identity) mends it. */
    link_to(&a, &b);
    assert_int_equal(transport_send(a.t, &b.id->id, (const uint8_t *)"x", 1), 0);
    assert_true(serve_messages(ends, 2, &b, 1, WAIT_MS));
    end_close(&a);
    end_close(&b);
}

static void test_size_limits(void **state)
{
    struct end a, b, *ends[] = {&a, &b};
    (void)state;
    end_open(&a, 11);
    end_open(&b, 12);
    link_to(&a, &b);
    link_to(&b, &a);
    uint8_t *big = calloc(1, TRANSPORT_MESSAGE_MAX + 1);
    assert_non_null(big);
    assert_int_equal(transport_send(a.t, &b.id->id, big, TRANSPORT_MESSAGE_MAX + 1), KPEER_ELIMIT);
    assert_int_equal(transport_send(a.t, &b.id->id, big, TRANSPORT_MESSAGE_MAX), 0);
    assert_true(serve_messages(ends, 2, &b, 1, WAIT_MS));
    assert_int_equal(b.last_bytes, TRANSPORT_MESSAGE_MAX);
    free(big);
    end_close(&a);
    end_close(&b);
}

static void test_full_queue_drops(void **state)
{
    struct end a;
    struct peer_id nobody = {{1}};
    uint8_t key[BOX_PK_BYTES] = {9};
    (void)state;
    end_open(&a, 13);
    assert_int_equal(transport_link(a.t, &nobody, "127.0.0.1", 1, key, true, NULL), 0);
    for (int i = 0; i < 5000; i++)
        (void)transport_send(a.t, &nobody, (const uint8_t *)"x", 1);
    assert_true(transport_stats(a.t)->dropped > 4000);
    end_close(&a);
}

/* A connection from an address of the loopback interface, that says nothing. */
static int knock(const struct end *to, const char *from)
{
    struct sockaddr_in sa = {.sin_family = AF_INET}, own = {.sin_family = AF_INET};
    sa.sin_port = htons(to->port);
    inet_pton(AF_INET, "127.0.0.1", &sa.sin_addr);
    inet_pton(AF_INET, from, &own.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&own, sizeof own), 0);
    (void)connect(fd, (struct sockaddr *)&sa, sizeof sa);
    return fd;
}

/* Who connects and says nothing is shut out as soon as it is too many, and members talk on. */
static void test_strangers_are_bounded(void **state)
{
    enum { KNOCKS = 300 };
    struct end a, b, *ends[] = {&a, &b};
    int fd[KNOCKS];
    char from[16];
    (void)state;
    end_open(&a, 14);
    end_open(&b, 15);
    link_to(&b, &a);
    for (unsigned i = 0; i < KNOCKS; i++) {
        snprintf(from, sizeof from, "127.0.2.%u", 1 + i % 100);
        fd[i] = knock(&b, from);
        (void)serve_until(ends, 2, &b.messages, 1, sizeof b.messages, i % 20 ? 0 : 20);
    }
    assert_true(serve_until(ends, 2, &transport_stats(b.t)->shut, 1, sizeof(uint64_t), WAIT_MS));
    assert_true(transport_stats(b.t)->members_only);
    link_to(&a, &b);
    assert_int_equal(transport_send(a.t, &b.id->id, (const uint8_t *)"in", 2), 0);
    assert_true(serve_messages(ends, 2, &b, 1, WAIT_MS));
    for (unsigned i = 0; i < KNOCKS; i++)
        close(fd[i]);
    end_close(&a);
    end_close(&b);
}

static void test_taken_port_says_so(void **state)
{
    struct end a;
    struct transport *second = NULL;
    struct err err = {0};
    (void)state;
    end_open(&a, 14);
    assert_int_equal(transport_open(&second, a.id, a.port, &callbacks, &a, &err), KPEER_EIO);
    assert_non_null(strstr(err.text, "port"));
    assert_true(err.hint[0]);
    assert_null(second);
    end_close(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_admitted_passes_with_its_name),
        cmocka_unit_test(test_unknown_key_is_refused_until_admitted),
        cmocka_unit_test(test_who_calls_before_it_is_known),
        cmocka_unit_test(test_many_call_before_they_are_known),
        cmocka_unit_test(test_unlinked_is_heard_no_more),
        cmocka_unit_test(test_link_down_is_noticed_and_mended),
        cmocka_unit_test(test_one_connection_serves_both),
        cmocka_unit_test(test_who_listens_is_not_refused),
        cmocka_unit_test(test_an_address_that_changes_hands),
        cmocka_unit_test(test_wrong_server_key_gives_no_link),
        cmocka_unit_test(test_size_limits),
        cmocka_unit_test(test_full_queue_drops),
        cmocka_unit_test(test_strangers_are_bounded),
        cmocka_unit_test(test_taken_port_says_so),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
