/*
 * A group key out of a passphrase: the same words give the same key on every host.
 *
 * Argon2id (RFC 9106) as libsodium has it, three passes over 256 MiB, with a fixed salt: whoever guesses can
 * do so for all groups at once, which is why the passphrase has to be strong by itself. How strong is a plain
 * estimate, on the safe side (docs/security.md).
 */
#ifndef KPEER_PASSPHRASE_H
#define KPEER_PASSPHRASE_H

#include "protocol/err.h"
#include "protocol/secret.h"

#define PASSPHRASE_BITS 64 /* the least that is taken: five words of a list of 7776 have it */

/* Tenths of bits that whoever knows how people choose has to guess, at least as this estimate sees it: a run
 * of letters counts 4.7 bits a letter and as a word 12.9 at most, a run of digits 3.3 a digit and 10 at most,
 * any other character 4 when it first occurs; what repeats, or is one more or less than what stands before
 * it, counts 1. */
unsigned passphrase_strength(const char *text);

/* KPEER_EREFUSED with the reason where it is too simple. */
int passphrase_check(const char *text, struct err *err);

/* Derives the first key of a group. KPEER_ENOMEM where 256 MiB cannot be had. */
int passphrase_key(const char *text, struct secret **out, struct err *err);

#endif
