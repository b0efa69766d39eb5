/*
 * Changes that keep an input's form, for what byte by byte would hardly ever be let in: sealed messages are
 * altered as MessagePack, a row of pieces piece by piece.
 */
#include "tests/fuzz/mutate.h"

#include <string.h>

#include "protocol/mem.h"

enum shape { SHAPE_NONE, SHAPE_PACK, SHAPE_PIECES };

/* Whose input is what. `skip` bytes at the front are no part of it. */
static const struct {
    const char *name;
    enum shape shape;
    size_t skip;
} shapes[] = {
    {"beacon", SHAPE_PACK, 0},         {"profile", SHAPE_PACK, 0},       {"ballot", SHAPE_PACK, 0},
    {"grant", SHAPE_PACK, 0},          {"committed", SHAPE_PACK, 0},     {"ticket", SHAPE_PACK, 0},
    {"summary", SHAPE_PACK, 0},        {"statement", SHAPE_PACK, 0},     {"step", SHAPE_PACK, 0},
    {"step_answer", SHAPE_PACK, 0},    {"control", SHAPE_PACK, 0},       {"node_stored", SHAPE_PACK, 1},
    {"node_forming", SHAPE_PIECES, 0}, {"node_member", SHAPE_PIECES, 1},
};

#define VALUES_MAX 512

/* Where a value's head is, how long it is, and how long it is with all that belongs to it. */
struct value {
    size_t at, head, bytes;
    bool array;
    size_t count;
};

static size_t number(const uint8_t *at, size_t width)
{
    size_t n = 0;
    for (size_t i = 0; i < width; i++)
        n = n << 8 | at[i];
    return n;
}

/* The head at `at`: its length, what follows it as bytes, and as elements. False: cut short, or not used
 * here. */
static bool read_head(const uint8_t *at, size_t left, size_t *head, size_t *body, size_t *count)
{
    static const uint8_t width[0xdf - 0xc0] = {
        [0x04] = 1, [0x05] = 2, [0x06] = 4, [0x0c] = 1, [0x0d] = 2, [0x0e] = 4, [0x0f] = 8, [0x10] = 1,
        [0x11] = 2, [0x12] = 4, [0x13] = 8, [0x19] = 1, [0x1a] = 2, [0x1b] = 4, [0x1c] = 2, [0x1d] = 4};
    uint8_t first = at[0];
    *head = 1;
    *body = *count = 0;
    if (first >= 0x90 && first <= 0x9f)
        *count = first & 15;
    else if (first >= 0xa0 && first <= 0xbf)
        *body = first & 31;
    else if (first >= 0xc0 && first < 0xdf) {
        *head = 1u + width[first - 0xc0];
        if (*head > left)
            return false;
        size_t n = number(at + 1, *head - 1);
        if (first >= 0xdc)
            *count = n;
        else if ((first >= 0xc4 && first <= 0xc6) || (first >= 0xd9 && first <= 0xdb))
            *body = n;
    }
    return *head <= left && *body <= left - *head && *count <= left;
}

/* Lists the values in order; returns where the first one ends, 0 when it is malformed. */
static size_t list(const uint8_t *bytes, size_t n, struct value *values, size_t *found)
{
    struct {
        size_t value, left;
    } open[16];
    size_t at = 0, depth = 0;
    *found = 0;
    do {
        size_t head, body, count;
        if (at >= n || *found == VALUES_MAX || !read_head(bytes + at, n - at, &head, &body, &count))
            return 0;
        bool array = (bytes[at] >= 0x90 && bytes[at] <= 0x9f) || bytes[at] == 0xdc || bytes[at] == 0xdd;
        values[*found] = (struct value){at, head, head + body, array, count};
        at += head + body;
        if (depth)
            open[depth - 1].left--;
        if (count) {
            if (depth == COUNT_OF(open))
                return 0;
            open[depth].value = *found;
            open[depth++].left = count;
        }
        ++*found;
        while (depth && open[depth - 1].left == 0) {
            struct value *v = &values[open[--depth].value];
            v->bytes = at - v->at;
        }
    } while (depth);
    return at;
}

