/* Values as people write them: one parser a type, each with its own words about what is wrong. */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/config/config.h"
#include "peer/config/mirror.h"
#include "protocol/mem.h"
#include "protocol/wanted.h"

/* Decimal digits alone, within the limits. */
static bool number(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;

    if (*text == '\0' || strlen(text) > 10)
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return false;
        value = value * 10 + (uint64_t)(*text - '0');
    }
    if (value < min || value > max)
        return false;
    *out = value;
    return true;
}

int config_duration(const char *text, uint32_t *out_ms, struct err *err)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    size_t digits = strspn(text, "0123456789");
    char count[16];
    uint64_t n;

    if (digits == 0 || digits > 10)
        return err_set(err, KPEER_EINVAL, "\"%.40s\" is no duration: 500ms, 10s, 5m or 1h is one", text);
    memcpy(count, text, digits);
    count[digits] = '\0';
    for (size_t i = 0; i < COUNT_OF(units); i++) {
        if (strcmp(text + digits, units[i].unit) != 0)
            continue;
        if (!number(count, 0, UINT32_MAX / units[i].ms, &n))
            return err_set(err, KPEER_EINVAL, "the duration \"%.40s\" is too long", text);
        *out_ms = (uint32_t)(n * units[i].ms);
        return 0;
    }
    if (text[digits] == '\0')
        return err_set(err, KPEER_EINVAL, "the duration \"%.40s\" has no unit: ms, s, m or h", text);
    return err_set(err, KPEER_EINVAL, "\"%.40s\" is no duration: 500ms, 10s, 5m or 1h is one", text);
}

static int set_text(void *field, const struct config_key *key, const char *text, struct err *err)
{
    size_t n = strlen(text);

    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return err_set(err, KPEER_EINVAL, "it has a control character");
    if (n && (isspace((unsigned char)text[0]) || isspace((unsigned char)text[n - 1])))
        return err_set(err, KPEER_EINVAL, "it begins or ends with a blank");
    if (n >= key->size)
        return err_set(err, KPEER_EINVAL, "it is too long: %zu characters, at most %zu", n, key->size - 1);
    memset(field, 0, key->size);
    memcpy(field, text, n);
    return 0;
}

static size_t word_count(const struct config_key *key)
{
    size_t n = 0;

    while (key->words[n])
        n++;
    return n;
}

static int word_index(const struct config_key *key, const char *text, struct err *err)
{
    const char *near;
    char all[160] = "";

    for (size_t i = 0; key->words[i]; i++) {
        if (strcmp(key->words[i], text) == 0)
            return (int)i;
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "", key->words[i]);
    }
    near = config_nearest(text, key->words, word_count(key));
    if (near)
        return err_set(err, KPEER_EINVAL, "\"%.40s\" is none of %s: did you mean \"%s\"?", text, all, near);
    return err_set(err, KPEER_EINVAL, "\"%.40s\" is none of %s", text, all);
}

static int set_choice(void *field, const struct config_key *key, const char *text, struct err *err)
{
    int i = word_index(key, text, err);

    if (i < 0)
        return i;
    /* `control-plane` is the other name of `master`. */
    if (strcmp(text, "control-plane") == 0)
        i = ROLE_MASTER;
    memcpy(field, &i, sizeof i);
    return 0;
}

static int set_path(void *field, const struct config_key *key, const char *text, struct err *err)
{
    if (text[0] != '/')
        return err_set(err, KPEER_EINVAL, "\"%.80s\" is no absolute path", text);
    return set_text(field, key, text, err);
}

static int set_bool(void *field, const char *text, struct err *err)
{
    bool value = strcmp(text, "true") == 0;

    if (!value && strcmp(text, "false") != 0)
        return err_set(err, KPEER_EINVAL, "\"%.40s\" is neither true nor false", text);
    memcpy(field, &value, sizeof value);
    return 0;
}

static int set_uint(void *field, const struct config_key *key, const char *text, struct err *err)
{
    uint64_t n;
    uint32_t value;

    if (!number(text, key->min, key->max, &n))
        return err_set(err, KPEER_EINVAL, "\"%.40s\" is no number from %u to %u", text, key->min, key->max);
    value = (uint32_t)n;
    memcpy(field, &value, sizeof value);
    return 0;
}

