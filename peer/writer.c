#include "peer/writer.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <yaml.h>

#include "protocol/mem.h"

#define COLUMNS_MAX 16

int writer_format_parse(const char *word, enum writer_format *out, struct err *err)
{
    static const char *const words[] = {"table", "wide", "json", "yaml"};

    for (size_t i = 0; i < COUNT_OF(words); i++) {
        if (strcmp(words[i], word) == 0) {
            *out = (enum writer_format)i;
            return 0;
        }
    }
    return err_set(err, KPEER_EINVAL, "-o %.20s: table, wide, json or yaml is expected", word);
}

static bool is_able_terminal(FILE *to)
{
    const char *term = getenv("TERM");

    return term && strcmp(term, "dumb") != 0 && isatty(fileno(to));
}

bool writer_wants_color(FILE *to, bool no_color)
{
    const char *none = getenv("NO_COLOR");

    return !no_color && !(none && *none) && is_able_terminal(to);
}

bool writer_is_live(const struct writer *w)
{
    return !writer_is_data(w) && is_able_terminal(w->to);
}

void writer_screen(const struct writer *w, size_t *rows, size_t *columns)
{
    struct winsize size = {0};

    (void)ioctl(fileno(w->to), TIOCGWINSZ, &size);
    *rows = size.ws_row < 4 ? 24 : size.ws_row;
    *columns = size.ws_col < 20 ? 80 : size.ws_col;
}

enum writer_tint writer_member_tint(const char *word)
{
    static const struct {
        const char *word;
        enum writer_tint tint;
    } words[] = {{"alive", TINT_GOOD}, {"ready", TINT_GOOD}, {"suspect", TINT_WARN},
                 {"failed", TINT_BAD}, {"left", TINT_DIM},   {"leaving", TINT_WARN}};

    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (strcmp(words[i].word, word) == 0)
            return words[i].tint;
    return TINT_NONE;
}

static const char *const tints[] = {"", "\033[32m", "\033[33m", "\033[31m", "\033[2m", "\033[1m"};

const char *writer_tint_on(const struct writer *w, enum writer_tint tint)
{
    return w->color ? tints[tint] : "";
}

const char *writer_tint_off(const struct writer *w, enum writer_tint tint)
{
    return w->color && tint ? "\033[0m" : "";
}

static int flushed(FILE *to, struct err *err)
{
    if (fflush(to) == 0 && !ferror(to))
        return 0;
    return err_errno(err, errno, "writing the output");
}

/* A scalar's text; numbers and truth values stay plain, texts are quoted only where they would read as such.
 */
static int emit_scalar(yaml_emitter_t *emitter, const char *text, bool is_text)
{
    static const char *const not_text[] = {"true", "false", "null", "yes", "no", "on", "off", "~", ""};
    yaml_scalar_style_t style = YAML_PLAIN_SCALAR_STYLE;
    yaml_event_t event;

    if (is_text && strchr(text, '\n'))
        style = YAML_LITERAL_SCALAR_STYLE;
    else if (is_text &&
             (text[0] == '-' || text[0] == '+' || text[0] == '.' || (text[0] >= '0' && text[0] <= '9')))
        style = YAML_DOUBLE_QUOTED_SCALAR_STYLE;
    for (size_t i = 0; is_text && i < COUNT_OF(not_text); i++)
        if (strcasecmp(text, not_text[i]) == 0)
            style = YAML_DOUBLE_QUOTED_SCALAR_STYLE;
    return yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text, (int)strlen(text), 1,
                                        1, style) &&
           yaml_emitter_emit(emitter, &event);
}

static int emit(yaml_emitter_t *emitter, const json_t *value);

static int emit_object(yaml_emitter_t *emitter, const json_t *value)
{
    yaml_event_t event;
    const char *key;
    json_t *element;

    if (!yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE) ||
        !yaml_emitter_emit(emitter, &event))
        return 0;
    json_object_foreach((json_t *)(uintptr_t)value, key, element)
    {
        if (!emit_scalar(emitter, key, true) || !emit(emitter, element))
            return 0;
    }
    return yaml_mapping_end_event_initialize(&event) && yaml_emitter_emit(emitter, &event);
}

