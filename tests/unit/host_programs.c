/* The programs of the made-up host, as functions: a process for each of their thousands of calls was most of
 * the time of these tests. */
#include <dirent.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host_world.h"
#include "peer/executor/file.h"
#include "peer/executor/spawn.h"
#include "protocol/mem.h"

#define PATH_BYTES 512
#define TEXT_BYTES 65536

/* One call: arguments as $0, $1 …, each "" where there is none, and what is printed. */
struct call {
    const char *root;
    const char *arg[64];
    int count;
    char all[2048]; /* "$*" */
    FILE *out;
};

static void must(bool ok, const char *what)
{
    if (!ok) {
        perror(what);
        abort();
    }
}

static const char *arg(const struct call *c, int i)
{
    return i < c->count ? c->arg[i] : "";
}

__attribute__((format(printf, 3, 4))) static void below(const struct call *c, char *path, const char *fmt,
                                                        ...)
{
    int used = snprintf(path, PATH_BYTES, "%s", c->root);
    va_list ap;

    va_start(ap, fmt);
    used += vsnprintf(path + used, (size_t)(PATH_BYTES - used), fmt, ap);
    va_end(ap);
    must(used < PATH_BYTES, "path");
}

static char *text_of(const char *path) /* NULL where there is no such file */
{
    char *text = NULL;
    size_t n;

    return file_read(path, TEXT_BYTES, &text, &n, NULL) == 0 ? text : NULL;
}

/* As the shell does, in place: `mode` is that of fopen. */
__attribute__((format(printf, 3, 4))) static void put(const char *path, const char *mode, const char *fmt,
                                                      ...)
{
    FILE *file = fopen(path, mode);
    va_list ap;

    must(file != NULL, path);
    va_start(ap, fmt);
    vfprintf(file, fmt, ap);
    va_end(ap);
    must(fclose(file) == 0, path);
}

/* Whether a line is this one, or, where `is_start`, begins with it. */
static bool matches(const char *line, size_t n, const char *wanted, bool is_start)
{
    size_t m = strlen(wanted);

    return (is_start ? n >= m : n == m) && memcmp(line, wanted, m) == 0;
}

static bool has_line(const char *path, const char *wanted, bool is_start)
{
    cleanup_free char *text = text_of(path);
    size_t n;

    for (const char *line = text; line && *line; line += n + (line[n] != 0)) {
        n = strcspn(line, "\n");
        if (matches(line, n, wanted, is_start))
            return true;
    }
    return false;
}

