/* Kernel modules and settings: now, and after the next start. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/executor/host/check.h"
#include "peer/executor/host/look.h"
#include "peer/executor/host/mend.h"
#include "peer/executor/host/parse_boot.h"
#include "protocol/mem.h"

#define MODULES_FILE "/etc/modules-load.d/kpeer.conf"
#define MODULES_TEXT                                                                                         \
    "# Written by kpeer; \"kpeer leave\" takes it away.\n"                                                   \
    "overlay\n"                                                                                              \
    "br_netfilter\n"
#define SYSCTL_NAME "99-kpeer.conf"
#define SYSCTL_FILE "/etc/sysctl.d/" SYSCTL_NAME
#define SYSCTL_TEXT                                                                                          \
    "# Written by kpeer; \"kpeer leave\" takes it away.\n"                                                   \
    "net.bridge.bridge-nf-call-iptables = 1\n"                                                               \
    "net.bridge.bridge-nf-call-ip6tables = 1\n"                                                              \
    "net.ipv4.ip_forward = 1\n"

#define IP_FORWARD "/proc/sys/net/ipv4/ip_forward"
#define BRIDGE_4   "/proc/sys/net/bridge/bridge-nf-call-iptables"
#define BRIDGE_6   "/proc/sys/net/bridge/bridge-nf-call-ip6tables"

static const char *const modules[] = {"overlay", "br_netfilter"};

/* Loaded, or built into the kernel: what it brings is there. */
static bool module_works(const struct exec_ctx *ctx, const char *module)
{
    cleanup_free char *known = NULL;

    if (strcmp(module, "br_netfilter") == 0)
        return look_exists(ctx, "/proc/sys/net/bridge");
    known = look_text(ctx, "/proc/filesystems");
    return known && parse_filesystem_known(known, module);
}

static void look_modules(struct survey *s)
{
    char missing[48] = "";
    size_t used = 0;

    for (size_t i = 0; i < COUNT_OF(modules); i++) {
        if (!module_works(s->ctx, modules[i]))
            used += (size_t)snprintf(missing + used, sizeof(missing) - used, "%s%s", used ? ", " : "",
                                     modules[i]);
    }
    if (used)
        check_tell(s, FINDING_RED, "modprobe overlay br_netfilter", "not in the kernel: %s", missing);
    else
        check_tell(s, FINDING_GREEN, "", "overlay and br_netfilter are in the kernel");
}

static int load_module(struct exec_ctx *ctx, const char *module, struct err *err)
{
    struct journal_deed d = {.kind = DEED_MODULE, .before = "absent", .after = "loaded"};
    const char *const argv[] = {"", "--", module, NULL};
    int code;

    snprintf(d.name, sizeof(d.name), "%s", module);
    code = journal_note_deed(ctx->journal, &d, err);
    code = code ? code : mend_do(ctx, TOOL_MODPROBE, argv, err);
    if (code == KPEER_EIO)
        err_hint(err, "does this kernel have the module %s? In a container, load it on the machine below",
                 module);
    return code;
}

static int fix_modules(struct survey *s, struct err *err)
{
    int code = 0;

    for (size_t i = 0; i < COUNT_OF(modules) && code == 0; i++) {
        if (!module_works(s->ctx, modules[i]))
            code = load_module(s->ctx, modules[i], err);
    }
    return code;
}

const struct check check_modules = {
    .name = "modules",
    .why = "containers and Services are built on them",
    .mend = "load overlay and br_netfilter",
    .undo = "modules that were not loaded before are unloaded",
    .look = look_modules,
    .fix = fix_modules,
};

/* Whether a file of any of systemd's folders, or Debian's /etc/modules, names the module. */
static bool loaded_at_boot(const struct exec_ctx *ctx, const char *module)
{
    static const char *const dirs[] = {"/etc/modules-load.d", "/run/modules-load.d",
                                       "/usr/lib/modules-load.d"};
    cleanup_free char *own = look_text(ctx, "/etc/modules");
    bool named = own && parse_modules_load(own, module);

    for (size_t i = 0; i < COUNT_OF(dirs) && !named; i++) {
        struct look_names list;

        look_list(ctx, dirs[i], ".conf", &list);
        for (size_t k = 0; k < list.count && !named; k++) {
            cleanup_free char *text = look_in(ctx, dirs[i], list.names[k]);

            named = text && parse_modules_load(text, module);
        }
        look_names_free(&list);
    }
    return named;
}

