#include "peer/command/collect.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "peer/config/config_report.h"
#include "peer/executor/journal.h"
#include "peer/executor/spawn.h"
#include "peer/command/redact.h"
#include "peer/ending.h"
#include "peer/report.h"
#include "protocol/clock.h"
#include "protocol/keytext.h"
#include "protocol/mem.h"

#define ARGS_MAX   24
#define LIMIT_MS   10000
#define GRACE_MS   1000
#define ADMIN_CONF "/etc/kubernetes/admin.conf"

/* A file of the report and what is run for it. "kpeer" is this program, with the folders that it was given;
 * {state} and {run} are these folders. */
struct item {
    const char *file;
    uint32_t limit_ms; /* 0: LIMIT_MS */
    const char *argv[16];
};

/* clang-format off: a table */
static const struct item items[] = {
    {"kpeer/version.txt", 0, {"kpeer", "version"}},
    {"kpeer/status.json", 0, {"kpeer", "status", "-o", "json"}},
    {"kpeer/members.json", 0, {"kpeer", "members", "-o", "json"}},
    {"kpeer/events.jsonl", 0, {"kpeer", "events", "--no-follow", "-o", "json"}},
    {"kpeer/metrics.txt", 0, {"kpeer", "metrics"}},
    {"kpeer/preflight.json", 60000, {"kpeer", "preflight", "-o", "json"}},
    {"kpeer/why.json", 60000, {"kpeer", "why", "-o", "json"}},
    {"kpeer/images.json", 30000, {"kpeer", "images", "list", "-o", "json"}},
    {"kpeer/files.txt", 0, {"ls", "-lR", "{state}", "{run}"}},
    {"kpeer/agent.log", 0, {"tail", "-n", "10000", "{state}/agent.log"}},
    {"logs/kpeer.txt",
     0,
     {"journalctl", "--no-pager", "-o", "short-iso-precise", "-n", "10000", "-u", "kpeer.service"}},
    {"logs/kubelet.txt",
     0,
     {"journalctl", "--no-pager", "-o", "short-iso-precise", "-n", "2000", "-u", "kubelet.service"}},
    {"logs/runtime.txt",
     0,
     {"journalctl", "--no-pager", "-o", "short-iso-precise", "-n", "1000", "-u", "containerd.service", "-u",
      "docker.service", "-u", "cri-docker.service", "-u", "crio.service"}},
    {"logs/kernel.txt", 0, {"journalctl", "--no-pager", "-o", "short-iso-precise", "-n", "500", "-k"}},
    {"units/status.txt",
     0,
     {"systemctl", "status", "--no-pager", "--full", "--lines=0", "kpeer.service", "kubelet.service",
      "containerd.service", "docker.service", "crio.service"}},
    {"units/texts.txt", 0, {"systemctl", "cat", "--no-pager", "kpeer.service", "kubelet.service"}},
    {"units/failed.txt", 0, {"systemctl", "list-units", "--no-pager", "--failed"}},
    {"system/kernel.txt", 0, {"uname", "-a"}},
    {"system/os-release.txt", 0, {"cat", "/etc/os-release"}},
    {"system/host.txt", 0, {"hostnamectl", "status"}},
    {"system/clock.txt", 0, {"timedatectl", "status"}},
    {"system/uptime.txt", 0, {"uptime"}},
    {"system/cpu.txt", 0, {"lscpu"}},
    {"system/memory.txt", 0, {"cat", "/proc/meminfo"}},
    {"system/swaps.txt", 0, {"cat", "/proc/swaps"}},
    {"system/disks.txt", 0, {"df", "-hT"}},
    {"system/mounts.txt", 0, {"cat", "/proc/mounts"}},
    {"system/modules.txt", 0, {"cat", "/proc/modules"}},
    {"system/cgroups.txt", 0, {"cat", "/proc/cgroups"}},
    {"network/addresses.txt", 0, {"ip", "-d", "address"}},
    {"network/routes.txt", 0, {"ip", "route", "show", "table", "all"}},
    {"network/rules.txt", 0, {"ip", "rule"}},
    {"network/neighbours.txt", 0, {"ip", "neighbour"}},
    {"network/multicast.txt", 0, {"ip", "maddress"}},
    {"network/sockets.txt", 0, {"ss", "-tuanp"}},
    {"network/iptables.txt", 0, {"iptables-save"}},
    {"network/resolv.conf", 0, {"cat", "/etc/resolv.conf"}},
    {"network/hosts", 0, {"cat", "/etc/hosts"}},
    {"versions/kubeadm.txt", 0, {"kubeadm", "version", "-o", "short"}},
    {"versions/kubelet.txt", 0, {"kubelet", "--version"}},
    {"versions/kubectl.txt", 0, {"kubectl", "version", "--client"}},
    {"versions/containerd.txt", 0, {"containerd", "--version"}},
    {"versions/docker.txt", 0, {"docker", "--version"}},
    {"versions/crictl.txt", 0, {"crictl", "--version"}},
    {"versions/packages.txt",
     0,
     {"dpkg-query", "-W", "kpeer", "kube*", "cri-*", "containerd*", "docker*", "runc", "conntrack",
      "iptables", "nftables", "libzmq5", "libsodium23"}},
    {"cluster/containers.txt", 0, {"crictl", "ps", "-a"}},
    {"cluster/nodes.txt", 0, {"kubectl", "get", "nodes", "-o", "wide", "--request-timeout=8s"}},
    {"cluster/pods.txt", 0, {"kubectl", "get", "pods", "-A", "-o", "wide", "--request-timeout=8s"}},
    {"cluster/events.txt", 0, {"kubectl", "get", "events", "-A", "--request-timeout=8s"}},
};
/* clang-format on */

