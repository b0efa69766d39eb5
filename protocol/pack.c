#include "protocol/pack.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum head_type { HEAD_NIL, HEAD_BOOL, HEAD_UINT, HEAD_NEGATIVE, HEAD_STR, HEAD_BIN, HEAD_ARRAY };

/* The first bytes of a value: what it is and its number, length or count. */
struct head {
    enum head_type type;
    size_t bytes;    /* of the head alone */
    uint64_t number; /* HEAD_UINT the value, HEAD_BOOL 0 or 1, else length or count; HEAD_NEGATIVE: two's
                        complement */
};

static const char fault_short[] = "it ends in the middle of a value";
static const char fault_form[] = "a value is not in its shortest form";
static const char fault_kind[] = "a kind of value that is not used here";
static const char fault_type[] = "a value of another type is expected";
static const char fault_range[] = "a number is out of its range";
static const char fault_size[] = "a text, binary or array has a size that is not allowed";
static const char fault_text[] = "a text is not plain UTF-8";

/* Reads the `width` bytes after the first, big-endian; `below` is the smallest number that needs this width.
 */
static const char *head_wide(const uint8_t *at, size_t left, size_t width, uint64_t below, struct head *h)
{
    uint64_t number = 0;

    if (left < 1 + width)
        return fault_short;
    for (size_t i = 1; i <= width; i++)
        number = number << 8 | at[i];
    if (number < below)
        return fault_form;
    h->bytes = 1 + width;
    h->number = number;
    return NULL;
}

/* A signed form holds a negative number which needs its width, as positive ones have forms of their own. */
static const char *head_signed(const uint8_t *at, size_t left, size_t width, struct head *h)
{
    const char *fault = head_wide(at, left, width, 0, h);
    int64_t value;

    if (fault)
        return fault;
    if (width < 8 && h->number >> (8 * width - 1))
        h->number |= UINT64_MAX << (8 * width);
    value = (int64_t)h->number;
    if (value >= 0)
        return fault_form;
    if (value >= (width == 1 ? -32 : width == 2 ? INT8_MIN : width == 4 ? INT16_MIN : (int64_t)INT32_MIN))
        return fault_form;
    return NULL;
}

static const char *head_fixed(uint8_t first, struct head *h)
{
    h->bytes = 1;
    if (first <= 0x7f) {
        h->type = HEAD_UINT;
        h->number = first;
    } else if (first >= 0xe0) {
        h->type = HEAD_NEGATIVE;
        h->number = (uint64_t)(int64_t)(int8_t)first;
    } else if (first >= 0xa0 && first <= 0xbf) {
        h->type = HEAD_STR;
        h->number = first & 0x1f;
    } else if (first >= 0x90 && first <= 0x9f) {
        h->type = HEAD_ARRAY;
        h->number = first & 0x0f;
    } else {
        return fault_kind; /* 0x80..0x8f: maps */
    }
    return NULL;
}

/* By the first byte, from 0xc4 on; a width of 0 is a kind that is not used here. */
static const struct {
    uint8_t width;
    enum head_type type;
    uint64_t below;
} head_forms[0xde - 0xc4] = {
    [0x00] = {1, HEAD_BIN, 0},           [0x01] = {2, HEAD_BIN, 0x100},   [0x02] = {4, HEAD_BIN, 0x10000},
    [0x08] = {1, HEAD_UINT, 0x80},       [0x09] = {2, HEAD_UINT, 0x100},  [0x0a] = {4, HEAD_UINT, 0x10000},
    [0x0b] = {8, HEAD_UINT, 1ull << 32}, [0x0c] = {1, HEAD_NEGATIVE, 0},  [0x0d] = {2, HEAD_NEGATIVE, 0},
    [0x0e] = {4, HEAD_NEGATIVE, 0},      [0x0f] = {8, HEAD_NEGATIVE, 0},  [0x15] = {1, HEAD_STR, 32},
    [0x16] = {2, HEAD_STR, 0x100},       [0x17] = {4, HEAD_STR, 0x10000}, [0x18] = {2, HEAD_ARRAY, 16},
    [0x19] = {4, HEAD_ARRAY, 0x10000},
};

