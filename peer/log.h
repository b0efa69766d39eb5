/*
 * Log lines on standard error: one line each, levels as journald reads them where systemd started us, with a
 * time of day elsewhere. Control characters never reach the log. No secret is ever handed to it. Only peer/
 * logs.
 */
#ifndef KPEER_LOG_H
#define KPEER_LOG_H

enum log_level { LOG_LEVEL_ERROR = 0, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* What is more talkative than `level` is dropped. Before the call: LOG_LEVEL_WARN. */
void log_init(enum log_level level);

void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
