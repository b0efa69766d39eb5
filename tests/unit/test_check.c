/* The check of the group as a whole: each fault is found, and names the hosts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "protocol/check.h"

#define HOSTS 3

static struct profile profile[HOSTS];
static struct check_host host[HOSTS];
static struct check_fault fault;

static int set_up(void **state)
{
    (void)state;
    memset(profile, 0, sizeof profile);
    for (size_t i = 0; i < HOSTS; i++) {
        struct profile *p = &profile[i];
        snprintf(p->name, sizeof p->name, "node%zu", i + 1);
        snprintf(p->address, sizeof p->address, "192.168.56.%zu", 11 + i);
        strcpy(p->pod_cidr, "10.244.0.0/16");
        strcpy(p->service_cidr, "10.96.0.0/12");
        strcpy(p->facts.kubernetes_version, "v1.20.2");
        p->has_facts = true;
        p->facts.machine_id[0] = p->facts.product_uuid[0] = (uint8_t)(i + 1);
        p->facts.cpus = CHECK_MASTER_CPUS;
        p->facts.memory_mb = CHECK_MASTER_MEMORY_MB;
        p->nets.net_count = 1;
        strcpy(p->nets.net[0], "192.168.56.0/24");
        p->nets.mac_count = 2;
        p->nets.mac[0][5] = 1; /* the NAT interface: alike on all clones, and no fault */
        p->nets.mac[1][5] = (uint8_t)(i + 2);
        host[i] = (struct check_host){p, 0, true};
    }
    return 0;
}

static void assert_fault(const char *part, const char *who)
{
    assert_false(check_group(host, HOSTS, true, &fault));
    assert_non_null(strstr(fault.text, part));
    assert_non_null(strstr(fault.text, who));
    assert_true(fault.hint[0] != '\0');
}

static void test_a_good_group(void **state)
{
    (void)state;
    assert_true(check_group(host, HOSTS, true, &fault));
    assert_string_equal(fault.text, "");
    assert_true(check_group(host, 0, true, &fault));
}

#define MANY 512

static struct profile many[MANY];
static struct check_host many_host[MANY];

static void make_many(void)
{
    for (size_t i = 0; i < MANY; i++) {
        many[i] = profile[0];
        snprintf(many[i].name, sizeof many[i].name, "node%zu", i + 1);
        snprintf(many[i].address, sizeof many[i].address, "192.168.56.%zu", i);
        memcpy(many[i].facts.machine_id, &i, sizeof i);
        many[i].facts.machine_id[15] = 1;
        memset(many[i].facts.product_uuid, 0, FACTS_ID_BYTES); /* a host may have none */
        memcpy(many[i].nets.mac[1], &i, 6);
        many[i].nets.mac[1][5] = 2;
        many_host[i] = (struct check_host){&many[i], 0, true};
    }
    many[0].facts.kubernetes_version[0] = '\0'; /* nor kubeadm */
}

static void assert_found_in_many(const char *part, const char *who)
{
    assert_false(check_group(many_host, MANY, true, &fault));
    assert_non_null(strstr(fault.text, part));
    assert_non_null(strstr(fault.text, who));
    make_many();
}

static void test_the_largest_group(void **state)
{
    (void)state;
    make_many();
    assert_true(check_group(many_host, MANY, true, &fault));
    strcpy(many[500].name, "node8");
    assert_found_in_many("called node8", "192.168.56.500");
    memcpy(many[500].facts.machine_id, many[3].facts.machine_id, FACTS_ID_BYTES);
    assert_found_in_many("machine-id", "node501");
    many[9].facts.product_uuid[3] = many[MANY - 1].facts.product_uuid[3] = 4;
    memcpy(many[9].facts.machine_id, many[MANY - 1].facts.machine_id, FACTS_ID_BYTES);
    assert_found_in_many("machine-id", "node512");
    memcpy(many[500].nets.mac[0], many[3].nets.mac[1], 6); /* in another order */
    memcpy(many[500].nets.mac[1], many[3].nets.mac[0], 6);
    assert_found_in_many("hardware addresses", "node4");
    strcpy(many[500].facts.kubernetes_version, "v1.21.0");
    assert_found_in_many("v1.21.0", "node501");
    strcpy(many[MANY - 1].pod_cidr, "10.9.0.0/16");
    assert_found_in_many("10.9.0.0/16", "node512");
}

