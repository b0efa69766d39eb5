/*
 * Writing YAML through libyaml's emitter, into memory.
 *
 * A thin cover over the event interface: begin a document, open and close maps and sequences, add scalars.
 * Text is always double-quoted, so that no value changes its type on the way. Failures stick and are told
 * once, by yamlout_finish. What is written may hold a secret: every buffer of its own is wiped before it is
 * freed. Used by the document builders of this folder alone.
 */
#ifndef KPEER_YAMLOUT_H
#define KPEER_YAMLOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <yaml.h>

#include "protocol/err.h"

#define YAMLOUT_MAX_BYTES (4 * 1024 * 1024)

struct yamlout {
    yaml_emitter_t emitter;
    char *bytes;
    size_t n;
    size_t room;
    bool failed;
};

/* Starts a stream. yamlout_finish is due after it, whatever comes between. */
void yamlout_init(struct yamlout *y);

/* A document whose root is a map. */
void yamlout_begin(struct yamlout *y);
void yamlout_end(struct yamlout *y);

/* `key` is NULL for an element of a sequence. A NULL or empty value of yamlout_text_if is left out. */
void yamlout_map(struct yamlout *y, const char *key);
void yamlout_map_end(struct yamlout *y);
void yamlout_seq(struct yamlout *y, const char *key);
void yamlout_seq_end(struct yamlout *y);
void yamlout_text(struct yamlout *y, const char *key, const char *value);
void yamlout_block(struct yamlout *y, const char *key, const char *value); /* lines as they are */
void yamlout_text_if(struct yamlout *y, const char *key, const char *value);
void yamlout_number(struct yamlout *y, const char *key, long value);
void yamlout_flag(struct yamlout *y, const char *key, bool value);

/* Emits a whole document of libyaml's and deletes it. */
void yamlout_document(struct yamlout *y, yaml_document_t *document);

/* Ends the stream. 0: *out holds *n bytes and a NUL, to be wiped and freed with yamlout_free. KPEER_ENOMEM or
 * KPEER_EINVAL (a value that is not UTF-8). */
int yamlout_finish(struct yamlout *y, char **out, size_t *n, struct err *err);

/* Wipes and frees; `p` may be NULL. */
void yamlout_free(char *p, size_t n);

#endif
