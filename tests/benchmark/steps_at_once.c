/*
 * Stands in for the executor where kpeer's own share of a formation is measured: each step that founds or
 * joins is done at once, as on a host on which all goes well. It takes the agent's frames as the executor
 * does, and refuses what the executor would refuse for its form.
 */
#include <errno.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer/executor/executor.h"
#include "protocol/mem.h"
#include "protocol/step.h"

static void put_facts(struct step_result *r)
{
    r->have_facts = true;
    gethostname(r->facts.hostname, sizeof r->facts.hostname - 1);
    crypto_generichash(r->facts.machine_id, sizeof r->facts.machine_id, (const uint8_t *)r->facts.hostname,
                       strlen(r->facts.hostname), NULL, 0);
    memcpy(r->facts.product_uuid, r->facts.machine_id, sizeof r->facts.product_uuid);
    r->facts.cpus = 2;
    r->facts.memory_mb = 4000;
    mem_copy_text(r->facts.kubernetes_version, sizeof r->facts.kubernetes_version, "v1.31.4");
    mem_copy_text(r->facts.runtime, sizeof r->facts.runtime, "containerd 1.7.24");
    mem_copy_text(r->facts.os, sizeof r->facts.os, "none");
}

static void put_token(struct step_result *r)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    for (size_t i = 0; i < STEP_TOKEN_BYTES - 1; i++)
        r->token[i] = i == 6 ? '.' : letters[randombytes_uniform(sizeof letters - 1)];
}

static void answer(const struct step *step, struct step_result *r)
{
    switch (step->kind) {
    case STEP_INSPECT:
    case STEP_FIX:
    case STEP_PREFLIGHT:
        put_facts(r);
        break;
    case STEP_CA:
        mem_copy_text(r->ca_hash, sizeof r->ca_hash,
                      "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
        break;
    case STEP_TOKEN_MINT:
        put_token(r);
        break;
    case STEP_PROVE:
        snprintf(r->pod_address, sizeof r->pod_address, "10.244.%u.2", randombytes_uniform(250));
        break;
    case STEP_PREPARE:
    case STEP_INIT:
    case STEP_APPLY:
    case STEP_TOKEN_REVOKE:
    case STEP_JOIN:
    case STEP_REACH:
        break;
    default:
        r->code = KPEER_EREFUSED;
        snprintf(r->text, sizeof r->text, "step %s is not played", step_word(step->kind));
    }
}

static void serve(int fd)
{
    static uint8_t frame[STEP_FRAME_MAX];
    ssize_t n;
    while ((n = recv(fd, frame, sizeof frame, 0)) > 0) {
        enum step_frame type;
        struct step step;
        uint8_t *out;
        size_t out_bytes;
        if (step_frame_type(frame, (size_t)n, &type, NULL) || type != STEP_FRAME_STEP)
            continue; /* to be cancelled it would have to be under way */
        if (step_decode(frame, (size_t)n, &step, NULL))
            continue;
        struct step_result r = {.id = step.id, .kind = step.kind};
        answer(&step, &r);
        if (step_result_encode(&r, &out, &out_bytes, NULL))
            return;
        if (send(fd, out, out_bytes, MSG_NOSIGNAL) != (ssize_t)out_bytes)
            return;
        free(out);
    }
}

int executor_start(const struct executor_config *cfg, int *agent_fd, pid_t *pid, struct err *err)
{
    int pair[2];
    (void)cfg;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
        return err_errno(err, errno, "cannot make a socket pair for the played executor");
    *pid = fork();
    if (*pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(pair[0]);
        serve(pair[1]);
        _exit(0);
    }
    close(pair[1]);
    if (*pid < 0) {
        close(pair[0]);
        return err_errno(err, errno, "cannot start the played executor");
    }
    *agent_fd = pair[0];
    return 0;
}
