/* What kubeadm, kubectl and iptables-save print, as they print it and bent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "peer/executor/kube/parse.h"
#include "peer/executor/kube/rules.h"

static const char node_json[] =
    "{\"kind\": \"Node\", \"metadata\": {\"name\": \"node2\", \"annotations\": "
    "{\"flannel.alpha.coreos.com/public-ip\": "
    "\"192.168.56.12\"}}, \"spec\": {\"podCIDR\": \"10.10.1.0/24\"}, \"status\": {\"addresses\": [{\"type\": "
    "\"InternalIP\", \"address\": \"192.168.56.12\"}, {\"type\": \"Hostname\", \"address\": \"node2\"}], "
    "\"conditions\": "
    "[{\"type\": \"MemoryPressure\", \"status\": \"False\"}, {\"type\": \"Ready\", \"status\": \"True\"}], "
    "\"nodeInfo\": "
    "{\"machineID\": \"0123456789abcdef0123456789abcdef\", \"systemUUID\": "
    "\"4C4C4544-0042-3510-8052-B4C04F4E4D32\"}}}";

static const char pods_json[] = "{\"kind\": \"List\", \"items\": [{\"metadata\": {\"deletionTimestamp\": "
                                "\"2024-01-01T00:00:00Z\"}, \"status\": "
                                "{\"phase\": \"Running\", \"podIP\": \"10.10.9.9\"}}, {\"metadata\": "
                                "{\"name\": \"p\"}, \"status\": {\"phase\": "
                                "\"Running\", \"podIP\": \"10.10.1.2\", \"conditions\": [{\"type\": "
                                "\"Ready\", \"status\": \"True\"}]}}]}";

static void test_version(void **state)
{
    (void)state;
    static const char good[] = "{\"clientVersion\": {\"major\": \"1\", \"gitVersion\": \"v1.20.2\"}}";
    static const char *const bad[] = {
        "",
        "null",
        "[]",
        "{}",
        "{\"clientVersion\": 3}",
        "v1.20.2",
        "{\"clientVersion\": {\"gitVersion\": \"1.20\"}}",
        "{\"clientVersion\": {\"gitVersion\": \"v1||`\x7f|4\"}}", /* by fuzzing */
        "{\"clientVersion\": {\"gitVersion\": [1]}}",
        "{\"clientVersion\": "};
    char version[STEP_VERSION_BYTES] = "untouched";
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(parse_kubeadm_version(bad[i], strlen(bad[i]), version, NULL), KPEER_EINVAL);
    assert_string_equal(version, "untouched");
    assert_int_equal(parse_kubeadm_version(good, strlen(good), version, NULL), 0);
    assert_string_equal(version, "v1.20.2");
}

static void test_node(void **state)
{
    (void)state;
    struct parse_node n;
    assert_int_equal(parse_node(node_json, strlen(node_json), &n, NULL), 0);
    assert_string_equal(n.name, "node2");
    assert_string_equal(n.internal_ip, "192.168.56.12");
    assert_int_equal(n.internal_ips, 1);
    assert_string_equal(n.flannel_ip, "192.168.56.12");
    assert_string_equal(n.pod_cidr, "10.10.1.0/24");
    assert_string_equal(n.system_uuid, "4C4C4544-0042-3510-8052-B4C04F4E4D32");
    assert_true(n.ready);

    static const char odd[] =
        "{\"metadata\": [], \"spec\": null, \"status\": {\"addresses\": {\"type\": 1}, \"conditions\": "
        "[7, {\"type\": \"Ready\", \"status\": \"False\", \"message\": \"no CNI\"}]}}";
    assert_int_equal(parse_node(odd, strlen(odd), &n, NULL), 0);
    assert_false(n.ready);
    assert_string_equal(n.ready_reason, "no CNI");
    assert_string_equal(n.name, "");
    assert_int_equal(n.internal_ips, 0);
}

