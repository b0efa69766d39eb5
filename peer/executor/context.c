#include "peer/executor/context.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "protocol/mem.h"

#define ARGV_MAX   64
#define APT_HELPER "/usr/lib/apt/apt-helper" /* it is on no search path */

static const char *const tool_names[TOOL_COUNT] = {
    [TOOL_KUBEADM] = "kubeadm",
    [TOOL_KUBECTL] = "kubectl",
    [TOOL_KUBELET] = "kubelet",
    [TOOL_SYSTEMCTL] = "systemctl",
    [TOOL_CRICTL] = "crictl",
    [TOOL_CTR] = "ctr",
    [TOOL_IP] = "ip",
    [TOOL_IPTABLES_SAVE] = "iptables-save",
    [TOOL_IPTABLES_RESTORE] = "iptables-restore",
    [TOOL_PING] = "ping",
    [TOOL_MODPROBE] = "modprobe",
    [TOOL_DOCKER] = "docker",
    [TOOL_TAR] = "tar",
    [TOOL_APT_GET] = "apt-get",
    [TOOL_APT_CACHE] = "apt-cache",
    [TOOL_APT_MARK] = "apt-mark",
    [TOOL_APT_HELPER] = "apt-helper",
    [TOOL_DPKG] = "dpkg",
    [TOOL_DPKG_DEB] = "dpkg-deb",
    [TOOL_DPKG_QUERY] = "dpkg-query",
    [TOOL_SWAPON] = "swapon",
    [TOOL_SWAPOFF] = "swapoff",
    [TOOL_UFW] = "ufw",
    [TOOL_FIREWALL_CMD] = "firewall-cmd",
    [TOOL_NFT] = "nft",
};

const char *executor_tool_name(enum executor_tool tool)
{
    return (unsigned)tool < TOOL_COUNT ? tool_names[tool] : "unknown";
}

const char *exec_tool(const struct exec_ctx *ctx, enum executor_tool tool)
{
    if ((unsigned)tool < TOOL_COUNT && ctx->cfg->tools[tool][0])
        return ctx->cfg->tools[tool];
    if (tool == TOOL_APT_HELPER)
        return APT_HELPER;
    return executor_tool_name(tool);
}

uint32_t exec_left_ms(const struct exec_ctx *ctx)
{
    uint64_t now = clock_ms();

    if (now >= ctx->deadline_ms)
        return 0;
    return ctx->deadline_ms - now < UINT32_MAX ? (uint32_t)(ctx->deadline_ms - now) : UINT32_MAX;
}

static void tell(struct exec_ctx *ctx, const char *phase, int32_t percent, const char *line, size_t n)
{
    struct step_progress p = {.id = ctx->step_id, .kind = ctx->kind, .percent = percent};

    if (!ctx->progress)
        return;
    if (phase)
        spawn_escape(p.phase, sizeof(p.phase), phase, strlen(phase));
    spawn_escape(p.line, sizeof(p.line), line, n);
    ctx->progress(ctx->progress_arg, &p);
}

void exec_say(struct exec_ctx *ctx, const char *phase, int32_t percent, const char *fmt, ...)
{
    char line[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    tell(ctx, phase, percent, line, strlen(line));
}

void exec_on_line(void *ctx, bool is_stderr, const char *line)
{
    (void)is_stderr;
    if (*line)
        tell(ctx, NULL, -1, line, strlen(line));
}

void exec_say_document(struct exec_ctx *ctx, const char *what, const char *text)
{
    exec_say(ctx, "document", -1, "would use %s:", what);
    while (*text) {
        size_t n = strcspn(text, "\n");

        if (n)
            tell(ctx, "document", -1, text, n);
        text += n + (text[n] == '\n');
    }
}

/* The command as a person would type it, for the rehearsal; nothing runs this text. */
static void say_command(struct exec_ctx *ctx, const char *program, const char *const *argv)
{
    char line[SPAWN_LINE_BYTES];
    size_t used = (size_t)snprintf(line, sizeof(line), "would run: %s", program);

    for (size_t i = 1; argv[i] && used < sizeof(line); i++) {
        const char *quote = argv[i][0] && !strpbrk(argv[i], " '\"\\$*?;&|<>()") ? "" : "'";

        used += (size_t)snprintf(line + used, sizeof(line) - used, " %s%s%s", quote, argv[i], quote);
    }
    exec_say(ctx, "command", -1, "%s", line);
}

/* Nothing was run: an empty success. */
static int rehearse(struct exec_ctx *ctx, const char *program, const char *const *argv,
                    struct spawn_result *res, struct err *err)
{
    say_command(ctx, program, argv);
    memset(res, 0, sizeof(*res));
    res->out = calloc(1, 1);
    res->errout = calloc(1, 1);
    return res->out && res->errout ? 0 : err_set(err, KPEER_ENOMEM, "out of memory");
}

int exec_run(struct exec_ctx *ctx, const struct exec_run *run, struct spawn_result *res, struct err *err)
{
    const char *argv[ARGV_MAX] = {executor_tool_name(run->tool)};
    const char *program = exec_tool(ctx, run->tool);
    uint32_t left = exec_left_ms(ctx);
    struct spawn_request req = {.program = program,
                                .argv = argv,
                                .input = run->input,
                                .input_bytes = run->input_bytes,
                                .kubeconfig = run->kubeconfig,
                                .env = run->env,
                                .secret_output = run->secret_output,
                                .constant = run->constant,
                                .on_line = run->quiet     ? NULL
                                           : run->on_line ? run->on_line
                                                          : exec_on_line,
                                .ctx = ctx};

    memset(res, 0, sizeof(*res));
    for (size_t i = 1; run->argv[0] && run->argv[i]; i++) {
        if (i + 1 >= ARGV_MAX)
            return err_set(err, KPEER_ELIMIT, "too many arguments for %s", program);
        argv[i] = run->argv[i];
    }
    if (ctx->dry_run && !run->read_only)
        return rehearse(ctx, program, argv, res, err);
    if (left == 0)
        return err_set(err, KPEER_ETIMEOUT, "no time was left for %s", program);
    req.timeout_ms = run->timeout_ms && run->timeout_ms < left ? run->timeout_ms : left;
    return spawn_check(&req, res, err);
}

int exec_path(const struct exec_ctx *ctx, const char *path, char *out, size_t out_bytes, struct err *err)
{
    int used = snprintf(out, out_bytes, "%s%s", ctx->cfg->root, path);

    if (used < 0 || (size_t)used >= out_bytes)
        return err_set(err, KPEER_ELIMIT, "the path %s%s is too long", ctx->cfg->root, path);
    return 0;
}

int exec_pause(struct exec_ctx *ctx, uint32_t ms, struct err *err)
{
    uint32_t left = exec_left_ms(ctx);
    int code = spawn_pause(ms < left ? ms : left, err);

    if (code)
        return code;
    if (exec_left_ms(ctx) == 0)
        return err_set(err, KPEER_ETIMEOUT, "the time for step %s ran out", step_word(ctx->kind));
    return 0;
}