struct collect {
    const struct collect_order *order;
    struct collect_sum *sum;
    struct redact *redact;
    FILE *contents;
    uint64_t end_ms;
};

/* ---- files ---- */

/* DIR/NAME, and the folder that it lies in. */
static FILE *open_file(const struct collect *c, const char *name, struct err *err)
{
    char path[PATH_MAX];
    FILE *to;

    snprintf(path, sizeof path, "%s/%s", c->order->dir, name);
    if (strchr(name, '/')) {
        char *slash = strrchr(path, '/');

        *slash = '\0';
        if (mkdir(path, 0755) && errno != EEXIST) {
            err_errno(err, errno, "%s", path);
            return NULL;
        }
        *slash = '/';
    }
    to = fopen(path, "wxe");
    if (!to)
        err_errno(err, errno, "%s", path);
    return to;
}

static int put(struct collect *c, FILE *to, const char *text, size_t n, struct err *err)
{
    cleanup_free char *clean = NULL;
    size_t clean_bytes = 0, removed = 0;
    int code = redact_text(c->redact, text, n, &clean, &clean_bytes, &removed, err);

    if (!code && fwrite(clean, 1, clean_bytes, to) != clean_bytes)
        code = err_set(err, KPEER_EIO, "the report cannot be written");
    if (!code)
        c->sum->removed += removed;
    return code;
}

/* A whole file; an empty one is not worth having. */
static int put_file(struct collect *c, const char *name, const char *text, size_t n, const char *errout,
                    size_t errout_bytes, struct err *err)
{
    static const char between[] = "\n--- standard error ---\n";
    FILE *to;
    int code;

    if (!n && !errout_bytes)
        return 0;
    to = open_file(c, name, err);
    if (!to)
        return KPEER_EIO;
    code = put(c, to, text, n, err);
    if (!code && errout_bytes && fputs(between, to) >= 0)
        code = put(c, to, errout, errout_bytes, err);
    if (fclose(to) && !code)
        code = err_errno(err, errno, "%s", name);
    c->sum->files += !code;
    return code;
}

/* A line of the list of contents; the command is as it was run. */
static int note(struct collect *c, const char *file, const char *how, uint64_t ms, const char *const *argv,
                struct err *err)
{
    char line[1024];
    size_t used = (size_t)snprintf(line, sizeof line, "%-24s %-38s %3u.%u s ", file, how,
                                   (unsigned)(ms / 1000), (unsigned)(ms % 1000 / 100));

    for (; argv && *argv && used < sizeof line; argv++)
        used += (size_t)snprintf(line + used, sizeof line - used, " %s", *argv);
    return put(c, c->contents, line, strlen(line), err) || fputc('\n', c->contents) == EOF
               ? err_set(err, KPEER_EIO, "the report cannot be written")
               : 0;
}

/* ---- commands ---- */

struct words {
    const char *argv[ARGS_MAX];
    size_t n;
    char text[ARGS_MAX][CONFIG_PATH_BYTES + 32];
};

