/* A folder of .deb files as a repository: an index beside links to them, so that apt finds what depends on
 * what. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer/executor/packages/sources.h"
#include "protocol/mem.h"

#define DEBS_MAX    1024
#define INDEX_MAX   (8 * 1024 * 1024)
#define CONTROL_MS  20000
#define CONTROL_MAX (64 * 1024)
#define READ_BYTES  (64 * 1024)

struct index {
    char *text;
    size_t n;
    size_t debs;
};

static bool is_deb(const char *name)
{
    size_t n = strlen(name);

    return n > 4 && name[0] != '.' && strcmp(name + n - 4, ".deb") == 0;
}

static int hash_file(const char *path, char hex[static crypto_hash_sha256_BYTES * 2 + 1], off_t *size,
                     struct err *err)
{
    uint8_t digest[crypto_hash_sha256_BYTES];
    crypto_hash_sha256_state state;
    cleanup_free uint8_t *bytes = malloc(READ_BYTES);
    ssize_t n = -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (!bytes || fd < 0) {
        if (fd >= 0)
            close(fd);
        return bytes ? err_errno(err, errno, "cannot open %s", path)
                     : err_set(err, KPEER_ENOMEM, "out of memory");
    }
    crypto_hash_sha256_init(&state);
    *size = 0;
    while ((n = read(fd, bytes, READ_BYTES)) > 0) {
        crypto_hash_sha256_update(&state, bytes, (size_t)n);
        *size += n;
    }
    close(fd);
    if (n < 0)
        return err_errno(err, errno, "cannot read %s", path);
    crypto_hash_sha256_final(&state, digest);
    sodium_bin2hex(hex, crypto_hash_sha256_BYTES * 2 + 1, digest, sizeof(digest));
    return 0;
}

static int append(struct index *x, const char *control, const char *rest, struct err *err)
{
    size_t a = strlen(control), b = strlen(rest);
    char *text;

    while (a && control[a - 1] == '\n')
        a--;
    if (a > CONTROL_MAX || x->n + a + b > INDEX_MAX)
        return err_set(err, KPEER_ELIMIT, "the .deb files' descriptions are too long");
    text = realloc(x->text, x->n + a + b + 1);
    if (!text)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    memcpy(text + x->n, control, a);
    memcpy(text + x->n + a, rest, b + 1);
    x->text = text;
    x->n += a + b;
    return 0;
}

static int read_control(struct exec_ctx *ctx, const char *path, struct spawn_result *res, struct err *err)
{
    const struct exec_run run = {
        .tool = TOOL_DPKG_DEB,
        .argv = (const char *const[]){"", "--field", path, NULL},
        .timeout_ms = CONTROL_MS,
        .quiet = true,
        .read_only = true,
    };

    return exec_run(ctx, &run, res, err);
}

/* A file that dpkg-deb cannot read is told and passed over: it may not be needed. */
static int add_deb(struct work *w, struct index *x, const char *path, const char *name, struct err *err)
{
    char link[PATH_MAX], rest[256], hex[crypto_hash_sha256_BYTES * 2 + 1];
    struct spawn_result res = {0};
    struct err own = {0};
    off_t size = 0;
    int code = 0;

    if (x->debs == DEBS_MAX)
        return err_set(err, KPEER_ELIMIT, "there are more than %d .deb files", DEBS_MAX);
    if (read_control(w->ctx, path, &res, &own)) {
        exec_say(w->ctx, "packages", -1, "passed over %s: %s", name, own.text);
        spawn_result_fini(&res);
        return own.code == KPEER_ECANCELED ? err_set(err, own.code, "%s", own.text) : 0;
    }
    snprintf(rest, sizeof(rest), "repo/%zu.deb", x->debs);
    code = work_path(w, rest, link, sizeof(link), err);
    if (code == 0 && symlink(path, link))
        code = err_errno(err, errno, "cannot make %s", link);
    code = code ? code : hash_file(path, hex, &size, err);
    if (code == 0) {
        snprintf(rest, sizeof(rest), "\nFilename: ./%zu.deb\nSize: %jd\nSHA256: %s\n\n", x->debs,
                 (intmax_t)size, hex);
        code = append(x, res.out, rest, err);
        x->debs++;
    }
    spawn_result_fini(&res);
    return code;
}

static int add_all(struct work *w, struct index *x, struct err *err)
{
    const char *folder = w->ctx->cfg->packages.folder;
    char path[PATH_MAX];
    struct dirent *entry;
    DIR *d = opendir(folder);
    int code = 0;

    if (!d) {
        err_errno(err, errno, "the folder of packages %s", folder);
        return err ? err_hint(err, "look at packages.folder") : KPEER_EIO;
    }
    while (code == 0 && (entry = readdir(d)) != NULL) {
        int n = snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);

        if (is_deb(entry->d_name) && n > 0 && (size_t)n < sizeof(path))
            code = add_deb(w, x, path, entry->d_name, err);
    }
    closedir(d);
    return code;
}

int sources_folder(struct work *w, struct err *err)
{
    char line[PATH_MAX];
    struct index x = {0};
    int n = snprintf(line, sizeof(line), "deb [trusted=yes] file:%s/repo ./\n", w->dir);
    int code = add_all(w, &x, err);

    if (code == 0 && x.debs == 0)
        code = err_set(err, KPEER_ENOTFOUND, "there is no .deb file in %s", w->ctx->cfg->packages.folder);
    if (code == 0)
        exec_say(w->ctx, "packages", -1, "%zu .deb files in %s; their signatures are not checked", x.debs,
                 w->ctx->cfg->packages.folder);
    code = code ? code : work_put(w, "repo/Packages", x.text, x.n, err);
    code = code ? code : work_put(w, "own.list", line, (size_t)n, err);
    free(x.text);
    return code ? code : work_refresh(w, WORK_OWN, err);
}
