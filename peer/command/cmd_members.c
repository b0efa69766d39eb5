#include <stdlib.h>
#include <string.h>

#include "peer/command/command.h"
#include "protocol/mem.h"

#define ANSWER_MS 5000
#define WATCH_MS  1000

static const struct writer_column columns[] = {
    {"NAME", false},  {"ADDRESS", false},   {"ROLE", false}, {"STATE", false}, {"PHASE", false},
    {"KPEER", false}, {"KUBERNETES", true}, {"HEARD", true}, {"ID", true},     {"NOTE", false},
};

static void fill_row(struct writer_cell row[static COUNT_OF(columns)], const json_t *m)
{
    static const char *const keys[] = {"name",    "address",    "role", "state", "phase",
                                       "version", "kubernetes", "",     "id",    "note"};
    bool self = json_is_true(json_object_get(m, "self"));

    for (size_t i = 0; i < COUNT_OF(columns); i++) {
        writer_safe(row[i].text, sizeof row[i].text, writer_text(m, keys[i]));
        row[i].tint = i == 3 || i == 4 ? writer_member_tint(row[i].text) : TINT_NONE;
    }
    if (self)
        strncat(row[0].text, " *", sizeof row[0].text - strlen(row[0].text) - 1);
    if (self)
        snprintf(row[7].text, sizeof row[7].text, "-");
    else
        writer_duration(row[7].text, sizeof row[7].text,
                        json_integer_value(json_object_get(m, "last_heard_ms")));
}

static int show_table(struct call *call, const json_t *answer, struct err *err)
{
    const json_t *members = json_object_get(answer, "members"), *cluster = json_object_get(answer, "cluster");
    size_t rows = json_array_size(members);
    cleanup_free struct writer_cell *cells = calloc(rows ? rows * COUNT_OF(columns) : 1, sizeof *cells);
    char text[160];

    if (!cells)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    for (size_t i = 0; i < rows; i++)
        fill_row(cells + i * COUNT_OF(columns), json_array_get(members, i));
    if (json_is_object(cluster)) {
        writer_safe(text, sizeof text, writer_text(cluster, "endpoint"));
        fprintf(call->out.to, "cluster %.8s at %s", writer_text(cluster, "id"), text);
        writer_safe(text, sizeof text, writer_text(cluster, "kubernetes"));
        fprintf(call->out.to, ", Kubernetes %s\n", text);
    } else {
        fprintf(call->out.to, "no cluster yet\n");
    }
    return writer_table(&call->out, columns, COUNT_OF(columns), cells, rows, err);
}

static int show(struct call *call, const json_t *answer, struct err *err)
{
    return writer_is_data(&call->out) ? writer_value(&call->out, answer, err) : show_table(call, answer, err);
}

/* ---- watching ---- */

/* What is the same while nothing happens: the answer without what counts up. */
static json_t *lasting(const json_t *answer)
{
    json_t *copy = json_deep_copy(answer), *member;
    size_t i;

    json_array_foreach(json_object_get(copy, "members"), i, member)
    {
        json_object_del(member, "last_heard_ms");
        json_object_del(member, "phase_ms");
    }
    return copy;
}

/* Draws over what was there. Lines that do not fit are cut by the terminal itself, and so is what is below
 * it. */
static int draw(struct call *call, const json_t *answer, struct err *err)
{
    FILE *screen = call->out.to;
    char *text = NULL, *line, *rest;
    size_t n = 0, rows, width;
    int code;

    writer_screen(&call->out, &rows, &width);
    call->out.to = open_memstream(&text, &n);
    if (!call->out.to) {
        call->out.to = screen;
        return err_set(err, KPEER_ENOMEM, "out of memory");
    }
    code = show_table(call, answer, err);
    fclose(call->out.to);
    call->out.to = screen;
    fputs("\033[?7l\033[H", screen);
    rest = text;
    for (size_t row = 1; !code && row < rows && (line = strsep(&rest, "\n")) && (*line || rest); row++)
        fprintf(screen, "%s\033[K\n", line);
    fputs("\033[J\033[?7h", screen);
    free(text);
    return code ? code : fflush(screen) ? err_set(err, KPEER_EIO, "writing the output failed") : 0;
}

static int watch(struct call *call, struct control_client *client, struct err *err)
{
    bool live = writer_is_live(&call->out);
    json_t *before = NULL;
    int code = 0;

    command_stop_by_signals();
    if (live)
        fputs("\033[?1049h", call->out.to);
    while (!code && !command_stopped()) {
        json_t *answer = NULL, *now;

        code = control_ask(client, "members", NULL, ANSWER_MS, &answer, err);
        now = code ? NULL : lasting(answer);
        if (!code && live)
            code = draw(call, answer, err);
        else if (!code && !json_equal(now, before))
            code = writer_is_data(&call->out) ? writer_line(&call->out, answer, err)
                                              : show_table(call, answer, err);
        json_decref(before);
        before = now;
        json_decref(answer);
        if (!code)
            command_pause(WATCH_MS);
    }
    json_decref(before);
    if (live)
        fputs("\033[?1049l", call->out.to);
    return command_stopped() ? 0 : code;
}

int cmd_members(struct call *call, struct err *err)
{
    struct control_client *client = NULL;
    json_t *answer = NULL;
    int code = command_connect(call, &client, err);

    if (!code && command_flag(call, "watch")) {
        code = watch(call, client, err);
    } else if (!code) {
        code = control_ask(client, "members", NULL, ANSWER_MS, &answer, err);
        code = code ? code : show(call, answer, err);
    }
    json_decref(answer);
    control_close(client);
    return code;
}
