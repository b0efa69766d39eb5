#include "peer/executor/host/mend.h"

#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#define RUN_MS 120000

int mend_file(struct exec_ctx *ctx, const char *path, const char *text, size_t n, mode_t mode,
              struct err *err)
{
    char full[PATH_MAX];
    struct stat st;
    int code = exec_path(ctx, path, full, sizeof(full), err);

    if (code)
        return code;
    if (stat(full, &st) == 0)
        mode = st.st_mode & 07777;
    return journal_replace_file(ctx->journal, full, text, n, mode, err);
}

int mend_sysctl(struct exec_ctx *ctx, const char *path, const char *value, struct err *err)
{
    char full[PATH_MAX];
    int code = exec_path(ctx, path, full, sizeof(full), err);

    return code ? code : journal_set_sysctl(ctx->journal, full, value, err);
}

int mend_run(struct exec_ctx *ctx, enum executor_tool tool, const char *const *argv, bool read_only,
             struct spawn_result *res, struct err *err)
{
    const struct exec_run run = {
        .tool = tool, .argv = argv, .timeout_ms = RUN_MS, .quiet = true, .read_only = read_only};

    memset(res, 0, sizeof(*res));
    if (ctx->cfg->root[0] && !ctx->cfg->tools[tool][0])
        return err_set(err, KPEER_ENOTFOUND, "there is no program %s", executor_tool_name(tool));
    return exec_run(ctx, &run, res, err);
}

int mend_do(struct exec_ctx *ctx, enum executor_tool tool, const char *const *argv, struct err *err)
{
    struct spawn_result res;
    int code = mend_run(ctx, tool, argv, false, &res, err);

    spawn_result_fini(&res);
    return code;
}
