#include "peer/executor/packages/keep_folders.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "protocol/mem.h"

#define WALK_FDS    16
#define FOLDERS_MAX 4096

/* Where packages have their files. What lies below the second list is data, and may be much. */
static const char *const roots[] = {"/etc", "/opt", "/srv", "/usr", "/var"};
static const char *const skipped[] = {
    "/var/lib/containerd", "/var/lib/docker",    "/var/lib/kubelet", "/var/log", "/var/tmp",
    "/usr/share/doc",      "/var/lib/containers"};

/* What the packages make that are installed here, and their removal leaves. Of what lies in /etc and /opt
 * some may be somebody's own: that stays, and only empty folders go. */
static const struct {
    const char *path;
    bool all;
} leavings[] = {
    {"/var/lib/containerd", true},
    {"/run/containerd", true},
    {"/opt/containerd", false},
    {"/etc/containerd", false},
    {"/var/lib/docker", true},
    {"/run/docker", true},
    {"/etc/docker/key.json", true},
    {"/etc/docker", false},
    {"/var/lib/kubelet", true},
    {"/etc/kubernetes", false},
    {"/usr/libexec/kubernetes", false},
    {"/opt/cni", false},
    {"/etc/cni", false},
    {"/var/lib/cni", true},
    {"/var/lib/dockershim", true},
    {"/var/lib/containers", true},
    {"/etc/crio", false},
    {"/var/lib/crio", true},
    {"/var/cache/debconf/tmp.ci", false},
    {"/var/lib/dpkg/tmp.ci", true},
    {"/var/lib/etcd", false},
};

/* nftw has no argument for what it calls; a worker is one process and walks once. */
static json_t *walk_out;
static time_t walk_since;
static size_t walk_root_bytes;

static bool is_empty(const char *path)
{
    struct dirent *entry;
    DIR *d = opendir(path);
    bool empty = d != NULL;

    while (empty && (entry = readdir(d)) != NULL)
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    if (d)
        closedir(d);
    return empty;
}

static int visit(const char *path, const struct stat *st, int type, struct FTW *at)
{
    const char *own = path + walk_root_bytes;

    (void)at;
    if (type != FTW_D)
        return FTW_CONTINUE;
    for (size_t i = 0; i < COUNT_OF(skipped); i++)
        if (strcmp(own, skipped[i]) == 0)
            return FTW_SKIP_SUBTREE;
    if (!is_empty(path) || json_array_size(walk_out) >= FOLDERS_MAX)
        return FTW_CONTINUE;
    json_array_append_new(walk_out, json_pack("[s, I, I, I]", own, (json_int_t)(st->st_mode & 07777),
                                              (json_int_t)st->st_uid, (json_int_t)st->st_gid));
    return FTW_CONTINUE;
}

static int absent_ones(const struct exec_ctx *ctx, json_t *out, struct err *err)
{
    char path[PATH_MAX];
    struct stat st;

    for (size_t i = 0; i < COUNT_OF(leavings); i++) {
        int code = exec_path(ctx, leavings[i].path, path, sizeof(path), err);

        if (code)
            return code;
        if (lstat(path, &st) && errno == ENOENT)
            json_array_append_new(out, json_string(leavings[i].path));
    }
    return 0;
}

int keep_folders(const struct exec_ctx *ctx, json_t **out, struct err *err)
{
    json_t *empty = json_array(), *absent = json_array();
    char path[PATH_MAX];
    int code = absent_ones(ctx, absent, err);

    walk_out = empty;
    walk_root_bytes = strlen(ctx->cfg->root);
    for (size_t i = 0; i < COUNT_OF(roots) && code == 0; i++) {
        code = exec_path(ctx, roots[i], path, sizeof(path), err);
        if (code == 0)
            nftw(path, visit, WALK_FDS, FTW_PHYS | FTW_MOUNT | FTW_ACTIONRETVAL);
    }
    walk_out = NULL;
    *out = code == 0 ? json_pack("{s:o, s:o, s:I}", "empty", empty, "absent", absent, "begun",
                                 (json_int_t)time(NULL))
                     : NULL;
    if (code == 0 && !*out)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    if (code) {
        json_decref(empty);
        json_decref(absent);
    }
    return code;
}

