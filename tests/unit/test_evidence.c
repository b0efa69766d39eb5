/* Which address is proven, on hosts like VirtualBox's: eth0 is NAT with 10.0.2.15 everywhere, eth1 is
 * host-only. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "discovery/evidence.h"

#define BEAT     1000
#define ETH0     2
#define ETH1     3
#define INSTANCE 0x1111111122222222ULL

struct fixture {
    struct evidence *ev;
    uint64_t now;
    uint64_t counter;
    uint32_t next_ms; /* what beacons promise; 0: nothing */
};

static struct address ip(const char *text)
{
    struct address a;
    assert_int_equal(address_parse(text, &a), 0);
    return a;
}

static struct peer_id peer(uint8_t n)
{
    return (struct peer_id){{n}};
}

static struct evidence_place place(uint32_t index, const char *name, const char *cidr)
{
    struct evidence_place p = {.index = index};
    snprintf(p.name, sizeof p.name, "%s", name);
    assert_int_equal(network_parse(cidr, &p.net, NULL), 0);
    return p;
}

static void open_with(struct fixture *f, const struct evidence_pin *pin)
{
    const struct peer_id me = peer(1);
    const struct evidence_place places[] = {place(ETH0, "eth0", "10.0.2.15/24"),
                                            place(ETH1, "eth1", "192.168.56.11/24")};
    *f = (struct fixture){.now = 1000000};
    assert_int_equal(evidence_new(&f->ev, &me, INSTANCE, pin, BEAT, NULL), 0);
    evidence_set_places(f->ev, places, 2);
}

static int set_up(void **state)
{
    static struct fixture f;
    open_with(&f, NULL);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    evidence_free(f->ev);
    return 0;
}

/* A beacon of peer `n` from `from`, saying that it heard peer `heard` (0: nobody) at `heard_at`. */
static int hear(struct fixture *f, uint8_t n, const char *from, uint32_t index, uint8_t heard,
                const char *heard_at)
{
    struct beacon b = {.hello = {.id = peer(n),
                                 .boot = 1,
                                 .instance = 500 + n,
                                 .counter = ++f->counter,
                                 .next_ms = f->next_ms},
                       .address = ip(from)};
    if (heard) {
        b.heard_count = 1;
        b.heard[0] = (struct beacon_heard){.id = peer(heard),
                                           .instance = heard == 1 ? (uint32_t)INSTANCE : 500U + heard,
                                           .address = ip(heard_at)};
    }
    return evidence_hear(f->ev, &b, index, &b.address, f->now);
}

static bool own_is(struct fixture *f, const char *text)
{
    struct evidence_place p;
    struct address want = text ? ip(text) : (struct address){0};
    if (!evidence_own(f->ev, f->now, &p))
        return text == NULL;
    return text && address_equal(&p.net.address, &want);
}

static bool peer_is(struct fixture *f, uint8_t n, const char *text)
{
    struct peer_id id = peer(n);
    struct address a, want = text ? ip(text) : (struct address){0};
    if (!evidence_peer(f->ev, &id, f->now, &a))
        return text == NULL;
    return text && address_equal(&a, &want);
}

static void prove(struct fixture *f, uint8_t n, const char *from, uint32_t index, const char *at)
{
    assert_int_equal(hear(f, n, from, index, 1, at), 0);
    own_is(f, NULL); /* the agent looks after each beacon */
    f->now += EVIDENCE_DWELL_MS;
}

static void test_heard_alone_proves_nothing(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(hear(f, 2, "192.168.56.12", ETH1, 0, NULL), 0);
    f->now += EVIDENCE_DWELL_MS;
    assert_true(own_is(f, NULL));
    assert_true(peer_is(f, 2, "192.168.56.12"));
}

static void test_heard_there_and_told_so_proves(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(hear(f, 2, "192.168.56.12", ETH1, 1, "192.168.56.11"), 0);
    assert_true(own_is(f, NULL)); /* other interfaces may still speak up */
    assert_true(evidence_wake(f->ev, f->now) <= f->now + EVIDENCE_QUIET_MS);
    f->now += EVIDENCE_QUIET_MS;
    assert_true(own_is(f, "192.168.56.11"));
}

