#include "peer/executor/images/runtime.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "peer/executor/kube/files.h"
#include "peer/executor/kube/kubeadm.h"
#include "protocol/mem.h"
#include "protocol/wanted.h"

#define QUERY_MS     20000
#define ASK_MS       60000
#define CHANGE_MS    120000
#define IMPORT_MS    (15u * 60 * 1000)
#define CERTS_D      "/etc/containerd/certs.d"
#define DOCKER_UNTIL 24 /* from this minor version on the kubelet does not run Docker by itself */

static const char *architecture(void)
{
    static const struct {
        const char *machine;
        const char *name;
    } known[] = {{"x86_64", "amd64"}, {"aarch64", "arm64"}, {"armv7l", "arm"}, {"i686", "386"}};
    static struct utsname u;
    if (uname(&u) != 0)
        return "amd64";
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (strcmp(known[i].machine, u.machine) == 0)
            return known[i].name;
    return u.machine;
}

static bool has_tool(const struct exec_ctx *ctx, enum executor_tool tool)
{
    char path[EXECUTOR_PATH_BYTES];
    return spawn_find(exec_tool(ctx, tool), path, sizeof path, NULL) == 0;
}

static bool docker_runs_pods(const struct exec_ctx *ctx, const char *version)
{
    struct version v;
    if (files_exists(ctx, "/run/cri-dockerd.sock"))
        return true;
    return files_exists(ctx, "/run/docker.sock") && version_parse(version, &v) && v.major == 1 &&
           v.minor < DOCKER_UNTIL;
}

int runtime_open(struct exec_ctx *ctx, const char *version, struct runtime *s, struct err *err)
{
    *s = (struct runtime){.ctx = ctx, .socket = kubeadm_cri_socket(ctx), .architecture = architecture()};
    if (strstr(s->socket, "crio"))
        s->kind = BY_CRICTL;
    else if (docker_runs_pods(ctx, version))
        s->kind = BY_DOCKER;
    else
        s->kind = has_tool(ctx, TOOL_CTR) || !has_tool(ctx, TOOL_CRICTL) ? BY_CTR : BY_CRICTL;
    if (s->kind == BY_CRICTL && !s->socket[0])
        s->socket = "unix:///run/containerd/containerd.sock";
    enum executor_tool tool = s->kind == BY_CTR ? TOOL_CTR : s->kind == BY_CRICTL ? TOOL_CRICTL : TOOL_DOCKER;
    if (ctx->dry_run || has_tool(ctx, tool))
        return 0;
    err_set(err, KPEER_ENOTFOUND, "there is no container runtime to ask: no %s on this host",
            executor_tool_name(tool));
    return err_hint(err, "install containerd, or say where the program is: tools.%s",
                    executor_tool_name(tool));
}

const char *runtime_word(const struct runtime *s)
{
    static const char *const words[] = {
        [BY_CTR] = "containerd", [BY_CRICTL] = "the CRI runtime", [BY_DOCKER] = "Docker"};
    return words[s->kind];
}

bool runtime_can_name(const struct runtime *s)
{
    return s->kind != BY_CRICTL;
}

/* Runs the program of this runtime; on failure the text is the cause alone. */
static int run(struct runtime *s, const char *const *words, uint32_t limit_ms, bool reads,
               struct spawn_result *res, struct err *err)
{
    const char *argv[24] = {""};
    size_t n = 1;
    if (s->kind == BY_CTR) {
        argv[n++] = "-n";
        argv[n++] = "k8s.io";
    } else if (s->kind == BY_CRICTL) {
        argv[n++] = "--runtime-endpoint";
        argv[n++] = s->socket;
    }
    for (; *words && n + 1 < COUNT_OF(argv); words++)
        argv[n++] = *words;
    const struct exec_run r = {
        .tool = s->kind == BY_CTR      ? TOOL_CTR
                : s->kind == BY_CRICTL ? TOOL_CRICTL
                                       : TOOL_DOCKER,
        .argv = argv,
        .timeout_ms = limit_ms,
        .quiet = true,
        .read_only = reads,
    };
    int rc = exec_run(s->ctx, &r, res, err);
    if (rc == KPEER_EIO && res->errout && res->errout[0]) {
        char cause[200];
        parse_images_cause(res->errout, cause, sizeof cause);
        err_set(err, strstr(cause, "not found") ? KPEER_ENOTFOUND : KPEER_EIO, "%s", cause);
        err_hint(err, "%s", parse_images_hint(cause));
    }
    return rc == KPEER_EIO && err ? err->code : rc;
}

