#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "discovery/address.h"
#include "discovery/listen.h"
#include "discovery/meet.h"
#include "peer/command/board.h"
#include "peer/command/command.h"
#include "peer/command/daemon.h"
#include "peer/keyfile.h"
#include "peer/keysource.h"
#include "peer/command/outcome.h"
#include "peer/command/progress.h"
#include "protocol/mem.h"

#define LISTEN_MS  3000
#define MEET_MS    15000
#define ANSWER_MS  5000
#define LOOK_MS    1000 /* how often the agent is asked, when no event comes */
#define WAITING_MS 1500 /* what lasts shorter is not worth a line */
#define DRAW_MS    100

static void cleanup_key(struct secret **key)
{
    secret_free(*key);
}

/* ---- the key ---- */

static int make_pin(const struct config *cfg, struct evidence_pin *pin, struct err *err)
{
    memset(pin, 0, sizeof *pin);
    mem_copy_text(pin->interface, sizeof pin->interface, cfg->interface);
    pin->have_subnet = cfg->subnet[0] != '\0';
    return pin->have_subnet ? network_parse(cfg->subnet, &pin->subnet, err) : 0;
}

/* Where to be heard and to hear before an agent runs. */
static int find_subnet(const struct config *cfg, struct address *group, struct evidence_pin *pin,
                       struct err *err)
{
    int code = make_pin(cfg, pin, err);

    if (!code && address_parse(cfg->multicast_group, group))
        code = err_set(err, KPEER_EINVAL, "multicast.group %s: no address", cfg->multicast_group);
    return code;
}

static int listen_first(const struct config *cfg, struct listen_result *heard, struct err *err)
{
    struct address group;
    struct evidence_pin pin;
    int code = find_subnet(cfg, &group, &pin, err);

    return code ? code : discovery_listen(&group, cfg->multicast_port, &pin, LISTEN_MS, heard, err);
}

static int refuse_keyless(const struct config *cfg, const struct listen_result *heard, struct err *err)
{
    char from[STEP_ADDRESS_BYTES];

    if (heard->group_count) {
        address_text(&heard->group[0].from, from);
        err_set(err, KPEER_EREFUSED,
                "this host has no group key, and a group is here already (heard from %s)", from);
        return err_hint(err,
                        "there: sudo kpeer up --invite, and here what it says; or copy its key: sudo scp "
                        "root@%s:%s %s; or, "
                        "if it was started so: kpeer up --trust-subnet",
                        from, cfg->key_file, cfg->key_file);
    }
    address_text(&heard->newcomer[0], from);
    err_set(err, KPEER_EREFUSED,
            "this host has no group key, and another host without one is starting too (%s)", from);
    return err_hint(err,
                    "on one: sudo kpeer key generate, and copy %s to the others; or, on an isolated network, "
                    "--trust-subnet on all",
                    cfg->key_file);
}

static int make_key(struct call *call, struct progress *p, struct err *err)
{
    __attribute__((cleanup(cleanup_key))) struct secret *key = NULL;
    int code = keyfile_generate(&key, err);

    if (!code)
        code = keyfile_write(call->cfg.key_file, key, false, err);
    if (code)
        return code;
    progress_say(p, TINT_GOOD, "no group heard: made a new group key, %s", call->cfg.key_file);
    progress_say(p, TINT_NONE, "  other hosts get it by: sudo scp %s root@HOST:%s   and then: sudo kpeer up",
                 call->cfg.key_file, call->cfg.key_file);
    progress_say(p, TINT_NONE, "  or one by one, by a code: sudo kpeer up --invite");
    return 0;
}

static int meet(const struct config *cfg, const uint8_t *invited_by, struct secret **key,
                struct address *from, struct err *err)
{
    struct address group;
    struct evidence_pin pin;
    int code = find_subnet(cfg, &group, &pin, err);

    return code ? code
                : discovery_meet(&group, cfg->multicast_port, &pin, invited_by, MEET_MS, key, from, err);
}

/* A code is good once: before it is used up it is sure that its key can be kept. */
static int key_may_come(const struct config *cfg, struct err *err)
{
    __attribute__((cleanup(cleanup_key))) struct secret *there = NULL;
    int code = keyfile_read(cfg->key_file, &there, err);

    if (code == KPEER_ENOTFOUND)
        return 0;
    if (code)
        return code;
    err_set(err, KPEER_EREFUSED, "this host has a group key already, %s", cfg->key_file);
    return err_hint(err,
                    "kpeer up needs no code; for another group: sudo kpeer leave, and take that file away");
}

