#include "protocol/err.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const struct {
    int code;
    const char *word;
    int exit_status;
} codes[] = {
    {KPEER_OK, "ok", 0},
    {KPEER_ENOMEM, "out-of-memory", 1},
    {KPEER_EINVAL, "invalid", 2},
    {KPEER_EIO, "failed", 1},
    {KPEER_EAUTH, "not-authentic", 1},
    {KPEER_EREPLAY, "replayed", 1},
    {KPEER_ENOTFOUND, "not-found", 1},
    {KPEER_ETIMEOUT, "timed-out", 4},
    {KPEER_EREFUSED, "refused", 6},
    {KPEER_ELIMIT, "too-large", 1},
    {KPEER_EVERSION, "version", 1},
    {KPEER_EPREFLIGHT, "preflight-red", 5},
    {KPEER_ENOAGENT, "no-agent", 3},
    {KPEER_ECANCELED, "canceled", 1},
    {KPEER_ESTATE, "wrong-state", 1},
};

static void fill(struct err *e, int code, const char *fmt, va_list ap) __attribute__((format(printf, 3, 0)));

static void fill(struct err *e, int code, const char *fmt, va_list ap)
{
    e->code = code;
    e->hint[0] = '\0';
    vsnprintf(e->text, sizeof e->text, fmt, ap);
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
    if (e) {
        va_list ap;
        va_start(ap, fmt);
        fill(e, code, fmt, ap);
        va_end(ap);
    }
    return code;
}

int err_errno(struct err *e, int errnum, const char *fmt, ...)
{
    if (e) {
        va_list ap;
        va_start(ap, fmt);
        fill(e, KPEER_EIO, fmt, ap);
        va_end(ap);
        size_t n = strlen(e->text);
        snprintf(e->text + n, sizeof e->text - n, ": %s", strerror(errnum));
    }
    return KPEER_EIO;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
    if (!e)
        return KPEER_EIO;
    char old[ERR_TEXT_BYTES];
    memcpy(old, e->text, sizeof old);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    size_t n = strlen(e->text);
    snprintf(e->text + n, sizeof e->text - n, ": %s", old);
    return e->code;
}

int err_hint(struct err *e, const char *fmt, ...)
{
    if (!e)
        return KPEER_EIO;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->hint, sizeof e->hint, fmt, ap);
    va_end(ap);
    return e->code;
}

const char *err_word(int code)
{
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (codes[i].code == code)
            return codes[i].word;
    return "unknown";
}

int err_exit_status(int code)
{
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (codes[i].code == code)
            return codes[i].exit_status;
    return 1;
}
