/*
 * Settings in a TOML file, found and changed so that every other byte stays: containerd's configuration.
 *
 * No TOML library: one that reads would lose comments and order, and what must be known is where a few values
 * stand. What is not plainly understood is an error, never a guess: such a file is told about and not
 * touched. Pure: text in, text out. Used by this folder and its tests.
 */
#ifndef KPEER_HOST_PARSE_TOML_H
#define KPEER_HOST_PARSE_TOML_H

#include <stdbool.h>
#include <stddef.h>

#include "protocol/err.h"

#define TOML_DEPTH     12
#define TOML_KEY_BYTES 96
#define TOML_MAX       (256 * 1024)

/* A key as the file's structure has it: {"plugins", "io.containerd.grpc.v1.cri", "sandbox_image"}. */
struct toml_path {
    const char *keys[TOML_DEPTH];
    size_t count;
};

enum toml_kind { TOML_ABSENT, TOML_STRING, TOML_BOOL, TOML_NUMBER, TOML_STRINGS, TOML_OTHER };

struct toml_value {
    enum toml_kind kind;
    char text[256]; /* STRING: what is between the quotes, unescaped; BOOL, NUMBER: as written */
};

/* Whether the whole of `text` is understood. KPEER_EINVAL names the line. */
int toml_check(const char *text, size_t n, struct err *err);

/* The value at a path; TOML_ABSENT where there is none. KPEER_EINVAL: not understood. */
int toml_get(const char *text, size_t n, const struct toml_path *path, struct toml_value *out,
             struct err *err);

/* Whether the list of strings at a path holds `word`. */
int toml_list_has(const char *text, size_t n, const struct toml_path *path, const char *word, bool *has,
                  struct err *err);

/* Whether there is anything at or below a path. */
int toml_has_below(const char *text, size_t n, const struct toml_path *path, bool *has, struct err *err);

/* The text with `value` (as TOML writes it: true, 2, "x") at a path, in place of the value there, after the
 * heading of its table, or in a new table at the end. *out is the caller's to free. KPEER_EINVAL: not
 * understood, or the table is written in a form that takes no further line (inline). */
int toml_set(const char *text, size_t n, const struct toml_path *path, const char *value, char **out,
             size_t *out_bytes, struct err *err);

/* The text with the list of strings at a path without `word`. */
int toml_list_drop(const char *text, size_t n, const struct toml_path *path, const char *word, char **out,
                   size_t *out_bytes, struct err *err);

#endif
