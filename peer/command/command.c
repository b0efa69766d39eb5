#include "peer/command/command.h"
#include "peer/ending.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "peer/log.h"
#include "protocol/mem.h"

/* Flags of every command which are no settings. */
static const struct command_flag common_flags[] = {
    {"config", "FILE", "configuration file (" CONFIG_DEFAULT_FILE ")"},
    {"output", "FORMAT", "table, wide, json or yaml"},
    {"no-color", NULL, "no colours"},
    {"help", NULL, "this help"},
    {NULL, NULL, NULL},
};

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < command_count; i++)
        if (strcmp(command_table[i].name, name) == 0)
            return &command_table[i];
    return NULL;
}

static const struct command_flag *find_flag(const struct command_flag *flags, const char *name)
{
    for (; flags && flags->name; flags++)
        if (strcmp(flags->name, name) == 0)
            return flags;
    return NULL;
}

static bool takes_setting(const struct command *command, const struct config_key *key)
{
    if (key->scope == CONFIG_SHARED)
        return true;
    return key->scope == CONFIG_AGENT &&
           (command->takes_agent_flags || (command->takes_key_file && strcmp(key->key, "key_file") == 0));
}

const char *command_flag(const struct call *call, const char *name)
{
    for (size_t i = call->own_count; i-- > 0;)
        if (strcmp(call->own[i].name, name) == 0)
            return call->own[i].value;
    return NULL;
}

static int usage(const struct command *command, struct err *err)
{
    if (command)
        return err_hint(err, "kpeer %s --help", command->name);
    return err_hint(err, "kpeer --help");
}

static int unknown_command(const char *name, struct err *err)
{
    const char *words[32];
    const char *near;

    for (size_t i = 0; i < command_count; i++)
        words[i] = command_table[i].name;
    near = config_nearest(name, words, command_count);
    if (near)
        err_set(err, KPEER_EINVAL, "unknown command \"%.40s\": did you mean \"%s\"?", name, near);
    else
        err_set(err, KPEER_EINVAL, "unknown command \"%.40s\"", name);
    return usage(NULL, err);
}

static void each_flag(const struct command *command, const struct command_flag *flags,
                      void (*each)(void *ctx, const struct command_option *o), void *ctx)
{
    static const char *const formats[] = {"table", "wide", "json", "yaml", NULL};
    static const char *const text_formats[] = {"table", "wide", NULL};

    for (const struct command_flag *f = flags; f && f->name; f++) {
        struct command_option o = {.name = f->name, .arg = f->arg, .doc = f->doc};

        if (flags == common_flags && (strcmp(f->name, "output") == 0 || strcmp(f->name, "help") == 0))
            o.letter = *f->name; /* as parse_short takes them */
        if (o.letter == 'o')
            o.words = command->no_data ? text_formats : formats;
        if (o.letter == 'o' && command->no_data)
            o.doc = "table or wide, which are the same here";
        if (f->doc)
            each(ctx, &o);
    }
}

static void each_setting(const struct command *command, enum config_scope scope,
                         void (*each)(void *ctx, const struct command_option *o), void *ctx)
{
    for (size_t i = 0; i < config_schema_count; i++) {
        const struct config_key *key = &config_schema[i];
        struct command_option o = {.name = key->flag,
                                   .arg = key->arg,
                                   .doc = key->doc,
                                   .def = key->arg ? key->def : NULL,
                                   .words = key->type == CONFIG_CHOICE && key->arg ? key->words : NULL,
                                   .repeats = key->type == CONFIG_SEED_LIST || key->type == CONFIG_TEXT_LIST};

        if (key->flag && key->scope == scope && takes_setting(command, key))
            each(ctx, &o);
    }
}

void command_each_option(const struct command *command, enum command_options which,
                         void (*each)(void *ctx, const struct command_option *o), void *ctx)
{
    if (which != COMMAND_OPTIONS_COMMON) {
        each_flag(command, command->flags, each, ctx);
        each_setting(command, CONFIG_AGENT, each, ctx);
    }
    if (which != COMMAND_OPTIONS_OWN) {
        each_setting(command, CONFIG_SHARED, each, ctx);
        each_flag(command, common_flags, each, ctx);
    }
}

struct names {
    const char *name[96];
    size_t n;
};

static void add_name(void *ctx, const struct command_option *o)
{
    struct names *names = ctx;

    if (names->n < COUNT_OF(names->name))
        names->name[names->n++] = o->name;
}

static int unknown_flag(const struct command *command, const char *name, struct err *err)
{
    struct names words = {.n = 0};
    const char *near;

    command_each_option(command, COMMAND_OPTIONS_ALL, add_name, &words);
    near = config_nearest(name, words.name, words.n);
    if (near)
        err_set(err, KPEER_EINVAL, "%s: unknown flag --%.40s: did you mean --%s?", command->name, name, near);
    else
        err_set(err, KPEER_EINVAL, "%s: unknown flag --%.40s", command->name, name);
    return usage(command, err);
}