/* Works without being a loaded module: it is built in and needs nobody to load it. */
static bool built_in(const struct exec_ctx *ctx, const char *module)
{
    cleanup_free char *loaded = look_text(ctx, "/proc/modules");

    return module_works(ctx, module) && !(loaded && parse_modules_loaded(loaded, module));
}

static void look_modules_boot(struct survey *s)
{
    for (size_t i = 0; i < COUNT_OF(modules); i++) {
        if (loaded_at_boot(s->ctx, modules[i]) || built_in(s->ctx, modules[i]))
            continue;
        check_tell(s, FINDING_WARN, "its name in a file in /etc/modules-load.d", "nothing loads %s at boot",
                   modules[i]);
        return;
    }
    check_tell(s, FINDING_GREEN, "", "overlay and br_netfilter are there after the next start");
}

static int fix_modules_boot(struct survey *s, struct err *err)
{
    return mend_file(s->ctx, MODULES_FILE, MODULES_TEXT, sizeof(MODULES_TEXT) - 1, 0644, err);
}

const struct check check_modules_boot = {
    .name = "modules-boot",
    .why = "after a restart this host would not work",
    .mend = "name overlay and br_netfilter in " MODULES_FILE,
    .undo = "the file is removed",
    .look = look_modules_boot,
    .fix = fix_modules_boot,
};

static bool is_set(const struct survey *s, const char *path)
{
    char value[16];

    return look_line(s->ctx, path, value, sizeof(value)) && strcmp(value, "1") == 0;
}

static void look_switch(struct survey *s, const char *path, const char *absent_next, const char *next)
{
    char value[16];

    if (!look_line(s->ctx, path, value, sizeof(value)))
        check_tell(s, FINDING_RED, absent_next, "%s is not there", path);
    else if (strcmp(value, "1") != 0)
        check_tell(s, FINDING_RED, next, "%s is %.15s", path, value);
    else
        check_tell(s, FINDING_GREEN, "", "%s is 1", path);
}

static void look_ip_forward(struct survey *s)
{
    look_switch(s, IP_FORWARD, "is /proc mounted?",
                "sysctl -w net.ipv4.ip_forward=1, and the same in a file in /etc/sysctl.d");
}

static int fix_ip_forward(struct survey *s, struct err *err)
{
    return mend_sysctl(s->ctx, IP_FORWARD, "1", err);
}

const struct check check_ip_forward = {
    .name = "ip-forward",
    .why = "pods reach other hosts only if this one forwards",
    .mend = "set net.ipv4.ip_forward to 1",
    .undo = "the old value is set again",
    .kubeadm = {"FileContent--proc-sys-net-ipv4-ip_forward"},
    .look = look_ip_forward,
    .fix = fix_ip_forward,
};

/* A kernel without IPv6 has no switch for it, and needs none. */
static void look_bridge(struct survey *s)
{
    bool six = !look_exists(s->ctx, BRIDGE_6) || is_set(s, BRIDGE_6);

    look_switch(s, six || !is_set(s, BRIDGE_4) ? BRIDGE_4 : BRIDGE_6,
                "modprobe br_netfilter, and its name in a file in /etc/modules-load.d",
                "sysctl -w net.bridge.bridge-nf-call-iptables=1 (and -ip6tables), also in /etc/sysctl.d");
}

static int fix_bridge(struct survey *s, struct err *err)
{
    int code = mend_sysctl(s->ctx, BRIDGE_4, "1", err);

    if (code == 0 && look_exists(s->ctx, BRIDGE_6))
        code = mend_sysctl(s->ctx, BRIDGE_6, "1", err);
    return code;
}

