#include "peer/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "protocol/mem.h"

#define LINE_BYTES  1024
#define ENTRY_BYTES 8192 /* below what a datagram may hold; a field that does not fit is left out */

static enum log_level limit = LOG_LEVEL_WARN;
static bool to_journal; /* systemd keeps time and level itself */
static int journal_fd = -1;

/* systemd names the device and inode of the stream, which a redirection would not be. */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat st;

    return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
           st.st_dev == (dev_t)device && st.st_ino == (ino_t)inode;
}

void log_init(enum log_level level)
{
    limit = level;
    to_journal = stderr_is_journal();
}

/* Not by libsystemd: it would make its socket at the first line, behind the system call filter, and pass what
 * is long by a file in memory, which ends a process behind it. */
void log_open_journal(const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};

    if (!to_journal || journal_fd >= 0 || mem_copy_text(to.sun_path, sizeof to.sun_path, path))
        return;
    journal_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (journal_fd >= 0 && connect(journal_fd, (const struct sockaddr *)&to, sizeof to))
        log_close_journal();
}

void log_close_journal(void)
{
    if (journal_fd >= 0)
        close(journal_fd);
    journal_fd = -1;
}

static int priority(enum log_level level)
{
    static const int priorities[] = {3, 4, 6, 7};

    return priorities[level];
}

/* Whatever came from outside must not draw on a terminal or forge a line. */
static void flatten(char *line)
{
    for (unsigned char *p = (unsigned char *)line; *p; p++)
        if (*p < 0x20 || *p == 0x7f)
            *p = ' ';
}

/* ---- the journal ---- */

struct entry {
    char bytes[ENTRY_BYTES];
    size_t used;
};

/* NAME=VALUE, or where the value has more than one line its name, its length (64 bits, least significant
 * first) and itself. */
static void add(struct entry *e, const char *name, const char *value)
{
    size_t name_bytes = strlen(name), n = value ? strlen(value) : 0;
    bool lines = n && strchr(value, '\n');
    char *at = e->bytes + e->used;

    if (n == 0 || n > ENTRY_BYTES || e->used + name_bytes + n + 2 + 8 * (size_t)lines > ENTRY_BYTES)
        return;
    memcpy(at, name, name_bytes);
    at += name_bytes;
    *at++ = lines ? '\n' : '=';
    for (int i = 0; lines && i < 8; i++)
        *at++ = (char)((uint64_t)n >> (8 * i));
    memcpy(at, value, n);
    at[n] = '\n';
    e->used = (size_t)(at + n + 1 - e->bytes);
}

static bool tell_journal(enum log_level level, const struct log_field *fields, size_t n, const char *line)
{
    struct entry e = {.used = 0};
    char digit[] = {(char)('0' + priority(level)), '\0'};

    if (journal_fd < 0)
        return false;
    add(&e, "MESSAGE", *line ? line : " ");
    add(&e, "PRIORITY", digit);
    add(&e, "SYSLOG_IDENTIFIER", "kpeer");
    for (size_t i = 0; i < n; i++)
        add(&e, fields[i].name, fields[i].value);
    /* A journal that is busy, or gone, does not stop the agent: the line goes the other way. */
    return send(journal_fd, e.bytes, e.used, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)e.used;
}

/* ---- standard error ---- */

/* "<6>" for the journal, "2026-01-02T03:04:05.006Z info  " elsewhere. */
static size_t prefix(char *out, size_t room, enum log_level level)
{
    static const char *const words[] = {"error", "warn", "info", "debug"};
    struct timespec now;
    struct tm tm;
    char stamp[32];

    if (to_journal)
        return (size_t)snprintf(out, room, "<%d>", priority(level));
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
    return (size_t)snprintf(out, room, "%s.%03ldZ %-5s ", stamp, now.tv_nsec / 1000000, words[level]);
}

static void tell_stderr(enum log_level level, const char *text)
{
    char line[LINE_BYTES + 64];
    size_t n = prefix(line, sizeof line, level);

    n += (size_t)snprintf(line + n, sizeof line - n, "%s\n", text);
    /* One write a line, so that two processes do not mix; a log that cannot be written has nowhere to say so.
     */
    if (write(STDERR_FILENO, line, n) < 0)
        return;
}

void log_fields(enum log_level level, const struct log_field *fields, size_t n, const char *fmt, ...)
{
    char line[LINE_BYTES];
    va_list ap;

    if (level > limit)
        return;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    flatten(line);
    if (!tell_journal(level, fields, n, line))
        tell_stderr(level, line);
}