/* Nobody on the first interface: the second is chosen soon; somebody there: it has more time to be proven. */
static void test_the_first_choice_waits_for_live_interfaces(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(hear(f, 2, "192.168.56.12", ETH1, 1, "192.168.56.11"), 0);
    assert_true(own_is(f, NULL));
    assert_int_equal(evidence_wake(f->ev, f->now), f->now + EVIDENCE_QUIET_MS);
    assert_int_equal(hear(f, 2, "10.0.2.99", ETH0, 0, NULL), 0);
    assert_int_equal(evidence_wake(f->ev, f->now), f->now + EVIDENCE_DWELL_MS);
    f->now += EVIDENCE_QUIET_MS;
    assert_true(own_is(f, NULL));
    f->now += EVIDENCE_DWELL_MS - EVIDENCE_QUIET_MS;
    assert_true(own_is(f, "192.168.56.11"));
}

static void test_nobody_waits_for_a_second_interface_that_is_not_there(void **state)
{
    struct fixture *f = *state;
    const struct evidence_place only = place(ETH1, "eth1", "192.168.56.11/24");
    evidence_set_places(f->ev, &only, 1);
    assert_int_equal(hear(f, 2, "192.168.56.12", ETH1, 1, "192.168.56.11"), 0);
    assert_true(own_is(f, "192.168.56.11"));
}

static void test_an_echo_on_another_interface_proves_nothing(void **state)
{
    struct fixture *f = *state;
    prove(f, 2, "192.168.56.12", ETH1, "10.0.2.15");
    prove(f, 2, "192.168.56.12", ETH1, "192.168.56.99");
    assert_true(own_is(f, NULL));
}

static void test_an_echo_of_an_earlier_start_proves_nothing(void **state)
{
    struct fixture *f = *state;
    struct beacon b = {.hello = {.id = peer(2), .instance = 9, .counter = 1},
                       .address = ip("192.168.56.12"),
                       .heard_count = 1};
    b.heard[0] = (struct beacon_heard){.id = peer(1), .instance = 4711, .address = ip("192.168.56.11")};
    assert_int_equal(evidence_hear(f->ev, &b, ETH1, &b.address, f->now), 0);
    own_is(f, NULL);
    f->now += EVIDENCE_DWELL_MS;
    assert_true(own_is(f, NULL));
}

static void test_virtualbox_nat_is_never_used(void **state)
{
    struct fixture *f = *state;
    /* Even where the NAT segments are joined and everybody hears everybody as 10.0.2.15. */
    for (int i = 0; i < 5; i++) {
        assert_int_equal(hear(f, 2, "10.0.2.15", ETH0, 1, "10.0.2.15"), KPEER_EREFUSED);
        assert_int_equal(hear(f, 3, "10.0.2.15", ETH0, 1, "10.0.2.15"), KPEER_EREFUSED);
        f->now += BEAT;
        assert_true(own_is(f, NULL));
        assert_true(peer_is(f, 2, NULL));
    }
    prove(f, 2, "192.168.56.12", ETH1, "192.168.56.11");
    assert_true(own_is(f, "192.168.56.11"));
    assert_true(peer_is(f, 2, "192.168.56.12"));
    assert_true(peer_is(f, 3, NULL));
}

static void test_two_peers_at_one_address(void **state)
{
    struct fixture *f = *state;
    struct address x = ip("192.168.56.20");
    assert_int_equal(hear(f, 2, "192.168.56.20", ETH1, 0, NULL), 0);
    assert_int_equal(hear(f, 3, "192.168.56.20", ETH1, 0, NULL), KPEER_EREFUSED);
    for (int i = 0; i < 20; i++) {
        f->now += BEAT;
        assert_int_equal(hear(f, 2, "192.168.56.20", ETH1, 0, NULL), KPEER_EREFUSED);
        assert_int_equal(hear(f, 3, "192.168.56.20", ETH1, 0, NULL), KPEER_EREFUSED);
    }
    assert_true(evidence_conflicted(f->ev, &x, f->now));
    /* One of them goes: the other may be used when the evidence has expired. */
    for (int i = 0; i < 11; i++) {
        f->now += BEAT;
        (void)hear(f, 3, "192.168.56.20", ETH1, 0, NULL);
    }
    assert_false(evidence_conflicted(f->ev, &x, f->now));
    assert_true(peer_is(f, 3, "192.168.56.20"));
}