/* A common flag's effect. */
static int set_common(struct call *call, const char *name, const char *value, struct err *err)
{
    if (strcmp(name, "config") == 0)
        call->config_file = value;
    else if (strcmp(name, "help") == 0)
        call->help = true;
    else if (strcmp(name, "no-color") == 0)
        call->no_color = true;
    else if (writer_format_parse(value, &call->format, err))
        return usage(call->command, err);
    return 0;
}

static int set_own(struct call *call, const char *name, const char *value, struct err *err)
{
    if (call->own_count == COUNT_OF(call->own))
        return err_set(err, KPEER_EINVAL, "too many flags");
    call->own[call->own_count].name = name;
    call->own[call->own_count++].value = value;
    return 0;
}

static int set_setting(struct call *call, const struct config_key *key, const char *value, struct err *err)
{
    if (call->setting_count == COUNT_OF(call->setting))
        return err_set(err, KPEER_EINVAL, "too many flags");
    call->setting[call->setting_count].key = key;
    call->setting[call->setting_count++].value = value;
    return 0;
}

/* One flag without its dashes; `inl` is what follows "=", or NULL. *used counts further arguments taken. */
static int parse_flag(struct call *call, const char *name, const char *inl, const char *next, int *used,
                      struct err *err)
{
    const struct command_flag *common = find_flag(common_flags, name),
                              *own = find_flag(call->command->flags, name);
    const struct config_key *key = common || own ? NULL : config_find_flag(name);
    bool takes_value;
    const char *value = inl;

    if (!common && !own && (!key || !takes_setting(call->command, key)))
        return unknown_flag(call->command, name, err);
    takes_value = key ? key->arg != NULL : (own ? own : common)->arg != NULL;
    if (takes_value && !value) {
        if (!next) {
            err_set(err, KPEER_EINVAL, "%s: --%s wants a value", call->command->name, name);
            return usage(call->command, err);
        }
        value = next;
        *used = 1;
    }
    if (!takes_value && inl && !(key && key->type == CONFIG_BOOL)) {
        err_set(err, KPEER_EINVAL, "%s: --%s takes no value", call->command->name, name);
        return usage(call->command, err);
    }
    if (key)
        return set_setting(call, key, value ? value : key->const_value ? key->const_value : "true", err);
    return own ? set_own(call, own->name, value ? value : "", err) : set_common(call, name, value, err);
}

/* "-h", "-o FORMAT", "-oFORMAT". */
static int parse_short(struct call *call, const char *arg, const char *next, int *used, struct err *err)
{
    if (strcmp(arg, "-h") == 0)
        return parse_flag(call, "help", NULL, NULL, used, err);
    if (arg[1] == 'o')
        return parse_flag(call, "output", arg[2] ? arg + 2 + (arg[2] == '=') : NULL, next, used, err);
    err_set(err, KPEER_EINVAL, "%s: unknown flag %.20s", call->command->name, arg);
    return usage(call->command, err);
}

static int parse_long(struct call *call, const char *arg, const char *next, int *used, struct err *err)
{
    const char *equals = strchr(arg, '=');
    size_t n = equals ? (size_t)(equals - arg) - 2 : strlen(arg) - 2;
    char name[48];

    if (n >= sizeof name)
        return unknown_flag(call->command, arg + 2, err);
    memcpy(name, arg + 2, n);
    name[n] = '\0';
    return parse_flag(call, name, equals ? equals + 1 : NULL, next, used, err);
}

/* The command's flags and arguments, which may be mixed; arguments are moved to the front of `argv`. */
static int parse_rest(struct call *call, int argc, char **argv, struct err *err)
{
    int args = 0;
    bool flags_over = false;

    for (int i = 0; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : NULL;
        int used = 0, code = 0;

        if (flags_over || argv[i][0] != '-' || argv[i][1] == '\0')
            argv[args++] = argv[i];
        else if (strcmp(argv[i], "--") == 0)
            flags_over = true;
        else if (argv[i][1] == '-')
            code = parse_long(call, argv[i], next, &used, err);
        else
            code = parse_short(call, argv[i], next, &used, err);
        if (code)
            return code;
        i += used;
    }
    call->args = (const char *const *)argv;
    call->arg_count = args;
    return 0;
}

