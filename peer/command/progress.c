#include "peer/command/progress.h"

#include <langinfo.h>
#include <locale.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "protocol/clock.h"
#include "protocol/mem.h"

/* How an event is told: %n its name or step, %a its address, %x its text, %t how long it took. A part in
 * brackets is left out when what it stands for is empty. */
static const struct {
    const char *event;
    const char *form;
    enum writer_tint tint;
    bool talkative;
} forms[] = {
    {"agent-started", "agent started[: %x]", TINT_NONE, false},
    {"member-discovered", "found [%n][ at %a][: %x]", TINT_NONE, false},
    {"member-alive", "[%n ]is alive[ at %a][: %x]", TINT_GOOD, false},
    {"member-suspect", "[%n ]is silent[: %x]", TINT_WARN, false},
    {"member-failed", "[%n ]is gone[: %x]", TINT_BAD, false},
    {"member-left", "[%n ]left the group[: %x]", TINT_NONE, false},
    {"address-proven", "address %a is proven[: %x]", TINT_GOOD, false},
    {"address-lost", "no address is proven any more[: %x]", TINT_WARN, false},
    {"electorate-bound", "bound to a set of hosts[: %x]", TINT_NONE, false},
    {"electorate-constituted", "all hosts of the set are bound to it[: %x]", TINT_GOOD, false},
    {"electorate-released", "the set of hosts is given up[: %x]", TINT_WARN, false},
    {"election-started", "election started[: %x]", TINT_NONE, false},
    {"elected", "[%n ]is elected[: %x]", TINT_GOOD, false},
    {"lease-lost", "the lease is lost[: %x]", TINT_WARN, false},
    {"init-started", "the control plane is being started[ on %n][: %x]", TINT_NONE, false},
    {"init-finished", "the control plane is up[ on %n][: %x][ (%t)]", TINT_GOOD, false},
    {"record-committed", "the cluster is decided[: %x]", TINT_GOOD, false},
    {"ticket-issued", "ticket issued[ for %n][: %x]", TINT_NONE, false},
    {"ticket-opened", "ticket opened[: %x]", TINT_NONE, false},
    {"join-started", "joining[: %x]", TINT_NONE, false},
    {"join-finished", "joined[: %x][ (%t)]", TINT_GOOD, false},
    {"console-served", "admin kubeconfig given[ to %n]", TINT_NONE, false},
    {"console-refused", "admin kubeconfig refused[ to %n]", TINT_WARN, false},
    {"verify-started", "a test pod is tried[, for %n]", TINT_NONE, false},
    {"invited", "an invitation is open[: %x]", TINT_NONE, false},
    {"key-given", "key given[: %x]", TINT_GOOD, false},
    {"invitation-spoiled", "invitation withdrawn[: %x]", TINT_WARN, false},
    {"node-ready", "Node[ %n] is ready[: %x][ (%t)]", TINT_GOOD, false},
    {"step-started", "%n[: %x] …", TINT_DIM, false},
    {"step-progress", "%n[: %x]", TINT_DIM, true},
    {"step-finished", "%n is done[: %x][ (%t)]", TINT_NONE, false},
    {"step-failed", "%n failed[: %x][ (%t)]", TINT_BAD, false},
    {"conflict", "conflict[: %n][: %x]", TINT_BAD, false},
    {"phase", "→ %x[ (after %t)]", TINT_BOLD, false},
    {"blocked", "waiting[: %n][: %x]", TINT_WARN, false},
    {"renamed", "this host has another name[: %x]", TINT_WARN, false},
    {"key-rotated", "a new group key is here[: %x]", TINT_GOOD, false},
    {"key-closed", "the old group key is refused from here on[: %x]", TINT_GOOD, false},
    {"evicted", "[%n ]is evicted[: %x]", TINT_BAD, false},
    {"left", "this host has left the group[: %x]", TINT_GOOD, false},
};

long long progress_now_ms(void)
{
    return (long long)clock_ms();
}