static int emit_list(yaml_emitter_t *emitter, const json_t *value)
{
    yaml_event_t event;

    if (!yaml_sequence_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_SEQUENCE_STYLE) ||
        !yaml_emitter_emit(emitter, &event))
        return 0;
    for (size_t i = 0; i < json_array_size(value); i++)
        if (!emit(emitter, json_array_get(value, i)))
            return 0;
    return yaml_sequence_end_event_initialize(&event) && yaml_emitter_emit(emitter, &event);
}

static int emit(yaml_emitter_t *emitter, const json_t *value)
{
    char number[32];

    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return emit_object(emitter, value);
    case JSON_ARRAY:
        return emit_list(emitter, value);
    case JSON_STRING:
        return emit_scalar(emitter, json_string_value(value), true);
    case JSON_INTEGER:
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(value));
        return emit_scalar(emitter, number, false);
    case JSON_TRUE:
        return emit_scalar(emitter, "true", false);
    case JSON_FALSE:
        return emit_scalar(emitter, "false", false);
    default:
        return emit_scalar(emitter, "null", false);
    }
}

static int write_yaml(FILE *to, const json_t *value, struct err *err)
{
    yaml_emitter_t emitter;
    yaml_event_t event;
    int ok;

    if (!yaml_emitter_initialize(&emitter))
        return err_set(err, KPEER_ENOMEM, "out of memory");
    yaml_emitter_set_output_file(&emitter, to);
    yaml_emitter_set_unicode(&emitter, 1);
    yaml_emitter_set_width(&emitter, -1);
    ok = yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING) &&
         yaml_emitter_emit(&emitter, &event) &&
         yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 0) &&
         yaml_emitter_emit(&emitter, &event) && emit(&emitter, value) &&
         yaml_document_end_event_initialize(&event, 1) && yaml_emitter_emit(&emitter, &event) &&
         yaml_stream_end_event_initialize(&event) && yaml_emitter_emit(&emitter, &event);
    yaml_emitter_delete(&emitter);
    return ok ? flushed(to, err) : err_set(err, KPEER_EIO, "writing YAML failed");
}

int writer_value(const struct writer *w, const json_t *value, struct err *err)
{
    if (w->format == WRITE_YAML)
        return write_yaml(w->to, value, err);
    if (json_dumpf(value, w->to, JSON_INDENT(2) | JSON_ENCODE_ANY) || fputc('\n', w->to) == EOF)
        return err_set(err, KPEER_EIO, "writing the output failed");
    return flushed(w->to, err);
}

int writer_line(const struct writer *w, const json_t *value, struct err *err)
{
    if (w->format == WRITE_YAML) /* a document of its own, by its "---" */
        return write_yaml(w->to, value, err);
    if (json_dumpf(value, w->to, JSON_COMPACT | JSON_ENCODE_ANY) || fputc('\n', w->to) == EOF)
        return err_set(err, KPEER_EIO, "writing the output failed");
    return flushed(w->to, err);
}

/* Length of the UTF-8 sequence at `s`, 0 where it is none; *point the character. */
static size_t utf8_unit(const unsigned char *s, unsigned *point)
{
    size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;

    *point = n == 1 ? s[0] : n ? s[0] & (0xffu >> (n + 1)) : 0;
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        *point = *point << 6 | (s[i] & 0x3fu);
    }
    return n;
}

void writer_safe(char *out, size_t room, const char *text)
{
    size_t used = 0;

    while (*text) {
        unsigned point;
        size_t n = utf8_unit((const unsigned char *)text, &point);
        bool harmless = n && point >= 0x20 && !(point >= 0x7f && point < 0xa0) &&
                        !(point >= 0x202a && point <= 0x202e) && !(point >= 0x2066 && point <= 0x2069);

        if (used + (harmless ? n : 1) >= room)
            break;
        if (harmless)
            memcpy(out + used, text, n);
        else
            out[used] = point == '\t' || point == '\n' ? ' ' : '?';
        used += harmless ? n : 1;
        text += n ? n : 1;
    }
    out[used] = '\0';
}

