/*
 * Taking Kubernetes off this host: kubeadm reset, then all that it leaves behind, then a look whether it is
 * gone.
 *
 * The parts go in an order: what could make things anew (kubelet, containers) ends first, then interfaces,
 * rules and files. Each part is tried even where an earlier one failed; the look at the end decides.
 */
#include <dirent.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "peer/executor/kube/kube.h"
#include "peer/executor/kube/kubeadm.h"
#include "peer/executor/kube/rules.h"
#include "protocol/mem.h"

#define RESET_MS   90000
#define SHORT_MS   20000
#define LEFT_BYTES 400
#define IDS_MAX    256

static const char *const config_files[] = {
    "/etc/kubernetes/admin.conf",
    "/etc/kubernetes/super-admin.conf",
    "/etc/kubernetes/kubelet.conf",
    "/etc/kubernetes/bootstrap-kubelet.conf",
    "/etc/kubernetes/controller-manager.conf",
    "/etc/kubernetes/scheduler.conf",
    "/var/lib/kubelet/config.yaml",
    "/var/lib/kubelet/kubeadm-flags.env",
};

/* Emptied; the packages that own some of these folders want them to be there. */
static const char *const emptied[] = {KUBE_PKI, "/etc/kubernetes/manifests", "/var/lib/kubelet"};
static const char *const removed[] = {"/var/lib/cni", "/run/flannel", "/var/run/kubernetes", KUBECTL_CACHE};

/* Runs a tool whose failure does not end the reset. `out`, where it is asked for, is the caller's to free. */
static bool attempt(struct exec_ctx *ctx, const struct exec_run *run, char **out)
{
    struct spawn_result res;
    struct err err = {0};
    int rc = exec_run(ctx, run, &res, &err);
    if (rc == 0 && out)
        *out = strndup(res.out, res.out_bytes);
    else if (rc != 0 && rc != KPEER_ENOTFOUND && !run->quiet)
        exec_say(ctx, "reset", -1, "%s", err.text);
    spawn_result_fini(&res);
    return rc == 0;
}

static bool tool(struct exec_ctx *ctx, enum executor_tool which, const char *const *argv)
{
    const struct exec_run run = {.tool = which, .argv = argv, .timeout_ms = SHORT_MS};
    return attempt(ctx, &run, NULL);
}

static char *ask(struct exec_ctx *ctx, enum executor_tool which, const char *const *argv)
{
    char *out = NULL;
    const struct exec_run run = {
        .tool = which, .argv = argv, .timeout_ms = SHORT_MS, .quiet = true, .read_only = true};
    attempt(ctx, &run, &out);
    return out;
}

static int run_kubeadm_reset(struct exec_ctx *ctx, struct err *err)
{
    const char *socket = kubeadm_cri_socket(ctx);
    const char *argv[] = {"kubeadm", "reset", "-f", socket[0] ? "--cri-socket" : NULL, socket, NULL};
    struct err why = {0};
    int rc = kubeadm_run(ctx, argv, RESET_MS, &why);
    if (rc == KPEER_ECANCELED) {
        *err = why;
        return rc;
    }
    if (rc != 0)
        exec_say(ctx, "reset", -1, "%s; going on without it", why.text);
    return 0;
}

/* An id as runtimes make them, so that a heading or an error is not taken for one. */
static bool is_id(const char *word)
{
    size_t n = strlen(word);
    return n >= 12 && n <= 64 && strspn(word, "0123456789abcdef") == n;
}

static void each_id(char *listing, struct exec_ctx *ctx, void (*act)(struct exec_ctx *ctx, const char *id))
{
    char *rest = NULL;
    size_t count = 0;
    for (char *word = listing ? strtok_r(listing, " \t\r\n", &rest) : NULL; word && count < IDS_MAX;
         word = strtok_r(NULL, " \t\r\n", &rest)) {
        if (!is_id(word))
            continue;
        act(ctx, word);
        count++;
    }
}