static void test_a_wiped_host_is_not_its_own_rival(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(hear(f, 2, "192.168.56.20", ETH1, 0, NULL), 0);
        f->now += BEAT;
    }
    /* It comes back at once with a new identity, and the old one is silent. */
    for (int i = 0; i < 4; i++) {
        (void)hear(f, 9, "192.168.56.20", ETH1, 0, NULL);
        f->now += BEAT;
    }
    assert_true(peer_is(f, 9, "192.168.56.20"));
    struct beacon_heard heard[4];
    assert_int_equal(evidence_heard(f->ev, ETH1, f->now, heard, 4), 1);
    assert_int_equal(heard[0].id.b[0], 9);
}

static void test_another_at_our_address_is_told_by_a_third(void **state)
{
    struct fixture *f = *state;
    prove(f, 2, "192.168.56.12", ETH1, "192.168.56.11");
    assert_true(own_is(f, "192.168.56.11"));
    assert_int_equal(hear(f, 3, "192.168.56.13", ETH1, 7, "192.168.56.11"), 0);
    assert_true(own_is(f, NULL));
    f->now += 11 * BEAT;
    prove(f, 2, "192.168.56.12", ETH1, "192.168.56.11");
    assert_true(own_is(f, "192.168.56.11"));
}

static void test_the_source_must_be_the_claim(void **state)
{
    struct fixture *f = *state;
    struct beacon b = {.hello = {.id = peer(2), .instance = 9, .counter = 1}, .address = ip("192.168.56.12")};
    struct address other = ip("192.168.56.66");
    assert_int_equal(evidence_hear(f->ev, &b, ETH1, &other, f->now), KPEER_EAUTH);
    assert_true(peer_is(f, 2, NULL));
}

static void test_replays_and_own_beacons(void **state)
{
    struct fixture *f = *state;
    struct beacon b = {.hello = {.id = peer(2), .boot = 5, .instance = 9, .counter = 10},
                       .address = ip("192.168.56.12")};
    assert_int_equal(evidence_hear(f->ev, &b, ETH1, &b.address, f->now), 0);
    assert_int_equal(evidence_hear(f->ev, &b, ETH1, &b.address, f->now), KPEER_EREPLAY);
    b.hello.counter = 9;
    assert_int_equal(evidence_hear(f->ev, &b, ETH1, &b.address, f->now), KPEER_EREPLAY);
    /* A copy on another interface is no replay. */
    b.hello.counter = 10;
    b.address = ip("10.0.2.7");
    assert_int_equal(evidence_hear(f->ev, &b, ETH0, &b.address, f->now), 0);
    b.address = ip("192.168.56.12");
    b.hello.boot = 6;
    b.hello.instance = 77;
    b.hello.counter = 1;
    assert_int_equal(evidence_hear(f->ev, &b, ETH1, &b.address, f->now), 0);
    b.hello.boot = 5;
    b.hello.instance = 9;
    b.hello.counter = 11;
    assert_int_equal(evidence_hear(f->ev, &b, ETH1, &b.address, f->now), KPEER_EREPLAY);
    b.hello.id = peer(1);
    b.hello.instance = INSTANCE;
    assert_int_equal(evidence_hear(f->ev, &b, ETH1, &b.address, f->now), KPEER_EREPLAY);
    b.hello.instance = 1234; /* somebody else with our identity: the core must hear of it */
    assert_int_equal(evidence_hear(f->ev, &b, ETH1, &b.address, f->now), 0);
}

/* A copied disk at another address: each start is reached where it is heard, and the copy leaves nothing
 * behind. */
static void test_a_copy_does_not_move_the_original(void **state)
{
    struct fixture *f = *state;
    struct beacon original = {.hello = {.id = peer(2), .boot = 5, .instance = 9, .counter = 10},
                              .address = ip("192.168.56.12")};
    struct beacon copy = {.hello = {.id = peer(2), .boot = 5, .instance = 8, .counter = 1},
                          .address = ip("192.168.56.14")};
    for (int i = 0; i < 3; i++) {
        original.hello.counter++;
        copy.hello.counter++;
        assert_int_equal(evidence_hear(f->ev, &copy, ETH1, &copy.address, f->now), 0);
        assert_true(peer_is(f, 2, "192.168.56.14"));
        assert_int_equal(evidence_hear(f->ev, &original, ETH1, &original.address, f->now), 0);
        assert_true(peer_is(f, 2, "192.168.56.12"));
        f->now += BEAT;
    }
}

