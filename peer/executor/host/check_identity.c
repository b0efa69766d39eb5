/* What this host is called, and by what it is told from others. */
#include <errno.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "peer/executor/host/check.h"
#include "peer/executor/host/host.h"
#include "peer/executor/host/look.h"
#include "peer/executor/host/mend.h"
#include "peer/executor/host/parse_boot.h"
#include "protocol/field.h"
#include "protocol/mem.h"

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

const struct check check_hostname = {
    .name = "hostname",
    .why = "it becomes the Node's name",
    .kubeadm = {"Hostname"},
    .in_rehearsal = true,
    .look = look_hostname,
};

static void look_resolves(struct survey *s)
{
    cleanup_free char *hosts = look_text(s->ctx, "/etc/hosts");
    const char *name = s->facts->hostname;

    if (!field_name(name))
        check_tell(s, FINDING_WARN, "give this host a name first", "there is no name to be found");
    else if (hosts && parse_hosts_has(hosts, name))
        check_tell(s, FINDING_GREEN, "", "/etc/hosts knows %s", name);
    else
        check_tell(s, FINDING_WARN, "a line \"127.0.1.1 NAME\" in /etc/hosts", "/etc/hosts does not know %s",
                   name);
}

/* 127.0.1.1, as Debian's installer has it: other hosts' names and addresses are the group's matter. */
int host_learn_name(struct exec_ctx *ctx, const char *name, struct err *err)
{
    cleanup_free char *text = NULL;
    cleanup_free char *fresh = NULL;
    size_t n = 0;
    int used, code = look_read(ctx, "/etc/hosts", &text, &n, err);

    if (!field_name(name))
        return err_set(err, KPEER_EINVAL, "this host has no name that could be written down");
    if (code && code != KPEER_ENOTFOUND)
        return code;
    if (text && strlen(text) != n)
        return err_set(err, KPEER_EINVAL, "/etc/hosts holds bytes that do not belong there");
    if (text && parse_hosts_has(text, name))
        return 0;
    used = asprintf(&fresh, "%s%s127.0.1.1\t%s\n", text ? text : "127.0.0.1\tlocalhost\n",
                    n && text[n - 1] != '\n' ? "\n" : "", name);
    if (used < 0) {
        fresh = NULL;
        return err_set(err, KPEER_ENOMEM, "out of memory");
    }
    return mend_file(ctx, "/etc/hosts", fresh, (size_t)used, 0644, err);
}

static int fix_resolves(struct survey *s, struct err *err)
{
    return host_learn_name(s->ctx, s->facts->hostname, err);
}

const struct check check_resolves = {
    .name = "hostname-resolves",
    .why = "kubeadm and kubelet look it up",
    .mend = "write this host's name into /etc/hosts",
    .undo = "/etc/hosts is put back",
    .kubeadm = {"Hostname"},
    .look = look_resolves,
    .fix = fix_resolves,
};

static bool has_machine_id(const struct exec_ctx *ctx)
{
    char line[64];

    return look_line(ctx, "/etc/machine-id", line, sizeof(line)) && line[0] &&
           strcmp(line, "uninitialized") != 0;
}

static void look_machine_id(struct survey *s)
{
    if (has_machine_id(s->ctx))
        check_tell(s, FINDING_GREEN, "", "this host has a machine id");
    else
        check_tell(s, FINDING_WARN, "systemd-machine-id-setup", "this host has no machine id");
}

int host_new_machine_id(struct exec_ctx *ctx, struct err *err)
{
    uint8_t id[16];
    char text[34];

    randombytes_buf(id, sizeof(id));
    id[6] = (uint8_t)((id[6] & 0x0f) | 0x40); /* the form of a random UUID, as machine-id(5) has it */
    id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
    mem_hex(text, id, sizeof(id));
    text[32] = '\n';
    return mend_file(ctx, "/etc/machine-id", text, 33, 0444, err);
}

static int fix_machine_id(struct survey *s, struct err *err)
{
    s->stale = true;
    return host_new_machine_id(s->ctx, err);
}

const struct check check_machine_id = {
    .name = "machine-id",
    .why = "hosts without one are hard to tell apart",
    .mend = "make a machine id",
    .undo = "it is taken away again",
    .look = look_machine_id,
    .fix = fix_machine_id,
};

#define HOSTNAME "/proc/sys/kernel/hostname"

static int set_hostname(struct exec_ctx *ctx, const char *name, struct err *err)
{
    char path[PATH_MAX];
    int code = exec_path(ctx, HOSTNAME, path, sizeof(path), err);
    FILE *f;

    if (code)
        return code;
    if (strcmp(path, HOSTNAME) ==
        0) /* the file may be read-only where the call is allowed, as in containers */
        return sethostname(name, strlen(name)) ? err_errno(err, errno, "cannot name this host %s", name) : 0;
    f = fopen(path, "we");
    if (!f)
        return err_errno(err, errno, "cannot name this host %s", name);
    if (fprintf(f, "%s\n", name) < 0)
        code = err_set(err, KPEER_EIO, "cannot name this host %s", name);
    if (fclose(f) && code == 0)
        code = err_errno(err, errno, "cannot name this host %s", name);
    return code;
}

int host_rename(struct exec_ctx *ctx, const char *name, struct err *err)
{
    struct journal_deed d = {.kind = DEED_HOSTNAME, .name = "of this host"};
    char line[STEP_NAME_BYTES + 1];
    int n = snprintf(line, sizeof(line), "%s\n", name), code;

    if (!field_name(name))
        return err_set(err, KPEER_EINVAL, "\"%.64s\" can not be a host's name", name);
    if (!look_line(ctx, HOSTNAME, d.before, sizeof(d.before)))
        return err_set(err, KPEER_EIO, "this host's name cannot be read");
    snprintf(d.after, sizeof(d.after), "%s", name);
    code = journal_note_deed(ctx->journal, &d, err);
    code = code ? code : mend_file(ctx, "/etc/hostname", line, (size_t)n, 0644, err);
    return code ? code : set_hostname(ctx, name, err);
}

int check_undo_hostname(void *ctx, const struct journal_deed *d, enum journal_undone *how, struct err *err)
{
    char now[JOURNAL_DEED_BYTES];

    look_line(ctx, HOSTNAME, now, sizeof(now));
    *how = strcmp(now, d->before) == 0  ? JOURNAL_SAME
           : strcmp(now, d->after) == 0 ? JOURNAL_BACK
                                        : JOURNAL_LEFT;
    return *how == JOURNAL_BACK ? set_hostname(ctx, d->before, err) : 0;
}
