#include "peer/executor/kube/documents.h"

#include <stdio.h>

#include "peer/executor/kube/yamlout.h"

static const char *const api_versions[] = {
    [KUBEADM_V1BETA2] = "kubeadm.k8s.io/v1beta2",
    [KUBEADM_V1BETA3] = "kubeadm.k8s.io/v1beta3",
    [KUBEADM_V1BETA4] = "kubeadm.k8s.io/v1beta4",
};

int documents_api(const char *version, enum kubeadm_api *api, struct err *err)
{
    unsigned major = 0;
    unsigned minor = 0;
    const char *digits = version[0] == 'v' ? version + 1 : version;
    if (sscanf(digits, "%3u.%4u", &major, &minor) != 2)
        return err_set(err, KPEER_EINVAL, "\"%.40s\" is not a Kubernetes version", version);
    if (major != 1 || minor < 15)
        return err_set(err, KPEER_EVERSION, "kubeadm %u.%u speaks no configuration that kpeer can write",
                       major, minor);
    *api = minor >= 31 ? KUBEADM_V1BETA4 : minor >= 22 ? KUBEADM_V1BETA3 : KUBEADM_V1BETA2;
    return 0;
}

static void begin(struct yamlout *y, enum kubeadm_api api, const char *kind)
{
    yamlout_begin(y);
    yamlout_text(y, "apiVersion", api_versions[api]);
    yamlout_text(y, "kind", kind);
}

static void duration(struct yamlout *y, const char *key, uint32_t seconds)
{
    char text[32];
    snprintf(text, sizeof text, "%us", seconds);
    yamlout_text(y, key, text);
}

static void extra_argument(struct yamlout *y, enum kubeadm_api api, const char *name, const char *value)
{
    if (api != KUBEADM_V1BETA4) {
        yamlout_text(y, name, value);
        return;
    }
    yamlout_map(y, NULL);
    yamlout_text(y, "name", name);
    yamlout_text(y, "value", value);
    yamlout_map_end(y);
}

static void node_registration(struct yamlout *y, const struct document_node *node)
{
    yamlout_map(y, "nodeRegistration");
    yamlout_text(y, "name", node->name);
    yamlout_text_if(y, "criSocket", node->cri_socket);
    if (node->api == KUBEADM_V1BETA4)
        yamlout_seq(y, "kubeletExtraArgs");
    else
        yamlout_map(y, "kubeletExtraArgs");
    extra_argument(y, node->api, "node-ip", node->address);
    if (node->api == KUBEADM_V1BETA4)
        yamlout_seq_end(y);
    else
        yamlout_map_end(y);
    yamlout_map_end(y);
}

static void bootstrap_tokens(struct yamlout *y, const struct document_token *token)
{
    static const char *const usages[] = {"signing", "authentication"};
    yamlout_seq(y, "bootstrapTokens");
    yamlout_map(y, NULL);
    yamlout_text(y, "token", token->token);
    duration(y, "ttl", token->ttl_s);
    yamlout_text_if(y, "description", token->description);
    yamlout_seq(y, "usages");
    for (size_t i = 0; i < sizeof usages / sizeof usages[0]; i++)
        yamlout_text(y, NULL, usages[i]);
    yamlout_seq_end(y);
    yamlout_seq(y, "groups");
    yamlout_text(y, NULL, "system:bootstrappers:kubeadm:default-node-token");
    yamlout_seq_end(y);
    yamlout_map_end(y);
    yamlout_seq_end(y);
}

static void cluster_configuration(struct yamlout *y, const struct document_init *d)
{
    begin(y, d->node.api, "ClusterConfiguration");
    yamlout_text(y, "kubernetesVersion", d->kubernetes_version);
    yamlout_text(y, "controlPlaneEndpoint", d->endpoint);
    yamlout_text_if(y, "imageRepository", d->image_repository);
    yamlout_map(y, "networking");
    yamlout_text(y, "podSubnet", d->pod_cidr);
    yamlout_text(y, "serviceSubnet", d->service_cidr);
    yamlout_map_end(y);
    yamlout_end(y);
}

/* A kubelet notices only once a period that its Node has become Ready; the API server is told of changes
 * alone, and of the unchanged as rarely as by default, which an explicit update period would otherwise
 * change. */
static void kubelet_configuration(struct yamlout *y, const char *cgroup_driver)
{
    yamlout_begin(y);
    yamlout_text(y, "apiVersion", "kubelet.config.k8s.io/v1beta1");
    yamlout_text(y, "kind", "KubeletConfiguration");
    yamlout_text_if(y, "cgroupDriver", cgroup_driver);
    yamlout_text(y, "nodeStatusUpdateFrequency", "3s");
    yamlout_text(y, "nodeStatusReportFrequency", "5m0s");
    yamlout_end(y);
}

int documents_init(const struct document_init *d, char **out, size_t *n, struct err *err)
{
    struct yamlout y;
    yamlout_init(&y);
    begin(&y, d->node.api, "InitConfiguration");
    bootstrap_tokens(&y, &d->token);
    yamlout_map(&y, "localAPIEndpoint");
    yamlout_text(&y, "advertiseAddress", d->node.address);
    yamlout_number(&y, "bindPort", d->bind_port);
    yamlout_map_end(&y);
    node_registration(&y, &d->node);
    yamlout_end(&y);
    cluster_configuration(&y, d);
    kubelet_configuration(&y, d->cgroup_driver);
    return yamlout_finish(&y, out, n, err);
}

int documents_join(const struct document_join *d, char **out, size_t *n, struct err *err)
{
    struct yamlout y;
    yamlout_init(&y);
    begin(&y, d->node.api, "JoinConfiguration");
    yamlout_map(&y, "discovery");
    yamlout_map(&y, "bootstrapToken");
    yamlout_text(&y, "token", d->token);
    yamlout_text(&y, "apiServerEndpoint", d->endpoint);
    yamlout_seq(&y, "caCertHashes");
    yamlout_text(&y, NULL, d->ca_hash);
    yamlout_seq_end(&y);
    yamlout_map_end(&y);
    if (d->node.api != KUBEADM_V1BETA4)
        duration(&y, "timeout", d->discovery_timeout_s);
    yamlout_map_end(&y);
    if (d->node.api == KUBEADM_V1BETA4) {
        yamlout_map(&y, "timeouts");
        duration(&y, "discovery", d->discovery_timeout_s);
        yamlout_map_end(&y);
    }
    node_registration(&y, &d->node);
    yamlout_end(&y);
    return yamlout_finish(&y, out, n, err);
}

int documents_token(enum kubeadm_api api, const struct document_token *token, const char *kubernetes_version,
                    const char *cri_socket, char **out, size_t *n, struct err *err)
{
    struct yamlout y;
    yamlout_init(&y);
    begin(&y, api, "InitConfiguration");
    bootstrap_tokens(&y, token);
    if (cri_socket && cri_socket[0]) {
        yamlout_map(&y, "nodeRegistration");
        yamlout_text(&y, "criSocket", cri_socket);
        yamlout_map_end(&y);
    }
    yamlout_end(&y);
    begin(&y, api, "ClusterConfiguration");
    yamlout_text(&y, "kubernetesVersion", kubernetes_version);
    yamlout_end(&y);
    return yamlout_finish(&y, out, n, err);
}
