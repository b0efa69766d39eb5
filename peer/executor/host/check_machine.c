/* What kpeer may do on this host, and whether the host is large enough. */
#include "peer/executor/host/check.h"
#include "peer/executor/host/look.h"
#include "peer/executor/host/parse.h"
#include "protocol/mem.h"

#define MASTER_CPUS      2    /* kubeadm: ControlPlaneNumCPU */
#define MASTER_MEMORY_MB 1700 /* kubeadm: ControlPlaneMem */
#define WORKER_CPUS      1
#define WORKER_MEMORY_MB 700

static void look_root(struct survey *s)
{
    if (s->ctx->is_root)
        check_tell(s, FINDING_GREEN, "", "the executor runs as root");
    else
        check_tell(s, FINDING_RED, "start kpeer as root", "the executor does not run as root");
}

static void look_cpu(struct survey *s)
{
    unsigned want = s->role == STEP_ROLE_MASTER ? MASTER_CPUS : WORKER_CPUS;
    enum finding_level low = s->role == STEP_ROLE_MASTER ? FINDING_RED : FINDING_WARN;

    if (s->facts->cpus >= want)
        check_tell(s, FINDING_GREEN, "", "%u CPUs", s->facts->cpus);
    else
        check_tell(s, low, "give this host more CPUs, or let another one be the master (role: worker here)",
                   "%u CPUs where %u are needed", s->facts->cpus, want);
}

static void look_memory(struct survey *s)
{
    unsigned want = s->role == STEP_ROLE_MASTER ? MASTER_MEMORY_MB : WORKER_MEMORY_MB;
    enum finding_level low = s->role == STEP_ROLE_MASTER ? FINDING_RED : FINDING_WARN;

    if (s->facts->memory_mb >= want)
        check_tell(s, FINDING_GREEN, "", "%u MB of memory", s->facts->memory_mb);
    else
        check_tell(s, low, "give this host more memory, or let another one be the master (role: worker here)",
                   "%u MB of memory where %u are needed", s->facts->memory_mb, want);
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
        check_tell(s, FINDING_GREEN, "", "cgroup v2 with the controllers cpu and memory");
    else if (!v1)
        check_tell(s, FINDING_RED, "enable the cpu and memory controllers in the kernel",
                   "cgroups are incomplete");
    else if (major == 1 && minor >= 35)
        check_tell(s, FINDING_RED, "boot with cgroup v2 (systemd.unified_cgroup_hierarchy=1)",
                   "this host has cgroup v1");
    else
        check_tell(s, FINDING_GREEN, "", "cgroup v1 with the controllers cpu and memory");
}

const struct check check_root = {
    .name = "root",
    .why = "kubeadm needs root's rights",
    .kubeadm = {"IsPrivilegedUser"},
    .look = look_root,
};

const struct check check_cpu = {
    .name = "cpu",
    .why = "kubeadm gives a control plane 2",
    .kubeadm = {"NumCPU"},
    .look = look_cpu,
    .in_rehearsal = true,
};

const struct check check_memory = {
    .name = "memory",
    .why = "a control plane does not run in less than 1700 MB",
    .kubeadm = {"Mem"},
    .look = look_memory,
    .in_rehearsal = true,
};

const struct check check_cgroups = {
    .name = "cgroups",
    .why = "kubelet needs them for its limits",
    .kubeadm = {"SystemVerification"},
    .look = look_cgroups,
};
