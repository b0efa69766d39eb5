/*
 * Flannel's manifest, kpeer's own or any that a user gives, made right for this cluster. Pure: bytes in,
 * bytes out.
 *
 * What must fit is the pod network and the backend in net-conf.json of the ConfigMap, and the interface of
 * every flanneld: on hosts with several interfaces Flannel takes that of the default route, which is wrong
 * wherever that one is a NAT interface. YAML is read, changed and emitted by libyaml, JSON by jansson; what
 * is not Flannel's passes through. Used by this folder and its tests.
 */
#ifndef KPEER_FLANNEL_H
#define KPEER_FLANNEL_H

#include <stddef.h>

#include "protocol/err.h"

#define FLANNEL_VERSION        "v0.22.3" /* default of kpeer's own manifest */
#define FLANNEL_PLUGIN_VERSION "v1.2.0"
#define FLANNEL_REPOSITORY     "docker.io/flannel"

enum flannel_choice {
    /* One manifest right on every host: --iface=$(HOST_IP), which kubelet fills in with the Node's own
     * InternalIP, and behind it --iface-can-reach=ADDRESS. The latter alone would not do: towards its own
     * address a host's route leads to the loopback interface, which Flannel would take on the control plane.
     */
    FLANNEL_CAN_REACH,
    FLANNEL_INTERFACE, /* --iface=NAME: where each host calls it the same */
};

struct flannel_wish {
    const char *pod_cidr;
    const char *backend; /* "vxlan", "host-gw"; NULL or empty: as the manifest has it */
    enum flannel_choice choice;
    const char *address;   /* FLANNEL_CAN_REACH: the control plane's proven address */
    const char *interface; /* FLANNEL_INTERFACE */
};

/* kpeer's own manifest with the images REPOSITORY/flannel:VERSION and REPOSITORY/flannel-cni-plugin:…; NULL
 * or empty takes the default. *out is freed by yamlout_free. */
int flannel_own(const char *repository, const char *version, char **out, size_t *n, struct err *err);

/* Adapts a manifest of one or more documents. KPEER_EINVAL: no YAML, no ConfigMap with net-conf.json, no
 * DaemonSet that runs flanneld, net-conf.json is no JSON object; KPEER_ELIMIT: over 1 MiB, too deep, aliases.
 */
int flannel_adapt(const char *manifest, size_t manifest_bytes, const struct flannel_wish *wish, char **out,
                  size_t *n, struct err *err);

/* The images that the DaemonSets of a manifest run, each once, in their order; at most `max`, those that do
 * not fit left out. Errors as flannel_adapt for what is no YAML. */
#define FLANNEL_IMAGE_BYTES 192
int flannel_images(const char *manifest, size_t manifest_bytes, char (*names)[FLANNEL_IMAGE_BYTES],
                   size_t max, size_t *count, struct err *err);

#endif
