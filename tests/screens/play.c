/*
 * Plays the formation of a group on the terminal, as `kpeer up` shows it: play HOSTS FRAME.
 *
 * What the agent would have told is made up here and goes through peer/command/progress and
 * peer/command/board, as in peer/command/cmd_up.c; nothing else is stood in for. FRAME says where it stops:
 * "forming" in the middle, "joining" later, or "ready" at the end. Then it waits for a line on standard
 * input, so that the screen can be looked at.
 */
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/command/outcome.h"
#include "peer/command/progress.h"

/* Phases of every length there are: seconds, minutes; names that are wide, and long. */
static const char *const names[] = {"node1", "工作节点二", "a-host-with-a-name-that-is-rather-long", "node4"};
#define NAMES (sizeof names / sizeof names[0])

static json_t *member(int i, const char *phase, long long ms)
{
    char name[80];

    if ((size_t)i < NAMES)
        snprintf(name, sizeof name, "%s", names[i]);
    else
        snprintf(name, sizeof name, "node%d", i + 1);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:i}", "name", name, "role", i ? "worker" : "master",
                     "state", i == 2 ? "suspect" : "alive", "phase", phase, "note",
                     i == 1 ? "swap is on" : "", "phase_ms", (json_int_t)ms, "last_heard_ms", 4400);
}

/* The others are behind the first by one phase; every fifth is ready early. */
static void take(struct board *b, int hosts, const char *first, const char *others, long long ms)
{
    json_t *list = json_array(), *answer;

    for (int i = 0; i < hosts; i++)
        json_array_append_new(list, member(i, i == 0 ? first : i % 5 == 4 ? "ready" : others, ms));
    answer = json_pack("{s:o}", "members", list);
    board_take(b, answer, progress_now_ms());
    json_decref(answer);
}

static void tell(struct progress *p, const char *json)
{
    json_t *event = json_loads(json, 0, NULL);

    if (!event)
        abort();
    progress_event(p, event, false, NULL);
    json_decref(event);
}

static void found(struct progress *p, int hosts)
{
    char line[300];

    tell(p, "{\"t\":\"2026-01-02T10:00:00.000000Z\",\"event\":\"agent-started\",\"text\":\"0.1.0\"}");
    for (int i = 1; i < hosts; i++) {
        snprintf(line, sizeof line,
                 "{\"t\":\"2026-01-02T10:00:01.000000Z\",\"event\":\"member-discovered\",\"name\":\"%s\"}",
                 (size_t)i < NAMES ? names[i] : "another");
        tell(p, line);
        progress_draw(p, NULL);
    }
    tell(p, "{\"t\":\"2026-01-02T10:00:04.000000Z\",\"event\":\"elected\",\"name\":\"node1\"}");
}

static void failed(struct progress *p)
{
    tell(p, "{\"t\":\"2026-01-02T10:00:20.000000Z\",\"event\":\"step-failed\",\"step\":\"pull-images\","
            "\"text\":\"registry.k8s.io/pause:3.9 cannot be pulled: the registry does not answer\\u001b[2J\","
            "\"hint\":\"is there a way to it? kpeer images pull tells more\"}");
}

/* The others are not all there yet. */
static void tell_outcome(struct progress *p, int hosts)
{
    json_t *status = json_pack("{s:s, s:s, s:{s:s, s:s}}", "name", "node1", "role", "master", "cluster",
                               "endpoint", "192.168.56.11:6443", "kubernetes", "v1.31.2");
    json_t *list = json_array(), *members;

    for (int i = 0; i < hosts; i++)
        json_array_append_new(list, member(i, i == 1 ? "joining" : "ready", 100));
    members = json_pack("{s:o}", "members", list);
    outcome_tell(p, &(struct outcome){.status = status, .members = members, .took_ms = 154000, .flags = ""});
    json_decref(status);
    json_decref(members);
}

int main(int argc, char **argv)
{
    struct writer out = {.to = stdout};
    struct progress p;
    struct board *board = board_new();
    int hosts = argc == 3 ? atoi(argv[1]) : 0;
    const char *frame = argc == 3 ? argv[2] : "";

    if (hosts < 1 || !board)
        return 2;
    setlocale(LC_CTYPE, "C.UTF-8");
    out.color = writer_wants_color(stdout, false);
    progress_init(&p, &out);
    found(&p, hosts);
    take(board, hosts, "initialising", "preparing", 75400);
    progress_set(&p, "initialising",
                 "kubeadm-init: [certs] Generating \"apiserver\" certificate and key, "
                 "[kubeconfig] Writing \"admin.conf\" kubeconfig file",
                 12340);
    progress_draw(&p, board);
    failed(&p);
    progress_draw(&p, board);
    if (strcmp(frame, "forming") != 0) {
        take(board, hosts, "ready", "joining", 150400);
        progress_set(&p, "joining", "", 100);
        progress_draw(&p, board);
    }
    if (strcmp(frame, "ready") == 0) {
        progress_end(&p);
        tell_outcome(&p, hosts);
    }
    if (p.live)
        fputs("\033]2;drawn\007", stdout); /* the terminal's title: whoever looks at it knows */
    fflush(stdout);
    getchar();
    progress_end(&p);
    board_free(board);
    return 0;
}
