#include "peer/executor/host/parse_toml.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/mem.h"

#define NEST_MAX 16

struct key_path {
    char keys[TOML_DEPTH][TOML_KEY_BYTES];
    size_t count;
};

enum item_kind { ITEM_END, ITEM_TABLE, ITEM_TABLES, ITEM_VALUE };

struct item {
    enum item_kind kind;
    struct key_path path; /* in full */
    size_t header;        /* VALUE: how many keys of it are the table's */
    enum toml_kind value; /* VALUE */
    size_t from, to;      /* VALUE: where it stands; TABLE: to is after its line, from its start */
};

struct scan {
    const char *text;
    size_t n, at, line;
    struct key_path table;
};

static int fault(const struct scan *s, struct err *err)
{
    return err_set(err, KPEER_EINVAL, "line %zu is not understood", s->line);
}

static char peek(const struct scan *s)
{
    return s->at < s->n ? s->text[s->at] : 0;
}

static void skip_blanks(struct scan *s)
{
    while (peek(s) == ' ' || peek(s) == '\t')
        s->at++;
}

static void skip_comment(struct scan *s)
{
    if (peek(s) == '#')
        while (s->at < s->n && s->text[s->at] != '\n')
            s->at++;
}

/* Blanks, comments and newlines. */
static void skip_space(struct scan *s)
{
    for (;;) {
        skip_blanks(s);
        skip_comment(s);
        if (peek(s) == '\r')
            s->at++;
        if (peek(s) != '\n')
            return;
        s->at++;
        s->line++;
    }
}

/* What ends a line that says something. */
static int end_line(struct scan *s, struct err *err)
{
    skip_blanks(s);
    skip_comment(s);
    if (peek(s) == '\r')
        s->at++;
    if (s->at == s->n)
        return 0;
    if (peek(s) != '\n')
        return fault(s, err);
    s->at++;
    s->line++;
    return 0;
}

static bool is_bare(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '-';
}

/* One part of a key; one with escapes is beyond what is understood. */
static int take_key(struct scan *s, char out[static TOML_KEY_BYTES], struct err *err)
{
    char quote = peek(s);
    size_t from, n = 0;

    if (quote == '"' || quote == '\'') {
        from = ++s->at;
        while (peek(s) != quote && peek(s) != '\n' && peek(s) != '\\' && peek(s))
            s->at++;
        if (peek(s) != quote)
            return fault(s, err);
        n = s->at++ - from;
    } else {
        from = s->at;
        while (is_bare(peek(s)))
            s->at++;
        n = s->at - from;
        if (n == 0)
            return fault(s, err);
    }
    if (n >= TOML_KEY_BYTES)
        return fault(s, err);
    memcpy(out, s->text + from, n);
    out[n] = 0;
    return 0;
}

/* a."b.c".d, after what is in `path` already. */
static int take_path(struct scan *s, struct key_path *path, struct err *err)
{
    for (;;) {
        int code;

        skip_blanks(s);
        if (path->count == TOML_DEPTH)
            return fault(s, err);
        code = take_key(s, path->keys[path->count], err);
        if (code)
            return code;
        path->count++;
        skip_blanks(s);
        if (peek(s) != '.')
            return 0;
        s->at++;
    }
}

static int take_long_string(struct scan *s, char quote, struct err *err)
{
    const char ends[4] = {quote, quote, quote, 0};

    s->at += 3;
    while (s->at < s->n) {
        if (quote == '"' && peek(s) == '\\' && s->at + 1 < s->n) {
            s->at += 2;
        } else if (s->n - s->at >= 3 && memcmp(s->text + s->at, ends, 3) == 0) {
            s->at += 3;
            while (peek(s) == quote) /* up to two more may be its content */
                s->at++;
            return 0;
        } else {
            s->line += peek(s) == '\n';
            s->at++;
        }
    }
    return fault(s, err);
}

static int take_string(struct scan *s, enum toml_kind *kind, struct err *err)
{
    char quote = peek(s);

    *kind = TOML_STRING;
    if (s->n - s->at >= 3 && s->text[s->at + 1] == quote && s->text[s->at + 2] == quote) {
        *kind = TOML_OTHER;
        return take_long_string(s, quote, err);
    }
    s->at++;
    while (peek(s) != quote) {
        if (!peek(s) || peek(s) == '\n')
            return fault(s, err);
        if (quote == '"' && peek(s) == '\\') {
            *kind = TOML_OTHER;
            s->at++;
        }
        s->at++;
        if (s->at > s->n)
            return fault(s, err);
    }
    s->at++;
    return 0;
}

