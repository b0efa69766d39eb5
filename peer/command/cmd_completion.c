/* `kpeer completion SHELL`: what a shell needs to complete kpeer's words, made from the command table. */
#include <string.h>
#include <unistd.h>

#include "peer/command/command.h"
#include "protocol/mem.h"

#define ANSWER_MS 1000

/* What may stand where a flag wants its value. */
enum value { VALUE_NONE, VALUE_ANY, VALUE_FILE, VALUE_DIR, VALUE_INTERFACE, VALUE_WORDS };

static enum value value_of(const struct command_option *o)
{
    if (!o->arg)
        return VALUE_NONE;
    if (o->words)
        return VALUE_WORDS;
    if (strcmp(o->arg, "FILE") == 0)
        return VALUE_FILE;
    if (strcmp(o->arg, "DIR") == 0)
        return VALUE_DIR;
    return strcmp(o->name, "interface") == 0 ? VALUE_INTERFACE : VALUE_ANY;
}

static bool takes_member(const struct command *c)
{
    return c->args && strcmp(c->args, "HOST") == 0;
}

static bool takes_file(const struct command *c)
{
    return c->args && strcmp(c->args, "FILE") == 0;
}

/* The words of an alternative, "a|b|c", with `between` between them. */
static void put_args(FILE *to, const char *args, const char *between)
{
    for (; *args; args++)
        if (*args == '|')
            fputs(between, to);
        else
            fputc(*args, to);
}

static void put_words(FILE *to, const char *const *words)
{
    for (size_t i = 0; words[i]; i++)
        fprintf(to, "%s%s", i ? " " : "", words[i]);
}

static void put_commands(FILE *to)
{
    for (size_t i = 0; i < command_count; i++)
        fprintf(to, "%s ", command_table[i].name);
    fputs("help", to);
}

/* Text within single quotes; `escape` names characters that want a backslash there. */
static void put_quoted(FILE *to, const char *text, const char *escape)
{
    for (; *text; text++) {
        if (*text == '\'')
            fputs("'\\''", to);
        else if (strchr(escape, *text))
            fprintf(to, "\\%c", *text);
        else
            fputc(*text, to);
    }
}

/* ---- bash ---- */

#define BASH_FILES "compopt -o filenames; mapfile -t COMPREPLY < <(compgen -%c -- \"$cur\"); return ;;\n"

static void bash_flag(void *ctx, const struct command_option *o)
{
    fprintf(ctx, " --%s", o->name);
}

struct bash {
    FILE *to;
    const char *told[96];
    size_t told_count;
};

/* Each flag once: it means the same with every command that takes it. */
static void bash_value(void *ctx, const struct command_option *o)
{
    struct bash *b = ctx;
    FILE *to = b->to;
    enum value v = value_of(o);

    for (size_t i = 0; i < b->told_count; i++)
        if (strcmp(b->told[i], o->name) == 0)
            return;
    if (v == VALUE_NONE || b->told_count == COUNT_OF(b->told))
        return;
    b->told[b->told_count++] = o->name;
    fprintf(to, "        --%s", o->name);
    if (o->letter)
        fprintf(to, " | -%c", o->letter);
    fputc(')', to);
    if (v == VALUE_WORDS) {
        fputs(" words='", to);
        put_words(to, o->words);
        fputs("'", to);
    } else if (v == VALUE_INTERFACE) {
        fputs(" words=$(ls /sys/class/net 2> /dev/null)", to);
    } else if (v == VALUE_FILE || v == VALUE_DIR) {
        fprintf(to, " " BASH_FILES, v == VALUE_FILE ? 'f' : 'd');
        return;
    } else {
        fputs(" return", to);
    }
    fputs(" ;;\n", to);
}

