#include "peer/executor/answers.h"

#include <sodium.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "protocol/clock.h"
#include "protocol/mem.h"

#define KEY_BYTES 32

struct answer {
    unsigned char key[KEY_BYTES];
    unsigned char
        sum[KEY_BYTES]; /* of what follows: half of one writer's and half of another's does not fit */
    uint64_t at_ms;
    size_t n;
    char bytes[ANSWERS_BYTES];
};

static struct answer *answers; /* NULL: none */

void answers_open(void)
{
    void *p =
        mmap(NULL, ANSWERS_MAX * sizeof *answers, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    answers = p == MAP_FAILED ? NULL : p;
}

static void add(crypto_generichash_state *st, const void *p, size_t n)
{
    crypto_generichash_update(st, p, n);
}

static bool key_of(const char *path, const char *const *argv, unsigned char key[static KEY_BYTES])
{
    crypto_generichash_state st;
    struct stat file;
    if (stat(path, &file))
        return false;
    crypto_generichash_init(&st, NULL, 0, KEY_BYTES);
    add(&st, path, strlen(path) + 1);
    add(&st, &file.st_dev, sizeof file.st_dev);
    add(&st, &file.st_ino, sizeof file.st_ino);
    add(&st, &file.st_size, sizeof file.st_size);
    add(&st, &file.st_mtim, sizeof file.st_mtim);
    add(&st, &file.st_ctim, sizeof file.st_ctim);
    for (size_t i = 1; argv[i]; i++)
        add(&st, argv[i], strlen(argv[i]) + 1);
    crypto_generichash_final(&st, key, KEY_BYTES);
    return true;
}

static void sum_of(const struct answer *a, unsigned char sum[static KEY_BYTES])
{
    crypto_generichash_state st;
    crypto_generichash_init(&st, a->key, sizeof a->key, KEY_BYTES);
    add(&st, &a->at_ms, sizeof a->at_ms);
    add(&st, &a->n, sizeof a->n);
    add(&st, a->bytes, a->n);
    crypto_generichash_final(&st, sum, KEY_BYTES);
}

bool answers_find(const char *path, const char *const *argv, char out[static ANSWERS_BYTES], size_t *n)
{
    unsigned char key[KEY_BYTES], sum[KEY_BYTES];
    struct answer a;
    if (!answers || !key_of(path, argv, key))
        return false;
    for (size_t i = 0; i < ANSWERS_MAX; i++) {
        memcpy(&a, &answers[i], sizeof a);
        if (memcmp(a.key, key, sizeof key) != 0 || a.n > ANSWERS_BYTES || clock_ms() - a.at_ms > ANSWERS_MS)
            continue;
        sum_of(&a, sum);
        if (memcmp(sum, a.sum, sizeof sum) != 0)
            continue;
        memcpy(out, a.bytes, a.n);
        *n = a.n;
        return true;
    }
    return false;
}

void answers_keep(const char *path, const char *const *argv, const char *bytes, size_t n)
{
    struct answer a = {.at_ms = clock_ms(), .n = n};
    size_t at = 0;
    if (!answers || n > ANSWERS_BYTES || !key_of(path, argv, a.key))
        return;
    memcpy(a.bytes, bytes, n);
    sum_of(&a, a.sum);
    for (size_t i = 0; i < ANSWERS_MAX; i++) {
        if (memcmp(answers[i].key, a.key, sizeof a.key) == 0) {
            at = i;
            break;
        }
        if (answers[i].at_ms < answers[at].at_ms)
            at = i;
    }
    memcpy(&answers[at], &a, sizeof a);
}
