/* The log's two ways. A stand-in of the journal's socket takes what is sent there, strictly by its protocol.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "peer/agent/fields.h"
#include "peer/log.h"
#include "protocol/err.h"
#include "protocol/mem.h"

#define FIELDS 32

struct heard {
    size_t count;
    struct {
        char name[65];
        char *value; /* ended by a NUL that is not its */
        size_t n;
    } field[FIELDS];
};

struct world {
    int socket, pipe[2], stderr_before; /* the journal, and what standard error leads to */
    struct sockaddr_un at;
    struct heard heard;
};

static void forget(struct heard *h)
{
    for (size_t i = 0; i < h->count; i++)
        free(h->field[i].value);
    h->count = 0;
}

/* A field of an entry: NAME=VALUE and a newline, or NAME, a newline, 64 bits of length, VALUE and a newline.
 * Returns what is behind it; NULL: it is none. */
static const char *take_field(struct heard *h, const char *at, const char *end)
{
    size_t name = 0, n = 0;

    while (at + name < end &&
           (isupper((unsigned char)at[name]) || at[name] == '_' || isdigit((unsigned char)at[name])))
        name++;
    if (name == 0 || name > 64 || at[0] == '_' || isdigit((unsigned char)at[0]) || at + name == end ||
        h->count == FIELDS)
        return NULL;
    memcpy(h->field[h->count].name, at, name);
    h->field[h->count].name[name] = '\0';
    at += name;
    if (*at++ == '=') {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        if (!newline)
            return NULL;
        n = (size_t)(newline - at);
    } else {
        if (at[-1] != '\n' || end - at < 8)
            return NULL;
        for (int i = 7; i >= 0; i--)
            n = n << 8 | (unsigned char)at[i];
        at += 8;
        if (n >= (size_t)(end - at) || at[n] != '\n')
            return NULL;
    }
    h->field[h->count].value = strndup(at, n);
    h->field[h->count++].n = n;
    return at + n + 1;
}

/* The next entry; false: there is none. */
static bool hear(struct world *w)
{
    char bytes[65536];
    ssize_t n = recv(w->socket, bytes, sizeof bytes, MSG_DONTWAIT);
    const char *at = bytes, *end = bytes + n;

    forget(&w->heard);
    if (n <= 0)
        return false;
    while (at && at < end)
        at = take_field(&w->heard, at, end);
    if (!at)
        fail_msg("no entry of the journal: %.*s", (int)n, bytes);
    return true;
}

static const char *said(const struct world *w, const char *name)
{
    const char *value = NULL;

    for (size_t i = 0; i < w->heard.count; i++)
        if (strcmp(w->heard.field[i].name, name) == 0) {
            assert_null(value); /* once */
            value = w->heard.field[i].value;
        }
    return value;
}

/* What went to standard error since the last call. */
static const char *line_of(struct world *w)
{
    static char line[8192];
    ssize_t n = read(w->pipe[0], line, sizeof line - 1);

    line[n > 0 ? n : 0] = '\0';
    return line;
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);

    w->at.sun_family = AF_UNIX;
    snprintf(w->at.sun_path, sizeof w->at.sun_path, "/tmp/kpeer-journal-%ld", (long)getpid());
    w->socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(w->socket, (struct sockaddr *)&w->at, sizeof w->at), 0);
    assert_int_equal(pipe2(w->pipe, O_NONBLOCK | O_CLOEXEC), 0);
    w->stderr_before = dup(STDERR_FILENO);
    assert_true(dup2(w->pipe[1], STDERR_FILENO) >= 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    log_close_journal();
    unsetenv("JOURNAL_STREAM");
    dup2(w->stderr_before, STDERR_FILENO);
    close(w->stderr_before);
    close(w->pipe[0]);
    close(w->pipe[1]);
    if (w->socket >= 0)
        close(w->socket);
    unlink(w->at.sun_path);
    forget(&w->heard);
    free(w);
    return 0;
}

/* As systemd tells of the stream that it made. */
static void stream_is_stderr(long inode_off)
{
    struct stat st;
    char text[64];

    assert_int_equal(fstat(STDERR_FILENO, &st), 0);
    snprintf(text, sizeof text, "%lu:%lu", (unsigned long)st.st_dev,
             (unsigned long)st.st_ino + (unsigned long)inode_off);
    setenv("JOURNAL_STREAM", text, 1);
}

static void test_entry(void **state)
{
    struct world *w = *state;
    const struct log_field fields[] = {{"KPEER_EVENT", "step-failed"},
                                       {"KPEER_HINT", "one\ntwo=\n\nthree"},
                                       {"KPEER_NAME", ""},
                                       {"KPEER_CODE", NULL},
                                       {"KPEER_TERM", "7"}};

    stream_is_stderr(0);
    log_init(LOG_LEVEL_INFO);
    log_open_journal(w->at.sun_path);
    log_fields(LOG_LEVEL_WARN, fields, COUNT_OF(fields), "it %s\nfailed\x1b[31m", "all");
    assert_true(hear(w));
    assert_string_equal(said(w, "MESSAGE"), "it all failed [31m");
    assert_string_equal(said(w, "PRIORITY"), "4");
    assert_string_equal(said(w, "SYSLOG_IDENTIFIER"), "kpeer");
    assert_string_equal(said(w, "KPEER_EVENT"), "step-failed");
    assert_string_equal(said(w, "KPEER_HINT"), "one\ntwo=\n\nthree");
    assert_string_equal(said(w, "KPEER_TERM"), "7");
    assert_null(said(w, "KPEER_NAME"));
    assert_null(said(w, "KPEER_CODE"));
    assert_int_equal(w->heard.count, 6);
    assert_string_equal(line_of(w), ""); /* once is enough */

    log_debug("too talkative");
    assert_false(hear(w));
    log_error("%s", "");
    assert_true(hear(w));
    assert_string_equal(said(w, "PRIORITY"), "3");
    assert_non_null(said(w, "MESSAGE"));
}