static uint64_t draw(uint64_t *seed)
{
    uint64_t x = *seed;
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    return *seed = x;
}

/* Puts `with` in the place of `old` bytes at `at`. Returns the new length; n when there is no room. */
static size_t splice(uint8_t *bytes, size_t n, size_t most, size_t at, size_t old, const uint8_t *with,
                     size_t length)
{
    if (n - old + length > most)
        return n;
    memmove(bytes + at + length, bytes + at + old, n - at - old);
    memcpy(bytes + at, with, length);
    return n - old + length;
}

static size_t put_number(uint8_t out[static 9], uint64_t value)
{
    size_t width = value < 0x80                ? 0
                   : value < 0x100             ? 1
                   : value < 0x10000           ? 2
                   : value < UINT64_C(1) << 32 ? 4
                                               : 8;
    out[0] = width == 0 ? (uint8_t)value : width == 1 ? 0xcc : width == 2 ? 0xcd : width == 4 ? 0xce : 0xcf;
    for (size_t i = 0; i < width; i++)
        out[1 + i] = (uint8_t)(value >> (8 * (width - 1 - i)));
    return 1 + width;
}

/* A number at one of the edges, or near what it was. */
static size_t new_number(uint8_t *bytes, size_t n, size_t most, const struct value *v, uint64_t *seed)
{
    static const uint64_t edges[] = {0,     1,         127,        128,        255,       256,       65535,
                                     65536, INT32_MAX, UINT32_MAX, 1ull << 32, INT64_MAX, UINT64_MAX};
    uint8_t out[9];
    uint64_t was = bytes[v->at] < 0x80 ? bytes[v->at] : number(bytes + v->at + 1, v->head - 1);
    uint64_t value = draw(seed) % 2 ? was + draw(seed) % 3 - 1 : edges[draw(seed) % COUNT_OF(edges)];
    return splice(bytes, n, most, v->at, v->bytes, out, put_number(out, value));
}

/* Another length of a short text or binary, with its head right. */
static size_t new_body(uint8_t *bytes, size_t n, size_t most, const struct value *v, uint64_t *seed)
{
    uint8_t out[2 + 255], first = bytes[v->at];
    bool text = first >= 0xa0 && first != 0xc4 && first != 0xc5 && first != 0xc6;
    size_t was = v->bytes - v->head, length = draw(seed) % 2 ? was : draw(seed) % 65;
    length = length > 255 ? 255 : length;
    size_t head = text && length < 32 ? 1 : 2;
    out[0] = head == 1 ? (uint8_t)(0xa0 | length) : text ? 0xd9 : 0xc4;
    out[1] = (uint8_t)length;
    for (size_t i = 0; i < length; i++)
        out[head + i] = i < was ? bytes[v->at + v->head + i] : (uint8_t)('a' + draw(seed) % 26);
    if (length && draw(seed) % 2)
        out[head + draw(seed) % length] = (uint8_t)draw(seed);
    return splice(bytes, n, most, v->at, v->bytes, out, head + length);
}

/* An element of a short array is left out, or another value of the input is put in. */
static size_t new_count(uint8_t *bytes, size_t n, size_t most, const struct value *values, size_t found,
                        size_t which, uint64_t *seed)
{
    const struct value *v = &values[which], *any = &values[draw(seed) % found];
    uint8_t copy[256] = {0};
    if (bytes[v->at] < 0x90 || bytes[v->at] > 0x9f)
        return n;
    if (draw(seed) % 2 && v->count > 0) {
        size_t was = values[which + 1].bytes;
        bytes[v->at]--;
        return splice(bytes, n, most, v->at + 1, was, copy, 0);
    }
    if (v->count == 15 || any->bytes > sizeof copy || n + any->bytes > most)
        return n;
    memcpy(copy, bytes + any->at, any->bytes);
    bytes[v->at]++;
    return splice(bytes, n, most, v->at + 1, 0, copy, any->bytes);
}

