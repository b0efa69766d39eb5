/* The table of checks, and looking at all of them. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "peer/executor/host/check.h"
#include "peer/executor/host/host.h"
#include "protocol/mem.h"

const struct check *const check_table[] = {
    &check_root,         &check_cpu,
    &check_memory,       &check_disk,
    &check_clock,        &check_cgroups,
    &check_hostname,     &check_resolves,
    &check_machine_id,   &check_leftovers,
    &check_packages,     &check_kubeadm,
    &check_kubelet,      &check_kubectl,
    &check_programs,     &check_swap_boot,
    &check_swap,         &check_modules,
    &check_modules_boot, &check_ip_forward,
    &check_bridge,       &check_sysctl_boot,
    &check_docker,       &check_containerd,
    &check_runtime,      &check_kubelet_enabled,
    &check_ports,        &check_cidr,
    &check_proxy,        &check_firewall,
};
const size_t check_count = COUNT_OF(check_table);

bool check_ignored(const struct survey *s, const struct check *check)
{
    const struct executor_config *cfg = s->ctx->cfg;

    for (size_t i = 0; i < cfg->ignore_count; i++) {
        if (strcasecmp(cfg->ignore[i], "all") == 0)
            return true;
        if (strcasecmp(cfg->ignore[i], check->name) == 0)
            return true;
        for (size_t k = 0; k < COUNT_OF(check->kubeadm); k++) {
            if (check->kubeadm[k] && strcasecmp(cfg->ignore[i], check->kubeadm[k]) == 0)
                return true;
        }
    }
    return false;
}

void check_tell(struct survey *s, enum finding_level level, const char *next, const char *fmt, ...)
{
    struct finding *f;
    char detail[104];
    va_list ap;

    if (s->count == STEP_FINDINGS_MAX)
        return;
    f = &s->findings[s->count++];
    memset(f, 0, sizeof(*f));
    va_start(ap, fmt);
    vsnprintf(detail, sizeof(detail), fmt, ap);
    va_end(ap);
    if (level == FINDING_RED && (check_ignored(s, s->check) || (s->ctx->dry_run && !s->check->in_rehearsal)))
        level = FINDING_WARN;
    f->level = level;
    snprintf(f->check, sizeof(f->check), "%s", s->check->name);
    if (level == FINDING_GREEN)
        snprintf(f->detail, sizeof(f->detail), "%s", detail);
    else
        snprintf(f->detail, sizeof(f->detail), "%s: %.52s", detail, s->check->why);
    snprintf(f->next, sizeof(f->next), "%s", next);
}

struct survey check_begin(struct exec_ctx *ctx, enum step_role role, struct facts *facts,
                          struct finding *findings)
{
    const struct journal_state *j = journal_state(ctx->journal);
    bool done = (j->init_begun && j->init_done) || (j->join_begun && j->join_done);

    return (struct survey){.ctx = ctx,
                           .role = role,
                           .facts = facts,
                           .findings = findings,
                           .member = done,
                           .own_half = !done && (j->init_begun || j->join_begun)};
}

int host_checks(struct exec_ctx *ctx, enum step_role role, const struct facts *facts,
                struct finding findings[static STEP_FINDINGS_MAX], size_t *count, size_t *red,
                struct err *err)
{
    struct facts own = *facts;
    struct survey s = check_begin(ctx, role, &own, findings);
    size_t reds = 0;

    for (size_t i = 0; i < check_count; i++) {
        if (spawn_canceled())
            return err_set(err, KPEER_ECANCELED, "stopped on request");
        s.check = check_table[i];
        s.check->look(&s);
    }
    for (size_t i = 0; i < s.count; i++)
        reds += findings[i].level == FINDING_RED;
    *count = s.count;
    *red = reds;
    return 0;
}
