/* The configuration file, event by event, so that each fault is told with the line and column where it
 * stands. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "peer/config/config.h"
#include "protocol/mem.h"

struct reading {
    yaml_parser_t parser;
    struct config *cfg;
    const char *file;
    bool seen[128]; /* by index in the schema: a key given twice is a fault */
    bool seen_map[8];
    struct err *err;
};

/* The maps within the file, by the part of a key before its dot. */
static const char *const map_words[] = {"images", "packages", "multicast", "flannel", "tools", "roles"};

static void event_cleanup(yaml_event_t *event)
{
    yaml_event_delete(event);
}
#define cleanup_event __attribute__((cleanup(event_cleanup)))

/* Puts FILE:LINE:COLUMN before the error that is there. */
static int at(struct reading *r, yaml_mark_t mark)
{
    return err_wrap(r->err, "%s:%zu:%zu", r->file, mark.line + 1, mark.column + 1);
}

static int next(struct reading *r, yaml_event_t *event)
{
    yaml_mark_t mark;

    if (yaml_parser_parse(&r->parser, event))
        return 0;
    memset(event, 0, sizeof *event);
    if (r->parser.error == YAML_MEMORY_ERROR)
        return err_set(r->err, KPEER_ENOMEM, "%s: out of memory", r->file);
    mark = r->parser.problem_mark;
    err_set(r->err, KPEER_EINVAL, "this is not YAML: %s",
            r->parser.problem ? r->parser.problem : "unreadable");
    return at(r, mark);
}

/* What may stand nowhere in a configuration: aliases, anchors and tags make one text mean another. */
static int plain_event(struct reading *r, const yaml_event_t *e)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;

    if (e->type == YAML_ALIAS_EVENT) {
        err_set(r->err, KPEER_EINVAL, "aliases (*%s) are not allowed here", e->data.alias.anchor);
        return at(r, e->start_mark);
    }
    if (e->type == YAML_SCALAR_EVENT) {
        anchor = e->data.scalar.anchor;
        tag = e->data.scalar.tag;
    } else if (e->type == YAML_SEQUENCE_START_EVENT) {
        anchor = e->data.sequence_start.anchor;
        tag = e->data.sequence_start.tag;
    } else if (e->type == YAML_MAPPING_START_EVENT) {
        anchor = e->data.mapping_start.anchor;
        tag = e->data.mapping_start.tag;
    }
    if (!anchor && !tag)
        return 0;
    err_set(r->err, KPEER_EINVAL, "%s are not allowed here", anchor ? "anchors (&)" : "tags (!)");
    return at(r, e->start_mark);
}

/* The keys that may stand under `prefix` ("" or "flannel"), without it. Returns how many. */
static size_t keys_under(const char *prefix, const char *out[static 128])
{
    size_t n = 0, len = strlen(prefix);

    for (size_t i = 0; i < config_schema_count; i++) {
        const char *key = config_schema[i].key;

        if (len == 0 && !strchr(key, '.'))
            out[n++] = key;
        if (len && strncmp(key, prefix, len) == 0 && key[len] == '.')
            out[n++] = key + len + 1;
    }
    for (size_t i = 0; len == 0 && i < COUNT_OF(map_words); i++)
        out[n++] = map_words[i];
    return n;
}

static int unknown_key(struct reading *r, const char *prefix, const char *key, yaml_mark_t mark)
{
    const char *words[128];
    const char *near = config_nearest(key, words, keys_under(prefix, words));
    const char *where = *prefix ? " under " : "";

    if (near)
        err_set(r->err, KPEER_EINVAL, "unknown key \"%.60s\"%s%s: did you mean \"%s\"?", key, where, prefix,
                near);
    else
        err_set(r->err, KPEER_EINVAL, "unknown key \"%.60s\"%s%s", key, where, prefix);
    return at(r, mark);
}

/* Numbers, truth values and durations are written plainly: "3" in quotes is a text. */
static bool quoted_wrongly(const struct config_key *key, const yaml_event_t *e)
{
    bool plain_type = key->type == CONFIG_BOOL || key->type == CONFIG_UINT || key->type == CONFIG_PORT;

    return plain_type && e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
}