static void put_bash(FILE *to)
{
    struct bash values = {.to = to};

    fputs("# bash completion of kpeer, made by: kpeer completion bash\n\n"
          "_kpeer() {\n"
          "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} "
          "command=${COMP_WORDS[1]-} words=''\n"
          "    COMPREPLY=()\n"
          "    # \"=\" is a word of its own here.\n"
          "    if [ \"$cur\" = = ]; then\n"
          "        cur=''\n"
          "    elif [ \"$prev\" = = ]; then\n"
          "        prev=${COMP_WORDS[COMP_CWORD - 2]}\n"
          "    fi\n"
          "    if [ \"$COMP_CWORD\" -le 1 ]; then\n"
          "        mapfile -t COMPREPLY < <(compgen -W '",
          to);
    put_commands(to);
    fputs("' -- \"$cur\")\n        return\n    fi\n    case $prev in\n", to);
    for (size_t i = 0; i < command_count; i++)
        command_each_option(&command_table[i], COMMAND_OPTIONS_ALL, bash_value, &values);
    fputs("        *)\n            case $command:$cur in\n", to);
    for (size_t i = 0; i < command_count; i++) {
        const struct command *c = &command_table[i];

        fprintf(to, "                %s:-*) words='", c->name);
        command_each_option(c, COMMAND_OPTIONS_ALL, bash_flag, to);
        fputs("' ;;\n", to);
        if (takes_member(c)) {
            fprintf(to, "                %s:*) words=$(kpeer completion members 2> /dev/null) ;;\n", c->name);
        } else if (takes_file(c)) {
            fprintf(to, "                %s:*) " BASH_FILES, c->name, 'f');
        } else if (c->args) {
            fprintf(to, "                %s:*) words='", c->name);
            put_args(to, c->args, " ");
            fputs("' ;;\n", to);
        }
    }
    fputs("                help:*) words='", to);
    put_commands(to);
    fputs("' ;;\n            esac\n            ;;\n    esac\n"
          "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
          "}\n\ncomplete -F _kpeer kpeer\n",
          to);
}

/* ---- zsh ---- */

static void zsh_flag(void *ctx, const struct command_option *o)
{
    static const char special[] = "[]:\\";
    FILE *to = ctx;

    fputs(" \\\n                ", to);
    if (o->letter)
        fprintf(to, "'(-%c --%s)'{-%c,--%s%s}'[", o->letter, o->name, o->letter, o->name, o->arg ? "=" : "");
    else
        fprintf(to, "'%s--%s%s[", o->repeats ? "*" : "", o->name, o->arg ? "=" : "");
    put_quoted(to, o->doc, special);
    fputc(']', to);
    if (o->arg) {
        fputc(':', to);
        put_quoted(to, o->arg, special);
        fputc(':', to);
    }
    switch (value_of(o)) {
    case VALUE_WORDS:
        fputc('(', to);
        put_words(to, o->words);
        fputc(')', to);
        break;
    case VALUE_FILE:
        fputs("_files", to);
        break;
    case VALUE_DIR:
        fputs("_files -/", to);
        break;
    case VALUE_INTERFACE:
        fputs("_net_interfaces", to);
        break;
    case VALUE_NONE:
    case VALUE_ANY:
        break;
    }
    fputc('\'', to);
}

static void put_zsh(FILE *to)
{
    fputs("#compdef kpeer\n# zsh completion of kpeer, made by: kpeer completion zsh\n\n"
          "_kpeer_members() {\n    local -a members\n"
          "    members=(${(f)\"$(kpeer completion members 2> /dev/null)\"})\n"
          "    compadd -a members\n}\n\n"
          "_kpeer() {\n    local -a commands\n    commands=(\n",
          to);
    for (size_t i = 0; i < command_count; i++) {
        fprintf(to, "        '%s:", command_table[i].name);
        put_quoted(to, command_table[i].summary, ":\\");
        fputs("'\n", to);
    }
    fputs("        'help:what a command does and takes'\n    )\n"
          "    if (( CURRENT == 2 )); then\n        _describe command commands\n        return\n    fi\n"
          "    local command=$words[2]\n    shift words\n    (( CURRENT-- ))\n    case $command in\n",
          to);
    for (size_t i = 0; i < command_count; i++) {
        const struct command *c = &command_table[i];

        fprintf(to, "        %s)\n            _arguments -s", c->name);
        command_each_option(c, COMMAND_OPTIONS_ALL, zsh_flag, to);
        if (takes_member(c)) {
            fputs(" \\\n                '1:HOST:_kpeer_members'", to);
        } else if (takes_file(c)) {
            fputs(" \\\n                '1:FILE:_files'", to);
        } else if (c->args) {
            fputs(" \\\n                '1:what:(", to);
            put_args(to, c->args, " ");
            fputs(")'", to);
        }
        fputs("\n            ;;\n", to);
    }
    fputs("        help) _describe command commands ;;\n    esac\n}\n\n"
          "if [ \"$funcstack[1]\" = _kpeer ]; then\n    _kpeer \"$@\"\nelse\n    compdef _kpeer kpeer\nfi\n",
          to);
}

