#include <stdlib.h>
#include <string.h>

#include "peer/command/command.h"
#include "peer/command/local.h"
#include "peer/command/progress.h"
#include "protocol/mem.h"

#define DIFFERS_STATUS 1  /* verify: something differs or misses */
#define SHORT_ID       19 /* "sha256:" and twelve digits, as docker and crictl show an id */

struct images {
    struct call *call;
    struct progress progress;
    long long begun_ms;
    enum step_kind kind;
};

static void on_progress(void *ctx, const struct step_progress *p)
{
    struct images *i = ctx;

    progress_set(&i->progress, step_word(i->kind), p->line, progress_now_ms() - i->begun_ms);
    if (i->kind == STEP_IMAGES_PULL && !writer_is_data(&i->call->out) && p->line[0])
        progress_say(&i->progress, TINT_NONE, "%s", p->line);
}

static void on_idle(void *ctx)
{
    progress_draw(&((struct images *)ctx)->progress, NULL);
}

/* ---- what is shown ---- */

static void short_id(char *out, size_t room, const char *id)
{
    snprintf(out, room, "%.*s", SHORT_ID, id[0] ? id : "-");
}

static const struct writer_column list_columns[] = {{"IMAGE", false},  {"HERE", false}, {"OF", false},
                                                    {"WORKER", false}, {"ID", false},   {"DIGEST", true}};

static void fill_list(struct writer_cell *row, const json_t *image)
{
    const json_t *here = json_object_get(image, "here");

    writer_safe(row[0].text, sizeof row[0].text, writer_text(image, "image"));
    snprintf(row[1].text, sizeof row[1].text, "%s",
             json_is_true(here)    ? "yes"
             : json_is_false(here) ? "no"
                                   : "?");
    row[1].tint = json_is_true(here) ? TINT_GOOD : TINT_WARN;
    writer_safe(row[2].text, sizeof row[2].text, writer_text(image, "of"));
    snprintf(row[3].text, sizeof row[3].text, "%s",
             json_is_true(json_object_get(image, "worker")) ? "yes" : "no");
    short_id(row[4].text, sizeof row[4].text, writer_text(image, "id"));
    writer_safe(row[5].text, sizeof row[5].text, writer_text(image, "digest"));
}

static const struct writer_column pull_columns[] = {{"IMAGE", false}, {"RESULT", false}, {"FROM", false}};

static void fill_pull(struct writer_cell *row, const json_t *image)
{
    writer_safe(row[0].text, sizeof row[0].text, writer_text(image, "image"));
    writer_safe(row[1].text, sizeof row[1].text, writer_text(image, "result"));
    row[1].tint = TINT_GOOD;
    writer_safe(row[2].text, sizeof row[2].text,
                writer_text(image, "source")[0] ? writer_text(image, "source") : "-");
}

static const struct writer_column verify_columns[] = {{"IMAGE", false},  {"HERE", false},
                                                      {"SECOND", false}, {"VERDICT", false},
                                                      {"DIGEST", true},  {"SECOND DIGEST", true}};

/* Ids are what both sides mostly have; a source that only knows digests is shown by those. */
static void fill_verify(struct writer_cell *row, const json_t *image)
{
    const char *id = writer_text(image, "second_id"), *verdict = writer_text(image, "verdict");
    bool by_id = id[0] || !writer_text(image, "second_digest")[0];

    writer_safe(row[0].text, sizeof row[0].text, writer_text(image, "image"));
    short_id(row[1].text, sizeof row[1].text, writer_text(image, by_id ? "id" : "digest"));
    short_id(row[2].text, sizeof row[2].text, by_id ? id : writer_text(image, "second_digest"));
    writer_safe(row[3].text, sizeof row[3].text, verdict);
    row[3].tint = strcmp(verdict, "same") == 0 ? TINT_GOOD : TINT_BAD;
    writer_safe(row[4].text, sizeof row[4].text, writer_text(image, "digest"));
    writer_safe(row[5].text, sizeof row[5].text, writer_text(image, "second_digest"));
}