static int set_port(void *field, const char *text, struct err *err)
{
    uint64_t n;
    uint16_t value;

    if (!number(text, 1, 65535, &n))
        return err_set(err, KPEER_EINVAL, "\"%.40s\" is no port (1 to 65535)", text);
    value = (uint16_t)n;
    memcpy(field, &value, sizeof value);
    return 0;
}

static int set_duration(void *field, const struct config_key *key, const char *text, struct err *err)
{
    uint32_t ms = 0;
    int code = config_duration(text, &ms, err);

    if (code)
        return code;
    if (ms < key->min || ms > key->max)
        return err_set(err, KPEER_EINVAL, "\"%.40s\" is out of range: %ums to %us", text, key->min,
                       key->max / 1000);
    memcpy(field, &ms, sizeof ms);
    return 0;
}

/* The bits of an address after the first `prefix`. */
static bool host_bits_zero(const uint8_t *addr, size_t bytes, uint64_t prefix)
{
    for (size_t bit = (size_t)prefix; bit < 8 * bytes; bit++)
        if (addr[bit / 8] & (0x80u >> (bit % 8)))
            return false;
    return true;
}

static int set_cidr(void *field, const struct config_key *key, const char *text, struct err *err)
{
    uint8_t addr[16];
    char address[STEP_CIDR_BYTES];
    const char *slash = strchr(text, '/');
    size_t bytes;
    uint64_t prefix;

    if (!slash || (size_t)(slash - text) >= sizeof address)
        return err_set(err, KPEER_EINVAL, "\"%.60s\" is no network like 10.244.0.0/16", text);
    memcpy(address, text, (size_t)(slash - text));
    address[slash - text] = '\0';
    bytes = inet_pton(AF_INET, address, addr) == 1 ? 4 : inet_pton(AF_INET6, address, addr) == 1 ? 16 : 0;
    if (!bytes || !number(slash + 1, 0, 8 * bytes, &prefix))
        return err_set(err, KPEER_EINVAL, "\"%.60s\" is no network like 10.244.0.0/16", text);
    if (!host_bits_zero(addr, bytes, prefix))
        return err_set(err, KPEER_EINVAL, "\"%.60s\" names an address within the network, not the network",
                       text);
    return set_text(field, key, text, err);
}

static int set_multicast(void *field, const struct config_key *key, const char *text, struct err *err)
{
    struct in_addr a;

    if (inet_pton(AF_INET, text, &a) != 1 || !IN_MULTICAST(ntohl(a.s_addr)))
        return err_set(err, KPEER_EINVAL, "\"%.60s\" is no IPv4 multicast address", text);
    return set_text(field, key, text, err);
}

static bool name_ok(const char *text)
{
    size_t n = strlen(text), label = 0;

    if (n == 0 || n > 63)
        return false;
    for (size_t i = 0; i < n; i++) {
        bool edge = i == 0 || i == n - 1 || text[i - 1] == '.' || text[i + 1] == '.';
        char c = text[i];

        if (c == '.') {
            if (label == 0 || i == n - 1)
                return false;
            label = 0;
            continue;
        }
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c == '-' && !edge)))
            return false;
        label++;
    }
    return true;
}

static int set_name(void *field, const struct config_key *key, const char *text, struct err *err)
{
    if (!name_ok(text))
        return err_set(err, KPEER_EINVAL,
                       "\"%.70s\" is no host name: small letters, digits, - and . (63 at most)", text);
    return set_text(field, key, text, err);
}

static int set_version(void *field, const struct config_key *key, const char *text, struct err *err)
{
    char with_v[40];
    unsigned major, minor, patch;
    int end = -1;
    const char *digits = text[0] == 'v' ? text + 1 : text;

    if (!isdigit((unsigned char)digits[0]) || strlen(digits) > 16 ||
        sscanf(digits, "%3u.%3u.%3u%n", &major, &minor, &patch, &end) != 3 || digits[end] != '\0')
        return err_set(err, KPEER_EINVAL, "\"%.40s\" is no version like v1.23.3", text);
    snprintf(with_v, sizeof with_v, "v%u.%u.%u", major, minor, patch);
    return set_text(field, key, with_v, err);
}

