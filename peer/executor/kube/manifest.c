#include "peer/executor/kube/manifest.h"

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
    yamlout_seq(y, "tolerations");
    yamlout_map(y, NULL);
    yamlout_text(y, "operator", "Exists");
    yamlout_map_end(y);
    yamlout_seq_end(y);
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

static void probe_container(struct yamlout *y, const char *image)
{
    yamlout_map(y, NULL);
    yamlout_text(y, "name", "pause");
    yamlout_text(y, "image", image);
    yamlout_text(y, "imagePullPolicy", "IfNotPresent");
    yamlout_map(y, "resources");
    amounts(y, "requests", "1m", "4Mi");
    amounts(y, "limits", "50m", "32Mi");
    yamlout_map_end(y);
    yamlout_map(y, "securityContext");
    yamlout_flag(y, "allowPrivilegeEscalation", false);
    yamlout_flag(y, "readOnlyRootFilesystem", true);
    yamlout_map_end(y);
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
    yamlout_seq_end(&y);
    manifest_daemon_end(&y);
    yamlout_end(&y);
    return yamlout_finish(&y, out, n, err);
}
