/* The rtnetlink parser on crafted messages: what the kernel says, and what it never would. */
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "discovery/nic.h"

struct dump {
    size_t n;
    size_t message; /* where the open message begins */
    uint8_t b[32768];
};

static void put(struct dump *d, const void *bytes, size_t n)
{
    assert_true(d->n + NLMSG_ALIGN(n) <= sizeof d->b);
    memcpy(d->b + d->n, bytes, n);
    memset(d->b + d->n + n, 0, NLMSG_ALIGN(n) - n);
    d->n += NLMSG_ALIGN(n);
}

static void begin(struct dump *d, uint16_t type, const void *body, size_t n)
{
    struct nlmsghdr head = {.nlmsg_type = type};
    d->message = d->n;
    put(d, &head, sizeof head);
    put(d, body, n);
}

static void end(struct dump *d)
{
    uint32_t len = (uint32_t)(d->n - d->message);
    memcpy(d->b + d->message, &len, sizeof len);
}

static void attribute(struct dump *d, unsigned short type, const void *bytes, size_t n)
{
    struct rtattr head = {.rta_type = type, .rta_len = (unsigned short)(sizeof head + n)};
    put(d, &head, sizeof head);
    put(d, bytes, n);
}

static void put_link(struct dump *d, int index, const char *name, const char *kind, unsigned flags)
{
    const uint8_t mac[6] = {2, 0, 0, 0, 0, (uint8_t)index};
    struct ifinfomsg body = {.ifi_index = index, .ifi_flags = flags};
    begin(d, RTM_NEWLINK, &body, sizeof body);
    attribute(d, IFLA_IFNAME, name, strlen(name) + 1);
    attribute(d, IFLA_ADDRESS, mac, sizeof mac);
    if (kind) {
        struct dump info = {.n = 0};
        attribute(&info, IFLA_INFO_KIND, kind, strlen(kind) + 1);
        attribute(d, IFLA_LINKINFO | NLA_F_NESTED, info.b, info.n);
    }
    end(d);
}

static void put_address(struct dump *d, unsigned index, uint8_t a, uint8_t b, uint8_t c, uint8_t e,
                        uint8_t prefix)
{
    const uint8_t bytes[4] = {a, b, c, e};
    struct ifaddrmsg body = {.ifa_family = AF_INET, .ifa_prefixlen = prefix, .ifa_index = index};
    begin(d, RTM_NEWADDR, &body, sizeof body);
    attribute(d, IFA_ADDRESS, bytes, 4);
    attribute(d, IFA_LOCAL, bytes, 4);
    end(d);
}

static void put_host(struct dump *d)
{
    const unsigned up = IFF_UP | IFF_MULTICAST | IFF_RUNNING;
    put_link(d, 1, "lo", NULL, IFF_UP | IFF_LOOPBACK);
    put_link(d, 2, "eth0", NULL, up);
    put_link(d, 3, "eth1", "veth", up);
    put_link(d, 4, "docker0", "bridge", up);
    put_link(d, 5, "flannel.1", "vxlan", up);
    put_link(d, 6, "overlay", "vxlan", up);
    put_link(d, 7, "br0", "bridge", up);
    put_link(d, 8, "eth2", NULL, IFF_MULTICAST);
    put_address(d, 1, 127, 0, 0, 1, 8);
    put_address(d, 2, 10, 0, 2, 15, 24);
    put_address(d, 3, 192, 168, 56, 11, 24);
    put_address(d, 4, 172, 17, 0, 1, 16);
    put_address(d, 8, 10, 9, 9, 9, 24);
}

static const struct nic *find(const struct nic_table *t, const char *name)
{
    for (size_t i = 0; i < t->count; i++)
        if (strcmp(t->nic[i].name, name) == 0)
            return &t->nic[i];
    return NULL;
}

static void test_a_host_with_containers(void **state)
{
    struct dump d = {.n = 0};
    struct nic_table t = {0};
    char text[STEP_CIDR_BYTES];
    (void)state;
    put_host(&d);
    begin(&d, NLMSG_DONE, "\0\0\0", 4);
    end(&d);
    assert_int_equal(nic_parse(&t, d.b, d.n), 0);
    assert_true(t.done);
    assert_int_equal(t.count, 5);
    assert_null(find(&t, "docker0"));
    assert_null(find(&t, "flannel.1"));
    assert_null(find(&t, "overlay"));
    const struct nic *eth0 = find(&t, "eth0"), *eth1 = find(&t, "eth1"), *br0 = find(&t, "br0");
    assert_true(eth0 && eth1 && br0);
    assert_true(nic_usable(eth0) && nic_usable(eth1));
    assert_false(nic_usable(find(&t, "lo")));
    assert_false(nic_usable(find(&t, "eth2"))); /* down */
    assert_false(nic_usable(br0));              /* no address */
    assert_true(nic_identifies(eth0) && nic_identifies(eth1));
    assert_false(nic_identifies(br0));
    assert_string_equal(eth1->kind, "veth");
    assert_int_equal(eth0->mac[5], 2);
    assert_int_equal(eth0->address_count, 1);
    network_text(&eth1->address[0], text);
    assert_string_equal(text, "192.168.56.0/24");
}

