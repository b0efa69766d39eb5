/* The steps that prove: this host's Node is what it must be, and a pod on another host answers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/executor/kube/kube.h"
#include "peer/executor/kube/kubeadm.h"
#include "peer/executor/kube/manifest.h"
#include "protocol/mem.h"

#define LOOK_MS       500
#define QUERY_MS      10000
#define PING_MS       3000
#define PING_PAUSE_MS 200
#define MISSING_BYTES 240

/* Who this host is, to tell its Node from another host's of the same name. */
struct self {
    char product_uuid[PARSE_UUID_BYTES];
    char machine_id[PARSE_UUID_BYTES];
};

struct proof {
    struct exec_ctx *ctx;
    const struct step *step;
    const char *kubeconfig;
    struct self self;
    char missing[MISSING_BYTES]; /* what is not proven yet, in words */
    char told[MISSING_BYTES];    /* the last one that was told */
    const char *hint;
    char pod_address[STEP_ADDRESS_BYTES];
};

static void read_word(const struct exec_ctx *ctx, const char *path, char *out, size_t room)
{
    cleanup_free char *bytes = NULL;
    size_t n = 0;
    out[0] = '\0';
    if (files_read(ctx, path, 4096, &bytes, &n, NULL) != 0)
        return;
    bytes[strcspn(bytes, " \t\r\n")] = '\0';
    if (mem_copy_text(out, room, bytes) != 0)
        out[0] = '\0';
}

