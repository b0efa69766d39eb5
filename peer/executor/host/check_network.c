/* The network as this host sees it alone; pairs of hosts are the group's own matter. */
#include <arpa/inet.h>
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "peer/executor/host/check.h"
#include "peer/executor/host/look.h"
#include "peer/executor/host/mend.h"
#include "peer/executor/host/parse.h"
#include "peer/executor/host/parse_net.h"
#include "peer/executor/host/unit.h"
#include "protocol/mem.h"

#define PROCESSES_MAX   4096
#define DESCRIPTORS_MAX 1024

/* What both listings of sockets say of a port. */
struct sockets {
    char *tcp, *tcp6;
};

static bool listens(const struct sockets *l, uint16_t port)
{
    return (l->tcp && parse_tcp_listens(l->tcp, port)) || (l->tcp6 && parse_tcp_listens(l->tcp6, port));
}

/* Whether a process has this socket open: a link "socket:[INODE]" in its folder of descriptors. */
static bool has_socket(const char *dir, const char *wanted)
{
    char path[PATH_MAX], link[64];
    unsigned seen = 0;
    struct dirent *entry;
    bool found = false;
    DIR *d = opendir(dir);

    while (d && !found && seen++ < DESCRIPTORS_MAX && (entry = readdir(d)) != NULL) {
        ssize_t n;

        if (snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name) >= (int)sizeof(path))
            continue;
        n = readlink(path, link, sizeof(link) - 1);
        link[n > 0 ? n : 0] = 0;
        found = strcmp(link, wanted) == 0;
    }
    if (d)
        closedir(d);
    return found;
}

/* The name of the process that holds a socket; empty where it cannot be found. */
static void find_holder(const struct exec_ctx *ctx, uint64_t inode, char *out, size_t out_bytes)
{
    char wanted[64], proc[PATH_MAX], dir[PATH_MAX + 300], comm[300];
    struct dirent *entry;
    unsigned seen = 0;
    DIR *d = exec_path(ctx, "/proc", proc, sizeof(proc), NULL) ? NULL : opendir(proc);

    out[0] = 0;
    snprintf(wanted, sizeof(wanted), "socket:[%llu]", (unsigned long long)inode);
    while (d && inode && !out[0] && seen < PROCESSES_MAX && (entry = readdir(d)) != NULL) {
        if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
            continue;
        seen++;
        snprintf(dir, sizeof(dir), "%s/%s/fd", proc, entry->d_name);
        snprintf(comm, sizeof(comm), "/proc/%s/comm", entry->d_name);
        if (has_socket(dir, wanted) && look_line(ctx, comm, comm, sizeof(comm)))
            spawn_escape(out, out_bytes, comm, strlen(comm));
    }
    if (d)
        closedir(d);
}

/* "6443 (haproxy)"; nothing for kpeer itself, which listens there for the seconds in which the hosts of a
 * group look at each other. */
static size_t tell_port(const struct exec_ctx *ctx, const struct sockets *l, uint16_t port, char *out,
                        size_t out_bytes)
{
    uint64_t inode = l->tcp ? parse_tcp_inode(l->tcp, port) : 0;
    char holder[24];
    int used;

    inode = inode || !l->tcp6 ? inode : parse_tcp_inode(l->tcp6, port);
    find_holder(ctx, inode, holder, sizeof(holder));
    if (strcmp(holder, "kpeer") == 0)
        return 0;
    used = snprintf(out, out_bytes, holder[0] ? "%u (%s)" : "%u", port, holder);
    return used < 0 || (size_t)used >= out_bytes ? out_bytes - 1 : (size_t)used;
}

static void look_ports(struct survey *s)
{
    static const uint16_t ports[] = {10250, 6443, 10259,
                                     10257, 2379, 2380}; /* a worker needs the first alone */
    size_t needed = s->role == STEP_ROLE_MASTER ? COUNT_OF(ports) : 1;
    cleanup_free char *tcp = look_text(s->ctx, "/proc/net/tcp");
    cleanup_free char *tcp6 = look_text(s->ctx, "/proc/net/tcp6");
    const struct sockets l = {tcp, tcp6};
    char taken[72] = "";
    size_t used = 0;

    for (size_t i = 0; i < needed && used + 3 < sizeof(taken); i++) {
        if (!listens(&l, ports[i]))
            continue;
        size_t comma = used ? (size_t)snprintf(taken + used, sizeof(taken) - used, ", ") : 0;
        size_t told = tell_port(s->ctx, &l, ports[i], taken + used + comma, sizeof(taken) - used - comma);
        if (!told)
            taken[used] = 0;
        used += told ? comma + told : 0;
    }
    if (!tcp)
        check_tell(s, FINDING_WARN, "is /proc mounted?", "/proc/net/tcp cannot be read");
    else if (!used)
        check_tell(s, FINDING_GREEN, "", "the TCP ports that Kubernetes needs are free");
    else if (s->member || s->own_half)
        check_tell(s, FINDING_GREEN, "", "TCP %s: held by this group's own Kubernetes", taken);
    else
        check_tell(s, FINDING_RED, "see who holds them with ss -tlnp, and stop it", "TCP %s in use", taken);
}