void keep_folders_removing(const struct exec_ctx *ctx, json_t *folders)
{
    json_t *empty = json_object_get(folders, "empty");
    char path[PATH_MAX];
    struct stat st;

    for (size_t i = json_array_size(empty); i-- > 0;) {
        const char *name = json_string_value(json_array_get(json_array_get(empty, i), 0));

        if (!name || exec_path(ctx, name, path, sizeof(path), NULL) || lstat(path, &st))
            json_array_remove(empty, i);
    }
}

static int remove_any(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

/* Goes on over what is not empty. */
static int remove_empty(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)at;
    if (type == FTW_DP)
        rmdir(path);
    return 0;
}

static void clear_leavings(struct exec_ctx *ctx, const char *name)
{
    char path[PATH_MAX];
    struct stat st;

    for (size_t i = 0; i < COUNT_OF(leavings); i++) {
        if (strcmp(leavings[i].path, name) != 0 || exec_path(ctx, name, path, sizeof(path), NULL))
            continue;
        if (nftw(path, leavings[i].all ? remove_any : remove_empty, WALK_FDS,
                 FTW_DEPTH | FTW_PHYS | FTW_MOUNT) &&
            errno != ENOENT)
            exec_say(ctx, "undo", -1, "cannot remove all of %s: %s", name, strerror(errno));
        else if (lstat(path, &st) == 0)
            exec_say(ctx, "undo", -1, "left alone what somebody has put into %s", name);
    }
}

/* What dpkg was unpacking when the power went, and knows no more of once the package is gone. */
static int sweep(const char *path, const struct stat *st, int type, struct FTW *at)
{
    static const char ending[] = ".dpkg-new";
    size_t n = strlen(path);

    if (type == FTW_D) {
        for (size_t i = 0; i < COUNT_OF(skipped); i++)
            if (strcmp(path + walk_root_bytes, skipped[i]) == 0)
                return FTW_SKIP_SUBTREE;
        return FTW_CONTINUE;
    }
    (void)at;
    if (n > sizeof(ending) && strcmp(path + n - (sizeof(ending) - 1), ending) == 0 &&
        st->st_ctime >= walk_since)
        unlink(path);
    return FTW_CONTINUE;
}

static void sweep_unpacked(const struct exec_ctx *ctx, time_t since)
{
    char path[PATH_MAX];

    walk_since = since;
    walk_root_bytes = strlen(ctx->cfg->root);
    for (size_t i = 0; i < COUNT_OF(roots); i++)
        if (exec_path(ctx, roots[i], path, sizeof(path), NULL) == 0)
            nftw(path, sweep, WALK_FDS, FTW_PHYS | FTW_MOUNT | FTW_ACTIONRETVAL);
}

static void make_again(const struct exec_ctx *ctx, const json_t *folder)
{
    const char *name = json_string_value(json_array_get(folder, 0));
    mode_t mode = (mode_t)json_integer_value(json_array_get(folder, 1));
    char path[PATH_MAX];

    if (!name || name[0] != '/' || exec_path(ctx, name, path, sizeof(path), NULL) || mkdir(path, 0700))
        return;
    if (chown(path, (uid_t)json_integer_value(json_array_get(folder, 2)),
              (gid_t)json_integer_value(json_array_get(folder, 3))) == 0)
        chmod(path, mode);
}

void keep_folders_restore(struct exec_ctx *ctx, const json_t *folders)
{
    const json_t *absent = json_object_get(folders, "absent"), *empty = json_object_get(folders, "empty");

    sweep_unpacked(ctx, (time_t)json_integer_value(json_object_get(folders, "begun")));
    for (size_t i = 0; i < json_array_size(absent); i++) {
        const char *name = json_string_value(json_array_get(absent, i));

        if (name)
            clear_leavings(ctx, name);
    }
    for (size_t i = 0; i < json_array_size(empty); i++)
        make_again(ctx, json_array_get(empty, i));
}
