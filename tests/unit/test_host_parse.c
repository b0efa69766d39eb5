/* What this host's files and programs say, on odd input: fstab, sysctl.d, units, routes, firewalls, proxies.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "peer/executor/host/parse_boot.h"
#include "peer/executor/host/parse_net.h"

static void expect_fstab(const char *text, const char *wanted)
{
    char *out;
    size_t n;

    assert_int_equal(parse_fstab_comment(text, strlen(text), &out, &n, NULL), 0);
    assert_string_equal(out, wanted);
    assert_int_equal(strlen(out), n);
    free(out);
}

static void test_fstab(void **state)
{
    char first[64], *out;
    size_t n;
    (void)state;

    assert_int_equal(parse_fstab_swaps("", first, sizeof(first)), 0);
    assert_int_equal(parse_fstab_swaps("#/swap none swap sw 0 0\n # x\n\n\t\n", first, sizeof(first)), 0);
    assert_int_equal(
        parse_fstab_swaps("UUID=1\tnone\tswap\tsw\t0\t0\n/dev/b none swap\n", first, sizeof(first)), 2);
    assert_string_equal(first, "UUID=1");
    assert_int_equal(parse_fstab_swaps("/s none swap pri=1,noauto 0 0\n", first, sizeof(first)), 0);
    assert_int_equal(parse_fstab_swaps("/s none swap noautox 0 0\n", first, sizeof(first)), 1);
    assert_int_equal(parse_fstab_swaps("/swap /swap ext4 swap 0 0\n/swap swap\nswap", first, sizeof(first)),
                     0);
    expect_fstab("", "");
    expect_fstab("  /s none swap sw\r\n/ / ext4 x 0 1", "# kpeer:   /s none swap sw\r\n/ / ext4 x 0 1");
    expect_fstab("/s none swap", "# kpeer: /s none swap");
    assert_int_equal(parse_fstab_comment("a\0b", 3, &out, &n, NULL), KPEER_EINVAL);
}

static void test_sysctl(void **state)
{
    static const char key[] = "net.ipv4.ip_forward";
    char v[8];
    (void)state;

    assert_false(parse_sysctl_value("", key, v, sizeof(v)));
    assert_false(parse_sysctl_value(
        "#net.ipv4.ip_forward=1\n; net.ipv4.ip_forward = 1\nnet.ipv4.ip_forward\n=1\n", key, v, sizeof(v)));
    assert_false(parse_sysctl_value("net.ipv4.ip_forwardx=1\n", key, v, sizeof(v)));
    assert_true(parse_sysctl_value("-net/ipv4/ip_forward =\t1 \r\n", key, v, sizeof(v)));
    assert_string_equal(v, "1");
    assert_true(parse_sysctl_value("net.ipv4.ip_forward=1\nnet.ipv4.ip_forward=0", key, v, sizeof(v)));
    assert_string_equal(v, "0");
    assert_true(parse_sysctl_value("net.ipv4.ip_forward=\n", key, v, sizeof(v)));
    assert_string_equal(v, "");
    assert_true(parse_sysctl_value("net.ipv4.ip_forward=123456789012\n", key, v, sizeof(v)));
    assert_true(strlen(v) < sizeof(v));
}

static void test_modules_and_hosts(void **state)
{
    (void)state;
    assert_true(parse_modules_load("# x\nbr-netfilter\n", "br_netfilter"));
    assert_false(parse_modules_load("#br_netfilter\nbr_netfilter2\n", "br_netfilter"));
    assert_true(parse_modules_loaded("overlay 1 0 - Live", "overlay"));
    assert_true(parse_filesystem_known("nodev\toverlay\n", "overlay"));
    assert_true(parse_filesystem_known("\text4\n", "ext4"));
    assert_false(parse_filesystem_known("nodev\n", "nodev"));
    assert_true(parse_hosts_has("::1 a B # c\n", "b"));
    assert_false(parse_hosts_has("::1 a B # c\nc\n#1.2.3.4 c", "c"));
    assert_false(parse_hosts_has("name 1.2.3.4", "name"));
}

static void test_units(void **state)
{
    static const char text[] =
        "Id=a.swap\nLoadState=loaded\nUnitFileState=\nActiveState=active\n\nnonsense\n\n"
        "Id=b.service\nUnitFileState=enabled\nSourcePath=/etc/fstab";
    struct parse_unit u;
    const char *at;
    char longest[200];
    bool found;
    (void)state;

    at = parse_unit_next(text, &u, &found);
    assert_true(found && at);
    assert_string_equal(u.id, "a.swap");
    assert_string_equal(u.active, "active");
    at = parse_unit_next(at, &u, &found);
    assert_true(found && !at);
    assert_string_equal(u.source, "/etc/fstab");
    assert_null(parse_unit_next("", &u, &found));
    assert_false(found);
    memset(longest, 'x', sizeof(longest));
    memcpy(longest, "Id=", 3);
    longest[sizeof(longest) - 1] = 0;
    parse_unit_next(longest, &u, &found);
    assert_string_equal(u.id, "");
}

static void test_swaps(void **state)
{
    char area[32];
    int priority;
    const char *at;
    bool found;
    (void)state;

    at = parse_swap_next("Filename Type Size Used Priority\n/a\\040b file 1 0 -2\n/dev/c partition 1 0 7",
                         area, sizeof(area), &priority, &found);
    assert_true(found);
    assert_string_equal(area, "/a b");
    assert_int_equal(priority, -2);
    at = parse_swap_next(at, area, sizeof(area), &priority, &found);
    assert_true(found);
    assert_string_equal(area, "/dev/c");
    assert_int_equal(priority, 7);
    assert_null(parse_swap_next(at, area, sizeof(area), &priority, &found));
    assert_false(found);
}

static void test_networks(void **state)
{
    static const char *const own[] = {"cni0", NULL};
    struct parse_net a, b;
    char name[16];
    (void)state;

    assert_false(parse_cidr("", &a));
    assert_false(parse_cidr("10.0.0.0", &a));
    assert_false(parse_cidr("10.0.0.0/33", &a));
    assert_false(parse_cidr("10.0.0/8", &a));
    assert_false(parse_cidr("10.0.0.0/8x", &a));
    assert_false(parse_cidr("fd00::/8", &a));
    assert_true(parse_cidr("0.0.0.0/0", &a));
    assert_true(parse_cidr("10.244.7.1/16", &a));
    assert_true(parse_cidr("10.244.3.0/24", &b));
    assert_true(parse_nets_overlap(&a, &b));
    assert_false(parse_route_clash("", &a, own, &b, name));
    assert_false(parse_route_clash("x\ncni0 0003F40A 0 1 0 0 0 00FFFFFF\ny zz zz\n", &a, own, &b, name));
    assert_true(parse_route_clash("tun0 0003F40A 0 1 0 0 0 00FFFFFF", &a, own, &b, name));
    assert_int_equal(b.mask, 0xffffff00);
    assert_int_equal(parse_tcp_inode("0: 0: 0\n", 0), 0);
}

static void test_firewalls(void **state)
{
    struct parse_shut s;
    (void)state;

    assert_true(parse_ufw_active("Status: active\n\nTo"));
    assert_false(parse_ufw_active("Status: inactive\n"));
    assert_true(parse_ufw_has("Added:\nufw allow 22/tcp\n", "allow 22/tcp"));
    assert_false(parse_ufw_has("ufw allow 22/tcp comment 'x'\n", "allow 22"));
    assert_false(parse_iptables_shut("", &s));
    assert_false(parse_iptables_shut("*nat\n:INPUT DROP [0:0]\n-A INPUT -j DROP\n", &s));
    assert_true(parse_iptables_shut("*filter\n:INPUT DROP [0:0]\n", &s));
    assert_true(
        parse_iptables_shut("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -i lo -j ACCEPT\n-A INPUT -j REJECT "
                            "--reject-with x\nCOMMIT\n",
                            &s));
    assert_string_equal(s.why, "last rule");
    assert_false(parse_iptables_shut("*filter\n-A INPUT -j DROP\n-A INPUT -j LOG\n", &s));
    /* Found by fuzzing: a chain whose place is not known, for which no rule could be written. */
    assert_false(parse_nft_shut("type filter hook input priority filter; policy drop;\n", &s));
    assert_false(parse_nft_shut("table inet t {\n chain of_a_name_that_is_longer_than_what_is_kept {\n"
                                "  type filter hook input priority filter; policy drop;\n",
                                &s));
    assert_false(parse_nft_shut(
        "table inet f {\n chain i {\n  type filter hook forward priority 0; policy drop;\n }\n}\n", &s));
    assert_true(
        parse_nft_shut("table ip6 t {\n chain c {\n  type filter hook input priority filter; policy accept;\n"
                       "  iif lo accept\n  counter packets 12 bytes 34 drop\n }\n}\n",
                       &s));
    assert_string_equal(s.family, "ip6");
    assert_string_equal(s.table, "t");
    assert_string_equal(s.chain, "c");
    assert_true(parse_accepts("-A INPUT -p tcp -m multiport --dports 22,30000:32767 -j ACCEPT\n", "tcp",
                              30000, 32767));
    assert_true(parse_accepts("tcp dport { 22, 2379-2380 } accept\n", "tcp", 2379, 2380));
    assert_false(parse_accepts("tcp dport 22 accept\nudp dport 6443 accept\ntcp dport 6443 drop\n", "tcp",
                               6443, 6443));
    assert_false(parse_accepts("tcp dport 64430 accept\n", "tcp", 6443, 6443));
}