static void test_pods(void **state)
{
    static const char text[] = "{\"items\": [{\"metadata\": {\"name\": \"a\"}, \"spec\": {\"nodeName\": "
                               "\"node2\"}, \"status\": {\"phase\": "
                               "\"Running\", \"conditions\": [{\"type\": \"Ready\", \"status\": "
                               "\"False\"}]}}, {\"metadata\": {\"name\": \"b\"}, "
                               "\"status\": {\"phase\": \"Pending\", \"conditions\": [{\"type\": "
                               "\"PodScheduled\", \"status\": \"False\", "
                               "\"message\": \"0/1 nodes are available\"}]}}]}";
    struct parse_pod pods[2];
    size_t count = 0;
    (void)state;
    assert_int_equal(parse_pods(text, strlen(text), pods, 2, &count, NULL), 0);
    assert_int_equal(count, 2);
    assert_string_equal(pods[0].name, "a");
    assert_string_equal(pods[0].node, "node2");
    assert_true(pods[0].started && !pods[0].running);
    assert_string_equal(pods[1].node, "");
    assert_string_equal(pods[1].state, "0/1 nodes are available");
    assert_int_equal(parse_pods(text, strlen(text), pods, 1, &count, NULL), 0);
    assert_int_equal(count, 1);
}

static void test_node_names(void **state)
{
    static const char text[] =
        "node/node1\r\nnode/node2\npod/node3\nnode/Node4\nnode/\nnode/-x\nnode/node5.example\n";
    char names[3][STEP_NAME_BYTES], many[4096] = "";
    size_t total = 0;
    (void)state;
    assert_int_equal(parse_node_names(text, strlen(text), names, 3, &total), 3);
    assert_int_equal(total, 3);
    assert_string_equal(names[0], "node1");
    assert_string_equal(names[2], "node5.example");
    for (int i = 0; i < 100; i++)
        sprintf(many + strlen(many), "node/n%d\n", i);
    assert_int_equal(parse_node_names(many, strlen(many), names, 3, &total), 3);
    assert_int_equal(total, 100);
    assert_string_equal(names[0], "n33"); /* spread over all */
    assert_string_equal(names[1], "n66");
    assert_string_equal(names[2], "n99");
    assert_int_equal(parse_node_names("", 0, names, 3, &total), 0);
    assert_int_equal(total, 0);
}

static void test_pod(void **state)
{
    (void)state;
    struct parse_pod p;
    assert_int_equal(parse_pod(pods_json, strlen(pods_json), &p, NULL), 0);
    assert_true(p.found && p.running);
    assert_string_equal(p.ip, "10.10.1.2"); /* the one that is being deleted does not count */
    static const char none[] = "{\"items\": []}";
    assert_int_equal(parse_pod(none, strlen(none), &p, NULL), 0);
    assert_false(p.found);
    static const char waiting[] =
        "{\"items\": [{\"status\": {\"phase\": \"Pending\", \"containerStatuses\": [{\"state\": "
        "{\"waiting\": {\"reason\": \"ImagePullBackOff\", \"message\": \"no route\"}}}]}}]}";
    assert_int_equal(parse_pod(waiting, strlen(waiting), &p, NULL), 0);
    assert_true(p.found && !p.running);
    assert_string_equal(p.state, "ImagePullBackOff: no route");
}

/* Every truncation and a change in each byte: an error or an answer, never a crash. */
static void test_bent(void **state)
{
    (void)state;
    static const char *const good[] = {node_json, pods_json};
    for (size_t g = 0; g < 2; g++) {
        size_t n = strlen(good[g]);
        char *bent = malloc(n + 1);
        assert_non_null(bent);
        for (size_t i = 0; i < n; i++) {
            struct parse_node node;
            struct parse_pod pod;
            memcpy(bent, good[g], n + 1);
            assert_int_not_equal(parse_node(bent, i, &node, NULL), 0);
            bent[i] ^= 0x0d;
            (void)parse_node(bent, n, &node, NULL);
            (void)parse_pod(bent, n, &pod, NULL);
        }
        free(bent);
    }
    size_t deep = 100000;
    char *nested = malloc(deep);
    struct parse_node node;
    assert_non_null(nested);
    memset(nested, '[', deep);
    assert_int_equal(parse_node(nested, deep, &node, NULL), KPEER_EINVAL);
    free(nested);
}

static void test_images(void **state)
{
    (void)state;
    static const char text[] =
        "W1122 version.go:101] could not fetch\nk8s.gcr.io/kube-apiserver:v1.20.2\r\n\n"
        "k8s.gcr.io/pause:3.2\nrm -rf / :\n$(x):1\nk8s.gcr.io/coredns/coredns:v1.8.6\n";
    struct parse_images images;
    parse_images(text, strlen(text), &images);
    assert_int_equal(images.count, 3);
    assert_string_equal(images.names[0], "k8s.gcr.io/kube-apiserver:v1.20.2");
    assert_string_equal(parse_image_of(&images, "pause"), "k8s.gcr.io/pause:3.2");
}

