/* kubeadm's documents: read back by libyaml, field by field, in all three API versions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "peer/executor/kube/documents.h"
#include "peer/executor/kube/manifest.h"
#include "peer/executor/kube/yamlout.h"
#include "peer/executor/kube/yamltree.h"

#define TOKEN "abcdef.0123456789abcdef"
#define HASH  "sha256:e8721b8630d5b562e23c010c70559a6d3084f629abad6a2920e87855f8fb96f3"

static struct yamltree tree;

/* The text at a path such as "discovery/bootstrapToken/caCertHashes/0" of document `i`; NULL: nothing there.
 */
static const char *at(size_t i, const char *path)
{
    yaml_document_t *d = &tree.documents[i];
    char copy[200];
    char *rest = NULL;
    int node = 1;
    snprintf(copy, sizeof copy, "%s", path);
    for (char *word = strtok_r(copy, "/", &rest); word; word = strtok_r(NULL, "/", &rest)) {
        int next = yamltree_get(d, node, word);
        node = next ? next : yamltree_item(d, node, (size_t)atoi(word));
    }
    return yamltree_text(d, node);
}

static void read_back(char *bytes, size_t n)
{
    struct err err = {0};
    int rc = yamltree_load(bytes, n, &tree, &err);
    yamlout_free(bytes, n);
    if (rc != 0)
        fail_msg("%s", err.text);
}

static struct document_node node_of(enum kubeadm_api api)
{
    return (struct document_node){api, "node1", "192.168.10.210", "unix:///run/containerd/containerd.sock"};
}

static void make_init(enum kubeadm_api api, const char *repository, const char *driver)
{
    const struct document_init d = {
        .node = node_of(api),
        .token = {TOKEN, 60, "for init"},
        .kubernetes_version = "v1.23.3",
        .endpoint = "192.168.10.210:6443",
        .pod_cidr = "10.10.0.0/16",
        .service_cidr = "10.96.0.0/12",
        .image_repository = repository,
        .cgroup_driver = driver,
        .bind_port = 6443,
    };
    char *bytes = NULL;
    size_t n = 0;
    assert_int_equal(documents_init(&d, &bytes, &n, NULL), 0);
    read_back(bytes, n);
}

static void make_join(enum kubeadm_api api, const char *name)
{
    struct document_join d = {node_of(api), TOKEN, "192.168.10.210:6443", HASH, 60};
    char *bytes = NULL;
    size_t n = 0;
    d.node.name = name;
    assert_int_equal(documents_join(&d, &bytes, &n, NULL), 0);
    read_back(bytes, n);
}

