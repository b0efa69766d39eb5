#include "tests/fuzz/fuzz.h"

#include <sodium.h>
#include <stdio.h>
#include <unistd.h>

static const struct fuzz_target *const tables[] = {fuzz_host, fuzz_host_edit, fuzz_packages, fuzz_images,
                                                   fuzz_kube, fuzz_files,     fuzz_frames,   fuzz_wire,
                                                   fuzz_node, fuzz_pair};

void fuzz_start(void)
{
    FUZZ_MUST(sodium_init() >= 0);
}

const struct fuzz_target *fuzz_nth(size_t i)
{
    for (size_t t = 0; t < COUNT_OF(tables); t++) {
        for (const struct fuzz_target *at = tables[t]; at->name; at++) {
            if (i-- == 0)
                return at;
        }
    }
    return NULL;
}

const struct fuzz_target *fuzz_find(const char *name)
{
    const struct fuzz_target *t;
    for (size_t i = 0; (t = fuzz_nth(i)) != NULL; i++) {
        if (strcmp(t->name, name) == 0)
            return t;
    }
    return NULL;
}

/* ---- seeds ---- */

struct fuzz_sink {
    void (*each)(void *ctx, const uint8_t *bytes, size_t n);
    void *ctx;
};

void fuzz_give(struct fuzz_sink *sink, const void *bytes, size_t n)
{
    sink->each(sink->ctx, bytes, n);
}

void fuzz_each_seed(const struct fuzz_target *t, void (*each)(void *ctx, const uint8_t *bytes, size_t n),
                    void *ctx)
{
    if (t->seed)
        t->seed(&(struct fuzz_sink){each, ctx});
}

struct seed_files {
    const char *dir;
    size_t count;
};

static void write_seed(void *ctx, const uint8_t *bytes, size_t n)
{
    struct seed_files *files = ctx;
    char path[4096];
    snprintf(path, sizeof path, "%s/seed-%zu", files->dir, files->count++);
    FILE *f = fopen(path, "wb");
    FUZZ_MUST(f && fwrite(bytes, 1, n, f) == n);
    FUZZ_MUST(fclose(f) == 0);
}

void fuzz_write_seeds(const struct fuzz_target *t, const char *dir)
{
    struct seed_files files = {.dir = dir};
    fuzz_each_seed(t, write_seed, &files);
}

/* ---- what targets need ---- */

void fuzz_broken(const char *file, int line, const char *condition)
{
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
    abort();
}

char *fuzz_text(const uint8_t *bytes, size_t n)
{
    char *text = malloc(n + 1);
    FUZZ_MUST(text);
    if (n)
        memcpy(text, bytes, n);
    text[n] = '\0';
    return text;
}

char *fuzz_line(char **text)
{
    char *line = *text;
    size_t n = strcspn(line, "\n");
    *text = line[n] ? line + n + 1 : line + n;
    line[n] = '\0';
    return line;
}

bool fuzz_ends(const char *field, size_t field_bytes)
{
    return memchr(field, '\0', field_bytes) != NULL;
}

bool fuzz_shows(const char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            return false;
    }
    return true;
}

static char folder[4096];

static void remove_folder(void)
{
    char path[sizeof folder + 16];
    static const char *const names[] = {"journal", "lock"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    rmdir(folder);
}

const char *fuzz_folder(void)
{
    const char *base = getenv("TMPDIR");
    if (folder[0])
        return folder;
    snprintf(folder, sizeof folder, "%s/kpeer-fuzz.XXXXXX", base && *base ? base : "/tmp");
    FUZZ_MUST(mkdtemp(folder));
    atexit(remove_folder);
    return folder;
}
