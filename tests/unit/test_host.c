/* Facts and checks of a host, on made-up hosts below a root of their own, and on odd input. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "peer/executor/file.h"
#include "peer/executor/host/host.h"
#include "peer/executor/host/parse.h"

struct host {
    char root[64];
    struct executor_config cfg;
    struct exec_ctx ctx;
    struct facts facts;
    struct finding findings[STEP_FINDINGS_MAX];
    size_t count, red;
};

static void write_file(const struct host *h, const char *name, const char *text, mode_t mode)
{
    char path[256];

    snprintf(path, sizeof(path), "%s%s", h->root, name);
    assert_int_equal(file_make_parents(path, NULL), 0);
    assert_int_equal(file_put(path, text, strlen(text), mode, (uid_t)-1, (gid_t)-1, NULL), 0);
}

static void remove_path(const struct host *h, const char *name)
{
    char path[256];

    snprintf(path, sizeof(path), "%s%s", h->root, name);
    assert_int_equal(remove(path), 0);
}

static void make_socket(const struct host *h, const char *name)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(a.sun_path, sizeof(a.sun_path), "%s%s", h->root, name);
    assert_int_equal(file_make_parents(a.sun_path, NULL), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    close(fd);
}

static void make_tool(struct host *h, enum executor_tool tool, const char *prints)
{
    char name[64], path[160], script[256];

    snprintf(name, sizeof(name), "/tools/%s", executor_tool_name(tool));
    snprintf(script, sizeof(script), "#!/bin/sh\nprintf '%%s\\n' '%s'\n", prints);
    write_file(h, name, script, 0755);
    snprintf(path, sizeof(path), "%s%s", h->root, name);
    strcpy(h->cfg.tools[tool], path);
}

/* A host on which nothing is wrong. */
static int setup(void **state)
{
    struct host *h = calloc(1, sizeof(*h));

    strcpy(h->root, "/tmp/kpeer-host-XXXXXX");
    if (!mkdtemp(h->root))
        return -1;
    strcpy(h->cfg.root, h->root);
    h->ctx = (struct exec_ctx){.cfg = &h->cfg, .is_root = true, .deadline_ms = clock_ms() + 60000};
    if (journal_open(NULL, &h->ctx.journal, NULL))
        return -1;
    make_tool(h, TOOL_KUBEADM, "v1.20.2");
    make_tool(h, TOOL_KUBELET, "Kubernetes v1.20.2");
    make_tool(h, TOOL_KUBECTL, "");
    write_file(h, "/etc/hostname", "Node1\n", 0644);
    write_file(h, "/etc/machine-id", "0123456789abcdef0123456789abcdef\n", 0644);
    write_file(h, "/etc/os-release", "NAME=Debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n", 0644);
    write_file(h, "/sys/class/dmi/id/product_uuid", "4C4C4544-0000\n", 0400);
    write_file(h, "/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n", 0644);
    write_file(h, "/proc/meminfo", "MemTotal:        4000000 kB\nMemFree: 1 kB\n", 0644);
    write_file(h, "/proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n", 0644);
    write_file(h, "/proc/sys/net/ipv4/ip_forward", "1\n", 0644);
    write_file(h, "/proc/sys/net/bridge/bridge-nf-call-iptables", "1\n", 0644);
    write_file(h, "/proc/filesystems", "nodev\tproc\nnodev\toverlay\n\text4\n", 0444);
    write_file(h, "/etc/hosts", "127.0.0.1 localhost\n127.0.1.1 Node1 # this\n", 0644);
    write_file(h, "/etc/sysctl.d/k8s.conf",
               "net.ipv4.ip_forward=1\nnet/bridge/bridge-nf-call-iptables = 1\n"
               "-net.bridge.bridge-nf-call-ip6tables = 1\n",
               0644);
    write_file(h, "/proc/net/tcp", "  sl  local_address rem_address   st tx_queue\n", 0444);
    make_socket(h, "/run/containerd/containerd.sock");
    *state = h;
    return 0;
}

static int teardown(void **state)
{
    struct host *h = *state;
    const char *argv[] = {"rm", "-rf", h->root, NULL};
    struct spawn_result res;

    spawn_run(&(struct spawn_request){.program = "rm", .argv = argv}, &res, NULL);
    spawn_result_fini(&res);
    journal_close(h->ctx.journal);
    free(h);
    return 0;
}

