/* What hosts saw of each other becomes faults, each told once and with the hosts to look at. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/survey.h"

#define MOST 100

static struct profile profile[MOST];
static struct survey_host host[MOST];
static struct check_fault fault[SURVEY_FAULTS_MAX];
static struct check_list list;
static size_t hosts;

/* So many hosts, and all is well. */
static void make(size_t count)
{
    hosts = count;
    memset(profile, 0, sizeof profile);
    memset(host, 0, sizeof host);
    for (size_t i = 0; i < count; i++) {
        snprintf(profile[i].name, sizeof profile[i].name, "h%zu", i);
        snprintf(profile[i].address, sizeof profile[i].address, "10.0.0.%zu", i);
        profile[i].nets.mac_count = 1;
        profile[i].nets.mac[0][5] = (uint8_t)(i + 1);
        strcpy(profile[i].pod_cidr, "10.244.0.0/16");
        strcpy(profile[i].service_cidr, "10.96.0.0/12");
        host[i].check = (struct check_host){&profile[i], 0, true};
        host[i].answer = ANSWER_FULL;
        host[i].serves = true;
        host[i].mtu = 1500;
        memset(host[i].listen, LISTEN_OURS, sizeof host[i].listen);
        for (size_t d = 0; d < survey_spread(count); d++) {
            memset(host[i].seen.tcp[d], REACH_OK, SURVEY_TCP_PORTS);
            host[i].seen.heard[d] = 1500;
        }
    }
}

static size_t judge(void)
{
    list = (struct check_list){.fault = fault, .room = SURVEY_FAULTS_MAX, .level = FINDING_WARN};
    memset(fault, 0, sizeof fault);
    assert_int_equal(survey_judge(host, hosts, hosts, &list), 0);
    return list.count;
}

/* What became of one try; `port` SURVEY_UDP: the longest packet that came. */
static void saw(size_t from, size_t to, unsigned port, unsigned what)
{
    size_t d = (to + hosts - from) % hosts - 1;
    if (from == to || d >= survey_spread(hosts))
        return;
    if (port == SURVEY_UDP)
        host[to].seen.heard[d] = (uint16_t)what;
    else
        host[from].seen.tcp[d][port] = (uint8_t)what;
}

static void assert_one(const char *check, const char *text, size_t who)
{
    assert_int_equal(judge(), 1);
    assert_string_equal(fault[0].check, check);
    assert_string_equal(fault[0].text, text);
    assert_int_equal(fault[0].host_count, 1);
    assert_int_equal(fault[0].host[0], who);
    assert_true(fault[0].hint[0] != '\0');
}

static void test_all_is_well(void **state)
{
    (void)state;
    for (size_t count = 0; count <= MOST; count += count < 4 ? 1 : 32) {
        make(count);
        assert_int_equal(judge(), 0);
    }
}

static void test_a_blocked_port_is_told_once(void **state)
{
    (void)state;
    make(20);
    for (size_t i = 0; i < hosts; i++)
        saw(i, 7, 1, REACH_FILTERED);
    assert_one("port", "nobody reaches TCP 10250 of h7 (10.0.0.7): no answer", 7);
    for (size_t i = 0; i < hosts; i++) {
        saw(i, 7, 0, REACH_REFUSED);
        saw(i, 7, SURVEY_UDP, 0);
    }
    assert_one("port", "nobody reaches TCP 6443, 10250 and UDP 8472 of h7 (10.0.0.7): refused", 7);
}

static void test_what_goes_out(void **state)
{
    (void)state;
    make(20);
    for (size_t i = 0; i < hosts; i++) {
        saw(3, i, SURVEY_UDP, 0);
        saw(i, 7, SURVEY_UDP, 0); /* both at once */
    }
    assert_int_equal(judge(), 2);
    assert_string_equal(fault[0].text, "h3 (10.0.0.3) reaches UDP 8472 of no other host: no answer");
    assert_string_equal(fault[1].text, "nobody reaches UDP 8472 of h7 (10.0.0.7): no answer");
}

static void test_pairs(void **state)
{
    (void)state;
    make(2);
    saw(0, 1, 0, REACH_OTHER);
    assert_int_equal(judge(), 1);
    assert_string_equal(fault[0].text,
                        "h0 (10.0.0.0) does not reach TCP 6443 of h1 (10.0.0.1): somebody else answers");
    assert_int_equal(fault[0].host_count, 2);
    make(20);
    saw(4, 5, 1, REACH_FILTERED);
    assert_int_equal(judge(), 1);
    assert_string_equal(fault[0].text, "h4 (10.0.0.4) does not reach TCP 10250 of h5 (10.0.0.5): no answer");
    saw(2, 5, 1, REACH_FILTERED);
    assert_one("port",
               "TCP 10250 of h5 (10.0.0.5): no answer, from h4 (10.0.0.4) and h2 (10.0.0.2); others "
               "reach it",
               5);
}

