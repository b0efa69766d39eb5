/*
 * The root side of kpeer: a process of its own which carries out typed steps and nothing else.
 *
 * The agent starts it before it drops root and talks to it in frames (protocol/step.h) over a
 * sequenced-packet socket pair. The executor opens no network socket and takes no path, argument vector or
 * shell line from the agent: what it may run is fixed by its configuration, copied when it is forked. Each
 * step runs in a worker process of its own process group; steps that change the host run one after the other
 * in the order asked, the others side by side. When the agent goes away it ends its workers in order and
 * exits.
 */
#ifndef KPEER_EXECUTOR_H
#define KPEER_EXECUTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol/err.h"

#define EXECUTOR_PATH_BYTES   256
#define EXECUTOR_IGNORE_MAX   16
#define EXECUTOR_IGNORE_BYTES 48
#define EXECUTOR_URL_BYTES    256

/* The programs that steps may run; an empty path means: by its name on SPAWN_PATH. */
enum executor_tool {
    TOOL_KUBEADM,
    TOOL_KUBECTL,
    TOOL_KUBELET,
    TOOL_SYSTEMCTL,
    TOOL_CRICTL,
    TOOL_CTR,
    TOOL_IP,
    TOOL_IPTABLES_SAVE,
    TOOL_IPTABLES_RESTORE,
    TOOL_PING,
    TOOL_MODPROBE,
    TOOL_DOCKER,
    TOOL_TAR,
    TOOL_APT_GET,
    TOOL_APT_CACHE,
    TOOL_APT_MARK,
    TOOL_APT_HELPER,
    TOOL_DPKG,
    TOOL_DPKG_DEB,
    TOOL_DPKG_QUERY,
    TOOL_SWAPON,
    TOOL_SWAPOFF,
    TOOL_UFW,
    TOOL_FIREWALL_CMD,
    TOOL_NFT,
    TOOL_COUNT
};

/* How a repository of packages is laid out; AUTO: by the version. */
enum packages_layout { LAYOUT_AUTO = 0, LAYOUT_MINOR, LAYOUT_LEGACY };

/* Which container runtime is installed where there is none. */
enum packages_runtime { RUNTIME_CONTAINERD = 0, RUNTIME_DOCKER, RUNTIME_CRIO, RUNTIME_NONE };

/* Where packages come from. */
struct packages_config {
    bool install;                       /* may packages be installed at all */
    char minor_url[EXECUTOR_URL_BYTES]; /* repository of one minor version, with {minor} in it; empty: none */
    char legacy_url[EXECUTOR_URL_BYTES]; /* repository of all versions; empty: none */
    enum packages_layout layout;
    char
        keyring[EXECUTOR_URL_BYTES]; /* file or URL of the repository's key; empty: where the layout has it */
    char fingerprint[72];            /* what its fingerprint must be, hex digits; empty: any */
    char folder[EXECUTOR_PATH_BYTES]; /* of .deb files, used in place of repositories; empty: none */
    enum packages_runtime runtime;
};

/* Where images come from and what is asked of them. */
struct executor_images {
    char mirror[128];                   /* prefix, HOST[:PORT][/PATH]; empty: the images' own registries */
    char archives[EXECUTOR_PATH_BYTES]; /* folder of archives; empty: none */
    char ca[EXECUTOR_PATH_BYTES];       /* authority of registries that are not public; empty: the usual */
    char digests[EXECUTOR_PATH_BYTES];  /* file of wanted digests; empty: none */
    char
        second[EXECUTOR_PATH_BYTES]; /* what `verify` compares with: prefix, folder or file; empty: digests */
    uint32_t parallel;               /* pulls side by side */
    uint32_t retries;                /* further tries of an image after the first */
    bool insecure;                   /* plain http to registries that are not public */
};

/* From root's own configuration; the agent cannot change it once the executor runs. */
struct executor_config {
    char state_dir[EXECUTOR_PATH_BYTES]; /* holds the executor's own folder; absolute */
    char key_file[EXECUTOR_PATH_BYTES];  /* of the group key; absolute */
    char tools[TOOL_COUNT][EXECUTOR_PATH_BYTES];
    bool dry_run;                               /* rehearse: say what would be done, change nothing */
    char flannel_manifest[EXECUTOR_PATH_BYTES]; /* a user's manifest; empty: kpeer's own */
    char flannel_version[32];                   /* "v0.22.3" */
    char flannel_backend[16];                   /* "vxlan", "host-gw" */
    char flannel_images[128];   /* repository the two Flannel images come from; empty: docker.io/flannel */
    char image_repository[128]; /* for kubeadm's images; empty: kubeadm's default */
    char
        kubernetes_version[32]; /* wanted: "v1.20.2", "v1.20", "stable"; empty: that of the kubeadm at hand */
    struct packages_config packages;
    char probe_image[128]; /* image of the probe pods; empty: kube's default */
    char ignore[EXECUTOR_IGNORE_MAX][EXECUTOR_IGNORE_BYTES]; /* kubeadm preflight errors to ignore, by name */
    size_t ignore_count;
    struct executor_images images;
    char pod_cidr[50];     /* of the cluster to be; empty: not known */
    char service_cidr[50]; /* likewise */
    uint16_t port;         /* of kpeer's links (TCP) and seeds (UDP); 0: not known */
    uint16_t multicast_port;
    bool tell_firewall;             /* tell the rules that miss, and add none */
    char root[EXECUTOR_PATH_BYTES]; /* what is looked at as the host's root folder; empty: "/". Tests only */
};

/* The name of a tool as its program is called ("kubeadm"); never NULL. */
const char *executor_tool_name(enum executor_tool tool);

/* Forks the executor. *agent_fd becomes the agent's end of the socket pair (close-on-exec), *pid the
 * executor, which the agent reaps. Call before threads are started and before root is dropped. The caller's
 * descriptors other than stderr are closed in the executor. */
int executor_start(const struct executor_config *cfg, int *agent_fd, pid_t *pid, struct err *err);

#endif
