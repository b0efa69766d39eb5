#include "peer/executor/rekey.h"

#include <limits.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "peer/executor/file.h"

#define FILE_MAX 4096

static void cleanup_key(struct secret **key)
{
    secret_free(*key);
}
#define cleanup_secret __attribute__((cleanup(cleanup_key)))

/* What is there now. KPEER_ENOTFOUND: nothing. */
static int read_present(const char *path, struct secret **out, struct err *err)
{
    char *text = NULL;
    size_t n = 0;
    int code = file_read(path, FILE_MAX, &text, &n, err);

    if (code)
        return code;
    code = keytext_parse(text, out, err);
    sodium_memzero(text, n);
    free(text);
    if (!code)
        return 0;
    err_wrap(err, "key file %s", path);
    err_set(err, KPEER_EREFUSED, "key file %s holds no key: it is left as it is", path);
    return err_hint(err, "kpeer key import --force puts the present key there");
}

static bool same_group(const struct secret *a, const struct secret *b)
{
    uint8_t x[GROUP_ID_BYTES], y[GROUP_ID_BYTES];

    secret_group_id(a, x);
    secret_group_id(b, y);
    return memcmp(x, y, sizeof x) == 0;
}

static int put(const char *path, const struct secret *key, struct err *err)
{
    const struct file_look look = {.mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1};
    char text[KEYTEXT_BYTES + 1];
    int code;

    keytext_format(key, text);
    strcat(text, "\n");
    code = file_write(path, text, strlen(text), &look, err);
    sodium_memzero(text, sizeof text);
    return code;
}

int rekey(struct exec_ctx *ctx, const struct step *step, struct step_result *result, struct err *err)
{
    cleanup_secret struct secret *key = NULL, *there = NULL;
    char path[PATH_MAX];
    int code = exec_path(ctx, ctx->cfg->key_file, path, sizeof path, err);

    (void)result;
    if (!code)
        code = keytext_unpack(step->group_key, &key, err);
    if (code)
        return code;
    exec_say(ctx, "key", -1, "%s key %u of the group into %s", ctx->dry_run ? "would put" : "putting",
             secret_epoch(key), ctx->cfg->key_file);
    if (ctx->dry_run)
        return 0;
    code = read_present(path, &there, err);
    if (code == KPEER_ENOTFOUND) {
        exec_say(ctx, "key", -1, "there is no such file: the key came by another way");
        return 0;
    }
    if (!code && !same_group(key, there))
        code = err_set(err, KPEER_EREFUSED, "key file %s holds the key of another group: it is left as it is",
                       path);
    if (code || secret_epoch(there) >= secret_epoch(key))
        return code;
    return put(path, key, err);
}
