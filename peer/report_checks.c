#include "peer/report_checks.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/mem.h"

static const char *level_word(enum finding_level level)
{
    return level == FINDING_GREEN ? "ok" : level == FINDING_WARN ? "warn" : "red";
}

json_t *report_checks(const struct finding *findings, size_t count)
{
    json_t *checks = json_array();

    for (size_t i = 0; i < count; i++) {
        const struct finding *x = &findings[i];

        json_array_append_new(checks, json_pack("{s:s, s:s, s:s, s:s}", "check", x->check, "level",
                                                level_word(x->level), "detail", x->detail, "next", x->next));
    }
    return checks;
}

static int show_table(const struct writer *w, const json_t *checks, struct err *err)
{
    static const struct writer_column columns[] = {
        {"CHECK", false}, {"STATE", false}, {"WHAT WAS SEEN", false}};
    size_t rows = json_array_size(checks);
    cleanup_free struct writer_cell *cells = calloc(rows ? rows * COUNT_OF(columns) : 1, sizeof *cells);

    if (!cells)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    for (size_t i = 0; i < rows; i++) {
        const json_t *x = json_array_get(checks, i);
        struct writer_cell *row = cells + i * COUNT_OF(columns);
        const char *level = writer_text(x, "level");

        writer_safe(row[0].text, sizeof row[0].text, writer_text(x, "check"));
        writer_safe(row[1].text, sizeof row[1].text, level);
        writer_safe(row[2].text, sizeof row[2].text, writer_text(x, "detail"));
        row[1].tint = *level == 'o' ? TINT_GOOD : *level == 'w' ? TINT_WARN : TINT_BAD;
    }
    return writer_table(w, columns, COUNT_OF(columns), cells, rows, err);
}

/* What to type, below the table where there is room for whole sentences. */
static void show_cures(const struct writer *w, const json_t *checks)
{
    bool any = false;

    for (size_t i = 0; i < json_array_size(checks); i++) {
        const json_t *x = json_array_get(checks, i);
        char safe[200], check[64];

        if (strcmp(writer_text(x, "level"), "ok") == 0 || !*writer_text(x, "next"))
            continue;
        writer_safe(check, sizeof check, writer_text(x, "check"));
        writer_safe(safe, sizeof safe, writer_text(x, "next"));
        fprintf(w->to, "%s%-18s %s\n", any ? "" : "\n", check, safe);
        any = true;
    }
}

int report_checks_show(const struct writer *w, const json_t *checks, struct err *err)
{
    int code = show_table(w, checks, err);

    if (code == 0)
        show_cures(w, checks);
    return code;
}
