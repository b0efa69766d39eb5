#include "peer/executor/kube/manifest.h"

#include <stdio.h>

#define TRIAL_LIFE_S 900 /* it ends by itself, should nobody be left to take it away */

void manifest_object(struct yamlout *y, const char *api, const char *kind, const char *space,
                     const char *name, const char *app)
{
    yamlout_text(y, "apiVersion", api);
    yamlout_text(y, "kind", kind);
    yamlout_map(y, "metadata");
    yamlout_text(y, "name", name);
    yamlout_text_if(y, "namespace", space);
    if (app) {
        yamlout_map(y, "labels");
        yamlout_text(y, "app", app);
        yamlout_map_end(y);
    }
    yamlout_map_end(y);
}

void manifest_list(struct yamlout *y, const char *key, const char *const *texts)
{
    yamlout_seq(y, key);
    for (; *texts; texts++)
        yamlout_text(y, NULL, *texts);
    yamlout_seq_end(y);
}

static void app_label(struct yamlout *y, const char *key, const char *app)
{
    yamlout_map(y, key);
    yamlout_text(y, "app", app);
    yamlout_map_end(y);
}

static void tolerate_all(struct yamlout *y)
{
    yamlout_seq(y, "tolerations");
    yamlout_map(y, NULL);
    yamlout_text(y, "operator", "Exists");
    yamlout_map_end(y);
    yamlout_seq_end(y);
}

void manifest_daemon_begin(struct yamlout *y, const char *app)
{
    yamlout_map(y, "spec");
    yamlout_map(y, "selector");
    app_label(y, "matchLabels", app);
    yamlout_map_end(y);
    yamlout_map(y, "updateStrategy");
    yamlout_text(y, "type", "RollingUpdate");
    yamlout_map_end(y);
    yamlout_map(y, "template");
    yamlout_map(y, "metadata");
    app_label(y, "labels", app);
    yamlout_map_end(y);
    yamlout_map(y, "spec");
    yamlout_map(y, "nodeSelector");
    yamlout_text(y, "kubernetes.io/os", "linux");
    yamlout_map_end(y);
    tolerate_all(y);
}

void manifest_daemon_end(struct yamlout *y)
{
    yamlout_map_end(y); /* template.spec */
    yamlout_map_end(y); /* template */
    yamlout_map_end(y); /* spec */
}

static void amounts(struct yamlout *y, const char *key, const char *cpu, const char *memory)
{
    yamlout_map(y, key);
    yamlout_text(y, "cpu", cpu);
    yamlout_text(y, "memory", memory);
    yamlout_map_end(y);
}

/* A container down to its securityContext, both open. */
static void container_begin(struct yamlout *y, const char *name, const char *image)
{
    yamlout_map(y, NULL);
    yamlout_text(y, "name", name);
    yamlout_text(y, "image", image);
    yamlout_text(y, "imagePullPolicy", "IfNotPresent");
    yamlout_map(y, "securityContext");
    yamlout_flag(y, "allowPrivilegeEscalation", false);
    yamlout_flag(y, "readOnlyRootFilesystem", true);
}

static void probe_container(struct yamlout *y, const char *image)
{
    container_begin(y, "pause", image);
    yamlout_map_end(y);
    yamlout_map(y, "resources");
    amounts(y, "requests", "1m", "4Mi");
    amounts(y, "limits", "50m", "32Mi");
    yamlout_map_end(y);
}

int manifest_probe(const char *image, char **out, size_t *n, struct err *err)
{
    struct yamlout y;
    yamlout_init(&y);
    yamlout_begin(&y);
    manifest_object(&y, "v1", "Namespace", NULL, PROBE_NAMESPACE, NULL);
    yamlout_end(&y);
    yamlout_begin(&y);
    manifest_object(&y, "apps/v1", "DaemonSet", PROBE_NAMESPACE, PROBE_NAME, PROBE_NAME);
    manifest_daemon_begin(&y, PROBE_NAME);
    yamlout_flag(&y, "automountServiceAccountToken", false);
    yamlout_flag(&y, "enableServiceLinks", false);
    yamlout_number(&y, "terminationGracePeriodSeconds", 1);
    yamlout_seq(&y, "containers");
    probe_container(&y, image);
    yamlout_map_end(&y);
    yamlout_seq_end(&y);
    manifest_daemon_end(&y);
    yamlout_end(&y);
    return yamlout_finish(&y, out, n, err);
}

/* ---- the trial ---- */

static const char corefile[] = ".:1053 {\n"
                               "    health :8080\n"
                               "    whoami\n"
                               "}\n";

static void trial_pod(struct yamlout *y, const char *name)
{
    manifest_object(y, "v1", "Pod", PROBE_NAMESPACE, name, TRIAL_NAME);
    yamlout_map(y, "spec");
    yamlout_text(y, "restartPolicy", "Always");
    yamlout_number(y, "activeDeadlineSeconds", TRIAL_LIFE_S);
    yamlout_number(y, "terminationGracePeriodSeconds", 1);
    yamlout_flag(y, "automountServiceAccountToken", false);
    yamlout_flag(y, "enableServiceLinks", false);
}