static const char *head_sized(const uint8_t *at, size_t left, struct head *h)
{
    size_t i = at[0] - 0xc4u;

    if (at[0] < 0xc4 || i >= sizeof(head_forms) / sizeof(head_forms[0]) || head_forms[i].width == 0)
        return fault_kind;
    h->type = head_forms[i].type;
    if (h->type == HEAD_NEGATIVE)
        return head_signed(at, left, head_forms[i].width, h);
    return head_wide(at, left, head_forms[i].width, head_forms[i].below, h);
}

/* Reads a head and sees that what it announces fits into what is there: each element takes a byte at least.
 */
static const char *head_read(const uint8_t *at, size_t left, struct head *h)
{
    const char *fault = NULL;

    if (left == 0)
        return fault_short;
    if (at[0] == 0xc0 || at[0] == 0xc2 || at[0] == 0xc3) {
        h->type = at[0] == 0xc0 ? HEAD_NIL : HEAD_BOOL;
        h->bytes = 1;
        h->number = at[0] == 0xc3;
    } else if (at[0] >= 0xc0 && at[0] < 0xe0) {
        fault = head_sized(at, left, h);
    } else {
        fault = head_fixed(at[0], h);
    }
    if (fault)
        return fault;
    if ((h->type == HEAD_STR || h->type == HEAD_BIN || h->type == HEAD_ARRAY) && h->number > left - h->bytes)
        return fault_short;
    return NULL;
}

/* Bytes that follow the head and belong to the value itself, not to its elements. */
static size_t head_body(const struct head *h)
{
    return h->type == HEAD_STR || h->type == HEAD_BIN ? (size_t)h->number : 0;
}

/* Finds the end of the value at `at`, at most `max_depth` arrays deep. */
static const char *scan(const uint8_t *at, const uint8_t *end, unsigned max_depth, const uint8_t **after)
{
    uint64_t due[PACK_DEPTH_MAX + 1] = {1}; /* values still to come at each depth */
    unsigned depth = 0;
    struct head h;

    for (;;) {
        const char *fault;

        while (due[depth] == 0) {
            if (depth == 0) {
                *after = at;
                return NULL;
            }
            depth--;
        }
        fault = head_read(at, (size_t)(end - at), &h);
        if (fault)
            return fault;
        due[depth]--;
        at += h.bytes + head_body(&h);
        if (h.type == HEAD_ARRAY) {
            if (depth >= max_depth)
                return "it is nested too deep";
            due[++depth] = h.number;
        }
    }
}

int pack_open(struct pack_reader *r, const void *bytes, size_t n, unsigned max_depth, struct err *err)
{
    const uint8_t *after = NULL;
    const char *fault;

    memset(r, 0, sizeof(*r));
    r->at = r->end = bytes;
    if (max_depth > PACK_DEPTH_MAX)
        max_depth = PACK_DEPTH_MAX;
    fault = n == 0 ? fault_short : scan(bytes, (const uint8_t *)bytes + n, max_depth, &after);
    if (!fault && after != (const uint8_t *)bytes + n)
        fault = "there are bytes after its end";
    if (fault) {
        pack_fail(r, KPEER_EINVAL, fault);
        return err_set(err, KPEER_EINVAL, "malformed msgpack: %s", fault);
    }
    r->end = after;
    return 0;
}

void pack_field(struct pack_reader *r, const char *name)
{
    if (!r->code)
        r->field = name;
}

void pack_fail(struct pack_reader *r, int code, const char *fault)
{
    if (r->code)
        return;
    r->code = code;
    r->fault = fault;
}

/* Takes the next head, which must be of `type`; the reader moves past it. */
static bool take(struct pack_reader *r, enum head_type type, struct head *h)
{
    const char *fault;

    if (r->code)
        return false;
    fault = head_read(r->at, (size_t)(r->end - r->at), h);
    if (!fault && h->type != type)
        fault = fault_type;
    if (fault) {
        pack_fail(r, KPEER_EINVAL, fault);
        return false;
    }
    r->at += h->bytes;
    return true;
}

uint32_t pack_array(struct pack_reader *r, uint32_t min, uint32_t max)
{
    struct head h;

    if (!take(r, HEAD_ARRAY, &h))
        return 0;
    if (h.number < min || h.number > max) {
        pack_fail(r, h.number > max ? KPEER_ELIMIT : KPEER_EINVAL, fault_size);
        return 0;
    }
    return (uint32_t)h.number;
}

