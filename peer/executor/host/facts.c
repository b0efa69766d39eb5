#include "peer/executor/host/host.h"

#include <ctype.h>
#include <sched.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "peer/executor/host/look.h"
#include "peer/executor/host/parse.h"
#include "protocol/mem.h"

#define CPU_SET_MAX 8192

static uint32_t count_cpus(void)
{
    size_t bytes = CPU_ALLOC_SIZE(CPU_SET_MAX);
    cpu_set_t *set = CPU_ALLOC(CPU_SET_MAX);
    uint32_t count = 0;

    if (set && sched_getaffinity(0, bytes, set) == 0)
        count = (uint32_t)CPU_COUNT_S(bytes, set);
    CPU_FREE(set);
    if (count == 0 && sysconf(_SC_NPROCESSORS_ONLN) > 0)
        count = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
    return count;
}

/* The name as kubelet will use it: in lower case. */
static void read_hostname(const struct exec_ctx *ctx, char out[static STEP_NAME_BYTES])
{
    struct utsname u;
    char name[256] = "";

    if (ctx->cfg->root[0])
        look_line(ctx, "/etc/hostname", name, sizeof(name));
    else if (uname(&u) == 0)
        mem_copy_text(name, sizeof(name), u.nodename);
    spawn_escape(out, STEP_NAME_BYTES, name, strlen(name));
    for (char *c = out; *c; c++)
        *c = (char)tolower((unsigned char)*c);
}

/* Ids are told hashed: whoever sees two equal ones knows enough. */
static void hash_line(const struct exec_ctx *ctx, const char *path, uint8_t out[static FACTS_ID_BYTES])
{
    char line[128];

    memset(out, 0, FACTS_ID_BYTES);
    if (!look_line(ctx, path, line, sizeof(line)) || !line[0])
        return;
    for (char *c = line; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    crypto_generichash(out, FACTS_ID_BYTES, (const uint8_t *)line, strlen(line), NULL, 0);
}

/* "containerd github.com/containerd/containerd 1.6.20 …": the first word that starts with a digit. */
static void version_word(const char *text, char *out, size_t out_bytes)
{
    out[0] = 0;
    while (*text) {
        size_t n = strcspn(text, " \t\n");

        if (text[0] == 'v' && n > 1) {
            text++;
            n--;
        }
        if (isdigit((unsigned char)text[0])) {
            spawn_escape(out, out_bytes, text, n);
            return;
        }
        text += n;
        text += strspn(text, " \t\n");
    }
}

static void read_runtime(struct exec_ctx *ctx, char out[static STEP_NAME_BYTES])
{
    const char *const argv[] = {"containerd", "--version", NULL};
    const char *name = look_runtime(ctx);
    struct spawn_request req = {.program = "containerd", .argv = argv, .constant = true, .timeout_ms = 5000};
    struct spawn_result res;
    char version[24] = "";

    out[0] = 0;
    if (!name)
        return;
    if (strcmp(name, "containerd") == 0 && !ctx->cfg->root[0]) {
        if (spawn_check(&req, &res, NULL) == 0)
            version_word(res.out, version, sizeof(version));
        spawn_result_fini(&res);
    }
    snprintf(out, STEP_NAME_BYTES, "%s%s%s", name, version[0] ? " " : "", version);
}

int host_facts(struct exec_ctx *ctx, struct facts *facts, struct err *err)
{
    static const char *const kubeadm_argv[] = {"kubeadm", "version", "-o", "short", NULL};
    cleanup_free char *meminfo = look_text(ctx, "/proc/meminfo");
    cleanup_free char *os = look_text(ctx, "/etc/os-release");

    memset(facts, 0, sizeof(*facts));
    read_hostname(ctx, facts->hostname);
    hash_line(ctx, "/etc/machine-id", facts->machine_id);
    hash_line(ctx, "/sys/class/dmi/id/product_uuid", facts->product_uuid);
    facts->cpus = count_cpus();
    facts->memory_mb = meminfo ? parse_meminfo(meminfo) : 0;
    if (os)
        parse_os_release(os, facts->os, sizeof(facts->os));
    look_version(ctx, exec_tool(ctx, TOOL_KUBEADM), kubeadm_argv, facts->kubernetes_version,
                 sizeof(facts->kubernetes_version), NULL);
    read_runtime(ctx, facts->runtime);
    return spawn_canceled() ? err_set(err, KPEER_ECANCELED, "stopped on request") : 0;
}
