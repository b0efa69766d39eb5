/* The container runtime: there, running, and configured as kubelet wants it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/executor/host/check.h"
#include "peer/executor/host/containerd.h"
#include "peer/executor/host/look.h"
#include "peer/executor/host/mend.h"
#include "peer/executor/host/parse.h"
#include "peer/executor/host/parse_daemon.h"
#include "peer/executor/host/unit.h"
#include "protocol/mem.h"

#define CONTAINERD_FILE "/etc/containerd/config.toml"
#define DAEMON_FILE     "/etc/docker/daemon.json"
#define CNI_BINS        "/opt/cni/bin"
#define START_MS        20000
#define LOOK_MS         100
#define LIST_MS         15000

static void look_container_runtime(struct survey *s)
{
    const char *name = look_runtime(s->ctx);

    if (name)
        check_tell(s, FINDING_GREEN, "", "%s answers for containers", name);
    else
        check_tell(s, FINDING_RED, "install and start containerd, with its CRI plugin enabled",
                   "no socket of containerd, CRI-O or cri-dockerd is there");
}

/* The first of these units that there is, is started; its socket comes a moment later. */
static int fix_container_runtime(struct survey *s, struct err *err)
{
    static const char *const units[] = {"containerd.service", "crio.service", "cri-docker.service"};
    int code = KPEER_ENOTFOUND;

    for (size_t i = 0; i < COUNT_OF(units) && code == KPEER_ENOTFOUND; i++)
        code = unit_set(s->ctx, units[i], UNIT_STARTED, err);
    for (unsigned waited = 0; code == 0 && !look_runtime(s->ctx) && waited < START_MS; waited += LOOK_MS)
        code = exec_pause(s->ctx, LOOK_MS, err);
    s->stale = true;
    return code;
}

const struct check check_runtime = {
    .name = "runtime",
    .why = "kubelet starts containers through it",
    .mend = "start the container runtime, now and at boot",
    .undo = "its unit is put back",
    .kubeadm = {"CRI"},
    .look = look_container_runtime,
    .fix = fix_container_runtime,
};

static bool has_program(const struct exec_ctx *ctx, const char *name)
{
    static const char *const dirs[] = {"/usr/bin", "/usr/local/bin", "/usr/sbin", "/bin"};
    char path[64];

    for (size_t i = 0; i < COUNT_OF(dirs); i++) {
        snprintf(path, sizeof(path), "%s/%s", dirs[i], name);
        if (look_exists(ctx, path))
            return true;
    }
    return false;
}

/* Docker is what kubelet uses: through cri-dockerd, or by itself where it has no choice up to 1.23. */
static bool docker_counts(const struct survey *s)
{
    unsigned major, minor;

    if (look_socket(s->ctx, "/run/cri-dockerd.sock"))
        return true;
    return look_socket(s->ctx, "/run/docker.sock") && !look_socket(s->ctx, "/run/crio/crio.sock") &&
           parse_version_parts(s->facts->kubernetes_version, &major, &minor) && minor < 24;
}

/* kubeadm's pause image for this version; the caller frees it. NULL: not known. */
static char *pause_image(struct survey *s)
{
    const struct executor_config *cfg = s->ctx->cfg;
    char wanted[STEP_VERSION_BYTES + 24], repository[sizeof(cfg->image_repository) + 24];
    const struct exec_run run = {
        .tool = TOOL_KUBEADM,
        .argv = (const char *const[]){"", "config", "images", "list", wanted,
                                      cfg->image_repository[0] ? repository : NULL, NULL},
        .timeout_ms = LIST_MS,
        .quiet = true,
        .constant = true,
        .read_only = true,
    };
    struct spawn_result res;
    char *image = NULL;

    if (!s->facts->kubernetes_version[0] || (cfg->root[0] && !cfg->tools[TOOL_KUBEADM][0]))
        return NULL;
    snprintf(wanted, sizeof(wanted), "--kubernetes-version=%s", s->facts->kubernetes_version);
    snprintf(repository, sizeof(repository), "--image-repository=%s", cfg->image_repository);
    if (exec_run(s->ctx, &run, &res, NULL) == 0)
        image = parse_pause_line(res.out);
    spawn_result_fini(&res);
    return image;
}

