#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "peer/command/command.h"
#include "peer/command/daemon.h"
#include "protocol/mem.h"

/* Splits at blanks and parses; the words live until the next call. */
static int parse(struct call *call, const char *line, struct err *err)
{
    static char words[512];
    static char *argv[32];
    int argc = 0;

    snprintf(words, sizeof words, "%s", line);
    for (char *w = strtok(words, " "); w; w = strtok(NULL, " "))
        argv[argc++] = w;
    memset(call, 0, sizeof *call);
    return command_parse(call, argc, argv, err);
}

static void test_good_lines(void **state)
{
    struct call call;

    (void)state;
    assert_int_equal(
        parse(&call, "kpeer up --expect 3 --seed=10.0.0.1 --seed 10.0.0.2 --dry-run -ojson", NULL), 0);
    assert_string_equal(call.command->name, "up");
    assert_int_equal(call.setting_count, 4);
    assert_string_equal(call.setting[0].key->key, "expect");
    assert_string_equal(call.setting[0].value, "3");
    assert_string_equal(call.setting[3].value, "true");
    assert_int_equal(call.format, WRITE_JSON);
    assert_int_equal(parse(&call, "kpeer up --dry-run=false", NULL), 0);
    assert_string_equal(call.setting[0].value, "false");
    assert_int_equal(parse(&call, "kpeer up --trust-subnet", NULL), 0);
    assert_string_equal(call.setting[0].value, "subnet");
    assert_int_equal(parse(&call, "kpeer members -o wide --no-color --run-dir /r --config /c", NULL), 0);
    assert_int_equal(call.format, WRITE_WIDE);
    assert_true(call.no_color);
    assert_string_equal(call.config_file, "/c");
    assert_int_equal(parse(&call, "kpeer key --key-file /k show", NULL), 0);
    assert_int_equal(call.arg_count, 1);
    assert_string_equal(call.args[0], "show");
    assert_int_equal(parse(&call, "kpeer leave --force --timeout 5s", NULL), 0);
    assert_string_equal(command_flag(&call, "force"), "");
    assert_string_equal(command_flag(&call, "timeout"), "5s");
    assert_int_equal(parse(&call, "kpeer events --since 5m --no-follow -o json", NULL), 0);
    assert_null(command_flag(&call, "force"));
    assert_int_equal(parse(&call, "kpeer key --help", NULL), 0);
    assert_true(call.help);
}

