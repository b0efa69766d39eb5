/*
 * A check: one thing that Kubernetes wants of a host, why, how it is mended and how that is undone.
 *
 * look() tells findings and changes nothing; fix() mends what look() found and leaves the rest to the next
 * look. Whatever fix() does is noted in the journal first and done after, so that a power cut at any point
 * can be undone. Used by this folder alone.
 */
#ifndef KPEER_HOST_CHECK_H
#define KPEER_HOST_CHECK_H

#include "peer/executor/context.h"
#include "protocol/step.h"

/* What a check sees and where it tells. */
struct survey {
    struct exec_ctx *ctx;
    enum step_role role;
    struct facts *facts;
    bool member;   /* Kubernetes runs here as this group made it */
    bool own_half; /* what is left over here is of an init or join of ours; preparing takes it away */
    struct finding *findings;
    size_t count;
    bool stale; /* a fix changed what the facts tell */
    const struct check *check;
};

struct check {
    const char *name;
    const char *why;  /* after the fact, in the detail of what is not green */
    const char *mend; /* what fix() does */
    const char *undo; /* what is put back */
    const char
        *kubeadm[2];   /* the preflight errors of kubeadm that stand for it; who ignores those ignores this */
    bool in_rehearsal; /* stays red in a rehearsal, which uses no program and changes no host */
    void (*look)(struct survey *s);
    int (*fix)(struct survey *s, struct err *err); /* NULL: only a person can */
};

/* Tells a finding of the check that is looking; red is softened where it was said to be, or in a rehearsal.
 */
void check_tell(struct survey *s, enum finding_level level, const char *next, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* A survey of this host that has seen nothing yet. */
struct survey check_begin(struct exec_ctx *ctx, enum step_role role, struct facts *facts,
                          struct finding *findings);

/* Whether the user said that this check does not matter: then it is not mended either. */
bool check_ignored(const struct survey *s, const struct check *check);

/* All of them, in the order in which they are looked at and mended. */
extern const struct check *const check_table[];
extern const size_t check_count;

extern const struct check check_root, check_cpu, check_memory, check_disk, check_cgroups, check_clock;
extern const struct check check_hostname, check_resolves, check_machine_id;
extern const struct check check_packages;
extern const struct check check_kubeadm, check_kubelet, check_kubectl, check_programs, check_leftovers;
extern const struct check check_runtime, check_containerd, check_docker, check_kubelet_enabled;
extern const struct check check_swap, check_swap_boot;
extern const struct check check_modules, check_modules_boot, check_ip_forward, check_bridge,
    check_sysctl_boot;
extern const struct check check_ports, check_cidr, check_proxy, check_firewall;

/* The undoers of DEED_HOSTNAME and DEED_RULE. */
int check_undo_rule(void *ctx, const struct journal_deed *d, enum journal_undone *how, struct err *err);
int check_undo_hostname(void *ctx, const struct journal_deed *d, enum journal_undone *how, struct err *err);

#endif