static void test_every_truncation_ends_well(void **state)
{
    struct dump d = {.n = 0};
    (void)state;
    put_host(&d);
    for (size_t i = 0; i <= d.n; i++) {
        struct nic_table t = {0};
        uint8_t *exact = malloc(i ? i : 1); /* so that a read beyond the end is seen by the sanitizer */
        assert_non_null(exact);
        memcpy(exact, d.b, i);
        int rc = nic_parse(&t, exact, i);
        assert_true(rc == 0 || rc == KPEER_EINVAL);
        assert_true(t.count <= 5);
        free(exact);
    }
}

static void test_every_flipped_bit_ends_well(void **state)
{
    struct dump d = {.n = 0};
    (void)state;
    put_host(&d);
    uint8_t *exact = malloc(d.n);
    assert_non_null(exact);
    memcpy(exact, d.b, d.n);
    for (size_t i = 0; i < 8 * d.n; i++) {
        struct nic_table t = {0};
        exact[i / 8] ^= (uint8_t)(1U << i % 8);
        (void)nic_parse(&t, exact, d.n);
        for (size_t k = 0; k < t.count; k++) {
            assert_true(strlen(t.nic[k].name) < sizeof t.nic[k].name);
            assert_true(t.nic[k].address_count <= NIC_ADDRESSES_MAX);
        }
        exact[i / 8] ^= (uint8_t)(1U << i % 8);
    }
    free(exact);
}

static void test_limits(void **state)
{
    static struct nic_table t;
    struct dump d = {.n = 0};
    char name[16];
    (void)state;
    for (int i = 1; i <= NIC_MAX + 5; i++) {
        snprintf(name, sizeof name, "eth%d", i);
        put_link(&d, i, name, NULL, IFF_UP);
    }
    for (uint8_t i = 0; i < NIC_ADDRESSES_MAX + 3; i++)
        put_address(&d, 1, 10, 0, 0, i, 24);
    assert_int_equal(nic_parse(&t, d.b, d.n), 0);
    assert_int_equal(t.count, NIC_MAX);
    assert_int_equal(t.nic[0].address_count, NIC_ADDRESSES_MAX);
    assert_int_equal(t.left_out, 5 + 3);
}

static void test_a_name_without_its_end(void **state)
{
    struct dump d = {.n = 0};
    struct nic_table t = {0};
    struct ifinfomsg body = {.ifi_index = 2, .ifi_flags = IFF_UP};
    (void)state;
    begin(&d, RTM_NEWLINK, &body, sizeof body);
    attribute(&d, IFLA_IFNAME, "a-name-that-is-much-too-long", 28);
    end(&d);
    assert_int_equal(nic_parse(&t, d.b, d.n), 0);
    assert_int_equal(t.count, 0);
}

static void test_the_kernel_refuses(void **state)
{
    struct dump d = {.n = 0};
    struct nic_table t = {0};
    struct nlmsgerr body = {.error = -1};
    (void)state;
    begin(&d, NLMSG_ERROR, &body, sizeof body);
    end(&d);
    assert_int_equal(nic_parse(&t, d.b, d.n), 0);
    assert_int_equal(t.error, 1);
}

static void test_ignored_names(void **state)
{
    static const char *const ignored[] = {"docker0", "cni0",  "flannel.1", "veth12ab",  "virbr0",
                                          "br-0a1b", "tunl0", "cali123",   "kube-ipvs0"};
    static const char *const kept[] = {"eth0", "enp0s8", "br0", "bond0", "wlan0", "br-lan", "ens3"};
    (void)state;
    for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++)
        assert_true(nic_ignored(ignored[i], ""));
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        assert_false(nic_ignored(kept[i], ""));
}

static void test_this_host(void **state)
{
    static struct nic_table t;
    struct nic_watch *w = NULL;
    struct err err = {0};
    (void)state;
    if (nic_list(&t, &err))
        fail_msg("%s", err.text);
    assert_true(t.done);
    const struct nic *lo = find(&t, "lo");
    assert_true(lo && lo->loopback);
    assert_int_equal(nic_open(&w, NULL), 0);
    assert_true(nic_fd(w) >= 0);
    (void)nic_drain(w);
    nic_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_host_with_containers),
        cmocka_unit_test(test_every_truncation_ends_well),
        cmocka_unit_test(test_every_flipped_bit_ends_well),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_a_name_without_its_end),
        cmocka_unit_test(test_the_kernel_refuses),
        cmocka_unit_test(test_ignored_names),
        cmocka_unit_test(test_this_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