const struct check check_bridge = {
    .name = "bridge-netfilter",
    .why = "Services work only if bridged packets pass iptables",
    .mend = "set net.bridge.bridge-nf-call-iptables and -ip6tables to 1",
    .undo = "the old values are set again",
    .kubeadm = {"FileContent--proc-sys-net-bridge-bridge-nf-call-iptables"},
    .look = look_bridge,
    .fix = fix_bridge,
};

/* Where each setting comes from at boot. */
struct boot_value {
    char value[16];
    char file[96];
};

static void read_settings(const struct exec_ctx *ctx, const char *dir, const char *name, const char *key,
                          struct boot_value *v)
{
    cleanup_free char *text = look_in(ctx, dir, name);

    if (text && parse_sysctl_value(text, key, v->value, sizeof(v->value)))
        snprintf(v->file, sizeof(v->file), "%s/%s", dir, name);
}

/* The first folder that has a file of this name hides the others of that name. */
static void read_visible(const struct exec_ctx *ctx, const char *name, const char *key, struct boot_value *v)
{
    static const char *const dirs[] = {"/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d",
                                       "/usr/lib/sysctl.d"};

    for (size_t i = 0; i < COUNT_OF(dirs); i++) {
        char path[320];

        snprintf(path, sizeof(path), "%s/%.255s", dirs[i], name);
        if (look_exists(ctx, path)) {
            read_settings(ctx, dirs[i], name, key, v);
            return;
        }
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The value that a key has after the next start, and the file it is from: files in order of their names,
 * whatever the folder; /etc/sysctl.conf last, as sysctl --system has it. */
static void value_at_boot(const struct exec_ctx *ctx, const char *key, struct boot_value *v)
{
    struct look_names lists[3];
    const char *names[3 * LOOK_NAMES_MAX];
    size_t count = 0;

    memset(v, 0, sizeof(*v));
    look_list(ctx, "/etc/sysctl.d", ".conf", &lists[0]);
    look_list(ctx, "/run/sysctl.d", ".conf", &lists[1]);
    look_list(ctx, "/usr/lib/sysctl.d", ".conf", &lists[2]);
    for (size_t i = 0; i < COUNT_OF(lists); i++)
        for (size_t k = 0; k < lists[i].count; k++)
            names[count++] = lists[i].names[k];
    qsort(names, count, sizeof(names[0]), by_name);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || strcmp(names[i], names[i - 1]) != 0)
            read_visible(ctx, names[i], key, v);
    }
    read_settings(ctx, "/etc", "sysctl.conf", key, v);
    for (size_t i = 0; i < COUNT_OF(lists); i++)
        look_names_free(&lists[i]);
}

static void look_sysctl_boot(struct survey *s)
{
    static const char *const keys[] = {"net.ipv4.ip_forward", "net.bridge.bridge-nf-call-iptables",
                                       "net.bridge.bridge-nf-call-ip6tables"};
    struct boot_value v;

    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        value_at_boot(s->ctx, keys[i], &v);
        if (strcmp(v.value, "1") == 0)
            continue;
        if (v.value[0])
            check_tell(s, FINDING_WARN, "take the line out of that file: it counts more than " SYSCTL_NAME,
                       "%.40s is %.8s at boot by %.40s", keys[i], v.value, v.file);
        else
            check_tell(s, FINDING_WARN, "all three in a file in /etc/sysctl.d", "nothing sets %.40s at boot",
                       keys[i]);
        return;
    }
    check_tell(s, FINDING_GREEN, "", "the kernel settings stay after the next start");
}

static int fix_sysctl_boot(struct survey *s, struct err *err)
{
    return mend_file(s->ctx, SYSCTL_FILE, SYSCTL_TEXT, sizeof(SYSCTL_TEXT) - 1, 0644, err);
}

const struct check check_sysctl_boot = {
    .name = "sysctl-boot",
    .why = "after a restart pods would not be reached",
    .mend = "write the kernel settings to " SYSCTL_FILE,
    .undo = "the file is removed",
    .look = look_sysctl_boot,
    .fix = fix_sysctl_boot,
};