static void test_a_peer_that_moved_is_followed(void **state)
{
    struct fixture *f = *state;
    struct beacon_heard heard[4];
    struct address now_at = ip("192.168.56.22");
    assert_int_equal(hear(f, 2, "192.168.56.12", ETH1, 1, "192.168.56.11"), 0);
    f->now += BEAT;
    assert_int_equal(hear(f, 2, "192.168.56.22", ETH1, 1, "192.168.56.11"), 0);
    assert_int_equal(evidence_heard(f->ev, ETH1, f->now, heard, 4), 1);
    assert_true(address_equal(&heard[0].address, &now_at)); /* at once, so that it can prove the new one */
    for (int i = 0; i < 2; i++) {
        f->now += BEAT;
        assert_int_equal(hear(f, 2, "192.168.56.22", ETH1, 1, "192.168.56.11"), 0);
    }
    assert_true(peer_is(f, 2, "192.168.56.22"));
}

static void test_the_choice_is_stable(void **state)
{
    struct fixture *f = *state;
    const struct evidence_place good[] = {place(ETH0, "eth0", "172.16.0.5/24"),
                                          place(ETH1, "eth1", "192.168.56.11/24")};
    evidence_set_places(f->ev, good, 2);
    prove(f, 2, "192.168.56.12", ETH1, "192.168.56.11");
    assert_true(own_is(f, "192.168.56.11"));
    prove(f, 2, "172.16.0.6", ETH0, "172.16.0.5");
    prove(f, 3, "172.16.0.7", ETH0, "172.16.0.5");
    assert_true(own_is(f, "192.168.56.11")); /* proven still, though another has more */
    f->now += 11 * BEAT;
    assert_true(own_is(f, "192.168.56.11")); /* everybody is silent: no reason to change */
    prove(f, 3, "172.16.0.7", ETH0, "172.16.0.5");
    assert_true(own_is(f, "172.16.0.5")); /* its proof expired while another has one */
    evidence_set_places(f->ev, good + 1, 1);
    assert_true(own_is(f, NULL)); /* the interface went away */
}

static void test_most_peers_then_lowest_interface(void **state)
{
    struct fixture *f = *state;
    const struct evidence_place both[] = {place(ETH0, "eth0", "172.16.0.5/24"),
                                          place(ETH1, "eth1", "192.168.56.11/24")};
    evidence_set_places(f->ev, both, 2);
    assert_int_equal(hear(f, 2, "192.168.56.12", ETH1, 1, "192.168.56.11"), 0);
    assert_true(own_is(f, NULL));
    assert_int_equal(hear(f, 2, "172.16.0.6", ETH0, 1, "172.16.0.5"), 0);
    f->now += EVIDENCE_DWELL_MS;
    assert_true(own_is(f, "172.16.0.5"));
    assert_true(peer_is(f, 2, "172.16.0.6")); /* on our own interface where there is a choice */
    tear_down(state);
    open_with(f, NULL);
    evidence_set_places(f->ev, both, 2);
    assert_int_equal(hear(f, 2, "172.16.0.6", ETH0, 1, "172.16.0.5"), 0);
    assert_true(own_is(f, NULL));
    assert_int_equal(hear(f, 2, "192.168.56.12", ETH1, 1, "192.168.56.11"), 0);
    assert_int_equal(hear(f, 3, "192.168.56.13", ETH1, 1, "192.168.56.11"), 0);
    f->now += EVIDENCE_DWELL_MS;
    assert_true(own_is(f, "192.168.56.11"));
}

/* One beacon on both interfaces, `first` there before the other; it names us on both. */
static void hear_on_both(struct fixture *f, uint32_t first)
{
    for (uint32_t index = first, i = 0; i < 2; i++, index = index == ETH0 ? ETH1 : ETH0) {
        if (index == ETH0)
            assert_int_equal(hear(f, 2, "10.0.2.99", ETH0, 1, "10.0.2.15"), 0);
        else
            assert_int_equal(hear(f, 2, "192.168.56.12", ETH1, 1, "192.168.56.11"), 0);
        f->counter -= i == 0;
        own_is(f, NULL);
        if (f->now > 2000000) {
            assert_true(own_is(f, "10.0.2.15"));
            assert_true(peer_is(f, 2, "10.0.2.99"));
        }
    }
}

