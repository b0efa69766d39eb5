#include "peer/executor/packages/sources.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "peer/executor/file.h"
#include "peer/executor/packages/key.h"
#include "peer/executor/packages/query.h"
#include "protocol/mem.h"
#include "protocol/wanted.h"

#define FETCH_MS     60000
#define MINOR_MARK   "{minor}"
#define MINOR_OLDEST 1  /* below which no version is looked for */
#define MINORS_UP    16 /* how many newer minor versions than the newest known are tried */
#define FIRST_MINOR  24 /* the first version that upstream's repositories of a minor version have */
#define LEGACY_SUITE "kubernetes-xenial main"

/* One repository to be tried. */
struct place {
    enum packages_layout layout;       /* not LAYOUT_AUTO */
    char url[EXECUTOR_URL_BYTES + 32]; /* without a slash at its end */
};

static void trim_slash(char *url)
{
    size_t n = strlen(url);

    while (n && url[n - 1] == '/')
        url[--n] = '\0';
}

/* The repository of this layout for a version; false: the configuration has none. */
static bool place_of(const struct packages_config *cfg, enum packages_layout layout, unsigned minor,
                     struct place *p)
{
    const char *mark = strstr(cfg->minor_url, MINOR_MARK);
    int n;

    p->layout = layout;
    if (layout == LAYOUT_LEGACY)
        n = snprintf(p->url, sizeof(p->url), "%s", cfg->legacy_url);
    else
        n = mark ? snprintf(p->url, sizeof(p->url), "%.*sv1.%u%s", (int)(mark - cfg->minor_url),
                            cfg->minor_url, minor, mark + strlen(MINOR_MARK))
                 : 0;
    trim_slash(p->url);
    return n > 0 && (size_t)n < sizeof(p->url);
}

/* The line for apt, its key lying at `key`. */
static int source_line(const struct place *p, const char *key, char *out, size_t out_bytes, struct err *err)
{
    int n = snprintf(out, out_bytes, "deb [signed-by=%s] %s%s\n", key, p->url,
                     p->layout == LAYOUT_LEGACY ? " " LEGACY_SUITE : "/ /");

    if (n < 0 || (size_t)n >= out_bytes)
        return err_set(err, KPEER_ELIMIT, "the repository's URL is too long");
    return 0;
}

/* Fetches a URL into the work folder's file `name`, by apt's own helper. */
static int fetch(struct work *w, const char *url, const char *name, struct err *err)
{
    char path[PATH_MAX];
    int code = work_path(w, name, path, sizeof(path), err);
    const struct work_run run = {
        .tool = TOOL_APT_HELPER,
        .args = (const char *const[]){"download-file", url, path, NULL},
        .what = "the repository's key",
        .timeout_ms = FETCH_MS,
        .quiet = true,
    };
    struct spawn_result res = {0};

    code = code ? code : work_apt(w, &run, &res, err);
    spawn_result_fini(&res);
    return code;
}

/* Where the key is: as configured, else where the layout has it. */
static int key_bytes(struct work *w, const struct place *p, char **out, size_t *n, struct err *err)
{
    const char *keyring = w->ctx->cfg->packages.keyring;
    char url[EXECUTOR_URL_BYTES + 64], path[PATH_MAX];
    int code;

    if (keyring[0] == '/') {
        code = exec_path(w->ctx, keyring, path, sizeof(path), err);
        return code ? code : file_read(path, KEY_FILE_MAX, out, n, err);
    }
    snprintf(url, sizeof(url), "%s%s", keyring[0] ? keyring : p->url,
             keyring[0]                   ? ""
             : p->layout == LAYOUT_LEGACY ? "/doc/apt-key.gpg"
                                          : "/Release.key");
    if (strncmp(url, "http://", 7) == 0 && !w->ctx->cfg->packages.fingerprint[0])
        exec_say(w->ctx, "packages", -1,
                 "the repository's key comes over plain HTTP: packages.key can make it certain");
    code = fetch(w, url, "fetched.key", err);
    code = code ? code : work_path(w, "fetched.key", path, sizeof(path), err);
    return code ? code : file_read(path, KEY_FILE_MAX, out, n, err);
}

