#include "peer/keysource.h"

#include <errno.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "peer/keyfile.h"
#include "protocol/mem.h"

static char *from_environment; /* guarded; kept until the process ends */
static bool was_given;

void keysource_take_environment(void)
{
    size_t name = sizeof KEYSOURCE_VARIABLE; /* with the equals sign */

    for (char **e = environ; e && *e; e++) {
        if (strncmp(*e, KEYSOURCE_VARIABLE "=", name) != 0)
            continue;
        if (!from_environment)
            from_environment = secret_alloc(KEYSOURCE_LINE_BYTES);
        if (from_environment && mem_copy_text(from_environment, KEYSOURCE_LINE_BYTES, *e + name))
            mem_copy_text(from_environment, KEYSOURCE_LINE_BYTES, "too long");
        was_given |= (*e)[name] != '\0';
        sodium_memzero(*e + name, strlen(*e + name));
    }
    unsetenv(KEYSOURCE_VARIABLE);
}

bool keysource_from_environment(void)
{
    return was_given;
}

int keysource_environment(struct secret **out, struct err *err)
{
    if (!was_given)
        return err_set(err, KPEER_ENOTFOUND, "there is no " KEYSOURCE_VARIABLE " in the environment");
    if (!from_environment)
        return err_set(err, KPEER_ENOMEM, "out of guarded memory");
    int code = keytext_parse(from_environment, out, err);
    return code ? err_wrap(err, "environment variable " KEYSOURCE_VARIABLE) : 0;
}

/* ---- a line ---- */

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
    (void)sig;
    interrupted = 1;
}

/* Byte by byte: nothing beyond the line is taken, and no buffer of the C library keeps a copy. */
static int read_line(char *out, struct err *err)
{
    size_t n = 0;

    for (;;) {
        char c;
        ssize_t got = read(STDIN_FILENO, &c, 1);

        if (got < 0 && errno == EINTR && !interrupted)
            continue;
        if (interrupted)
            return err_set(err, KPEER_ECANCELED, "interrupted");
        if (got < 0)
            return err_errno(err, errno, "standard input");
        if (got == 0 || c == '\n')
            break;
        if (n + 1 == KEYSOURCE_LINE_BYTES)
            return err_set(err, KPEER_EINVAL, "what was typed is longer than %d characters",
                           KEYSOURCE_LINE_BYTES - 1);
        out[n++] = c;
    }
    while (n && out[n - 1] == '\r')
        n--;
    out[n] = '\0';
    return n ? 0 : err_set(err, KPEER_EINVAL, "nothing was typed");
}

/* The terminal has its echo back however this ends, but for a signal that cannot be caught. */
static int read_unseen(const char *prompt, char *out, struct err *err)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};
    struct sigaction act = {.sa_handler = on_signal}, was[COUNT_OF(signals)];
    struct termios shown, hidden;
    int code;

    if (tcgetattr(STDIN_FILENO, &shown))
        return err_errno(err, errno, "the terminal");
    hidden = shown;
    hidden.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
    for (size_t i = 0; i < COUNT_OF(signals); i++)
        sigaction(signals[i], &act, &was[i]);
    fprintf(stderr, "%s: ", prompt);
    code = tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden) ? err_errno(err, errno, "the terminal") : 0;
    if (!code)
        code = read_line(out, err);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
    fputc('\n', stderr);
    for (size_t i = 0; i < COUNT_OF(signals); i++)
        sigaction(signals[i], &was[i], NULL);
    return code;
}

int keysource_line(const char *prompt, char *out, struct err *err)
{
    interrupted = 0;
    return isatty(STDIN_FILENO) ? read_unseen(prompt, out, err) : read_line(out, err);
}

int keysource_ask(struct secret **out, struct err *err)
{
    char *line = secret_alloc(KEYSOURCE_LINE_BYTES);
    int code;

    if (!line)
        return err_set(err, KPEER_ENOMEM, "out of guarded memory");
    code = keysource_line("group key (it is not shown)", line, err);
    if (!code)
        code = keytext_parse(line, out, err);
    secret_release(line);
    return code;
}

static bool same_group(const struct secret *a, const struct secret *b)
{
    uint8_t x[GROUP_ID_BYTES], y[GROUP_ID_BYTES];

    secret_group_id(a, x);
    secret_group_id(b, y);
    return memcmp(x, y, sizeof x) == 0;
}

int keysource_agent(const char *path, struct secret **out, struct err *err)
{
    struct secret *given = NULL, *there = NULL;
    int code = was_given ? keysource_environment(&given, err) : 0;
    int file = code ? 0 : keyfile_read(path, &there, err);

    if (!code && (file != KPEER_ENOTFOUND || !given))
        code = file;
    if (!code && given && there && !same_group(given, there)) {
        code = err_set(err, KPEER_EREFUSED,
                       KEYSOURCE_VARIABLE " is the key of one group, and %s that of another", path);
        err_hint(err, "take one of them away");
    }
    bool take = !code && given && (!there || secret_epoch(given) > secret_epoch(there));
    if (!code)
        *out = take ? given : there;
    if (!take)
        secret_free(given);
    if (take || code)
        secret_free(there);
    return code;
}

int keysource_keep(const char *path, const struct secret *key, bool replace, struct err *err)
{
    struct secret *there = NULL;
    bool same, later;
    int code = keyfile_read(path, &there, err);

    if (code == KPEER_ENOTFOUND)
        return keyfile_write(path, key, false, err);
    if (code && !replace)
        return code;
    same = there && same_group(key, there);
    later = same && secret_epoch(key) > secret_epoch(there);
    secret_free(there);
    if (same && !later)
        return 0;
    if (!same && !replace) {
        err_set(err, KPEER_EREFUSED, "there is the key of another group at %s", path);
        return err_hint(err,
                        "if this host shall change its group: kpeer leave, then kpeer key import --force");
    }
    return keyfile_write(path, key, true, err);
}
