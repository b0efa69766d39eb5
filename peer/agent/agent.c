#include "peer/agent/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "peer/agent/agent_state.h"
#include "peer/ending.h"
#include "peer/agent/filter.h"
#include "peer/keyfile.h"
#include "peer/agent/landlock.h"
#include "peer/log.h"
#include "peer/notify.h"
#include "protocol/clock.h"
#include "protocol/keyring.h"

#define EVENTS_KEPT     4096
#define LIVES_MAX       3 /* identities in a row before we suspect something worse than a copied disk */
#define FLUSH_MS        1000
#define DIR_BYTES       (CONFIG_PATH_BYTES + 16)
#define AGENT_SUBFOLDER "agent"

struct fence {
    int fd; /* of Landlock's, -1: none */
    int abi;
};

static void on_signal(void *ctx)
{
    struct agent *a = ctx;
    struct signalfd_siginfo info;
    while (read(a->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        struct node_event stopping = {.kind = EV_STOPPING};
        log_info("stopping on %s", strsignal((int)info.ssi_signo));
        if (!a->stop)
            agent_feed(a, &stopping);
        a->stop = true;
    }
}

static void on_control(void *ctx)
{
    struct agent *a = ctx;
    control_server_dispatch(a->control);
}

static void on_exporter(void *ctx)
{
    struct agent *a = ctx;
    exporter_dispatch(a->exporter, clock_ms());
}

/* The folder of the agent's own below the state folder: what is beside it stays root's, so that the agent
 * cannot put something else in the executor's place. */
static int open_state(struct agent *a, struct err *err)
{
    char dir[DIR_BYTES];
    if (mkdir(a->cfg->state_dir, 0711) && errno != EEXIST)
        return err_errno(err, errno, "cannot make the state folder %s", a->cfg->state_dir);
    snprintf(dir, sizeof dir, "%s/%s", a->cfg->state_dir, AGENT_SUBFOLDER);
    return store_open(&a->store, dir, err);
}

static int open_run(struct agent *a, bool *made, struct err *err)
{
    *made = mkdir(a->cfg->run_dir, 0755) == 0;
    if (!*made && errno != EEXIST)
        return err_errno(err, errno, "cannot make the run folder %s", a->cfg->run_dir);
    a->ending_fd = ending_open(a->cfg->run_dir, NULL); /* what it is for is worth no failure */
    return 0;
}

/* Ours to remove the socket from at the end, when we are root no more: where we made it, or an agent before
 * us whose user was another one. A folder that somebody else made stays theirs. */
static int give_run(struct agent *a, bool made, struct err *err)
{
    struct stat st;
    int fd = open(a->cfg->run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    uid_t before = store_owner(a->store);
    int bad = fd < 0 || fstat(fd, &st);
    if (!bad && (made || (before != 0 && st.st_uid == before)))
        bad = fchown(fd, a->user.uid, a->user.gid);
    int rc = bad ? err_errno(err, errno, "cannot hand the run folder %s over", a->cfg->run_dir) : 0;
    if (fd >= 0)
        close(fd);
    return rc;
}

/* Whom the agent becomes follows from whose its state is, and its folders follow it. With the lock held, no
 * other agent lives in them. */
static int choose_user(struct agent *a, bool made_run, struct err *err)
{
    int rc = privilege_choose(a->cfg->user, store_owner(a->store), a->cfg->state_dir, &a->user, err);
    if (!rc && a->user.drop)
        rc = store_give(a->store, a->user.uid, a->user.gid, err);
    return rc || !a->user.drop ? rc : give_run(a, made_run, err);
}

static int open_control(struct agent *a, struct err *err)
{
    static const struct control_callbacks callbacks = {.request = agent_request, .gone = agent_gone};
    char path[108];
    int rc = config_socket_path(a->cfg, path, err);
    return rc ? rc : control_server_new(&a->control, path, NULL, &callbacks, a, err);
}

static int open_exporter(struct agent *a, struct err *err)
{
    const struct config_seed *at = &a->cfg->metrics;
    metrics_init(&a->metrics, agent_wall_ms());
    return at->port ? exporter_open(&a->exporter, at->address, at->port, agent_metrics, a, err) : 0;
}

static int open_signals(struct agent *a, struct err *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || sigprocmask(SIG_BLOCK, &set, NULL))
        return err_errno(err, errno, "cannot set up signals");
    a->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return a->signal_fd < 0 ? err_errno(err, errno, "cannot set up signals") : 0;
}

static int watch(struct agent *a, struct err *err)
{
    int rc = loop_add(&a->loop, a->signal_fd, on_signal, a, err);
    if (!rc)
        rc = loop_add(&a->loop, control_server_fd(a->control), on_control, a, err);
    if (!rc)
        rc = loop_add(&a->loop, a->executor_fd, agent_step_ready, a, err);
    if (!rc && a->exporter)
        rc = loop_add(&a->loop, exporter_fd(a->exporter), on_exporter, a, err);
    return rc;
}

/* What the agent needs of the file system once it has started: its state, and the end of its socket.
 * Descriptors that are open stay what they are. */
static int make_fence(struct agent *a, struct fence *fence, struct err *err)
{
    char state[DIR_BYTES];
    const struct landlock_path paths[] = {{state, LANDLOCK_STORE}, {a->cfg->run_dir, LANDLOCK_REMOVE}};
    snprintf(state, sizeof state, "%s/%s", a->cfg->state_dir, AGENT_SUBFOLDER);
    return landlock_make(paths, sizeof paths / sizeof paths[0], &fence->fd, &fence->abi, err);
}

static int confine(struct agent *a, const struct fence *fence, struct err *err)
{
    bool filter = false;
    store_machine_id(a->machine_id);
    tzset(); /* reads its file now; the log's time stamps would later */
    int rc = landlock_enter(fence->fd, err);
    if (!rc)
        rc = filter_enter(a->executor, &filter, err);
    if (rc)
        return rc;
    log_info("the agent is user %u without capabilities, %s", (unsigned)geteuid(),
             filter ? "behind a system call filter" : "without a system call filter");
    if (fence->fd >= 0)
        log_info("the agent reaches no files but its own: Landlock %d", fence->abi);
    else
        log_debug("there is no Landlock in this build, or none that would do in this kernel (%d)",
                  fence->abi);
    if (!filter)
        log_warn("there is no system call filter: this build or this kernel has none");
    return 0;
}

/* What lasts as long as the process. The order matters; agent_close goes the other way. */
static int start_process(struct agent *a, struct err *err)
{
    struct executor_config executor;
    struct fence fence = {.fd = -1};
    bool made_run = false;
    /* 1. The run folder, where a start that fails says why; then the state folder and its lock: two agents
     * never share one. Then whom to become. */
    int rc = open_run(a, &made_run, err);
    if (!rc)
        rc = open_state(a, err);
    if (!rc)
        rc = choose_user(a, made_run, err);
    /* 2. The executor: before any secret is read, any socket opened and any thread started, still with root's
     * rights. */
    config_for_executor(a->cfg, &executor);
    if (!rc)
        rc = executor_start(&executor, &a->executor_fd, &a->executor, err);
    /* 3. The group key, which root alone can read. */
    if (!rc)
        rc = keyfile_group_key(a->cfg, &a->key, err);
    /* 4. The local socket, in the run folder, and the port of the metrics, which may be below 1024.
     * Nobody is answered before the loop runs. */
    if (!rc && event_ring_new(&a->events, EVENTS_KEPT))
        rc = err_set(err, KPEER_ENOMEM, "no memory for events");
    if (!rc)
        rc = open_control(a, err);
    if (!rc)
        rc = open_exporter(a, err);
    /* 5. Root is given up. The fence is of folders that may be out of our reach afterwards. */
    if (!rc)
        rc = make_fence(a, &fence, err);
    if (!rc)
        rc = privilege_drop(&a->user, err);
    if (!rc)
        rc = privilege_harden(err);
    /* 6. Signals, blocked before there are threads that could get them. */
    if (!rc)
        rc = open_signals(a, err);
    if (!rc)
        rc = watch(a, err);
    /* 7. Fence and filter, before there are threads and before a byte of the network is read. What they
     * forbid, as to make local sockets, is done. */
    notify_open();
    return rc ? rc : confine(a, &fence, err);
}

static void stop_process(struct agent *a)
{
    if (a->control)
        control_server_flush(a->control, FLUSH_MS);
    agent_executor_stop(a);
    exporter_close(a->exporter);
    metrics_fini(&a->metrics);
    control_server_free(a->control);
    event_ring_free(a->events);
    invitation_free(a->invitation);
    secret_free(a->key);
    store_close(a->store);
    if (a->signal_fd >= 0)
        close(a->signal_fd);
    if (a->ending_fd >= 0)
        close(a->ending_fd);
}

/* Ready once what it promises as it starts is on the disk: a start that cannot write that has failed. */
static void live(struct agent *a, bool first)
{
    struct node_event start = {.kind = EV_START};
    struct err e = {0};
    agent_feed(a, &start);
    if (first && !a->code)
        notify_ready();
    while (!a->stop) {
        uint64_t now = clock_ms();
        uint64_t wake = discovery_tick(a->discovery, now), links = transport_tick(a->transport, now);
        uint64_t tries = reach_tick(a->reach, now), scrapes = exporter_tick(a->exporter, now);
        if (now >= a->wake_ms) {
            struct node_event tick = {.kind = EV_TICK};
            agent_feed(a, &tick);
        }
        wake = links < wake ? links : wake;
        wake = tries < wake ? tries : wake;
        wake = scrapes < wake ? scrapes : wake;
        wake = a->wake_ms < wake ? a->wake_ms : wake;
        if (!a->stop && loop_once(&a->loop, wake, &e))
            agent_fail(a, &e);
    }
}

/* The next life begins under the key that the group has now, which may not be the one of our start. */
static int keep_newest_key(struct agent *a, struct err *err)
{
    const struct secret *newest = node_keyring(a->node)->key[0].secret;
    uint8_t group[GROUP_ID_BYTES];
    secret_group_id(newest, group);
    struct secret *copy = secret_later(secret_bytes(newest), group, secret_epoch(newest));
    if (!copy)
        return err_set(err, KPEER_ENOMEM, "no memory for the group's key");
    secret_free(a->key);
    a->key = copy;
    return 0;
}

/* One life after the other: only a renewed identity begins another one. */
static int live_all(struct agent *a, struct err *err)
{
    for (int lives = 1;; lives++) {
        int rc = agent_life_start(a, err);
        if (rc)
            return rc;
        if (lives == 1)
            ending_tell(a->ending_fd, NULL);
        live(a, lives == 1);
        if (a->code) {
            *err = a->fault;
            return a->code;
        }
        if (!a->renew)
            return 0;
        if (lives == LIVES_MAX)
            return err_set(err, KPEER_EREFUSED, "%d identities in a row were used by another host", lives);
        rc = keep_newest_key(a, err);
        agent_life_stop(a);
        if (!rc)
            rc = store_renew(a->store, err);
        if (rc)
            return rc;
        a->stop = a->renew = false;
    }
}

int agent_run(const struct config *cfg, struct err *err)
{
    struct err own = {0};
    struct agent *a = calloc(1, sizeof *a);
    if (!a || sodium_init() < 0) {
        free(a);
        return err_set(err, KPEER_ENOMEM, "no memory for the agent, or no randomness");
    }
    log_init((enum log_level)cfg->log_level);
    log_open_journal(LOG_JOURNAL);
    a->cfg = cfg;
    a->signal_fd = a->executor_fd = a->ending_fd = a->metrics.memory_fd = -1;
    a->executor = -1;
    int rc = start_process(a, &own);
    if (!rc)
        rc = live_all(a, &own);
    /* Before the local socket is closed: who sees that finds the reason. An agent that found another one in
     * its place has nothing to say about that one's end. */
    if (rc && !(rc == KPEER_ESTATE && !a->store))
        ending_tell(a->ending_fd, &own);
    notify_stopping();
    agent_life_stop(a);
    stop_process(a);
    free(a);
    if (rc && err)
        *err = own;
    return rc;
}