static int take_key(struct work *w, const struct place *p, struct err *err)
{
    const char *wanted = w->ctx->cfg->packages.fingerprint;
    char print[KEY_FINGERPRINT_BYTES];
    cleanup_free char *bytes = NULL;
    size_t n = 0;
    int code = key_bytes(w, p, &bytes, &n, err);

    free(w->key);
    w->key = NULL;
    code = code ? code : key_read(bytes, n, &w->key, &w->key_bytes, err);
    if (code == 0 && wanted[0])
        code = key_pick(w->key, &w->key_bytes, wanted, err);
    if (code == 0 && key_fingerprint(w->key, w->key_bytes, print, NULL) == 0)
        exec_say(w->ctx, "packages", -1, "the repository's key is %s", print);
    return code ? code : work_put(w, "own.gpg", w->key, w->key_bytes, err);
}

/* Makes it the repository of the work folder and reads its lists. KPEER_ENOTFOUND: there is none. */
static int try_place(struct work *w, const struct place *p, struct err *err)
{
    char path[PATH_MAX], line[sizeof(w->source)];
    int code;

    exec_say(w->ctx, "packages", -1, "looking at %s", p->url);
    code = take_key(w, p, err);
    code = code ? code : work_path(w, "own.gpg", path, sizeof(path), err);
    code = code ? code : source_line(p, path, line, sizeof(line), err);
    code = code ? code : work_put(w, "own.list", line, strlen(line), err);
    code = code ? code : work_refresh(w, WORK_OWN, err);
    return code ? code : source_line(p, SOURCES_KEY, w->source, sizeof(w->source), err);
}

/* kubeadm's version as the repository has it, kubelet and kubectl alike. */
static int pick_version(struct work *w, const char *wanted, char *out, size_t out_bytes, struct err *err)
{
    for (size_t i = PKG_KUBEADM; i <= PKG_KUBECTL; i++) {
        cleanup_free char *text = NULL;
        int code = work_madison(w, WORK_OWN, kube_packages[i], &text, err);

        if (code == 0 && i == PKG_KUBEADM)
            code = apt_parse_madison(text, kube_packages[i], wanted, out, out_bytes, err);
        else if (code == 0 && !apt_parse_offers(text, kube_packages[i], out))
            code = err_set(err, KPEER_ENOTFOUND, "there is kubeadm %s, but no %s of this version", out,
                           kube_packages[i]);
        if (code)
            return code;
    }
    return 0;
}

static int try_version(struct work *w, const struct place *p, const char *wanted, char *version,
                       size_t version_bytes, struct err *err)
{
    int code = try_place(w, p, err);

    code = code ? code : pick_version(w, wanted, version, version_bytes, err);
    return code && err ? err_wrap(err, "%s", p->url) : code;
}

/* Whether there is a repository of this minor version: its key tells, or with a key of one's own its lists.
 */
static int look_for_minor(struct work *w, unsigned minor, struct place *p, struct err *err)
{
    const struct packages_config *cfg = &w->ctx->cfg->packages;

    if (!place_of(cfg, LAYOUT_MINOR, minor, p))
        return err_set(err, KPEER_ENOTFOUND, "no repository of minor versions is configured");
    return cfg->keyring[0] ? try_place(w, p, err) : take_key(w, p, err);
}

/* The newest minor version's repository: from the newest known upwards while there is one, else downwards. */
static int newest_minor(struct work *w, struct place *p, struct err *err)
{
    unsigned minor = SOURCES_NEWEST_MINOR;
    struct place next;
    int code = look_for_minor(w, minor, p, err);

    for (unsigned i = 1; code == 0 && i <= MINORS_UP; i++) {
        if (look_for_minor(w, minor + i, &next, NULL))
            break;
        *p = next;
    }
    while (code == KPEER_ENOTFOUND && --minor >= MINOR_OLDEST)
        code = look_for_minor(w, minor, p, err);
    if (code != KPEER_ENOTFOUND)
        return code;
    return err_set(err, code, "%s has no repository of a version up to 1.%d", w->ctx->cfg->packages.minor_url,
                   SOURCES_NEWEST_MINOR);
}

