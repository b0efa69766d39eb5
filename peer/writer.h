/*
 * Renders a report (a JSON tree) as a table, JSON or YAML. Text from outside is made harmless for terminals
 * here. Commands are the only callers.
 */
#ifndef KPEER_WRITER_H
#define KPEER_WRITER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "protocol/err.h"

enum writer_format { WRITE_TABLE = 0, WRITE_WIDE, WRITE_JSON, WRITE_YAML };

struct writer {
    FILE *to;
    enum writer_format format;
    bool color;
};

/* "table", "wide", "json", "yaml". KPEER_EINVAL for another word. */
int writer_format_parse(const char *word, enum writer_format *out, struct err *err);

/* Whether colours belong on this stream: a terminal that is not dumb, and neither NO_COLOR nor --no-color. */
bool writer_wants_color(FILE *to, bool no_color);

/* Makes a writer's look: for JSON and YAML the other functions are not called. */
static inline bool writer_is_data(const struct writer *w)
{
    return w->format == WRITE_JSON || w->format == WRITE_YAML;
}

/* Whether something may be drawn and drawn over: tables on a terminal that is not dumb. */
bool writer_is_live(const struct writer *w);

/* The terminal's size; 24 rows of 80 columns where it does not tell, or tells nonsense. */
void writer_screen(const struct writer *w, size_t *rows, size_t *columns);

/* One value as JSON (indented, or on one line) or YAML. KPEER_EIO when it cannot be written. */
int writer_value(const struct writer *w, const json_t *value, struct err *err);
int writer_line(const struct writer *w, const json_t *value, struct err *err);

enum writer_tint { TINT_NONE = 0, TINT_GOOD, TINT_WARN, TINT_BAD, TINT_DIM, TINT_BOLD };

struct writer_column {
    const char *title;
    bool wide_only;
};

/* A cell's text is the caller's until the table is done. */
struct writer_cell {
    char text[160];
    enum writer_tint tint;
};

/* Rows of `columns` cells each, with the titles; widths are measured in characters as a terminal shows them.
 */
int writer_table(const struct writer *w, const struct writer_column *column, size_t columns,
                 const struct writer_cell *cells, size_t rows, struct err *err);

/* Copies text without control characters; cut at whole characters. */
void writer_safe(char *out, size_t room, const char *text);

/* Copies as much of a text as fits into `columns` of a terminal, and into `room`; returns the columns it
 * takes. An ellipsis ends what was cut. */
size_t writer_cut(char *out, size_t room, const char *text, size_t columns);

/* A text field of an object; "" where it is none. */
const char *writer_text(const json_t *object, const char *key);

/* "1.234 s", "2 min 5 s", "340 ms". */
void writer_duration(char *out, size_t room, long long ms);

/* For a member's state or phase. */
enum writer_tint writer_member_tint(const char *word);

/* The escape sequence that begins and ends a tint, "" without colour. */
const char *writer_tint_on(const struct writer *w, enum writer_tint tint);
const char *writer_tint_off(const struct writer *w, enum writer_tint tint);

#endif