static int run_plain(struct runtime *s, const char *const *words, uint32_t limit_ms, struct err *err)
{
    struct spawn_result res;
    struct err own = {0};
    int rc = run(s, words, limit_ms, false, &res, &own);
    spawn_result_fini(&res);
    if (rc != 0 && err)
        *err = own;
    return rc;
}

int runtime_look(struct runtime *s, const char *name, struct image_rows *rows, struct err *err)
{
    char filter[REFERENCE_BYTES + 8];
    const char *const words[][7] = {
        [BY_CTR] = {"images", "check", name ? filter : NULL, NULL},
        [BY_CRICTL] = {"images", "-o", "json", name, NULL},
        [BY_DOCKER] = {"images", "--no-trunc", "--digests", "--format", "{{json .}}", name, NULL},
    };
    struct spawn_result res;
    snprintf(filter, sizeof filter, "name==%s", name ? name : "");
    int rc = run(s, words[s->kind], QUERY_MS, true, &res, err);
    if (rc == 0)
        rc = s->kind == BY_CTR      ? parse_images_ctr(res.out, res.out_bytes, rows, err)
             : s->kind == BY_CRICTL ? parse_images_crictl(res.out, res.out_bytes, rows, err)
                                    : parse_images_docker(res.out, res.out_bytes, rows, err);
    spawn_result_fini(&res);
    return rc == 0 ? 0 : err_wrap(err, "the images of %s cannot be told", runtime_word(s));
}

/* The object of a digest among containerd's own content. */
static int read_content(struct runtime *s, const char *digest, struct spawn_result *res, struct err *err)
{
    return run(s, (const char *const[]){"content", "get", digest, NULL}, QUERY_MS, true, res, err);
}

int runtime_identify(struct runtime *s, struct image_row *row, struct err *err)
{
    struct image_manifest m = {.is_index = true};
    if (row->id[0] || !row->digest[0] || s->kind != BY_CTR)
        return 0;
    mem_copy_text(m.next, sizeof m.next, row->digest);
    for (int depth = 0; m.is_index && depth < 3; depth++) {
        struct spawn_result res;
        int rc = read_content(s, m.next, &res, err);
        if (rc == 0)
            rc = parse_images_manifest(res.out, res.out_bytes, s->architecture, &m, err);
        spawn_result_fini(&res);
        if (rc != 0)
            return err_wrap(err, "the id of %s", row->name);
    }
    if (m.is_index)
        return err_set(err, KPEER_EINVAL, "%s is an index of indices", row->name);
    mem_copy_text(row->id, sizeof row->id, m.next);
    return 0;
}

/* What goes with a registry of the user's own: plain http, or its authority. */
static size_t put_registry(const struct runtime *s, const char *source, const char **argv, size_t n)
{
    const struct executor_images *cfg = &s->ctx->cfg->images;
    bool own = !reference_is_public(source);
    struct stat st;
    char hosts[FILES_PATH_BYTES];
    if (own && cfg->insecure)
        argv[n++] = "--plain-http";
    else if (exec_path(s->ctx, CERTS_D, hosts, sizeof hosts, NULL) == 0 && stat(hosts, &st) == 0) {
        argv[n++] = "--hosts-dir";
        argv[n++] = CERTS_D;
    }
    if (own && !cfg->insecure && cfg->ca[0]) {
        argv[n++] = "--tlscacert";
        argv[n++] = cfg->ca;
    }
    return n;
}

int runtime_pull(struct runtime *s, const char *source, uint32_t timeout_ms, struct err *err)
{
    const char *argv[12] = {"pull", source, NULL};
    if (s->kind == BY_CTR) {
        argv[0] = "images";
        argv[1] = "pull";
        size_t n = put_registry(s, source, argv, 2);
        argv[n++] = source;
        argv[n] = NULL;
    }
    return run_plain(s, argv, timeout_ms, err);
}

int runtime_pull_by_cri(struct runtime *s, const char *source, uint32_t timeout_ms, struct err *err)
{
    struct runtime cri = *s;
    if (s->kind != BY_CTR || !s->socket[0] || !has_tool(s->ctx, TOOL_CRICTL))
        return err_set(err, KPEER_ESTATE, "there is no crictl to ask");
    cri.kind = BY_CRICTL;
    return runtime_pull(&cri, source, timeout_ms, err);
}