static int take_value(struct scan *s, unsigned depth, enum toml_kind *kind, struct err *err);

static int take_array(struct scan *s, unsigned depth, enum toml_kind *kind, struct err *err)
{
    enum toml_kind inner;
    int code = 0;

    *kind = TOML_STRINGS;
    s->at++;
    for (;;) {
        skip_space(s);
        if (peek(s) == ']')
            break;
        code = take_value(s, depth + 1, &inner, err);
        if (code)
            return code;
        if (inner != TOML_STRING)
            *kind = TOML_OTHER;
        skip_space(s);
        if (peek(s) == ',')
            s->at++;
        else if (peek(s) != ']')
            return fault(s, err);
    }
    s->at++;
    return 0;
}

static int take_inline(struct scan *s, unsigned depth, struct err *err)
{
    enum toml_kind inner;
    struct key_path path;

    s->at++;
    skip_blanks(s);
    while (peek(s) != '}') {
        path.count = 0;
        if (take_path(s, &path, err))
            return KPEER_EINVAL;
        if (peek(s) != '=')
            return fault(s, err);
        s->at++;
        skip_blanks(s);
        if (take_value(s, depth + 1, &inner, err))
            return KPEER_EINVAL;
        skip_blanks(s);
        if (peek(s) == ',')
            s->at++;
        else if (peek(s) != '}')
            return fault(s, err);
        skip_blanks(s);
    }
    s->at++;
    return 0;
}

static int take_word(struct scan *s, enum toml_kind *kind, struct err *err)
{
    size_t from = s->at, n;

    while (isalnum((unsigned char)peek(s)) || (peek(s) && strchr("+-._:", peek(s))))
        s->at++;
    n = s->at - from;
    if (n == 0)
        return fault(s, err);
    if ((n == 4 && memcmp(s->text + from, "true", 4) == 0) ||
        (n == 5 && memcmp(s->text + from, "false", 5) == 0))
        *kind = TOML_BOOL;
    else if (strchr("+-0123456789", s->text[from]))
        *kind = TOML_NUMBER;
    else
        return fault(s, err);
    return 0;
}

static int take_value(struct scan *s, unsigned depth, enum toml_kind *kind, struct err *err)
{
    *kind = TOML_OTHER;
    if (depth > NEST_MAX)
        return fault(s, err);
    if (peek(s) == '"' || peek(s) == '\'')
        return take_string(s, kind, err);
    if (peek(s) == '[')
        return take_array(s, depth, kind, err);
    if (peek(s) == '{')
        return take_inline(s, depth, err);
    return take_word(s, kind, err);
}

static int take_table(struct scan *s, struct item *item, struct err *err)
{
    bool many = s->at + 1 < s->n && s->text[s->at + 1] == '[';
    int code;

    item->kind = many ? ITEM_TABLES : ITEM_TABLE;
    item->from = s->at;
    s->at += many ? 2 : 1;
    s->table.count = 0;
    code = take_path(s, &s->table, err);
    if (code)
        return code;
    for (int i = 0; i < (many ? 2 : 1); i++) {
        if (peek(s) != ']')
            return fault(s, err);
        s->at++;
    }
    item->path = s->table;
    code = end_line(s, err);
    item->to = s->at;
    return code;
}

static int next_item(struct scan *s, struct item *item, struct err *err)
{
    int code;

    skip_space(s);
    item->kind = ITEM_END;
    if (s->at == s->n)
        return 0;
    if (peek(s) == '[')
        return take_table(s, item, err);
    item->kind = ITEM_VALUE;
    item->path = s->table;
    item->header = s->table.count;
    code = take_path(s, &item->path, err);
    if (code)
        return code;
    if (peek(s) != '=')
        return fault(s, err);
    s->at++;
    skip_blanks(s);
    item->from = s->at;
    code = take_value(s, 0, &item->value, err);
    item->to = s->at;
    return code ? code : end_line(s, err);
}

/* How many first keys are alike. */
static size_t alike(const struct key_path *a, const struct toml_path *b)
{
    size_t n = 0;

    while (n < a->count && n < b->count && strcmp(a->keys[n], b->keys[n]) == 0)
        n++;
    return n;
}

/* What a walk over the whole file finds of a path. */
struct found {
    struct item value; /* at the path */
    struct item table; /* the heading of the table it belongs to */
    bool below;        /* anything at or below the path */
    bool closed;       /* the path leads into an inline table, a list of tables or dotted keys */
    bool listed;       /* it leads into a list of tables: which of them is meant? */
};