static int take_invitation(struct call *call, struct progress *p, const char *text, struct secret **key,
                           struct err *err)
{
    uint8_t invited_by[INVITE_CODE_BYTES];
    char at[STEP_ADDRESS_BYTES];
    struct address from = {0};
    int code = invite_code_parse(text, invited_by, err);

    if (code)
        return err_hint(err, "it is shown by: sudo kpeer up --invite, on a host of the group");
    code = key_may_come(&call->cfg, err);
    if (code)
        return code;
    progress_say(p, TINT_NONE, "looking for the host that shows this code, for %d s …", MEET_MS / 1000);
    code = meet(&call->cfg, invited_by, key, &from, err);
    if (code == KPEER_EAUTH || code == KPEER_ENOTFOUND)
        return err_hint(err,
                        "a code is good for one host and ten minutes: show a new one there with sudo kpeer "
                        "up --invite, and look that both are on one subnet");
    if (!code) {
        address_text(&from, at);
        progress_say(p, TINT_GOOD, "the host %s gave the group's key, %s", at, call->cfg.key_file);
    }
    return code;
}

/* A key that was given is kept in the file: the agent that is started, today and after a reboot, finds it
 * there. */
static int take_given(struct call *call, struct progress *p, struct err *err)
{
    __attribute__((cleanup(cleanup_key))) struct secret *key = NULL;
    const char *invited_by = command_flag(call, "code");
    int code = 0;

    if (invited_by)
        code = take_invitation(call, p, invited_by, &key, err);
    else if (command_flag(call, "ask-key"))
        code = keysource_ask(&key, err);
    else if (keysource_from_environment())
        code = keysource_environment(&key, err);
    if (!code && key)
        code = keysource_keep(call->cfg.key_file, key, false, err);
    return code;
}

/* Sees that there is a key before an agent is started: reads it, or listens and makes one. */
static int ensure_key(struct call *call, struct progress *p, struct err *err)
{
    __attribute__((cleanup(cleanup_key))) struct secret *key = NULL;
    struct listen_result heard = {0};
    int code;

    if (call->cfg.trust == TRUST_SUBNET) {
        progress_say(
            p, TINT_BAD,
            "WARNING: --trust-subnet: whoever is on this subnet may join this group and take its cluster. "
            "For isolated networks only.");
        return 0;
    }
    code = take_given(call, p, err);
    if (code)
        return code;
    code = keyfile_read(call->cfg.key_file, &key, err);
    if (code != KPEER_ENOTFOUND)
        return code;
    progress_say(p, TINT_NONE, "no group key at %s: listening %d s for a group …", call->cfg.key_file,
                 LISTEN_MS / 1000);
    code = listen_first(&call->cfg, &heard, err);
    if (code)
        return err_wrap(err, "listening for a group");
    if (heard.group_count || heard.newcomer_count)
        return refuse_keyless(&call->cfg, &heard, err);
    return make_key(call, p, err);
}

/* ---- watching ---- */

/* What the agent is asked again and again. */
struct question {
    struct control_client *client;
    json_t *last;   /* the last answer */
    json_t *answer; /* of the question under way, while its end is not there yet */
    bool asked;     /* a question is under way */
};

struct watch {
    struct call *call;
    struct progress progress;
    struct control_client *events;
    struct question status, members;
    struct board *board; /* NULL: no terminal to show it on */
    bool silent;         /* told that the agent does not answer */
    int failed_code;     /* of the last step that failed */
    char failed_step[64];
    char waiting[300]; /* as last seen */
    char told[300];    /* as last told */
    long long waiting_ms;
    long long started_ms;
    long long looked_ms;
};

static const char *phase_of(const struct watch *w)
{
    return writer_text(w->status.last, "phase");
}

/* Says what this host waits for once that has lasted a moment, unless an event has said it already. */
static void tell_waiting(struct watch *w)
{
    const char *waiting = writer_text(w->status.last, "waiting");

    if (strcmp(waiting, w->waiting) != 0) {
        snprintf(w->waiting, sizeof w->waiting, "%s", waiting);
        w->waiting_ms = progress_now_ms();
        return;
    }
    if (!*waiting || w->progress.live || progress_now_ms() - w->waiting_ms < WAITING_MS ||
        strcmp(waiting, w->told) == 0)
        return;
    snprintf(w->told, sizeof w->told, "%s", waiting);
    progress_say(&w->progress, TINT_WARN, "              waiting: %s", waiting);
}