static void test_phase(void **state)
{
    (void)state;
    char phase[32] = "";
    assert_true(parse_phase("[wait-control-plane] Waiting for the kubelet", phase, sizeof phase));
    assert_string_equal(phase, "wait-control-plane");
    assert_false(parse_phase("\t[WARNING SystemVerification]: x", phase, sizeof phase));
    assert_false(parse_phase("[ERROR x]", phase, sizeof phase));
    assert_false(parse_phase("[]", phase, sizeof phase));
    assert_false(parse_phase("[unended", phase, sizeof phase));
    assert_false(parse_phase("[aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa] x", phase, sizeof phase));
    assert_false(parse_phase("", phase, sizeof phase));
}

static void masked(const char *line, const char *expected)
{
    char copy[300];
    snprintf(copy, sizeof copy, "%s", line);
    parse_mask(copy);
    assert_string_equal(copy, expected);
}

static void test_mask(void **state)
{
    (void)state;
    masked("kubeadm join 192.168.56.11:6443 --token abcdef.0123456789abcdef \\",
           "kubeadm join 192.168.56.11:6443 --token ******.**************** \\");
    masked("token=abcdef.0123456789abcdef,x", "token=******.****************,x");
    masked("sha256:e8721b8630d5b562e23c010c70559a6d3084f629abad6a2920e87855f8fb96f3",
           "sha256:e8721b8630d5b562e23c010c70559a6d3084f629abad6a2920e87855f8fb96f3");
    masked("--certificate-key e8721b8630d5b562e23c010c70559a6d3084f629abad6a2920e87855f8fb96f3",
           "--certificate-key ****************************************************************");
    masked("apiserver serving cert is signed for kubernetes.default.svc.cluster.local",
           "apiserver serving cert is signed for kubernetes.default.svc.cluster.local");
    masked("", "");
    masked("abcdef.", "abcdef.");
}

static void test_cause(void **state)
{
    (void)state;
    char cause[300];
    parse_cause("W1122 00:00 x\nerror execution phase preflight: [preflight] Some fatal errors occurred:\n"
                "\t[ERROR NumCPU]: the number of available CPUs 1 is less than the required 2\n"
                "\t[ERROR Swap]: running with swap on is not supported\n"
                "[preflight] If you know what you are doing, you can make a check non-fatal\n"
                "To see the stack trace of this error execute with --v=5 or higher\n",
                "[init] Using Kubernetes version: v1.20.2\n", cause, sizeof cause);
    assert_string_equal(cause, "[ERROR NumCPU]: the number of available CPUs 1 is less than the required 2; "
                               "[ERROR Swap]: running with swap on is not supported");
    assert_non_null(strstr(parse_hint(cause), "swap"));
    parse_cause("error execution phase wait-control-plane: couldn't initialize a Kubernetes cluster\n"
                "To see the stack trace of this error execute with --v=5 or higher\n",
                "", cause, sizeof cause);
    assert_string_equal(cause, "couldn't initialize a Kubernetes cluster");
    parse_cause("", "one\ntwo\n\n", cause, sizeof cause);
    assert_string_equal(cause, "two");
    parse_cause("", "", cause, sizeof cause);
    assert_string_equal(cause, "");
    /* Found by fuzzing: a token at the place where the text is cut must not be left half and readable. */
    char cut[24];
    parse_cause("error abcdef.0123456789abcdef", "", cut, sizeof cut);
    assert_string_equal(cut, "error ******.**********");
    parse_cause("error: token abcdef.0123456789abcdef is bad", "", cause, sizeof cause);
    assert_null(strstr(cause, "0123456789abcdef"));
    char small[8];
    parse_cause("[ERROR A]: aaaaaaaaaaaaaaaaaa\n[ERROR B]: b\n", "", small, sizeof small);
    assert_string_equal(small, "[ERROR ");
    assert_true(parse_hint("")[0] != '\0');
}

