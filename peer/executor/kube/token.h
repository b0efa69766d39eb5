/*
 * Bootstrap tokens of kpeer's own making. Used by this folder and its tests.
 */
#ifndef KPEER_TOKEN_H
#define KPEER_TOKEN_H

#include "protocol/step.h"

#define TOKEN_ID_BYTES 7 /* the public part and its NUL */

/* A token of 6 and 16 characters out of a-z and 0-9, each equally likely, from libsodium's generator. */
void token_random(char token[static STEP_TOKEN_BYTES]);

/* Its public part, which alone may be shown. */
void token_id(const char *token, char id[static TOKEN_ID_BYTES]);

#endif