/* Facts, then checks; with processors enough, whatever this machine has. */
static void survey(struct host *h, enum step_role role)
{
    assert_int_equal(host_facts(&h->ctx, &h->facts, NULL), 0);
    h->facts.cpus = 2;
    assert_int_equal(host_checks(&h->ctx, role, &h->facts, h->findings, &h->count, &h->red, NULL), 0);
}

static const struct finding *finding(const struct host *h, const char *check)
{
    for (size_t i = 0; i < h->count; i++) {
        if (strcmp(h->findings[i].check, check) == 0)
            return &h->findings[i];
    }
    fail_msg("no finding of check %s", check);
    return NULL;
}

static void expect(struct host *h, enum step_role role, const char *check, enum finding_level level)
{
    const struct finding *f;

    survey(h, role);
    f = finding(h, check);
    if (f->level != level)
        fail_msg("%s: level %d: %s", check, f->level, f->detail);
    if (level != FINDING_GREEN)
        assert_string_not_equal(f->next, "");
}

static void test_facts(void **state)
{
    struct host *h = *state;
    static const uint8_t none[FACTS_ID_BYTES];
    uint8_t uuid[FACTS_ID_BYTES];

    assert_int_equal(host_facts(&h->ctx, &h->facts, NULL), 0);
    assert_string_equal(h->facts.hostname, "node1");
    assert_string_equal(h->facts.os, "Debian GNU/Linux 12 (bookworm)");
    assert_string_equal(h->facts.kubernetes_version, "v1.20.2");
    assert_string_equal(h->facts.runtime, "containerd");
    assert_int_equal(h->facts.memory_mb, 3906);
    assert_true(h->facts.cpus >= 1);
    assert_memory_not_equal(h->facts.machine_id, none, sizeof(none));
    memcpy(uuid, h->facts.product_uuid, sizeof(uuid));
    assert_memory_not_equal(uuid, none, sizeof(none));
    write_file(h, "/sys/class/dmi/id/product_uuid", "4c4c4544-0000\n", 0400); /* the same in lower case */
    assert_int_equal(host_facts(&h->ctx, &h->facts, NULL), 0);
    assert_memory_equal(h->facts.product_uuid, uuid, sizeof(uuid));
}

static void test_facts_of_an_empty_host(void **state)
{
    struct host *h = *state;
    static const uint8_t none[FACTS_ID_BYTES];

    strcpy(h->cfg.root, "/nonexistent");
    strcpy(h->cfg.tools[TOOL_KUBEADM], "/nonexistent/kubeadm");
    assert_int_equal(host_facts(&h->ctx, &h->facts, NULL), 0);
    assert_string_equal(h->facts.hostname, "");
    assert_string_equal(h->facts.kubernetes_version, "");
    assert_string_equal(h->facts.runtime, "");
    assert_int_equal(h->facts.memory_mb, 0);
    assert_memory_equal(h->facts.machine_id, none, sizeof(none));
    assert_int_equal(host_checks(&h->ctx, STEP_ROLE_MASTER, &h->facts, h->findings, &h->count, &h->red, NULL),
                     0);
    assert_true(h->red >= 6);
}

static void test_a_host_that_is_fit(void **state)
{
    struct host *h = *state;

    survey(h, STEP_ROLE_MASTER);
    for (size_t i = 0; i < h->count; i++) {
        /* Which programs and interfaces there are is this machine's own matter. */
        if (strcmp(h->findings[i].check, "programs") != 0 && h->findings[i].level != FINDING_GREEN)
            fail_msg("%s: %s", h->findings[i].check, h->findings[i].detail);
    }
    assert_true(h->count >= 16);
}

