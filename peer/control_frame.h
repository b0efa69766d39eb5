/*
 * JSON trees as bounded msgpack: what travels on the local socket.
 *
 * Through protocol/pack.h: null nil, booleans, integers, texts as binary; a list is the array [0, …], an
 * object [1, key, value, …]. No other value exists there; reals are refused.
 */
#ifndef KPEER_CONTROL_FRAME_H
#define KPEER_CONTROL_FRAME_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/err.h"

/* Length prefix and value, at most `limit` bytes of value; the caller wipes and frees. */
int control_frame_encode(const json_t *value, size_t limit, uint8_t **out, size_t *out_bytes,
                         struct err *err);

/* One value (without the prefix), exactly. *out is a new reference. KPEER_EINVAL for anything else. */
int control_frame_decode(const uint8_t *bytes, size_t n, json_t **out, struct err *err);

#endif