static void test_wrong_usage(void **state)
{
    static const struct {
        const char *line;
        const char *word;
    } lines[] = {
        {"kpeer", "missing"},
        {"kpeer upp", "did you mean \"up\""},
        {"kpeer mebmers", "did you mean \"members\""},
        {"kpeer frobnicate", "unknown command"},
        {"kpeer up --expekt 3", "did you mean --expect"},
        {"kpeer up --expect", "wants a value"},
        {"kpeer up extra", "takes no arguments"},
        {"kpeer up -x", "unknown flag"},
        {"kpeer up --trust-subnet=key", "takes no value"},
        {"kpeer members --force", "unknown flag"},
        {"kpeer members --expect 3", "unknown flag"},
        {"kpeer members -o xml", "table, wide, json or yaml"},
        {"kpeer completion bash -o json", "completion: -o: table or wide"},
        {"kpeer agent --output=yaml", "agent: -o: table or wide"},
        {"kpeer key", "one of generate|import|show|rotate"},
        {"kpeer key show me", "one of"},
        {"kpeer leave --force=yes", "takes no value"},
        {"kpeer up --averyveryveryveryveryveryverylongflagthatnobodyknows", "unknown flag"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(lines); i++) {
        struct call call;
        struct err err = {0};
        int code = parse(&call, lines[i].line, &err);

        if (code != KPEER_EINVAL || !strstr(err.text, lines[i].word) || !err.hint[0])
            fail_msg("%s: wants \"%s\", got code %d \"%s\", hint \"%s\"", lines[i].line, lines[i].word, code,
                     err.text, err.hint);
        assert_int_equal(err_exit_status(code), 2);
    }
}

/* Help is complete: a summary, a paragraph, an example and a line for each flag that the command takes. */
static void test_help_is_complete(void **state)
{
    (void)state;
    for (size_t i = 0; i < command_count; i++) {
        const struct command *c = &command_table[i];
        char *text = NULL;
        size_t n;
        FILE *to = open_memstream(&text, &n);

        command_help(to, c);
        fclose(to);
        assert_true(strlen(c->summary) > 5);
        assert_non_null(strstr(text, "Examples:"));
        assert_non_null(strstr(text, c->example));
        assert_non_null(strstr(text, "--config FILE"));
        for (const struct command_flag *f = c->flags; f && f->name; f++)
            if (f->doc)
                assert_non_null(strstr(text, f->doc));
        for (size_t k = 0; k < config_schema_count && c->takes_agent_flags; k++)
            if (config_schema[k].flag)
                assert_non_null(strstr(text, config_schema[k].doc));
        free(text);
    }
}

/* No flag of a command may be hidden by one of the configuration's of the same name, nor the other way round,
 * but for `leave --timeout`, which takes no agent flags. */
static void test_flags_do_not_clash(void **state)
{
    (void)state;
    for (size_t i = 0; i < command_count; i++)
        for (const struct command_flag *f = command_table[i].flags; f && f->name; f++) {
            const struct config_key *key = config_find_flag(f->name);

            if (key)
                assert_true(key->scope == CONFIG_AGENT && !command_table[i].takes_agent_flags);
        }
}

/* What `up` was told is in its unit, and in the drop-in for another one; all else of the unit is as packages
 * have it. */
static void test_unit_text(void **state)
{
    static const char lines[] =
        "Environment=\"KPEER_PORT=7%%d\"\n"
        "ExecStart=\"/usr/bin/kp\\\"eer\" \"agent\" \"--config=/nowhere.yaml\" \"--expect=3\" "
        "\"--interface=eth$$1%%\" \"--trust-subnet\"\n";
    struct call call;
    static char port[] = "KPEER_PORT=7%d", other[] = "HOME=/root";
    char *env[] = {port, other, NULL};
    char *unit = NULL, *dropin = NULL, *at;

    (void)state;
    assert_int_equal(parse(&call, "kpeer up --expect 3 --interface eth$1% --trust-subnet", NULL), 0);
    setenv("KPEER_CONFIG", "/nowhere.yaml", 1);
    assert_int_equal(daemon_unit_text(&call, "/usr/bin/kp\"eer", env, false, &unit, NULL), 0);
    assert_int_equal(daemon_unit_text(&call, "/usr/bin/kp\"eer", env, true, &dropin, NULL), 0);
    unsetenv("KPEER_CONFIG");

    at = strstr(dropin, "[Service]\nExecStart=\n");
    assert_non_null(at);
    assert_string_equal(at + strlen("[Service]\nExecStart=\n"), lines);

    at = strstr(unit, lines);
    assert_non_null(at);
    memmove(at + strlen("ExecStart=kpeer agent\n"), at + strlen(lines), strlen(at + strlen(lines)) + 1);
    memcpy(at, "ExecStart=kpeer agent\n", strlen("ExecStart=kpeer agent\n"));
    assert_string_equal(strchr(unit, '\n') + 1, daemon_unit);
    free(unit);
    free(dropin);
}

/* Whatever its text holds, an error is told, as JSON too. */
static void test_odd_error(void **state)
{
    const struct call call = {.format = WRITE_JSON};
    const struct err cut = {.code = KPEER_EINVAL, .text = "unknown key \"aaa\xc3", .hint = "\xff"};
    char told[256] = "";
    FILE *file = tmpfile();
    int was = dup(STDERR_FILENO);

    (void)state;
    assert_true(file && was >= 0 && dup2(fileno(file), STDERR_FILENO) >= 0);
    command_error(&call, &cut);
    fflush(stderr);
    dup2(was, STDERR_FILENO);
    close(was);
    rewind(file);
    assert_true(fread(told, 1, sizeof told - 1, file) > 0);
    fclose(file);
    assert_non_null(strstr(told, "unknown key"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_lines),       cmocka_unit_test(test_wrong_usage),
        cmocka_unit_test(test_help_is_complete), cmocka_unit_test(test_flags_do_not_clash),
        cmocka_unit_test(test_unit_text),        cmocka_unit_test(test_odd_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
