#include <stdlib.h>
#include <string.h>

#include "peer/command.h"
#include "peer/local.h"
#include "peer/progress.h"
#include "peer/report_checks.h"
#include "peer/report_survey.h"
#include "protocol/check.h"
#include "protocol/mem.h"

#define RED_STATUS 5 /* of KPEER_EPREFLIGHT */
#define ANSWER_MS  5000

struct preflight {
    struct call *call;
    struct progress progress;
    long long begun_ms;
    enum step_kind kind; /* of the step that runs */
    size_t back, left;   /* --undo: put back, left alone */
};

/* ---- steps ---- */

/* What a fix or an undo does is worth a line each; what a check looks at is not. */
static void on_progress(void *ctx, const struct step_progress *p)
{
    struct preflight *f = ctx;

    progress_set(&f->progress, p->phase[0] ? p->phase : step_word(f->kind), p->line,
                 progress_now_ms() - f->begun_ms);
    if (writer_is_data(&f->call->out) || !p->line[0])
        return;
    if (f->kind == STEP_FIX || f->kind == STEP_UNDO)
        progress_say(&f->progress, TINT_NONE, "%s%s%s", p->phase, p->phase[0] ? ": " : "", p->line);
    f->back += strncmp(p->line, "put back ", 9) == 0;
    f->left += strncmp(p->line, "left alone ", 11) == 0;
}

static void on_idle(void *ctx)
{
    struct preflight *f = ctx;

    progress_draw(&f->progress, NULL);
}

static int run(struct preflight *f, enum step_kind kind, enum step_role role, struct step_result *res,
               struct err *err)
{
    struct step step = {.kind = kind, .role = role};
    const struct local_watch watch = {.progress = on_progress, .idle = on_idle, .ctx = f};
    int code;

    f->kind = kind;
    f->begun_ms = progress_now_ms();
    progress_set(&f->progress, step_word(kind), "", 0);
    code = local_step(&f->call->cfg, &step, &watch, res, err);
    progress_end(&f->progress);
    return code;
}

/* The part that this host is checked for: as the agent would choose it. */
static int choose_role(struct preflight *f, enum step_role *role, struct err *err)
{
    enum role_pref pref = f->call->cfg.role;
    cleanup_free struct step_result *res = calloc(1, sizeof *res);
    cleanup_free struct profile *p = calloc(1, sizeof *p);
    int code;

    *role = pref == ROLE_WORKER ? STEP_ROLE_WORKER : STEP_ROLE_MASTER;
    if (pref != ROLE_AUTO)
        return 0;
    if (!res || !p)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    code = run(f, STEP_INSPECT, *role, res, err);
    if (code == 0) {
        p->has_facts = res->have_facts;
        p->facts = res->facts;
        *role = check_fit_for_master(p) ? STEP_ROLE_MASTER : STEP_ROLE_WORKER;
        step_result_fini(res);
    }
    return code;
}

/* A host that is red as a master may still do as a worker, where nobody asked for a master. */
static int look(struct preflight *f, enum step_role *role, struct step_result *res, struct err *err)
{
    int code = run(f, STEP_PREFLIGHT, *role, res, err);

    if (code || res->code != KPEER_EPREFLIGHT || f->call->cfg.role != ROLE_AUTO || *role == STEP_ROLE_WORKER)
        return code;
    cleanup_free struct step_result *other = calloc(1, sizeof *other);
    if (!other)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    code = run(f, STEP_PREFLIGHT, STEP_ROLE_WORKER, other, err);
    if (code || other->code)
        return code;
    *role = STEP_ROLE_WORKER;
    step_result_fini(res);
    *res = *other;
    return 0;
}

/* What this host shares with another, its agent knows and changes; where none runs, there is nothing to do.
 */
static int fix_shared(struct preflight *f, struct err *err)
{
    struct control_client *client = NULL;
    json_t *answer = NULL;
    struct err none = {0};
    int code;

    if (command_connect(f->call, &client, &none) != 0)
        return 0;
    code = control_ask(client, "fix", NULL, ANSWER_MS, &answer, err);
    if (code == 0 && !writer_is_data(&f->call->out))
        progress_say(&f->progress, TINT_NONE, "group: %s", writer_text(answer, "message"));
    json_decref(answer);
    control_close(client);
    return code;
}

/* How the hosts of the group see each other; *out stays NULL where no agent runs. */
static int look_at_group(struct preflight *f, json_t **out, struct err *err)
{
    struct control_client *client = NULL;
    enum control_kind kind = CONTROL_DATA;
    struct err none = {0};
    int code;

    if (command_connect(f->call, &client, &none) != 0)
        return 0;
    f->begun_ms = progress_now_ms();
    code = control_request(client, "survey", NULL, err);
    for (code = code ? code : KPEER_ETIMEOUT; code == KPEER_ETIMEOUT;) {
        long long ms = progress_now_ms() - f->begun_ms;
        progress_set(&f->progress, "group", "the hosts look at each other", ms);
        progress_draw(&f->progress, NULL);
        code = ms > REPORT_SURVEY_MS ? err_set(err, KPEER_EIO, "the agent does not say how the group looks")
                                     : control_next(client, 200, &kind, out, err);
    }
    progress_end(&f->progress);
    if (!code && kind != CONTROL_DATA)
        code = err_set(err, KPEER_EINVAL, "the agent's answer is malformed");
    control_close(client);
    return code;
}