/* What differs between the three: the word, the step, the table. */
static const struct verb {
    const char *word;
    enum step_kind kind;
    const struct writer_column *columns;
    size_t count;
    void (*fill)(struct writer_cell *row, const json_t *image);
} verbs[] = {
    {"list", STEP_IMAGES_LIST, list_columns, COUNT_OF(list_columns), fill_list},
    {"pull", STEP_IMAGES_PULL, pull_columns, COUNT_OF(pull_columns), fill_pull},
    {"verify", STEP_IMAGES_VERIFY, verify_columns, COUNT_OF(verify_columns), fill_verify},
};

static int show_table(struct call *call, const struct verb *verb, const json_t *answer, struct err *err)
{
    const json_t *images = json_object_get(answer, "images");
    size_t rows = json_array_size(images);
    cleanup_free struct writer_cell *cells = calloc(rows ? rows * verb->count : 1, sizeof *cells);
    char note[ERR_TEXT_BYTES];

    if (!cells)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    for (size_t i = 0; i < rows; i++)
        verb->fill(cells + i * verb->count, json_array_get(images, i));
    writer_safe(note, sizeof note, writer_text(answer, "note"));
    if (note[0])
        fprintf(call->out.to, "what is here cannot be told: %s\n", note);
    return writer_table(&call->out, verb->columns, verb->count, cells, rows, err);
}

static int show(struct call *call, const struct verb *verb, const struct step_result *res, struct err *err)
{
    json_t *answer = json_loadb((const char *)res->blob, res->blob_bytes, 0, NULL);
    int code;

    if (!json_is_object(answer)) {
        json_decref(answer);
        return err_set(err, KPEER_EINVAL, "the executor's answer is no report");
    }
    code = writer_is_data(&call->out) ? writer_value(&call->out, answer, err)
                                      : show_table(call, verb, answer, err);
    if (code == 0 && verb->kind == STEP_IMAGES_VERIFY &&
        (json_integer_value(json_object_get(answer, "different")) ||
         json_integer_value(json_object_get(answer, "missing"))))
        code = DIFFERS_STATUS;
    json_decref(answer);
    return code;
}

static int run(struct call *call, const struct verb *verb, struct step_result *res, struct err *err)
{
    struct images i = {.call = call, .begun_ms = progress_now_ms(), .kind = verb->kind};
    const struct local_watch watch = {.progress = on_progress, .idle = on_idle, .ctx = &i};
    struct step step = {.kind = verb->kind,
                        .role = command_flag(call, "worker") || call->cfg.role == ROLE_WORKER
                                    ? STEP_ROLE_WORKER
                                    : STEP_ROLE_MASTER};
    int code;

    progress_init(&i.progress, &call->out);
    progress_set(&i.progress, step_word(verb->kind), "", 0);
    code = local_step(&call->cfg, &step, &watch, res, err);
    progress_end(&i.progress);
    if (code)
        return code;
    code = local_outcome(res, err);
    if (code)
        step_result_fini(res);
    return code;
}

int cmd_images(struct call *call, struct err *err)
{
    cleanup_free struct step_result *res = calloc(1, sizeof *res);
    const struct verb *verb = NULL;
    int code;

    for (size_t i = 0; i < COUNT_OF(verbs); i++)
        if (strcmp(verbs[i].word, call->args[0]) == 0)
            verb = &verbs[i];
    if (!verb) {
        err_set(err, KPEER_EINVAL, "images: unknown word \"%.40s\"", call->args[0]);
        return err_hint(err, "kpeer images list, pull or verify");
    }
    if (!res)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    code = run(call, verb, res, err);
    if (code)
        return code;
    code = show(call, verb, res, err);
    step_result_fini(res);
    return code;
}