const struct check check_ports = {
    .name = "ports",
    .why = "Kubernetes needs them itself",
    .kubeadm = {"Port-10250", "Port-6443"},
    .look = look_ports,
};

static bool tell_clash(struct survey *s, const char *routes, const char *cidr, const char *whose)
{
    /* What a cluster, or kpeer's own cluster before, has made of these very networks. */
    static const char *const own[] = {"cni0", "flannel.1", "kube-ipvs0", NULL};
    struct parse_net net, route;
    struct in_addr address;
    char interface[16], text[INET_ADDRSTRLEN];

    if (!parse_cidr(cidr, &net) || !parse_route_clash(routes, &net, own, &route, interface))
        return false;
    address.s_addr = htonl(route.address);
    inet_ntop(AF_INET, &address, text, sizeof(text));
    check_tell(s, FINDING_RED, "choose another pod_cidr or service_cidr on all hosts",
               "the %s' network %.20s holds the route to %s/%d by %s", whose, cidr, text,
               __builtin_popcount(route.mask), interface);
    return true;
}

static void look_cidr(struct survey *s)
{
    cleanup_free char *routes = look_text(s->ctx, "/proc/net/route");
    const struct executor_config *cfg = s->ctx->cfg;
    bool clash = false;

    if (!s->member && !s->own_half && routes) { /* else the pods' routes may be our own cluster's */
        clash = tell_clash(s, routes, cfg->pod_cidr, "pods");
        clash = tell_clash(s, routes, cfg->service_cidr, "services") || clash;
    }
    if (!clash)
        check_tell(s, FINDING_GREEN, "", "no route lies in the networks of pods and services");
}

const struct check check_cidr = {
    .name = "cidr",
    .why = "this host would no longer reach that network",
    .in_rehearsal = true,
    .look = look_cidr,
};

/* Whether a text sets a proxy and lets pods or services go through it. */
static bool proxy_catches(const struct exec_ctx *ctx, const char *text)
{
    static const char *const names[] = {"https_proxy", "http_proxy", "all_proxy"};
    char value[512] = "";
    bool set = false;

    for (size_t i = 0; i < COUNT_OF(names) && !set; i++)
        set = parse_variable(text, names[i], value, sizeof(value));
    if (!set)
        return false;
    if (!parse_variable(text, "no_proxy", value, sizeof(value)))
        value[0] = 0;
    return !parse_list_has(value, ctx->cfg->pod_cidr) || !parse_list_has(value, ctx->cfg->service_cidr);
}

static bool unit_proxy_catches(struct exec_ctx *ctx)
{
    const char *const argv[] = {
        "", "show", "-p", "Environment", "--", "containerd.service", "kubelet.service", NULL};
    struct spawn_result res = {0};
    bool catches = unit_systemd(ctx) && mend_run(ctx, TOOL_SYSTEMCTL, argv, true, &res, NULL) == 0 &&
                   proxy_catches(ctx, res.out);

    spawn_result_fini(&res);
    return catches;
}

static void look_proxy(struct survey *s)
{
    cleanup_free char *text = look_text(s->ctx, "/etc/environment");
    const struct executor_config *cfg = s->ctx->cfg;
    const char *where = text && proxy_catches(s->ctx, text) ? "/etc/environment"
                        : unit_proxy_catches(s->ctx)        ? "a unit of containerd or kubelet"
                                                            : NULL;
    char next[160];

    if (!where) {
        check_tell(s, FINDING_GREEN, "", "no proxy stands between this host and its pods");
        return;
    }
    snprintf(next, sizeof(next), "add to NO_PROXY there: %.50s,%.50s and the hosts' subnet", cfg->pod_cidr,
             cfg->service_cidr);
    check_tell(s, FINDING_WARN, next, "%s sets a proxy for pods and services too", where);
}

const struct check check_proxy = {
    .name = "proxy",
    .why = "hosts and pods must be reached directly",
    .kubeadm = {"HTTPProxy", "HTTPProxyCIDR"},
    .look = look_proxy,
};