/* Asks, or goes on waiting for the answer to what was asked before. KPEER_ETIMEOUT: the agent is silent. */
static int ask(struct question *q, const char *what, struct err *err)
{
    int code = q->asked ? 0 : control_request(q->client, what, NULL, err);

    q->asked = code == 0;
    while (!code && q->asked) {
        enum control_kind kind = CONTROL_DONE;
        json_t *data = NULL;

        code = control_next(q->client, ANSWER_MS, &kind, &data, err);
        if (!code && kind == CONTROL_NOTHING)
            return KPEER_ETIMEOUT;
        if (!code && kind == CONTROL_DONE) {
            q->asked = false;
        } else if (!code) {
            json_decref(q->answer);
            q->answer = data;
        }
    }
    if (!code && q->answer) {
        json_decref(q->last);
        q->last = q->answer;
        q->answer = NULL;
    }
    return code;
}

static void end_question(struct question *q)
{
    control_close(q->client);
    json_decref(q->last);
    json_decref(q->answer);
}

/* An agent that stands still for a while, on a disk that is busy say, is waited for as everything else is. */
static int look(struct watch *w, struct err *err)
{
    int code = ask(&w->status, "status", err);

    if (!code && w->members.client)
        code = ask(&w->members, "members", err);
    w->looked_ms = progress_now_ms();
    if (code == KPEER_ETIMEOUT && !w->silent)
        progress_say(&w->progress, TINT_WARN, "the agent of this host does not answer: waiting");
    w->silent = code == KPEER_ETIMEOUT;
    if (code)
        return w->silent ? 0 : code;
    if (w->board)
        board_take(w->board, w->members.last, w->looked_ms);
    tell_waiting(w);
    progress_set(&w->progress, phase_of(w), *w->waiting ? w->waiting : w->progress.detail,
                 json_integer_value(json_object_get(w->status.last, "phase_ms")));
    return 0;
}

/* The code that a word in an event stands for. */
static int code_of(const char *word)
{
    for (int code = KPEER_ESTATE; code < 0; code++)
        if (strcmp(err_word(code), word) == 0)
            return code;
    return KPEER_EIO;
}

static void note(struct watch *w, const json_t *event)
{
    if (strcmp(writer_text(event, "event"), "blocked") == 0)
        snprintf(w->told, sizeof w->told, "%s", writer_text(event, "text"));
    if (strcmp(writer_text(event, "event"), "step-failed") != 0)
        return;
    w->failed_code = code_of(writer_text(event, "code"));
    writer_safe(w->failed_step, sizeof w->failed_step, writer_text(event, "step"));
}

/* Shows events until there are none for `wait_ms`. */
static int take_events(struct watch *w, int wait_ms, struct err *err)
{
    for (;;) {
        enum control_kind kind = CONTROL_DONE;
        json_t *event = NULL;
        int code = control_next(w->events, wait_ms, &kind, &event, err);

        if (code == KPEER_ECANCELED || (!code && kind == CONTROL_NOTHING))
            return 0;
        if (!code && kind != CONTROL_EVENT)
            code = err_set(err, KPEER_EIO, "the agent ended its events");
        if (!code) {
            note(w, event);
            code = progress_event(&w->progress, event, false, err);
        }
        json_decref(event);
        if (code)
            return code;
        wait_ms = 0;
        w->looked_ms = 0; /* something happened: ask anew */
    }
}

static int tell_failed(struct watch *w, struct err *err)
{
    const char *name = writer_text(w->status.last, "name"), *error = writer_text(w->status.last, "error");
    const char *hint = writer_text(w->status.last, "hint");
    int code = w->failed_code ? w->failed_code : KPEER_EIO;

    /* A wrong value that a step met is a failure here, not a wrong use of this command. */
    if (err_exit_status(code) == 2)
        code = KPEER_EIO;
    err_set(err, code, "host %s failed%s%s: %s", name, *w->failed_step ? " in " : "", w->failed_step,
            *error ? error : "see kpeer events --since 10m");
    return err_hint(err, "%s", *hint ? hint : "kpeer status; when it is mended: kpeer up again");
}