static void test_api(void **state)
{
    (void)state;
    static const struct {
        const char *version;
        int rc;
        enum kubeadm_api api;
    } cases[] = {
        {"v1.20.2", 0, KUBEADM_V1BETA2},
        {"v1.21.14", 0, KUBEADM_V1BETA2},
        {"v1.22.0", 0, KUBEADM_V1BETA3},
        {"v1.23.3", 0, KUBEADM_V1BETA3},
        {"1.30.9-rc.1", 0, KUBEADM_V1BETA3},
        {"v1.31.0", 0, KUBEADM_V1BETA4},
        {"v1.34.1", 0, KUBEADM_V1BETA4},
        {"v1.14.0", KPEER_EVERSION, 0},
        {"v2.0.0", KPEER_EVERSION, 0},
        {"", KPEER_EINVAL, 0},
        {"v", KPEER_EINVAL, 0},
        {"version 1.20", KPEER_EINVAL, 0},
        {"v99999999999999999999.1", KPEER_EINVAL, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        enum kubeadm_api api = 0;
        assert_int_equal(documents_api(cases[i].version, &api, NULL), cases[i].rc);
        if (cases[i].rc == 0)
            assert_int_equal(api, cases[i].api);
    }
}

static void check_init(const char *api_version)
{
    assert_string_equal(at(0, "apiVersion"), api_version);
    assert_string_equal(at(0, "kind"), "InitConfiguration");
    assert_string_equal(at(0, "bootstrapTokens/0/token"), TOKEN);
    assert_string_equal(at(0, "bootstrapTokens/0/ttl"), "60s");
    assert_string_equal(at(0, "localAPIEndpoint/advertiseAddress"), "192.168.10.210");
    assert_string_equal(at(0, "localAPIEndpoint/bindPort"), "6443");
    assert_string_equal(at(0, "nodeRegistration/name"), "node1");
    assert_string_equal(at(1, "apiVersion"), api_version);
    assert_string_equal(at(1, "kind"), "ClusterConfiguration");
    assert_string_equal(at(1, "kubernetesVersion"), "v1.23.3");
    assert_string_equal(at(1, "controlPlaneEndpoint"), "192.168.10.210:6443");
    assert_string_equal(at(1, "networking/podSubnet"), "10.10.0.0/16");
    assert_string_equal(at(1, "networking/serviceSubnet"), "10.96.0.0/12");
}

static void test_init(void **state)
{
    (void)state;
    make_init(KUBEADM_V1BETA2, NULL, NULL);
    assert_int_equal(tree.count, 3);
    check_init("kubeadm.k8s.io/v1beta2");
    assert_string_equal(at(0, "nodeRegistration/kubeletExtraArgs/node-ip"), "192.168.10.210");
    assert_null(yamltree_text(&tree.documents[1], yamltree_get(&tree.documents[1], 1, "imageRepository")));
    yamltree_fini(&tree);

    make_init(KUBEADM_V1BETA3, "registry.example/k8s", "systemd");
    assert_int_equal(tree.count, 3);
    check_init("kubeadm.k8s.io/v1beta3");
    assert_string_equal(at(1, "imageRepository"), "registry.example/k8s");
    assert_string_equal(at(2, "kind"), "KubeletConfiguration");
    assert_string_equal(at(2, "cgroupDriver"), "systemd");
    assert_string_equal(at(2, "nodeStatusUpdateFrequency"), "3s");
    yamltree_fini(&tree);

    make_init(KUBEADM_V1BETA4, "", "");
    assert_int_equal(tree.count, 3);
    check_init("kubeadm.k8s.io/v1beta4");
    assert_string_equal(at(0, "nodeRegistration/kubeletExtraArgs/0/name"), "node-ip");
    assert_string_equal(at(0, "nodeRegistration/kubeletExtraArgs/0/value"), "192.168.10.210");
    yamltree_fini(&tree);
}

static void test_join(void **state)
{
    (void)state;
    make_join(KUBEADM_V1BETA2, "node2");
    assert_int_equal(tree.count, 1);
    assert_string_equal(at(0, "kind"), "JoinConfiguration");
    assert_string_equal(at(0, "discovery/bootstrapToken/token"), TOKEN);
    assert_string_equal(at(0, "discovery/bootstrapToken/apiServerEndpoint"), "192.168.10.210:6443");
    assert_string_equal(at(0, "discovery/bootstrapToken/caCertHashes/0"), HASH);
    assert_string_equal(at(0, "discovery/timeout"), "60s");
    assert_string_equal(at(0, "nodeRegistration/name"), "node2");
    assert_string_equal(at(0, "nodeRegistration/kubeletExtraArgs/node-ip"), "192.168.10.210");
    yamltree_fini(&tree);

    make_join(KUBEADM_V1BETA4, "node2");
    yaml_document_t *d = &tree.documents[0];
    assert_int_equal(yamltree_get(d, yamltree_get(d, 1, "discovery"), "timeout"), 0);
    assert_string_equal(at(0, "timeouts/discovery"), "60s");
    yamltree_fini(&tree);
}

/* Nothing in a value can become structure, nor change its type. */
static void test_quoting(void **state)
{
    (void)state;
    static const char *const names[] = {"true", "1.20", "null", "a: b",    "x\nkind: Evil",
                                        "- a",  "#",    "'\"",  "\xc3\xa4"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        make_join(KUBEADM_V1BETA3, names[i]);
        assert_string_equal(at(0, "nodeRegistration/name"), names[i]);
        assert_string_equal(at(0, "kind"), "JoinConfiguration");
        yamltree_fini(&tree);
    }
    struct document_join d = {node_of(KUBEADM_V1BETA3), TOKEN, "192.168.10.210:6443", HASH, 60};
    struct err err = {0};
    char *bytes = NULL;
    size_t n = 0;
    d.node.name = "\xff\xfe";
    assert_int_equal(documents_join(&d, &bytes, &n, &err), KPEER_EINVAL);
    assert_null(bytes);
    assert_true(err.text[0] != '\0');
}

static void test_token(void **state)
{
    (void)state;
    const struct document_token token = {TOKEN, 900, "made by kpeer for node2"};
    char *bytes = NULL;
    size_t n = 0;
    assert_int_equal(documents_token(KUBEADM_V1BETA2, &token, "v1.20.2", "", &bytes, &n, NULL), 0);
    read_back(bytes, n);
    assert_int_equal(tree.count, 2);
    assert_string_equal(at(0, "bootstrapTokens/0/ttl"), "900s");
    assert_string_equal(at(0, "bootstrapTokens/0/usages/0"), "signing");
    assert_string_equal(at(0, "bootstrapTokens/0/usages/1"), "authentication");
    assert_string_equal(at(0, "bootstrapTokens/0/groups/0"),
                        "system:bootstrappers:kubeadm:default-node-token");
    assert_string_equal(at(1, "kubernetesVersion"), "v1.20.2");
    yamltree_fini(&tree);
}

static void test_probe(void **state)
{
    (void)state;
    char *bytes = NULL;
    size_t n = 0;
    assert_int_equal(manifest_probe("k8s.gcr.io/pause:3.2", &bytes, &n, NULL), 0);
    read_back(bytes, n);
    assert_int_equal(tree.count, 2);
    assert_string_equal(at(0, "kind"), "Namespace");
    assert_string_equal(at(1, "metadata/namespace"), "kpeer-system");
    assert_string_equal(at(1, "spec/selector/matchLabels/app"), "kpeer-probe");
    assert_string_equal(at(1, "spec/template/metadata/labels/app"), "kpeer-probe");
    assert_string_equal(at(1, "spec/template/spec/tolerations/0/operator"), "Exists");
    assert_string_equal(at(1, "spec/template/spec/containers/0/image"), "k8s.gcr.io/pause:3.2");
    yamltree_fini(&tree);
}

static void test_trial(void **state)
{
    static const char nodes[2][STEP_NAME_BYTES] = {"node1", "node3.example"};
    (void)state;
    char *bytes = NULL;
    size_t n = 0;
    assert_int_equal(manifest_trial("k8s.gcr.io/coredns:1.7.0", "node1", &bytes, &n, NULL), 0);
    read_back(bytes, n);
    assert_int_equal(tree.count, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(at(i, "metadata/namespace"), "kpeer-system");
        assert_string_equal(at(i, "metadata/labels/app"), "kpeer-verify");
    }
    assert_string_equal(at(0, "data/Corefile"), ".:1053 {\n    health :8080\n    whoami\n}\n");
    assert_string_equal(at(1, "metadata/name"), "kpeer-verify");
    assert_string_equal(at(1, "spec/containers/0/readinessProbe/httpGet/port"), "8080");
    assert_null(at(1, "spec/containers/0/readinessProbe/httpGet/host"));
    assert_string_equal(at(1, "spec/containers/0/securityContext/capabilities/drop/0"), "ALL");
    assert_string_equal(at(1, "spec/volumes/0/configMap/name"), "kpeer-verify");
    assert_string_equal(at(1, "spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/"
                              "nodeSelectorTerms/0/matchFields/0/values/0"),
                        "node1");
    assert_null(at(1, "spec/tolerations"));
    yamltree_fini(&tree);
    assert_int_equal(manifest_trial("k8s.gcr.io/coredns:1.7.0", NULL, &bytes, &n, NULL), 0);
    read_back(bytes, n);
    assert_null(at(1, "spec/affinity"));
    assert_string_equal(at(1, "spec/tolerations/0/operator"), "Exists");
    yamltree_fini(&tree);
    assert_int_equal(manifest_callers("k8s.gcr.io/pause:3.2", "fd00::7", nodes, 2, &bytes, &n, NULL), 0);
    read_back(bytes, n);
    assert_int_equal(tree.count, 2);
    assert_string_equal(at(1, "metadata/name"), "kpeer-verify-from-node3.example");
    assert_string_equal(at(1, "metadata/labels/app"), "kpeer-verify");
    assert_string_equal(at(1, "spec/nodeName"), "node3.example");
    assert_string_equal(at(1, "spec/containers/0/image"), "k8s.gcr.io/pause:3.2");
    assert_string_equal(at(1, "spec/containers/0/readinessProbe/httpGet/host"), "fd00::7");
    yamltree_fini(&tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_api),     cmocka_unit_test(test_init),  cmocka_unit_test(test_join),
        cmocka_unit_test(test_quoting), cmocka_unit_test(test_token), cmocka_unit_test(test_probe),
        cmocka_unit_test(test_trial),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