static void test_nobody_reaches_anybody(void **state)
{
    (void)state;
    make(4);
    for (size_t i = 0; i < hosts; i++)
        for (size_t k = 0; k < hosts; k++) {
            saw(i, k, 2, REACH_FILTERED);
            saw(i, k, SURVEY_UDP, 1400);
        }
    assert_int_equal(judge(), 2);
    assert_string_equal(fault[0].text, "no host reaches another on TCP 2379: no answer");
    assert_string_equal(fault[1].text,
                        "between the hosts, packets of up to 1400 bytes get through, longer ones do not");
}

static void test_what_is_not_looked_at(void **state)
{
    (void)state;
    make(20);
    for (size_t i = 0; i < hosts; i++) {
        saw(i, 7, 0, REACH_FILTERED);
        saw(i, 8, SURVEY_UDP, 0);
        saw(i, 9, 1, REACH_REFUSED);
    }
    host[7].serves = false;         /* a worker needs no such port */
    host[8].listen[SURVEY_UDP] = 0; /* Flannel is there */
    host[9].answer = ANSWER_BUSY;   /* its listeners were closed on the way */
    assert_int_equal(judge(), 1);
    assert_string_equal(fault[0].text, "not looked at, a step runs there: h9 (10.0.0.9)");
    assert_int_equal(fault[0].level, FINDING_WARN);
    host[9].answer = ANSWER_NONE;
    assert_one("answer", "no answer in time from h9 (10.0.0.9)", 9);
}

static void test_mtu(void **state)
{
    (void)state;
    make(20);
    host[4].mtu = 1400;
    for (size_t i = 0; i < hosts; i++) {
        saw(i, 4, SURVEY_UDP, 1400);
        saw(4, i, SURVEY_UDP, 1400);
    }
    assert_one("mtu", "the interface of h4 (10.0.0.4) has an MTU of 1400, the others' is 1500", 4);
    make(20);
    for (size_t i = 0; i < hosts; i++)
        saw(i, 4, SURVEY_UDP, 1280);
    assert_one("mtu", "packets to h4 (10.0.0.4) get through up to 1280 bytes, longer ones do not", 4);
    make(20);
    saw(3, 4, SURVEY_UDP, 1280);
    assert_int_equal(judge(), 1);
    assert_string_equal(fault[0].text, "packets from h3 (10.0.0.3) to h4 (10.0.0.4) get through up to 1280 "
                                       "bytes, longer ones do not");
}

static void test_a_ring_larger_than_the_spread(void **state)
{
    (void)state;
    make(MOST);
    for (size_t i = 0; i < hosts; i++)
        saw(i, 0, 1, REACH_FILTERED);
    assert_one("port", "nobody reaches TCP 10250 of h0 (10.0.0.0): no answer", 0);
}

static void test_more_than_there_is_room_for(void **state)
{
    (void)state;
    make(MOST);
    uint32_t n = 1;
    for (size_t i = 0; i < hosts; i++)
        for (size_t d = 0; d < SURVEY_SPREAD; d++)
            for (unsigned p = 0; p < SURVEY_PORTS; p++, n = n * 1664525 + 1013904223)
                saw(i, (i + 1 + d) % hosts, p, p == SURVEY_UDP ? n >> 17 & 2047 : n >> 17 & 7);
    assert_int_equal(judge(), SURVEY_FAULTS_MAX);
}

static void test_sizes(void **state)
{
    (void)state;
    uint16_t size[SURVEY_SIZES];
    assert_int_equal(survey_sizes(1500, size), 6);
    assert_int_equal(size[0], 1500);
    assert_int_equal(size[5], SURVEY_SMALL_BYTES);
    assert_int_equal(survey_sizes(1450, size), 5);
    assert_int_equal(survey_sizes(0, size), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_is_well),
        cmocka_unit_test(test_a_blocked_port_is_told_once),
        cmocka_unit_test(test_what_goes_out),
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_nobody_reaches_anybody),
        cmocka_unit_test(test_what_is_not_looked_at),
        cmocka_unit_test(test_mtu),
        cmocka_unit_test(test_a_ring_larger_than_the_spread),
        cmocka_unit_test(test_more_than_there_is_room_for),
        cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