static void test_what_no_two_may_share(void **state)
{
    strcpy(profile[2].name, "node1");
    assert_fault("called node1", "192.168.56.13");
    set_up(state);
    profile[1].facts.machine_id[0] = 1;
    assert_fault("machine-id", "node2");
    set_up(state);
    profile[1].facts.product_uuid[0] = 1; /* with machine-ids of their own they are told apart */
    assert_true(check_group(host, HOSTS, true, &fault));
    profile[1].facts.machine_id[0] = 0;
    assert_fault("product UUID", "node2");
    set_up(state);
    profile[1].facts.product_uuid[0] = profile[0].facts.product_uuid[0] = 0; /* hosts that have none */
    assert_true(check_group(host, HOSTS, true, &fault));
    profile[1].nets.mac[1][5] = 2;
    assert_fault("hardware addresses", "node2");
}

#define ROOM 8

static struct check_fault found[ROOM];

static size_t look(enum finding_level level)
{
    struct check_list list = {.fault = found, .room = ROOM, .level = level};
    memset(found, 0, sizeof found);
    check_hosts(host, HOSTS, true, &list);
    return list.count;
}

static void test_all_faults_are_listed(void **state)
{
    (void)state;
    assert_int_equal(look(FINDING_WARN), 0);
    for (size_t i = 1; i < HOSTS; i++)
        strcpy(profile[i].name, "node1");
    profile[2].facts.product_uuid[0] = 2;
    strcpy(profile[1].facts.kubernetes_version, "v1.21.0");
    strcpy(profile[0].nets.net[0], "10.244.3.0/24");
    strcpy(profile[2].nets.net[0], "10.244.3.0/24");
    host[1].clock_offset_ms = 420000;
    assert_int_equal(look(FINDING_WARN), 5);
    assert_string_equal(found[0].text,
                        "3 hosts are called node1: 192.168.56.11, 192.168.56.12 and 192.168.56.13");
    assert_int_equal(found[0].host_count, 3);
    assert_string_equal(found[1].check, "product-uuid");
    assert_int_equal(found[1].level, FINDING_WARN);
    assert_int_equal(found[1].host[0], 1);
    assert_int_equal(found[1].host[1], 2);
    assert_string_equal(found[2].text,
                        "node1 (192.168.56.12): Kubernetes v1.21.0; most others: Kubernetes v1.20.2");
    assert_string_equal(found[3].text, "the pod range 10.244.0.0/16 overlaps the network 10.244.3.0/24 of "
                                       "node1 (192.168.56.11) and node1 (192.168.56.13)");
    assert_string_equal(found[4].text, "the clock of node1 (192.168.56.12) is 420 s ahead of the group's");
    assert_int_equal(look(FINDING_RED), 4);
}

static void test_names_that_find_no_room(void **state)
{
    (void)state;
    char out[48];
    const uint16_t who[] = {0, 1, 2};
    check_names(host, who, 3, out, sizeof out);
    assert_string_equal(out, "node1 (192.168.56.11) and 2 more");
}

static void test_clocks(void **state)
{
    (void)state;
    host[2].clock_offset_ms = CHECK_CLOCK_MS;
    assert_true(check_group(host, HOSTS, true, &fault));
    host[2].clock_offset_ms = CHECK_CLOCK_MS + 1;
    assert_fault("ahead of", "node3");
    host[2].clock_offset_ms = -CHECK_CLOCK_MS - 1;
    assert_fault("behind", "node3");
    host[2].has_offset = false;
    assert_true(check_group(host, HOSTS, true, &fault));
    host[0].clock_offset_ms = host[1].clock_offset_ms = INT64_MIN / 4; /* lies do no harm */
    host[2].has_offset = true;
    host[2].clock_offset_ms = INT64_MAX / 4;
    assert_false(check_group(host, HOSTS, true, &fault));
}

