#include "peer/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static enum log_level limit = LOG_LEVEL_WARN;
static int to_journal; /* systemd keeps time and level itself */

void log_init(enum log_level level)
{
    limit = level;
    to_journal = getenv("JOURNAL_STREAM") != NULL;
}

/* Whatever came from outside must not draw on a terminal or forge a line. */
static void flatten(char *line)
{
    for (unsigned char *p = (unsigned char *)line; *p; p++)
        if (*p < 0x20 || *p == 0x7f)
            *p = ' ';
}

/* "<6>" for the journal, "2026-01-02T03:04:05.006Z info  " elsewhere. */
static size_t prefix(char *out, size_t room, enum log_level level)
{
    static const char *const words[] = {"error", "warn", "info", "debug"};
    static const int priorities[] = {3, 4, 6, 7};
    struct timespec now;
    struct tm tm;
    char stamp[32];

    if (to_journal)
        return (size_t)snprintf(out, room, "<%d>", priorities[level]);
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
    return (size_t)snprintf(out, room, "%s.%03ldZ %-5s ", stamp, now.tv_nsec / 1000000, words[level]);
}

void log_write(enum log_level level, const char *fmt, ...)
{
    char line[1024];
    size_t n;
    va_list ap;

    if (level > limit)
        return;
    n = prefix(line, sizeof line, level);
    va_start(ap, fmt);
    vsnprintf(line + n, sizeof line - n - 1, fmt, ap);
    va_end(ap);
    flatten(line);
    n = strlen(line);
    line[n++] = '\n';
    /* One write a line, so that two processes do not mix; a log that cannot be written has nowhere to say so.
     */
    if (write(STDERR_FILENO, line, n) < 0)
        return;
}