/* `host` NULL: the pod itself. */
static void health_probe(struct yamlout *y, const char *host)
{
    yamlout_map(y, "readinessProbe");
    yamlout_map(y, "httpGet");
    yamlout_text_if(y, "host", host);
    yamlout_text(y, "path", "/health");
    yamlout_number(y, "port", TRIAL_PORT);
    yamlout_map_end(y);
    yamlout_number(y, "periodSeconds", 1);
    yamlout_number(y, "timeoutSeconds", 3);
    yamlout_map_end(y);
}

static void avoid_node(struct yamlout *y, const char *name)
{
    yamlout_map(y, "affinity");
    yamlout_map(y, "nodeAffinity");
    yamlout_map(y, "requiredDuringSchedulingIgnoredDuringExecution");
    yamlout_seq(y, "nodeSelectorTerms");
    yamlout_map(y, NULL);
    yamlout_seq(y, "matchFields");
    yamlout_map(y, NULL);
    yamlout_text(y, "key", "metadata.name");
    yamlout_text(y, "operator", "NotIn");
    manifest_list(y, "values", (const char *const[]){name, NULL});
    yamlout_map_end(y);
    yamlout_seq_end(y);
    yamlout_map_end(y);
    yamlout_seq_end(y);
    yamlout_map_end(y);
    yamlout_map_end(y);
    yamlout_map_end(y);
}

/* The capabilities are those of kubeadm's own CoreDNS: its newer images do not start without that one. */
static void trial_container(struct yamlout *y, const char *image)
{
    container_begin(y, "coredns", image);
    yamlout_map(y, "capabilities");
    manifest_list(y, "add", (const char *const[]){"NET_BIND_SERVICE", NULL});
    manifest_list(y, "drop", (const char *const[]){"ALL", NULL});
    yamlout_map_end(y);
    yamlout_map_end(y);
    manifest_list(y, "args", (const char *const[]){"-conf", "/etc/coredns/Corefile", NULL});
    yamlout_map(y, "resources");
    amounts(y, "requests", "10m", "16Mi");
    amounts(y, "limits", "500m", "128Mi");
    yamlout_map_end(y);
    yamlout_seq(y, "volumeMounts");
    yamlout_map(y, NULL);
    yamlout_text(y, "name", "config");
    yamlout_text(y, "mountPath", "/etc/coredns");
    yamlout_flag(y, "readOnly", true);
    yamlout_map_end(y);
    yamlout_seq_end(y);
    health_probe(y, NULL);
    yamlout_map_end(y);
}

static void config_volume(struct yamlout *y)
{
    yamlout_seq(y, "volumes");
    yamlout_map(y, NULL);
    yamlout_text(y, "name", "config");
    yamlout_map(y, "configMap");
    yamlout_text(y, "name", TRIAL_NAME);
    yamlout_map_end(y);
    yamlout_map_end(y);
    yamlout_seq_end(y);
}

int manifest_trial(const char *image, const char *avoid, char **out, size_t *n, struct err *err)
{
    struct yamlout y;
    yamlout_init(&y);
    yamlout_begin(&y);
    manifest_object(&y, "v1", "ConfigMap", PROBE_NAMESPACE, TRIAL_NAME, TRIAL_NAME);
    yamlout_map(&y, "data");
    yamlout_block(&y, "Corefile", corefile);
    yamlout_map_end(&y);
    yamlout_end(&y);
    yamlout_begin(&y);
    trial_pod(&y, TRIAL_NAME);
    yamlout_text(&y, "dnsPolicy", "Default");
    if (avoid)
        avoid_node(&y, avoid);
    else
        tolerate_all(&y);
    yamlout_seq(&y, "containers");
    trial_container(&y, image);
    yamlout_seq_end(&y);
    config_volume(&y);
    yamlout_map_end(&y);
    yamlout_end(&y);
    return yamlout_finish(&y, out, n, err);
}

int manifest_callers(const char *image, const char *address, const char (*nodes)[STEP_NAME_BYTES],
                     size_t count, char **out, size_t *n, struct err *err)
{
    struct yamlout y;
    yamlout_init(&y);
    for (size_t i = 0; i < count; i++) {
        char name[sizeof TRIAL_FROM + STEP_NAME_BYTES];
        snprintf(name, sizeof name, TRIAL_FROM "%s", nodes[i]);
        yamlout_begin(&y);
        trial_pod(&y, name);
        yamlout_text(&y, "nodeName", nodes[i]);
        tolerate_all(&y);
        yamlout_seq(&y, "containers");
        probe_container(&y, image);
        health_probe(&y, address);
        yamlout_map_end(&y);
        yamlout_seq_end(&y);
        yamlout_map_end(&y);
        yamlout_end(&y);
    }
    return yamlout_finish(&y, out, n, err);
}