/* What does not fit is left out; the entry and what comes after it stay whole. */
static void test_too_large(void **state)
{
    struct world *w = *state;
    char large[9000], fits[5000];
    const struct log_field fields[] = {
        {"KPEER_A", large}, {"KPEER_B", fits}, {"KPEER_C", fits}, {"KPEER_D", "small"}};

    memset(large, 'l', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    memset(fits, '\n', sizeof fits - 1);
    fits[sizeof fits - 1] = '\0';
    stream_is_stderr(0);
    log_init(LOG_LEVEL_INFO);
    log_open_journal(w->at.sun_path);
    log_fields(LOG_LEVEL_INFO, fields, COUNT_OF(fields), "%s", large);
    assert_true(hear(w));
    assert_int_equal(strlen(said(w, "MESSAGE")), 1023);
    assert_null(said(w, "KPEER_A"));
    assert_string_equal(said(w, "KPEER_B"), fits);
    assert_null(said(w, "KPEER_C"));
    assert_string_equal(said(w, "KPEER_D"), "small");
}

/* A journal that is away, or takes no more, costs the fields and not the line. */
static void test_journal_is_away(void **state)
{
    struct world *w = *state;
    const struct log_field field = {"KPEER_TERM", "7"};
    int lines = 0;

    stream_is_stderr(0);
    log_init(LOG_LEVEL_INFO);
    log_open_journal(w->at.sun_path);
    for (int i = 0; i < 2000 && !lines; i++) {
        log_fields(LOG_LEVEL_INFO, &field, 1, "line %d", i);
        lines = strncmp(line_of(w), "<6>line ", 8) == 0;
    }
    assert_true(lines); /* it was full */
    close(w->socket);
    w->socket = -1;
    log_info("nobody there");
    assert_string_equal(line_of(w), "<6>nobody there\n");
    log_close_journal();
    log_open_journal("/nonexistent/journal");
    log_warn("no socket");
    assert_string_equal(line_of(w), "<4>no socket\n");
}

/* Without the variable, or where standard error was led elsewhere since, the journal gets nothing. */
static void test_not_the_journal(void **state)
{
    struct world *w = *state;

    for (int i = 0; i < 3; i++) {
        if (i == 1)
            stream_is_stderr(1);
        else if (i == 2)
            setenv("JOURNAL_STREAM", "nonsense", 1);
        log_init(LOG_LEVEL_INFO);
        log_open_journal(w->at.sun_path);
        log_info("hello\tthere");
        assert_false(hear(w));
        const char *line = line_of(w);
        assert_int_equal(line[10], 'T');
        assert_non_null(strstr(line, "Z info  hello there\n"));
    }
}

static void test_fields_of_event(void **state)
{
    struct world *w = *state;
    struct action act = {.event = EVENT_STEP_FAILED,
                         .name = "kubeadm-join",
                         .took_ms = 1500,
                         .code = KPEER_ETIMEOUT,
                         .hint = "look at\nthe log"};
    struct node_status now = {.phase = PHASE_JOINING, .role = MEMBER_WORKER, .term = 3};
    struct fields fields;

    stream_is_stderr(0);
    log_init(LOG_LEVEL_INFO);
    log_open_journal(w->at.sun_path);
    fields_of_event(&act, &now, &fields);
    log_fields(LOG_LEVEL_WARN, fields.field, fields.count, "x");
    assert_true(hear(w));
    assert_string_equal(said(w, "KPEER_EVENT"), "step-failed");
    assert_string_equal(said(w, "KPEER_STEP"), "kubeadm-join");
    assert_null(said(w, "KPEER_NAME"));
    assert_null(said(w, "KPEER_MEMBER"));
    assert_string_equal(said(w, "KPEER_PHASE"), "joining");
    assert_string_equal(said(w, "KPEER_ROLE"), "worker");
    assert_string_equal(said(w, "KPEER_TERM"), "3");
    assert_string_equal(said(w, "KPEER_TOOK_MS"), "1500");
    assert_string_equal(said(w, "KPEER_CODE"), "timed-out");
    assert_string_equal(said(w, "KPEER_HINT"), "look at\nthe log");

    act = (struct action){.event = EVENT_ELECTED, .name = "node2", .term = 4, .peer = {{0xab}}};
    fields_of_event(&act, &now, &fields);
    log_fields(LOG_LEVEL_WARN, fields.field, fields.count, "x");
    assert_true(hear(w));
    assert_string_equal(said(w, "KPEER_NAME"), "node2");
    assert_null(said(w, "KPEER_STEP"));
    assert_int_equal(strncmp(said(w, "KPEER_MEMBER"), "ab0000", 6), 0);
    assert_string_equal(said(w, "KPEER_TERM"), "4");
    for (size_t i = 0; i < w->heard.count; i++) { /* no name that the table has not */
        bool known = strncmp(w->heard.field[i].name, "KPEER_", 6) != 0;
        for (size_t k = 0; fields_name(k); k++)
            known = known || strcmp(fields_name(k), w->heard.field[i].name) == 0;
        assert_true(known);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_entry, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_large, setup, teardown),
        cmocka_unit_test_setup_teardown(test_journal_is_away, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_the_journal, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fields_of_event, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
