/* One life of the agent: from an identity, through what is opened under it, to the end of both. */
#include <ctype.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "discovery/nic.h"
#include "peer/agent/agent_state.h"
#include "peer/log.h"
#include "protocol/clock.h"
#include "protocol/mem.h"

static void on_hello(void *ctx, const struct hello *hello, const char *address)
{
    struct node_event ev = {.kind = EV_HELLO, .hello = hello};
    if (!mem_copy_text(ev.address, sizeof ev.address, address))
        agent_feed(ctx, &ev);
}

static void on_pulse(void *ctx, const struct pulse *pulse)
{
    struct node_event ev = {.kind = EV_PULSE, .pulse = pulse};
    agent_feed(ctx, &ev);
}

static void on_handed(void *ctx, const uint8_t *bytes, size_t n)
{
    struct node_event ev = {.kind = EV_HANDED, .bytes = bytes, .n = n};
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

static void on_refused(void *ctx, const struct peer_id *peer)
{
    struct node_event ev = {.kind = EV_REFUSED, .peer = *peer};
    agent_feed(ctx, &ev);
}

static void on_reach(void *ctx, const struct reach_report *report)
{
    struct node_event ev = {.kind = EV_REACH, .reach = report};
    agent_feed(ctx, &ev);
}

static void on_reachable(void *ctx)
{
    struct agent *a = ctx;
    reach_readable(a->reach, clock_ms());
}

static void on_discovery(void *ctx)
{
    struct agent *a = ctx;
    discovery_readable(a->discovery, clock_ms());
}

static int read_host(const struct agent *a, struct store_host *host, struct err *err)
{
    cleanup_free struct nic_table *t = calloc(1, sizeof *t);
    if (!t)
        return err_set(err, KPEER_ENOMEM, "no memory to list network interfaces");
    int rc = nic_list(t, err);
    if (rc)
        return rc;
    *host = (struct store_host){0};
    memcpy(host->machine_id, a->machine_id, sizeof host->machine_id);
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
    int rc = read_host(a, &host, err);
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
    for (int k = 0; k < STORE_KEY_COUNT; k++) {
        if (blob[k])
            sodium_memzero(blob[k], stored[k].n); /* one of them holds keys */
        free(blob[k]);
    }
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
    static const struct discovery_callbacks callbacks = {.hello = on_hello,
                                                         .pulse = on_pulse,
                                                         .handed = on_handed,
                                                         .invited = agent_invited,
                                                         .own_address = on_own_address,
                                                         .conflict = on_conflict,
                                                         .nets = on_nets};
    struct discovery_config cfg = {.multicast_port = a->cfg->multicast_port,
                                   .seed_port = a->cfg->port,
                                   .beat_ms = a->cfg->heartbeat_ms,
                                   .me = a->identity->id,
                                   .instance = a->instance,
                                   .keys = node_keyring(a->node)};
    if (address_parse(a->cfg->multicast_group, &cfg.group))
        return err_set(err, KPEER_EINVAL, "multicast.group %s: no address", a->cfg->multicast_group);
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
    return rc ? rc : loop_add(&a->loop, reach_fd(a->reach), on_reachable, a, err);
}

int agent_life_start(struct agent *a, struct err *err)
{
    static const struct transport_callbacks callbacks = {
        .message = on_message, .link_down = on_link_down, .refused = on_refused};
    int rc = read_identity(a, err);
    if (!rc)
        rc = open_node(a, err);
    if (!rc)
        rc = open_discovery(a, err); /* which looks at the node's keys */
    if (!rc)
        rc = reach_new(&a->reach, on_reach, a, err);
    if (!rc)
        rc = watch_discovery(a, err);
    if (!rc)
        rc = transport_open(&a->transport, a->identity, a->cfg->port, &callbacks, a, err);
    if (rc)
        return rc;
    a->loop.transport = a->transport;
    return 0;
}

void agent_life_stop(struct agent *a)
{
    int fds[DISCOVERY_FDS];
    a->loop.transport = NULL;
    if (a->discovery) {
        discovery_fds(a->discovery, fds);
        for (size_t i = 0; i < DISCOVERY_FDS; i++)
            if (fds[i] >= 0)
                loop_remove(&a->loop, fds[i]);
    }
    if (a->reach)
        loop_remove(&a->loop, reach_fd(a->reach));
    reach_free(a->reach);
    transport_close(a->transport);
    discovery_close(a->discovery);
    node_free(a->node);
    identity_free(a->identity);
    a->node = NULL;
    a->transport = NULL;
    a->discovery = NULL;
    a->reach = NULL;
    a->identity = NULL;
}