static void test_uuid(void **state)
{
    (void)state;
    assert_true(
        parse_uuid_equal("4C4C4544-0042-3510-8052-B4C04F4E4D32", "4c4c4544-0042-3510-8052-b4c04f4e4d32\n"));
    assert_true(
        parse_uuid_equal("4C4C4544-0042-3510-8052-B4C04F4E4D32", "44454c4c-4200-1035-8052-b4c04f4e4d32"));
    assert_true(parse_uuid_equal("0123456789abcdef0123456789abcdef", "0123456789ABCDEF0123456789ABCDEF"));
    assert_false(
        parse_uuid_equal("4C4C4544-0042-3510-8052-B4C04F4E4D32", "4c4c4544-0042-3510-8052-b4c04f4e4d33"));
    assert_false(parse_uuid_equal("", ""));
    assert_false(
        parse_uuid_equal("00000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-000000000000"));
    assert_false(parse_uuid_equal("ffffffffffffffffffffffffffffffff", "ffffffffffffffffffffffffffffffff"));
    assert_false(parse_uuid_equal("Not Settable", "Not Settable"));
}

static void test_cidr(void **state)
{
    (void)state;
    assert_true(parse_in_cidr("10.10.1.2", "10.10.1.0/24"));
    assert_false(parse_in_cidr("10.10.2.2", "10.10.1.0/24"));
    assert_true(parse_in_cidr("10.10.1.130", "10.10.1.128/25"));
    assert_false(parse_in_cidr("10.10.1.127", "10.10.1.128/25"));
    assert_true(parse_in_cidr("1.2.3.4", "0.0.0.0/0"));
    assert_true(parse_in_cidr("fd00::5", "fd00::/64"));
    assert_false(parse_in_cidr("fd01::5", "fd00::/64"));
    static const char *const bad[] = {"",     "10.10.1.0", "10.10.1.0/", "10.10.1.0/33", "10.10.1.0/24x",
                                      "x/24", "/24"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(parse_in_cidr("10.10.1.2", bad[i]));
    assert_false(parse_in_cidr("", "10.10.1.0/24"));
}

static void test_rules(void **state)
{
    (void)state;
    static const char saved[] =
        "# Generated by iptables-save\n*nat\n:PREROUTING ACCEPT [0:0]\n:DOCKER - [0:0]\n"
        ":KUBE-SERVICES - [0:0]\n:FLANNEL-POSTRTG - [0:0]\n"
        "-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n"
        "-A PREROUTING -j DOCKER\n-A KUBE-SERVICES -j MARK --set-xmark 0x4000/0x4000\n"
        "-A POSTROUTING -m comment --comment \"flanneld masq\" -j FLANNEL-POSTRTG\nCOMMIT\n"
        "*filter\n:INPUT ACCEPT [1:2]\n-A INPUT -p tcp --dport 22 -j ACCEPT\nCOMMIT\n";
    char *out = NULL;
    size_t n = 0;
    size_t count = 0;
    assert_int_equal(rules_removal(saved, strlen(saved), &out, &n, &count, NULL), 0);
    assert_int_equal(count, 4);
    assert_string_equal(out,
                        "*nat\n:KUBE-SERVICES - [0:0]\n:FLANNEL-POSTRTG - [0:0]\n"
                        "-D PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n"
                        "-D POSTROUTING -m comment --comment \"flanneld masq\" -j FLANNEL-POSTRTG\n"
                        "-X KUBE-SERVICES\n-X FLANNEL-POSTRTG\nCOMMIT\n*filter\nCOMMIT\n");
    free(out);
    static const char others[] = "*filter\n:MY-KUBE-X - [0:0]\n-A INPUT -j MY-KUBE-X\nCOMMIT\n";
    assert_int_equal(rules_removal(others, strlen(others), &out, &n, &count, NULL), 0);
    assert_null(out);
    assert_int_equal(count, 0);
    for (size_t i = 0; i < sizeof saved; i++) { /* cut anywhere */
        assert_int_equal(rules_removal(saved, i, &out, &n, &count, NULL), 0);
        free(out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version), cmocka_unit_test(test_node),       cmocka_unit_test(test_pod),
        cmocka_unit_test(test_pods),    cmocka_unit_test(test_node_names), cmocka_unit_test(test_bent),
        cmocka_unit_test(test_images),  cmocka_unit_test(test_phase),      cmocka_unit_test(test_mask),
        cmocka_unit_test(test_cause),   cmocka_unit_test(test_uuid),       cmocka_unit_test(test_cidr),
        cmocka_unit_test(test_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