/* ---- fish ---- */

struct fish {
    FILE *to;
    const char *command;
};

static void fish_about(FILE *to, const char *text)
{
    fputs(" -d '", to);
    for (; *text; text++)
        fprintf(to, strchr("'\\", *text) ? "\\%c" : "%c", *text);
    fputs("'\n", to);
}

static void fish_flag(void *ctx, const struct command_option *o)
{
    const struct fish *f = ctx;

    fprintf(f->to, "complete -c kpeer -n '__fish_seen_subcommand_from %s' -l %s", f->command, o->name);
    if (o->letter)
        fprintf(f->to, " -s %c", o->letter);
    switch (value_of(o)) {
    case VALUE_WORDS:
        fputs(" -x -a '", f->to);
        put_words(f->to, o->words);
        fputc('\'', f->to);
        break;
    case VALUE_FILE:
        fputs(" -r -F", f->to);
        break;
    case VALUE_DIR:
        fputs(" -x -a '(__fish_complete_directories)'", f->to);
        break;
    case VALUE_INTERFACE:
        fputs(" -x -a '(__fish_print_interfaces)'", f->to);
        break;
    case VALUE_ANY:
        fputs(" -x", f->to);
        break;
    case VALUE_NONE:
        break;
    }
    fish_about(f->to, o->doc);
}

static void put_fish(FILE *to)
{
    fputs("# fish completion of kpeer, made by: kpeer completion fish\n\ncomplete -c kpeer -f\n", to);
    for (size_t i = 0; i < command_count; i++) {
        fprintf(to, "complete -c kpeer -n __fish_use_subcommand -a %s", command_table[i].name);
        fish_about(to, command_table[i].summary);
    }
    fputs("complete -c kpeer -n __fish_use_subcommand -a help -d 'what a command does and takes'\n"
          "complete -c kpeer -n '__fish_seen_subcommand_from help' -a '",
          to);
    put_commands(to);
    fputs("'\n", to);
    for (size_t i = 0; i < command_count; i++) {
        const struct command *c = &command_table[i];
        struct fish f = {to, c->name};

        if (takes_file(c)) {
            fprintf(to, "complete -c kpeer -n '__fish_seen_subcommand_from %s' -F\n", c->name);
        } else if (c->args) {
            fprintf(to, "complete -c kpeer -n '__fish_seen_subcommand_from %s' -a '", c->name);
            put_args(to, takes_member(c) ? "(kpeer completion members 2> /dev/null)" : c->args, " ");
            fputs("'\n", to);
        }
        command_each_option(c, COMMAND_OPTIONS_ALL, fish_flag, &f);
    }
}

/* ---- the members ---- */

/* What a shell asks while the user types. The scripts themselves need no configuration, this does. */
static int put_members(struct call *call, struct err *err)
{
    const struct config_source src = {
        .file = call->config_file, .env = environ, .flags = call->setting, .flag_count = call->setting_count};
    struct control_client *client = NULL;
    json_t *answer = NULL, *member;
    size_t i;
    int code = config_load(&call->cfg, &src, err);

    if (!code)
        code = command_connect(call, &client, err);
    if (!code)
        code = control_ask(client, "members", NULL, ANSWER_MS, &answer, err);
    json_array_foreach(json_object_get(answer, "members"), i, member)
    {
        char name[64];

        writer_safe(name, sizeof name, writer_text(member, "name"));
        fprintf(call->out.to, "%s\n", name);
    }
    json_decref(answer);
    control_close(client);
    return code;
}

int cmd_completion(struct call *call, struct err *err)
{
    static const struct {
        const char *name;
        void (*put)(FILE *to);
    } shells[] = {{"bash", put_bash}, {"zsh", put_zsh}, {"fish", put_fish}};
    const char *what = call->args[0];

    if (strcmp(what, "members") == 0)
        return put_members(call, err);
    for (size_t i = 0; i < COUNT_OF(shells); i++)
        if (strcmp(shells[i].name, what) == 0) {
            shells[i].put(call->out.to);
            return fflush(call->out.to) ? err_set(err, KPEER_EIO, "writing the output failed") : 0;
        }
    err_set(err, KPEER_EINVAL, "completion: there is none for \"%.40s\"", what);
    return err_hint(err, "kpeer completion bash, zsh or fish");
}
