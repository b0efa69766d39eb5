/*
 * The command table and what a command gets: one const table drives parsing, help and the dispatch of
 * `kpeer`. Commands live in cmd_*.c, one a file, and are called by command_main alone.
 */
#ifndef KPEER_COMMAND_H
#define KPEER_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "peer/config/config.h"
#include "peer/control.h"
#include "peer/writer.h"
#include "protocol/err.h"

#define COMMAND_SETTINGS_MAX 64
#define COMMAND_DETACHED     130 /* exit status of `up` and `leave` after ^C, as a shell would have it */

/* A flag of one command alone; those of the configuration come from config_schema. */
struct command_flag {
    const char *name;
    const char *arg; /* NULL: takes no value */
    const char *doc; /* NULL: left out of help */
};

struct call;

struct command {
    const char *name;
    const char *summary;              /* one line */
    const char *args;                 /* "show|generate|rotate"; NULL: none */
    const struct command_flag *flags; /* ended by a NULL name; may be NULL */
    const char *about;                /* a paragraph for its help */
    const char *example;              /* lines of examples */
    int min_args, max_args;
    bool takes_agent_flags;                         /* those of scope CONFIG_AGENT */
    bool takes_key_file;                            /* of them, --key-file alone */
    bool no_config;                                 /* works without reading the configuration */
    bool no_data;                                   /* prints what is no data: -o json and yaml are refused */
    int (*run)(struct call *call, struct err *err); /* 0, a code, or a positive exit status of its own */
};

extern const struct command command_table[];
extern const size_t command_count;

struct call {
    const struct command *command;
    struct config cfg;
    struct writer out;                                   /* to standard output, as -o says */
    const char *config_file;                             /* --config, or NULL */
    struct config_setting setting[COMMAND_SETTINGS_MAX]; /* flags of the configuration, as given */
    size_t setting_count;
    struct {
        const char *name;
        const char *value; /* "" for one without a value */
    } own[16];
    size_t own_count;
    const char *const *args;
    int arg_count;
    bool help;
    bool no_color;
    enum writer_format format;
};

/* The whole program: returns the exit status. */
int command_main(int argc, char **argv, char *const *env);

/* Reads arguments into `call` (zeroed by the caller), without reading the configuration. */
int command_parse(struct call *call, int argc, char **argv, struct err *err);

/* The value of a command's own flag ("" for one without), or NULL. */
const char *command_flag(const struct call *call, const char *name);

/* Puts what the last agent ended with, and what to do about it, in the place of the error's text and hint;
 * its code stays. KPEER_ENOTFOUND: it left no word, and nothing is changed. */
int command_ending(const struct call *call, struct err *err);

/* From here on ^C and SIGTERM do not end the program, they make command_stopped() true; waiting is broken
 * off. */
void command_stop_by_signals(void);
bool command_stopped(void);
void command_pause(int ms);

/* Connects to this configuration's agent. */
int command_connect(const struct call *call, struct control_client **out, struct err *err);

/* A flag as it is shown: one of the command's own, of the configuration, or of all commands. */
struct command_option {
    const char *name;
    char letter;              /* -o and the like; 0: none */
    const char *arg;          /* NULL: takes no value */
    const char *doc;          /* one line */
    const char *def;          /* NULL: none, or zero */
    const char *const *words; /* the values there are, ended by NULL; NULL: others */
    bool repeats;             /* may be given more than once */
};
enum command_options { COMMAND_OPTIONS_OWN, COMMAND_OPTIONS_COMMON, COMMAND_OPTIONS_ALL };

/* Calls `each` for the command's flags that help shows, in its order. */
void command_each_option(const struct command *command, enum command_options which,
                         void (*each)(void *ctx, const struct command_option *o), void *ctx);

/* Help for one command, or for all where `command` is NULL. */
void command_help(FILE *to, const struct command *command);

/* Tells an error on standard error, as text or as {"error": …}. Returns the exit status. */
int command_error(const struct call *call, const struct err *e);

int cmd_agent(struct call *call, struct err *err);
int cmd_completion(struct call *call, struct err *err);
int cmd_config(struct call *call, struct err *err);
int cmd_events(struct call *call, struct err *err);
int cmd_evict(struct call *call, struct err *err);
int cmd_images(struct call *call, struct err *err);
int cmd_key(struct call *call, struct err *err);
int cmd_kubeconfig(struct call *call, struct err *err);
int cmd_leave(struct call *call, struct err *err);
int cmd_members(struct call *call, struct err *err);
int cmd_metrics(struct call *call, struct err *err);
int cmd_preflight(struct call *call, struct err *err);
int cmd_report(struct call *call, struct err *err);
int cmd_status(struct call *call, struct err *err);
int cmd_up(struct call *call, struct err *err);
int cmd_verify(struct call *call, struct err *err);
int cmd_version(struct call *call, struct err *err);
int cmd_why(struct call *call, struct err *err);

#endif