static void drop_lines(const char *path, const char *unwanted, bool is_start)
{
    cleanup_free char *text = text_of(path);
    size_t n;

    must(text != NULL, path);
    put(path, "w", "%s", "");
    for (const char *line = text; *line; line += n + (line[n] != 0)) {
        n = strcspn(line, "\n");
        if (!matches(line, n, unwanted, is_start))
            put(path, "a", "%.*s\n", (int)n, line);
    }
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

void world_remove(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int play_kubeadm(struct call *c)
{
    fputs(strstr(c->all, "images") ? "registry.k8s.io/pause:3.9\n" : "v1.28.2\n", c->out);
    return 0;
}

static int play_kubelet(struct call *c)
{
    fputs("Kubernetes v1.28.2\n", c->out);
    return 0;
}

static int play_kubectl(struct call *c)
{
    (void)c;
    return 0;
}

/* No package is known here; those of this machine are not the host's. */
static int play_dpkg_query(struct call *c)
{
    (void)c;
    return 1;
}

static int play_modprobe(struct call *c)
{
    bool is_removal = strcmp(arg(c, 1), "-r") == 0, is_overlay = strcmp(arg(c, 2), "overlay") == 0;
    char modules[PATH_BYTES], path[PATH_BYTES], start[PATH_BYTES];

    below(c, modules, "/proc/modules");
    snprintf(start, sizeof(start), "%s ", arg(c, 2));
    if (is_removal)
        drop_lines(modules, start, true);
    else if (!has_line(modules, start, true))
        put(modules, "a", "%s1 0 - Live 0\n", start);
    if (is_overlay) {
        below(c, path, "/proc/filesystems");
        put(path, "w", "nodev\tproc\n%s", is_removal ? "" : "nodev\toverlay\n");
        return 0;
    }
    below(c, path, "/proc/sys/net/bridge");
    if (is_removal) {
        world_remove(path);
        return 0;
    }
    mkdir(path, 0755);
    below(c, path, "/proc/sys/net/bridge/bridge-nf-call-iptables");
    put(path, "w", "0\n");
    below(c, path, "/proc/sys/net/bridge/bridge-nf-call-ip6tables");
    put(path, "w", "0\n");
    return 0;
}

static int play_swapoff(struct call *c)
{
    char swaps[PATH_BYTES];

    below(c, swaps, "/proc/swaps");
    drop_lines(swaps, arg(c, 2), true);
    return 0;
}

static int play_swapon(struct call *c)
{
    bool has_priority = strcmp(arg(c, 1), "-p") == 0;
    char swaps[PATH_BYTES];

    below(c, swaps, "/proc/swaps");
    put(swaps, "a", "%s\tfile\t1024\t0\t%s\n", arg(c, has_priority ? 4 : 2), has_priority ? arg(c, 2) : "-2");
    return 0;
}

static int play_ufw(struct call *c)
{
    char added[PATH_BYTES], rule[sizeof(c->all) + 16];
    cleanup_free char *text = NULL;

    below(c, added, "/etc/ufw/added");
    text = text_of(added);
    if (strcmp(c->all, "status") == 0 || strcmp(c->all, "show added") == 0) {
        if (text)
            fputs(c->all[1] == 't' ? "Status: active\n" : text, c->out);
        return 0;
    }
    if (strncmp(c->all, "delete ", 7) == 0 || strncmp(c->all, "route delete ", 13) == 0) {
        bool is_route = c->all[0] == 'r';

        snprintf(rule, sizeof(rule), "ufw %s%s", is_route ? "route " : "", c->all + (is_route ? 13 : 7));
        drop_lines(added, rule, false);
        return 0;
    }
    snprintf(rule, sizeof(rule), "ufw %s", c->all);
    if (!has_line(added, rule, false))
        put(added, "a", "%s\n", rule);
    return 0;
}

/* The two words in a unit's file: whether it is enabled and whether it runs. */
static bool unit_words(const struct call *c, const char *unit, char enabled[32], char active[32])
{
    char path[PATH_BYTES];
    cleanup_free char *text = NULL;

    below(c, path, "/units/%s", unit);
    text = text_of(path);
    enabled[0] = active[0] = 0;
    return text && sscanf(text, "%31s %31s", enabled, active) >= 0;
}

static void show_unit(struct call *c, const char *unit)
{
    char enabled[32], active[32];

    if (!unit_words(c, unit, enabled, active))
        fprintf(c->out, "Id=%s\nLoadState=not-found\n\n", unit);
    else
        fprintf(c->out, "Id=%s\nLoadState=loaded\nUnitFileState=%s\nActiveState=%s\nSourcePath=\n\n", unit,
                enabled, active);
}

static int show_units(struct call *c)
{
    int from = 6;

    if (strcmp(arg(c, from), "*.swap") == 0) {
        char path[PATH_BYTES];
        struct dirent **entries;
        int n, shown = 0;

        below(c, path, "/units");
        n = scandir(path, &entries, NULL, alphasort);
        for (int i = 0; i < n; i++) {
            const char *end = strrchr(entries[i]->d_name, '.');

            if (end && strcmp(end, ".swap") == 0) {
                show_unit(c, entries[i]->d_name);
                shown++;
            }
            free(entries[i]);
        }
        free(entries);
        if (!shown)
            show_unit(c, arg(c, from));
        from++;
    }
    for (int i = from; i < c->count; i++)
        show_unit(c, c->arg[i]);
    return 0;
}

static int play_systemctl(struct call *c)
{
    const char *verb = arg(c, 1), *unit = c->arg[c->count - 1];
    char enabled[32], active[32], path[PATH_BYTES];

    if (strcmp(verb, "show") == 0)
        return show_units(c);
    if (!unit_words(c, unit, enabled, active))
        return 5;
    below(c, path, "/tools/was.%s", unit);
    if (strcmp(verb, "is-active") == 0)
        return strcmp(active, "active") == 0 ? 0 : 1;
    if (strcmp(verb, "enable") == 0) {
        strcpy(enabled, "enabled");
    } else if (strcmp(verb, "disable") == 0) {
        strcpy(enabled, "disabled");
    } else if (strcmp(verb, "mask") == 0) {
        if (strcmp(enabled, "masked") != 0)
            put(path, "w", "%s\n", enabled);
        strcpy(enabled, "masked");
    } else if (strcmp(verb, "unmask") == 0) {
        cleanup_free char *was = text_of(path);

        enabled[0] = 0;
        if (was)
            sscanf(was, "%31s", enabled);
    } else if (strcmp(verb, "start") == 0) {
        strcpy(active, "active");
    } else if (strcmp(verb, "stop") == 0) {
        strcpy(active, "inactive");
    } else if (strcmp(verb, "restart") == 0) {
        below(c, path, "/tools/restarts");
        put(path, "a", "%s\n", unit);
    } else {
        return 1;
    }
    below(c, path, "/units/%s", unit);
    put(path, "w", "%s %s\n", enabled, active);
    return 0;
}

static const struct {
    enum executor_tool tool;
    int (*play)(struct call *c);
} programs[] = {
    {TOOL_KUBEADM, play_kubeadm},   {TOOL_KUBELET, play_kubelet},     {TOOL_KUBECTL, play_kubectl},
    {TOOL_MODPROBE, play_modprobe}, {TOOL_SWAPOFF, play_swapoff},     {TOOL_SWAPON, play_swapon},
    {TOOL_UFW, play_ufw},           {TOOL_SYSTEMCTL, play_systemctl}, {TOOL_DPKG_QUERY, play_dpkg_query},
};

void world_make_programs(struct world *w)
{
    for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++) {
        char name[96];

        snprintf(name, sizeof(name), "/tools/%s", executor_tool_name(programs[i].tool));
        world_write(w, name, "", 0755);
        strcat(strcpy(w->cfg.tools[programs[i].tool], w->root), name);
    }
}

/* Splits ROOT/tools/NAME; the function behind it, NULL where it is a script or no program of a made-up host.
 */
static int (*find(const char *path, char *root))(struct call *c)
{
    const char *tools = strstr(path, "/tools/");
    struct stat st;

    if (!tools || stat(path, &st) || st.st_size != 0)
        return NULL;
    for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++) {
        if (strcmp(tools + 7, executor_tool_name(programs[i].tool)) == 0) {
            snprintf(root, PATH_BYTES, "%.*s", (int)(tools - path), path);
            return programs[i].play;
        }
    }
    return NULL;
}

