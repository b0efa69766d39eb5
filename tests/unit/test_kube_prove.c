/*
 * The proof of a Node, with a kubectl that prints what the test put into a file and a ping that answers as it
 * is told: each thing that can be wrong is named, and "Ready" alone proves nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "peer/executor/kube/kube.h"
#include "peer/executor/kube/kubeadm.h"

#define UUID  "4c4c4544-0042-3510-8052-b4c04f4e4d32"
#define OTHER "00112233-4455-6677-8899-aabbccddeeff"

static const char kubectl[] =
    "#!/bin/sh\nhere=${0%/*}\n[ -f \"$here/$2\" ] && exec cat \"$here/$2\"\n"
    "echo \"Error from server (NotFound): nodes \\\"$3\\\" not found\" >&2\nexit 1\n";
static const char ping[] = "#!/bin/sh\n[ -f \"${0%/*}/answers\" ]\n";

static char root[64];
static char told[8192];
static struct executor_config cfg;
static struct exec_ctx ctx;
static struct step step;
static struct step_result result;
static struct err err;

static void note(void *arg, const struct step_progress *p)
{
    size_t n = strlen(told);
    (void)arg;
    snprintf(told + n, sizeof told - n, "%s\n", p->line);
}

static void put_file(const char *path, const char *text)
{
    char full[256];
    snprintf(full, sizeof full, "%s%s", root, path);
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(full, 0755), 0);
}

static void put_node(const char *uuid, const char *ready, const char *address, const char *flannel)
{
    char text[2048];
    snprintf(
        text, sizeof text,
        "{\"metadata\": {\"name\": \"node2\", \"annotations\": {\"flannel.alpha.coreos.com/public-ip\": "
        "\"%s\"}}, "
        "\"spec\": {\"podCIDR\": \"10.10.1.0/24\"}, \"status\": {\"addresses\": [{\"type\": \"InternalIP\", "
        "\"address\": \"%s\"}], \"conditions\": [{\"type\": \"Ready\", \"status\": \"%s\", \"message\": "
        "\"why\"}], "
        "\"nodeInfo\": {\"machineID\": \"0123456789abcdef0123456789abcdef\", \"systemUUID\": \"%s\"}}}",
        flannel, address, ready, uuid);
    put_file("/node", text);
}

static void put_pod(const char *phase, const char *ready, const char *ip)
{
    char text[512];
    snprintf(text, sizeof text,
             "{\"items\": [{\"status\": {\"phase\": \"%s\", \"podIP\": \"%s\", \"conditions\": [{\"type\": "
             "\"Ready\", "
             "\"status\": \"%s\"}]}}]}",
             phase, ip, ready);
    put_file("/pods", text);
}

static int setup(void **state)
{
    static const char *const folders[] = {"",     "/run",       "/etc",           "/etc/kubernetes",
                                          "/sys", "/sys/class", "/sys/class/dmi", "/sys/class/dmi/id"};
    (void)state;
    snprintf(root, sizeof root, "/tmp/kpeer-test-prove-XXXXXX");
    assert_non_null(mkdtemp(root));
    for (size_t i = 1; i < sizeof folders / sizeof folders[0]; i++) {
        char full[256];
        snprintf(full, sizeof full, "%s%s", root, folders[i]);
        assert_int_equal(mkdir(full, 0755), 0);
    }
    memset(&cfg, 0, sizeof cfg);
    snprintf(cfg.root, sizeof cfg.root, "%s", root);
    snprintf(cfg.tools[TOOL_KUBECTL], sizeof cfg.tools[0], "%s/kubectl", root);
    snprintf(cfg.tools[TOOL_PING], sizeof cfg.tools[0], "%s/ping", root);
    put_file("/kubectl", kubectl);
    put_file("/ping", ping);
    put_file("/answers", "");
    put_file(KUBE_KUBELET, "");
    put_file("/sys/class/dmi/id/product_uuid", UUID "\n");
    put_file("/etc/machine-id", "0123456789abcdef0123456789abcdef\n");
    put_node(UUID, "True", "192.168.56.12", "192.168.56.12");
    put_pod("Running", "True", "10.10.1.2");
    ctx = (struct exec_ctx){.cfg = &cfg, .step_id = 1, .progress = note};
    memset(&step, 0, sizeof step);
    snprintf(step.node_name, sizeof step.node_name, "node2");
    snprintf(step.address, sizeof step.address, "192.168.56.12");
    snprintf(step.pod_address, sizeof step.pod_address, "10.10.1.2");
    memset(&result, 0, sizeof result);
    told[0] = '\0';
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int teardown(void **state)
{
    (void)state;
    return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void drop_file(const char *path)
{
    char full[256];
    snprintf(full, sizeof full, "%s%s", root, path);
    assert_int_equal(unlink(full), 0);
}

static int prove(uint64_t limit_ms)
{
    memset(&err, 0, sizeof err);
    ctx.deadline_ms = clock_ms() + limit_ms;
    return kube_prove(&ctx, &step, &result, &err);
}

static void not_proven(const char *why)
{
    assert_int_equal(prove(250), KPEER_ETIMEOUT);
    if (!strstr(err.text, why) || !strstr(told, why))
        fail_msg("expected \"%s\" in \"%s\" and in what was told", why, err.text);
    assert_true(err.hint[0] != '\0');
    assert_string_equal(result.pod_address, "");
}

static void test_proven(void **state)
{
    (void)state;
    assert_int_equal(prove(10000), 0);
    assert_string_equal(result.pod_address, "10.10.1.2");
    put_node("44454C4C-4200-1035-8052-B4C04F4E4D32", "True", "192.168.56.12", "192.168.56.12");
    assert_int_equal(prove(10000), 0); /* the other byte order */
}

