#include "peer/keyfile.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer/config/config.h"
#include "peer/keysource.h"
#include "protocol/mem.h"

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}
#define cleanup_fd __attribute__((cleanup(close_fd)))

/* The open descriptor is what is judged: a name could be exchanged in between. */
static int judge(int fd, const char *path, struct err *err)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return err_errno(err, errno, "key file %s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, KPEER_EREFUSED, "key file %s is no regular file", path);
    if (st.st_uid != 0 && st.st_uid != geteuid()) {
        err_set(err, KPEER_EREFUSED, "key file %s belongs to user %u, who can replace it", path,
                (unsigned)st.st_uid);
        return err_hint(err, "chown root:root %s && chmod 600 %s", path, path);
    }
    if (st.st_mode & 077) {
        err_set(err, KPEER_EREFUSED, "key file %s is open to others (mode %04o)", path,
                (unsigned)(st.st_mode & 07777));
        return err_hint(
            err, "chmod 600 %s; if somebody may have read it, make a new key: kpeer key generate --force",
            path);
    }
    return 0;
}

int keyfile_read(const char *path, struct secret **out, struct err *err)
{
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    char text[KEYTEXT_BYTES + 8];
    ssize_t n;
    int code;

    if (fd < 0 && errno == ENOENT)
        return err_set(err, KPEER_ENOTFOUND, "there is no group key at %s", path);
    if (fd < 0 && errno == ELOOP)
        return err_set(err, KPEER_EREFUSED, "key file %s is a symbolic link", path);
    if (fd < 0)
        return err_errno(err, errno, "key file %s", path);
    code = judge(fd, path, err);
    if (code)
        return code;
    n = read(fd, text, sizeof text - 1);
    if (n < 0)
        return err_errno(err, errno, "key file %s", path);
    text[n] = '\0';
    code = keytext_parse(text, out, err);
    sodium_memzero(text, sizeof text);
    if (code)
        err_wrap(err, "key file %s", path);
    return code;
}

static int write_all(int fd, const char *text, size_t n)
{
    while (n) {
        ssize_t put = write(fd, text, n);

        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -1;
        text += put;
        n -= (size_t)put;
    }
    return fsync(fd);
}

/* Only the last folder: a mistyped path must not grow a tree. */
static int make_folder(const char *folder, struct err *err)
{
    if (mkdir(folder, 0755) == 0 || errno == EEXIST)
        return 0;
    return err_errno(err, errno, "folder %s", folder);
}

/* Gives the written file its name; link() refuses an existing one, rename() replaces it. */
static int name_it(const char *tmp, const char *path, bool replace, struct err *err)
{
    if (replace ? rename(tmp, path) : link(tmp, path)) {
        int code = errno == EEXIST ? err_set(err, KPEER_EREFUSED, "there is a key at %s already", path)
                                   : err_errno(err, errno, "key file %s", path);
        unlink(tmp);
        return code;
    }
    if (!replace)
        unlink(tmp);
    return 0;
}

static int write_tmp(const char *tmp, const struct secret *key, struct err *err)
{
    cleanup_fd int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    char text[KEYTEXT_BYTES + 1];
    int failed;

    if (fd < 0)
        return err_errno(err, errno, "key file %s", tmp);
    keytext_format(key, text);
    strcat(text, "\n");
    failed = fchmod(fd, 0600) || write_all(fd, text, strlen(text)) ? errno : 0;
    sodium_memzero(text, sizeof text);
    if (!failed)
        return 0;
    unlink(tmp);
    return err_errno(err, failed, "key file %s", tmp);
}

int keyfile_write(const char *path, const struct secret *key, bool replace, struct err *err)
{
    cleanup_free char *copy = strdup(path);
    char tmp[CONFIG_PATH_BYTES + 16];
    const char *folder;
    int code;

    if (!copy)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    if (snprintf(tmp, sizeof tmp, "%s.%ld", path, (long)getpid()) >= (int)sizeof tmp)
        return err_set(err, KPEER_EINVAL, "key file %s: the path is too long", path);
    folder = dirname(copy);
    code = make_folder(folder, err);
    if (!code)
        code = write_tmp(tmp, key, err);
    if (!code)
        code = name_it(tmp, path, replace, err);
    if (!code) {
        cleanup_fd int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (dir < 0 || fsync(dir))
            return err_errno(err, errno, "folder %s", folder);
    }
    return code;
}

int keyfile_generate(struct secret **out, struct err *err)
{
    uint8_t raw[GROUP_KEY_BYTES];
    struct secret *key;

    randombytes_buf(raw, sizeof raw);
    key = secret_new(raw);
    sodium_memzero(raw, sizeof raw);
    if (!key)
        return err_set(err, KPEER_ENOMEM, "out of guarded memory");
    *out = key;
    return 0;
}

int keyfile_group_key(const struct config *cfg, struct secret **out, struct err *err)
{
    uint8_t raw[GROUP_KEY_BYTES];
    struct secret *key;

    if (cfg->trust == TRUST_KEY)
        return keysource_agent(cfg->key_file, out, err);
    secret_subnet_key(raw);
    key = secret_new(raw);
    if (!key)
        return err_set(err, KPEER_ENOMEM, "out of guarded memory");
    *out = key;
    return 0;
}
