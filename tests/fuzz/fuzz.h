/*
 * Fuzz targets: each gives bytes to one parser of what comes from outside (host, child, network, user) and
 * checks what came of it. Not only that nothing crashes: what was decoded encodes to the same bytes, texts
 * end with a NUL, counts keep their limits, doing it twice is doing it once.
 *
 * A file of targets ends in a table of them; table.c lists the tables. fuzz.c runs a target under libFuzzer,
 * replay.c over its corpus and seeds in the ordinary tests.
 */
#ifndef KPEER_TESTS_FUZZ_H
#define KPEER_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/mem.h"

struct fuzz_sink; /* where seeds go */

struct fuzz_target {
    const char *name; /* as on the command line, and of its folder in corpus/ */
    const char *what; /* what it reads */
    size_t most;      /* the longest input worth trying, in bytes */
    void (*run)(const uint8_t *bytes, size_t n);
    void (*seed)(
        struct fuzz_sink *sink); /* gives good inputs that are no text, made by encoders; may be NULL */
};

/* Each ends with an entry without a name. */
extern const struct fuzz_target fuzz_host[];
extern const struct fuzz_target fuzz_host_edit[];
extern const struct fuzz_target fuzz_packages[];
extern const struct fuzz_target fuzz_images[];
extern const struct fuzz_target fuzz_kube[];
extern const struct fuzz_target fuzz_files[];
extern const struct fuzz_target fuzz_frames[];
extern const struct fuzz_target fuzz_wire[];
extern const struct fuzz_target fuzz_node[];
extern const struct fuzz_target fuzz_pair[];

/* Before anything else here. */
void fuzz_start(void);

/* The target of this name, and the i-th of all; NULL: there is none. */
const struct fuzz_target *fuzz_find(const char *name);
const struct fuzz_target *fuzz_nth(size_t i);

/* Gives a seed to whoever asked for them. */
void fuzz_give(struct fuzz_sink *sink, const void *bytes, size_t n);

/* Seeds as files DIR/seed-N. */
void fuzz_write_seeds(const struct fuzz_target *t, const char *dir);

/* Seeds one by one. */
void fuzz_each_seed(const struct fuzz_target *t, void (*each)(void *ctx, const uint8_t *bytes, size_t n),
                    void *ctx);

/* What must hold. A failure names it and aborts, which is a crash to whoever runs the target. */
#define FUZZ_MUST(condition)                                                                                 \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            fuzz_broken(__FILE__, __LINE__, #condition);                                                     \
    } while (0)
void fuzz_broken(const char *file, int line, const char *condition) __attribute__((noreturn));

/* A copy in memory of exactly n + 1 bytes, ended by a NUL, so that a read beyond it is seen. Freed by the
 * caller. */
char *fuzz_text(const uint8_t *bytes, size_t n);

/* Cuts the first line off *text, which moves on to the next: what a target takes as an argument of its own.
 */
char *fuzz_line(char **text);

/* Whether a NUL ends the text within its field. */
bool fuzz_ends(const char *field, size_t field_bytes);

/* Whether it holds no control character, so that it can be shown on a terminal. */
bool fuzz_shows(const char *text);

#define FUZZ_FIELD(field) FUZZ_MUST(fuzz_ends((field), sizeof(field)))

/* A folder of this process's own, removed when it ends. */
const char *fuzz_folder(void);

#endif
