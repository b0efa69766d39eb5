/* Mending a host: each check looks, mends what can be mended and looks again. */
#include <stdio.h>
#include <string.h>

#include "peer/executor/host/check.h"
#include "peer/executor/host/host.h"

static enum finding_level worst_since(const struct survey *s, size_t at)
{
    enum finding_level worst = FINDING_GREEN;

    for (size_t i = at; i < s->count; i++)
        worst = s->findings[i].level > worst ? s->findings[i].level : worst;
    return worst;
}

static int stopped(struct exec_ctx *ctx, struct err *err)
{
    if (spawn_canceled())
        return err_set(err, KPEER_ECANCELED, "stopped on request");
    if (exec_left_ms(ctx) == 0)
        return err_set(err, KPEER_ETIMEOUT, "the time to mend this host ran out");
    return 0;
}

/* One that could not be mended does not keep the others from being mended: the second look tells of it. */
static void mend(struct survey *s, int32_t percent)
{
    const struct check *c = s->check;
    struct err e = {0};

    exec_say(s->ctx, "fix", percent, "%s: %s", c->name, c->mend);
    if (c->fix(s, &e) == 0)
        return;
    exec_say(s->ctx, "fix", percent, "%s: %s", c->name, e.text);
    if (e.hint[0])
        exec_say(s->ctx, "fix", percent, "%s: %s", c->name, e.hint);
}

static int fix_one(struct survey *s, int32_t percent, struct err *err)
{
    size_t at = s->count;
    int code = stopped(s->ctx, err);

    if (code)
        return code;
    s->check->look(s);
    if (worst_since(s, at) == FINDING_GREEN || !s->check->fix || check_ignored(s, s->check))
        return 0;
    if (s->ctx->dry_run) {
        exec_say(s->ctx, "fix", percent, "%s: would %s", s->check->name, s->check->mend);
        return 0;
    }
    mend(s, percent);
    code = stopped(s->ctx, err);
    if (code == 0 && s->stale)
        code = host_facts(s->ctx, s->facts, err);
    s->stale = false;
    s->count = at;
    if (code == 0)
        s->check->look(s);
    return code;
}

int host_fix(struct exec_ctx *ctx, const struct step *step, struct step_result *result, struct err *err)
{
    struct survey s;
    int code = host_facts(ctx, &result->facts, err);

    if (code)
        return code;
    result->have_facts = true;
    s = check_begin(ctx, step->role, &result->facts, result->findings);
    for (size_t i = 0; i < check_count && code == 0; i++) {
        s.check = check_table[i];
        code = fix_one(&s, (int32_t)(i * 100 / check_count), err);
    }
    result->finding_count = s.count;
    return code;
}
