#include <stdlib.h>
#include <string.h>

#include "peer/command/command.h"
#include "peer/command/inspect.h"
#include "peer/command/local.h"
#include "peer/report_checks.h"
#include "peer/report_survey.h"
#include "protocol/mem.h"

#define RED_STATUS 5 /* of KPEER_EPREFLIGHT */
#define ANSWER_MS  5000

struct preflight {
    struct inspect in; /* first: the lines of its steps lead back here */
    size_t back, left; /* --undo: put back, left alone */
};

/* ---- steps ---- */

/* What a fix or an undo does is worth a line each; what a check looks at is not. */
static void on_line(struct inspect *in, const struct step_progress *p)
{
    struct preflight *f = (struct preflight *)in;

    if (writer_is_data(&in->call->out) || !p->line[0])
        return;
    if (in->kind == STEP_FIX || in->kind == STEP_UNDO)
        progress_say(&in->progress, TINT_NONE, "%s%s%s", p->phase, p->phase[0] ? ": " : "", p->line);
    f->back += strncmp(p->line, "put back ", 9) == 0;
    f->left += strncmp(p->line, "left alone ", 11) == 0;
}

/* What this host shares with another, its agent knows and changes; where none runs, there is nothing to do.
 */
static int fix_shared(struct preflight *f, struct err *err)
{
    struct control_client *client = NULL;
    json_t *answer = NULL;
    struct err none = {0};
    int code;

    if (command_connect(f->in.call, &client, &none) != 0)
        return 0;
    code = control_ask(client, "fix", NULL, ANSWER_MS, &answer, err);
    if (code == 0 && !writer_is_data(&f->in.call->out))
        progress_say(&f->in.progress, TINT_NONE, "group: %s", writer_text(answer, "message"));
    json_decref(answer);
    control_close(client);
    return code;
}

/* ---- what is shown ---- */

static json_t *report(const struct preflight *f, enum step_role role, const struct step_result *res)
{
    const char *name = f->in.call->cfg.name;

    return json_pack("{s:s, s:s, s:b, s:o}", "host", name[0] ? name : res->facts.hostname, "role",
                     role == STEP_ROLE_MASTER ? "master" : "worker", "fit", res->code == 0, "checks",
                     report_checks(res->findings, res->finding_count));
}

static int show(struct preflight *f, const json_t *answer, struct err *err)
{
    struct call *call = f->in.call;
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
    int code = refuse_with_agent(f->in.call, err);

    code = code ? code : inspect_run(&f->in, STEP_UNDO, STEP_ROLE_WORKER, res, err);
    if (code)
        return code;
    code = local_outcome(res, err);
    if (writer_is_data(&f->in.call->out)) {
        json_t *answer = json_pack("{s:b, s:I, s:I}", "undone", code == 0, "back", (json_int_t)f->back,
                                   "left", (json_int_t)f->left);
        int written = writer_value(&f->in.call->out, answer, code ? NULL : err);

        json_decref(answer);
        return code ? code : written;
    }
    if (code == 0)
        progress_say(&f->in.progress, TINT_GOOD,
                     "%zu put back, %zu left alone: what kpeer changed here is undone", f->back, f->left);
    return code;
}

static int fix(struct preflight *f, enum step_role role, struct err *err)
{
    cleanup_free struct step_result *res = calloc(1, sizeof *res);
    int code;

    if (!res)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    code = inspect_run(&f->in, STEP_FIX, role, res, err);
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
    int code = inspect_role(&f->in, &role, err);

    if (code == 0 && command_flag(f->in.call, "fix"))
        code = fix(f, role, err);
    if (code == 0 && command_flag(f->in.call, "fix"))
        code = fix_shared(f, err);
    code = code ? code : inspect_host(&f->in, &role, res, err);
    if (code)
        return code;
    code = inspect_group(&f->in, &group, err);
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
    struct preflight f = {0};
    cleanup_free struct step_result *res = calloc(1, sizeof *res);
    int code;

    if (!res)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    if (command_flag(call, "fix") && command_flag(call, "undo"))
        return err_set(err, KPEER_EINVAL, "--fix and --undo exclude each other");
    inspect_init(&f.in, call);
    f.in.line = on_line;
    code = command_flag(call, "undo") ? undo(&f, res, err) : check(&f, res, err);
    progress_end(&f.in.progress);
    step_result_fini(res);
    return code;
}