static void add_word(struct words *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add_word(struct words *w, const char *fmt, ...)
{
    va_list ap;

    if (w->n + 1 >= ARGS_MAX)
        return;
    va_start(ap, fmt);
    vsnprintf(w->text[w->n], sizeof w->text[w->n], fmt, ap);
    va_end(ap);
    w->argv[w->n] = w->text[w->n];
    w->argv[++w->n] = NULL;
}

static void fill_words(const struct collect_order *o, const struct item *item, struct words *w)
{
    *w = (struct words){.n = 0};
    for (size_t i = 0; item->argv[i]; i++) {
        const char *word = item->argv[i];
        bool state = strncmp(word, "{state}", 7) == 0, run = strncmp(word, "{run}", 5) == 0;

        add_word(w, "%s%s",
                 state ? o->cfg->state_dir
                 : run ? o->cfg->run_dir
                       : "",
                 word + (state ? 7
                         : run ? 5
                               : 0));
    }
    if (strcmp(item->argv[0], "kpeer") != 0)
        return;
    add_word(w, "--state-dir=%s", o->cfg->state_dir);
    add_word(w, "--run-dir=%s", o->cfg->run_dir);
    if (o->config_file)
        add_word(w, "--config=%s", o->config_file);
}

/* kpeer itself, a tool where the configuration says it is, or what is found by its name. */
static const char *program_of(const struct collect_order *o, const char *name)
{
    if (strcmp(name, "kpeer") == 0)
        return o->program;
    for (int tool = 0; tool < TOOL_COUNT; tool++)
        if (strcmp(executor_tool_name((enum executor_tool)tool), name) == 0 && o->cfg->tools[tool][0])
            return o->cfg->tools[tool];
    return name;
}

static void say_how(char out[static 64], int code, const struct spawn_result *res, uint32_t limit_ms)
{
    if (code == KPEER_ENOTFOUND)
        snprintf(out, 64, "no such program");
    else if (code == KPEER_ETIMEOUT)
        snprintf(out, 64, "not done after %u s", limit_ms / 1000);
    else if (code && res->signal)
        snprintf(out, 64, "ended by signal %d", res->signal);
    else if (code)
        snprintf(out, 64, "could not be run");
    else if (res->exit_status)
        snprintf(out, 64, "exit %d", res->exit_status);
    else
        snprintf(out, 64, "%s", res->truncated ? "cut" : res->out_bytes ? "ok" : "nothing");
}

static int run_item(struct collect *c, const struct item *item, struct err *err)
{
    uint64_t now = clock_ms(), left = c->end_ms > now ? c->end_ms - now : 0;
    uint32_t limit = item->limit_ms ? item->limit_ms : LIMIT_MS;
    bool kubectl = strcmp(item->argv[0], "kubectl") == 0;
    struct words w;
    struct spawn_result res = {.out = NULL};
    struct err why = {0};
    char how[64];
    int code, rc;

    fill_words(c->order, item, &w);
    if (left == 0)
        return note(c, item->file, "no time left", 0, w.argv, err);
    if (strncmp(item->file, "cluster/", 8) == 0 && kubectl && access(ADMIN_CONF, R_OK))
        return note(c, item->file, "no " ADMIN_CONF " to read", 0, w.argv, err);
    limit = left < limit ? (uint32_t)left : limit;
    const struct spawn_request req = {.program = program_of(c->order, item->argv[0]),
                                      .argv = w.argv,
                                      .kubeconfig = kubectl ? ADMIN_CONF : NULL,
                                      .timeout_ms = limit,
                                      .grace_ms = GRACE_MS,
                                      .secret_output = true}; /* until it was looked through */
    code = spawn_run(&req, &res, &why);
    say_how(how, code, &res, limit);
    if (code == KPEER_ECANCELED) {
        rc = err_set(err, KPEER_ECANCELED, "interrupted");
    } else {
        c->sum->missing += code != 0;
        rc = res.out ? put_file(c, item->file, res.out, res.out_bytes, res.errout, res.errout_bytes, err) : 0;
        rc = rc ? rc : note(c, item->file, how, clock_ms() - now, w.argv, err);
    }
    spawn_result_fini(&res);
    return rc;
}

/* ---- what no command tells ---- */

/* Every key that is set to something, and where that comes from. */
static int put_config(struct collect *c, struct err *err)
{
    const struct config *cfg = c->order->cfg;
    json_t *all = json_object();
    cleanup_free char *text = NULL;

    for (size_t i = 0; all && i < config_schema_count; i++) {
        json_t *value = config_report_value(cfg, &config_schema[i]);

        if (value)
            json_object_set_new(
                all, config_schema[i].key,
                json_pack("{s:o, s:s}", "value", value, "from", config_origin_word(cfg, &config_schema[i])));
    }
    text = all ? json_dumps(all, JSON_INDENT(2)) : NULL;
    json_decref(all);
    if (!text)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    int code = put_file(c, "kpeer/config.json", text, strlen(text), NULL, 0, err);
    return code ? code : note(c, "kpeer/config.json", "ok", 0, NULL, err);
}

/* How the last agent ended. */
static int put_ending(struct collect *c, struct err *err)
{
    struct err last = {0};
    char text[ERR_TEXT_BYTES + ERR_HINT_BYTES + 2];
    int n;

    if (ending_read(c->order->cfg->run_dir, &last))
        return note(c, "kpeer/ending.txt", "nothing", 0, NULL, err);
    n = snprintf(text, sizeof text, "%s\n%s\n", last.text, last.hint);
    int code = put_file(c, "kpeer/ending.txt", text, (size_t)n, NULL, 0, err);
    return code ? code : note(c, "kpeer/ending.txt", "ok", 0, NULL, err);
}

static void put_line(void *ctx, const char *text)
{
    fprintf(ctx, "%s\n", text);
}

/* The root side's journal, where there is one that may be read. */
static int put_journal(struct collect *c, struct err *err)
{
    char dir[CONFIG_PATH_BYTES + 16], path[CONFIG_PATH_BYTES + 32];
    struct journal *j = NULL;
    struct err why = {0};
    cleanup_free char *text = NULL;
    size_t n = 0;
    FILE *to;

    snprintf(dir, sizeof dir, "%s/executor", c->order->cfg->state_dir);
    snprintf(path, sizeof path, "%s/journal", dir);
    if (access(path, R_OK) || journal_open(dir, &j, &why)) {
        c->sum->missing++;
        return note(c, "kpeer/journal.txt", why.text[0] ? why.text : strerror(errno), 0, NULL, err);
    }
    to = open_memstream(&text, &n);
    if (to)
        journal_list(j, put_line, to);
    journal_close(j);
    if (!to || fclose(to))
        return err_set(err, KPEER_ENOMEM, "out of memory");
    int code = put_file(c, "kpeer/journal.txt", text, n, NULL, 0, err);
    return code ? code : note(c, "kpeer/journal.txt", n ? "ok" : "nothing", 0, NULL, err);
}

/* The group's key is not looked for by its form alone, where we can read it. */
static int know_key(struct redact *r, const char *path, struct err *err)
{
    char text[KEYTEXT_BYTES] = "", hex[2 * GROUP_KEY_BYTES + 1];
    struct secret *key = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), code = 0;
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    if (keytext_parse(text, &key, NULL) == 0) {
        char *from = strchr(text, ':') + 1;

        from[strcspn(from, ":")] = '\0';
        mem_hex(hex, secret_bytes(key), GROUP_KEY_BYTES);
        code = redact_add(r, from, err);
        code = code ? code : redact_add(r, hex, err);
        secret_free(key);
    }
    sodium_memzero(text, sizeof text);
    sodium_memzero(hex, sizeof hex);
    return code;
}

