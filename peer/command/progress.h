/*
 * What a person sees while something is under way: a line for each event, and on a terminal one live line
 * below them with a spinner, the phase and its time, and below that, where it is told of, the group. Commands
 * are the only callers.
 */
#ifndef KPEER_PROGRESS_H
#define KPEER_PROGRESS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "peer/command/board.h"
#include "peer/writer.h"

struct progress {
    struct writer *out;
    bool live;    /* a terminal: draw the live line */
    size_t drawn; /* how many lines of it are there now */
    unsigned turn;
    char phase[64]; /* of the live line */
    char detail[200];
    long long phase_ms; /* how long it lasts, at `seen_ms` */
    long long seen_ms;
};

void progress_init(struct progress *p, struct writer *out);

/* Says what the live line is about from now on. */
void progress_set(struct progress *p, const char *phase, const char *detail, long long phase_ms);

/* Draws the live line anew, with the board below it where there is one; nothing where there is no terminal.
 */
void progress_draw(struct progress *p, const struct board *board);

/* Prints a line above the live line. */
void progress_say(struct progress *p, enum writer_tint tint, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Prints an event's line, or one JSON object a line with -o json. Talkative ones only where `all`. */
int progress_event(struct progress *p, const json_t *event, bool all, struct err *err);

/* Takes the live line away. */
void progress_end(struct progress *p);

/* An event in a person's words, without its time. */
void progress_event_text(const json_t *event, char *out, size_t room);

/* CLOCK_BOOTTIME in milliseconds. */
long long progress_now_ms(void);

#endif