static void remove_pod(struct exec_ctx *ctx, const char *id)
{
    const char *socket = kubeadm_cri_socket(ctx);
    tool(ctx, TOOL_CRICTL, (const char *const[]){"", "--runtime-endpoint", socket, "stopp", id, NULL});
    tool(ctx, TOOL_CRICTL, (const char *const[]){"", "--runtime-endpoint", socket, "rmp", "-f", id, NULL});
}

static void remove_container(struct exec_ctx *ctx, const char *id)
{
    tool(ctx, TOOL_CTR, (const char *const[]){"", "-n", "k8s.io", "tasks", "rm", "-f", id, NULL});
    tool(ctx, TOOL_CTR, (const char *const[]){"", "-n", "k8s.io", "containers", "rm", id, NULL});
}

/* kubeadm reset removes pods through crictl, and silently does not where there is none. */
static void remove_pods(struct exec_ctx *ctx)
{
    const char *socket = kubeadm_cri_socket(ctx);
    if (!socket[0] || !files_exists(ctx, socket + strlen("unix://")))
        return;
    cleanup_free char *pods =
        ask(ctx, TOOL_CRICTL, (const char *const[]){"", "--runtime-endpoint", socket, "pods", "-q", NULL});
    each_id(pods, ctx, remove_pod);
    cleanup_free char *containers =
        ask(ctx, TOOL_CTR, (const char *const[]){"", "-n", "k8s.io", "containers", "ls", "-q", NULL});
    each_id(containers, ctx, remove_container);
}

static bool is_our_link(const char *name)
{
    return strcmp(name, "cni0") == 0 || strcmp(name, "kube-ipvs0") == 0 ||
           strncmp(name, "flannel.", 8) == 0 || strncmp(name, "flannel-v6.", 11) == 0;
}

/* The names of links that Kubernetes and Flannel made, as a JSON array of texts; never NULL but when out of
 * memory. */
static json_t *our_links(struct exec_ctx *ctx)
{
    cleanup_free char *text = ask(ctx, TOOL_IP, (const char *const[]){"", "-j", "link", "show", NULL});
    json_t *all = text ? json_loads(text, 0, NULL) : NULL;
    json_t *found = json_array();
    for (size_t i = 0; i < json_array_size(all); i++) {
        json_t *name = json_object_get(json_array_get(all, i), "ifname");
        if (json_is_string(name) && is_our_link(json_string_value(name)))
            json_array_append(found, name);
    }
    json_decref(all);
    return found;
}

static void remove_links(struct exec_ctx *ctx)
{
    json_t *links = our_links(ctx);
    for (size_t i = 0; i < json_array_size(links); i++)
        tool(ctx, TOOL_IP,
             (const char *const[]){"", "link", "delete", json_string_value(json_array_get(links, i)), NULL});
    json_decref(links);
}

/* Routes that Flannel's host-gw backend made have no device of their own to vanish with. */
static void remove_routes(struct exec_ctx *ctx)
{
    cleanup_free char *env = NULL;
    size_t n = 0;
    if (files_read(ctx, "/run/flannel/subnet.env", 4096, &env, &n, NULL) != 0)
        return;
    const char *at = strstr(env, "FLANNEL_NETWORK=");
    char network[STEP_CIDR_BYTES] = "";
    if (!at || sscanf(at, "FLANNEL_NETWORK=%49[0-9a-fA-F.:/]", network) != 1 || !strchr(network, '/'))
        return;
    tool(ctx, TOOL_IP, (const char *const[]){"", "route", "flush", "root", network, NULL});
}

/* Names of network namespaces that CNI made ("cni-<uuid>"), to be told apart from anybody else's. */
static void remove_namespaces(struct exec_ctx *ctx)
{
    char dir[FILES_PATH_BYTES];
    if (exec_path(ctx, "/run/netns", dir, sizeof dir, NULL) != 0)
        return;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;)
        if (strncmp(e->d_name, "cni-", 4) == 0)
            tool(ctx, TOOL_IP, (const char *const[]){"", "netns", "delete", e->d_name, NULL});
    if (d)
        closedir(d);
}

