/*
 * Where a person's key comes from, other than its file: the environment variable KPEER_KEY, the terminal, or
 * standard input; never an argument. What is read lives in guarded memory alone.
 */
#ifndef KPEER_KEYSOURCE_H
#define KPEER_KEYSOURCE_H

#include <stdbool.h>

#include "protocol/err.h"
#include "protocol/secret.h"

#define KEYSOURCE_VARIABLE   "KPEER_KEY"
#define KEYSOURCE_LINE_BYTES 1024 /* of what is read, with its NUL */

/* Takes KPEER_KEY out of this process's environment: nobody who is started inherits it, and what the kernel
 * shows of it is wiped. To be called once, before anything else looks at the environment. */
void keysource_take_environment(void);

/* Whether there was such a variable. */
bool keysource_from_environment(void);

/* The key that it held. KPEER_ENOTFOUND: none; errors of keytext_parse name the variable. */
int keysource_environment(struct secret **out, struct err *err);

/* Reads one line: from the terminal, without echo and after `prompt`, where standard input is one, else from
 * standard input. `out` (KEYSOURCE_LINE_BYTES of guarded memory) gets it without its line end.
 * KPEER_EINVAL: empty or too long; KPEER_ECANCELED: interrupted. */
int keysource_line(const char *prompt, char *out, struct err *err);

/* Reads a key's text in that way. */
int keysource_ask(struct secret **out, struct err *err);

/* The key that the agent goes by: of the file at `path` and the environment the one that is there; of two of
 * one group the later one. KPEER_EREFUSED where they are of two groups. */
int keysource_agent(const char *path, struct secret **out, struct err *err);

/* Puts a key that was given at `path`, unless that holds it or a later one of its group already.
 * KPEER_EREFUSED where another group's key is there and not `replace`. */
int keysource_keep(const char *path, const struct secret *key, bool replace, struct err *err);

#endif
