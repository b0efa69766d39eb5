#include "peer/executor/host/host.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "peer/executor/host/look.h"
#include "peer/executor/host/parse.h"
#include "protocol/field.h"
#include "protocol/mem.h"
#include "protocol/wanted.h"

#define MASTER_CPUS      2    /* kubeadm: ControlPlaneNumCPU */
#define MASTER_MEMORY_MB 1700 /* kubeadm: ControlPlaneMem */
#define WORKER_CPUS      1
#define WORKER_MEMORY_MB 700

/* What a check sees and where it tells. */
struct survey {
    struct exec_ctx *ctx;
    enum step_role role;
    const struct facts *facts;
    bool member;   /* Kubernetes runs here as this group made it */
    bool own_half; /* what is left over here is of an init or join of ours; preparing takes it away */
    struct finding *findings;
    size_t count;
    const struct check *check;
};

struct check {
    const char *name;
    const char *why; /* after the fact, in the detail of what is not green */
    const char
        *kubeadm[2];   /* the preflight errors of kubeadm that stand for it; who ignores those ignores this */
    bool in_rehearsal; /* stays red in a rehearsal, which uses no program and changes no host */
    void (*look)(struct survey *s);
};

static bool is_ignored(const struct survey *s)
{
    const struct executor_config *cfg = s->ctx->cfg;

    for (size_t i = 0; i < cfg->ignore_count; i++) {
        if (strcasecmp(cfg->ignore[i], "all") == 0)
            return true;
        for (size_t k = 0; k < COUNT_OF(s->check->kubeadm); k++) {
            if (s->check->kubeadm[k] && strcasecmp(cfg->ignore[i], s->check->kubeadm[k]) == 0)
                return true;
        }
    }
    return false;
}

/* Tells a finding of the check that is looking; red is softened where it was said to be, or in a rehearsal.
 */
static void __attribute__((format(printf, 4, 5)))
tell(struct survey *s, enum finding_level level, const char *next, const char *fmt, ...)
{
    struct finding *f;
    char detail[104];
    va_list ap;

    if (s->count == STEP_FINDINGS_MAX)
        return;
    f = &s->findings[s->count++];
    memset(f, 0, sizeof(*f));
    va_start(ap, fmt);
    vsnprintf(detail, sizeof(detail), fmt, ap);
    va_end(ap);
    if (level == FINDING_RED && (is_ignored(s) || (s->ctx->dry_run && !s->check->in_rehearsal)))
        level = FINDING_WARN;
    f->level = level;
    snprintf(f->check, sizeof(f->check), "%s", s->check->name);
    if (level == FINDING_GREEN)
        snprintf(f->detail, sizeof(f->detail), "%s", detail);
    else
        snprintf(f->detail, sizeof(f->detail), "%s: %.52s", detail, s->check->why);
    snprintf(f->next, sizeof(f->next), "%s", next);
}

static void look_root(struct survey *s)
{
    if (s->ctx->is_root)
        tell(s, FINDING_GREEN, "", "the executor runs as root");
    else
        tell(s, FINDING_RED, "start kpeer as root", "the executor does not run as root");
}

static void look_cpu(struct survey *s)
{
    unsigned want = s->role == STEP_ROLE_MASTER ? MASTER_CPUS : WORKER_CPUS;
    enum finding_level low = s->role == STEP_ROLE_MASTER ? FINDING_RED : FINDING_WARN;

    if (s->facts->cpus >= want)
        tell(s, FINDING_GREEN, "", "%u CPUs", s->facts->cpus);
    else
        tell(s, low, "give this host more CPUs, or let another one be the master (role: worker here)",
             "%u CPUs where %u are needed", s->facts->cpus, want);
}

static void look_memory(struct survey *s)
{
    unsigned want = s->role == STEP_ROLE_MASTER ? MASTER_MEMORY_MB : WORKER_MEMORY_MB;
    enum finding_level low = s->role == STEP_ROLE_MASTER ? FINDING_RED : FINDING_WARN;

    if (s->facts->memory_mb >= want)
        tell(s, FINDING_GREEN, "", "%u MB of memory", s->facts->memory_mb);
    else
        tell(s, low, "give this host more memory, or let another one be the master (role: worker here)",
             "%u MB of memory where %u are needed", s->facts->memory_mb, want);
}

