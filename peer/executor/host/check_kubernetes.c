/* Kubernetes' programs, what they call, and what an earlier cluster left of itself. */
#include <limits.h>
#include <stdio.h>

#include "peer/executor/host/check.h"
#include "peer/executor/host/look.h"
#include "peer/executor/host/parse.h"
#include "protocol/mem.h"
#include "protocol/wanted.h"

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
        check_tell(s, FINDING_RED, "install kubeadm, kubelet and kubectl", "there is no program %.60s",
                   program);
    else if (!version[0])
        check_tell(s, FINDING_RED, "see what \"kubeadm version\" says", "%.60s does not tell its version",
                   program);
    else if (!fits_minor(wanted, version))
        check_tell(s, FINDING_RED, "install the wanted version, or change it in the configuration",
                   "kubeadm is %s where %s is wanted", version, wanted);
    else
        check_tell(s, FINDING_GREEN, "", "kubeadm %s", version);
}

static void look_kubelet(struct survey *s)
{
    static const char *const argv[] = {"kubelet", "--version", NULL};
    char version[STEP_VERSION_BYTES];
    struct err e = {0};
    const char *program = exec_tool(s->ctx, TOOL_KUBELET);
    int code = look_version(s->ctx, program, argv, version, sizeof(version), &e);

    if (code == KPEER_ENOTFOUND)
        check_tell(s, FINDING_RED, "install kubelet in kubeadm's version", "there is no program %.60s",
                   program);
    else if (code)
        check_tell(s, FINDING_RED, "install kubelet in kubeadm's version", "kubelet: %.80s", e.text);
    else if (s->facts->kubernetes_version[0] && !same_minor(version, s->facts->kubernetes_version))
        check_tell(s, FINDING_RED, "install kubelet in kubeadm's version", "kubelet is %s, kubeadm %s",
                   version, s->facts->kubernetes_version);
    else
        check_tell(s, FINDING_GREEN, "", "kubelet %s", version);
}

static void look_kubectl(struct survey *s)
{
    const char *program = exec_tool(s->ctx, TOOL_KUBECTL);
    char path[PATH_MAX];

    if (spawn_find(program, path, sizeof(path), NULL) == 0)
        check_tell(s, FINDING_GREEN, "", "kubectl is there");
    else
        check_tell(s, s->role == STEP_ROLE_MASTER ? FINDING_RED : FINDING_WARN, "install kubectl",
                   "there is no program %.60s", program);
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
        check_tell(s, FINDING_GREEN, "", "nothing of an earlier cluster is left");
    else if (s->member)
        check_tell(s, FINDING_GREEN, "", "this host is a Node of this group's cluster");
    else if (s->own_half)
        check_tell(s, FINDING_WARN, "nothing: preparing resets it",
                   "%s is left of an unfinished init or join", path);
    else
        check_tell(s, FINDING_RED,
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
        check_tell(s, FINDING_GREEN, "", "the programs that kubeadm and kubelet call are there");
    else
        check_tell(s, FINDING_RED, "install the packages that hold them", "missing: %s", missing);
}

const struct check check_kubeadm = {
    .name = "kubeadm",
    .why = "kpeer makes the cluster with it",
    .kubeadm = {"KubernetesVersion"},
    .look = look_kubeadm,
};

const struct check check_kubelet = {
    .name = "kubelet",
    .why = "it runs the pods on this host",
    .kubeadm = {"KubeletVersion"},
    .look = look_kubelet,
};

const struct check check_kubectl = {
    .name = "kubectl",
    .why = "a master applies the network with it",
    .look = look_kubectl,
};

const struct check check_programs = {
    .name = "programs",
    .why = "kubeadm and kubelet call them",
    .look = look_programs,
};

const struct check check_leftovers = {
    .name = "leftovers",
    .why = "a new cluster does not work over an old one",
    .kubeadm = {"DirAvailable--etc-kubernetes-manifests", "FileAvailable--etc-kubernetes-kubelet.conf"},
    .look = look_leftovers,
};