/* The step or the member; a member whose name was not told yet goes by the beginning of its id. */
static const char *name_of(const json_t *event, char id[static 32])
{
    const char *step = writer_text(event, "step"), *name = writer_text(event, "name");

    if (*step || *name)
        return *step ? step : name;
    snprintf(id, 32, "%.8s", writer_text(event, "member"));
    return id;
}

static const char *value_of(const json_t *event, char letter, char took[static 32])
{
    switch (letter) {
    case 'n':
        return name_of(event, took);
    case 'a':
        return writer_text(event, "address");
    case 'x':
        return writer_text(event, "text");
    default:
        took[0] = '\0';
        if (json_object_get(event, "took_ms"))
            writer_duration(took, 32, json_integer_value(json_object_get(event, "took_ms")));
        return took;
    }
}

static void append(char *out, size_t room, const char *text, size_t n)
{
    size_t used = strlen(out);

    if (n >= room - used)
        n = room - used - 1;
    memcpy(out + used, text, n);
    out[used + n] = '\0';
}

/* Whether the value that a bracketed part stands for is empty. */
static bool part_empty(const json_t *event, const char *part)
{
    const char *percent = strchr(part, '%');
    char took[32];

    return percent && *value_of(event, percent[1], took) == '\0';
}

static void fill_form(const json_t *event, const char *form, char *out, size_t room)
{
    for (const char *p = form; *p; p++) {
        char took[32];

        if (*p == '[' && part_empty(event, p)) {
            p = strchr(p, ']');
        } else if (*p == '%') {
            const char *value = value_of(event, *++p, took);

            append(out, room, value, strlen(value));
        } else if (*p != '[' && *p != ']') {
            append(out, room, p, 1);
        }
    }
}

static size_t form_of(const json_t *event)
{
    const char *word = writer_text(event, "event");
    size_t i = 0;

    while (i < COUNT_OF(forms) && strcmp(forms[i].event, word) != 0)
        i++;
    return i;
}

void progress_event_text(const json_t *event, char *out, size_t room)
{
    size_t i = form_of(event);
    char raw[512] = "";

    if (i < COUNT_OF(forms)) {
        fill_form(event, forms[i].form, raw, sizeof raw);
    } else {
        append(raw, sizeof raw, writer_text(event, "event"), strlen(writer_text(event, "event")));
        fill_form(event, "[ %n][: %x]", raw, sizeof raw);
    }
    writer_safe(out, room, raw);
}

/* Whether the terminal shows UTF-8 is asked for here: the agent and scripts have no use for it. */
void progress_init(struct progress *p, struct writer *out)
{
    memset(p, 0, sizeof *p);
    p->out = out;
    p->live = writer_is_live(out);
    if (p->live)
        setlocale(LC_CTYPE, "");
}

void progress_set(struct progress *p, const char *phase, const char *detail, long long phase_ms)
{
    writer_safe(p->phase, sizeof p->phase, phase);
    writer_safe(p->detail, sizeof p->detail, detail);
    p->phase_ms = phase_ms;
    p->seen_ms = progress_now_ms();
}

/* The cursor stands behind the last line drawn. */
static void erase(struct progress *p, FILE *to)
{
    if (p->drawn > 1)
        fprintf(to, "\033[%zuA", p->drawn - 1);
    if (p->drawn)
        fputs("\r\033[J", to);
    p->drawn = 0;
}

/* One frame: the live line and the board, without a newline at its end. */
static void put_frame(struct progress *p, const struct board *board, const struct writer *w, size_t rows,
                      size_t columns)
{
    static const char *const dots[] = {"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"};
    static const char *const ascii[] = {"|", "/", "-", "\\"};
    bool utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    const char *spinner = utf8 ? dots[p->turn % COUNT_OF(dots)] : ascii[p->turn % COUNT_OF(ascii)];
    char took[32], raw[320], line[320];

    writer_duration(took, sizeof took, p->phase_ms + progress_now_ms() - p->seen_ms);
    snprintf(raw, sizeof raw, "%s %s%s%s", p->phase, took, *p->detail ? " · " : "", p->detail);
    writer_cut(line, sizeof line, raw, columns - 2);
    fprintf(w->to, "%s%s%s %s", writer_tint_on(w, TINT_GOOD), spinner, writer_tint_off(w, TINT_GOOD), line);
    p->drawn = 1;
    if (board) {
        fputc('\n', w->to);
        p->drawn += board_put(board, w, rows / 2, columns, progress_now_ms());
    }
}

