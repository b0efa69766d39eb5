#include "peer/executor/host/containerd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/executor/host/parse_toml.h"
#include "protocol/mem.h"

#define CRI_2     "io.containerd.grpc.v1.cri"
#define RUNTIME_3 "io.containerd.cri.v1.runtime"
#define IMAGES_3  "io.containerd.cri.v1.images"
#define RUNC_TYPE "io.containerd.runc.v2"
#define PATH(...)                                                                                            \
    (struct toml_path)                                                                                       \
    {                                                                                                        \
        .keys = {__VA_ARGS__}, .count = sizeof((const char *[]){__VA_ARGS__}) / sizeof(const char *)         \
    }

/* A configuration that is read, and where things stand in its version. */
struct config {
    const char *text;
    size_t n;
    unsigned version;
    const char *cri; /* the plugin that runs containers */
    char runtime[TOML_KEY_BYTES];
};

static const char *const cri_words[] = {"cri", CRI_2, RUNTIME_3, IMAGES_3};

static struct toml_path runtime_path(const struct config *c, const char *key)
{
    return PATH("plugins", c->cri, "containerd", "runtimes", c->runtime, key);
}

static struct toml_path cgroup_path(const struct config *c)
{
    return PATH("plugins", c->cri, "containerd", "runtimes", c->runtime, "options", "SystemdCgroup");
}

static struct toml_path pause_path(const struct config *c)
{
    return c->version == 3 ? PATH("plugins", IMAGES_3, "pinned_images", "sandbox")
                           : PATH("plugins", CRI_2, "sandbox_image");
}

static int get(const struct config *c, struct toml_path path, struct toml_value *v, struct err *err)
{
    return toml_get(c->text, c->n, &path, v, err);
}

/* Version 1 names plugins otherwise: taken only where it says nothing of them. */
static int check_old(const struct config *c, struct err *err)
{
    const struct toml_path places[] = {PATH("plugins"), PATH("required_plugins")};
    bool has = false;

    for (size_t i = 0; i < COUNT_OF(places); i++) {
        int code = toml_has_below(c->text, c->n, &places[i], &has, err);

        if (code)
            return code;
        if (has) {
            err_set(err, KPEER_EINVAL, "it is of version 1");
            return err_hint(err, "bring it up to date with: containerd config migrate");
        }
    }
    return 0;
}

static int read_version(struct config *c, struct err *err)
{
    struct toml_value v;
    int code = get(c, PATH("version"), &v, err);

    if (code)
        return code;
    c->version = v.kind == TOML_ABSENT ? (c->n == 0 ? 2 : 1) : (unsigned)strtoul(v.text, NULL, 10);
    if ((v.kind != TOML_ABSENT && v.kind != TOML_NUMBER) || c->version < 1 || c->version > 3)
        return err_set(err, KPEER_EINVAL, "its version \"%.20s\" is not known here", v.text);
    c->cri = c->version == 3 ? RUNTIME_3 : CRI_2;
    return c->version == 1 ? check_old(c, err) : 0;
}

/* The runtime that pods get, and that it is runc's shim, whose option is set. */
static int read_runtime(struct config *c, struct err *err)
{
    struct toml_value v;
    int code = get(c, PATH("plugins", c->cri, "containerd", "default_runtime_name"), &v, err);

    if (code)
        return code;
    if (v.kind != TOML_ABSENT &&
        (v.kind != TOML_STRING || !v.text[0] || mem_copy_text(c->runtime, sizeof(c->runtime), v.text)))
        return err_set(err, KPEER_EINVAL, "its default runtime is not understood");
    if (v.kind == TOML_ABSENT)
        strcpy(c->runtime, "runc");
    code = get(c, runtime_path(c, "runtime_type"), &v, err);
    if (code)
        return code;
    if (v.kind == TOML_ABSENT ? strcmp(c->runtime, "runc") != 0 : strcmp(v.text, RUNC_TYPE) != 0)
        return err_set(err, KPEER_EINVAL,
                       "the runtime %.40s is not runc's, so its cgroups are not known here", c->runtime);
    return 0;
}

static int open_config(struct config *c, const char *text, size_t n, struct err *err)
{
    int code;

    *c = (struct config){.text = text, .n = n};
    code = read_version(c, err);
    return code ? code : read_runtime(c, err);
}

static int is_disabled(const struct config *c, bool *out, struct err *err)
{
    const struct toml_path path = PATH("disabled_plugins");
    int code = 0;

    *out = false;
    for (size_t i = 0; i < COUNT_OF(cri_words) && code == 0 && !*out; i++)
        code = toml_list_has(c->text, c->n, &path, cri_words[i], out, err);
    return code;
}

static int look_cgroups(const struct config *c, bool *fault, struct err *err)
{
    struct toml_value v, old;
    int code = get(c, cgroup_path(c), &v, err);

    code = code ? code : get(c, PATH("plugins", c->cri, "systemd_cgroup"), &old, err);
    if (code == 0)
        *fault = strcmp(v.text, "true") != 0 || strcmp(old.text, "true") == 0;
    return code;
}