static int begin(struct collect *c, struct err *err)
{
    char host[256] = "", stamp[32];
    struct timespec now;

    gethostname(host, sizeof host - 1);
    clock_gettime(CLOCK_REALTIME, &now);
    report_time((int64_t)now.tv_sec * 1000000, stamp);
    c->contents = open_file(c, "contents.txt", err);
    if (!c->contents)
        return KPEER_EIO;
    fprintf(c->contents,
            "kpeer report of host %s at %s, kpeer " KPEER_VERSION ", made by user %u.\n\n"
            "What is or looks like a secret was replaced by " REDACT_MARK ". Names and addresses of hosts, "
            "networks and users\nare left in: look at it before you hand it on.\n\n"
            "FILE                     HOW                                       TOOK COMMAND\n",
            host, stamp, (unsigned)geteuid());
    return 0;
}

int collect_run(const struct collect_order *order, struct collect_sum *sum, struct err *err)
{
    struct collect c = {.order = order, .sum = sum, .end_ms = clock_ms() + COLLECT_TIME_MS};
    int code = redact_new(&c.redact, err);

    *sum = (struct collect_sum){.files = 0};
    if (!code)
        code = know_key(c.redact, order->cfg->key_file, err);
    if (!code)
        code = begin(&c, err);
    if (!code)
        code = put_config(&c, err);
    if (!code)
        code = put_ending(&c, err);
    if (!code)
        code = put_journal(&c, err);
    for (size_t i = 0; !code && i < COUNT_OF(items); i++) {
        if (order->told)
            order->told(order->ctx, items[i].file);
        code = run_item(&c, &items[i], err);
    }
    if (c.contents && fclose(c.contents) && !code)
        code = err_errno(err, errno, "the report cannot be written");
    redact_free(c.redact);
    return code;
}