static void note_item(const struct item *item, const struct toml_path *path, struct found *f)
{
    size_t same = alike(&item->path, path);
    bool leads = same == item->path.count && same < path->count; /* a proper start of the path */

    if (item->kind == ITEM_VALUE && same == path->count && same == item->path.count)
        f->value = *item;
    if (same == path->count)
        f->below = true;
    if (item->kind == ITEM_TABLE && leads && same + 1 == path->count)
        f->table = *item;
    if (leads && (item->kind == ITEM_VALUE || item->kind == ITEM_TABLES))
        f->closed = true;
    if (leads && item->kind == ITEM_TABLES)
        f->listed = true;
    /* A table made by dotted keys under another heading takes no heading of its own. */
    if (item->kind == ITEM_VALUE && path->count > 0 && same + 1 >= path->count &&
        item->path.count >= path->count && item->header + 1 < path->count && path->count > 1)
        f->closed = true;
}

static int walk(const char *text, size_t n, const struct toml_path *path, struct found *f, struct err *err)
{
    struct scan s = {.text = text, .n = n, .line = 1};
    struct item item = {0};

    memset(f, 0, sizeof(*f));
    if (n > TOML_MAX)
        return err_set(err, KPEER_ELIMIT, "it is larger than %d bytes", TOML_MAX);
    if (memchr(text, 0, n))
        return err_set(err, KPEER_EINVAL, "it holds bytes that are no text");
    do {
        bool had = f->value.kind == ITEM_VALUE;
        int code;

        f->value.kind = had ? ITEM_END : f->value.kind;
        code = next_item(&s, &item, err);
        if (code)
            return code;
        if (item.kind != ITEM_END)
            note_item(&item, path, f);
        if (had && f->value.kind == ITEM_VALUE)
            return err_set(err, KPEER_EINVAL, "%s is there twice", path->keys[path->count - 1]);
        f->value.kind = had ? ITEM_VALUE : f->value.kind;
    } while (item.kind != ITEM_END);
    if (f->listed && f->value.kind == ITEM_VALUE)
        return err_set(err, KPEER_EINVAL, "%s is in a list of tables", path->keys[path->count - 1]);
    return 0;
}

int toml_check(const char *text, size_t n, struct err *err)
{
    const struct toml_path none = {.count = 0};
    struct found f;

    return walk(text, n, &none, &f, err);
}

int toml_get(const char *text, size_t n, const struct toml_path *path, struct toml_value *out,
             struct err *err)
{
    struct found f;
    int code = walk(text, n, path, &f, err);
    size_t bytes, quotes;

    if (code)
        return code;
    memset(out, 0, sizeof(*out));
    if (f.value.kind != ITEM_VALUE)
        return f.closed && !f.below
                   ? err_set(err, KPEER_EINVAL, "%s is written in a form that is not understood",
                             path->keys[path->count - 1])
                   : 0;
    quotes = f.value.value == TOML_STRING;
    bytes = f.value.to - f.value.from - 2 * quotes;
    out->kind = f.value.value;
    if (out->kind == TOML_OTHER || out->kind == TOML_STRINGS)
        return 0;
    if (bytes >= sizeof(out->text))
        return err_set(err, KPEER_ELIMIT, "the value of %s is too long", path->keys[path->count - 1]);
    memcpy(out->text, text + f.value.from + quotes, bytes);
    return 0;
}

int toml_has_below(const char *text, size_t n, const struct toml_path *path, bool *has, struct err *err)
{
    struct found f;
    int code = walk(text, n, path, &f, err);

    if (code == 0)
        *has = f.below;
    return code;
}

/* Bytes from..to of a text in place of which `fresh` stands. */
static int splice(const char *text, size_t n, size_t from, size_t to, const char *fresh, char **out,
                  size_t *out_bytes, struct err *err)
{
    size_t more = strlen(fresh);
    char *bytes = malloc(n - (to - from) + more + 1);

    if (!bytes)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    memcpy(bytes, text, from);
    memcpy(bytes + from, fresh, more);
    memcpy(bytes + from + more, text + to, n - to);
    *out_bytes = n - (to - from) + more;
    bytes[*out_bytes] = 0;
    *out = bytes;
    return 0;
}

