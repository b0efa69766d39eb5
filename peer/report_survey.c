#include "peer/report_survey.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/mem.h"

#define WRAP_BYTES 96 /* of a line of text in the table */
#define ROWS_EACH  8  /* lines of one fault: text and hint are bounded */
#define COLUMNS    3

/* ---- the tree ---- */

/* What comes from other hosts may not be UTF-8; jansson takes nothing else. */
static json_t *text(const char *s)
{
    char safe[ERR_TEXT_BYTES];
    writer_safe(safe, sizeof safe, s);
    return json_string(safe);
}

static json_t *report_host(const struct survey_host *h)
{
    static const char *const answers[] = {
        [ANSWER_NONE] = "none", [ANSWER_BUSY] = "busy", [ANSWER_FULL] = "full"};
    const struct profile *p = h->check.profile;
    return json_pack("{s:o, s:o, s:s, s:o, s:I, s:i}", "name", text(p->name), "address", text(p->address),
                     "answer", answers[h->answer], "kubernetes", text(p->facts.kubernetes_version),
                     "clock_offset_ms", (json_int_t)h->check.clock_offset_ms, "mtu", (int)h->mtu);
}

static json_t *report_fault(const struct survey_report *r, const struct check_fault *f)
{
    json_t *hosts = json_array();
    for (size_t i = 0; i < f->host_count && i < CHECK_NAMED_MAX && f->host[i] < r->count; i++) {
        const struct profile *p = r->host[f->host[i]].check.profile;
        json_array_append_new(hosts,
                              json_pack("{s:o, s:o}", "name", text(p->name), "address", text(p->address)));
    }
    return json_pack("{s:s, s:s, s:o, s:o, s:o}", "check", f->check, "level",
                     f->level == FINDING_RED ? "red" : "warn", "hosts", hosts, "text", text(f->text), "next",
                     text(f->hint));
}

json_t *report_survey(const struct survey_report *r)
{
    json_t *hosts = json_array(), *faults = json_array();
    bool green = true;
    for (size_t i = 0; i < r->count; i++)
        json_array_append_new(hosts, report_host(&r->host[i]));
    for (size_t i = 0; i < r->fault_count; i++) {
        json_array_append_new(faults, report_fault(r, &r->fault[i]));
        green &= r->fault[i].level != FINDING_RED;
    }
    return json_pack("{s:i, s:b, s:o, s:o}", "took_ms", (int)r->took_ms, "green", green, "hosts", hosts,
                     "faults", faults);
}

/* ---- the table ---- */

struct rows {
    struct writer_cell *cell;
    size_t count, room;
};

static struct writer_cell *add_row(struct rows *rows)
{
    return rows->count < rows->room ? &rows->cell[rows->count++ * COLUMNS] : NULL;
}

/* How much of the text goes on one line. */
static size_t line_of(const char *s)
{
    size_t n = strlen(s), at = WRAP_BYTES;
    if (n <= WRAP_BYTES)
        return n;
    while (at > 0 && s[at] != ' ')
        at--;
    return at > 0 ? at : WRAP_BYTES;
}

/* The first line goes into `first`, if there is one; the others into rows of their own. */
static void wrap(struct rows *rows, struct writer_cell *first, const char *text, enum writer_tint tint)
{
    char safe[ERR_TEXT_BYTES];
    writer_safe(safe, sizeof safe, text);
    for (const char *s = safe; *s; first = NULL) {
        size_t n = line_of(s);
        struct writer_cell *row = first ? first : add_row(rows);
        if (!row)
            return;
        snprintf(row[2].text, sizeof row[2].text, "%.*s", (int)n, s);
        row[2].tint = tint;
        s += n;
        s += *s == ' ';
    }
}

/* Hosts of one name are told apart by their addresses. */
static void name_hosts(struct writer_cell *cell, const json_t *fault)
{
    const json_t *hosts = json_object_get(fault, "hosts"), *host;
    const char *key = strcmp(writer_text(fault, "check"), "name") == 0 ? "address" : "name";
    size_t i, used = 0, room = 40;
    if (json_array_size(hosts) == 0)
        snprintf(cell->text, sizeof cell->text, "all");
    json_array_foreach(hosts, i, host)
    {
        char name[STEP_NAME_BYTES];
        writer_safe(name, sizeof name, writer_text(host, key));
        if (used > 0 && used + strlen(name) > room) {
            snprintf(cell->text + used, sizeof cell->text - used, " +%zu", json_array_size(hosts) - i);
            return;
        }
        used += (size_t)snprintf(cell->text + used, sizeof cell->text - used, "%s%s", used ? ", " : "", name);
    }
}

static void add_fault(struct rows *rows, const json_t *fault)
{
    bool red = strcmp(writer_text(fault, "level"), "red") == 0;
    struct writer_cell *row = add_row(rows);
    if (!row)
        return;
    writer_safe(row[0].text, sizeof row[0].text, writer_text(fault, "check"));
    row[0].tint = red ? TINT_BAD : TINT_WARN;
    name_hosts(&row[1], fault);
    wrap(rows, row, writer_text(fault, "text"), TINT_NONE);
    wrap(rows, NULL, writer_text(fault, "next"), TINT_DIM);
}

int report_survey_show(const struct writer *w, const json_t *survey, struct err *err)
{
    static const struct writer_column columns[COLUMNS] = {
        {"CHECK", false}, {"HOSTS AT FAULT", false}, {"WHAT, AND WHAT TO DO", false}};
    const json_t *faults = json_object_get(survey, "faults"), *fault;
    size_t i, hosts = json_array_size(json_object_get(survey, "hosts")), count = json_array_size(faults);
    struct rows rows = {.room = count * ROWS_EACH};
    char took[32];
    cleanup_free struct writer_cell *cells = calloc(rows.room ? rows.room * COLUMNS : 1, sizeof *cells);
    if (!cells)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    rows.cell = cells;
    writer_duration(took, sizeof took, json_integer_value(json_object_get(survey, "took_ms")));
    if (count == 0) {
        fprintf(w->to, "group: %zu host%s, nothing is wrong between them (%s)\n", hosts,
                hosts == 1 ? "" : "s", took);
        return 0;
    }
    fprintf(w->to, "group: %zu host%s, %zu fault%s (%s)\n", hosts, hosts == 1 ? "" : "s", count,
            count == 1 ? "" : "s", took);
    json_array_foreach(faults, i, fault) add_fault(&rows, fault);
    return writer_table(w, columns, COLUMNS, cells, rows.count, err);
}
