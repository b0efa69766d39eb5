/* What kpeer may do on this host, and whether the host is large enough. */
#include <limits.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/timex.h>

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

/* kubelet's hard eviction thresholds: a tenth of its own disk free, 15 hundredths of the images'. */
static const struct {
    const char *path;
    unsigned percent;
    unsigned want_mb;
} disks[] = {
    {"/var/lib/kubelet", 10, 1024},
    {"/var/lib/containerd", 15, 3072},
    {"/var/lib/docker", 15, 3072},
    {"/var/lib/etcd", 10, 1024},
};

/* The file system that a folder will be on, which need not be there yet. */
static bool find_disk(const struct exec_ctx *ctx, const char *path, struct statvfs *out)
{
    char full[PATH_MAX];
    size_t root = strlen(ctx->cfg->root);

    if (exec_path(ctx, path, full, sizeof(full), NULL))
        return false;
    while (statvfs(full, out)) {
        char *slash = strrchr(full + root, '/');

        if (!slash)
            return false;
        *slash = 0;
        if (slash == full + root)
            return statvfs(root ? full : "/", out) == 0;
    }
    return out->f_blocks > 0;
}

static void look_disk(struct survey *s)
{
    for (size_t i = 0; i < COUNT_OF(disks); i++) {
        struct statvfs v;
        unsigned long long free_mb, percent;

        if (!find_disk(s->ctx, disks[i].path, &v))
            continue;
        free_mb = (unsigned long long)v.f_bavail * v.f_frsize / (1024 * 1024);
        percent = (unsigned long long)v.f_bavail * 100 / v.f_blocks;
        if (percent < disks[i].percent) {
            check_tell(s, FINDING_RED, "make room, or give this host a larger disk",
                       "%llu %% of the disk of %s are free, of %u needed", percent, disks[i].path,
                       disks[i].percent);
            return;
        }
        if (free_mb < disks[i].want_mb) {
            check_tell(s, FINDING_WARN, "make room: images and pods take some GB", "%llu MB are free for %s",
                       free_mb, disks[i].path);
            return;
        }
    }
    check_tell(s, FINDING_GREEN, "", "the disks have room");
}

const struct check check_disk = {
    .name = "disk",
    .why = "kubelet evicts pods from a full one",
    .look = look_disk,
};

/* The group compares its clocks itself; here is whether anything keeps this one right. */
static void look_clock(struct survey *s)
{
    struct timex t = {.modes = 0};
    int state = s->ctx->cfg->root[0] ? TIME_OK : adjtimex(&t);

    if (state == TIME_ERROR || state < 0 || (t.status & STA_UNSYNC))
        check_tell(s, FINDING_WARN, "apt-get install chrony, or: timedatectl set-ntp true",
                   "nothing keeps this host's clock right");
    else
        check_tell(s, FINDING_GREEN, "", "the clock is kept right");
}

const struct check check_clock = {
    .name = "clock",
    .why = "certificates and leases go by the clock",
    .look = look_clock,
};
