#include "peer/executor/kube/yamlout.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The tags of libyaml are mutable by type though not by use. */
#define TAG(literal) ((yaml_char_t *)(uintptr_t)(literal))

/* Grows by copying: realloc would leave an unwiped copy behind. */
static bool grow(struct yamlout *y, size_t need)
{
    size_t room = y->room ? y->room : 4096;
    while (room < need)
        room *= 2;
    if (room > YAMLOUT_MAX_BYTES)
        return false;
    char *bytes = malloc(room);
    if (!bytes)
        return false;
    if (y->bytes) {
        memcpy(bytes, y->bytes, y->n);
        yamlout_free(y->bytes, y->room);
    }
    y->bytes = bytes;
    y->room = room;
    return true;
}

static int keep(void *data, unsigned char *bytes, size_t n)
{
    struct yamlout *y = data;
    if (n >= YAMLOUT_MAX_BYTES - y->n)
        return 0;
    if (y->n + n + 1 > y->room && !grow(y, y->n + n + 1))
        return 0;
    memcpy(y->bytes + y->n, bytes, n);
    y->n += n;
    y->bytes[y->n] = '\0';
    return 1;
}

static void emit(struct yamlout *y, yaml_event_t *event, int made)
{
    if (!made) {
        y->failed = true;
        return;
    }
    if (y->failed) {
        yaml_event_delete(event);
        return;
    }
    if (!yaml_emitter_emit(&y->emitter, event)) /* which owns the event from now on */
        y->failed = true;
}

static void scalar(struct yamlout *y, const char *value, yaml_scalar_style_t style)
{
    yaml_event_t event;
    size_t n = strlen(value);
    if (n > YAMLOUT_MAX_BYTES) {
        y->failed = true;
        return;
    }
    emit(y, &event, yaml_scalar_event_initialize(&event, NULL, NULL, TAG(value), (int)n, 1, 1, style));
}

static void name(struct yamlout *y, const char *key)
{
    if (key)
        scalar(y, key, YAML_ANY_SCALAR_STYLE);
}

void yamlout_init(struct yamlout *y)
{
    memset(y, 0, sizeof *y);
    if (!yaml_emitter_initialize(&y->emitter)) {
        y->failed = true;
        return;
    }
    yaml_emitter_set_output(&y->emitter, keep, y);
    yaml_emitter_set_width(&y->emitter, -1);
    yaml_emitter_set_unicode(&y->emitter, 1);
    if (!yaml_emitter_open(&y->emitter))
        y->failed = true;
}

void yamlout_begin(struct yamlout *y)
{
    yaml_event_t event;
    emit(y, &event, yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 0));
    yamlout_map(y, NULL);
}

void yamlout_end(struct yamlout *y)
{
    yaml_event_t event;
    yamlout_map_end(y);
    emit(y, &event, yaml_document_end_event_initialize(&event, 1));
}

void yamlout_map(struct yamlout *y, const char *key)
{
    yaml_event_t event;
    name(y, key);
    emit(y, &event, yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE));
}

void yamlout_map_end(struct yamlout *y)
{
    yaml_event_t event;
    emit(y, &event, yaml_mapping_end_event_initialize(&event));
}

void yamlout_seq(struct yamlout *y, const char *key)
{
    yaml_event_t event;
    name(y, key);
    emit(y, &event, yaml_sequence_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_SEQUENCE_STYLE));
}

void yamlout_seq_end(struct yamlout *y)
{
    yaml_event_t event;
    emit(y, &event, yaml_sequence_end_event_initialize(&event));
}

void yamlout_text(struct yamlout *y, const char *key, const char *value)
{
    name(y, key);
    scalar(y, value, YAML_DOUBLE_QUOTED_SCALAR_STYLE);
}

void yamlout_block(struct yamlout *y, const char *key, const char *value)
{
    name(y, key);
    scalar(y, value, YAML_LITERAL_SCALAR_STYLE);
}

void yamlout_text_if(struct yamlout *y, const char *key, const char *value)
{
    if (value && value[0])
        yamlout_text(y, key, value);
}

void yamlout_number(struct yamlout *y, const char *key, long value)
{
    char text[32];
    snprintf(text, sizeof text, "%ld", value);
    name(y, key);
    scalar(y, text, YAML_PLAIN_SCALAR_STYLE);
}

void yamlout_flag(struct yamlout *y, const char *key, bool value)
{
    name(y, key);
    scalar(y, value ? "true" : "false", YAML_PLAIN_SCALAR_STYLE);
}

void yamlout_document(struct yamlout *y, yaml_document_t *document)
{
    if (y->failed) {
        yaml_document_delete(document);
        return;
    }
    document->start_implicit = 0;
    document->end_implicit = 1;
    if (!yaml_emitter_dump(&y->emitter, document)) /* which deletes the document */
        y->failed = true;
}

static void wipe_emitter(yaml_emitter_t *e)
{
    if (e->buffer.start)
        sodium_memzero(e->buffer.start, (size_t)(e->buffer.end - e->buffer.start));
    if (e->raw_buffer.start)
        sodium_memzero(e->raw_buffer.start, (size_t)(e->raw_buffer.end - e->raw_buffer.start));
}

int yamlout_finish(struct yamlout *y, char **out, size_t *n, struct err *err)
{
    if (!y->failed && !yaml_emitter_close(&y->emitter))
        y->failed = true;
    if (!y->failed && !yaml_emitter_flush(&y->emitter))
        y->failed = true;
    bool failed = y->failed || !y->bytes;
    const char *problem = y->emitter.problem;
    int code = y->emitter.error == YAML_MEMORY_ERROR ? KPEER_ENOMEM : KPEER_EINVAL;
    if (failed)
        err_set(err, code, "cannot write YAML: %s",
                problem ? problem : "a value is not UTF-8, or too much of it");
    wipe_emitter(&y->emitter);
    yaml_emitter_delete(&y->emitter);
    if (failed) {
        yamlout_free(y->bytes, y->room);
        y->bytes = NULL;
        return code;
    }
    *out = y->bytes;
    *n = y->n;
    y->bytes = NULL;
    return 0;
}

void yamlout_free(char *p, size_t n)
{
    if (p)
        sodium_memzero(p, n);
    free(p);
}