/* The bare words and quoted keys of a heading; all keys are this program's own. */
static void write_heading(const struct toml_path *path, char *out, size_t out_bytes)
{
    size_t used = (size_t)snprintf(out, out_bytes, "\n[");

    for (size_t i = 0; i + 1 < path->count && used < out_bytes; i++) {
        bool bare = true;

        for (const char *c = path->keys[i]; *c; c++)
            bare = bare && is_bare(*c);
        used += (size_t)snprintf(out + used, out_bytes - used, "%s%s%s%s", i ? "." : "", bare ? "" : "\"",
                                 path->keys[i], bare ? "" : "\"");
    }
    if (used < out_bytes)
        snprintf(out + used, out_bytes - used, "]\n");
}

static int add_line(const char *text, size_t n, const struct toml_path *path, const struct found *f,
                    const char *value, char **out, size_t *out_bytes, struct err *err)
{
    const char *key = path->keys[path->count - 1];
    char heading[640] = "", line[1200];
    size_t at = f->table.kind == ITEM_TABLE ? f->table.to : path->count == 1 ? 0 : n;
    bool open = at && text[at - 1] != '\n'; /* the last line has no newline */

    if (at == n && path->count > 1 && f->table.kind != ITEM_TABLE)
        write_heading(path, heading, sizeof(heading));
    snprintf(line, sizeof(line), "%s%s%s%s = %s\n", open ? "\n" : "", heading, path->count > 1 ? "  " : "",
             key, value);
    return splice(text, n, at, at, line, out, out_bytes, err);
}

int toml_set(const char *text, size_t n, const struct toml_path *path, const char *value, char **out,
             size_t *out_bytes, struct err *err)
{
    struct found f;
    int code = walk(text, n, path, &f, err);

    if (code)
        return code;
    if (f.value.kind == ITEM_VALUE)
        return splice(text, n, f.value.from, f.value.to, value, out, out_bytes, err);
    if (f.closed || f.below)
        return err_set(err, KPEER_EINVAL, "%s is written in a form that is not understood",
                       path->keys[path->count - 1]);
    return add_line(text, n, path, &f, value, out, out_bytes, err);
}

/* Walks the strings of a list; each word but `drop` goes into `kept` as TOML writes it, where that is not
 * NULL.
 */
static int walk_list(const char *text, const struct found *f, const char *drop, bool *has, char *kept,
                     size_t kept_bytes, struct err *err)
{
    struct scan s = {.text = text, .n = f->value.to, .at = f->value.from + 1, .line = 1};
    enum toml_kind kind;
    size_t used = 0;

    *has = false;
    for (;;) {
        size_t from, n;

        skip_space(&s);
        if (peek(&s) == ',')
            s.at++;
        skip_space(&s);
        if (peek(&s) == ']')
            return 0;
        from = s.at;
        if (take_string(&s, &kind, err))
            return KPEER_EINVAL;
        n = s.at - from;
        if (n - 2 == strlen(drop) && memcmp(text + from + 1, drop, n - 2) == 0) {
            *has = true;
        } else if (kept) {
            if (used + n + 4 > kept_bytes)
                return err_set(err, KPEER_ELIMIT, "a list is too long");
            used += (size_t)snprintf(kept + used, kept_bytes - used, "%s%.*s", used ? ", " : "", (int)n,
                                     text + from);
        }
    }
}

static int find_list(const char *text, size_t n, const struct toml_path *path, struct found *f,
                     struct err *err)
{
    int code = walk(text, n, path, f, err);

    if (code == 0 && f->value.kind == ITEM_VALUE && f->value.value != TOML_STRINGS)
        code = err_set(err, KPEER_EINVAL, "%s is no list of words", path->keys[path->count - 1]);
    return code;
}

int toml_list_has(const char *text, size_t n, const struct toml_path *path, const char *word, bool *has,
                  struct err *err)
{
    struct found f;
    int code = find_list(text, n, path, &f, err);

    if (code)
        return code;
    *has = false;
    return f.value.kind == ITEM_VALUE ? walk_list(text, &f, word, has, NULL, 0, err) : 0;
}

int toml_list_drop(const char *text, size_t n, const struct toml_path *path, const char *word, char **out,
                   size_t *out_bytes, struct err *err)
{
    char words[2048] = "", list[2100];
    struct found f;
    bool has;
    int code = find_list(text, n, path, &f, err);

    if (code)
        return code;
    if (f.value.kind != ITEM_VALUE)
        return splice(text, n, 0, 0, "", out, out_bytes, err);
    code = walk_list(text, &f, word, &has, words, sizeof(words), err);
    if (code)
        return code;
    if (!has)
        return splice(text, n, 0, 0, "", out, out_bytes, err);
    snprintf(list, sizeof(list), "[%s]", words);
    return splice(text, n, f.value.from, f.value.to, list, out, out_bytes, err);
}