uint64_t pack_uint(struct pack_reader *r, uint64_t max)
{
    struct head h;

    if (!take(r, HEAD_UINT, &h))
        return 0;
    if (h.number > max) {
        pack_fail(r, KPEER_EINVAL, fault_range);
        return 0;
    }
    return h.number;
}

int64_t pack_int(struct pack_reader *r, int64_t min, int64_t max)
{
    struct head h;
    bool negative = false;

    if (!r->code && r->at < r->end && head_read(r->at, (size_t)(r->end - r->at), &h) == NULL)
        negative = h.type == HEAD_NEGATIVE;
    if (!take(r, negative ? HEAD_NEGATIVE : HEAD_UINT, &h))
        return 0;
    if ((!negative && h.number > INT64_MAX) || (int64_t)h.number < min || (int64_t)h.number > max) {
        pack_fail(r, KPEER_EINVAL, fault_range);
        return 0;
    }
    return (int64_t)h.number;
}

bool pack_bool(struct pack_reader *r)
{
    struct head h;

    return take(r, HEAD_BOOL, &h) && h.number != 0;
}

size_t pack_text_unit(const uint8_t *s, size_t left)
{
    size_t length;

    if (left == 0)
        return 0;
    length = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;

    if (length == 0 || length > left)
        return 0;
    if (length == 1)
        return s[0] >= 0x20 && s[0] != 0x7f;
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    }
    if ((s[0] == 0xc2 && s[1] < 0xa0) || (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return length;
}

static bool text_plain(const uint8_t *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t length = pack_text_unit(s + i, n - i);

        if (length == 0)
            return false;
        i += length;
    }
    return true;
}

void pack_str(struct pack_reader *r, char *field, size_t field_bytes)
{
    struct head h;

    memset(field, 0, field_bytes);
    if (!take(r, HEAD_STR, &h))
        return;
    if (h.number >= field_bytes)
        pack_fail(r, KPEER_ELIMIT, fault_size);
    else if (!text_plain(r->at, (size_t)h.number))
        pack_fail(r, KPEER_EINVAL, fault_text);
    else
        memcpy(field, r->at, (size_t)h.number);
    r->at += h.number;
}

const uint8_t *pack_bin(struct pack_reader *r, size_t min, size_t max, size_t *n)
{
    const uint8_t *body;
    struct head h;

    *n = 0;
    if (!take(r, HEAD_BIN, &h))
        return NULL;
    body = r->at;
    r->at += h.number;
    if (h.number < min || h.number > max) {
        pack_fail(r, h.number > max ? KPEER_ELIMIT : KPEER_EINVAL, fault_size);
        return NULL;
    }
    *n = (size_t)h.number;
    return body;
}

void pack_bin_copy(struct pack_reader *r, void *dst, size_t dst_bytes)
{
    size_t n;
    const uint8_t *body = pack_bin(r, dst_bytes, dst_bytes, &n);

    memset(dst, 0, dst_bytes);
    if (body)
        memcpy(dst, body, n);
}

bool pack_nil(struct pack_reader *r)
{
    if (r->code || r->at == r->end || r->at[0] != 0xc0)
        return false;
    r->at++;
    return true;
}

const uint8_t *pack_raw(struct pack_reader *r, size_t *n)
{
    const uint8_t *start = r->at, *after = NULL;
    const char *fault;

    *n = 0;
    if (r->code)
        return NULL;
    fault = scan(start, r->end, PACK_DEPTH_MAX, &after);
    if (fault) {
        pack_fail(r, KPEER_EINVAL, fault);
        return NULL;
    }
    r->at = after;
    *n = (size_t)(after - start);
    return start;
}

int pack_close(struct pack_reader *r, struct err *err)
{
    if (!r->code && r->at != r->end)
        pack_fail(r, KPEER_EINVAL, "it has more values than expected");
    if (!r->code)
        return 0;
    if (r->field)
        return err_set(err, r->code, "malformed msgpack: field %s: %s", r->field, r->fault);
    return err_set(err, r->code, "malformed msgpack: %s", r->fault);
}