/* One value takes the place of another. */
static size_t new_place(uint8_t *bytes, size_t n, size_t most, const struct value *v, const struct value *any)
{
    uint8_t copy[256];
    if (any->bytes > sizeof copy)
        return n;
    memcpy(copy, bytes + any->at, any->bytes);
    return splice(bytes, n, most, v->at, v->bytes, copy, any->bytes);
}

static size_t mutate_pack(uint8_t *bytes, size_t n, size_t most, uint64_t *seed)
{
    static struct value values[VALUES_MAX];
    size_t found, end = list(bytes, n, values, &found);
    if (!end)
        return n;
    size_t which = draw(seed) % found;
    const struct value *v = &values[which];
    uint8_t first = bytes[v->at];
    if (draw(seed) % 6 == 0)
        return new_place(bytes, n, most, v, &values[draw(seed) % found]);
    if (v->array)
        return new_count(bytes, n, most, values, found, which, seed);
    if (first < 0x80 || first >= 0xe0 || (first >= 0xcc && first <= 0xd3))
        return new_number(bytes, n, most, v, seed);
    if (first == 0xc0 || first == 0xc2 || first == 0xc3) {
        bytes[v->at] = ((const uint8_t[]){0xc0, 0xc2, 0xc3})[draw(seed) % 3];
        return n;
    }
    return new_body(bytes, n, most, v, seed);
}

/* ---- rows of pieces: [kind, length in two bytes, bytes…] ---- */

static void put_length(uint8_t *piece, size_t length)
{
    piece[1] = (uint8_t)(length >> 8);
    piece[2] = (uint8_t)length;
}

/* The inside of a message piece is two bytes and then values; others are short enough for anything. */
static size_t mutate_piece(uint8_t *bytes, size_t n, size_t most, size_t at, size_t length, uint64_t *seed)
{
    static uint8_t room[65536];
    size_t skip = length > 2 ? 2 : 0, inner = length - skip, limit = inner + 64;
    memcpy(room, bytes + at + 3 + skip, inner);
    limit = limit > 65535 - skip ? 65535 - skip : limit;
    size_t now = inner ? mutate_pack(room, inner, limit, seed) : 0;
    size_t total = splice(bytes, n, most, at + 3 + skip, inner, room, now);
    if (total == n - inner + now)
        put_length(bytes + at, skip + now);
    return total;
}

static size_t mutate_pieces(uint8_t *bytes, size_t n, size_t most, uint64_t *seed)
{
    size_t start[256], length[256], found = 0;
    for (size_t at = 0; at + 3 <= n && found < COUNT_OF(start);) {
        size_t inner = number(bytes + at + 1, 2);
        if (inner > n - at - 3)
            break;
        start[found] = at;
        length[found++] = inner;
        at += 3 + inner;
    }
    if (!found)
        return n;
    size_t i = draw(seed) % found, k = draw(seed) % found;
    static uint8_t copy[65536 + 3];
    memcpy(copy, bytes + start[i], 3 + length[i]);
    switch (draw(seed) % 5) {
    case 0: /* left out */
        return splice(bytes, n, most, start[i], 3 + length[i], copy, 0);
    case 1: /* said again later or before */
        return splice(bytes, n, most, start[k], 0, copy, 3 + length[i]);
    default:
        return mutate_piece(bytes, n, most, start[i], length[i], seed);
    }
}

size_t fuzz_mutate(const char *target, uint8_t *bytes, size_t n, size_t most, uint64_t seed)
{
    seed = seed * 2654435761u + 88172645463325252u;
    for (size_t i = 0; i < COUNT_OF(shapes); i++) {
        if (strcmp(shapes[i].name, target) != 0 || n <= shapes[i].skip)
            continue;
        size_t skip = shapes[i].skip;
        return skip + (shapes[i].shape == SHAPE_PACK ? mutate_pack : mutate_pieces)(bytes + skip, n - skip,
                                                                                    most - skip, &seed);
    }
    return n;
}