/* Columns on a terminal: combining marks take none, East Asian and the like two. */
static size_t char_width(unsigned c)
{
    if ((c >= 0x300 && c <= 0x36f) || (c >= 0x200b && c <= 0x200f) || c == 0xfeff ||
        (c >= 0xfe00 && c <= 0xfe0f))
        return 0;
    if ((c >= 0x1100 && c <= 0x115f) || (c >= 0x2e80 && c <= 0xa4cf) || (c >= 0xac00 && c <= 0xd7a3) ||
        (c >= 0xf900 && c <= 0xfaff) || (c >= 0xfe30 && c <= 0xfe6f) || (c >= 0xff00 && c <= 0xff60) ||
        (c >= 0xffe0 && c <= 0xffe6) || (c >= 0x1f300 && c <= 0x1faff) || (c >= 0x20000 && c <= 0x3fffd))
        return 2;
    return 1;
}

static size_t text_width(const char *text)
{
    size_t width = 0;

    while (*text) {
        unsigned point;
        size_t n = utf8_unit((const unsigned char *)text, &point);

        width += n ? char_width(point) : 1;
        text += n ? n : 1;
    }
    return width;
}

size_t writer_cut(char *out, size_t room, const char *text, size_t columns)
{
    static const char ellipsis[] = "…";
    size_t whole = text_width(text), used = 0, width = 0;
    bool cut = whole > columns;

    while (*text) {
        unsigned point;
        size_t n = utf8_unit((const unsigned char *)text, &point), bytes = n ? n : 1;
        size_t wide = n ? char_width(point) : 1;

        if (used + bytes + sizeof ellipsis > room || width + wide + cut > columns)
            break;
        memcpy(out + used, text, bytes);
        used += bytes;
        width += wide;
        text += bytes;
    }
    if (*text && width < columns && used + sizeof ellipsis <= room) {
        memcpy(out + used, ellipsis, sizeof ellipsis - 1);
        used += sizeof ellipsis - 1;
        width++;
    }
    out[used] = '\0';
    return width;
}

static void put_cell(const struct writer *w, const char *text, enum writer_tint tint, size_t width, bool last)
{
    fprintf(w->to, "%s%s%s", writer_tint_on(w, tint), text, writer_tint_off(w, tint));
    if (!last)
        fprintf(w->to, "%*s", (int)(width - text_width(text) + 2), "");
}

int writer_table(const struct writer *w, const struct writer_column *column, size_t columns,
                 const struct writer_cell *cells, size_t rows, struct err *err)
{
    size_t width[COLUMNS_MAX] = {0}, shown[COLUMNS_MAX], count = 0;

    for (size_t c = 0; c < columns && c < COLUMNS_MAX; c++) {
        if (column[c].wide_only && w->format != WRITE_WIDE)
            continue;
        shown[count++] = c;
        width[c] = text_width(column[c].title);
        for (size_t r = 0; r < rows; r++) {
            size_t n = text_width(cells[r * columns + c].text);

            width[c] = n > width[c] ? n : width[c];
        }
    }
    for (size_t i = 0; i < count; i++)
        put_cell(w, column[shown[i]].title, TINT_BOLD, width[shown[i]], i + 1 == count);
    fputc('\n', w->to);
    for (size_t r = 0; r < rows; r++) {
        for (size_t i = 0; i < count; i++) {
            const struct writer_cell *cell = &cells[r * columns + shown[i]];

            put_cell(w, cell->text, cell->tint, width[shown[i]], i + 1 == count);
        }
        fputc('\n', w->to);
    }
    return flushed(w->to, err);
}

const char *writer_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

void writer_duration(char *out, size_t room, long long ms)
{
    if (ms < 1000)
        snprintf(out, room, "%lld ms", ms);
    else if (ms < 60000)
        snprintf(out, room, "%lld.%lld s", ms / 1000, ms % 1000 / 100);
    else if (ms < 3600000)
        snprintf(out, room, "%lld min %lld s", ms / 60000, ms % 60000 / 1000);
    else
        snprintf(out, room, "%lld h %lld min", ms / 3600000, ms % 3600000 / 60000);
}
