#include "peer/agent.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "discovery/nic.h"
#include "peer/agent_state.h"
#include "peer/keyfile.h"
#include "peer/log.h"
#include "peer/notify.h"
#include "protocol/mem.h"

#define EVENTS_KEPT     4096
#define LIVES_MAX       3 /* identities in a row before we suspect something worse than a copied disk */
#define FLUSH_MS        1000
#define DIR_BYTES       (CONFIG_PATH_BYTES + 16)
#define AGENT_SUBFOLDER "agent"

static void on_hello(void *ctx, const struct hello *hello, const char *address)
{
    struct node_event ev = {.kind = EV_HELLO, .hello = hello};
    if (!mem_copy_text(ev.address, sizeof ev.address, address))
        agent_feed(ctx, &ev);
}

static void on_own_address(void *ctx, const char *address, const char *interface)
{
    struct node_event ev = {.kind = EV_ADDRESS};
    if (!mem_copy_text(ev.address, sizeof ev.address, address) &&
        !mem_copy_text(ev.interface, sizeof ev.interface, interface))
        agent_feed(ctx, &ev);
}

static void on_conflict(void *ctx, const char *address)
{
    (void)ctx;
    log_warn("two hosts claim the address %s: neither is reached there", address);
}

static void on_nets(void *ctx, const struct host_nets *nets)
{
    struct node_event ev = {.kind = EV_HOST, .nets = nets};
    agent_feed(ctx, &ev);
}

static void on_message(void *ctx, const struct peer_id *peer, const uint8_t *bytes, size_t n)
{
    struct node_event ev = {.kind = EV_MESSAGE, .peer = *peer, .bytes = bytes, .n = n};
    agent_feed(ctx, &ev);
}

static void on_link_down(void *ctx, const struct peer_id *peer)
{
    struct node_event ev = {.kind = EV_LINK_DOWN, .peer = *peer};
    agent_feed(ctx, &ev);
}

