#include "peer/executor/kube/flannel.h"

#include <jansson.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "peer/executor/kube/yamltree.h"
#include "protocol/mem.h"

#define NET_CONF "net-conf.json"
#define HOST_IP  "KPEER_HOST_IP"

/* One object of a manifest: a document's root, or an item of a List. */
struct object {
    yaml_document_t *document;
    int node;
};

struct adaptation {
    const struct flannel_wish *wish;
    size_t config_maps;
    size_t daemons;
};

#define cleanup_json __attribute__((cleanup(cleanup_json_decref)))

static void cleanup_json_decref(json_t **j)
{
    json_decref(*j);
}

static bool set_network(json_t *conf, const char *pod_cidr)
{
    if (!strchr(pod_cidr, ':'))
        return json_object_set_new(conf, "Network", json_string(pod_cidr)) == 0;
    json_object_del(conf, "Network");
    return json_object_set_new(conf, "EnableIPv4", json_false()) == 0 &&
           json_object_set_new(conf, "EnableIPv6", json_true()) == 0 &&
           json_object_set_new(conf, "IPv6Network", json_string(pod_cidr)) == 0;
}

/* A backend of another type has other settings: those that were there go with it. */
static bool set_backend(json_t *conf, const char *type)
{
    if (!type || !type[0])
        return true;
    json_t *backend = json_object_get(conf, "Backend");
    const char *old = json_string_value(json_object_get(backend, "Type"));
    if (old && strcmp(old, type) == 0)
        return true;
    json_t *fresh = json_pack("{s:s}", "Type", type);
    return fresh && json_object_set_new(conf, "Backend", fresh) == 0;
}

static int edit_net_conf(const char *text, const struct flannel_wish *wish, char **out, struct err *err)
{
    json_error_t e;
    cleanup_json json_t *conf = json_loads(text, JSON_REJECT_DUPLICATES, &e);
    if (!conf)
        return err_set(err, KPEER_EINVAL, NET_CONF " is not JSON: %.120s, line %d", e.text, e.line);
    if (!json_is_object(conf))
        return err_set(err, KPEER_EINVAL, NET_CONF " is not a JSON object");
    if (!set_network(conf, wish->pod_cidr) || !set_backend(conf, wish->backend))
        return err_set(err, KPEER_ENOMEM, "out of memory");
    *out = json_dumps(conf, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    return *out ? 0 : err_set(err, KPEER_ENOMEM, "out of memory");
}

static int adapt_config_map(struct adaptation *a, struct object o, struct err *err)
{
    int data = yamltree_get(o.document, o.node, "data");
    const char *text = yamltree_text(o.document, yamltree_get(o.document, data, NET_CONF));
    if (!text)
        return 0; /* another ConfigMap */
    cleanup_free char *edited = NULL;
    int rc = edit_net_conf(text, a->wish, &edited, err);
    if (rc != 0)
        return rc;
    if (!yamltree_set(o.document, data, NET_CONF, edited, true))
        return err_set(err, KPEER_ENOMEM, "out of memory");
    a->config_maps++;
    return 0;
}

/* "--iface", "-iface-regex=…" and the like; *takes_next where the value is the next argument. */
static bool is_interface_option(const char *text, bool *takes_next)
{
    static const char *const names[] = {"iface", "iface-regex", "iface-can-reach"};
    *takes_next = false;
    if (!text || text[0] != '-')
        return false;
    text += text[1] == '-' ? 2 : 1;
    size_t n = strcspn(text, "=");
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (strlen(names[i]) == n && memcmp(names[i], text, n) == 0) {
            *takes_next = text[n] == '\0';
            return true;
        }
    }
    return false;
}

static void drop_interface_options(yaml_document_t *d, int seq)
{
    for (size_t i = 0; i < yamltree_length(d, seq);) {
        bool takes_next = false;
        if (!is_interface_option(yamltree_text(d, yamltree_item(d, seq, i)), &takes_next)) {
            i++;
            continue;
        }
        yamltree_remove(d, seq, i);
        if (takes_next)
            yamltree_remove(d, seq, i);
    }
}

static bool mentions_flanneld(yaml_document_t *d, int seq)
{
    for (size_t i = 0; i < yamltree_length(d, seq); i++) {
        const char *text = yamltree_text(d, yamltree_item(d, seq, i));
        const char *last = text ? strrchr(text, '/') : NULL;
        if (text &&
            (strcmp(last ? last + 1 : text, "flanneld") == 0 || strcmp(text, "--kube-subnet-mgr") == 0))
            return true;
    }
    return false;
}

/* --iface-can-reach came with v0.18. An image without a version in its tag is taken to be newer. */
static bool knows_can_reach(const char *image)
{
    const char *last = image ? strrchr(image, '/') : NULL;
    const char *tag = image ? strchr(last ? last : image, ':') : NULL;
    unsigned major = 0;
    unsigned minor = 0;
    if (!tag || sscanf(tag + 1, "v%3u.%4u", &major, &minor) != 2)
        return true;
    return major > 0 || minor >= 18;
}

