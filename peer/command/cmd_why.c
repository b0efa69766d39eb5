#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "peer/command/command.h"
#include "peer/command/inspect.h"
#include "peer/report_checks.h"
#include "peer/command/why.h"
#include "protocol/mem.h"

#define ANSWER_MS   5000
#define LOOK_CLOSER "sudo kpeer preflight: it shows how far it comes"

/* ---- the picture ---- */

static json_t *host_name(const struct call *call)
{
    char name[256] = "";

    if (call->cfg.name[0])
        return json_string(call->cfg.name);
    if (gethostname(name, sizeof name - 1))
        name[0] = '\0';
    for (char *p = name; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    return json_string(name[0] ? name : "this host");
}

static void set_ending(json_t *picture, const struct err *why)
{
    char text[ERR_TEXT_BYTES], hint[ERR_HINT_BYTES];

    writer_safe(text, sizeof text, why->text);
    writer_safe(hint, sizeof hint, why->hint);
    json_object_set_new(picture, "ending", json_pack("{s:s, s:s}", "text", text, "next", hint));
}

/* What the agent knows. That it has ended, or does not answer, is a part of the picture and no error; that
 * one may not ask is. */
static int ask_agent(const struct call *call, json_t *picture, struct err *err)
{
    struct control_client *client = NULL;
    json_t *status = NULL, *members = NULL;
    struct err why = {0};
    int code = command_connect(call, &client, &why);

    if (code == KPEER_ENOAGENT) {
        if (command_ending(call, &why) == 0) {
            err_wrap(&why, "the last agent of this host ended");
            set_ending(picture, &why);
        }
        return 0;
    }
    code = code ? code : control_ask(client, "status", NULL, ANSWER_MS, &status, &why);
    code = code ? code : control_ask(client, "members", NULL, ANSWER_MS, &members, &why);
    control_close(client);
    if (code == KPEER_ETIMEOUT) {
        json_object_set_new(picture, "silent", json_true());
        code = 0;
    }
    json_object_set_new(picture, "status", status ? status : json_null());
    json_object_set_new(picture, "members", members ? members : json_null());
    if (code)
        *err = why;
    return code;
}

/* Why the checks could not be had is worth as much as any of them. Stopped on request, all of it ends. */
static int look_at_host(struct inspect *in, json_t *picture, struct err *err)
{
    cleanup_free struct step_result *res = calloc(1, sizeof *res);
    struct err why = {0};
    enum step_role role;
    int code;

    if (!res)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    code = inspect_role(in, &role, &why);
    code = code ? code : inspect_host(in, &role, res, &why);
    if (code == 0)
        json_object_set_new(picture, "checks", report_checks(res->findings, res->finding_count));
    else if (code != KPEER_ECANCELED)
        json_object_set_new(picture, "checks",
                            json_pack("[{s:s, s:s, s:s, s:s}]", "check", "executor", "level", "red", "detail",
                                      why.text, "next", why.hint[0] ? why.hint : LOOK_CLOSER));
    else
        *err = why;
    step_result_fini(res);
    return code == KPEER_ECANCELED ? code : 0;
}

static void look_at_group(struct inspect *in, json_t *picture)
{
    const json_t *members = json_object_get(json_object_get(picture, "members"), "members");
    json_t *group = NULL;
    struct err none = {0};

    if (json_array_size(members) > 1 && inspect_group(in, &group, &none) == 0 && group)
        json_object_set_new(picture, "group", group);
}

/* Only root's executor sees all of a host, and only root may let the group look at itself. */
static int gather(struct call *call, json_t *picture, struct err *err)
{
    struct inspect in;
    int code = ask_agent(call, picture, err);

    if (code || geteuid() != 0)
        return code;
    inspect_init(&in, call);
    code = look_at_host(&in, picture, err);
    if (!code)
        look_at_group(&in, picture);
    progress_end(&in.progress);
    return code;
}

/* ---- what is shown ---- */

static void line(struct call *call, const char *title, enum writer_tint tint, const char *text)
{
    char safe[900];

    if (!*text)
        return;
    writer_safe(safe, sizeof safe, text);
    fprintf(call->out.to, "%-8s%s%s%s\n", title, writer_tint_on(&call->out, tint), safe,
            writer_tint_off(&call->out, tint));
}

static void show(struct call *call, const json_t *answer)
{
    const json_t *cause = json_object_get(answer, "cause"), *x;
    bool ready = json_is_true(json_object_get(answer, "ready"));
    size_t i;

    line(call, "seen", json_is_null(cause) && ready ? TINT_GOOD : TINT_WARN, writer_text(answer, "symptom"));
    json_array_foreach(json_object_get(answer, "chain"), i, x)
        line(call, "since", TINT_NONE, json_string_value(x));
    if (!json_is_null(cause))
        line(call, "cause", TINT_BAD, writer_text(cause, "text"));
    else if (!ready)
        line(call, "cause", TINT_NONE, "nothing that is wrong is seen: it goes on by itself");
    line(call, "try", TINT_BOLD, writer_text(cause, "next"));
    json_array_foreach(json_object_get(answer, "also"), i, x)
    {
        line(call, "also", TINT_WARN, writer_text(x, "text"));
        line(call, "try", TINT_NONE, writer_text(x, "next"));
    }
    if (geteuid() != 0)
        line(call, "more", TINT_DIM,
             "as root this looks at this host's checks and the ways between hosts too");
}

int cmd_why(struct call *call, struct err *err)
{
    json_t *picture = json_pack("{s:o}", "host", host_name(call)), *answer = NULL;
    bool well = false;
    int code = picture ? gather(call, picture, err) : err_set(err, KPEER_ENOMEM, "out of memory");

    code = code ? code : why_judge(picture, call->arg_count ? call->args[0] : NULL, &answer, err);
    if (!code) {
        well =
            json_is_true(json_object_get(answer, "ready")) && json_is_null(json_object_get(answer, "cause"));
        if (writer_is_data(&call->out))
            code = writer_value(&call->out, answer, err);
        else
            show(call, answer);
    }
    json_decref(picture);
    json_decref(answer);
    return code ? code : well ? 0 : 1;
}
