#include "peer/command/inspect.h"

#include <stdlib.h>

#include "peer/command/local.h"
#include "peer/report_survey.h"
#include "protocol/check.h"
#include "protocol/mem.h"

void inspect_init(struct inspect *in, struct call *call)
{
    *in = (struct inspect){.call = call};
    progress_init(&in->progress, &call->out);
}

/* ---- this host ---- */

static void on_progress(void *ctx, const struct step_progress *p)
{
    struct inspect *in = ctx;

    progress_set(&in->progress, p->phase[0] ? p->phase : step_word(in->kind), p->line,
                 progress_now_ms() - in->begun_ms);
    if (in->line)
        in->line(in, p);
}

static void on_idle(void *ctx)
{
    struct inspect *in = ctx;

    progress_draw(&in->progress, NULL);
}

int inspect_run(struct inspect *in, enum step_kind kind, enum step_role role, struct step_result *res,
                struct err *err)
{
    struct step step = {.kind = kind, .role = role};
    const struct local_watch watch = {.progress = on_progress, .idle = on_idle, .ctx = in};
    int code;

    in->kind = kind;
    in->begun_ms = progress_now_ms();
    progress_set(&in->progress, step_word(kind), "", 0);
    code = local_step(&in->call->cfg, &step, &watch, res, err);
    progress_end(&in->progress);
    return code;
}

int inspect_role(struct inspect *in, enum step_role *role, struct err *err)
{
    enum role_pref pref = in->call->cfg.role;
    cleanup_free struct step_result *res = calloc(1, sizeof *res);
    cleanup_free struct profile *p = calloc(1, sizeof *p);
    int code;

    *role = pref == ROLE_WORKER ? STEP_ROLE_WORKER : STEP_ROLE_MASTER;
    if (pref != ROLE_AUTO)
        return 0;
    if (!res || !p)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    code = inspect_run(in, STEP_INSPECT, *role, res, err);
    code = code ? code : local_outcome(res, err);
    if (code == 0) {
        p->has_facts = res->have_facts;
        p->facts = res->facts;
        *role = check_fit_for_master(p) ? STEP_ROLE_MASTER : STEP_ROLE_WORKER;
    }
    step_result_fini(res);
    return code;
}

/* Red checks are an answer; one that did not come to its end is none. */
static int run_checks(struct inspect *in, enum step_role role, struct step_result *res, struct err *err)
{
    int code = inspect_run(in, STEP_PREFLIGHT, role, res, err);

    if (code == 0 && res->code != KPEER_EPREFLIGHT)
        code = local_outcome(res, err);
    return code;
}

int inspect_host(struct inspect *in, enum step_role *role, struct step_result *res, struct err *err)
{
    int code = run_checks(in, *role, res, err);

    if (code || res->code != KPEER_EPREFLIGHT || in->call->cfg.role != ROLE_AUTO || *role == STEP_ROLE_WORKER)
        return code;
    cleanup_free struct step_result *other = calloc(1, sizeof *other);
    if (!other)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    code = run_checks(in, STEP_ROLE_WORKER, other, err);
    if (code || other->code)
        return code;
    *role = STEP_ROLE_WORKER;
    step_result_fini(res);
    *res = *other;
    return 0;
}

/* ---- the group ---- */

int inspect_group(struct inspect *in, json_t **out, struct err *err)
{
    struct control_client *client = NULL;
    enum control_kind kind = CONTROL_NOTHING;
    struct err none = {0};
    int code;

    if (command_connect(in->call, &client, &none) != 0)
        return 0;
    in->begun_ms = progress_now_ms();
    code = control_request(client, "survey", NULL, err);
    while (!code && kind == CONTROL_NOTHING) {
        long long ms = progress_now_ms() - in->begun_ms;
        progress_set(&in->progress, "group", "the hosts look at each other", ms);
        progress_draw(&in->progress, NULL);
        code = ms > REPORT_SURVEY_MS ? err_set(err, KPEER_EIO, "the agent does not say how the group looks")
                                     : control_next(client, 200, &kind, out, err);
    }
    progress_end(&in->progress);
    if (!code && kind != CONTROL_DATA)
        code = err_set(err, KPEER_EINVAL, "the agent's answer is malformed");
    control_close(client);
    return code;
}