static bool missing(struct proof *p, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static bool missing(struct proof *p, const char *hint, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(p->missing, sizeof p->missing, fmt, ap);
    va_end(ap);
    p->hint = hint;
    return false;
}

/* kubelet reports the product UUID; where the host has none, the machine-id. Some hypervisors give all their
 * machines one UUID: so both must fit, where both are told. */
static bool is_own(const struct self *self, const struct parse_node *node)
{
    if (parse_uuid_equal(self->machine_id, self->machine_id) &&
        parse_uuid_equal(node->machine_id, node->machine_id) &&
        !parse_uuid_equal(self->machine_id, node->machine_id))
        return false;
    if (self->product_uuid[0] && parse_uuid_equal(self->product_uuid, node->system_uuid))
        return true;
    if (self->product_uuid[0] && parse_uuid_equal(node->system_uuid, node->system_uuid))
        return false;
    return parse_uuid_equal(self->machine_id, node->machine_id);
}

static bool check_node(struct proof *p, const struct parse_node *node)
{
    if (!is_own(&p->self, node))
        return missing(p, "two hosts have this name: give one another (kpeer up --name)",
                       "the Node %s is another host's (system UUID %.40s, here %.40s)", node->name,
                       node->system_uuid,
                       p->self.product_uuid[0] ? p->self.product_uuid : p->self.machine_id);
    if (node->internal_ips != 1 || strcmp(node->internal_ip, p->step->address) != 0)
        return missing(p,
                       "if this host had that address before: give it back, or kpeer leave, then kpeer up; "
                       "else kubelet runs without "
                       "--node-ip: look for KUBELET_EXTRA_ARGS in /etc/default/kubelet",
                       "the Node's InternalIP is %s (%zu of them), it must be %s alone",
                       node->internal_ip[0] ? node->internal_ip : "not set", node->internal_ips,
                       p->step->address);
    if (!node->ready)
        return missing(p, "look at the kubelet: journalctl -u kubelet -n 50", "the Node is not Ready: %.160s",
                       node->ready_reason[0] ? node->ready_reason : "kubelet has said nothing yet");
    if (strcmp(node->flannel_ip, p->step->address) != 0)
        return missing(
            p, "look at Flannel: kubectl get pods -A -o wide; its interface must be the one of that address",
            "Flannel's address on this Node is %s, it must be %s",
            node->flannel_ip[0] ? node->flannel_ip : "not set yet", p->step->address);
    return true;
}

static bool query(struct proof *p, const char *const *argv, struct spawn_result *res)
{
    struct err why = {0};
    const struct kubectl_call call = {
        .kubeconfig = p->kubeconfig, .argv = argv, .timeout_ms = QUERY_MS, .quiet = true};
    if (kubectl_run(p->ctx, &call, res, &why) == 0)
        return true;
    if (strstr(why.text, "(NotFound)"))
        return missing(p, "look at the kubelet: journalctl -u kubelet -n 50",
                       "there is no Node %s in the cluster yet", p->step->node_name);
    return missing(p, "see on the control plane whether its API server runs",
                   "the API server does not tell: %.200s", why.text);
}

static bool look_at_node(struct proof *p, struct parse_node *node)
{
    struct spawn_result res;
    struct err why = {0};
    bool ok = query(p, (const char *const[]){"get", "node", p->step->node_name, "-o", "json", NULL}, &res);
    if (ok && parse_node(res.out, res.out_bytes, node, &why) != 0)
        ok = missing(p, "see on the control plane whether its API server runs", "%.200s", why.text);
    spawn_result_fini(&res);
    return ok && check_node(p, node);
}

/* kubelets may list the pods of their own Node alone, so this is what is asked for. */
static bool look_at_pod(struct proof *p, struct parse_pod *pod)
{
    char selector[STEP_NAME_BYTES + 24];
    struct spawn_result res;
    struct err why = {0};
    snprintf(selector, sizeof selector, "spec.nodeName=%s", p->step->node_name);
    bool ok = query(p,
                    (const char *const[]){"get", "pods", "-n", PROBE_NAMESPACE, "-l", "app=" PROBE_NAME,
                                          "--field-selector", selector, "-o", "json", NULL},
                    &res);
    if (ok && parse_pod(res.out, res.out_bytes, pod, &why) != 0)
        ok = missing(p, "see on the control plane whether its API server runs", "%.200s", why.text);
    spawn_result_fini(&res);
    return ok;
}

/* One echo request; its answer is the exit status. */
static int ping(struct exec_ctx *ctx, const char *address, struct err *err)
{
    struct spawn_result res;
    const struct exec_run run = {
        .tool = TOOL_PING,
        .argv = (const char *const[]){"", "-n", "-c", "1", "-W", "1", address, NULL},
        .timeout_ms = PING_MS,
        .quiet = true,
    };
    int rc = exec_run(ctx, &run, &res, err);
    spawn_result_fini(&res);
    if (rc == KPEER_ENOTFOUND)
        err_hint(err, "install ping (iputils-ping): whether pods answer is proven with it");
    return rc;
}

static bool check_pod(struct proof *p, const struct parse_node *node, const struct parse_pod *pod, int *fatal,
                      struct err *err)
{
    if (!pod->found)
        return missing(p, "see kubectl -n " PROBE_NAMESPACE " describe daemonset " PROBE_NAME,
                       "no probe pod on this Node yet");
    if (!pod->running)
        return missing(p, "see kubectl -n " PROBE_NAMESPACE " describe pods",
                       "the probe pod does not run: %.180s", pod->state);
    if (!parse_in_cidr(pod->ip, node->pod_cidr))
        return missing(p, "an old cni0 or /etc/cni/net.d is in use: run 'kpeer leave', then 'kpeer up'",
                       "the probe pod's address %s is not in this Node's range %s", pod->ip, node->pod_cidr);
    *fatal = ping(p->ctx, pod->ip, err);
    if (*fatal != 0 && *fatal != KPEER_EIO && *fatal != KPEER_ETIMEOUT)
        return false;
    if (*fatal != 0) {
        *fatal = 0;
        return missing(p, "look at cni0 and the firewall: iptables -S FORWARD",
                       "the probe pod %s does not answer here", pod->ip);
    }
    memcpy(p->pod_address, pod->ip, sizeof p->pod_address);
    return true;
}

static void tell(struct proof *p)
{
    if (strcmp(p->told, p->missing) == 0)
        return;
    memcpy(p->told, p->missing, sizeof p->told);
    exec_say(p->ctx, "prove", -1, "waiting: %s", p->missing);
}

/* 1: proven, 0: not yet, negative: it will never be. */
static int look(struct proof *p, struct err *err)
{
    struct parse_node node = {0};
    struct parse_pod pod = {0};
    int fatal = 0;
    bool proven = look_at_node(p, &node) && look_at_pod(p, &pod) && check_pod(p, &node, &pod, &fatal, err);
    return fatal != 0 ? fatal : proven;
}

static int not_proven(const struct proof *p, int rc, struct err *err)
{
    if (rc != KPEER_ETIMEOUT)
        return rc;
    err_set(err, KPEER_ETIMEOUT, "the Node %s is not proven ready: %s", p->step->node_name,
            p->missing[0] ? p->missing : "there was no time to look");
    return p->hint ? err_hint(err, "%s", p->hint) : KPEER_ETIMEOUT;
}

static int rehearse(struct exec_ctx *ctx, const struct step *step, struct step_result *result)
{
    exec_say(ctx, "prove", -1,
             "would wait until Node %s is Ready, is this host (system UUID), has InternalIP and Flannel "
             "address %s, and "
             "its probe pod answers",
             step->node_name, step->address);
    memcpy(result->pod_address, step->address,
           sizeof result->pod_address); /* no pod: the host stands in for it */
    return 0;
}

static int begin(struct proof *p, struct err *err)
{
    read_word(p->ctx, "/sys/class/dmi/id/product_uuid", p->self.product_uuid, sizeof p->self.product_uuid);
    read_word(p->ctx, "/etc/machine-id", p->self.machine_id, sizeof p->self.machine_id);
    p->kubeconfig = files_exists(p->ctx, KUBE_ADMIN) ? KUBE_ADMIN : KUBE_KUBELET;
    if (!files_exists(p->ctx, p->kubeconfig))
        return err_set(err, KPEER_ESTATE, "this host has not joined a cluster: there is no " KUBE_KUBELET);
    return 0;
}

int kube_prove(struct exec_ctx *ctx, const struct step *step, struct step_result *result, struct err *err)
{
    if (ctx->dry_run)
        return rehearse(ctx, step, result);
    struct proof p = {.ctx = ctx, .step = step};
    int rc = begin(&p, err);
    if (rc != 0)
        return rc;
    for (;;) {
        int found = look(&p, err);
        if (found < 0)
            return found;
        if (found == 1)
            break;
        tell(&p);
        rc = exec_pause(ctx, LOOK_MS, err);
        if (rc != 0)
            return not_proven(&p, rc, err);
    }
    exec_say(ctx, "prove", 100, "Node %s is proven, its probe pod %s answers", step->node_name,
             p.pod_address);
    memcpy(result->pod_address, p.pod_address, sizeof result->pod_address);
    return 0;
}

int kube_reach(struct exec_ctx *ctx, const struct step *step, struct step_result *result, struct err *err)
{
    (void)result;
    if (ctx->dry_run) {
        exec_say(ctx, "reach", -1, "would wait until the pod %s answers an echo request", step->pod_address);
        return 0;
    }
    for (;;) {
        int rc = ping(ctx, step->pod_address, err);
        if (rc == 0 || (rc != KPEER_EIO && rc != KPEER_ETIMEOUT))
            return rc;
        rc = exec_pause(ctx, PING_PAUSE_MS, err);
        if (rc == KPEER_ETIMEOUT) {
            err_set(err, KPEER_ETIMEOUT, "the pod %s on another host does not answer from here",
                    step->pod_address);
            return err_hint(
                err, "let UDP 8472 (Flannel's VXLAN) pass between the hosts, and see kubectl get pods -A");
        }
        if (rc != 0)
            return rc;
    }
}