/* The others' pauses become long before ours do, and short again: what was proven stays so. */
static void test_others_come_to_rest(void **state)
{
    struct fixture *f = *state;
    for (f->now = 1900000; f->now < 2000000; f->now += BEAT)
        hear_on_both(f, ETH0);
    assert_true(own_is(f, "10.0.2.15"));
    f->next_ms = 20 * BEAT;
    hear_on_both(f, ETH0);
    for (int i = 0; i < 4; i++) {
        f->now += 20 * BEAT;
        hear_on_both(f, i % 2 ? ETH0 : ETH1);
    }
    f->next_ms = BEAT;
    for (int i = 0; i < 20; i++) {
        f->now += i == 0 ? 20 * BEAT : BEAT;
        hear_on_both(f, i % 2 ? ETH0 : ETH1);
    }
}

/* The same where the beacon that promised a long pause was lost: all proofs are old by then, and the first
 * copy is of the other place. */
static void test_a_promise_that_was_lost(void **state)
{
    struct fixture *f = *state;
    for (f->now = 1900000; f->now < 1930000; f->now += BEAT)
        hear_on_both(f, ETH0);
    assert_true(own_is(f, "10.0.2.15"));
    f->now += 20 * BEAT;
    assert_int_equal(hear(f, 2, "192.168.56.12", ETH1, 1, "192.168.56.11"), 0);
    assert_true(own_is(f, "10.0.2.15"));
    f->now += 5;
    assert_int_equal(hear(f, 2, "10.0.2.99", ETH0, 1, "10.0.2.15"), 0);
    f->now += EVIDENCE_DWELL_MS;
    assert_true(own_is(f, "10.0.2.15"));
    f->now += 20 * BEAT; /* and where no copy comes for this place, the other one is right */
    assert_int_equal(hear(f, 2, "192.168.56.12", ETH1, 1, "192.168.56.11"), 0);
    assert_true(own_is(f, "10.0.2.15"));
    assert_int_equal(evidence_wake(f->ev, f->now), f->now + EVIDENCE_DWELL_MS);
    f->now += EVIDENCE_DWELL_MS;
    assert_true(own_is(f, "192.168.56.11"));
}

static void test_a_peer_that_moved_out_of_rest_is_followed(void **state)
{
    struct fixture *f = *state;
    f->next_ms = 60 * BEAT;
    for (int i = 0; i < 3; i++, f->now += 60 * BEAT)
        assert_int_equal(hear(f, 2, "192.168.56.12", ETH1, 0, NULL), 0);
    f->next_ms = BEAT;
    for (int i = 0; i < 4; i++, f->now += BEAT) {
        assert_int_equal(hear(f, 2, "192.168.56.22", ETH1, 0, NULL), 0);
        assert_true(peer_is(f, 2, i < 2 ? "192.168.56.12" : "192.168.56.22"));
    }
}

static void test_pins_need_no_proof(void **state)
{
    struct fixture *f = *state;
    struct evidence_pin interface = {.interface = "eth1"}, subnet = {.have_subnet = true};
    tear_down(state);
    open_with(f, &interface);
    assert_true(own_is(f, "192.168.56.11"));
    tear_down(state);
    assert_int_equal(network_parse("192.168.56.0/24", &subnet.subnet, NULL), 0);
    open_with(f, &subnet);
    assert_true(own_is(f, "192.168.56.11"));
    /* What is heard elsewhere does not count, and a rival at our address does. */
    assert_int_equal(hear(f, 2, "10.0.2.16", ETH0, 1, "10.0.2.15"), KPEER_EREFUSED);
    assert_int_equal(hear(f, 2, "192.168.56.11", ETH1, 0, NULL), KPEER_EREFUSED);
    assert_true(own_is(f, NULL));
}

/* Counts how often each of 90 peers is named in so many beacons; how many names are in one. */
static size_t count_named(struct fixture *f, int beacons, unsigned named[static 100])
{
    struct beacon_heard heard[BEACON_HEARD_MAX];
    size_t n = 0;
    memset(named, 0, 100 * sizeof named[0]);
    for (int round = 0; round < beacons; round++) {
        n = evidence_heard(f->ev, ETH1, f->now, heard, BEACON_HEARD_MAX);
        for (size_t i = 0; i < n; i++)
            named[heard[i].id.b[0] - 10]++;
        evidence_next(f->ev);
    }
    return n;
}