static int set_wanted(void *field, const struct config_key *key, const char *text, struct err *err)
{
    char form[STEP_VERSION_BYTES];

    if (!wanted_normalise(text, form, sizeof form))
        return err_set(err, KPEER_EINVAL, "\"%.40s\" is no version like 1.31.4, 1.31 or stable", text);
    return set_text(field, key, form, err);
}

/* It ends up in a line of apt's, where a blank or a bracket would begin something else. */
static bool url_ok(const char *text)
{
    static const char *const schemes[] = {"http://", "https://", "file:/"};

    for (const char *at = text; *at; at++)
        if ((unsigned char)*at <= ' ' || (unsigned char)*at >= 0x7f || strchr("[]\"'\\#", *at))
            return false;
    for (size_t i = 0; i < COUNT_OF(schemes); i++)
        if (strncmp(text, schemes[i], strlen(schemes[i])) == 0 && text[strlen(schemes[i])])
            return true;
    return false;
}

static int set_mirror(void *field, const struct config_key *key, const char *text, struct err *err)
{
    if (!mirror_find(text) && !url_ok(text))
        return err_set(err, KPEER_EINVAL, "\"%.80s\" is no mirror's name and no http, https or file URL",
                       text);
    if (strlen(text) > MIRROR_URL_MAX)
        return err_set(err, KPEER_EINVAL, "a mirror's URL may have %d characters at most", MIRROR_URL_MAX);
    return set_text(field, key, text, err);
}

static int set_source(void *field, const struct config_key *key, const char *text, struct err *err)
{
    if (text[0] == '/')
        return set_path(field, key, text, err);
    if (!url_ok(text))
        return err_set(err, KPEER_EINVAL, "\"%.80s\" is no absolute path and no http, https or file URL",
                       text);
    return set_text(field, key, text, err);
}

static int set_hex(void *field, const struct config_key *key, const char *text, struct err *err)
{
    char digits[65];
    size_t n = 0;

    for (const char *at = text; *at; at++) {
        if (*at == ' ')
            continue;
        if (!isxdigit((unsigned char)*at) || n == sizeof digits - 1)
            return err_set(err, KPEER_EINVAL, "\"%.80s\" is no fingerprint of 40 or 64 hex digits", text);
        digits[n++] = (char)toupper((unsigned char)*at);
    }
    digits[n] = '\0';
    if (n != 40 && n != 64)
        return err_set(err, KPEER_EINVAL, "\"%.80s\" is no fingerprint of 40 or 64 hex digits", text);
    return set_text(field, key, digits, err);
}

/* ADDRESS, ADDRESS:PORT, [ADDRESS], [ADDRESS]:PORT; port 0 stands for "the group's own" until config_load. */
static int set_seed(void *field, const char *text, struct err *err)
{
    struct config_seed seed = {.port = 0};
    uint8_t addr[16];
    uint64_t port = 0;
    const char *at = text[0] == '[' ? text + 1 : text;
    const char *colon = strchr(text, ':');
    size_t n = text[0] == '[' ? strcspn(at, "]") : strlen(at);
    const char *tail;

    if (text[0] != '[' && colon && colon == strrchr(text, ':'))
        n = (size_t)(colon - text);
    if (n >= sizeof seed.address)
        return err_set(err, KPEER_EINVAL, "\"%.60s\" is no ADDRESS or ADDRESS:PORT", text);
    memcpy(seed.address, at, n);
    tail = at + n;
    if (text[0] == '[')
        tail = *tail == ']' ? tail + 1 : "?";
    if ((inet_pton(AF_INET, seed.address, addr) != 1 && inet_pton(AF_INET6, seed.address, addr) != 1) ||
        (*tail && (*tail != ':' || !number(tail + 1, 1, 65535, &port))))
        return err_set(err, KPEER_EINVAL, "\"%.60s\" is no ADDRESS or ADDRESS:PORT", text);
    seed.port = (uint16_t)port;
    memcpy(field, &seed, sizeof seed);
    return 0;
}

