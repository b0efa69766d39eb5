#include "peer/executor/host/unit.h"

#include <stdio.h>
#include <string.h>

#include "peer/executor/host/look.h"
#include "peer/executor/host/mend.h"
#include "protocol/mem.h"

#define RESTART "restart of " /* how the name of such a deed begins */

bool unit_systemd(const struct exec_ctx *ctx)
{
    return look_exists(ctx, "/run/systemd/system");
}

int unit_read(struct exec_ctx *ctx, const char *name, struct parse_unit *unit, struct err *err)
{
    const char *const argv[] = {
        "",           "show", "-p", "Id,LoadState,UnitFileState,ActiveState,SourcePath",
        "--no-pager", "--",   name, NULL};
    struct spawn_result res;
    bool found = false;
    int code;

    if (!unit_systemd(ctx))
        return err_set(err, KPEER_ENOTFOUND, "no systemd runs this host");
    code = mend_run(ctx, TOOL_SYSTEMCTL, argv, true, &res, err);
    if (code == 0)
        parse_unit_next(res.out, unit, &found);
    spawn_result_fini(&res);
    if (code == 0 && (!found || strcmp(unit->load, "not-found") == 0))
        code = err_set(err, KPEER_ENOTFOUND, "there is no unit %s", name);
    return code;
}

bool unit_runs(const struct parse_unit *unit)
{
    return strcmp(unit->active, "active") == 0 || strcmp(unit->active, "activating") == 0 ||
           strcmp(unit->active, "reloading") == 0;
}

bool unit_enabled(const struct parse_unit *unit)
{
    return strcmp(unit->file, "enabled") == 0 || strcmp(unit->file, "enabled-runtime") == 0 ||
           strcmp(unit->file, "static") == 0 || strcmp(unit->file, "generated") == 0 ||
           strcmp(unit->file, "indirect") == 0 || strcmp(unit->file, "alias") == 0;
}

static int systemctl(struct exec_ctx *ctx, const char *verb, const char *name, struct err *err)
{
    const char *const argv[] = {"", verb, "--", name, NULL};

    return mend_do(ctx, TOOL_SYSTEMCTL, argv, err);
}

/* "enabled active": what a deed says of a unit. */
static void unit_words(const char *file, bool runs, char out[static JOURNAL_DEED_BYTES])
{
    snprintf(out, JOURNAL_DEED_BYTES, "%.60s %s", file[0] ? file : "-", runs ? "active" : "inactive");
}

static int carry_out(struct exec_ctx *ctx, const char *name, const struct parse_unit *now,
                     enum unit_wish wish, struct err *err)
{
    bool masked = strcmp(now->file, "masked") == 0;
    int code = 0;

    if (wish == UNIT_MASKED) {
        code = unit_runs(now) ? systemctl(ctx, "stop", name, err) : 0;
        return code || masked ? code : systemctl(ctx, "mask", name, err);
    }
    if (masked)
        code = systemctl(ctx, "unmask", name, err);
    if (code == 0 && !unit_enabled(now))
        code = systemctl(ctx, "enable", name, err);
    if (code == 0 && wish == UNIT_STARTED && !unit_runs(now))
        code = systemctl(ctx, "start", name, err);
    return code;
}

int unit_set(struct exec_ctx *ctx, const char *name, enum unit_wish wish, struct err *err)
{
    struct journal_deed d = {.kind = DEED_UNIT};
    struct parse_unit now;
    bool will_run;
    int code = unit_read(ctx, name, &now, err);

    if (code)
        return code;
    will_run = wish == UNIT_STARTED || (wish == UNIT_ENABLED && unit_runs(&now));
    if (mem_copy_text(d.name, sizeof(d.name), name))
        return err_set(err, KPEER_ELIMIT, "the unit's name %s is too long", name);
    unit_words(now.file, unit_runs(&now), d.before);
    unit_words(wish == UNIT_MASKED ? "masked" : unit_enabled(&now) ? now.file : "enabled", will_run, d.after);
    if (strcmp(d.before, d.after) == 0)
        return 0;
    code = journal_note_deed(ctx->journal, &d, err);
    return code ? code : carry_out(ctx, name, &now, wish, err);
}

int unit_note_restart(struct exec_ctx *ctx, const char *name, struct err *err)
{
    struct journal_deed d = {.kind = DEED_UNIT, .before = "as before", .after = "with what kpeer wrote"};

    snprintf(d.name, sizeof(d.name), RESTART "%s", name);
    return journal_note_deed(ctx->journal, &d, err);
}

int unit_restart(struct exec_ctx *ctx, const char *name, struct err *err)
{
    struct parse_unit now;

    if (unit_read(ctx, name, &now, NULL) || !unit_runs(&now))
        return 0;
    return systemctl(ctx, "restart", name, err);
}

/* The file's state as it was: nothing but mask and enablement were ever changed. */
static int put_file_state(struct exec_ctx *ctx, const char *name, const char *now, const char *before,
                          struct err *err)
{
    int code = 0;

    if (strcmp(now, "masked") == 0)
        code = systemctl(ctx, "unmask", name, err);
    if (code == 0 && strcmp(before, "enabled") == 0)
        code = systemctl(ctx, "enable", name, err);
    else if (code == 0 && strcmp(before, "disabled") == 0)
        code = systemctl(ctx, "disable", name, err);
    else if (code == 0 && strcmp(before, "masked") == 0)
        code = systemctl(ctx, "mask", name, err);
    return code;
}

static int undo_state(struct exec_ctx *ctx, const struct journal_deed *d, const struct parse_unit *now,
                      enum journal_undone *how, struct err *err)
{
    char words[JOURNAL_DEED_BYTES], before[64], after[64], was[16];
    int code = 0;

    unit_words(now->file, unit_runs(now), words);
    if (strcmp(words, d->before) == 0 || sscanf(d->before, "%63s %15s", before, was) != 2 ||
        sscanf(d->after, "%63s", after) != 1) {
        *how = JOURNAL_SAME;
        return 0;
    }
    words[strcspn(words, " ")] = 0;
    *how = strcmp(words, before) == 0 || strcmp(words, after) == 0 ? JOURNAL_BACK : JOURNAL_LEFT;
    if (*how == JOURNAL_BACK && strcmp(words, before) != 0)
        code = put_file_state(ctx, d->name, words, before, err);
    if (*how == JOURNAL_BACK && code == 0 && unit_runs(now) != (strcmp(was, "active") == 0))
        code = systemctl(ctx, unit_runs(now) ? "stop" : "start", d->name, err);
    return code;
}

int unit_undo(void *ctx, const struct journal_deed *d, enum journal_undone *how, struct err *err)
{
    struct parse_unit now;
    struct err e = {0};
    int code;

    *how = JOURNAL_SAME;
    if (strncmp(d->name, RESTART, sizeof(RESTART) - 1) == 0) {
        if (unit_restart(ctx, d->name + sizeof(RESTART) - 1, &e))
            exec_say(ctx, "undo", -1, "%s: %s", d->name, e.text); /* its files are back all the same */
        return 0;
    }
    code = unit_read(ctx, d->name, &now, err);
    if (code == KPEER_ENOTFOUND) {
        *how = JOURNAL_LEFT; /* the unit is gone with its package, or systemd with the container */
        return 0;
    }
    return code ? code : undo_state(ctx, d, &now, how, err);
}
