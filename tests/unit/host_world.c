#include "host_world.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "peer/executor/file.h"
#include "peer/executor/host/host.h"
#include "protocol/mem.h"

#define PICTURE_BYTES (512 * 1024)

static void must(bool ok, const char *what)
{
    if (!ok) {
        perror(what);
        abort();
    }
}

void world_write(const struct world *w, const char *name, const char *text, mode_t mode)
{
    char path[512];

    snprintf(path, sizeof(path), "%s%s", w->root, name);
    must(file_make_parents(path, NULL) == 0, path);
    must(file_put(path, text, strlen(text), mode, (uid_t)-1, (gid_t)-1, NULL) == 0, path);
}

void world_socket(const struct world *w, const char *name)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(a.sun_path, sizeof(a.sun_path), "%s%s", w->root, name);
    must(file_make_parents(a.sun_path, NULL) == 0, name);
    must(bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0, name);
    close(fd);
}

/* $R is the root. */
void world_tool(struct world *w, enum executor_tool tool, const char *script)
{
    char name[96], text[4096];

    snprintf(name, sizeof(name), "/tools/%s", executor_tool_name(tool));
    snprintf(text, sizeof(text), "#!/bin/sh\nR=%s\n%s\n", w->root, script);
    world_write(w, name, text, 0755);
    strcat(strcpy(w->cfg.tools[tool], w->root), name);
}

char *world_read(const struct world *w, const char *name)
{
    char path[512], *text = NULL;
    size_t n;

    snprintf(path, sizeof(path), "%s%s", w->root, name);
    return file_read(path, 65536, &text, &n, NULL) == 0 ? text : NULL;
}

bool world_has(const struct world *w, const char *name, const char *part)
{
    cleanup_free char *text = world_read(w, name);

    return text && strstr(text, part) != NULL;
}

struct picture {
    char *text;
    size_t used;
    size_t root_bytes;
    bool folders;
};