static void test_size(void **state)
{
    struct host *h = *state;

    survey(h, STEP_ROLE_MASTER);
    h->facts.cpus = 1;
    h->facts.memory_mb = 1699;
    assert_int_equal(host_checks(&h->ctx, STEP_ROLE_MASTER, &h->facts, h->findings, &h->count, &h->red, NULL),
                     0);
    assert_int_equal(finding(h, "cpu")->level, FINDING_RED);
    assert_int_equal(finding(h, "memory")->level, FINDING_RED);
    assert_int_equal(host_checks(&h->ctx, STEP_ROLE_WORKER, &h->facts, h->findings, &h->count, &h->red, NULL),
                     0);
    assert_int_equal(finding(h, "cpu")->level, FINDING_GREEN);
    assert_int_equal(finding(h, "memory")->level, FINDING_GREEN);
    h->facts.memory_mb = 512;
    assert_int_equal(host_checks(&h->ctx, STEP_ROLE_WORKER, &h->facts, h->findings, &h->count, &h->red, NULL),
                     0);
    assert_int_equal(finding(h, "memory")->level, FINDING_WARN);
    h->ctx.dry_run = true; /* a rehearsal tells of a host that is too small, too */
    assert_int_equal(host_checks(&h->ctx, STEP_ROLE_MASTER, &h->facts, h->findings, &h->count, &h->red, NULL),
                     0);
    assert_int_equal(finding(h, "memory")->level, FINDING_RED);
}

static void test_names(void **state)
{
    struct host *h = *state;

    write_file(h, "/etc/hostname", "my_host\n", 0644);
    expect(h, STEP_ROLE_WORKER, "hostname", FINDING_RED);
    write_file(h, "/etc/hostname", "localhost\n", 0644);
    expect(h, STEP_ROLE_WORKER, "hostname", FINDING_RED);
    write_file(h, "/etc/hostname", "\n", 0644);
    expect(h, STEP_ROLE_WORKER, "hostname", FINDING_RED);
    write_file(h, "/etc/machine-id", "", 0644);
    expect(h, STEP_ROLE_WORKER, "machine-id", FINDING_WARN);
}

static void test_kubernetes_programs(void **state)
{
    struct host *h = *state;

    make_tool(h, TOOL_KUBELET, "Kubernetes v1.21.0");
    expect(h, STEP_ROLE_WORKER, "kubelet", FINDING_RED);
    make_tool(h, TOOL_KUBELET, "Kubernetes v1.20.9");
    expect(h, STEP_ROLE_WORKER, "kubelet", FINDING_GREEN);
    make_tool(h, TOOL_KUBELET, "rubbish");
    expect(h, STEP_ROLE_WORKER, "kubelet", FINDING_RED);
    strcpy(h->cfg.kubernetes_version, "v1.23.3");
    expect(h, STEP_ROLE_WORKER, "kubeadm", FINDING_RED);
    strcpy(h->cfg.kubernetes_version, "v1.20.0");
    expect(h, STEP_ROLE_WORKER, "kubeadm", FINDING_GREEN);
    strcpy(h->cfg.tools[TOOL_KUBECTL], "/nonexistent/kubectl");
    expect(h, STEP_ROLE_WORKER, "kubectl", FINDING_WARN);
    expect(h, STEP_ROLE_MASTER, "kubectl", FINDING_RED);
    strcpy(h->cfg.tools[TOOL_KUBEADM], "/nonexistent/kubeadm");
    expect(h, STEP_ROLE_WORKER, "kubeadm", FINDING_RED);
    h->ctx.dry_run = true; /* a rehearsal needs none */
    expect(h, STEP_ROLE_WORKER, "kubeadm", FINDING_WARN);
}

static void test_runtime(void **state)
{
    struct host *h = *state;

    remove_path(h, "/run/containerd/containerd.sock");
    expect(h, STEP_ROLE_WORKER, "runtime", FINDING_RED);
    write_file(h, "/run/containerd/containerd.sock", "", 0644); /* a file is no socket */
    expect(h, STEP_ROLE_WORKER, "runtime", FINDING_RED);
    make_socket(h, "/run/crio/crio.sock");
    expect(h, STEP_ROLE_WORKER, "runtime", FINDING_GREEN);
    assert_string_equal(h->facts.runtime, "cri-o");
}

static void test_kernel_settings(void **state)
{
    struct host *h = *state;

    write_file(h, "/proc/swaps", "Filename Type\n/dev/sda2\tpartition 100 0 -2\n", 0644);
    expect(h, STEP_ROLE_WORKER, "swap", FINDING_RED);
    strcpy(h->cfg.ignore[h->cfg.ignore_count++], "Swap");
    expect(h, STEP_ROLE_WORKER, "swap", FINDING_WARN);
    write_file(h, "/proc/sys/net/ipv4/ip_forward", "0\n", 0644);
    expect(h, STEP_ROLE_WORKER, "ip-forward", FINDING_RED);
    remove_path(h, "/proc/sys/net/bridge/bridge-nf-call-iptables");
    expect(h, STEP_ROLE_WORKER, "bridge-netfilter", FINDING_RED);
    strcpy(h->cfg.ignore[0], "all");
    expect(h, STEP_ROLE_WORKER, "bridge-netfilter", FINDING_WARN);
    assert_int_equal(h->red, 0);
}

