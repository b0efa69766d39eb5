#include "peer/executor/host/parse_daemon.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/mem.h"

#define DRIVER "native.cgroupdriver="

static int no_memory(struct err *err)
{
    return err_set(err, KPEER_ENOMEM, "out of memory");
}

/* The options without another cgroup driver, and with systemd's. */
static int merge_options(json_t *root, struct err *err)
{
    json_t *options = json_object_get(root, "exec-opts");
    bool there = false;

    if (options && !json_is_array(options))
        return err_set(err, KPEER_EINVAL, "its exec-opts is no list");
    if (!options) {
        options = json_array();
        if (json_object_set_new(root, "exec-opts", options))
            return no_memory(err);
    }
    for (size_t i = json_array_size(options); i-- > 0;) {
        const char *word = json_string_value(json_array_get(options, i));

        if (!word)
            return err_set(err, KPEER_EINVAL, "its exec-opts holds something that is no text");
        if (strcmp(word, DRIVER "systemd") == 0)
            there = true;
        else if (strncmp(word, DRIVER, sizeof(DRIVER) - 1) == 0)
            json_array_remove(options, i);
    }
    return there || json_array_append_new(options, json_string(DRIVER "systemd")) == 0 ? 0 : no_memory(err);
}

static int set_default(json_t *object, const char *key, const char *value, struct err *err)
{
    if (json_object_get(object, key))
        return 0;
    return json_object_set_new(object, key, json_string(value)) ? no_memory(err) : 0;
}

static int merge_logs(json_t *root, struct err *err)
{
    json_t *driver = json_object_get(root, "log-driver"), *options = json_object_get(root, "log-opts");
    const char *name = driver ? json_string_value(driver) : "json-file";

    if (!name || (options && !json_is_object(options)))
        return err_set(err, KPEER_EINVAL, "its log-driver or log-opts is not of the right type");
    if (strcmp(name, "json-file") != 0)
        return 0;
    if (set_default(root, "log-driver", "json-file", err))
        return KPEER_ENOMEM;
    if (!options) {
        options = json_object();
        if (json_object_set_new(root, "log-opts", options))
            return no_memory(err);
    }
    return set_default(options, "max-size", "100m", err);
}

static int merge(json_t *root, struct err *err)
{
    int code = merge_options(root, err);

    code = code ? code : merge_logs(root, err);
    return code ? code : set_default(root, "storage-driver", "overlay2", err);
}

static json_t *read_json(const char *text, size_t n, struct err *err)
{
    json_error_t fault;
    json_t *root;

    if (strspn(text, " \t\r\n") == n)
        return json_object();
    root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &fault);
    if (!root)
        err_set(err, KPEER_EINVAL, "line %d, column %d: %.100s", fault.line, fault.column, fault.text);
    else if (!json_is_object(root))
        err_set(err, KPEER_EINVAL, "it is no JSON object");
    if (root && !json_is_object(root)) {
        json_decref(root);
        root = NULL;
    }
    return root;
}

/* With a newline at the end, indented as it was. */
static int write_json(const json_t *root, const char *like, char **out, size_t *out_bytes, struct err *err)
{
    size_t indent = strstr(like, "\n    \"") ? 4 : 2;
    char *text = json_dumps(root, JSON_INDENT(indent) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(17));
    size_t n = text ? strlen(text) : 0;
    char *whole = text ? realloc(text, n + 2) : NULL;

    if (!whole) {
        free(text);
        return no_memory(err);
    }
    memcpy(whole + n, "\n", 2);
    *out = whole;
    *out_bytes = n + 1;
    return 0;
}

int daemon_merge(const char *text, size_t n, bool *same, char **out, size_t *out_bytes, struct err *err)
{
    struct err e = {0};
    json_t *root = read_json(text, n, &e), *before = root ? json_deep_copy(root) : NULL;
    int code = root ? 0 : e.code;

    if (!root && err)
        *err = e;
    if (code == 0 && !before)
        code = no_memory(err);
    code = code ? code : merge(root, err);
    if (code == 0) {
        *same = json_equal(before, root);
        code = *same ? 0 : write_json(root, text, out, out_bytes, err);
    }
    json_decref(before);
    json_decref(root);
    return code;
}