static void look_hostname(struct survey *s)
{
    const char *name = s->facts->hostname;

    if (!field_name(name))
        tell(s, FINDING_RED, "hostnamectl set-hostname NAME, with a-z, 0-9 and hyphens",
             "the host name \"%.64s\" can not be a Node's name", name);
    else if (strcmp(name, "localhost") == 0 || strncmp(name, "localhost.", 10) == 0)
        tell(s, FINDING_RED, "hostnamectl set-hostname NAME", "the host is called %s", name);
    else
        tell(s, FINDING_GREEN, "", "the host is called %s", name);
}

static void look_machine_id(struct survey *s)
{
    char line[64];

    if (look_line(s->ctx, "/etc/machine-id", line, sizeof(line)) && line[0])
        tell(s, FINDING_GREEN, "", "this host has a machine id");
    else
        tell(s, FINDING_WARN, "systemd-machine-id-setup", "this host has no machine id");
}

static bool same_minor(const char *a, const char *b)
{
    unsigned major[2], minor[2];

    return parse_version_parts(a, &major[0], &minor[0]) && parse_version_parts(b, &major[1], &minor[1]) &&
           major[0] == major[1] && minor[0] == minor[1];
}

/* A kubeadm can do its minor version's other patches as well. */
static bool fits_minor(const char *wanted, const char *version)
{
    struct version w, v;

    return !wanted_minor(wanted, &w) ||
           (version_parse(version, &v) && w.major == v.major && w.minor == v.minor);
}

static void look_kubeadm(struct survey *s)
{
    const char *version = s->facts->kubernetes_version, *wanted = s->ctx->cfg->kubernetes_version;
    const char *program = exec_tool(s->ctx, TOOL_KUBEADM);
    char path[PATH_MAX];

    if (spawn_find(program, path, sizeof(path), NULL))
        tell(s, FINDING_RED, "install kubeadm, kubelet and kubectl", "there is no program %.60s", program);
    else if (!version[0])
        tell(s, FINDING_RED, "see what \"kubeadm version\" says", "%.60s does not tell its version", program);
    else if (!fits_minor(wanted, version))
        tell(s, FINDING_RED, "install the wanted version, or change it in the configuration",
             "kubeadm is %s where %s is wanted", version, wanted);
    else
        tell(s, FINDING_GREEN, "", "kubeadm %s", version);
}

static void look_kubelet(struct survey *s)
{
    static const char *const argv[] = {"kubelet", "--version", NULL};
    char version[STEP_VERSION_BYTES];
    struct err e = {0};
    const char *program = exec_tool(s->ctx, TOOL_KUBELET);
    int code = look_version(s->ctx, program, argv, version, sizeof(version), &e);

    if (code == KPEER_ENOTFOUND)
        tell(s, FINDING_RED, "install kubelet in kubeadm's version", "there is no program %.60s", program);
    else if (code)
        tell(s, FINDING_RED, "install kubelet in kubeadm's version", "kubelet: %.80s", e.text);
    else if (s->facts->kubernetes_version[0] && !same_minor(version, s->facts->kubernetes_version))
        tell(s, FINDING_RED, "install kubelet in kubeadm's version", "kubelet is %s, kubeadm %s", version,
             s->facts->kubernetes_version);
    else
        tell(s, FINDING_GREEN, "", "kubelet %s", version);
}

static void look_kubectl(struct survey *s)
{
    const char *program = exec_tool(s->ctx, TOOL_KUBECTL);
    char path[PATH_MAX];

    if (spawn_find(program, path, sizeof(path), NULL) == 0)
        tell(s, FINDING_GREEN, "", "kubectl is there");
    else
        tell(s, s->role == STEP_ROLE_MASTER ? FINDING_RED : FINDING_WARN, "install kubectl",
             "there is no program %.60s", program);
}

static void look_container_runtime(struct survey *s)
{
    const char *name = look_runtime(s->ctx);

    if (name)
        tell(s, FINDING_GREEN, "", "%s answers for containers", name);
    else
        tell(s, FINDING_RED, "install and start containerd, with its CRI plugin enabled",
             "no socket of containerd, CRI-O or cri-dockerd is there");
}

static void look_swap(struct survey *s)
{
    cleanup_free char *text = look_text(s->ctx, "/proc/swaps");
    char first[48] = "";
    size_t count = text ? parse_swaps(text, first, sizeof(first)) : 0;

    if (count == 0)
        tell(s, FINDING_GREEN, "", "swap is off");
    else
        tell(s, FINDING_RED, "swapoff -a, and comment the swap line out in /etc/fstab", "swap is on (%s)",
             first);
}