static bool is_loopback(const char *address)
{
    struct in_addr in;
    struct in6_addr in6;

    if (inet_pton(AF_INET, address, &in) == 1)
        return ntohl(in.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, address, &in6) == 1 && IN6_IS_ADDR_LOOPBACK(&in6);
}

static int set_loopback(void *field, const char *text, struct err *err)
{
    struct config_seed at;
    int code = set_seed(&at, text, err);

    if (code)
        return code;
    if (!at.port)
        return err_set(err, KPEER_EINVAL, "\"%.60s\" has no port, as 127.0.0.1:7374 has", text);
    if (!is_loopback(at.address))
        return err_set(err, KPEER_EINVAL,
                       "\"%.60s\" is no loopback address: only 127.0.0.0/8 and [::1] are served", text);
    memcpy(field, &at, sizeof at);
    return 0;
}

static int set_scalar(void *field, const struct config_key *key, const char *text, struct err *err)
{
    switch (key->type) {
    case CONFIG_TEXT:
    case CONFIG_TEXT_LIST:
        if (key->words) {
            int i = word_index(key, text, err);
            if (i < 0)
                return i;
        }
        return set_text(field, key, text, err);
    case CONFIG_PATH:
        return set_path(field, key, text, err);
    case CONFIG_CHOICE:
        return set_choice(field, key, text, err);
    case CONFIG_BOOL:
        return set_bool(field, text, err);
    case CONFIG_UINT:
        return set_uint(field, key, text, err);
    case CONFIG_PORT:
        return set_port(field, text, err);
    case CONFIG_DURATION:
        return set_duration(field, key, text, err);
    case CONFIG_CIDR:
        return set_cidr(field, key, text, err);
    case CONFIG_ADDRESS:
        return set_multicast(field, key, text, err);
    case CONFIG_NAME:
        return set_name(field, key, text, err);
    case CONFIG_VERSION:
        return set_version(field, key, text, err);
    case CONFIG_WANTED:
        return set_wanted(field, key, text, err);
    case CONFIG_MIRROR:
        return set_mirror(field, key, text, err);
    case CONFIG_SOURCE:
        return set_source(field, key, text, err);
    case CONFIG_HEX:
        return set_hex(field, key, text, err);
    case CONFIG_SEED_LIST:
        return set_seed(field, text, err);
    case CONFIG_LOOPBACK:
        return set_loopback(field, text, err);
    }
    return err_set(err, KPEER_EINVAL, "it cannot be set");
}

/* Adds the elements of a comma-separated text to a list. */
static int add_elements(struct config *cfg, const struct config_key *key, const char *text, struct err *err)
{
    size_t *count = (size_t *)(void *)((char *)cfg + key->count_offset);
    cleanup_free char *copy = strdup(text);
    char *rest = copy, *element;

    if (!copy)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    while ((element = strsep(&rest, ",")) != NULL) {
        char *field = (char *)cfg + key->offset + *count * key->size;
        int code;

        if (*element == '\0')
            return err_set(err, KPEER_EINVAL, "it has an empty element");
        if (*count >= key->max)
            return err_set(err, KPEER_EINVAL, "there are more than %u elements", key->max);
        code = set_scalar(field, key, element, err);
        if (code)
            return code;
        (*count)++;
    }
    return 0;
}

int config_set(struct config *cfg, const struct config_key *key, const char *text, bool append,
               struct err *err)
{
    cfg->origin[key - config_schema] = cfg->reading;
    if (key->type != CONFIG_SEED_LIST && key->type != CONFIG_TEXT_LIST) {
        if (*text == '\0')
            return err_set(err, KPEER_EINVAL, "it has no value");
        return set_scalar((char *)cfg + key->offset, key, text, err);
    }
    if (!append)
        memset((char *)cfg + key->count_offset, 0, sizeof(size_t));
    return add_elements(cfg, key, text, err);
}