static void test_cgroups(void **state)
{
    struct host *h = *state;

    remove_path(h, "/sys/fs/cgroup/cgroup.controllers");
    expect(h, STEP_ROLE_WORKER, "cgroups", FINDING_RED);
    write_file(h, "/proc/cgroups", "#subsys_name hierarchy num_cgroups enabled\ncpu 1 1 1\nmemory 2 1 0\n",
               0644);
    expect(h, STEP_ROLE_WORKER, "cgroups", FINDING_RED);
    write_file(h, "/proc/cgroups", "#subsys_name hierarchy num_cgroups enabled\ncpu 1 1 1\nmemory 2 1 1\n",
               0644);
    expect(h, STEP_ROLE_WORKER, "cgroups", FINDING_GREEN);
    make_tool(h, TOOL_KUBEADM, "v1.35.0");
    expect(h, STEP_ROLE_WORKER, "cgroups", FINDING_RED);
}

static void test_ports(void **state)
{
    struct host *h = *state;

    write_file(h, "/proc/net/tcp6",
               "  sl  local_address\n   0: 00000000000000000000000000000000:192B "
               "00000000000000000000000000000000:0000 0A 00000000:00000000\n",
               0444);
    expect(h, STEP_ROLE_MASTER, "ports", FINDING_RED);
    assert_non_null(strstr(finding(h, "ports")->detail, "6443"));
    expect(h, STEP_ROLE_WORKER, "ports", FINDING_GREEN);
}

/* Who holds a port is found by the socket's number. */
static void test_who_holds_a_port(void **state)
{
    struct host *h = *state;
    char path[160];

    write_file(
        h, "/proc/net/tcp",
        "  sl  local_address\n   0: 00000000:280A 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 "
        "       0 4711 1 0\n",
        0444);
    write_file(h, "/proc/42/comm", "haproxy\n", 0444);
    write_file(h, "/proc/42/fd/none", "", 0444);
    snprintf(path, sizeof(path), "%s/proc/42/fd/3", h->root);
    assert_int_equal(symlink("socket:[4711]", path), 0);
    expect(h, STEP_ROLE_WORKER, "ports", FINDING_RED);
    assert_non_null(strstr(finding(h, "ports")->detail, "10250 (haproxy)"));
    write_file(h, "/proc/42/comm", "kpeer\n", 0444); /* a survey of the group */
    expect(h, STEP_ROLE_WORKER, "ports", FINDING_GREEN);
}

static void test_leftovers(void **state)
{
    struct host *h = *state;

    write_file(h, "/etc/cni/net.d/87-podman.conflist", "{}", 0644); /* not a cluster's */
    expect(h, STEP_ROLE_WORKER, "leftovers", FINDING_GREEN);
    write_file(h, "/etc/kubernetes/manifests/etcd.yaml", "", 0600);
    expect(h, STEP_ROLE_WORKER, "leftovers", FINDING_RED);
    assert_int_equal(journal_begin(h->ctx.journal, STEP_INIT, NULL, NULL), 0);
    expect(h, STEP_ROLE_WORKER, "leftovers", FINDING_WARN); /* kpeer's own */
    assert_int_equal(journal_end(h->ctx.journal, STEP_INIT, 0, NULL), 0);
    expect(h, STEP_ROLE_WORKER, "leftovers", FINDING_GREEN); /* a member */
    assert_int_equal(journal_begin(h->ctx.journal, STEP_RESET, NULL, NULL), 0);
    assert_int_equal(journal_end(h->ctx.journal, STEP_RESET, 0, NULL), 0);
    expect(h, STEP_ROLE_WORKER, "leftovers", FINDING_RED);
    remove_path(h, "/etc/kubernetes/manifests/etcd.yaml");
    write_file(h, "/etc/cni/net.d/10-flannel.conflist", "{}", 0644);
    expect(h, STEP_ROLE_WORKER, "leftovers", FINDING_RED);
}

