/* Flannel's manifest: kpeer's own, old and new styles of users', and bad ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <jansson.h>
#include <cmocka.h>

#include "peer/executor/kube/flannel.h"
#include "peer/executor/kube/yamlout.h"
#include "peer/executor/kube/yamltree.h"

static struct yamltree tree;

static const struct flannel_wish reach = {
    .pod_cidr = "10.10.0.0/16", .backend = "", .choice = FLANNEL_CAN_REACH, .address = "192.168.56.11"};

/* The node at a path in document `i`; 0: nothing there. */
static int find(size_t i, const char *path)
{
    yaml_document_t *d = &tree.documents[i];
    char copy[200];
    char *rest = NULL;
    int node = 1;
    snprintf(copy, sizeof copy, "%s", path);
    for (char *word = strtok_r(copy, "/", &rest); word && node; word = strtok_r(NULL, "/", &rest)) {
        int next = yamltree_get(d, node, word);
        node = next ? next : yamltree_item(d, node, (size_t)atoi(word));
    }
    return node;
}

static const char *at(size_t i, const char *path)
{
    return yamltree_text(&tree.documents[i], find(i, path));
}

static size_t with_kind(const char *kind)
{
    for (size_t i = 0; i < tree.count; i++)
        if (strcmp(at(i, "kind"), kind) == 0)
            return i;
    fail_msg("no %s in the output", kind);
    return 0;
}