static int tell_timeout(struct watch *w, struct err *err)
{
    const char *waiting = writer_text(w->status.last, "waiting"),
               *error = writer_text(w->status.last, "error");

    if (w->silent) {
        err_set(err, KPEER_ETIMEOUT, "the agent of this host does not answer, and %u s are over",
                w->call->cfg.timeout_ms / 1000);
        return err_hint(err, "is its disk full or slow? See journalctl -u kpeer, or %s/agent.log",
                        w->call->cfg.state_dir);
    }
    err_set(err, KPEER_ETIMEOUT, "host %s is not ready after %u s: phase %s%s%s",
            writer_text(w->status.last, "name"), w->call->cfg.timeout_ms / 1000, phase_of(w),
            *waiting ? ", waiting: "
            : *error ? ", error: "
                     : "",
            *waiting ? waiting : error);
    return err_hint(err,
                    "the agent goes on; look again with: kpeer up, kpeer status, kpeer events --since 10m");
}

/* The flags without which other commands would not find this agent. */
static void folder_flags(const struct call *call, char *out, size_t room)
{
    size_t used = 0;

    out[0] = '\0';
    for (size_t i = 0; i < call->setting_count && used < room; i++) {
        const struct config_setting *s = &call->setting[i];

        if (strcmp(s->key->key, "state_dir") == 0 || strcmp(s->key->key, "run_dir") == 0)
            used += (size_t)snprintf(out + used, room - used, " --%s %s", s->key->flag, s->value);
    }
}

/* What the others are is told where it can be had: this host is ready without it. */
static int tell_ready(struct watch *w, struct err *err)
{
    json_t *members = NULL;
    char flags[300];

    if (writer_is_data(w->progress.out))
        return writer_line(w->progress.out, w->status.last, err);
    control_ask(w->status.client, "members", NULL, ANSWER_MS, &members, NULL);
    folder_flags(w->call, flags, sizeof flags);
    outcome_tell(&w->progress, &(struct outcome){.status = w->status.last,
                                                 .members = members,
                                                 .took_ms = progress_now_ms() - w->started_ms,
                                                 .rehearsed = w->call->cfg.dry_run,
                                                 .flags = flags});
    json_decref(members);
    return 0;
}

static int detach(struct watch *w)
{
    progress_say(&w->progress, TINT_WARN,
                 "detached: the agent goes on. Come back with: sudo kpeer up; end it with: sudo kpeer leave");
    return COMMAND_DETACHED;
}

static bool in_time(const struct watch *w)
{
    return progress_now_ms() - w->started_ms < (long long)w->call->cfg.timeout_ms;
}

/* Until ready, failed, timed out or detached. */
static int watch_loop(struct watch *w, struct err *err)
{
    while (!command_stopped()) {
        long long now = progress_now_ms();
        int code = now - w->looked_ms >= LOOK_MS ? look(w, err) : 0;

        if (!code && strcmp(phase_of(w), "ready") == 0) {
            code = take_events(w, 0, err); /* what led to it is there before the answer was */
            return code ? code : tell_ready(w, err);
        }
        if (!code && strcmp(phase_of(w), "failed") == 0)
            code = tell_failed(w, err);
        if (!code && !in_time(w))
            code = tell_timeout(w, err);
        if (code)
            return command_stopped() ? detach(w) : code;
        progress_draw(&w->progress, w->board);
        code = take_events(w, w->progress.live ? DRAW_MS : LOOK_MS, err);
        if (code)
            return command_stopped() ? detach(w) : code;
    }
    return detach(w);
}

static int watch(struct watch *w, json_int_t since_ms, struct err *err)
{
    int code = command_connect(w->call, &w->events, err);

    if (!code && !w->status.client)
        code = command_connect(w->call, &w->status.client, err);
    if (!code && w->progress.live && (w->board = board_new()))
        code = command_connect(w->call, &w->members.client, err);
    if (!code)
        code = control_request(w->events, "events",
                               json_pack("{s:I, s:b}", "since_ms", since_ms, "follow", 1), err);
    if (!code)
        code = watch_loop(w, err);
    progress_end(&w->progress);
    /* The agent went away in the middle of it: not that, but what it ended with is the matter. */
    if ((code == KPEER_EIO || code == KPEER_ENOAGENT) && command_ending(w->call, err) == 0)
        err_wrap(err, "the agent of this host has ended");
    return code;
}

/* ---- the command ---- */

/* An agent runs: what failed is tried again. KPEER_ENOAGENT: it was just ending, and is gone without a word.
 */