/* An object of a registry's: the manifest of a tag, or what a digest names. */
static int fetch(struct runtime *s, const char *source, const char *digest, struct spawn_result *res,
                 struct err *err)
{
    const char *argv[12] = {"content", "fetch-object"};
    size_t n = put_registry(s, source, argv, 2);
    argv[n++] = source;
    argv[n++] = digest;
    argv[n] = NULL;
    return run(s, argv, ASK_MS, true, res, err);
}

static int ask_registry(struct runtime *s, const char *source, struct image_row *row, struct err *err)
{
    struct image_manifest m = {.is_index = true};
    char first[STEP_HASH_BYTES] = "";
    for (int depth = 0; m.is_index && depth < 3; depth++) {
        struct spawn_result res;
        char digest[STEP_HASH_BYTES] = "";
        int rc = fetch(s, source, m.next[0] ? m.next : NULL, &res, err);
        if (rc == 0)
            parse_images_hash(res.out, res.out_bytes, digest);
        if (rc == 0 && m.next[0] && strcmp(m.next, digest) != 0)
            rc = err_set(err, KPEER_EINVAL, "the registry answers %s with something else", m.next);
        if (rc == 0)
            rc = parse_images_manifest(res.out, res.out_bytes, s->architecture, &m, err);
        spawn_result_fini(&res);
        if (rc != 0)
            return rc;
        if (!first[0])
            memcpy(first, digest, sizeof first);
    }
    memcpy(row->digest, first, sizeof first);
    memcpy(row->id, m.next, sizeof m.next);
    return m.is_index ? err_set(err, KPEER_EINVAL, "%s is an index of indices", source) : 0;
}

/* Where a manifest alone cannot be had the image is pulled, looked at and its name removed again. */
static int ask_by_pulling(struct runtime *s, const char *source, struct image_row *row, struct err *err)
{
    struct image_rows before = {0}, after = {0};
    int rc = runtime_look(s, source, &before, err);
    bool was_here = rc == 0 && image_rows_find(&before, source);
    image_rows_fini(&before);
    if (rc == 0)
        rc = runtime_pull(s, source, 0, err);
    if (rc == 0)
        rc = runtime_look(s, source, &after, err);
    const struct image_row *found = rc == 0 ? image_rows_find(&after, source) : NULL;
    if (rc == 0 && !found)
        rc = err_set(err, KPEER_ENOTFOUND, "it was pulled and is not here");
    if (rc == 0) {
        memcpy(row->digest, found->digest, sizeof row->digest);
        memcpy(row->id, found->id, sizeof row->id);
    }
    image_rows_fini(&after);
    if (rc == 0 && !was_here)
        runtime_remove(s, source, NULL);
    return rc;
}

int runtime_ask(struct runtime *s, const char *source, struct image_row *row, struct err *err)
{
    return s->kind == BY_CTR ? ask_registry(s, source, row, err) : ask_by_pulling(s, source, row, err);
}

int runtime_name(struct runtime *s, const char *from, const char *to, struct err *err)
{
    if (s->kind == BY_CTR)
        return run_plain(s, (const char *const[]){"images", "tag", "--force", from, to, NULL}, CHANGE_MS,
                         err);
    if (s->kind == BY_DOCKER)
        return run_plain(s, (const char *const[]){"tag", from, to, NULL}, CHANGE_MS, err);
    return err_set(err, KPEER_ESTATE, "%s cannot give an image another name", runtime_word(s));
}

int runtime_remove(struct runtime *s, const char *name, struct err *err)
{
    static const char *const verbs[] = {[BY_CTR] = "images", [BY_CRICTL] = "rmi", [BY_DOCKER] = "rmi"};
    const char *const argv[] = {verbs[s->kind], s->kind == BY_CTR ? "rm" : name,
                                s->kind == BY_CTR ? name : NULL, NULL};
    int rc = run_plain(s, argv, CHANGE_MS, err);
    return rc == KPEER_ENOTFOUND ? 0 : rc;
}

int runtime_import(struct runtime *s, const char *path, struct err *err)
{
    if (s->kind == BY_CTR)
        return run_plain(s, (const char *const[]){"images", "import", path, NULL}, IMPORT_MS, err);
    if (s->kind == BY_DOCKER)
        return run_plain(s, (const char *const[]){"load", "-q", "-i", path, NULL}, IMPORT_MS, err);
    return err_set(err, KPEER_ESTATE, "%s takes in no archives", runtime_word(s));
}
