#include "tests/sim/disk.h"

#include <stdlib.h>
#include <string.h>

#include "tests/sim/scenario.h"

static void drop(struct file *f)
{
    free(f->bytes);
    *f = (struct file){NULL, 0};
}

static void put(struct file *f, const uint8_t *bytes, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    if (!copy)
        abort();
    memcpy(copy, bytes, n);
    drop(f);
    *f = (struct file){copy, n};
}

void disk_store(struct disk *d, enum store_key key, const uint8_t *bytes, size_t n)
{
    put(&d->file[key], bytes, n);
}

bool disk_store_cut(struct disk *d, enum store_key key, const uint8_t *bytes, size_t n, uint64_t *rng)
{
    enum { NOTHING, WRITTEN, SYNCED, RENAMED, FOLDER_SYNCED, STAGES };
    uint64_t stage = draw_below(rng, STAGES);
    if (stage == WRITTEN) /* some of it reached the disk, and the last block may be anything */
        put(&d->fresh[key], bytes, (size_t)draw_below(rng, n + 1));
    if (stage == WRITTEN && d->fresh[key].n > 0)
        d->fresh[key].bytes[d->fresh[key].n - 1] ^= 0x5a;
    if (stage == SYNCED)
        put(&d->fresh[key], bytes, n);
    /* A rename that was not synced may be there or not; the file under either name is whole. */
    bool there = stage == FOLDER_SYNCED || (stage == RENAMED && draw(rng) % 2);
    if (there)
        disk_store(d, key, bytes, n);
    else if (stage == RENAMED)
        put(&d->fresh[key], bytes, n);
    return there;
}

void disk_read(struct disk *d, struct stored out[static STORE_KEY_COUNT])
{
    for (int i = 0; i < STORE_KEY_COUNT; i++) {
        drop(&d->fresh[i]);
        out[i] = (struct stored){d->file[i].bytes, d->file[i].n};
    }
}

void disk_copy(struct disk *to, const struct disk *from)
{
    for (int i = 0; i < STORE_KEY_COUNT; i++) {
        drop(&to->file[i]);
        if (from->file[i].bytes)
            put(&to->file[i], from->file[i].bytes, from->file[i].n);
    }
}

void disk_wipe(struct disk *d)
{
    for (int i = 0; i < STORE_KEY_COUNT; i++) {
        drop(&d->file[i]);
        drop(&d->fresh[i]);
    }
}