static int resume(struct watch *w, struct err *err)
{
    json_t *answer = NULL;
    bool ready;
    int code;

    do
        code = look(w, err);
    while (!code && w->silent && in_time(w));
    if (code == KPEER_EIO && !w->status.last) {
        end_question(&w->status);
        w->status = (struct question){0};
        return KPEER_ENOAGENT;
    }
    if (!code && w->silent)
        code = tell_timeout(w, err);
    ready = strcmp(phase_of(w), "ready") == 0;
    if (!code && ready)
        progress_say(&w->progress, TINT_GOOD, "all is well: the agent runs and this host is ready");
    if (!code && !ready)
        progress_say(&w->progress, TINT_NONE, "the agent runs already: going on where it is");
    if (!code && w->call->setting_count)
        progress_say(&w->progress, TINT_WARN,
                     "it keeps the settings it was started with; the flags given now are "
                     "not used");
    if (!code && !ready)
        code = control_ask(w->status.client, "retry", NULL, ANSWER_MS, &answer, err);
    w->looked_ms = 0; /* what was seen before it is over */
    json_decref(answer);
    return code;
}

static int start(struct watch *w, struct err *err)
{
    char how[CONFIG_PATH_BYTES + 64];
    int code;

    if (geteuid() != 0 && !w->call->cfg.dry_run) {
        err_set(err, KPEER_EREFUSED, "only root can make this host a member");
        return err_hint(
            err, "sudo kpeer up; or rehearse as you are: kpeer up --dry-run --state-dir DIR --run-dir DIR");
    }
    code = ensure_key(w->call, &w->progress, err);
    command_stop_by_signals(); /* from here on ^C leaves an agent behind, and says so */
    if (!code)
        code = daemon_start(w->call, how, sizeof how, err);
    if (!code)
        progress_say(&w->progress, TINT_NONE, "the agent runs (%s)", how);
    return code;
}

static int invite(struct watch *w, struct err *err)
{
    json_t *answer = NULL;
    int code = w->status.client ? 0 : command_connect(w->call, &w->status.client, err);

    if (!code)
        code = control_ask(w->status.client, "invite", NULL, ANSWER_MS, &answer, err);
    if (!code && writer_is_data(w->progress.out)) {
        json_t *line = json_pack("{s:O}", "invitation", answer);

        writer_line(w->progress.out, line, NULL);
        json_decref(line);
    }
    if (!code && json_is_true(json_object_get(answer, "replaced")))
        progress_say(&w->progress, TINT_WARN, "the code that was shown before is good no more");
    if (!code)
        progress_say(
            &w->progress, TINT_GOOD, "for one other host, once, within %d minutes:  sudo kpeer up --code %s",
            (int)json_integer_value(json_object_get(answer, "seconds")) / 60, writer_text(answer, "code"));
    json_decref(answer);
    return code;
}

static int check_flags(const struct call *call, struct err *err)
{
    bool invites = command_flag(call, "invite") != NULL, invited = command_flag(call, "code") != NULL;

    if (invited && (invites || command_flag(call, "ask-key")))
        return err_set(err, KPEER_EINVAL, "--code goes without --%s", invites ? "invite" : "ask-key");
    if ((invites || invited) && call->cfg.trust == TRUST_SUBNET) {
        err_set(err, KPEER_EINVAL, "--%s goes without --trust-subnet", invites ? "invite" : "code");
        return err_hint(err, "such a group has no key that a code could give");
    }
    return 0;
}

int cmd_up(struct call *call, struct err *err)
{
    struct watch w = {.call = call, .started_ms = progress_now_ms()};
    json_int_t since_ms = 1;
    int code;

    progress_init(&w.progress, &call->out);
    code = check_flags(call, err);
    if (code)
        return code;
    code = command_connect(call, &w.status.client, err);
    if (!code && command_flag(call, "code")) {
        code = err_set(err, KPEER_EREFUSED, "this host is a member already: it needs no code");
        err_hint(err, "kpeer status; for another group: sudo kpeer leave first");
    } else if (!code) {
        code = resume(&w, err);
    }
    if (code == KPEER_ENOAGENT) {
        code = start(&w, err);
        since_ms = progress_now_ms() - w.started_ms + 1000;
    }
    if (!code && command_flag(call, "invite") && !command_stopped())
        code = invite(&w, err);
    command_stop_by_signals();
    if (!code)
        code = command_stopped() ? detach(&w) : watch(&w, since_ms, err);
    progress_end(&w.progress);
    control_close(w.events);
    end_question(&w.status);
    end_question(&w.members);
    board_free(w.board);
    return code;
}