static void adapt(const char *manifest, const struct flannel_wish *wish)
{
    struct err err = {0};
    char *bytes = NULL;
    size_t n = 0;
    if (flannel_adapt(manifest, strlen(manifest), wish, &bytes, &n, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(yamltree_load(bytes, n, &tree, &err), 0);
    yamlout_free(bytes, n);
}

static void check_net_conf(size_t i, const char *network, const char *type)
{
    json_t *conf = json_loads(
        yamltree_text(&tree.documents[i], yamltree_get(&tree.documents[i], find(i, "data"), "net-conf.json")),
        0, NULL);
    assert_non_null(conf);
    assert_string_equal(json_string_value(json_object_get(conf, "Network")), network);
    assert_string_equal(json_string_value(json_object_get(json_object_get(conf, "Backend"), "Type")), type);
    json_decref(conf);
}

#define CONFIG_MAP(json)                                                                                     \
    "kind: ConfigMap\napiVersion: v1\nmetadata:\n  name: kube-flannel-cfg\n  namespace: "                    \
    "kube-system\ndata:\n"                                                                                   \
    "  cni-conf.json: |\n    {\"name\": \"cbr0\"}\n  net-conf.json: |\n    " json "\n"
#define NET_CONF "{ \"Network\": \"10.244.0.0/16\", \"Backend\": { \"Type\": \"vxlan\", \"VNI\": 7 } }"
#define DAEMON(container)                                                                                    \
    "---\napiVersion: apps/v1\nkind: DaemonSet\nmetadata:\n  name: kube-flannel-ds\nspec:\n  template:\n   " \
    " spec:\n"                                                                                               \
    "      hostNetwork: true\n      containers:\n      - name: kube-flannel\n        image: "                \
    "quay.io/flannel:v0.14\n" container

static void test_own(void **state)
{
    (void)state;
    char *own = NULL;
    size_t n = 0;
    assert_int_equal(flannel_own("", NULL, &own, &n, NULL), 0);
    adapt(own, &reach);
    yamlout_free(own, n);
    size_t daemon = with_kind("DaemonSet");
    check_net_conf(with_kind("ConfigMap"), "10.10.0.0/16", "vxlan");
    assert_string_equal(at(daemon, "spec/template/spec/containers/0/image"),
                        "docker.io/flannel/flannel:v0.22.3");
    assert_string_equal(at(daemon, "spec/template/spec/initContainers/0/image"),
                        "docker.io/flannel/flannel-cni-plugin:v1.2.0");
    assert_string_equal(at(daemon, "spec/template/spec/containers/0/args/2"), "--iface=$(KPEER_HOST_IP)");
    assert_string_equal(at(daemon, "spec/template/spec/containers/0/args/3"),
                        "--iface-can-reach=192.168.56.11");
    assert_string_equal(at(daemon, "spec/template/spec/containers/0/env/0/name"), "POD_NAME");
    assert_string_equal(at(daemon, "spec/template/spec/containers/0/env/3/name"), "KPEER_HOST_IP");
    assert_string_equal(at(daemon, "spec/template/spec/containers/0/env/3/valueFrom/fieldRef/fieldPath"),
                        "status.hostIP");
    assert_string_equal(at(with_kind("Namespace"), "metadata/name"), "kube-flannel");
    yamltree_fini(&tree);

    assert_int_equal(flannel_own("mirror.example/f", "v0.25.5", &own, &n, NULL), 0);
    struct flannel_wish wish = reach;
    wish.choice = FLANNEL_INTERFACE;
    wish.interface = "eth1";
    wish.backend = "host-gw";
    adapt(own, &wish);
    yamlout_free(own, n);
    daemon = with_kind("DaemonSet");
    check_net_conf(with_kind("ConfigMap"), "10.10.0.0/16", "host-gw");
    assert_string_equal(at(daemon, "spec/template/spec/containers/0/image"),
                        "mirror.example/f/flannel:v0.25.5");
    assert_string_equal(at(daemon, "spec/template/spec/containers/0/args/2"), "--iface=eth1");
    yamltree_fini(&tree);
}

/* All in `command`, as Flannel's manifests had it once, with interface options in several spellings. */
static void test_old_style(void **state)
{
    (void)state;
    adapt(CONFIG_MAP(NET_CONF)
              DAEMON("        command: [ \"/opt/bin/flanneld\", \"--iface\", \"eth0\", \"--ip-masq\", "
                     "\"-iface-regex=eth.*\", \"--kube-subnet-mgr\", \"--iface-can-reach=8.8.8.8\" ]\n"),
          &reach);
    assert_int_equal(yamltree_length(&tree.documents[1], find(1, "spec/template/spec/containers/0/command")),
                     4);
    assert_string_equal(at(1, "spec/template/spec/containers/0/command/1"), "--ip-masq");
    assert_string_equal(at(1, "spec/template/spec/containers/0/command/3"), "--iface=$(KPEER_HOST_IP)");
    assert_string_equal(at(1, "spec/template/spec/containers/0/env/0/name"), "KPEER_HOST_IP");
    assert_string_equal(at(1, "spec/template/spec/hostNetwork"), "true");
    check_net_conf(0, "10.10.0.0/16", "vxlan");
    yamltree_fini(&tree);
}

/* The backend's own settings stay with their type, and go with it. */
static void test_backend_settings(void **state)
{
    (void)state;
    struct flannel_wish wish = reach;
    const char *manifest = CONFIG_MAP(NET_CONF) DAEMON("        args: [--kube-subnet-mgr]\n");
    wish.backend = "vxlan";
    adapt(manifest, &wish);
    assert_non_null(strstr(at(0, "data/net-conf.json"), "VNI"));
    yamltree_fini(&tree);
    wish.backend = "host-gw";
    adapt(manifest, &wish);
    assert_null(strstr(at(0, "data/net-conf.json"), "VNI"));
    check_net_conf(0, "10.10.0.0/16", "host-gw");
    yamltree_fini(&tree);
    wish.pod_cidr = "fd00:10::/56";
    adapt(manifest, &wish);
    assert_non_null(strstr(at(0, "data/net-conf.json"), "\"IPv6Network\": \"fd00:10::/56\""));
    yamltree_fini(&tree);
}

/* What is not Flannel's, and what is none of kpeer's business in it, passes through. */
static void test_rest_is_kept(void **state)
{
    (void)state;
    adapt(
        "# a comment\n" CONFIG_MAP(NET_CONF) DAEMON(
            "        args: [--kube-subnet-mgr]\n        tty: yes\n"
            "      - name: other\n        args: [--iface=keep]\n") "---\n---\nkind: Service\nmetadata: "
                                                                   "{name: web, annotations: {a: 'true'}}\n",
        &reach);
    assert_int_equal(tree.count, 3);
    assert_string_equal(at(1, "spec/template/spec/containers/0/tty"), "yes");
    assert_string_equal(at(1, "spec/template/spec/containers/1/args/0"), "--iface=keep");
    assert_string_equal(at(2, "metadata/annotations/a"), "true");
    assert_string_equal(at(0, "data/cni-conf.json"), "{\"name\": \"cbr0\"}\n");
    yamltree_fini(&tree);
}

static void test_list(void **state)
{
    (void)state;
    adapt("kind: List\napiVersion: v1\nitems:\n- kind: ConfigMap\n  data: {net-conf.json: '{}'}\n- kind: "
          "DaemonSet\n"
          "  spec: {template: {spec: {containers: [{command: [/opt/bin/flanneld]}]}}}\n",
          &reach);
    assert_non_null(strstr(at(0, "items/0/data/net-conf.json"), "10.10.0.0/16"));
    assert_string_equal(at(0, "items/1/spec/template/spec/containers/0/command/1"),
                        "--iface=$(KPEER_HOST_IP)");
    assert_string_equal(at(0, "items/1/spec/template/spec/containers/0/command/2"),
                        "--iface-can-reach=192.168.56.11");
    yamltree_fini(&tree);
}

static void refused(const char *manifest, size_t n, int code, const char *why)
{
    struct err err = {0};
    char *bytes = NULL;
    size_t out = 0;
    assert_int_equal(flannel_adapt(manifest, n, &reach, &bytes, &out, &err), code);
    assert_null(bytes);
    if (!strstr(err.text, why))
        fail_msg("expected \"%s\" in \"%s\"", why, err.text);
}

static void test_bad(void **state)
{
    (void)state;
    static const struct {
        const char *manifest;
        int code;
        const char *why;
    } cases[] = {
        {"", KPEER_EINVAL, "no ConfigMap"},
        {"kind: [", KPEER_EINVAL, "line 2"},
        {"just text", KPEER_EINVAL, "without a kind"},
        {"- a\n- b\n", KPEER_EINVAL, "without a kind"},
        {"\x01\x02", KPEER_EINVAL, "not YAML"},
        {CONFIG_MAP(NET_CONF), KPEER_EINVAL, "no DaemonSet"},
        {DAEMON("        args: [--kube-subnet-mgr]\n"), KPEER_EINVAL, "no ConfigMap"},
        {CONFIG_MAP("{ \"Network\": ") DAEMON(""), KPEER_EINVAL, "not JSON"},
        {CONFIG_MAP("[1, 2]") DAEMON(""), KPEER_EINVAL, "not a JSON object"},
        {CONFIG_MAP("{\"a\": 1, \"a\": 2}") DAEMON(""), KPEER_EINVAL, "not JSON"},
        {CONFIG_MAP(NET_CONF) DAEMON("        args: --kube-subnet-mgr\n"), KPEER_EINVAL, "no DaemonSet"},
        {CONFIG_MAP(NET_CONF) DAEMON("        command: [flanneld]\n        args: x\n"), KPEER_EINVAL,
         "not a list"},
        {"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\nkind: x\n", KPEER_ELIMIT, "alias"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        refused(cases[i].manifest, strlen(cases[i].manifest), cases[i].code, cases[i].why);
}

static void test_bounds(void **state)
{
    (void)state;
    size_t n = YAMLTREE_MAX_BYTES + 1;
    char *big = malloc(n);
    assert_non_null(big);
    memset(big, '[', n);
    refused(big, n, KPEER_ELIMIT, "larger");
    refused(big, 100000, KPEER_ELIMIT, "too deep");
    for (size_t i = 0; i < n; i += 2)
        memcpy(big + i, "-\n", i + 2 <= n ? 2 : 1);
    refused(big, n - 1, KPEER_ELIMIT, "too many values");
    free(big);
}

/* Truncations and single-byte changes of a good manifest: an error or an answer, never a crash. */
static void test_bent(void **state)
{
    (void)state;
    const char good[] = CONFIG_MAP(NET_CONF) DAEMON("        args: [--kube-subnet-mgr]\n");
    char bent[sizeof good];
    for (size_t i = 0; i < sizeof good - 1; i++) {
        char *bytes = NULL;
        size_t n = 0;
        memcpy(bent, good, sizeof good);
        if (flannel_adapt(bent, i, &reach, &bytes, &n, NULL) == 0)
            yamlout_free(bytes, n);
        bytes = NULL;
        bent[i] ^= 0x11;
        if (flannel_adapt(bent, sizeof good - 1, &reach, &bytes, &n, NULL) == 0)
            yamlout_free(bytes, n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own),
        cmocka_unit_test(test_old_style),
        cmocka_unit_test(test_backend_settings),
        cmocka_unit_test(test_rest_is_kept),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_bent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
