/*
 * Cleanup attributes for local resources, and small helpers for arrays. Anybody may use this module.
 */
#ifndef KPEER_MEM_H
#define KPEER_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

/* `cleanup_free char *p = NULL;` frees p on leaving the scope. */
#define cleanup_free __attribute__((cleanup(mem_cleanup_free)))

static inline void mem_cleanup_free(void *p)
{
    free(*(void **)p);
}

/* Copies a string into a fixed field; returns 0, or -1 when it does not fit (the field is then unchanged). */
int mem_copy_text(char *dst, size_t dst_bytes, const char *src);

/* Copies as much as fits, at most up to a whole UTF-8 character, control characters made spaces: for texts
 * that are shown. */
void mem_clip_text(char *dst, size_t dst_bytes, const char *src);

/* Makes a field say what is now the case; returns true if it said something else. */
static inline bool mem_put(void *field, const void *now, size_t bytes)
{
    if (memcmp(field, now, bytes) == 0)
        return false;
    memcpy(field, now, bytes);
    return true;
}

/* Lower-case hex of `bytes` bytes; `out` holds 2 * bytes + 1. */
void mem_hex(char *out, const unsigned char *src, size_t bytes);

#endif