static void draw_file(struct picture *p, const char *path, const struct stat *st, bool dated)
{
    char *text = NULL;
    size_t n = 0;

    p->used += (size_t)snprintf(p->text + p->used, PICTURE_BYTES - p->used, "%s %o %u %u",
                                path + p->root_bytes, st->st_mode, st->st_uid, st->st_gid);
    if (dated)
        p->used += (size_t)snprintf(p->text + p->used, PICTURE_BYTES - p->used, " %lld.%09ld",
                                    (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
    if (S_ISREG(st->st_mode) && file_read(path, 65536, &text, &n, NULL) == 0)
        p->used += (size_t)snprintf(p->text + p->used, PICTURE_BYTES - p->used, "\n%s", text);
    p->used += (size_t)snprintf(p->text + p->used, PICTURE_BYTES - p->used, "\n");
    free(text);
    must(p->used < PICTURE_BYTES, "picture");
}

static bool is_hidden(const char *below)
{
    return strcmp(below, "/journal") == 0 || strcmp(below, "/tools") == 0;
}

static void draw(struct picture *p, const char *path)
{
    struct dirent **entries;
    struct stat st;
    const char *below = path + p->root_bytes;
    bool in_etc = strncmp(below, "/etc/", 5) == 0 && strncmp(below, "/etc/ufw", 8) != 0;
    int n;

    if (is_hidden(below) || lstat(path, &st))
        return;
    draw_file(p, path, &st, in_etc && (S_ISREG(st.st_mode) || p->folders));
    if (!S_ISDIR(st.st_mode))
        return;
    n = scandir(path, &entries, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char inner[1024];

        snprintf(inner, sizeof(inner), "%s/%s", path, entries[i]->d_name);
        if (strcmp(entries[i]->d_name, ".") != 0 && strcmp(entries[i]->d_name, "..") != 0)
            draw(p, inner);
        free(entries[i]);
    }
    free(entries);
}

char *world_picture(const struct world *w, bool folders)
{
    struct picture p = {.text = calloc(1, PICTURE_BYTES), .root_bytes = strlen(w->root), .folders = folders};

    must(p.text != NULL, "picture");
    draw(&p, w->root);
    return p.text;
}

static void hear(void *arg, const struct step_progress *said)
{
    struct world *w = arg;
    size_t used = strlen(w->said);

    snprintf(w->said + used, sizeof(w->said) - used, "%s\n", said->line);
}

/* Everything that can be mended is wrong. */
static void make_files(struct world *w)
{
    world_write(w, "/etc/hostname", "node1\n", 0644);
    world_write(w, "/etc/hosts", "127.0.0.1 localhost", 0644);
    world_write(w, "/etc/os-release", "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n", 0644);
    world_write(w, "/etc/fstab", "# <file system>\nUUID=1 / ext4 defaults 0 1\n/swapfile none\tswap sw 0 0\n",
                0600);
    world_write(w, "/etc/sysctl.d/10-user.conf", "vm.swappiness = 10\n", 0644);
    world_write(w, "/usr/lib/systemd/zram-generator.conf", "[zram0]\n", 0644);
    world_write(w, "/swapfile", "swap", 0600);
    world_write(w, "/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n", 0644);
    world_write(w, "/proc/meminfo", "MemTotal:        4000000 kB\n", 0644);
    world_write(w, "/proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/swapfile\tfile\t1024\t0\t5\n",
                0644);
    world_write(w, "/proc/sys/net/ipv4/ip_forward", "0\n", 0644);
    world_write(w, "/proc/sys/kernel/hostname", "node1\n", 0644);
    world_write(w, "/proc/filesystems", "nodev\tproc\n", 0644);
    world_write(w, "/proc/modules", "", 0644);
    world_write(w, "/proc/net/tcp", "  sl  local_address rem_address   st tx_queue\n", 0444);
    world_write(w, "/units/zramswap.service", "enabled active\n", 0644);
    world_write(w, "/units/dev-vdb.swap", "static inactive\n", 0644);
    world_write(w, "/units/kubelet.service", "disabled inactive\n", 0644);
    world_write(w, "/units/containerd.service", "enabled active\n", 0644);
    world_write(w, "/run/systemd/system/x", "", 0644);
    world_write(w, "/etc/ufw/added", "Added user rules:\nufw allow 22/tcp\nufw allow 10250/tcp\n", 0644);
    world_write(w, "/etc/docker/daemon.json", "{ \"debug\": true }", 0640);
    world_write(w, "/etc/containerd/config.toml", "disabled_plugins = [\"cri\"] # as it came\n", 0644);
    world_socket(w, "/run/containerd/containerd.sock");
}

int world_open(struct world *w)
{
    memset(w, 0, sizeof(*w));
    strcpy(w->root, "/tmp/kpeer-fix-XXXXXX");
    if (!mkdtemp(w->root))
        return -1;
    strcpy(w->cfg.root, w->root);
    w->ctx = (struct exec_ctx){.cfg = &w->cfg,
                               .is_root = true,
                               .deadline_ms = clock_ms() + 600000,
                               .kind = STEP_FIX,
                               .progress = hear,
                               .progress_arg = w};
    strcpy(w->cfg.pod_cidr, "10.244.0.0/16");
    strcpy(w->cfg.service_cidr, "10.96.0.0/12");
    strcpy(w->cfg.ignore[w->cfg.ignore_count++], "packages"); /* they would be this machine's own */
    w->cfg.port = w->cfg.multicast_port = 7373;
    make_files(w);
    world_make_programs(w);
    strcat(strcpy(w->journal_dir, w->root), "/journal/executor");
    return journal_open(w->journal_dir, &w->ctx.journal, NULL);
}

void world_close(struct world *w)
{
    journal_close(w->ctx.journal);
    world_remove(w->root);
}

void world_reopen(struct world *w)
{
    journal_close(w->ctx.journal);
    must(journal_open(w->journal_dir, &w->ctx.journal, NULL) == 0, "journal");
}

int world_fix(struct world *w)
{
    struct step step = {.kind = STEP_FIX, .role = STEP_ROLE_WORKER};

    w->said[0] = 0;
    memset(&w->result, 0, sizeof(w->result));
    return host_fix(&w->ctx, &step, &w->result, NULL);
}

static void say_back(void *ctx, const char *path)
{
    exec_say(ctx, "undo", -1, "back %s", path);
}

static void say_left(void *ctx, const char *path)
{
    exec_say(ctx, "undo", -1, "left %s", path);
}

int world_undo(struct world *w)
{
    w->said[0] = 0;
    return journal_undo(w->ctx.journal, host_undoers, say_back, say_left, &w->ctx, NULL);
}

const struct finding *world_finding(struct world *w, const char *check)
{
    for (size_t i = 0; i < w->result.finding_count; i++) {
        if (strcmp(w->result.findings[i].check, check) == 0)
            return &w->result.findings[i];
    }
    return NULL;
}