static void look_switch(struct survey *s, const char *path, const char *absent_next, const char *next)
{
    char value[16];

    if (!look_line(s->ctx, path, value, sizeof(value)))
        tell(s, FINDING_RED, absent_next, "%s is not there", path);
    else if (strcmp(value, "1") != 0)
        tell(s, FINDING_RED, next, "%s is %.15s", path, value);
    else
        tell(s, FINDING_GREEN, "", "%s is 1", path);
}

static void look_ip_forward(struct survey *s)
{
    look_switch(s, "/proc/sys/net/ipv4/ip_forward", "is /proc mounted?",
                "sysctl -w net.ipv4.ip_forward=1, and the same in a file in /etc/sysctl.d");
}

static void look_bridge(struct survey *s)
{
    look_switch(s, "/proc/sys/net/bridge/bridge-nf-call-iptables",
                "modprobe br_netfilter, and its name in a file in /etc/modules-load.d",
                "sysctl -w net.bridge.bridge-nf-call-iptables=1, and the same in a file in /etc/sysctl.d");
}

static bool listens(const char *tcp, const char *tcp6, uint16_t port)
{
    return (tcp && parse_tcp_listens(tcp, port)) || (tcp6 && parse_tcp_listens(tcp6, port));
}

static void look_ports(struct survey *s)
{
    static const uint16_t ports[] = {10250, 6443, 10259,
                                     10257, 2379, 2380}; /* a worker needs the first alone */
    size_t needed = s->role == STEP_ROLE_MASTER ? COUNT_OF(ports) : 1;
    cleanup_free char *tcp = look_text(s->ctx, "/proc/net/tcp");
    cleanup_free char *tcp6 = look_text(s->ctx, "/proc/net/tcp6");
    char taken[64] = "";
    size_t used = 0;

    for (size_t i = 0; i < needed && used < sizeof(taken); i++) {
        if (listens(tcp, tcp6, ports[i]))
            used += (size_t)snprintf(taken + used, sizeof(taken) - used, "%s%u", used ? ", " : "", ports[i]);
    }
    if (!tcp)
        tell(s, FINDING_WARN, "is /proc mounted?", "/proc/net/tcp cannot be read");
    else if (!used)
        tell(s, FINDING_GREEN, "", "the TCP ports that Kubernetes needs are free");
    else if (s->member || s->own_half)
        tell(s, FINDING_GREEN, "", "TCP %s: held by this group's own Kubernetes", taken);
    else
        tell(s, FINDING_RED, "see who holds them with ss -tlnp, and stop it", "TCP %s in use", taken);
}

/* What a cluster leaves behind; kubeadm reset takes away the first three. */
static bool find_leftover(const struct survey *s, char *out, size_t out_bytes)
{
    static const char *const there[] = {"/etc/kubernetes/kubelet.conf", "/etc/kubernetes/admin.conf",
                                        "/var/lib/etcd/member", "/sys/class/net/cni0",
                                        "/sys/class/net/flannel.1"};
    char name[64];

    if (look_entry(s->ctx, "/etc/kubernetes/manifests", ".yaml", name, sizeof(name))) {
        snprintf(out, out_bytes, "/etc/kubernetes/manifests/%s", name);
        return true;
    }
    for (size_t i = 0; i < COUNT_OF(there); i++) {
        if (look_exists(s->ctx, there[i])) {
            snprintf(out, out_bytes, "%s", there[i]);
            return true;
        }
    }
    if (!look_entry(s->ctx, "/etc/cni/net.d", "flannel", name, sizeof(name)))
        return false;
    snprintf(out, out_bytes, "/etc/cni/net.d/%s", name);
    return true;
}

static void look_leftovers(struct survey *s)
{
    char path[96];

    if (!find_leftover(s, path, sizeof(path)))
        tell(s, FINDING_GREEN, "", "nothing of an earlier cluster is left");
    else if (s->member)
        tell(s, FINDING_GREEN, "", "this host is a Node of this group's cluster");
    else if (s->own_half)
        tell(s, FINDING_WARN, "nothing: preparing resets it", "%s is left of an unfinished init or join",
             path);
    else
        tell(s, FINDING_RED,
             "kubeadm reset, and remove /etc/cni/net.d, cni0 and flannel.1, if that cluster is gone",
             "%s is there", path);
}

static void look_programs(struct survey *s)
{
    static const char *const names[] = {"ip", "iptables", "conntrack", "mount", "nsenter"};
    char missing[64] = "", path[PATH_MAX];
    size_t used = 0;

    for (size_t i = 0; i < COUNT_OF(names) && used < sizeof(missing); i++) {
        const char *name = i == 0 ? exec_tool(s->ctx, TOOL_IP) : names[i];

        if (spawn_find(name, path, sizeof(path), NULL))
            used +=
                (size_t)snprintf(missing + used, sizeof(missing) - used, "%s%s", used ? ", " : "", names[i]);
    }
    if (!used)
        tell(s, FINDING_GREEN, "", "the programs that kubeadm and kubelet call are there");
    else
        tell(s, FINDING_RED, "install the packages that hold them", "missing: %s", missing);
}

