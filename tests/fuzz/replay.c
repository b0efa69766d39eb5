/* Every target over its corpus and seeds, each input whole, cut short and bent, in the ordinary tests:
 * without libFuzzer and with any compiler. "fuzz_replay CORPUS [NAME]", "fuzz_replay --input FILE NAME". */
#include <dirent.h>
#include <stdio.h>

#include "tests/fuzz/fuzz.h"

#define CUTS  40 /* so many shorter forms of an input, and as many bent ones */
#define BENDS 40

struct replay {
    const struct fuzz_target *target;
    size_t inputs;
    size_t runs;
};

/* Memory of exactly the input's size. */
static void run(struct replay *r, const uint8_t *bytes, size_t n)
{
    uint8_t *exact = malloc(n ? n : 1);
    FUZZ_MUST(exact);
    if (n)
        memcpy(exact, bytes, n);
    r->target->run(exact, n);
    free(exact);
    r->runs++;
}

static void sweep(void *ctx, const uint8_t *bytes, size_t n)
{
    struct replay *r = ctx;
    uint32_t draw = 2463534242u; /* xorshift: the same bends each time */
    r->inputs++;
    run(r, bytes, n);
    for (size_t i = 0; i < CUTS && i < n; i++)
        run(r, bytes, n > CUTS ? n * i / CUTS : i);
    uint8_t *bent = malloc(n ? n : 1);
    FUZZ_MUST(bent);
    for (size_t i = 0; i < BENDS && n; i++) {
        memcpy(bent, bytes, n);
        for (size_t k = 0; k < 1 + i % 3; k++) {
            draw ^= draw << 13, draw ^= draw >> 17, draw ^= draw << 5;
            bent[draw % n] = (uint8_t)(draw >> 24);
        }
        run(r, bent, n);
    }
    free(bent);
}

static void with_file(const char *path, struct replay *r, void (*each)(void *, const uint8_t *, size_t))
{
    static uint8_t bytes[1024 * 1024];
    FILE *f = fopen(path, "rb");
    FUZZ_MUST(f);
    size_t n = fread(bytes, 1, sizeof bytes, f);
    FUZZ_MUST(!ferror(f));
    fclose(f);
    each(r, bytes, n);
}

static void whole(void *ctx, const uint8_t *bytes, size_t n)
{
    run(ctx, bytes, n);
}

static void replay(const struct fuzz_target *t, const char *corpus)
{
    struct replay r = {.target = t};
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", corpus, t->name);
    printf("%-18s ", t->name);
    fflush(stdout); /* so that a crash is under its name */
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && (e = readdir(dir)) != NULL;) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s/%s", corpus, t->name, e->d_name);
        with_file(path, &r, sweep);
    }
    if (dir)
        closedir(dir);
    fuzz_each_seed(t, sweep, &r);
    printf("%4zu inputs %7zu runs\n", r.inputs, r.runs);
    FUZZ_MUST(r.inputs > 0); /* a target without a good input finds little */
}

int main(int argc, char **argv)
{
    fuzz_start();
    const struct fuzz_target *t = argc > 2 ? fuzz_find(argv[argc - 1]) : NULL;
    if (argc < 2 || (argc > 2 && !t) || argc > 4) {
        fprintf(stderr, "usage: %s CORPUS [NAME] | --input FILE NAME\n", argv[0]);
        return 2;
    }
    if (argc == 4) {
        with_file(argv[2], &(struct replay){.target = t}, whole);
        return 0;
    }
    for (size_t i = 0; argc == 2 && (t = fuzz_nth(i)) != NULL; i++)
        replay(t, argv[1]);
    if (argc == 3)
        replay(t, argv[1]);
    return 0;
}