static void test_variables(void **state)
{
    char v[32];
    (void)state;

    assert_false(parse_variable("", "http_proxy", v, sizeof(v)));
    assert_false(parse_variable("#http_proxy=x\nxhttp_proxy=y\nhttp_proxy=\n", "http_proxy", v, sizeof(v)));
    assert_true(parse_variable("A=b\nHTTP_PROXY=\"http://p:1\"\n", "http_proxy", v, sizeof(v)));
    assert_string_equal(v, "http://p:1");
    assert_true(parse_variable("Environment=A=b \"http_proxy=c d\" NO_PROXY=e\n", "no_proxy", v, sizeof(v)));
    assert_string_equal(v, "e");
    assert_true(parse_list_has("a,b ,c", "b"));
    assert_false(parse_list_has("ab,,b2", "b"));
    assert_false(parse_list_has("", "b"));
}

/* A text with something for each, cut at each length: an answer, and nothing beyond the end. */
static void test_cut_anywhere(void **state)
{
    static const char text[] =
        "*filter\n:INPUT DROP\n-A INPUT -j DROP\ntable a b {\nchain c {\ntype filter hook input ;\n"
        "counter packets 1 bytes 2 drop\n}\nId=x\nufw allow 1\nhttp_proxy='a\n/a\\04 b swap -1\n"
        "tun0 0003F40A 0 1 0 0 0 00FFFFFF\n0: 00000000:280A 0:0 0A 0:0 0:0 0 0 0 1\n";
    static const char *const own[] = {NULL};
    struct parse_net net = {0, 0}, r;
    struct parse_shut shut;
    struct parse_unit u;
    char v[16], *fresh;
    int priority;
    bool found;
    size_t n;
    (void)state;

    for (size_t i = 0; i <= strlen(text); i++) {
        char *cut = strndup(text, i); /* on its own, so that a sanitizer sees its end */

        parse_iptables_shut(cut, &shut);
        parse_nft_shut(cut, &shut);
        parse_accepts(cut, "tcp", 1, 1);
        parse_unit_next(cut, &u, &found);
        parse_variable(cut, "http_proxy", v, sizeof(v));
        parse_route_clash(cut, &net, own, &r, v);
        parse_tcp_inode(cut, 10250);
        parse_swap_next(cut, v, sizeof(v), &priority, &found);
        parse_hosts_has(cut, "b");
        assert_int_equal(parse_fstab_comment(cut, i, &fresh, &n, NULL), 0);
        free(fresh);
        free(cut);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fstab),
        cmocka_unit_test(test_sysctl),
        cmocka_unit_test(test_modules_and_hosts),
        cmocka_unit_test(test_units),
        cmocka_unit_test(test_swaps),
        cmocka_unit_test(test_networks),
        cmocka_unit_test(test_firewalls),
        cmocka_unit_test(test_variables),
        cmocka_unit_test(test_cut_anywhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
