#include "peer/executor/host/look.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "peer/executor/file.h"
#include "peer/executor/host/parse.h"
#include "protocol/mem.h"

#define VERSION_MS 10000

static const struct {
    const char *socket;
    const char *name;
} runtimes[] = {
    {"/run/containerd/containerd.sock", "containerd"},
    {"/run/crio/crio.sock", "cri-o"},
    {"/run/cri-dockerd.sock", "cri-dockerd"},
};

char *look_text(const struct exec_ctx *ctx, const char *path)
{
    char full[PATH_MAX];
    char *text = NULL;
    size_t n;

    if (exec_path(ctx, path, full, sizeof(full), NULL) || file_read(full, LOOK_TEXT_MAX, &text, &n, NULL))
        return NULL;
    /* What follows a NUL is not text. */
    return text;
}

int look_read(const struct exec_ctx *ctx, const char *path, char **text, size_t *n, struct err *err)
{
    char full[PATH_MAX];
    int code = exec_path(ctx, path, full, sizeof(full), err);

    return code ? code : file_read(full, LOOK_TEXT_MAX, text, n, err);
}

char *look_in(const struct exec_ctx *ctx, const char *dir, const char *name)
{
    char path[PATH_MAX];
    int used = snprintf(path, sizeof(path), "%s/%s", dir, name);

    return used < 0 || (size_t)used >= sizeof(path) ? NULL : look_text(ctx, path);
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void look_list(const struct exec_ctx *ctx, const char *dir, const char *suffix, struct look_names *out)
{
    char full[PATH_MAX];
    size_t want = strlen(suffix);
    struct dirent *entry;
    DIR *d;

    out->count = 0;
    d = exec_path(ctx, dir, full, sizeof(full), NULL) ? NULL : opendir(full);
    while (d && out->count < LOOK_NAMES_MAX && (entry = readdir(d)) != NULL) {
        size_t n = strlen(entry->d_name);

        if (entry->d_name[0] == '.' || n < want || strcmp(entry->d_name + n - want, suffix) != 0)
            continue;
        out->names[out->count] = strdup(entry->d_name);
        out->count += out->names[out->count] != NULL;
    }
    if (d)
        closedir(d);
    qsort(out->names, out->count, sizeof(out->names[0]), by_bytes);
}

void look_names_free(struct look_names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->names[i]);
    names->count = 0;
}

bool look_line(const struct exec_ctx *ctx, const char *path, char *out, size_t out_bytes)
{
    cleanup_free char *text = look_text(ctx, path);
    char *at;
    size_t n;

    out[0] = 0;
    if (!text)
        return false;
    at = text + strspn(text, " \t");
    n = strcspn(at, "\n");
    while (n && strchr(" \t\r", at[n - 1]))
        n--;
    at[n] = 0;
    return mem_copy_text(out, out_bytes, at) == 0;
}

static bool look_stat(const struct exec_ctx *ctx, const char *path, struct stat *st)
{
    char full[PATH_MAX];

    return exec_path(ctx, path, full, sizeof(full), NULL) == 0 && stat(full, st) == 0;
}

bool look_exists(const struct exec_ctx *ctx, const char *path)
{
    struct stat st;

    return look_stat(ctx, path, &st);
}

bool look_socket(const struct exec_ctx *ctx, const char *path)
{
    struct stat st;

    return look_stat(ctx, path, &st) && S_ISSOCK(st.st_mode);
}

bool look_entry(const struct exec_ctx *ctx, const char *dir, const char *part, char *out, size_t out_bytes)
{
    char full[PATH_MAX];
    struct dirent *entry;
    bool found = false;
    DIR *d;

    if (exec_path(ctx, dir, full, sizeof(full), NULL))
        return false;
    d = opendir(full);
    if (!d)
        return false;
    while (!found && (entry = readdir(d)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            !strstr(entry->d_name, part))
            continue;
        spawn_escape(out, out_bytes, entry->d_name, strlen(entry->d_name));
        found = true;
    }
    closedir(d);
    return found;
}

const char *look_runtime(const struct exec_ctx *ctx)
{
    for (size_t i = 0; i < COUNT_OF(runtimes); i++) {
        if (look_socket(ctx, runtimes[i].socket))
            return runtimes[i].name;
    }
    return NULL;
}

int look_version(struct exec_ctx *ctx, const char *program, const char *const *argv, char *out,
                 size_t out_bytes, struct err *err)
{
    uint32_t left = exec_left_ms(ctx);
    struct spawn_request req = {.program = program,
                                .argv = argv,
                                .constant = true,
                                .timeout_ms = left && left < VERSION_MS ? left : VERSION_MS};
    struct spawn_result res;
    int code = spawn_check(&req, &res, err);

    if (code == 0 && parse_version(res.out, out, out_bytes, err))
        code = err_wrap(err, "%s", program);
    spawn_result_fini(&res);
    return code;
}
