/* Prints the command table and the configuration's schema, one fact a line, for the check of the documents:
 *   command NAME
 *   flag COMMAND FLAG           (one of its own; those left out of help are left out here)
 *   shared FLAG                 (of every command)
 *   agent FLAG                  (of `up` and `agent`)
 *   key KEY DEFAULT             (DEFAULT is "-" where there is none)
 *   environment NAME
 *   takes COMMAND               (those of `up` and `agent`)
 *   row TEXT                    (of the table of system calls in docs/security.md)
 * With an argument it takes each line of its standard input as a configuration file instead, and prints what
 * is wrong with it, or an empty line.
 */
#include <stdio.h>
#include <string.h>

#include "peer/command.h"
#include "peer/filter.h"

static void put_command(const struct command *c)
{
    printf("command %s\n", c->name);
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

static int try_examples(void)
{
    static struct config cfg;
    char line[1024];

    while (fgets(line, sizeof line, stdin)) {
        struct err err = {0};

        config_default(&cfg);
        config_parse_yaml(&cfg, "example", line, strlen(line), &err);
        puts(err.text);
    }
    return 0;
}

int main(int argc, char **argv)
{
    (void)argv;
    if (argc > 1)
        return try_examples();
    for (size_t i = 0; i < command_count; i++)
        put_command(&command_table[i]);
    for (size_t i = 0; i < config_schema_count; i++)
        put_key(&config_schema[i]);
    put_calls(filter_allowed, filter_allowed_count, "allowed");
    put_calls(filter_deadly, filter_deadly_count, "ends the process");
    puts("shared config\nshared output\nshared no-color\nshared help\nenvironment KPEER_CONFIG\nenvironment "
         "KPEER_KEY");
    return ferror(stdout) ? 1 : 0;
}