static void test_heard_list_takes_turns(void **state)
{
    struct fixture *f = *state;
    unsigned named[100];
    char from[STEP_ADDRESS_BYTES];
    for (uint8_t i = 0; i < 90; i++) {
        snprintf(from, sizeof from, "192.168.56.%u", 100U + i);
        assert_int_equal(hear(f, (uint8_t)(10 + i), from, ETH1, 0, NULL), 0);
    }
    assert_int_equal(count_named(f, 4, named), BEACON_HEARD_MAX); /* as many newcomers as fit */
    for (size_t i = 0; i < 90; i++)
        assert_in_range(named[i], 1, 3);
    f->now += 4 * BEAT; /* nobody is a newcomer any more */
    assert_int_equal(count_named(f, 8, named), 12);
    for (size_t i = 0; i < 90; i++)
        assert_in_range(named[i], 1, 2);
    struct beacon_heard heard[2];
    assert_int_equal(hear(f, 5, "192.168.56.5", ETH1, 0, NULL), 0);
    assert_int_equal(evidence_heard(f->ev, ETH1, f->now, heard, 2), 2);
    assert_int_equal(heard[0].id.b[0], 5); /* a newcomer goes first */
    assert_int_equal(hear(f, 10, "192.168.56.7", ETH1, 0, NULL), 0);
    f->now += 4 * BEAT - 1;
    assert_int_equal(hear(f, 10, "192.168.56.8", ETH1, 0, NULL), 0);
    assert_int_equal(evidence_heard(f->ev, ETH1, f->now, heard, 1), 1);
    assert_int_equal(heard[0].id.b[0], 10); /* so does who has another address */
    assert_int_equal(evidence_heard(f->ev, ETH0, f->now, heard, 1), 0);
}

/* However many there are: all copies of a beacon name the same, and everybody is named within eight, on each
 * interface. */
static void test_all_have_their_turn(void **state)
{
    struct fixture *f = *state;
    char from[STEP_ADDRESS_BYTES];
    for (unsigned count = 1; count <= 40; count++) {
        unsigned named[2][64] = {{0}};
        snprintf(from, sizeof from, "192.168.56.%u", 100 + count);
        assert_int_equal(hear(f, (uint8_t)(10 + count), from, ETH1, 0, NULL), 0);
        snprintf(from, sizeof from, "10.0.2.%u", 100 + count);
        assert_int_equal(hear(f, (uint8_t)(10 + count), from, ETH0, 0, NULL), 0);
        f->now += 4 * BEAT;
        for (unsigned i = 1; i <= count; i++) {
            snprintf(from, sizeof from, "192.168.56.%u", 100 + i);
            assert_int_equal(hear(f, (uint8_t)(10 + i), from, ETH1, 0, NULL), 0);
            snprintf(from, sizeof from, "10.0.2.%u", 100 + i);
            assert_int_equal(hear(f, (uint8_t)(10 + i), from, ETH0, 0, NULL), 0);
        }
        for (int beat = 0; beat < 8; beat++) {
            for (int k = 0; k < 2; k++) {
                struct beacon_heard heard[BEACON_HEARD_MAX], copy[BEACON_HEARD_MAX];
                size_t n = evidence_heard(f->ev, k ? ETH1 : ETH0, f->now, heard, BEACON_HEARD_MAX);
                assert_int_equal(evidence_heard(f->ev, k ? ETH1 : ETH0, f->now, copy, BEACON_HEARD_MAX), n);
                for (size_t i = 0; i < n; i++) {
                    assert_true(peer_id_equal(&heard[i].id, &copy[i].id));
                    named[k][heard[i].id.b[0] - 10]++;
                }
            }
            evidence_next(f->ev);
        }
        for (unsigned i = 1; i <= count; i++)
            assert_true(named[0][i] > 0 && named[1][i] > 0);
    }
}

/* In a group of three each beacon names everybody. */
static void test_few_are_all_named(void **state)
{
    struct fixture *f = *state;
    struct beacon_heard heard[BEACON_HEARD_MAX];
    char from[STEP_ADDRESS_BYTES];
    for (uint8_t i = 2; i < 4; i++) {
        snprintf(from, sizeof from, "192.168.56.%u", i);
        assert_int_equal(hear(f, i, from, ETH1, 0, NULL), 0);
    }
    for (int beat = 0; beat < 5; beat++) {
        assert_int_equal(evidence_heard(f->ev, ETH1, f->now, heard, BEACON_HEARD_MAX), 2);
        evidence_next(f->ev);
        f->now += BEAT - 1;
    }
}