/* The Node's own address as a variable of the container, so that an argument can name it. */
static bool add_host_ip(yaml_document_t *d, int container)
{
    int env = yamltree_get(d, container, "env");
    for (size_t i = 0; i < yamltree_length(d, env); i++) {
        const char *name = yamltree_text(d, yamltree_get(d, yamltree_item(d, env, i), "name"));
        if (name && strcmp(name, HOST_IP) == 0)
            return true;
    }
    if (!env)
        env = yamltree_add_seq(d, container, "env");
    int variable = yamltree_add_map(d, env, NULL);
    bool ok = variable && yamltree_set(d, variable, "name", HOST_IP, false);
    int from = ok ? yamltree_add_map(d, variable, "valueFrom") : 0;
    int field = from ? yamltree_add_map(d, from, "fieldRef") : 0;
    return field && yamltree_set(d, field, "fieldPath", "status.hostIP", false);
}

static bool add_interface(yaml_document_t *d, int container, int seq, const struct flannel_wish *wish)
{
    char option[128];
    if (wish->choice == FLANNEL_INTERFACE) {
        snprintf(option, sizeof option, "--iface=%s", wish->interface);
        return yamltree_append(d, seq, option);
    }
    if (!yamltree_append(d, seq, "--iface=$(" HOST_IP ")") || !add_host_ip(d, container))
        return false;
    snprintf(option, sizeof option, "--iface-can-reach=%s", wish->address);
    const char *image = yamltree_text(d, yamltree_get(d, container, "image"));
    return !knows_can_reach(image) || yamltree_append(d, seq, option);
}

static int adapt_container(struct adaptation *a, yaml_document_t *d, int container, struct err *err)
{
    int command = yamltree_get(d, container, "command");
    int args = yamltree_get(d, container, "args");
    if (!mentions_flanneld(d, command) && !mentions_flanneld(d, args))
        return 0;
    drop_interface_options(d, command);
    drop_interface_options(d, args);
    int seq = args                              ? args
              : yamltree_length(d, command) > 0 ? command
                                                : yamltree_add_seq(d, container, "args");
    if (!add_interface(d, container, seq, a->wish))
        return err_set(err, KPEER_EINVAL, "the arguments or the environment of flanneld are not a list");
    a->daemons++;
    return 0;
}

static int adapt_daemon_set(struct adaptation *a, struct object o, struct err *err)
{
    static const char *const way[] = {"spec", "template", "spec", "containers"};
    int node = o.node;
    for (size_t i = 0; i < COUNT_OF(way); i++)
        node = yamltree_get(o.document, node, way[i]);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < yamltree_length(o.document, node); i++)
        rc = adapt_container(a, o.document, yamltree_item(o.document, node, i), err);
    return rc;
}

static int adapt_object(struct adaptation *a, struct object o, struct err *err)
{
    const char *kind = yamltree_text(o.document, yamltree_get(o.document, o.node, "kind"));
    if (kind && strcmp(kind, "ConfigMap") == 0)
        return adapt_config_map(a, o, err);
    if (kind && strcmp(kind, "DaemonSet") == 0)
        return adapt_daemon_set(a, o, err);
    return 0;
}

/* A document's root is its node 1. */
static int adapt_document(struct adaptation *a, yaml_document_t *d, struct err *err)
{
    const char *kind = yamltree_text(d, yamltree_get(d, 1, "kind"));
    if (!kind)
        return err_set(err, KPEER_EINVAL, "a document without a kind: not a Kubernetes manifest");
    if (strcmp(kind, "List") != 0)
        return adapt_object(a, (struct object){d, 1}, err);
    int items = yamltree_get(d, 1, "items");
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < yamltree_length(d, items); i++)
        rc = adapt_object(a, (struct object){d, yamltree_item(d, items, i)}, err);
    return rc;
}

static int adapt_all(struct yamltree *tree, const struct flannel_wish *wish, struct err *err)
{
    struct adaptation a = {.wish = wish};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < tree->count; i++)
        rc = adapt_document(&a, &tree->documents[i], err);
    if (rc == 0 && a.config_maps == 0)
        rc = err_set(err, KPEER_EINVAL, "no ConfigMap with " NET_CONF " in it");
    if (rc == 0 && a.daemons == 0)
        rc = err_set(err, KPEER_EINVAL, "no DaemonSet that runs flanneld in it");
    return rc;
}

int flannel_adapt(const char *manifest, size_t manifest_bytes, const struct flannel_wish *wish, char **out,
                  size_t *n, struct err *err)
{
    cleanup_free struct yamltree *tree =
        calloc(1, sizeof *tree); /* tens of documents: too large for a stack */
    if (!tree)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    int rc = yamltree_load(manifest, manifest_bytes, tree, err);
    if (rc == 0)
        rc = adapt_all(tree, wish, err);
    if (rc == 0)
        rc = yamltree_emit(tree, out, n, err);
    yamltree_fini(tree);
    if (rc != 0) {
        err_wrap(err, "Flannel's manifest");
        err_hint(err, "give a manifest as flannel-io/flannel publishes it (kube-flannel.yml)");
    }
    return rc;
}
