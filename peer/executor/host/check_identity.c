/* What this host is called, and by what it is told from others. */
#include <string.h>

#include "peer/executor/host/check.h"
#include "peer/executor/host/look.h"
#include "protocol/field.h"

static void look_hostname(struct survey *s)
{
    const char *name = s->facts->hostname;

    if (!field_name(name))
        check_tell(s, FINDING_RED, "hostnamectl set-hostname NAME, with a-z, 0-9 and hyphens",
                   "the host name \"%.64s\" can not be a Node's name", name);
    else if (strcmp(name, "localhost") == 0 || strncmp(name, "localhost.", 10) == 0)
        check_tell(s, FINDING_RED, "hostnamectl set-hostname NAME", "the host is called %s", name);
    else
        check_tell(s, FINDING_GREEN, "", "the host is called %s", name);
}

static void look_machine_id(struct survey *s)
{
    char line[64];

    if (look_line(s->ctx, "/etc/machine-id", line, sizeof(line)) && line[0])
        check_tell(s, FINDING_GREEN, "", "this host has a machine id");
    else
        check_tell(s, FINDING_WARN, "systemd-machine-id-setup", "this host has no machine id");
}

const struct check check_hostname = {
    .name = "hostname",
    .why = "it becomes the Node's name",
    .kubeadm = {"Hostname"},
    .look = look_hostname,
    .in_rehearsal = true,
};

const struct check check_machine_id = {
    .name = "machine-id",
    .why = "hosts without one are hard to tell apart",
    .look = look_machine_id,
};
