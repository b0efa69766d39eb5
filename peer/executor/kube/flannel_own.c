#include "peer/executor/kube/flannel.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "peer/executor/kube/manifest.h"
#include "protocol/mem.h"

#define SPACE   "kube-flannel"
#define APP     "flannel"
#define RBAC    "rbac.authorization.k8s.io"
#define RBAC_V1 RBAC "/v1"

#define IMAGE_BYTES 256

struct images {
    char flanneld[IMAGE_BYTES];
    char plugin[IMAGE_BYTES];
};

static void rule(struct yamlout *y, const char *group, const char *resource, const char *const *verbs)
{
    yamlout_map(y, NULL);
    manifest_list(y, "apiGroups", (const char *const[]){group, NULL});
    manifest_list(y, "resources", (const char *const[]){resource, NULL});
    manifest_list(y, "verbs", verbs);
    yamlout_map_end(y);
}

static void cluster_role(struct yamlout *y)
{
    yamlout_begin(y);
    manifest_object(y, RBAC_V1, "ClusterRole", NULL, APP, APP);
    yamlout_seq(y, "rules");
    rule(y, "", "pods", (const char *const[]){"get", NULL});
    rule(y, "", "nodes", (const char *const[]){"get", "list", "watch", NULL});
    rule(y, "", "nodes/status", (const char *const[]){"patch", NULL});
    rule(y, "networking.k8s.io", "clustercidrs", (const char *const[]){"list", "watch", NULL});
    yamlout_seq_end(y);
    yamlout_end(y);
}

static void cluster_role_binding(struct yamlout *y)
{
    yamlout_begin(y);
    manifest_object(y, RBAC_V1, "ClusterRoleBinding", NULL, APP, APP);
    yamlout_map(y, "roleRef");
    yamlout_text(y, "apiGroup", RBAC);
    yamlout_text(y, "kind", "ClusterRole");
    yamlout_text(y, "name", APP);
    yamlout_map_end(y);
    yamlout_seq(y, "subjects");
    yamlout_map(y, NULL);
    yamlout_text(y, "kind", "ServiceAccount");
    yamlout_text(y, "name", APP);
    yamlout_text(y, "namespace", SPACE);
    yamlout_map_end(y);
    yamlout_seq_end(y);
    yamlout_end(y);
}

/* The pod network here is the place for it only: flannel_adapt sets it, as in anybody's manifest. */
static int config_map(struct yamlout *y, struct err *err)
{
    json_t *cni = json_pack("{s:s, s:s, s:[{s:s, s:{s:b, s:b}}, {s:s, s:{s:b}}]}", "name", "cbr0",
                            "cniVersion", "0.3.1", "plugins", "type", "flannel", "delegate", "hairpinMode", 1,
                            "isDefaultGateway", 1, "type", "portmap", "capabilities", "portMappings", 1);
    json_t *net = json_pack("{s:s, s:{s:s}}", "Network", "10.244.0.0/16", "Backend", "Type", "vxlan");
    cleanup_free char *cni_text = cni ? json_dumps(cni, JSON_INDENT(2) | JSON_PRESERVE_ORDER) : NULL;
    cleanup_free char *net_text = net ? json_dumps(net, JSON_INDENT(2) | JSON_PRESERVE_ORDER) : NULL;
    json_decref(cni);
    json_decref(net);
    if (!cni_text || !net_text)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    yamlout_begin(y);
    manifest_object(y, "v1", "ConfigMap", SPACE, "kube-flannel-cfg", APP);
    yamlout_map(y, "data");
    yamlout_block(y, "cni-conf.json", cni_text);
    yamlout_block(y, "net-conf.json", net_text);
    yamlout_map_end(y);
    yamlout_end(y);
    return 0;
}

static void host_path(struct yamlout *y, const char *name, const char *path, const char *type)
{
    yamlout_map(y, NULL);
    yamlout_text(y, "name", name);
    yamlout_map(y, "hostPath");
    yamlout_text(y, "path", path);
    yamlout_text_if(y, "type", type);
    yamlout_map_end(y);
    yamlout_map_end(y);
}

static void volumes(struct yamlout *y)
{
    yamlout_seq(y, "volumes");
    host_path(y, "run", "/run/flannel", "DirectoryOrCreate");
    host_path(y, "cni-plugin", "/opt/cni/bin", "DirectoryOrCreate");
    host_path(y, "cni", "/etc/cni/net.d", "DirectoryOrCreate");
    host_path(y, "xtables-lock", "/run/xtables.lock", "FileOrCreate");
    yamlout_map(y, NULL);
    yamlout_text(y, "name", "flannel-cfg");
    yamlout_map(y, "configMap");
    yamlout_text(y, "name", "kube-flannel-cfg");
    yamlout_map_end(y);
    yamlout_map_end(y);
    yamlout_seq_end(y);
}

static void mount(struct yamlout *y, const char *name, const char *path)
{
    yamlout_map(y, NULL);
    yamlout_text(y, "name", name);
    yamlout_text(y, "mountPath", path);
    yamlout_map_end(y);
}

/* A container that copies one file onto the host and ends. */
static void copier(struct yamlout *y, const char *name, const char *image, const char *from, const char *to)
{
    yamlout_map(y, NULL);
    yamlout_text(y, "name", name);
    yamlout_text(y, "image", image);
    yamlout_text(y, "imagePullPolicy", "IfNotPresent");
    manifest_list(y, "command", (const char *const[]){"cp", NULL});
    manifest_list(y, "args", (const char *const[]){"-f", from, to, NULL});
    yamlout_seq(y, "volumeMounts");
}

static void copier_end(struct yamlout *y)
{
    yamlout_seq_end(y);
    yamlout_map_end(y);
}

