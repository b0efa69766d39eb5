/* Help, written from the tables. */
#include <string.h>

#include "peer/command.h"

/* The longest flag column; what is longer gets its text on the next line. */
#define FLAG_COLUMN 28

static void put_flag(FILE *to, const char *name, const char *arg, const char *doc)
{
    char left[80];

    snprintf(left, sizeof left, "  --%s%s%s", name, arg ? " " : "", arg ? arg : "");
    if (strlen(left) > FLAG_COLUMN)
        fprintf(to, "%s\n%*s  %s\n", left, FLAG_COLUMN, "", doc);
    else
        fprintf(to, "%-*s  %s\n", FLAG_COLUMN, left, doc);
}

static void put_settings(FILE *to, const struct command *command, enum config_scope scope)
{
    for (size_t i = 0; i < config_schema_count; i++) {
        const struct config_key *key = &config_schema[i];
        char doc[200];

        if (!key->flag || key->scope != scope)
            continue;
        if (scope == CONFIG_AGENT && !command->takes_agent_flags && strcmp(key->key, "key_file") != 0)
            continue;
        if (key->def && key->arg)
            snprintf(doc, sizeof doc, "%s (%s)", key->doc, key->def);
        else
            snprintf(doc, sizeof doc, "%s", key->doc);
        put_flag(to, key->flag, key->arg, doc);
    }
}

/* Breaks a paragraph at blanks. */
static void put_wrapped(FILE *to, const char *text)
{
    while (*text) {
        size_t n = strlen(text), cut = n;

        if (n > 78) {
            for (cut = 78; cut && text[cut] != ' '; cut--)
                ;
            cut = cut ? cut : 78;
        }
        fprintf(to, "%.*s\n", (int)cut, text);
        text += cut;
        text += strspn(text, " ");
    }
}

static void help_command(FILE *to, const struct command *c)
{
    fprintf(to, "usage: kpeer %s [flags]%s%s\n\n", c->name, c->args ? " " : "", c->args ? c->args : "");
    put_wrapped(to, c->about);
    fputs("\nFlags:\n", to);
    for (const struct command_flag *f = c->flags; f && f->name; f++)
        if (f->doc)
            put_flag(to, f->name, f->arg, f->doc);
    if (c->takes_agent_flags || c->takes_key_file)
        put_settings(to, c, CONFIG_AGENT);
    fputs("\nFlags of every command:\n", to);
    put_flag(to, "config", "FILE", "configuration file (" CONFIG_DEFAULT_FILE ")");
    put_settings(to, c, CONFIG_SHARED);
    put_flag(to, "output", "FORMAT", "-o: table, wide, json or yaml");
    put_flag(to, "no-color", NULL, "no colours");
    put_flag(to, "help", NULL, "-h: this help");
    fprintf(to, "\nExamples:\n%s\n", c->example);
}

void command_help(FILE *to, const struct command *command)
{
    if (command) {
        help_command(to, command);
        return;
    }
    fputs("usage: kpeer COMMAND [flags]\n\nTurns Linux hosts into a Kubernetes cluster: `sudo kpeer up` on "
          "each.\n\n"
          "Commands:\n",
          to);
    for (size_t i = 0; i < command_count; i++)
        fprintf(to, "  %-12s%s\n", command_table[i].name, command_table[i].summary);
    fputs(
        "\nExit status: 0 done, 1 failed, 2 wrong usage or configuration, 3 no agent running, 4 timed out,\n"
        "5 preflight red, 6 refused.\n\n`kpeer COMMAND --help` says more.\n",
        to);
}
