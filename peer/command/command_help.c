/* Help, written from the tables. */
#include <string.h>

#include "peer/command/command.h"

/* The longest flag column; what is longer gets its text on the next line. */
#define FLAG_COLUMN 28

static void put_flag(void *ctx, const struct command_option *o)
{
    FILE *to = ctx;
    char left[80], doc[200], letter[8] = "";

    snprintf(left, sizeof left, "  --%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
    if (o->letter)
        snprintf(letter, sizeof letter, "-%c: ", o->letter);
    snprintf(doc, sizeof doc, "%s%s%s%s%s", letter, o->doc, o->def ? " (" : "", o->def ? o->def : "",
             o->def ? ")" : "");
    if (strlen(left) > FLAG_COLUMN)
        fprintf(to, "%s\n%*s  %s\n", left, FLAG_COLUMN, "", doc);
    else
        fprintf(to, "%-*s  %s\n", FLAG_COLUMN, left, doc);
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
    fprintf(to, "usage: kpeer %s [flags]", c->name);
    if (c->args)
        fprintf(to, c->min_args ? " %s" : " [%s]", c->args);
    fputs("\n\n", to);
    put_wrapped(to, c->about);
    fputs("\nFlags:\n", to);
    command_each_option(c, COMMAND_OPTIONS_OWN, put_flag, to);
    fputs("\nFlags of every command:\n", to);
    command_each_option(c, COMMAND_OPTIONS_COMMON, put_flag, to);
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
        "5 preflight red, 6 refused, 130 left by ^C while the agent goes on.\n\n`kpeer COMMAND --help` says "
        "more.\n",
        to);
}
