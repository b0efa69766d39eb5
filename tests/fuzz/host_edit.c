/* Files of the host that kpeer reads to change them: fstab, daemon.json, containerd's configuration, and what
 * tells how a host is after its next start. A change made twice is made once, and leaves the rest alone. */
#include <jansson.h>
#include <stdio.h>

#include "peer/executor/host/parse_boot.h"
#include "peer/executor/host/parse_daemon.h"
#include "peer/executor/host/parse_toml.h"
#include "tests/fuzz/fuzz.h"

/* ---- fstab ---- */

static void fstab(const uint8_t *bytes, size_t n)
{
    static const char mark[] = "# kpeer: ";
    cleanup_free char *text = fuzz_text(bytes, n), *once = NULL, *twice = NULL;
    size_t once_bytes = 0, twice_bytes = 0, marks = 0;
    char first[32];
    size_t count = parse_fstab_swaps(text, first, sizeof first);
    FUZZ_MUST(fuzz_ends(first, sizeof first) && fuzz_shows(first));
    if (parse_fstab_comment(text, n, &once, &once_bytes, NULL)) {
        FUZZ_MUST(strlen(text) != n);
        return;
    }
    FUZZ_MUST(parse_fstab_swaps(once, first, sizeof first) == 0 && !first[0]);
    FUZZ_MUST(parse_fstab_comment(once, once_bytes, &twice, &twice_bytes, NULL) == 0);
    FUZZ_MUST(once_bytes == twice_bytes && memcmp(once, twice, once_bytes) == 0);
    const char *at = text;
    for (const char *to = once; *to;) { /* all that was added are marks, at the start of lines */
        bool starts = to == once || to[-1] == '\n';
        if (starts && strncmp(to, mark, sizeof mark - 1) == 0 && strncmp(at, mark, sizeof mark - 1) != 0) {
            to += sizeof mark - 1;
            marks++;
        }
        FUZZ_MUST(*at++ == *to++);
    }
    FUZZ_MUST(*at == '\0' && marks == count);
}

/* ---- sysctl.d, modules-load.d, hosts, units, swap areas ---- */

static void boot(const uint8_t *bytes, size_t n)
{
    cleanup_free char *text = fuzz_text(bytes, n);
    cleanup_free char *more = malloc(n + 64);
    char value[32] = "", again[32];
    FUZZ_MUST(more);
    if (parse_sysctl_value(text, "net.ipv4.ip_forward", value, sizeof value))
        FUZZ_MUST(fuzz_ends(value, sizeof value) && fuzz_shows(value));
    /* The last line counts, whatever stands before it. */
    snprintf(more, n + 64, "%s\nnet/ipv4/ip_forward = 7\n", text);
    FUZZ_MUST(parse_sysctl_value(more, "net.ipv4.ip_forward", again, sizeof again) &&
              strcmp(again, "7") == 0);
    snprintf(more, n + 64, "%s\nbr-netfilter\n", text);
    FUZZ_MUST(parse_modules_load(more, "br_netfilter"));
    (void)parse_modules_loaded(text, "overlay");
    (void)parse_filesystem_known(text, "overlay");
    snprintf(more, n + 64, "%s\n127.0.1.1\tOther Node1 # x\n", text);
    FUZZ_MUST(parse_hosts_has(more, "node1"));
}

static void units(const uint8_t *bytes, size_t n)
{
    cleanup_free char *text = fuzz_text(bytes, n);
    struct parse_unit unit;
    bool found = false;
    size_t rounds = 0;
    for (const char *at = text; at; rounds++) {
        const char *next = parse_unit_next(at, &unit, &found);
        FUZZ_FIELD(unit.id);
        FUZZ_FIELD(unit.load);
        FUZZ_FIELD(unit.file);
        FUZZ_FIELD(unit.active);
        FUZZ_FIELD(unit.source);
        FUZZ_MUST(fuzz_shows(unit.id) && (found || !unit.id[0]));
        FUZZ_MUST(!next || (next > at && next <= text + n));
        at = next;
    }
    FUZZ_MUST(rounds <= n + 1);
}

static void swap_areas(const uint8_t *bytes, size_t n)
{
    cleanup_free char *text = fuzz_text(bytes, n);
    char area[64];
    int priority = 0;
    bool found = true;
    size_t count = 0;
    for (const char *at = text; at && found;) {
        const char *next = parse_swap_next(at, area, sizeof area, &priority, &found);
        FUZZ_MUST(!next || (next > at && next <= text + n));
        FUZZ_MUST(!found || (fuzz_ends(area, sizeof area) && area[0] == '/'));
        count += found;
        at = next;
    }
    FUZZ_MUST(count <= n);
}

/* ---- daemon.json ---- */

static bool is_ours(const char *key)
{
    static const char *const ours[] = {"exec-opts", "log-driver", "log-opts", "storage-driver"};
    for (size_t i = 0; i < COUNT_OF(ours); i++) {
        if (strcmp(key, ours[i]) == 0)
            return true;
    }
    return false;
}

static void daemon_json(const uint8_t *bytes, size_t n)
{
    cleanup_free char *text = fuzz_text(bytes, n), *once = NULL, *twice = NULL;
    size_t once_bytes = 0, twice_bytes = 0;
    bool same = false;
    const char *key;
    json_t *value;
    if (daemon_merge(text, n, &same, &once, &once_bytes, NULL) || same)
        return;
    FUZZ_MUST(once && strlen(once) == once_bytes);
    FUZZ_MUST(daemon_merge(once, once_bytes, &same, &twice, &twice_bytes, NULL) == 0 && same);
    json_t *before = json_loadb(text, n, 0, NULL), *after = json_loadb(once, once_bytes, 0, NULL);
    FUZZ_MUST(json_is_object(after));
    json_object_foreach(before, key, value)
    {
        FUZZ_MUST(is_ours(key) || json_equal(value, json_object_get(after, key)));
        FUZZ_MUST(json_object_get(after, key));
    }
    json_decref(before);
    json_decref(after);
}