static void on_signal(void *ctx)
{
    struct agent *a = ctx;
    struct signalfd_siginfo info;
    while (read(a->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        log_info("stopping on %s", strsignal((int)info.ssi_signo));
        a->stop = true;
    }
}

static void on_control(void *ctx)
{
    struct agent *a = ctx;
    control_server_dispatch(a->control);
}

static void on_discovery(void *ctx)
{
    struct agent *a = ctx;
    discovery_readable(a->discovery, loop_now_ms());
}

/* The folder of the agent's own below the state folder: what is beside it stays root's, so that the agent
 * cannot put something else in the executor's place. */
static int open_state(struct agent *a, struct err *err)
{
    char dir[DIR_BYTES];
    if (mkdir(a->cfg->state_dir, 0711) && errno != EEXIST)
        return err_errno(err, errno, "cannot make the state folder %s", a->cfg->state_dir);
    snprintf(dir, sizeof dir, "%s/%s", a->cfg->state_dir, AGENT_SUBFOLDER);
    return store_open(&a->store, dir, a->user.uid, a->user.gid, err);
}

static int open_control(struct agent *a, struct err *err)
{
    static const struct control_callbacks callbacks = {.request = agent_request};
    char path[108];
    int rc = config_socket_path(a->cfg, path, err);
    if (rc)
        return rc;
    bool made = mkdir(a->cfg->run_dir, 0755) == 0;
    if (!made && errno != EEXIST)
        return err_errno(err, errno, "cannot make the run folder %s", a->cfg->run_dir);
    /* Ours to remove the socket from at the end, when we are root no more. */
    if (made && a->user.drop && chown(a->cfg->run_dir, a->user.uid, a->user.gid))
        return err_errno(err, errno, "cannot hand the run folder %s over", a->cfg->run_dir);
    return control_server_new(&a->control, path, NULL, &callbacks, a, err);
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
    return rc;
}

/* What lasts as long as the process. The order matters; agent_close goes the other way. */
static int start_process(struct agent *a, struct err *err)
{
    struct executor_config executor;
    int rc = privilege_choose(a->cfg->user, &a->user, err);
    /* 1. The state folder and its lock: two agents never share one. */
    if (!rc)
        rc = open_state(a, err);
    /* 2. The executor: before any secret is read, any socket opened and any thread started, still with root's
     * rights. */
    config_for_executor(a->cfg, &executor);
    if (!rc)
        rc = executor_start(&executor, &a->executor_fd, &a->executor, err);
    /* 3. The group key, which root alone can read. */
    if (!rc)
        rc = keyfile_group_key(a->cfg, &a->key, err);
    if (!rc)
        rc = seal_new(&a->seal, a->key, err);
    /* 4. The local socket, in a folder of root's. Nobody is answered before the loop runs. */
    if (!rc && event_ring_new(&a->events, EVENTS_KEPT))
        rc = err_set(err, KPEER_ENOMEM, "no memory for events");
    if (!rc)
        rc = open_control(a, err);
    /* 5. Root is given up. */
    if (!rc)
        rc = privilege_drop(&a->user, err);
    if (!rc)
        rc = privilege_harden(err);
    /* 6. Signals, blocked before there are threads that could get them. */
    if (!rc)
        rc = open_signals(a, err);
    return rc ? rc : watch(a, err);
}

static void stop_process(struct agent *a)
{
    if (a->control)
        control_server_flush(a->control, FLUSH_MS);
    agent_executor_stop(a);
    control_server_free(a->control);
    event_ring_free(a->events);
    seal_free(a->seal);
    secret_free(a->key);
    store_close(a->store);
    if (a->signal_fd >= 0)
        close(a->signal_fd);
    loop_fini(&a->loop);
}

static int read_host(struct store_host *host, struct err *err)
{
    cleanup_free struct nic_table *t = calloc(1, sizeof *t);
    if (!t)
        return err_set(err, KPEER_ENOMEM, "no memory to list network interfaces");
    int rc = nic_list(t, err);
    if (rc)
        return rc;
    *host = (struct store_host){0};
    store_machine_id(host->machine_id);
    for (size_t i = 0; i < t->count && host->mac_count < FACTS_MACS_MAX; i++)
        if (nic_identifies(&t->nic[i]))
            memcpy(host->mac[host->mac_count++], t->nic[i].mac, 6);
    return 0;
}

static int read_identity(struct agent *a, struct err *err)
{
    struct store_host host;
    char stale[64], id[PEER_ID_TEXT];
    bool renewed;
    int rc = read_host(&host, err);
    if (!rc)
        rc = store_identity(a->store, &host, &a->identity, &renewed, stale, err);
    if (rc)
        return rc;
    if (renewed)
        log_warn("the identity in %s belongs to another host (a copied disk?): this host has a new one, what "
                 "was there is "
                 "in %s",
                 a->cfg->state_dir, stale);
    peer_id_text(&a->identity->id, id);
    log_info("this host is peer %s", id);
    do
        randombytes_buf(&a->instance, sizeof a->instance);
    while (a->instance == 0);
    return 0;
}

static int host_name(char out[static STEP_NAME_BYTES], struct err *err)
{
    char name[256] = "";
    if (gethostname(name, sizeof name - 1))
        return err_errno(err, errno, "cannot read the host's name");
    for (char *p = name; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    if (!name[0] || mem_copy_text(out, STEP_NAME_BYTES, name)) {
        err_set(err, KPEER_EINVAL, "the host's name \"%.80s\" is empty or too long for a Node", name);
        err_hint(err, "set another one with hostnamectl, or for kpeer alone with --name");
        return KPEER_EINVAL;
    }
    return 0;
}

static int open_node(struct agent *a, struct err *err)
{
    struct node_config cfg;
    struct stored stored[STORE_KEY_COUNT] = {{0}};
    uint8_t *blob[STORE_KEY_COUNT] = {NULL}, seed[32];
    config_for_node(a->cfg, &cfg);
    int rc = cfg.name[0] ? 0 : host_name(cfg.name, err);
    for (int k = 0; !rc && k < STORE_KEY_COUNT; k++) {
        rc = store_get(a->store, (enum store_key)k, &blob[k], &stored[k].n, err);
        stored[k].bytes = blob[k];
    }
    randombytes_buf(seed, sizeof seed);
    if (!rc)
        rc = node_new(&a->node, &cfg, a->identity, a->key, stored, a->instance, seed, err);
    sodium_memzero(seed, sizeof seed);
    for (int k = 0; k < STORE_KEY_COUNT; k++)
        free(blob[k]);
    return rc;
}

static int fill_pin(const struct config *cfg, struct evidence_pin *pin, struct err *err)
{
    mem_copy_text(pin->interface, sizeof pin->interface, cfg->interface);
    pin->have_subnet = cfg->subnet[0] != '\0';
    return pin->have_subnet ? network_parse(cfg->subnet, &pin->subnet, err) : 0;
}

static int open_discovery(struct agent *a, struct err *err)
{
    static const struct discovery_callbacks callbacks = {
        .hello = on_hello, .own_address = on_own_address, .conflict = on_conflict, .nets = on_nets};
    struct discovery_config cfg = {.multicast_port = a->cfg->multicast_port,
                                   .seed_port = a->cfg->port,
                                   .beat_ms = a->cfg->heartbeat_ms,
                                   .me = a->identity->id,
                                   .instance = a->instance,
                                   .seal = a->seal};
    if (address_parse(a->cfg->multicast_group, &cfg.group))
        return err_set(err, KPEER_EINVAL, "multicast_group %s is not an address", a->cfg->multicast_group);
    int rc = fill_pin(a->cfg, &cfg.pin, err);
    for (size_t i = 0; !rc && i < a->cfg->seed_count; i++) {
        cfg.seed[i].port = a->cfg->seeds[i].port;
        if (address_parse(a->cfg->seeds[i].address, &cfg.seed[i].address))
            return err_set(err, KPEER_EINVAL, "seed %s is not an address", a->cfg->seeds[i].address);
        cfg.seed_count++;
    }
    return rc ? rc : discovery_open(&a->discovery, &cfg, &callbacks, a, err);
}

static int watch_discovery(struct agent *a, struct err *err)
{
    int fds[DISCOVERY_FDS], rc = 0;
    discovery_fds(a->discovery, fds);
    for (size_t i = 0; !rc && i < DISCOVERY_FDS; i++)
        if (fds[i] >= 0)
            rc = loop_add(&a->loop, fds[i], on_discovery, a, err);
    return rc;
}

/* What lasts as long as one identity. */
static int start_life(struct agent *a, struct err *err)
{
    static const struct transport_callbacks callbacks = {.message = on_message, .link_down = on_link_down};
    int rc = read_identity(a, err);
    if (!rc)
        rc = open_discovery(a, err);
    if (!rc)
        rc = watch_discovery(a, err);
    if (!rc)
        rc = transport_open(&a->transport, a->identity, a->cfg->port, &callbacks, a, err);
    if (!rc)
        rc = open_node(a, err);
    if (rc)
        return rc;
    a->loop.transport = a->transport;
    return 0;
}

static void stop_life(struct agent *a)
{
    int fds[DISCOVERY_FDS];
    a->loop.transport = NULL;
    if (a->discovery) {
        discovery_fds(a->discovery, fds);
        for (size_t i = 0; i < DISCOVERY_FDS; i++)
            if (fds[i] >= 0)
                loop_remove(&a->loop, fds[i]);
    }
    node_free(a->node);
    transport_close(a->transport);
    discovery_close(a->discovery);
    identity_free(a->identity);
    a->node = NULL;
    a->transport = NULL;
    a->discovery = NULL;
    a->identity = NULL;
}

static void live(struct agent *a)
{
    struct node_event start = {.kind = EV_START};
    struct err e = {0};
    agent_feed(a, &start);
    while (!a->stop) {
        uint64_t now = loop_now_ms();
        uint64_t wake = discovery_tick(a->discovery, now), links = transport_tick(a->transport, now);
        if (now >= a->wake_ms) {
            struct node_event tick = {.kind = EV_TICK};
            agent_feed(a, &tick);
        }
        wake = links < wake ? links : wake;
        wake = a->wake_ms < wake ? a->wake_ms : wake;
        if (!a->stop && loop_once(&a->loop, wake, &e))
            agent_fail(a, &e);
    }
}

/* One life after the other: only a renewed identity begins another one. */
static int live_all(struct agent *a, struct err *err)
{
    for (int lives = 1;; lives++) {
        int rc = start_life(a, err);
        if (rc)
            return rc;
        if (lives == 1)
            notify_ready();
        live(a);
        if (a->code) {
            *err = a->fault;
            return a->code;
        }
        if (!a->renew)
            return 0;
        if (lives == LIVES_MAX)
            return err_set(err, KPEER_EREFUSED, "%d identities in a row were used by another host", lives);
        stop_life(a);
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
    a->cfg = cfg;
    a->signal_fd = a->executor_fd = -1;
    a->executor = -1;
    loop_init(&a->loop);
    int rc = start_process(a, &own);
    if (!rc && geteuid() == 0)
        log_warn("there is no user kpeer and no user nobody: the agent stays root");
    if (!rc)
        rc = live_all(a, &own);
    notify_stopping();
    stop_life(a);
    stop_process(a);
    free(a);
    if (rc && err)
        *err = own;
    return rc;
}