/* What one family's packet filter has of theirs: input for its restore program in *out (NULL: nothing). */
static size_t find_rules(struct exec_ctx *ctx, const char *save, char **out, size_t *n)
{
    struct spawn_result res;
    const char *const argv[] = {"iptables-save", NULL};
    const struct spawn_request request = {.program = save, .argv = argv, .timeout_ms = SHORT_MS};
    size_t count = 0;
    *out = NULL;
    (void)ctx;
    if (spawn_check(&request, &res, NULL) != 0 ||
        rules_removal(res.out, res.out_bytes, out, n, &count, NULL) != 0)
        count = 0;
    spawn_result_fini(&res);
    return count;
}

static void remove_rules(struct exec_ctx *ctx, const char *save, const char *restore)
{
    cleanup_free char *input = NULL;
    size_t n = 0;
    size_t count = find_rules(ctx, save, &input, &n);
    if (!input)
        return;
    exec_say(ctx, "reset", -1, "%s %zu chains and rules of Kubernetes and Flannel (%s)",
             ctx->dry_run ? "would remove" : "removing", count, restore);
    if (ctx->dry_run)
        return;
    struct spawn_result res;
    struct err err = {0};
    const char *const argv[] = {"iptables-restore", "--noflush", NULL};
    const struct spawn_request request = {
        .program = restore, .argv = argv, .input = input, .input_bytes = n, .timeout_ms = SHORT_MS};
    if (spawn_check(&request, &res, &err) != 0)
        exec_say(ctx, "reset", -1, "%s", err.text);
    spawn_result_fini(&res);
}

static void remove_tree(struct exec_ctx *ctx, const char *path, bool itself)
{
    struct err err = {0};
    if (!files_exists(ctx, path))
        return;
    if (ctx->dry_run)
        exec_say(ctx, "reset", -1, "would %s %s", itself ? "remove" : "empty", path);
    else if (files_remove_tree(ctx, path, itself, &err) != 0)
        exec_say(ctx, "reset", -1, "%s", err.text);
}

static void remove_file(struct exec_ctx *ctx, const char *path)
{
    char full[FILES_PATH_BYTES];
    if (!files_exists(ctx, path) || exec_path(ctx, path, full, sizeof full, NULL) != 0)
        return;
    if (ctx->dry_run)
        exec_say(ctx, "reset", -1, "would remove %s", path);
    else
        unlink(full);
}

/* Other networks' files in there are not kpeer's to take. */
static bool is_our_cni_file(const char *name)
{
    return strstr(name, "flannel") || strstr(name, "kpeer");
}

static void each_cni_file(struct exec_ctx *ctx,
                          void (*act)(struct exec_ctx *ctx, const char *path, void *arg), void *arg)
{
    char dir[FILES_PATH_BYTES];
    if (exec_path(ctx, "/etc/cni/net.d", dir, sizeof dir, NULL) != 0)
        return;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        char path[FILES_PATH_BYTES];
        int n = snprintf(path, sizeof path, "/etc/cni/net.d/%s", e->d_name);
        if (is_our_cni_file(e->d_name) && n > 0 && (size_t)n < sizeof path)
            act(ctx, path, arg);
    }
    if (d)
        closedir(d);
}

static void remove_cni_file(struct exec_ctx *ctx, const char *path, void *arg)
{
    (void)arg;
    remove_file(ctx, path);
}

static void remove_files(struct exec_ctx *ctx, bool etcd_is_ours)
{
    each_cni_file(ctx, remove_cni_file, NULL);
    for (size_t i = 0; i < COUNT_OF(config_files); i++)
        remove_file(ctx, config_files[i]);
    for (size_t i = 0; i < COUNT_OF(emptied); i++)
        remove_tree(ctx, emptied[i], false);
    for (size_t i = 0; i < COUNT_OF(removed); i++)
        remove_tree(ctx, removed[i], true);
    if (etcd_is_ours)
        remove_tree(ctx, "/var/lib/etcd", false);
    if (!ctx->dry_run)
        files_private_sweep(ctx);
}

struct left {
    char names[LEFT_BYTES];
};

static void add_left(struct left *left, const char *what)
{
    size_t n = strlen(left->names);
    if (n + strlen(what) + 3 <= sizeof left->names) /* the first few are enough to act upon */
        snprintf(left->names + n, sizeof left->names - n, "%s%s", n ? ", " : "", what);
}

