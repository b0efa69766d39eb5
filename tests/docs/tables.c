/* Prints what the program's own tables say, one fact a line, for the check of the documents:
 *   command NAME SUMMARY
 *   args COMMAND ARGS           (as help shows them)
 *   flag COMMAND FLAG           (one of its own; those left out of help are left out here)
 *   shared FLAG                 (of every command)
 *   agent FLAG                  (of `up` and `agent`)
 *   key KEY DEFAULT             (DEFAULT is "-" where there is none)
 *   environment NAME
 *   takes COMMAND               (those of `up` and `agent`)
 *   row TEXT                    (of the table of system calls in docs/security.md)
 *   exit STATUS WORD            (WORD is the error's; "-" where none is told)
 *   version NUMBER
 *   word LIST WORD              (LIST is event, phase, state, check, dropped, heard, metric or field)
 * With `help` it prints the help of `kpeer --help` instead, or with a command's name behind it that of the
 * command. With another argument it reads lines from standard input, and prints for each what is wrong with
 * it, or an empty line: with `keys` each is a configuration file, with `calls` the words of a command line
 * after `kpeer`, separated by tabs.
 */
#include <stdio.h>
#include <string.h>

#include "discovery/discovery.h"
#include "peer/command/command.h"
#include "peer/executor/host/check.h"
#include "peer/agent/fields.h"
#include "peer/agent/filter.h"
#include "peer/agent/metrics.h"
#include "protocol/mem.h"
#include "protocol/node.h"

static void put_command(const struct command *c)
{
    printf("command %s %s\n", c->name, c->summary);
    if (c->args)
        printf("args %s %s\n", c->name, c->args);
    for (const struct command_flag *f = c->flags; f && f->name; f++)
        if (f->doc)
            printf("flag %s %s\n", c->name, f->name);
    if (c->takes_agent_flags)
        printf("takes %s\n", c->name);
    if (c->takes_key_file)
        printf("flag %s key-file\n", c->name);
}

static void put_key(const struct config_key *key)
{
    char name[64];

    config_env_name(key, name);
    printf("key %s %s\n", key->key, key->def ? key->def : "-");
    printf("environment %s\n", name);
    if (key->flag)
        printf("%s %s\n", key->scope == CONFIG_SHARED ? "shared" : "agent", key->flag);
}

static void put_calls(const struct filter_call *call, size_t n, const char *what)
{
    for (size_t i = 0; i < n; i++) {
        const char *when = filter_when_text(call[i].when);

        printf("row | `%s` | %s%s%s | %s |\n", call[i].name, what, *when ? ": " : "", when, call[i].reason);
    }
}

static void put_exits(void)
{
    for (int code = KPEER_OK; code >= KPEER_ESTATE; code--)
        printf("exit %d %s\n", err_exit_status(code), code ? err_word(code) : "-");
    printf("exit %d -\n", COMMAND_DETACHED);
}

static void put_words(void)
{
    for (int i = 0; i < EVENT_KIND_COUNT; i++)
        printf("word event %s\n", event_word((enum event_kind)i));
    for (int i = 0; i < PHASE_COUNT; i++)
        printf("word phase %s\n", phase_word((enum phase)i));
    for (int i = 0; i <= STATE_LEFT; i++)
        printf("word state %s\n", state_word((enum member_state)i));
    for (size_t i = 0; i < check_count; i++)
        printf("word check %s\n", check_table[i]->name);
    for (size_t i = 0; i < COUNT_OF(((struct node_status *)0)->dropped); i++)
        printf("word dropped %s\n", node_drop_word(i));
    for (int i = 0; i < DROP_COUNT; i++)
        printf("word heard %s\n", discovery_drop_word((enum discovery_drop)i));
    for (size_t i = 0; metrics_name(i); i++)
        printf("word metric %s\n", metrics_name(i));
    for (size_t i = 0; fields_name(i); i++)
        printf("word field %s\n", fields_name(i));
}

/* ---- examples ---- */

static void try_keys(char *line, struct err *err)
{
    static struct config cfg;

    config_default(&cfg);
    config_parse_yaml(&cfg, "example", line, strlen(line), err);
}

/* Whether "list|pull|verify" has a word; one in capitals stands for any. */
static bool has_word(const char *args, const char *word)
{
    size_t n = strlen(word);

    for (const char *at = args; at; at = strchr(at, '|')) {
        at += *at == '|';
        if ((*at >= 'A' && *at <= 'Z') || (strncmp(at, word, n) == 0 && (!at[n] || at[n] == '|')))
            return true;
    }
    return false;
}

static void try_call(char *line, struct err *err)
{
    static char kpeer[] = "kpeer";
    static struct call call;
    char *argv[64] = {kpeer}, *rest = NULL;
    int argc = 1, code;

    for (char *word = strtok_r(line, "\t\n", &rest); word && argc < 63; word = strtok_r(NULL, "\t\n", &rest))
        argv[argc++] = word;
    memset(&call, 0, sizeof call);
    code = command_parse(&call, argc, argv, err);
    for (size_t i = 0; !code && i < call.setting_count; i++) {
        const struct config_setting *s = &call.setting[i];

        code = config_set(&call.cfg, s->key, s->value, true, err);
        if (code)
            err_wrap(err, "--%s", s->key->flag);
    }
    for (int i = 0; !code && i < call.arg_count; i++)
        if (!has_word(call.command->args, call.args[i]))
            code = err_set(err, KPEER_EINVAL, "%s: \"%s\" is none of %s", call.command->name, call.args[i],
                           call.command->args);
}

static int try_lines(void (*try)(char *line, struct err *err))
{
    char line[1024];

    while (fgets(line, sizeof line, stdin)) {
        struct err err = {0};

        try(line, &err);
        puts(err.text);
    }
    return 0;
}

static int put_help(const char *name)
{
    const struct command *command = NULL;

    for (size_t i = 0; i < command_count && name; i++)
        if (strcmp(command_table[i].name, name) == 0)
            command = &command_table[i];
    command_help(stdout, command);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "help") == 0)
        return put_help(argv[2]);
    if (argc > 1)
        return try_lines(strcmp(argv[1], "calls") == 0 ? try_call : try_keys);
    for (size_t i = 0; i < command_count; i++)
        put_command(&command_table[i]);
    for (size_t i = 0; i < config_schema_count; i++)
        put_key(&config_schema[i]);
    put_calls(filter_allowed, filter_allowed_count, "allowed");
    put_calls(filter_deadly, filter_deadly_count, "ends the process");
    puts("version " KPEER_VERSION);
    put_exits();
    put_words();
    puts("shared config\nshared output\nshared no-color\nshared help\nenvironment KPEER_CONFIG\nenvironment "
         "KPEER_KEY");
    return ferror(stdout) ? 1 : 0;
}
