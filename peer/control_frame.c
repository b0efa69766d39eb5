#include "peer/control_frame.h"

#include <string.h>

#include "protocol/pack.h"

#define TAG_LIST   0
#define TAG_OBJECT 1

static void put(struct pack_writer *w, const json_t *value);

static void put_object(struct pack_writer *w, const json_t *value)
{
    const char *key;
    json_t *element;

    pack_put_array(w, 1 + 2 * json_object_size(value));
    pack_put_uint(w, TAG_OBJECT);
    /* jansson's iteration takes no const, though it changes nothing. */
    json_object_foreach((json_t *)(uintptr_t)value, key, element)
    {
        pack_put_bin(w, key, strlen(key));
        put(w, element);
    }
}

static void put_list(struct pack_writer *w, const json_t *value)
{
    pack_put_array(w, 1 + json_array_size(value));
    pack_put_uint(w, TAG_LIST);
    for (size_t i = 0; i < json_array_size(value); i++)
        put(w, json_array_get(value, i));
}

static void put(struct pack_writer *w, const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        put_object(w, value);
        break;
    case JSON_ARRAY:
        put_list(w, value);
        break;
    case JSON_STRING:
        pack_put_bin(w, json_string_value(value), json_string_length(value));
        break;
    case JSON_INTEGER:
        pack_put_int(w, json_integer_value(value));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        pack_put_bool(w, json_is_true(value));
        break;
    case JSON_NULL:
        pack_put_nil(w);
        break;
    case JSON_REAL:
        w->code = w->code ? w->code : KPEER_EINVAL;
        break;
    }
}

int control_frame_encode(const json_t *value, size_t limit, uint8_t **out, size_t *out_bytes, struct err *err)
{
    static const uint8_t room[4];
    struct pack_writer w;
    size_t n;
    int code;

    pack_writer_init(&w, limit + sizeof room);
    pack_put_raw(&w, room, sizeof room);
    put(&w, value);
    code = pack_writer_take(&w, out, out_bytes, err);
    pack_writer_fini(&w);
    if (code)
        return code;
    n = *out_bytes - sizeof room;
    for (size_t i = 0; i < sizeof room; i++)
        (*out)[i] = (uint8_t)(n >> (8 * (3 - i)));
    return 0;
}

/* What a value is, from its first byte; pack_open has checked that the whole is well-formed. */
enum kind { KIND_NIL, KIND_BOOL, KIND_INT, KIND_BIN, KIND_ARRAY, KIND_OTHER };

static enum kind kind_of(const struct pack_reader *r)
{
    uint8_t first = r->at < r->end ? r->at[0] : 0xc1;

    if (first == 0xc0)
        return KIND_NIL;
    if (first == 0xc2 || first == 0xc3)
        return KIND_BOOL;
    if (first <= 0x7f || first >= 0xe0 || (first >= 0xcc && first <= 0xd3))
        return KIND_INT;
    if (first >= 0xc4 && first <= 0xc6)
        return KIND_BIN;
    if ((first >= 0x90 && first <= 0x9f) || first == 0xdc || first == 0xdd)
        return KIND_ARRAY;
    return KIND_OTHER;
}

static json_t *get(struct pack_reader *r);

static json_t *get_text(struct pack_reader *r)
{
    size_t n;
    const uint8_t *body = pack_bin(r, 0, SIZE_MAX, &n);
    json_t *text = body ? json_stringn((const char *)body, n) : NULL;

    if (!text)
        pack_fail(r, KPEER_EINVAL, "a text is not UTF-8");
    return text;
}

static json_t *get_list(struct pack_reader *r, uint32_t count)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < count && !pack_bad(r); i++)
        if (json_array_append_new(list, get(r)))
            pack_fail(r, KPEER_EINVAL, "an element is missing");
    return list;
}

static void get_pair(struct pack_reader *r, json_t *object)
{
    size_t n;
    char key[64];
    const uint8_t *body = pack_bin(r, 1, sizeof key - 1, &n);

    if (!body || memchr(body, 0, n)) {
        pack_fail(r, KPEER_EINVAL, "a key is no text");
        return;
    }
    memcpy(key, body, n);
    key[n] = '\0';
    if (json_object_get(object, key))
        pack_fail(r, KPEER_EINVAL, "a key is there twice");
    else if (json_object_set_new(object, key, get(r)))
        pack_fail(r, KPEER_EINVAL, "a value is missing");
}

static json_t *get_array(struct pack_reader *r)
{
    uint32_t count = pack_array(r, 1, UINT32_MAX);
    json_t *object;

    if (pack_uint(r, TAG_OBJECT) == TAG_LIST)
        return pack_bad(r) ? NULL : get_list(r, count - 1);
    if (pack_bad(r) || count % 2 == 0) {
        pack_fail(r, KPEER_EINVAL, "a key has no value");
        return NULL;
    }
    object = json_object();
    for (uint32_t i = 0; i < count / 2 && !pack_bad(r); i++)
        get_pair(r, object);
    return object;
}

static json_t *get(struct pack_reader *r)
{
    if (pack_bad(r))
        return NULL;
    switch (kind_of(r)) {
    case KIND_NIL:
        pack_nil(r);
        return json_null();
    case KIND_BOOL:
        return json_boolean(pack_bool(r));
    case KIND_INT:
        return json_integer(pack_int(r, INT64_MIN, INT64_MAX));
    case KIND_BIN:
        return get_text(r);
    case KIND_ARRAY:
        return get_array(r);
    case KIND_OTHER:
        break;
    }
    pack_fail(r, KPEER_EINVAL, "a kind of value that is not used here");
    return NULL;
}

int control_frame_decode(const uint8_t *bytes, size_t n, json_t **out, struct err *err)
{
    struct pack_reader r;
    json_t *value;
    int code = pack_open(&r, bytes, n, 12, err);

    if (code)
        return code;
    value = get(&r);
    code = pack_close(&r, err);
    if (!code && !value)
        code = err_set(err, KPEER_ENOMEM, "out of memory");
    if (code) {
        json_decref(value);
        return code;
    }
    *out = value;
    return 0;
}