static void test_versions_and_ranges(void **state)
{
    strcpy(profile[1].facts.kubernetes_version, "v1.20.15");
    assert_true(check_group(host, HOSTS, true, &fault));
    strcpy(profile[1].facts.kubernetes_version, "v1.2.2");
    assert_fault("v1.2.2", "node2");
    set_up(state);
    strcpy(profile[2].pod_cidr, "10.245.0.0/16");
    assert_fault("10.245.0.0/16", "node3");
    set_up(state);
    strcpy(profile[2].nets.net[0], "10.244.3.0/24");
    assert_fault("pod range", "node3");
    set_up(state);
    strcpy(profile[2].nets.net[0], "10.0.0.0/8");
    assert_fault("range", "node3");
}

static void test_somebody_must_be_fit(void **state)
{
    (void)state;
    for (size_t i = 0; i < HOSTS; i++)
        profile[i].facts.memory_mb = 1024 + (uint32_t)i;
    assert_true(check_group(host, HOSTS, false, &fault)); /* more may come */
    assert_fault("no host here can be the master", "node3");
    profile[1].facts.memory_mb = 4000;
    profile[1].role = ROLE_WORKER;
    assert_false(check_group(host, HOSTS, true, &fault));
    profile[1].role = ROLE_AUTO;
    assert_true(check_group(host, HOSTS, true, &fault));
}

static void test_a_newcomer_against_the_record(void **state)
{
    (void)state;
    struct record r = {.pod_cidr = "10.244.0.0/16", .service_cidr = "10.96.0.0/12"};
    strcpy(r.kubernetes_version, "v1.20.9");
    assert_true(check_newcomer(host, HOSTS, &r, &fault));
    strcpy(profile[2].name, "node2");
    assert_true(check_newcomer(host, HOSTS, &r, &fault)); /* the others' quarrels are not its own */
    strcpy(profile[0].name, "node2");
    assert_false(check_newcomer(host, HOSTS, &r, &fault));
    strcpy(profile[0].name, "node1");
    strcpy(r.kubernetes_version, "v1.21.0");
    assert_false(check_newcomer(host, HOSTS, &r, &fault));
}

static void test_ranges_overlap(void **state)
{
    (void)state;
    assert_true(check_cidr_overlap("10.0.0.0/8", "10.96.0.0/12"));
    assert_true(check_cidr_overlap("0.0.0.0/0", "192.168.0.1/32"));
    assert_false(check_cidr_overlap("10.244.0.0/16", "10.245.0.0/16"));
    assert_true(check_cidr_overlap("10.244.0.0/15", "10.245.0.0/16"));
    assert_true(check_cidr_overlap("fd00::/8", "fd00:1::/64"));
    assert_false(check_cidr_overlap("fd00::/8", "10.0.0.0/8"));
    assert_false(check_cidr_overlap("10.0.0.0/33", "10.0.0.0/8"));
    assert_false(check_cidr_overlap("10.0.0.0", "10.0.0.0/8"));
    assert_false(check_cidr_overlap("10.0.0.0/", "nonsense"));
    assert_false(check_cidr_overlap("", ""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_good_group, set_up),
        cmocka_unit_test_setup(test_the_largest_group, set_up),
        cmocka_unit_test_setup(test_what_no_two_may_share, set_up),
        cmocka_unit_test_setup(test_all_faults_are_listed, set_up),
        cmocka_unit_test_setup(test_names_that_find_no_room, set_up),
        cmocka_unit_test_setup(test_clocks, set_up),
        cmocka_unit_test_setup(test_versions_and_ranges, set_up),
        cmocka_unit_test_setup(test_somebody_must_be_fit, set_up),
        cmocka_unit_test_setup(test_a_newcomer_against_the_record, set_up),
        cmocka_unit_test(test_ranges_overlap),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