static bool containerd_counts(const struct survey *s)
{
    const char *name = look_runtime(s->ctx);

    if (docker_counts(s) || (name && strcmp(name, "containerd") != 0))
        return false;
    return name || has_program(s->ctx, "containerd");
}

/* Where plugins are to be looked for: not where there are none. */
static const char *cni_bins(const struct exec_ctx *ctx)
{
    return look_exists(ctx, CNI_BINS "/loopback") || !look_exists(ctx, "/usr/lib/cni/loopback") ? CNI_BINS
                                                                                                : NULL;
}

/* Text and wish; `pause` and `text` are the caller's to free. */
static int read_containerd(struct survey *s, char **text, size_t *n, char **pause,
                           struct containerd_wish *wish, struct err *err)
{
    int code = look_read(s->ctx, CONTAINERD_FILE, text, n, err);

    if (code == KPEER_ENOTFOUND) {
        *text = calloc(1, 1);
        *n = 0;
        code = *text ? 0 : err_set(err, KPEER_ENOMEM, "out of memory");
    }
    *pause = pause_image(s);
    *wish = (struct containerd_wish){
        .systemd = unit_systemd(s->ctx), .pause = *pause, .cni_bins = cni_bins(s->ctx)};
    return code;
}

static void tell_containerd(struct survey *s, const struct containerd_faults *f, const char *pause)
{
    if (f->disabled)
        check_tell(s, FINDING_RED, "take cri out of disabled_plugins in " CONTAINERD_FILE,
                   "containerd's CRI plugin is disabled");
    else if (f->cgroups)
        check_tell(s, FINDING_WARN, "SystemdCgroup = true for runc in " CONTAINERD_FILE,
                   "containerd does not use systemd's cgroup driver");
    else if (f->cni)
        check_tell(s, FINDING_RED, "bin_dir = \"" CNI_BINS "\" in " CONTAINERD_FILE,
                   "containerd looks for network plugins elsewhere than in " CNI_BINS);
    else if (f->pause)
        check_tell(s, FINDING_WARN, "set sandbox_image (or pinned_images.sandbox) in " CONTAINERD_FILE,
                   "containerd's pause image is not %.50s", pause);
    else
        check_tell(s, FINDING_GREEN, "", "containerd is configured as kubelet wants it");
}

static void look_containerd(struct survey *s)
{
    cleanup_free char *text = NULL;
    cleanup_free char *pause = NULL;
    struct containerd_wish wish;
    struct containerd_faults f;
    struct err e = {0};
    size_t n = 0;

    if (s->member || !containerd_counts(s)) {
        check_tell(s, FINDING_GREEN, "", s->member ? "left as it is: this host is a Node" : "not used here");
        return;
    }
    if (read_containerd(s, &text, &n, &pause, &wish, &e) == 0 && containerd_look(text, n, &wish, &f, &e) == 0)
        tell_containerd(s, &f, pause);
    else
        check_tell(s, FINDING_WARN,
                   e.hint[0] ? e.hint : "see SystemdCgroup, the pause image and bin_dir yourself",
                   CONTAINERD_FILE ": %.60s", e.text);
}

/* The restart is noted before the file: undone after it. */
static int replace_config(struct survey *s, const char *unit, const char *path, const char *text, size_t n,
                          struct err *err)
{
    int code = unit_note_restart(s->ctx, unit, err);

    code = code ? code : mend_file(s->ctx, path, text, n, 0644, err);
    return code ? code : unit_restart(s->ctx, unit, err);
}

static int fix_containerd(struct survey *s, struct err *err)
{
    cleanup_free char *text = NULL;
    cleanup_free char *pause = NULL;
    cleanup_free char *fresh = NULL;
    struct containerd_wish wish;
    size_t n = 0, fresh_bytes;
    int code = read_containerd(s, &text, &n, &pause, &wish, err);

    code = code ? code : containerd_mend(text, n, &wish, &fresh, &fresh_bytes, err);
    if (code)
        return err_wrap(err, CONTAINERD_FILE);
    return replace_config(s, "containerd.service", CONTAINERD_FILE, fresh, fresh_bytes, err);
}