static void test_not_root(void **state)
{
    struct host *h = *state;

    h->ctx.is_root = false;
    expect(h, STEP_ROLE_WORKER, "root", FINDING_RED);
    h->ctx.dry_run = true;
    expect(h, STEP_ROLE_WORKER, "root", FINDING_WARN);
}

static void test_parsing_odd_input(void **state)
{
    unsigned major, minor;
    char out[32];
    (void)state;

    assert_int_equal(parse_meminfo(""), 0);
    assert_int_equal(parse_meminfo("MemTotal:\n"), 0);
    assert_int_equal(parse_meminfo("MemTotal: -1 kB\n"), 0);
    assert_int_equal(parse_meminfo("MemTotal: 99999999999999999999999999 kB\n"), 0);
    assert_int_equal(parse_meminfo("x\nMemTotal: 2048 kB"), 2);
    parse_os_release("PRETTY_NAME=", out, sizeof(out));
    assert_string_equal(out, "");
    parse_os_release("PRETTY_NAME=\"", out, sizeof(out));
    assert_string_equal(out, "\"");
    parse_os_release("PRETTY_NAME='a\033b'\n", out, sizeof(out));
    assert_string_equal(out, "a\\x1bb");
    parse_os_release("PRETTY_NAME=0123456789012345678901234567890123456789", out, sizeof(out));
    assert_int_equal(strlen(out), 31);
    assert_int_equal(parse_swaps("", out, sizeof(out)), 0);
    assert_int_equal(parse_swaps("Filename\n\n\n", out, sizeof(out)), 0);
    assert_int_equal(parse_swaps("Filename\n/a b\n/c\n", out, sizeof(out)), 2);
    assert_string_equal(out, "/a");
    assert_false(parse_tcp_listens("", 1));
    assert_false(parse_tcp_listens("head\n0: 00000000:280A 00000000:0000 01 0\n", 10250));
    assert_true(parse_tcp_listens("head\n0: 00000000:280A 00000000:0000 0A 0\n", 10250));
    assert_false(parse_tcp_listens("head\n0: zzz\n:::::\n0: 0:280A\n", 10250));
    assert_int_equal(parse_version("Kubernetes v1.20.2-rc.1+x\n", out, sizeof(out), NULL), 0);
    assert_string_equal(out, "v1.20.2-rc.1+x");
    assert_int_equal(parse_version("very v v1 v1.2 vv1.2.3", out, sizeof(out), NULL), 0);
    assert_string_equal(out, "v1.2.3");
    assert_int_not_equal(parse_version("", out, sizeof(out), NULL), 0);
    assert_int_not_equal(parse_version("1.2.3", out, sizeof(out), NULL), 0);
    assert_int_not_equal(
        parse_version("v1.2.3-0123456789012345678901234567890123456789", out, sizeof(out), NULL), 0);
    assert_false(parse_version_parts("", &major, &minor));
    assert_false(parse_version_parts("v1", &major, &minor));
    /* Found by fuzzing: scanf's numbers begin with blanks and signs. */
    assert_int_not_equal(parse_version("v1.\v\v2.2", out, sizeof(out), NULL), 0);
    assert_int_not_equal(parse_version("v1.-2.2", out, sizeof(out), NULL), 0);
    assert_false(parse_version_parts("v1.-2.2", &major, &minor));
    assert_false(parse_version_parts("v1. 2.2", &major, &minor));
    assert_true(parse_version_parts("v1.35.0", &major, &minor));
    assert_int_equal(minor, 35);
    assert_true(parse_has_word("a bc d\n", "d"));
    assert_false(parse_has_word("a bc d\n", "b"));
    assert_false(parse_cgroup_enabled("memory", "memory"));
}

int main(void)
{
#define WITH_HOST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_HOST(test_facts),
        WITH_HOST(test_facts_of_an_empty_host),
        WITH_HOST(test_a_host_that_is_fit),
        WITH_HOST(test_size),
        WITH_HOST(test_names),
        WITH_HOST(test_kubernetes_programs),
        WITH_HOST(test_runtime),
        WITH_HOST(test_kernel_settings),
        WITH_HOST(test_cgroups),
        WITH_HOST(test_ports),
        WITH_HOST(test_who_holds_a_port),
        WITH_HOST(test_leftovers),
        WITH_HOST(test_not_root),
        cmocka_unit_test(test_parsing_odd_input),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