static void tell_lines(const struct spawn_request *req, const char *text)
{
    char line[SPAWN_LINE_BYTES];
    size_t n;

    for (; req->on_line && !req->secret_output && *text; text += n + (text[n] != 0)) {
        n = strcspn(text, "\n");
        spawn_escape(line, sizeof(line), text, n);
        req->on_line(req->ctx, false, line);
    }
}

bool world_play(const struct spawn_request *req, struct spawn_result *res, int *code, struct err *err)
{
    char root[PATH_BYTES];
    struct call c = {.root = root};
    int (*play)(struct call * c) = find(req->program, root);
    size_t used = 0;

    if (!play)
        return false;
    for (; req->argv[c.count]; c.count++) {
        must(c.count + 1 < (int)(sizeof(c.arg) / sizeof(c.arg[0])), "arguments");
        c.arg[c.count] = req->argv[c.count];
        if (c.count > 0)
            used += (size_t)snprintf(c.all + used, sizeof(c.all) - used, "%s%s", used ? " " : "",
                                     req->argv[c.count]);
        must(used < sizeof(c.all), "arguments");
    }
    memset(res, 0, sizeof(*res));
    c.out = open_memstream(&res->out, &res->out_bytes);
    must(c.out != NULL, "memory");
    res->exit_status = play(&c);
    must(fclose(c.out) == 0, "memory");
    res->errout = strdup("");
    must(res->errout != NULL, "memory");
    tell_lines(req, res->out);
    *code = res->exit_status == 0
                ? 0
                : err_set(err, KPEER_EIO, "%s ended with status %d", req->program, res->exit_status);
    return true;
}