/* Moves to a larger buffer of the writer's own; the old one is wiped, as it may hold a secret. */
static int writer_grow(struct pack_writer *w, size_t need)
{
    size_t room = w->room ? w->room : 256;
    uint8_t *bytes;

    while (room < need)
        room *= 2;
    bytes = malloc(room);
    if (!bytes)
        return KPEER_ENOMEM;
    if (w->used)
        memcpy(bytes, w->bytes, w->used);
    if (w->bytes)
        sodium_memzero(w->bytes, w->room);
    free(w->bytes);
    w->bytes = bytes;
    w->room = room;
    return 0;
}

/* The packer's way out. */
static int writer_append(void *data, const char *bytes, size_t n)
{
    struct pack_writer *w = data;

    if (w->code)
        return -1;
    if (n > w->limit - w->used)
        w->code = KPEER_ELIMIT;
    else if (n > w->room - w->used)
        w->code = writer_grow(w, w->used + n);
    if (w->code)
        return -1;
    if (n)
        memcpy(w->bytes + w->used, bytes, n);
    w->used += n;
    return 0;
}

void pack_writer_init(struct pack_writer *w, size_t limit)
{
    memset(w, 0, sizeof(*w));
    w->limit = limit < SIZE_MAX / 4 ? limit : SIZE_MAX / 4;
    w->owned = true;
    msgpack_packer_init(&w->packer, w, writer_append);
}

void pack_writer_into(struct pack_writer *w, void *bytes, size_t n)
{
    memset(w, 0, sizeof(*w));
    w->bytes = bytes;
    w->room = w->limit = n;
    msgpack_packer_init(&w->packer, w, writer_append);
}

void pack_put_array(struct pack_writer *w, size_t count)
{
    if (count > UINT32_MAX)
        w->code = w->code ? w->code : KPEER_ELIMIT;
    else
        msgpack_pack_array(&w->packer, count);
}

void pack_put_uint(struct pack_writer *w, uint64_t value)
{
    msgpack_pack_uint64(&w->packer, value);
}

void pack_put_int(struct pack_writer *w, int64_t value)
{
    msgpack_pack_int64(&w->packer, value);
}

void pack_put_bool(struct pack_writer *w, bool value)
{
    if (value)
        msgpack_pack_true(&w->packer);
    else
        msgpack_pack_false(&w->packer);
}

void pack_put_nil(struct pack_writer *w)
{
    msgpack_pack_nil(&w->packer);
}

void pack_put_str(struct pack_writer *w, const char *text)
{
    size_t n = strlen(text);

    /* What a reader would refuse is a fault of the writer's already. */
    if (!text_plain((const uint8_t *)text, n)) {
        w->code = w->code ? w->code : KPEER_EINVAL;
        return;
    }
    msgpack_pack_str(&w->packer, n);
    msgpack_pack_str_body(&w->packer, text, n);
}

void pack_put_bin(struct pack_writer *w, const void *bytes, size_t n)
{
    msgpack_pack_bin(&w->packer, n);
    msgpack_pack_bin_body(&w->packer, bytes, n);
}

void pack_put_raw(struct pack_writer *w, const void *bytes, size_t n)
{
    writer_append(w, bytes, n);
}

int pack_writer_end(struct pack_writer *w, struct err *err)
{
    switch (w->code) {
    case 0:
        return 0;
    case KPEER_ENOMEM:
        return err_set(err, w->code, "out of memory");
    case KPEER_ELIMIT:
        return err_set(err, w->code, "a message is larger than its limit of %zu bytes", w->limit);
    default:
        return err_set(err, w->code, "a text in a message is not plain UTF-8");
    }
}

int pack_writer_take(struct pack_writer *w, uint8_t **out, size_t *out_bytes, struct err *err)
{
    int code = pack_writer_end(w, err);

    if (code)
        return code;
    *out = w->bytes;
    *out_bytes = w->used;
    w->bytes = NULL;
    w->used = w->room = 0;
    return 0;
}

void pack_writer_fini(struct pack_writer *w)
{
    if (!w->owned || !w->bytes)
        return;
    sodium_memzero(w->bytes, w->room);
    free(w->bytes);
    w->bytes = NULL;
    w->used = w->room = 0;
}
