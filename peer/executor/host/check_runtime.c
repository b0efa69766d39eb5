/* The container runtime. */
#include "peer/executor/host/check.h"
#include "peer/executor/host/look.h"

static void look_container_runtime(struct survey *s)
{
    const char *name = look_runtime(s->ctx);

    if (name)
        check_tell(s, FINDING_GREEN, "", "%s answers for containers", name);
    else
        check_tell(s, FINDING_RED, "install and start containerd, with its CRI plugin enabled",
                   "no socket of containerd, CRI-O or cri-dockerd is there");
}

const struct check check_runtime = {
    .name = "runtime",
    .why = "kubelet starts containers through it",
    .kubeadm = {"CRI"},
    .look = look_container_runtime,
};