static int set_value(struct reading *r, const struct config_key *key, const yaml_event_t *e, bool append)
{
    const char *text = (const char *)e->data.scalar.value;

    if (strlen(text) != e->data.scalar.length)
        err_set(r->err, KPEER_EINVAL, "it has a NUL");
    else if (quoted_wrongly(key, e))
        err_set(r->err, KPEER_EINVAL, "it is a quoted text where a plain value belongs");
    else if ((*text == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0) &&
             e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
        err_set(r->err, KPEER_EINVAL, "it has no value");
    else if (append && strchr(text, ','))
        err_set(r->err, KPEER_EINVAL, "it has a comma: write one element a line");
    else if (config_set(r->cfg, key, text, append, r->err) == 0)
        return 0;
    err_wrap(r->err, "%s", key->key);
    return at(r, e->start_mark);
}

static int read_list(struct reading *r, const struct config_key *key)
{
    memset((char *)r->cfg + key->count_offset, 0, sizeof(size_t));
    for (;;) {
        cleanup_event yaml_event_t e = {0};
        int code = next(r, &e);

        if (!code)
            code = plain_event(r, &e);
        if (code)
            return code;
        if (e.type == YAML_SEQUENCE_END_EVENT)
            return 0;
        if (e.type != YAML_SCALAR_EVENT) {
            err_set(r->err, KPEER_EINVAL, "%s: a list of plain values is expected", key->key);
            return at(r, e.start_mark);
        }
        code = set_value(r, key, &e, true);
        if (code)
            return code;
    }
}

static int read_value(struct reading *r, const struct config_key *key)
{
    bool list = key->type == CONFIG_SEED_LIST || key->type == CONFIG_TEXT_LIST;
    cleanup_event yaml_event_t e = {0};
    int code = next(r, &e);

    if (!code)
        code = plain_event(r, &e);
    if (code)
        return code;
    if (list && e.type == YAML_SEQUENCE_START_EVENT)
        return read_list(r, key);
    if (!list && e.type == YAML_SCALAR_EVENT)
        return set_value(r, key, &e, false);
    err_set(r->err, KPEER_EINVAL, "%s: a %s is expected", key->key, list ? "list" : "single value");
    return at(r, e.start_mark);
}

static int mark_seen(struct reading *r, bool *seen, const char *key, yaml_mark_t mark)
{
    if (*seen) {
        err_set(r->err, KPEER_EINVAL, "the key \"%s\" is there twice", key);
        return at(r, mark);
    }
    *seen = true;
    return 0;
}

static int read_map(struct reading *r, const char *prefix);

/* The map that `key` names, or -1. */
static int map_index(const char *prefix, const char *key)
{
    for (size_t i = 0; *prefix == '\0' && i < COUNT_OF(map_words); i++)
        if (strcmp(map_words[i], key) == 0)
            return (int)i;
    return -1;
}

static int read_submap(struct reading *r, int map, yaml_mark_t mark)
{
    cleanup_event yaml_event_t e = {0};
    int code = mark_seen(r, &r->seen_map[map], map_words[map], mark);

    if (!code)
        code = next(r, &e);
    if (!code)
        code = plain_event(r, &e);
    if (code)
        return code;
    if (e.type == YAML_MAPPING_START_EVENT)
        return read_map(r, map_words[map]);
    err_set(r->err, KPEER_EINVAL, "%s: a map of keys is expected", map_words[map]);
    return at(r, e.start_mark);
}

/* One key, which is read already, and its value. */
static int read_pair(struct reading *r, const char *prefix, const yaml_event_t *e)
{
    const char *key = (const char *)e->data.scalar.value;
    int map = map_index(prefix, key);
    const struct config_key *entry;
    char dotted[96];
    int code;

    if (map >= 0)
        return read_submap(r, map, e->start_mark);
    snprintf(dotted, sizeof dotted, "%s%s%s", prefix, *prefix ? "." : "", key);
    entry = strchr(key, '.') || strlen(key) > 40 ? NULL : config_find_key(dotted);
    if (!entry)
        return unknown_key(r, prefix, key, e->start_mark);
    code = mark_seen(r, &r->seen[entry - config_schema], dotted, e->start_mark);
    return code ? code : read_value(r, entry);
}

static int read_map(struct reading *r, const char *prefix)
{
    for (;;) {
        cleanup_event yaml_event_t e = {0};
        int code = next(r, &e);

        if (!code)
            code = plain_event(r, &e);
        if (code)
            return code;
        if (e.type == YAML_MAPPING_END_EVENT)
            return 0;
        if (e.type != YAML_SCALAR_EVENT) {
            err_set(r->err, KPEER_EINVAL, "a key is expected");
            return at(r, e.start_mark);
        }
        code = read_pair(r, prefix, &e);
        if (code)
            return code;
    }
}

/* Whether a document's root is nothing at all (a file of comments). */
static bool empty_root(const yaml_event_t *e)
{
    return e->type == YAML_SCALAR_EVENT && e->data.scalar.length == 0 &&
           e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

static int read_root(struct reading *r)
{
    cleanup_event yaml_event_t e = {0};
    int code = next(r, &e);

    if (!code)
        code = plain_event(r, &e);
    if (code || empty_root(&e))
        return code;
    if (e.type == YAML_MAPPING_START_EVENT)
        return read_map(r, "");
    err_set(r->err, KPEER_EINVAL, "a map of keys is expected");
    return at(r, e.start_mark);
}

/* Reads events until the stream ends; one document at most. */
static int read_stream(struct reading *r)
{
    bool document = false;

    for (;;) {
        cleanup_event yaml_event_t e = {0};
        int code = next(r, &e);

        if (code || e.type == YAML_STREAM_END_EVENT)
            return code;
        if (e.type != YAML_DOCUMENT_START_EVENT)
            continue;
        if (document) {
            err_set(r->err, KPEER_EINVAL, "a second document begins here; there may be one");
            return at(r, e.start_mark);
        }
        document = true;
        code = read_root(r);
        if (code)
            return code;
    }
}

int config_parse_yaml(struct config *cfg, const char *file, const char *text, size_t n, struct err *err)
{
    struct err own = {0};
    struct reading r = {.cfg = cfg, .file = file, .err = err ? err : &own};
    int code;

    if (n > CONFIG_FILE_BYTES)
        return err_set(r.err, KPEER_ELIMIT, "%s: larger than %d KiB", file, CONFIG_FILE_BYTES / 1024);
    if (config_schema_count > COUNT_OF(r.seen) || COUNT_OF(map_words) > COUNT_OF(r.seen_map))
        return err_set(r.err, KPEER_ELIMIT, "the schema has outgrown its reader");
    if (!yaml_parser_initialize(&r.parser))
        return err_set(r.err, KPEER_ENOMEM, "out of memory");
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, n);
    code = read_stream(&r);
    yaml_parser_delete(&r.parser);
    return code;
}