int containerd_look(const char *text, size_t n, const struct containerd_wish *wish,
                    struct containerd_faults *out, struct err *err)
{
    struct containerd_faults f = {0};
    struct toml_value v;
    struct config c;
    int code = open_config(&c, text, n, err);

    code = code ? code : is_disabled(&c, &f.disabled, err);
    if (code == 0 && wish->systemd)
        code = look_cgroups(&c, &f.cgroups, err);
    if (code == 0 && wish->pause) {
        code = get(&c, pause_path(&c), &v, err);
        f.pause = strcmp(v.text, wish->pause) != 0;
    }
    if (code == 0 && wish->cni_bins) {
        code = get(&c, PATH("plugins", c.cri, "cni", "bin_dir"), &v, err);
        f.cni = code == 0 && v.kind != TOML_ABSENT && strcmp(v.text, wish->cni_bins) != 0;
    }
    if (code == 0)
        *out = f;
    return code;
}

/* A configuration being changed: each change makes a new text. */
struct edit {
    char *text;
    size_t n;
};

static int adopt(struct edit *e, char *fresh, size_t n, int code)
{
    if (code)
        return code;
    free(e->text);
    e->text = fresh;
    e->n = n;
    return 0;
}

static int set(struct edit *e, struct toml_path path, const char *value, struct err *err)
{
    char *fresh = NULL;
    size_t n = 0;
    int code = toml_set(e->text, e->n, &path, value, &fresh, &n, err);

    return adopt(e, fresh, n, code);
}

static int set_text(struct edit *e, struct toml_path path, const char *value, struct err *err)
{
    char quoted[300];
    int used = snprintf(quoted, sizeof(quoted), "\"%s\"", value);

    if (used < 0 || (size_t)used >= sizeof(quoted) || strpbrk(value, "\"\\\n"))
        return err_set(err, KPEER_EINVAL, "\"%.60s\" cannot be written there", value);
    return set(e, path, quoted, err);
}

static int enable(struct edit *e, struct err *err)
{
    const struct toml_path path = PATH("disabled_plugins");
    int code = 0;

    for (size_t i = 0; i < COUNT_OF(cri_words) && code == 0; i++) {
        char *fresh = NULL;
        size_t n = 0;

        code = toml_list_drop(e->text, e->n, &path, cri_words[i], &fresh, &n, err);
        code = adopt(e, fresh, n, code);
    }
    return code;
}

static int mend_cgroups(struct edit *e, const struct config *c, struct err *err)
{
    struct toml_value v;
    int code = get(c, PATH("plugins", c->cri, "systemd_cgroup"), &v, err);

    if (code == 0 && strcmp(v.text, "true") == 0)
        code = set(e, PATH("plugins", c->cri, "systemd_cgroup"), "false", err);
    /* A runtime that is named in the file needs its type there too. */
    code = code ? code : get(c, runtime_path(c, "runtime_type"), &v, err);
    if (code == 0 && v.kind == TOML_ABSENT)
        code = set_text(e, runtime_path(c, "runtime_type"), RUNC_TYPE, err);
    return code ? code : set(e, cgroup_path(c), "true", err);
}

static int mend_all(struct edit *e, struct config *c, const struct containerd_faults *f,
                    const struct containerd_wish *wish, struct err *err)
{
    int code = enable(e, err);

    if (code == 0 && (c->version == 1 || c->n == 0)) {
        code = set(e, PATH("version"), "2", err);
        c->version = 2;
    }
    if (code == 0 && f->cgroups)
        code = mend_cgroups(e, c, err);
    if (code == 0 && f->pause)
        code = set_text(e, pause_path(c), wish->pause, err);
    if (code == 0 && f->cni)
        code = set_text(e, PATH("plugins", c->cri, "cni", "bin_dir"), wish->cni_bins, err);
    return code;
}

int containerd_mend(const char *text, size_t n, const struct containerd_wish *wish, char **out,
                    size_t *out_bytes, struct err *err)
{
    struct edit e = {.text = malloc(n + 1), .n = n};
    struct containerd_faults f, left;
    struct config c;
    int code = containerd_look(text, n, wish, &f, err);

    if (code == 0 && !e.text)
        code = err_set(err, KPEER_ENOMEM, "out of memory");
    if (code == 0) {
        memcpy(e.text, text, n);
        e.text[n] = 0;
        code = open_config(&c, text, n, err);
    }
    code = code ? code : mend_all(&e, &c, &f, wish, err);
    /* Read again: what was made must be understood, and be without faults. */
    code = code ? code : containerd_look(e.text, e.n, wish, &left, err);
    if (code == 0 && (left.disabled || left.cgroups || left.pause || left.cni))
        code = err_set(err, KPEER_EINVAL, "it cannot be brought into the form that is needed");
    if (code) {
        free(e.text);
        return code;
    }
    *out = e.text;
    *out_bytes = e.n;
    return 0;
}