static void init_containers(struct yamlout *y, const struct images *images)
{
    yamlout_seq(y, "initContainers");
    copier(y, "install-cni-plugin", images->plugin, "/flannel", "/opt/cni/bin/flannel");
    mount(y, "cni-plugin", "/opt/cni/bin");
    copier_end(y);
    copier(y, "install-cni", images->flanneld, "/etc/kube-flannel/cni-conf.json",
           "/etc/cni/net.d/10-flannel.conflist");
    mount(y, "cni", "/etc/cni/net.d");
    mount(y, "flannel-cfg", "/etc/kube-flannel/");
    copier_end(y);
    yamlout_seq_end(y);
}

static void field_variable(struct yamlout *y, const char *name, const char *field)
{
    yamlout_map(y, NULL);
    yamlout_text(y, "name", name);
    yamlout_map(y, "valueFrom");
    yamlout_map(y, "fieldRef");
    yamlout_text(y, "fieldPath", field);
    yamlout_map_end(y);
    yamlout_map_end(y);
    yamlout_map_end(y);
}

static void daemon_rights(struct yamlout *y)
{
    yamlout_map(y, "resources");
    yamlout_map(y, "requests");
    yamlout_text(y, "cpu", "100m");
    yamlout_text(y, "memory", "50Mi");
    yamlout_map_end(y);
    yamlout_map_end(y);
    yamlout_map(y, "securityContext");
    yamlout_flag(y, "privileged", false);
    yamlout_map(y, "capabilities");
    manifest_list(y, "add", (const char *const[]){"NET_ADMIN", "NET_RAW", NULL});
    yamlout_map_end(y);
    yamlout_map_end(y);
}

static void daemon_container(struct yamlout *y, const struct images *images)
{
    yamlout_map(y, NULL);
    yamlout_text(y, "name", "kube-flannel");
    yamlout_text(y, "image", images->flanneld);
    yamlout_text(y, "imagePullPolicy", "IfNotPresent");
    manifest_list(y, "command", (const char *const[]){"/opt/bin/flanneld", NULL});
    manifest_list(y, "args", (const char *const[]){"--ip-masq", "--kube-subnet-mgr", NULL});
    daemon_rights(y);
    yamlout_seq(y, "env");
    field_variable(y, "POD_NAME", "metadata.name");
    field_variable(y, "POD_NAMESPACE", "metadata.namespace");
    yamlout_map(y, NULL);
    yamlout_text(y, "name", "EVENT_QUEUE_DEPTH");
    yamlout_text(y, "value", "5000");
    yamlout_map_end(y);
    yamlout_seq_end(y);
    yamlout_seq(y, "volumeMounts");
    mount(y, "run", "/run/flannel");
    mount(y, "flannel-cfg", "/etc/kube-flannel/");
    mount(y, "xtables-lock", "/run/xtables.lock");
    yamlout_seq_end(y);
    yamlout_map_end(y);
}

static void daemon_set(struct yamlout *y, const struct images *images)
{
    yamlout_begin(y);
    manifest_object(y, "apps/v1", "DaemonSet", SPACE, "kube-flannel-ds", APP);
    manifest_daemon_begin(y, APP);
    yamlout_flag(y, "hostNetwork", true);
    yamlout_text(y, "priorityClassName", "system-node-critical");
    yamlout_text(y, "serviceAccountName", APP);
    init_containers(y, images);
    yamlout_seq(y, "containers");
    daemon_container(y, images);
    yamlout_seq_end(y);
    volumes(y);
    manifest_daemon_end(y);
    yamlout_end(y);
}

/* Newer clusters refuse host networking in a namespace that does not ask for it. */
static void name_space(struct yamlout *y)
{
    yamlout_begin(y);
    yamlout_text(y, "apiVersion", "v1");
    yamlout_text(y, "kind", "Namespace");
    yamlout_map(y, "metadata");
    yamlout_text(y, "name", SPACE);
    yamlout_map(y, "labels");
    yamlout_text(y, "app", APP);
    yamlout_text(y, "pod-security.kubernetes.io/enforce", "privileged");
    yamlout_map_end(y);
    yamlout_map_end(y);
    yamlout_end(y);
}

static int name_images(const char *repository, const char *version, struct images *images, struct err *err)
{
    const char *from = repository && repository[0] ? repository : FLANNEL_REPOSITORY;
    const char *tag = version && version[0] ? version : FLANNEL_VERSION;
    int a = snprintf(images->flanneld, IMAGE_BYTES, "%s/flannel:%s", from, tag);
    int b = snprintf(images->plugin, IMAGE_BYTES, "%s/flannel-cni-plugin:%s", from, FLANNEL_PLUGIN_VERSION);
    if (a >= IMAGE_BYTES || b >= IMAGE_BYTES)
        return err_set(err, KPEER_EINVAL, "the names of Flannel's images are too long");
    return 0;
}

int flannel_own(const char *repository, const char *version, char **out, size_t *n, struct err *err)
{
    struct images images;
    int rc = name_images(repository, version, &images, err);
    if (rc != 0)
        return rc;
    struct yamlout y;
    yamlout_init(&y);
    name_space(&y);
    yamlout_begin(&y);
    manifest_object(&y, "v1", "ServiceAccount", SPACE, APP, APP);
    yamlout_end(&y);
    cluster_role(&y);
    cluster_role_binding(&y);
    rc = config_map(&y, err);
    daemon_set(&y, &images);
    char *bytes = NULL;
    size_t bytes_n = 0;
    int finished = yamlout_finish(&y, &bytes, &bytes_n, rc == 0 ? err : NULL);
    if (rc != 0 || finished != 0) {
        yamlout_free(bytes, bytes_n);
        return rc != 0 ? rc : finished;
    }
    *out = bytes;
    *n = bytes_n;
    return 0;
}