/* ---- containerd's config.toml ---- */

#define CRI "io.containerd.grpc.v1.cri"

static const struct toml_path paths[] = {
    {{"version"}, 1},
    {{"plugins", CRI, "sandbox_image"}, 3},
    {{"plugins", CRI, "containerd", "runtimes", "runc", "options", "SystemdCgroup"}, 7},
    {{"plugins", CRI, "registry", "config_path"}, 4},
};
static const char *const values[] = {"2", "\"registry.k8s.io/pause:3.9\"", "true",
                                     "\"/etc/containerd/certs.d\""};
static const struct toml_path disabled = {{"disabled_plugins"}, 1};

/* How much two texts have in common at their starts and, beyond that, at their ends. */
static void in_common(const char *a, size_t a_bytes, const char *b, size_t b_bytes, size_t *head,
                      size_t *tail)
{
    size_t least = a_bytes < b_bytes ? a_bytes : b_bytes;
    for (*head = 0; *head < least && a[*head] == b[*head];)
        ++*head;
    for (*tail = 0; *tail < least - *head && a[a_bytes - 1 - *tail] == b[b_bytes - 1 - *tail];)
        ++*tail;
}

/* All other values are as they were, and of the text one place changed; nothing went where nothing was. */
static void rest_is_the_same(const char *text, size_t n, const char *fresh, size_t fresh_bytes, size_t which)
{
    struct toml_value before, after;
    size_t head, tail;
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        int code = toml_get(text, n, &paths[i], &before, NULL);
        FUZZ_MUST(i == which || toml_get(fresh, fresh_bytes, &paths[i], &after, NULL) == code);
        FUZZ_MUST(i == which || code || (before.kind == after.kind && strcmp(before.text, after.text) == 0));
    }
    FUZZ_MUST(toml_get(text, n, &paths[which], &before, NULL) == 0);
    in_common(text, n, fresh, fresh_bytes, &head, &tail);
    FUZZ_MUST(before.kind != TOML_ABSENT || head + tail == n);
    FUZZ_MUST((before.kind != TOML_BOOL && before.kind != TOML_NUMBER) ||
              !memchr(text + head, '\n', n - head - tail));
}

static void set_each(const char *text, size_t n)
{
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        cleanup_free char *once = NULL, *twice = NULL;
        size_t once_bytes = 0, twice_bytes = 0;
        struct toml_value v;
        if (toml_set(text, n, &paths[i], values[i], &once, &once_bytes, NULL))
            continue;
        FUZZ_MUST(toml_check(once, once_bytes, NULL) == 0);
        FUZZ_MUST(toml_get(once, once_bytes, &paths[i], &v, NULL) == 0);
        FUZZ_MUST(fuzz_ends(v.text, sizeof v.text) && strstr(values[i], v.text) && v.text[0]);
        FUZZ_MUST(toml_set(once, once_bytes, &paths[i], values[i], &twice, &twice_bytes, NULL) == 0);
        FUZZ_MUST(once_bytes == twice_bytes && memcmp(once, twice, once_bytes) == 0);
        rest_is_the_same(text, n, once, once_bytes, i);
    }
}

static void drop_one(const char *text, size_t n)
{
    cleanup_free char *once = NULL, *twice = NULL;
    size_t once_bytes = 0, twice_bytes = 0;
    bool has = false;
    if (toml_list_has(text, n, &disabled, "cri", &has, NULL))
        return;
    if (toml_list_drop(text, n, &disabled, "cri", &once, &once_bytes, NULL))
        return;
    FUZZ_MUST(toml_check(once, once_bytes, NULL) == 0);
    FUZZ_MUST(toml_list_has(once, once_bytes, &disabled, "cri", &has, NULL) == 0 && !has);
    FUZZ_MUST(toml_list_drop(once, once_bytes, &disabled, "cri", &twice, &twice_bytes, NULL) == 0);
    FUZZ_MUST(once_bytes == twice_bytes && memcmp(once, twice, once_bytes) == 0);
}

static void toml(const uint8_t *bytes, size_t n)
{
    cleanup_free char *text = fuzz_text(bytes, n);
    static const struct toml_path cri = {{"plugins", CRI}, 2};
    struct toml_value v;
    bool has = false;
    int understood = toml_check(text, n, NULL);
    int got = toml_get(text, n, &paths[0], &v, NULL);
    FUZZ_MUST(understood == 0 || got < 0);
    if (understood)
        return;
    FUZZ_MUST(toml_has_below(text, n, &cri, &has, NULL) == 0);
    set_each(text, n);
    drop_one(text, n);
}

const struct fuzz_target fuzz_host_edit[] = {
    {"fstab", "/etc/fstab, and its swap lines commented", 2048, fstab, NULL},
    {"boot", "sysctl.d, modules-load.d, /proc/modules, /proc/filesystems, /etc/hosts", 1024, boot, NULL},
    {"units", "systemctl show", 2048, units, NULL},
    {"swap_areas", "/proc/swaps, area by area", 1024, swap_areas, NULL},
    {"daemon_json", "Docker's daemon.json, merged", 2048, daemon_json, NULL},
    {"toml", "containerd's config.toml, read and changed", 2048, toml, NULL},
    {0},
};
