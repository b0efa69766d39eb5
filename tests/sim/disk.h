/*
 * A host's disk, with the four operations in which peer/agent/store.c stores a file: write a new file, sync
 * it, rename it over the old one, sync the folder. What was not synced is lost with the power, whole or torn.
 * Owned by host.c.
 */
#ifndef KPEER_TESTS_DISK_H
#define KPEER_TESTS_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/node.h"

struct file {
    uint8_t *bytes; /* NULL: there is none */
    size_t n;
};

struct disk {
    struct file file[STORE_KEY_COUNT];
    struct file
        fresh[STORE_KEY_COUNT]; /* a new file that was not renamed: nobody reads it, whatever is in it */
};

void disk_store(struct disk *d, enum store_key key, const uint8_t *bytes, size_t n);
/* As disk_store, but the power fails somewhere among the operations. True: what was to be stored is there
 * when the host starts again; false: what was there before is. */
bool disk_store_cut(struct disk *d, enum store_key key, const uint8_t *bytes, size_t n, uint64_t *rng);
/* What the next start reads, NULL and 0 where there is nothing. Removes new files that were left over. */
void disk_read(struct disk *d, struct stored out[static STORE_KEY_COUNT]);
void disk_copy(struct disk *to, const struct disk *from);
void disk_wipe(struct disk *d);

#endif