/* A repository of all versions is a second choice: where both are there, it is the one that has ended. */
static int find_stable(struct work *w, char *version, size_t version_bytes, struct err *err)
{
    const struct packages_config *cfg = &w->ctx->cfg->packages;
    int code = err_set(err, KPEER_ENOTFOUND, "no repository is configured for packages.layout");
    struct place p;

    if (cfg->layout != LAYOUT_LEGACY) {
        code = newest_minor(w, &p, err);
        code = code ? code : try_version(w, &p, WANTED_STABLE, version, version_bytes, err);
    }
    if (code == KPEER_ENOTFOUND && cfg->layout != LAYOUT_MINOR && place_of(cfg, LAYOUT_LEGACY, 0, &p))
        code = try_version(w, &p, WANTED_STABLE, version, version_bytes, err);
    if (code == KPEER_ENOTFOUND && err)
        err_hint(err, "look at packages.mirror and packages.layout");
    return code;
}

/* Of the two layouts the likelier first. */
static int find_minor(struct work *w, const char *wanted, const struct version *minor, char *version,
                      size_t version_bytes, struct err *err)
{
    const struct packages_config *cfg = &w->ctx->cfg->packages;
    enum packages_layout first = minor->minor >= FIRST_MINOR ? LAYOUT_MINOR : LAYOUT_LEGACY;
    struct err own = {0};
    struct place p;
    int code = KPEER_ENOTFOUND;

    for (int i = 0; i < 2 && code == KPEER_ENOTFOUND; i++) {
        enum packages_layout layout = (first == LAYOUT_MINOR) == (i == 0) ? LAYOUT_MINOR : LAYOUT_LEGACY;

        if ((cfg->layout != LAYOUT_AUTO && cfg->layout != layout) || !place_of(cfg, layout, minor->minor, &p))
            continue;
        code = try_version(w, &p, wanted, version, version_bytes, &own);
    }
    if (code == 0)
        return 0;
    if (!own.code)
        err_set(&own, KPEER_ENOTFOUND, "no repository is configured for it");
    if (err)
        *err = own;
    if (own.code != KPEER_ENOTFOUND)
        return own.code;
    err_wrap(err, "Kubernetes %s", wanted);
    return err ? err_hint(err, minor->minor < FIRST_MINOR
                                   ? "upstream has 1.24 and newer: set mirror: aliyun, or packages.mirror"
                                   : "look at kubernetes, packages.mirror and packages.layout")
               : own.code;
}

int sources_find(struct work *w, const char *wanted, char *version, size_t version_bytes, struct err *err)
{
    struct version minor;
    int code;

    if (w->offline) {
        code = sources_folder(w, err);
        code = code ? code : pick_version(w, wanted, version, version_bytes, err);
        if (code == 0 || !err)
            return code;
        err_wrap(err, "%s", w->ctx->cfg->packages.folder);
        return err_hint(err, "put the .deb files of the wanted version there, with those they depend on");
    }
    if (wanted_minor(wanted, &minor))
        return find_minor(w, wanted, &minor, version, version_bytes, err);
    return find_stable(w, version, version_bytes, err);
}

int sources_add(struct work *w, struct err *err)
{
    char from[PATH_MAX];
    cleanup_free char *text = NULL;
    size_t n = 0;
    int code;

    if (w->offline)
        return 0;
    code = work_path(w, "own.list", from, sizeof(from), err);
    code = code ? code : file_read(from, sizeof(w->source), &text, &n, err);
    return code ? code : work_put(w, "sources.d/" SOURCES_NAME ".list", text, n, err);
}

static int put(struct work *w, const char *path, const void *bytes, size_t n, struct err *err)
{
    char full[PATH_MAX];
    int code = exec_path(w->ctx, path, full, sizeof(full), err);

    return code ? code : journal_replace_file(w->ctx->journal, full, bytes, n, 0644, err);
}

int sources_install(struct work *w, const char *version, struct err *err)
{
    char pin[512];
    int n = snprintf(pin, sizeof(pin),
                     "# The version that kpeer installed; see kubernetes in kpeer.yaml(5).\n"
                     "Package: kubeadm kubelet kubectl\n"
                     "Pin: version %s\n"
                     "Pin-Priority: 990\n",
                     version);
    int code = 0;

    if (w->source[0]) {
        code = put(w, SOURCES_KEY, w->key, w->key_bytes, err);
        code = code ? code : put(w, SOURCES_LIST, w->source, strlen(w->source), err);
    }
    return code ? code : put(w, SOURCES_PIN, pin, (size_t)n, err);
}