static void look_cgroups(struct survey *s)
{
    cleanup_free char *unified = look_text(s->ctx, "/sys/fs/cgroup/cgroup.controllers");
    cleanup_free char *legacy = look_text(s->ctx, "/proc/cgroups");
    unsigned major = 0, minor = 0;
    bool v2 = unified && parse_has_word(unified, "cpu") && parse_has_word(unified, "memory");
    bool v1 = legacy && parse_cgroup_enabled(legacy, "cpu") && parse_cgroup_enabled(legacy, "memory");

    parse_version_parts(s->facts->kubernetes_version, &major, &minor);
    if (v2)
        tell(s, FINDING_GREEN, "", "cgroup v2 with the controllers cpu and memory");
    else if (!v1)
        tell(s, FINDING_RED, "enable the cpu and memory controllers in the kernel", "cgroups are incomplete");
    else if (major == 1 && minor >= 35)
        tell(s, FINDING_RED, "boot with cgroup v2 (systemd.unified_cgroup_hierarchy=1)",
             "this host has cgroup v1");
    else
        tell(s, FINDING_GREEN, "", "cgroup v1 with the controllers cpu and memory");
}

static const struct check checks[] = {
    {"root", "kubeadm needs root's rights", {"IsPrivilegedUser", NULL}, false, look_root},
    {"cpu", "kubeadm gives a control plane 2", {"NumCPU", NULL}, true, look_cpu},
    {"memory", "a control plane does not run in less than 1700 MB", {"Mem", NULL}, true, look_memory},
    {"hostname", "it becomes the Node's name", {"Hostname", NULL}, true, look_hostname},
    {"machine-id", "hosts without one are hard to tell apart", {NULL, NULL}, false, look_machine_id},
    {"kubeadm", "kpeer makes the cluster with it", {"KubernetesVersion", NULL}, false, look_kubeadm},
    {"kubelet", "it runs the pods on this host", {"KubeletVersion", NULL}, false, look_kubelet},
    {"kubectl", "a master applies the network with it", {NULL, NULL}, false, look_kubectl},
    {"runtime", "kubelet starts containers through it", {"CRI", NULL}, false, look_container_runtime},
    {"swap", "kubelet does not start with it", {"Swap", NULL}, false, look_swap},
    {"ip-forward",
     "pods reach other hosts only if this one forwards",
     {"FileContent--proc-sys-net-ipv4-ip_forward", NULL},
     false,
     look_ip_forward},
    {"bridge-netfilter",
     "Services work only if bridged packets pass iptables",
     {"FileContent--proc-sys-net-bridge-bridge-nf-call-iptables", NULL},
     false,
     look_bridge},
    {"leftovers",
     "a new cluster does not work over an old one",
     {"DirAvailable--etc-kubernetes-manifests", "FileAvailable--etc-kubernetes-kubelet.conf"},
     false,
     look_leftovers},
    {"ports", "Kubernetes needs them itself", {"Port-10250", "Port-6443"}, false, look_ports},
    {"programs", "kubeadm and kubelet call them", {NULL, NULL}, false, look_programs},
    {"cgroups", "kubelet needs them for its limits", {"SystemVerification", NULL}, false, look_cgroups},
};

int host_checks(struct exec_ctx *ctx, enum step_role role, const struct facts *facts,
                struct finding findings[static STEP_FINDINGS_MAX], size_t *count, size_t *red,
                struct err *err)
{
    const struct journal_state *j = journal_state(ctx->journal);
    bool done = (j->init_begun && j->init_done) || (j->join_begun && j->join_done);
    struct survey s = {.ctx = ctx,
                       .role = role,
                       .facts = facts,
                       .findings = findings,
                       .member = done,
                       .own_half = !done && (j->init_begun || j->join_begun)};
    size_t reds = 0;

    for (size_t i = 0; i < COUNT_OF(checks); i++) {
        if (spawn_canceled())
            return err_set(err, KPEER_ECANCELED, "stopped on request");
        s.check = &checks[i];
        checks[i].look(&s);
    }
    for (size_t i = 0; i < s.count; i++)
        reds += findings[i].level == FINDING_RED;
    *count = s.count;
    *red = reds;
    return 0;
}