static void left_cni_file(struct exec_ctx *ctx, const char *path, void *arg)
{
    (void)ctx;
    add_left(arg, path);
}

static void look_for_links(struct exec_ctx *ctx, struct left *left)
{
    json_t *links = our_links(ctx);
    for (size_t i = 0; i < json_array_size(links); i++)
        add_left(left, json_string_value(json_array_get(links, i)));
    json_decref(links);
}

static void look_for_rules(struct exec_ctx *ctx, const char *save, const char *name, struct left *left)
{
    cleanup_free char *input = NULL;
    size_t n = 0;
    if (find_rules(ctx, save, &input, &n) > 0)
        add_left(left, name);
}

static int check_clean(struct exec_ctx *ctx, bool etcd_is_ours, struct err *err)
{
    static const char *const must_be_gone[] = {KUBE_CA_CERT,
                                               KUBE_CA_KEY,
                                               "/var/lib/cni",
                                               "/run/flannel",
                                               "/etc/kubernetes/manifests/kube-apiserver.yaml",
                                               "/etc/kubernetes/manifests/etcd.yaml"};
    struct left left = {""};
    for (size_t i = 0; i < COUNT_OF(config_files); i++)
        if (files_exists(ctx, config_files[i]))
            add_left(&left, config_files[i]);
    for (size_t i = 0; i < COUNT_OF(must_be_gone); i++)
        if (files_exists(ctx, must_be_gone[i]))
            add_left(&left, must_be_gone[i]);
    if (etcd_is_ours && files_exists(ctx, "/var/lib/etcd/member"))
        add_left(&left, "/var/lib/etcd/member");
    each_cni_file(ctx, left_cni_file, &left);
    look_for_links(ctx, &left);
    look_for_rules(ctx, exec_tool(ctx, TOOL_IPTABLES_SAVE), "packet filter rules", &left);
    look_for_rules(ctx, "ip6tables-save", "IPv6 packet filter rules", &left);
    if (!left.names[0])
        return 0;
    err_set(err, KPEER_EIO, "the host is not clean: left are %s", left.names);
    return err_hint(err, "remove them by hand, or restart the host and run 'kpeer leave' again");
}

static void stop_kubelet(struct exec_ctx *ctx)
{
    const struct exec_run run = {
        .tool = TOOL_SYSTEMCTL,
        .argv = (const char *const[]){"", "stop", "kubelet", NULL},
        .timeout_ms = SHORT_MS,
        .quiet = true,
    };
    attempt(ctx, &run, NULL);
}

/* A cluster that others made on this host is theirs, and `leave` must not end it. */
static bool is_ours(const struct journal_state *s)
{
    return s->init_begun || s->join_begun;
}

int kube_reset(struct exec_ctx *ctx, const struct step *step, struct step_result *result, struct err *err)
{
    (void)step;
    (void)result;
    if (ctx->journal && !is_ours(journal_state(ctx->journal))) {
        exec_say(ctx, "", -1, "kpeer began nothing on this host: there is nothing to reset");
        return 0;
    }
    /* Somebody else's etcd may live in the same folder: ours is what a control plane here kept there. */
    bool etcd_is_ours = files_exists(ctx, "/etc/kubernetes/manifests/etcd.yaml") ||
                        (ctx->journal && journal_state(ctx->journal)->init_begun);
    int rc = run_kubeadm_reset(ctx, err);
    if (rc != 0)
        return rc;
    stop_kubelet(ctx);
    remove_pods(ctx);
    remove_routes(ctx);
    remove_links(ctx);
    remove_namespaces(ctx);
    remove_rules(ctx, exec_tool(ctx, TOOL_IPTABLES_SAVE), exec_tool(ctx, TOOL_IPTABLES_RESTORE));
    remove_rules(ctx, "ip6tables-save", "ip6tables-restore");
    remove_files(ctx, etcd_is_ours);
    return ctx->dry_run ? 0 : check_clean(ctx, etcd_is_ours, err);
}
