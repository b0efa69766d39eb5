/*
 * The group key as text, one line: with a version, so that a later form is named as such, and a checksum, so
 * that a typing error is told from another group's key.
 *
 *     kpeer-group-key-2:<70 characters of base64url>:<8 hex digits>
 *
 * Inside are the key (32 bytes), the id of its group (16) and its epoch (4, most significant first). Users:
 * the key file (peer), the step that writes it (executor). Pure.
 */
#ifndef KPEER_KEYTEXT_H
#define KPEER_KEYTEXT_H

#include <stddef.h>

#include "protocol/err.h"
#include "protocol/secret.h"

#define KEYTEXT_BYTES     112 /* the text and its NUL, with some room */
#define KEYTEXT_RAW_BYTES (GROUP_KEY_BYTES + GROUP_ID_BYTES + 4)

/* Key, group and epoch as bytes, into memory that the caller wipes; and back. KPEER_EINVAL: the first key of
 * a group, and not of this one. */
void keytext_pack(const struct secret *key, uint8_t raw[static KEYTEXT_RAW_BYTES]);
int keytext_unpack(const uint8_t raw[static KEYTEXT_RAW_BYTES], struct secret **out, struct err *err);

/* Into memory that the caller wipes; and back, line ends and blanks after it left out. KPEER_EINVAL: no key,
 * cut or mistyped; KPEER_EVERSION: of another form. No error says anything of the key itself. */
void keytext_format(const struct secret *key, char out[static KEYTEXT_BYTES]);
int keytext_parse(const char *text, struct secret **out, struct err *err);

#endif
