/* Kernel modules and settings: now, and after the next start. */
#include <string.h>

#include "peer/executor/host/check.h"
#include "peer/executor/host/look.h"

static void look_switch(struct survey *s, const char *path, const char *absent_next, const char *next)
{
    char value[16];

    if (!look_line(s->ctx, path, value, sizeof(value)))
        check_tell(s, FINDING_RED, absent_next, "%s is not there", path);
    else if (strcmp(value, "1") != 0)
        check_tell(s, FINDING_RED, next, "%s is %.15s", path, value);
    else
        check_tell(s, FINDING_GREEN, "", "%s is 1", path);
}

static void look_ip_forward(struct survey *s)
{
    look_switch(s, "/proc/sys/net/ipv4/ip_forward", "is /proc mounted?",
                "sysctl -w net.ipv4.ip_forward=1, and the same in a file in /etc/sysctl.d");
}

static void look_bridge(struct survey *s)
{
    look_switch(s, "/proc/sys/net/bridge/bridge-nf-call-iptables",
                "modprobe br_netfilter, and its name in a file in /etc/modules-load.d",
                "sysctl -w net.bridge.bridge-nf-call-iptables=1, and the same in a file in /etc/sysctl.d");
}

const struct check check_ip_forward = {
    .name = "ip-forward",
    .why = "pods reach other hosts only if this one forwards",
    .kubeadm = {"FileContent--proc-sys-net-ipv4-ip_forward"},
    .look = look_ip_forward,
};

const struct check check_bridge = {
    .name = "bridge-netfilter",
    .why = "Services work only if bridged packets pass iptables",
    .kubeadm = {"FileContent--proc-sys-net-bridge-bridge-nf-call-iptables"},
    .look = look_bridge,
};
