#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "peer/command/command.h"
#include "peer/config/config_report.h"
#include "protocol/mem.h"

/* A value on one line, as the environment would have it. */
static void value_text(const json_t *value, char *out, size_t room)
{
    size_t used = 0;

    out[0] = '\0';
    if (json_is_string(value))
        writer_safe(out, room, json_string_value(value));
    else if (json_is_boolean(value))
        snprintf(out, room, "%s", json_is_true(value) ? "true" : "false");
    else if (json_is_integer(value))
        snprintf(out, room, "%lld", (long long)json_integer_value(value));
    for (size_t i = 0; i < json_array_size(value) && used < room; i++)
        used += (size_t)snprintf(out + used, room - used, "%s%s", i ? "," : "",
                                 json_string_value(json_array_get(value, i)));
}

static int print_table(struct call *call, struct err *err)
{
    static const struct writer_column columns[] = {
        {"KEY", false}, {"VALUE", false}, {"FROM", false}, {"WHAT IT IS", true}};
    cleanup_free struct writer_cell *cells = calloc(config_schema_count * COUNT_OF(columns), sizeof *cells);

    if (!cells)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    for (size_t i = 0; i < config_schema_count; i++) {
        const struct config_key *key = &config_schema[i];
        struct writer_cell *row = cells + i * COUNT_OF(columns);
        json_t *value = config_report_value(&call->cfg, key);
        const char *from = config_origin_word(&call->cfg, key);

        snprintf(row[0].text, sizeof row[0].text, "%s", key->key);
        value_text(value, row[1].text, sizeof row[1].text);
        snprintf(row[2].text, sizeof row[2].text, "%s", from);
        snprintf(row[3].text, sizeof row[3].text, "%s", key->doc);
        row[1].tint = strcmp(from, "default") == 0 ? TINT_DIM : TINT_BOLD;
        row[2].tint = TINT_DIM;
        json_decref(value);
    }
    return writer_table(&call->out, columns, COUNT_OF(columns), cells, config_schema_count, err);
}

static int print(struct call *call, struct err *err)
{
    json_t *all;
    int code;

    if (!writer_is_data(&call->out))
        return print_table(call, err);
    all = config_report(&call->cfg);
    code = all ? writer_value(&call->out, all, err) : err_set(err, KPEER_ENOMEM, "out of memory");
    json_decref(all);
    return code;
}

/* What is well written and will fail all the same: files that are named and not there. */
static size_t warn_missing(const struct call *call)
{
    size_t missing = 0;

    for (size_t i = 0; i < config_schema_count; i++) {
        const struct config_key *key = &config_schema[i];
        const char *path = (const char *)&call->cfg + key->offset;
        bool tool = strncmp(key->key, "tools.", 6) == 0;

        if ((key->type != CONFIG_PATH && key->type != CONFIG_SOURCE) || *path != '/' ||
            call->cfg.origin[i] == CONFIG_FROM_DEFAULT || key->makes || access(path, tool ? X_OK : F_OK) == 0)
            continue;
        fprintf(stderr, "kpeer: warning: %s: %s: %s\n", key->key, path, strerror(errno));
        missing++;
    }
    return missing;
}

/* The configuration was read before a command runs: who comes here has a valid one. */
static int validate(struct call *call, struct err *err)
{
    const char *file = call->config_file ? call->config_file : getenv("KPEER_CONFIG");
    size_t missing = warn_missing(call);
    json_t *answer;
    int code;

    if (!file || !*file)
        file = CONFIG_DEFAULT_FILE;
    if (!writer_is_data(&call->out)) {
        char safe[300];

        writer_safe(safe, sizeof safe, file);
        fprintf(call->out.to, "%s: %s\n", safe,
                access(file, F_OK) ? "not there: the defaults are in force" : "valid");
        return 0;
    }
    answer = json_pack("{s:s, s:b, s:b, s:I}", "file", file, "there", access(file, F_OK) == 0, "valid", 1,
                       "warnings", (json_int_t)missing);
    code = answer ? writer_value(&call->out, answer, err) : err_set(err, KPEER_ENOMEM, "out of memory");
    json_decref(answer);
    return code;
}

int cmd_config(struct call *call, struct err *err)
{
    const char *what = call->args[0];

    if (strcmp(what, "print") == 0)
        return print(call, err);
    if (strcmp(what, "validate") == 0)
        return validate(call, err);
    err_set(err, KPEER_EINVAL, "config: \"%.40s\" is none of print, validate", what);
    return err_hint(err, "kpeer config --help");
}
