#include "peer/config/config_report.h"

#include <stdio.h>
#include <string.h>

#include "protocol/mem.h"

static json_t *duration(uint32_t ms)
{
    static const struct {
        uint32_t ms;
        const char *unit;
    } units[] = {{3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
    char text[24];

    for (size_t i = 0; i < COUNT_OF(units); i++) {
        if (ms % units[i].ms == 0 && (ms || units[i].ms == 1)) {
            snprintf(text, sizeof text, "%u%s", ms / units[i].ms, units[i].unit);
            break;
        }
    }
    return json_string(text);
}

static json_t *seed(const struct config_seed *s)
{
    char text[CONFIG_SEED_BYTES];

    snprintf(text, sizeof text, strchr(s->address, ':') ? "[%s]:%u" : "%s:%u", s->address, s->port);
    return json_string(text);
}

/* Without a default, 0 is a number that nobody set. */
static json_t *number(const struct config_key *key, uint32_t n)
{
    return n || key->def ? json_integer(n) : NULL;
}

static json_t *scalar(const void *field, const struct config_key *key)
{
    uint32_t n = 0;
    uint16_t port;
    int choice;
    bool truth;

    switch (key->type) {
    case CONFIG_CHOICE:
        memcpy(&choice, field, sizeof choice);
        return json_string(key->words[choice]);
    case CONFIG_BOOL:
        memcpy(&truth, field, sizeof truth);
        return json_boolean(truth);
    case CONFIG_PORT:
        memcpy(&port, field, sizeof port);
        return number(key, port);
    case CONFIG_UINT:
        memcpy(&n, field, sizeof n);
        return number(key, n);
    case CONFIG_DURATION:
        memcpy(&n, field, sizeof n);
        return duration(n);
    case CONFIG_SEED_LIST:
        return seed(field);
    case CONFIG_LOOPBACK:
        return *(const char *)field ? seed(field) : NULL;
    default:
        return *(const char *)field ? json_string(field) : NULL;
    }
}

static json_t *list(const struct config *cfg, const struct config_key *key)
{
    size_t count;
    json_t *all = json_array();

    memcpy(&count, (const char *)cfg + key->count_offset, sizeof count);
    for (size_t i = 0; i < count; i++)
        json_array_append_new(all, scalar((const char *)cfg + key->offset + i * key->size, key));
    if (count)
        return all;
    json_decref(all);
    return NULL;
}

json_t *config_report_value(const struct config *cfg, const struct config_key *key)
{
    if (key->type == CONFIG_SEED_LIST || key->type == CONFIG_TEXT_LIST)
        return list(cfg, key);
    return scalar((const char *)cfg + key->offset, key);
}

/* "flannel.version" goes into the map "flannel". */
static int put(json_t *root, const char *key, json_t *value)
{
    const char *dot = strchr(key, '.');
    char name[64];
    json_t *map = root;

    if (dot) {
        snprintf(name, sizeof name, "%.*s", (int)(dot - key), key);
        map = json_object_get(root, name);
        if (!map && json_object_set_new(root, name, json_object()) == 0)
            map = json_object_get(root, name);
    }
    return json_object_set_new(map, dot ? dot + 1 : key, value);
}

json_t *config_report(const struct config *cfg)
{
    json_t *root = json_object();

    for (size_t i = 0; root && i < config_schema_count; i++) {
        json_t *value = config_report_value(cfg, &config_schema[i]);

        if (value && put(root, config_schema[i].key, value)) {
            json_decref(root);
            root = NULL;
        }
    }
    return root;
}

const char *config_origin_word(const struct config *cfg, const struct config_key *key)
{
    static const char *const words[] = {"default", "file", "environment", "flag"};

    return words[cfg->origin[key - config_schema]];
}
