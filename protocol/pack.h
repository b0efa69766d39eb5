/*
 * Bounded reading and writing of msgpack, for every byte that comes from outside or goes there.
 *
 * A reader takes exactly one msgpack value, scans the whole of it first (counts, lengths, depth and trailing
 * bytes, nothing allocated) and then hands its parts out in order. Only the shortest form of each value is
 * accepted, so one value has one encoding and a signature over the bytes is a signature over the value; maps,
 * floats and extensions are not used and are refused. The first fault sticks: all later reads give zero and
 * empty, counts give 0 so that loops end, and pack_close reports it. What a reader copied out is meaningful
 * only once pack_close returned 0.
 *
 * A writer goes through msgpack-c's packer into a growing buffer (wiped when it moves) or into the caller's
 * own; its first fault sticks too. Anybody may use this module; it is pure.
 */
#ifndef KPEER_PACK_H
#define KPEER_PACK_H

#include <msgpack.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/err.h"

#define PACK_DEPTH_MAX 16 /* the deepest nesting that any reader may ask for */

struct pack_reader {
    const uint8_t *at;
    const uint8_t *end;
    int code;          /* 0, or the first fault: KPEER_EINVAL or KPEER_ELIMIT */
    const char *fault; /* what was wrong there; static text */
    const char *field; /* what was being read there, where the reader was told (pack_field); static text */
};

/* Starts reading `bytes`, borrowed for as long as the reader is used. Refuses (KPEER_EINVAL, KPEER_ELIMIT)
 * what is not exactly one well-formed value nested at most `max_depth` arrays deep (a bare array is 1; at
 * most PACK_DEPTH_MAX). */
int pack_open(struct pack_reader *r, const void *bytes, size_t n, unsigned max_depth, struct err *err);

/* The name that a fault in the reads from here on is reported under; static text, may be NULL. */
void pack_field(struct pack_reader *r, const char *name);

/* Enters an array of `min`..`max` elements and returns their count; its elements are read next, in order. */
uint32_t pack_array(struct pack_reader *r, uint32_t min, uint32_t max);

/* An integer within the limits, both included. */
uint64_t pack_uint(struct pack_reader *r, uint64_t max);
int64_t pack_int(struct pack_reader *r, int64_t min, int64_t max);

bool pack_bool(struct pack_reader *r);

/* Copies text with its NUL into field[field_bytes]; longer text, a NUL or a control character within it, or
 * bytes that are not UTF-8 are faults. The rest of the field is zeroed, and all of it on a fault. */
void pack_str(struct pack_reader *r, char *field, size_t field_bytes);

/* Binary of `min`..`max` bytes, borrowed from the reader's bytes; *n its length. NULL and 0 on a fault. */
const uint8_t *pack_bin(struct pack_reader *r, size_t min, size_t max, size_t *n);

/* Binary of exactly `dst_bytes` bytes, copied. Zeroed on a fault. */
void pack_bin_copy(struct pack_reader *r, void *dst, size_t dst_bytes);

/* True, and consumes it, when the next value is nil; false (no fault) when it is something else. */
bool pack_nil(struct pack_reader *r);

/* The encoding of the next value as a whole, borrowed, and steps over it: for what is signed or stored as it
 * came. */
const uint8_t *pack_raw(struct pack_reader *r, size_t *n);

/* The bytes of the plain UTF-8 character at `s` (1 to 4, at most `left`), 0 where there is none: no control
 * characters, shortest forms only. What pack_put_str and pack_str let through is made of these. */
size_t pack_text_unit(const uint8_t *s, size_t left);

/* Marks the input as bad for a reason of the caller's (static text); the first fault stays. */
void pack_fail(struct pack_reader *r, int code, const char *fault);

/* True once a fault was met. */
static inline bool pack_bad(const struct pack_reader *r)
{
    return r->code != 0;
}

/* Ends reading: 0 when there was no fault and everything was consumed. */
int pack_close(struct pack_reader *r, struct err *err);

struct pack_writer {
    msgpack_packer packer;
    uint8_t *bytes;
    size_t used;
    size_t room;  /* size of `bytes` */
    size_t limit; /* never more than this */
    bool owned;   /* `bytes` is this writer's to grow and free */
    int code;     /* 0, or KPEER_ENOMEM, KPEER_ELIMIT, KPEER_EINVAL */
};

/* Writes into a buffer of the writer's own, at most `limit` bytes. pack_writer_fini frees it, unless taken. A
 * writer does not move: the packer points back to it. */
void pack_writer_init(struct pack_writer *w, size_t limit);

/* Writes into `bytes`, which stays the caller's. */
void pack_writer_into(struct pack_writer *w, void *bytes, size_t n);

void pack_put_array(struct pack_writer *w, size_t count);
void pack_put_uint(struct pack_writer *w, uint64_t value);
void pack_put_int(struct pack_writer *w, int64_t value);
void pack_put_bool(struct pack_writer *w, bool value);
void pack_put_nil(struct pack_writer *w);
void pack_put_str(struct pack_writer *w, const char *text);
void pack_put_bin(struct pack_writer *w, const void *bytes, size_t n);

/* Bytes that are one msgpack value already (from pack_raw or another writer), as they are. */
void pack_put_raw(struct pack_writer *w, const void *bytes, size_t n);

/* The end: the first fault, or 0. For a writer into the caller's buffer w->used is the length. */
int pack_writer_end(struct pack_writer *w, struct err *err);

/* As pack_writer_end, and on success hands the buffer to the caller, who frees it (sodium_memzero first where
 * it holds secrets). For writers with a buffer of their own. */
int pack_writer_take(struct pack_writer *w, uint8_t **out, size_t *out_bytes, struct err *err);

/* Wipes and frees a buffer of the writer's own; nothing after pack_writer_take. May be called twice. */
void pack_writer_fini(struct pack_writer *w);

#endif