static void test_other_host(void **state)
{
    (void)state;
    put_node(OTHER, "True", "192.168.56.12", "192.168.56.12");
    not_proven("is another host's");
}

/* Without a product UUID kubelet reports the machine-id. */
static void test_no_product_uuid(void **state)
{
    (void)state;
    drop_file("/sys/class/dmi/id/product_uuid");
    put_node("", "True", "192.168.56.12", "192.168.56.12");
    assert_int_equal(prove(10000), 0);
    memset(&result, 0, sizeof result);
    put_file("/etc/machine-id", "ffffffffffffffff0000000000000000\n");
    not_proven("is another host's");
}

/* Machines of one product UUID are told apart by their machine-ids. */
static void test_shared_product_uuid(void **state)
{
    (void)state;
    put_file("/etc/machine-id", "ffffffffffffffff0000000000000000\n");
    not_proven("is another host's");
}

static void test_not_ready(void **state)
{
    (void)state;
    put_node(UUID, "False", "192.168.56.12", "192.168.56.12");
    not_proven("not Ready: why");
}

static void test_wrong_address(void **state)
{
    (void)state;
    put_node(UUID, "True", "10.0.2.15", "192.168.56.12");
    not_proven("InternalIP is 10.0.2.15");
}

static void test_wrong_flannel(void **state)
{
    (void)state;
    put_node(UUID, "True", "192.168.56.12", "10.0.2.15");
    not_proven("Flannel's address on this Node is 10.0.2.15");
}

static void test_pod(void **state)
{
    (void)state;
    put_pod("Pending", "False", "");
    not_proven("the probe pod does not run: Pending");
    put_pod("Running", "True", "10.88.0.2");
    not_proven("10.88.0.2 is not in this Node's range 10.10.1.0/24");
    put_file("/pods", "{\"items\": []}");
    not_proven("no probe pod");
    put_file("/pods", "<html>");
    not_proven("the list of pods is not what was expected");
}

static void test_silent_pod(void **state)
{
    (void)state;
    drop_file("/answers");
    not_proven("does not answer here");
    ctx.deadline_ms = clock_ms() + 250;
    assert_int_equal(kube_reach(&ctx, &step, &result, &err), KPEER_ETIMEOUT);
    put_file("/answers", "");
    ctx.deadline_ms = clock_ms() + 10000;
    assert_int_equal(kube_reach(&ctx, &step, &result, &err), 0);
    drop_file("/ping");
    assert_int_equal(prove(10000), KPEER_ENOTFOUND); /* at once: waiting would not help */
    assert_int_equal(kube_reach(&ctx, &step, &result, &err), KPEER_ENOTFOUND);
}

static void test_no_node(void **state)
{
    (void)state;
    drop_file("/node");
    not_proven("there is no Node node2 in the cluster yet");
    drop_file(KUBE_KUBELET);
    assert_int_equal(prove(10000), KPEER_ESTATE);
}

#define PROVE_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PROVE_TEST(test_proven),          PROVE_TEST(test_other_host),
        PROVE_TEST(test_no_product_uuid), PROVE_TEST(test_shared_product_uuid),
        PROVE_TEST(test_not_ready),       PROVE_TEST(test_wrong_address),
        PROVE_TEST(test_wrong_flannel),   PROVE_TEST(test_pod),
        PROVE_TEST(test_silent_pod),      PROVE_TEST(test_no_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