static void test_the_table_is_bounded(void **state)
{
    struct fixture *f = *state;
    struct beacon b = {.hello = {.instance = 1, .counter = 1}, .address = {.n = 4, .b = {10, 9, 0, 0}}};
    for (unsigned i = 0; i < EVIDENCE_PEERS_MAX; i++) {
        b.hello.id = (struct peer_id){{2, (uint8_t)(i >> 8), (uint8_t)i}};
        b.address.b[2] = (uint8_t)(i >> 8);
        b.address.b[3] = (uint8_t)i;
        assert_int_equal(evidence_hear(f->ev, &b, ETH1, &b.address, f->now), 0);
    }
    b.hello.id = peer(3);
    b.address = ip("10.10.0.1");
    assert_int_equal(evidence_hear(f->ev, &b, ETH1, &b.address, f->now), KPEER_ELIMIT);
    f->now += 11 * BEAT;
    assert_int_equal(evidence_hear(f->ev, &b, ETH1, &b.address, f->now), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* After a while in which everybody had time to hear us. */
static bool deaf_is(struct fixture *f, const char *text, bool wanted_all)
{
    struct address out;
    bool all = !wanted_all;
    if (!evidence_deaf(f->ev, f->now, &out, &all))
        return text == NULL;
    struct address want = text ? ip(text) : (struct address){0};
    return text && address_equal(&out, &want) && all == wanted_all;
}

static void test_who_does_not_hear_us(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 20; i++) {
        hear(f, 2, "192.168.56.12", ETH1, i < 12 ? 1 : 0, "192.168.56.11");
        hear(f, 3, "192.168.56.13", ETH1, 2, "192.168.56.12");
        f->now += BEAT;
        assert_true(deaf_is(f, i < 9 ? NULL : "192.168.56.13", false)); /* a newcomer has its time */
    }
    for (int i = 0; i < 5; i++) { /* the other one hears us no more, either */
        hear(f, 2, "192.168.56.12", ETH1, 0, NULL);
        hear(f, 3, "192.168.56.13", ETH1, 0, NULL);
        f->now += BEAT;
    }
    assert_true(deaf_is(f, "192.168.56.12", true));
    f->now += 20 * BEAT; /* nobody is heard at all */
    assert_true(deaf_is(f, NULL, false));
    for (int i = 0; i < 40; i++) { /* of many each names us now and then: some of that may be lost */
        for (uint8_t k = 0; k < 9; k++) {
            char from[STEP_ADDRESS_BYTES];
            snprintf(from, sizeof from, "192.168.56.%u", 20U + k);
            hear(f, 20 + k, from, ETH1, i % 12 == 0 ? 1 : 0, "192.168.56.11");
        }
        f->now += BEAT;
        assert_true(deaf_is(f, NULL, false));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_heard_alone_proves_nothing),
        TEST(test_heard_there_and_told_so_proves),
        TEST(test_the_first_choice_waits_for_live_interfaces),
        TEST(test_nobody_waits_for_a_second_interface_that_is_not_there),
        TEST(test_an_echo_on_another_interface_proves_nothing),
        TEST(test_an_echo_of_an_earlier_start_proves_nothing),
        TEST(test_virtualbox_nat_is_never_used),
        TEST(test_two_peers_at_one_address),
        TEST(test_a_wiped_host_is_not_its_own_rival),
        TEST(test_another_at_our_address_is_told_by_a_third),
        TEST(test_the_source_must_be_the_claim),
        TEST(test_replays_and_own_beacons),
        TEST(test_a_copy_does_not_move_the_original),
        TEST(test_a_peer_that_moved_is_followed),
        TEST(test_the_choice_is_stable),
        TEST(test_most_peers_then_lowest_interface),
        TEST(test_others_come_to_rest),
        TEST(test_a_promise_that_was_lost),
        TEST(test_a_peer_that_moved_out_of_rest_is_followed),
        TEST(test_pins_need_no_proof),
        TEST(test_heard_list_takes_turns),
        TEST(test_few_are_all_named),
        TEST(test_all_have_their_turn),
        TEST(test_who_does_not_hear_us),
        TEST(test_the_table_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
