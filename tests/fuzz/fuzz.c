/* Under libFuzzer: "fuzz --target=NAME [libFuzzer's own flags] CORPUS…", "fuzz --list", "fuzz --target=NAME
 * --seeds=DIR". libFuzzer leaves flags that begin with two dashes alone. */
#include <stdio.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/mutate.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t n, size_t most, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t n, size_t most);

static const struct fuzz_target *target;

static const char *value_of(int argc, char **argv, const char *flag)
{
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], flag, strlen(flag)) == 0)
            return argv[i] + strlen(flag);
    }
    return NULL;
}

static void list(void)
{
    const struct fuzz_target *t;
    for (size_t i = 0; (t = fuzz_nth(i)) != NULL; i++)
        printf("%s\t%zu\t%s\n", t->name, t->most, t->what);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *name = value_of(*argc, *argv, "--target=");
    const char *seeds = value_of(*argc, *argv, "--seeds=");
    fuzz_start();
    if (value_of(*argc, *argv, "--list")) {
        list();
        exit(0);
    }
    target = name ? fuzz_find(name) : NULL;
    if (!target) {
        fprintf(stderr, "usage: %s --target=NAME [FLAG...] [CORPUS...]; --list tells the names\n", **argv);
        exit(2);
    }
    if (seeds) {
        fuzz_write_seeds(target, seeds);
        exit(0);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    target->run(bytes, n);
    return 0;
}

/* Half of the changes keep the form of what is known to have one. */
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t n, size_t most, unsigned seed)
{
    size_t now = n;
    if (seed % 2 && n > 0 && n <= most)
        for (unsigned i = 0; i <= seed % 4; i++)
            now = fuzz_mutate(target->name, bytes, now, most, seed + i);
    return now == n ? LLVMFuzzerMutate(bytes, n, most) : now;
}