/* ---- what is shown ---- */

static json_t *report(const struct preflight *f, enum step_role role, const struct step_result *res)
{
    return json_pack("{s:s, s:s, s:b, s:o}", "host",
                     f->call->cfg.name[0] ? f->call->cfg.name : res->facts.hostname, "role",
                     role == STEP_ROLE_MASTER ? "master" : "worker", "fit", res->code == 0, "checks",
                     report_checks(res->findings, res->finding_count));
}

static int show(struct preflight *f, const json_t *answer, struct err *err)
{
    struct call *call = f->call;
    const json_t *checks = json_object_get(answer, "checks"), *group = json_object_get(answer, "group");
    bool fit = json_is_true(json_object_get(answer, "fit"));
    int code;

    if (writer_is_data(&call->out))
        return writer_value(&call->out, answer, err);
    code = report_checks_show(&call->out, checks, err);
    if (code)
        return code;
    fprintf(call->out.to, "\n%s%s is %sfit to be a %s%s\n",
            writer_tint_on(&call->out, fit ? TINT_GOOD : TINT_BAD), writer_text(answer, "host"),
            fit ? "" : "not ", writer_text(answer, "role"), writer_tint_off(&call->out, TINT_NONE));
    if (!fit && !command_flag(call, "fix"))
        fprintf(call->out.to, "  try: sudo kpeer preflight --fix\n");
    if (!json_is_object(group))
        return 0;
    fprintf(call->out.to, "\n");
    return report_survey_show(&call->out, group, err);
}

/* ---- the three uses ---- */

/* The agent would mend again what is put back here. */
static int refuse_with_agent(struct call *call, struct err *err)
{
    struct control_client *client = NULL;
    struct err none = {0};

    if (command_connect(call, &client, &none) != 0)
        return 0;
    control_close(client);
    err_set(err, KPEER_EREFUSED, "an agent is at work on this host");
    return err_hint(err, "kpeer leave takes this host out of the group and puts everything back");
}

static int undo(struct preflight *f, struct step_result *res, struct err *err)
{
    int code = refuse_with_agent(f->call, err);

    code = code ? code : run(f, STEP_UNDO, STEP_ROLE_WORKER, res, err);
    if (code)
        return code;
    code = local_outcome(res, err);
    if (writer_is_data(&f->call->out)) {
        json_t *answer = json_pack("{s:b, s:I, s:I}", "undone", code == 0, "back", (json_int_t)f->back,
                                   "left", (json_int_t)f->left);
        int written = writer_value(&f->call->out, answer, code ? NULL : err);

        json_decref(answer);
        return code ? code : written;
    }
    if (code == 0)
        progress_say(&f->progress, TINT_GOOD,
                     "%zu put back, %zu left alone: what kpeer changed here is undone", f->back, f->left);
    return code;
}

static int fix(struct preflight *f, enum step_role role, struct err *err)
{
    cleanup_free struct step_result *res = calloc(1, sizeof *res);
    int code;

    if (!res)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    code = run(f, STEP_FIX, role, res, err);
    if (code == 0 && res->code != KPEER_EPREFLIGHT) /* what stays red is in the table that follows */
        code = local_outcome(res, err);
    step_result_fini(res);
    return code;
}

static int check(struct preflight *f, struct step_result *res, struct err *err)
{
    enum step_role role;
    json_t *answer, *group = NULL;
    bool fit;
    int code = choose_role(f, &role, err);

    if (code == 0 && command_flag(f->call, "fix"))
        code = fix(f, role, err);
    if (code == 0 && command_flag(f->call, "fix"))
        code = fix_shared(f, err);
    code = code ? code : look(f, &role, res, err);
    if (code)
        return code;
    if (res->code && res->code != KPEER_EPREFLIGHT)
        return local_outcome(res, err);
    code = look_at_group(f, &group, err);
    if (code)
        return code;
    fit = res->code == 0 && (!group || json_is_true(json_object_get(group, "green")));
    answer = report(f, role, res);
    json_object_set_new(answer, "group", group ? group : json_null());
    code = answer ? show(f, answer, err) : err_set(err, KPEER_ENOMEM, "out of memory");
    json_decref(answer);
    return code ? code : fit ? 0 : RED_STATUS;
}

int cmd_preflight(struct call *call, struct err *err)
{
    struct preflight f = {.call = call};
    cleanup_free struct step_result *res = calloc(1, sizeof *res);
    int code;

    if (!res)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    if (command_flag(call, "fix") && command_flag(call, "undo"))
        return err_set(err, KPEER_EINVAL, "--fix and --undo exclude each other");
    progress_init(&f.progress, &call->out);
    code = command_flag(call, "undo") ? undo(&f, res, err) : check(&f, res, err);
    progress_end(&f.progress);
    step_result_fini(res);
    return code;
}