const struct check check_containerd = {
    .name = "containerd",
    .why = "it must agree with kubelet",
    .mend = "enable CRI, set cgroup driver and pause image in " CONTAINERD_FILE,
    .undo = "the file is put back and containerd restarted",
    .look = look_containerd,
    .fix = fix_containerd,
};

/* Text of daemon.json, empty where there is none; the caller frees it. */
static int read_daemon(struct exec_ctx *ctx, char **text, size_t *n, struct err *err)
{
    int code = look_read(ctx, DAEMON_FILE, text, n, err);

    if (code != KPEER_ENOTFOUND)
        return code;
    *n = 0;
    *text = calloc(1, 1);
    return *text ? 0 : err_set(err, KPEER_ENOMEM, "out of memory");
}

/* Docker that kubelet does not use is the user's own. A file without Docker waits for a Docker to come. */
static bool daemon_counts(const struct survey *s)
{
    return docker_counts(s) || (!has_program(s->ctx, "dockerd") && look_exists(s->ctx, DAEMON_FILE));
}

static void look_docker(struct survey *s)
{
    cleanup_free char *text = NULL;
    cleanup_free char *fresh = NULL;
    struct err e = {0};
    bool same = true;
    size_t n, fresh_bytes;

    if (s->member || !daemon_counts(s)) {
        check_tell(s, FINDING_GREEN, "", s->member ? "left as it is: this host is a Node" : "not used here");
        return;
    }
    if (read_daemon(s->ctx, &text, &n, &e) || daemon_merge(text, n, &same, &fresh, &fresh_bytes, &e))
        check_tell(s, FINDING_RED, "mend " DAEMON_FILE " by hand: kpeer does not touch what it cannot read",
                   DAEMON_FILE ": %.60s", e.text);
    else if (!same)
        check_tell(s, FINDING_WARN, "exec-opts native.cgroupdriver=systemd, log rotation and overlay2 there",
                   "Docker's " DAEMON_FILE " is not as kubelet needs it");
    else
        check_tell(s, FINDING_GREEN, "", "Docker is configured as kubelet wants it");
}

static int fix_docker(struct survey *s, struct err *err)
{
    cleanup_free char *text = NULL;
    cleanup_free char *fresh = NULL;
    bool same = true;
    size_t n, fresh_bytes;
    int code = read_daemon(s->ctx, &text, &n, err);

    code = code ? code : daemon_merge(text, n, &same, &fresh, &fresh_bytes, err);
    if (code)
        return err_wrap(err, DAEMON_FILE);
    return same ? 0 : replace_config(s, "docker.service", DAEMON_FILE, fresh, fresh_bytes, err);
}

const struct check check_docker = {
    .name = "docker",
    .why = "kubelet's cgroup driver must be Docker's",
    .mend = "merge cgroup driver, log rotation and overlay2 into " DAEMON_FILE,
    .undo = "the file is put back and Docker restarted",
    .look = look_docker,
    .fix = fix_docker,
};

static void look_kubelet_enabled(struct survey *s)
{
    struct parse_unit u;

    if (!unit_systemd(s->ctx))
        check_tell(s, FINDING_GREEN, "", "no systemd here: kubelet is started by something else");
    else if (unit_read(s->ctx, "kubelet.service", &u, NULL))
        check_tell(s, FINDING_WARN, "install the package kubelet", "there is no unit kubelet");
    else if (unit_enabled(&u))
        check_tell(s, FINDING_GREEN, "", "kubelet starts at boot");
    else
        check_tell(s, FINDING_WARN, "systemctl enable kubelet", "kubelet does not start at boot");
}

static int fix_kubelet_enabled(struct survey *s, struct err *err)
{
    return unit_set(s->ctx, "kubelet.service", UNIT_ENABLED, err);
}

const struct check check_kubelet_enabled = {
    .name = "kubelet-enabled",
    .why = "after a restart this Node would stay away",
    .mend = "enable kubelet",
    .undo = "the unit is put back",
    .kubeadm = {"Service-Kubelet"},
    .look = look_kubelet_enabled,
    .fix = fix_kubelet_enabled,
};
