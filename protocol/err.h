/*
 * Errors: one negative code and one bounded text, made where the failure is seen and prefixed on the way up.
 *
 * Every fallible function returns 0 or one of the codes below and takes a `struct err *` last, which may be
 * NULL. The text is printed once, by whoever talks to the user; it never holds a secret. Anybody may use this
 * module.
 */
#ifndef KPEER_ERR_H
#define KPEER_ERR_H

#include <stdarg.h>

enum kpeer_code {
    KPEER_OK = 0,
    KPEER_ENOMEM = -1,      /* out of memory */
    KPEER_EINVAL = -2,      /* malformed input, wrong use or wrong configuration */
    KPEER_EIO = -3,         /* a system call, file or child failed */
    KPEER_EAUTH = -4,       /* a seal, signature or key does not fit */
    KPEER_EREPLAY = -5,     /* seen before, or from before a restart */
    KPEER_ENOTFOUND = -6,   /* no such thing */
    KPEER_ETIMEOUT = -7,    /* a time limit ran out */
    KPEER_EREFUSED = -8,    /* not permitted, or the group forbids it */
    KPEER_ELIMIT = -9,      /* larger or more than the protocol allows */
    KPEER_EVERSION = -10,   /* of a newer or foreign version */
    KPEER_EPREFLIGHT = -11, /* this host is not fit for what was asked */
    KPEER_ENOAGENT = -12,   /* no agent running */
    KPEER_ECANCELED = -13,  /* stopped on request */
    KPEER_ESTATE = -14,     /* not possible in the present state */
};

#define ERR_TEXT_BYTES 512
#define ERR_HINT_BYTES 256

struct err {
    int code;                  /* one of enum kpeer_code */
    char text[ERR_TEXT_BYTES]; /* what failed, on which host, why */
    char hint[ERR_HINT_BYTES]; /* the next thing to do; may be empty */
};

/* Sets code and text (printf style), clears the hint, returns `code`. `e` may be NULL. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4), cold));

/* As err_set, and appends ": <strerror(errnum)>". */
int err_errno(struct err *e, int errnum, const char *fmt, ...) __attribute__((format(printf, 3, 4), cold));

/* Puts "<text>: " before the text that is there; returns the code that is there. */
int err_wrap(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));

/* Sets the hint; returns the code that is there. */
int err_hint(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));

/* The short word for a code ("timed-out"), never NULL. */
const char *err_word(int code);

/* The exit status of the command line for a code: 0 done, 1 failed, 2 usage, 3 no agent, 4 timed out,
 * 5 preflight red, 6 refused. */
int err_exit_status(int code);

#endif