int command_parse(struct call *call, int argc, char **argv, struct err *err)
{
    int code;

    if (argc < 2) {
        err_set(err, KPEER_EINVAL, "a command is missing");
        return usage(NULL, err);
    }
    call->command = find_command(argv[1]);
    if (!call->command)
        return unknown_command(argv[1], err);
    code = parse_rest(call, argc - 2, argv + 2, err);
    if (code || call->help)
        return code;
    if (call->command->no_data && (call->format == WRITE_JSON || call->format == WRITE_YAML)) {
        err_set(err, KPEER_EINVAL, "%s: -o: table or wide is expected, as what it prints is no data",
                call->command->name);
        return usage(call->command, err);
    }
    if (call->arg_count >= call->command->min_args && call->arg_count <= call->command->max_args)
        return 0;
    if (call->command->args)
        err_set(err, KPEER_EINVAL, "%s: one of %s is expected", call->command->name, call->command->args);
    else
        err_set(err, KPEER_EINVAL, "%s: takes no arguments, \"%.40s\" is one", call->command->name,
                call->args[0]);
    return usage(call->command, err);
}

static volatile sig_atomic_t stopped;

static void on_signal(int sig)
{
    (void)sig;
    stopped = 1;
}

void command_stop_by_signals(void)
{
    struct sigaction act = {.sa_handler = on_signal};

    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
}

bool command_stopped(void)
{
    return stopped;
}

void command_pause(int ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

    nanosleep(&t, NULL);
}

int command_connect(const struct call *call, struct control_client **out, struct err *err)
{
    char path[108];
    int code = config_socket_path(&call->cfg, path, err);

    code = code ? code : control_connect(out, path, err);
    if (code == KPEER_ENOAGENT && command_ending(call, err) == 0)
        err_wrap(err, "no agent is running on this host; the last one ended");
    return code;
}

int command_ending(const struct call *call, struct err *err)
{
    struct err own = *err;
    int code = ending_read(call->cfg.run_dir, &own);

    if (code)
        return code;
    if (!own.hint[0])
        err_hint(&own, "mend it, then: sudo kpeer up");
    *err = own;
    return 0;
}

int command_error(const struct call *call, const struct err *e)
{
    struct writer w = {
        .to = stderr, .format = call->format, .color = writer_wants_color(stderr, call->no_color)};
    char text[ERR_TEXT_BYTES], hint[ERR_HINT_BYTES];

    /* A text may end within a character where it was cut: that is no JSON either. */
    writer_safe(text, sizeof text, e->text);
    writer_safe(hint, sizeof hint, e->hint);
    if (writer_is_data(&w)) {
        json_t *tree = json_pack("{s:{s:s, s:s, s:s}}", "error", "code", err_word(e->code), "message", text,
                                 "hint", hint);

        if (tree)
            writer_line(&w, tree, NULL);
        json_decref(tree);
        return err_exit_status(e->code);
    }
    fprintf(stderr, "%skpeer: %s%s\n", writer_tint_on(&w, TINT_BAD), text, writer_tint_off(&w, TINT_BAD));
    if (*hint)
        fprintf(stderr, "  try: %s\n", hint);
    return err_exit_status(e->code);
}

/* Reads the configuration and runs the command. */
static int run(struct call *call, char *const *env, struct err *err)
{
    const struct config_source src = {
        .file = call->config_file, .env = env, .flags = call->setting, .flag_count = call->setting_count};
    int code = 0;

    if (call->command->no_config)
        config_default(&call->cfg);
    else
        code = config_load(&call->cfg, &src, err);
    if (code)
        return code;
    log_init((enum log_level)call->cfg.log_level);
    call->out = (struct writer){
        .to = stdout, .format = call->format, .color = writer_wants_color(stdout, call->no_color)};
    return call->command->run(call, err);
}

static bool is_help(const char *word)
{
    return strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* After a wrong usage: the format asked for may stand behind what was wrong. */
static void find_format(struct call *call, int argc, char *const *argv)
{
    for (int i = 1; i < argc; i++) {
        const char *value = NULL;

        if (strncmp(argv[i], "--output=", 9) == 0)
            value = argv[i] + 9;
        else if (strcmp(argv[i], "--output") == 0 || strcmp(argv[i], "-o") == 0)
            value = argv[i + 1];
        else if (strncmp(argv[i], "-o", 2) == 0)
            value = argv[i] + 2 + (argv[i][2] == '=');
        if (value && writer_format_parse(value, &call->format, NULL) == 0)
            return;
    }
}

int command_main(int argc, char **argv, char *const *env)
{
    cleanup_free struct call *call = calloc(1, sizeof *call);
    struct err err = {0};
    int code;

    if (!call)
        return 1;
    if (argc >= 2 && is_help(argv[1])) {
        command_help(stdout, argc > 2 ? find_command(argv[2]) : NULL);
        return 0;
    }
    if (argc >= 2 && strcmp(argv[1], "--version") == 0)
        argv[1] = argv[1] + 2;
    code = command_parse(call, argc, argv, &err);
    if (code)
        find_format(call, argc, argv);
    if (!code && call->help) {
        command_help(stdout, call->command);
        return 0;
    }
    if (!code)
        code = run(call, env, &err);
    return code < 0 ? command_error(call, &err) : code;
}
