/* The network as this host sees it alone; pairs of hosts are the group's own matter. */
#include <stdio.h>

#include "peer/executor/host/check.h"
#include "peer/executor/host/look.h"
#include "peer/executor/host/parse.h"
#include "protocol/mem.h"

static bool listens(const char *tcp, const char *tcp6, uint16_t port)
{
    return (tcp && parse_tcp_listens(tcp, port)) || (tcp6 && parse_tcp_listens(tcp6, port));
}

static void look_ports(struct survey *s)
{
    static const uint16_t ports[] = {10250, 6443, 10259,
                                     10257, 2379, 2380}; /* a worker needs the first alone */
    size_t needed = s->role == STEP_ROLE_MASTER ? COUNT_OF(ports) : 1;
    cleanup_free char *tcp = look_text(s->ctx, "/proc/net/tcp");
    cleanup_free char *tcp6 = look_text(s->ctx, "/proc/net/tcp6");
    char taken[64] = "";
    size_t used = 0;

    for (size_t i = 0; i < needed && used < sizeof(taken); i++) {
        if (listens(tcp, tcp6, ports[i]))
            used += (size_t)snprintf(taken + used, sizeof(taken) - used, "%s%u", used ? ", " : "", ports[i]);
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
