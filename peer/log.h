/*
 * The log: one line each. Where systemd connected standard error to its journal and log_open_journal was
 * called, a line goes there as an entry with fields, by the journal's native protocol; else to standard
 * error, with a level as the journal reads it where that is what is behind it, with a time of day elsewhere.
 * Control characters never reach a line. No secret is ever handed to it. Only peer/ logs.
 */
#ifndef KPEER_LOG_H
#define KPEER_LOG_H

#include <stddef.h>

#define LOG_JOURNAL "/run/systemd/journal/socket"

enum log_level { LOG_LEVEL_ERROR = 0, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* What else an entry of the journal says; of no effect elsewhere. */
struct log_field {
    const char *name;  /* capitals, digits and underscores */
    const char *value; /* any text, of any number of lines; NULL or empty: left out */
};

/* What is more talkative than `level` is dropped. Before the call: LOG_LEVEL_WARN. */
void log_init(enum log_level level);

/* Opens the way to the journal (LOG_JOURNAL) where standard error leads to it, while local sockets may still
 * be made. Without it, or where it fails, standard error stays the way. */
void log_open_journal(const char *path);
void log_close_journal(void);

void log_fields(enum log_level level, const struct log_field *fields, size_t n, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

#define log_write(level, ...) log_fields(level, NULL, 0, __VA_ARGS__)
#define log_error(...)        log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)         log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)         log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)        log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