void progress_draw(struct progress *p, const struct board *board)
{
    struct writer w = *p->out;
    char *frame = NULL;
    size_t n = 0, rows, columns;

    if (!p->live || !*p->phase)
        return;
    /* In one piece, so that no half of it is seen. */
    w.to = open_memstream(&frame, &n);
    if (!w.to)
        return;
    p->turn++;
    erase(p, w.to);
    writer_screen(p->out, &rows, &columns);
    /* The last column stays free: some terminals go to the next line when it is written. */
    put_frame(p, board, &w, rows, columns - 1);
    fclose(w.to);
    while (n && frame[n - 1] == '\n')
        n--;
    fwrite(frame, 1, n, p->out->to);
    fflush(p->out->to);
    free(frame);
}

/* How much of a text goes into a line of `columns`: up to the last blank, or up to the edge where there is
 * none. */
static size_t line_bytes(const char *text, size_t columns)
{
    char cut[600];
    size_t n, blank;

    if (writer_cut(cut, sizeof cut, text, SIZE_MAX) <= columns)
        return strlen(text);
    writer_cut(cut, sizeof cut, text, columns);
    n = strlen(cut) - strlen("…");
    for (blank = n; blank && text[blank] != ' '; blank--)
        ;
    return blank ? blank : n ? n : strlen(text);
}

/* On a terminal a long text goes on below where it began, broken between words; elsewhere it is one line. */
static void say(struct progress *p, enum writer_tint tint, const char *head, const char *text)
{
    FILE *to = p->out->to;
    size_t rows, columns = 0, indent = strlen(head);

    if (p->live)
        writer_screen(p->out, &rows, &columns);
    erase(p, to);
    fprintf(to, "%s%s", writer_tint_on(p->out, tint), head);
    while (columns > indent + 20) {
        size_t n = line_bytes(text, columns - 1 - indent);

        fprintf(to, "%.*s", (int)n, text);
        text += n;
        text += strspn(text, " ");
        if (!*text)
            break;
        fprintf(to, "\n%*s", (int)indent, "");
    }
    fprintf(to, "%s%s\n", text, writer_tint_off(p->out, tint));
    fflush(to);
}

void progress_say(struct progress *p, enum writer_tint tint, const char *fmt, ...)
{
    char raw[600], line[600];
    va_list ap;

    if (writer_is_data(p->out))
        return;
    va_start(ap, fmt);
    vsnprintf(raw, sizeof raw, fmt, ap);
    va_end(ap);
    writer_safe(line, sizeof line, raw);
    say(p, tint, "", line);
}

int progress_event(struct progress *p, const json_t *event, bool all, struct err *err)
{
    size_t form = form_of(event);
    char text[512], head[16];
    const char *t = writer_text(event, "t");

    if (writer_is_data(p->out))
        return writer_line(p->out, event, err);
    if (form < COUNT_OF(forms) && forms[form].talkative && !all) {
        progress_event_text(event, p->detail, sizeof p->detail);
        return 0;
    }
    progress_event_text(event, text, sizeof text);
    writer_safe(head, 13, strlen(t) > 23 ? t + 11 : t);
    strcat(head, "  ");
    say(p, form < COUNT_OF(forms) ? forms[form].tint : TINT_NONE, head, text);
    if (*writer_text(event, "hint")) {
        writer_safe(text, sizeof text, writer_text(event, "hint"));
        say(p, TINT_WARN, "              try: ", text);
    }
    return ferror(p->out->to) ? err_set(err, KPEER_EIO, "writing the output failed") : 0;
}

void progress_end(struct progress *p)
{
    erase(p, p->out->to);
    fflush(p->out->to);
}
