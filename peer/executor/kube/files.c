#include "peer/executor/kube/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/mem.h"

#define cleanup_fd __attribute__((cleanup(cleanup_fd_close)))

static void cleanup_fd_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static int read_all(int fd, const char *path, size_t max, char **out, size_t *n, struct err *err)
{
    char *bytes = malloc(max + 2);
    if (!bytes)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    size_t have = 0;
    while (have <= max) {
        ssize_t got = read(fd, bytes + have, max + 1 - have);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            free(bytes);
            return err_errno(err, errno, "cannot read %s", path);
        }
        if (got == 0)
            break;
        have += (size_t)got;
    }
    if (have > max) {
        free(bytes);
        return err_set(err, KPEER_ELIMIT, "%s is larger than %zu bytes", path, max);
    }
    bytes[have] = '\0';
    *out = bytes;
    *n = have;
    return 0;
}

int files_read_at(const char *path, size_t max, char **out, size_t *n, struct err *err)
{
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return err_set(err, KPEER_ENOTFOUND, "there is no %s", path);
    if (fd < 0)
        return err_errno(err, errno, "cannot open %s", path);
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_errno(err, errno, "cannot look at %s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, KPEER_EINVAL, "%s is not a regular file", path);
    return read_all(fd, path, max, out, n, err);
}

int files_read(const struct exec_ctx *ctx, const char *path, size_t max, char **out, size_t *n,
               struct err *err)
{
    char full[FILES_PATH_BYTES];
    int rc = exec_path(ctx, path, full, sizeof full, err);
    return rc != 0 ? rc : files_read_at(full, max, out, n, err);
}

bool files_exists(const struct exec_ctx *ctx, const char *path)
{
    char full[FILES_PATH_BYTES];
    struct stat st;
    return exec_path(ctx, path, full, sizeof full, NULL) == 0 && lstat(full, &st) == 0;
}

static int private_dir(const struct exec_ctx *ctx, char *dir, size_t room, struct err *err)
{
    int rc = exec_path(ctx, FILES_PRIVATE_DIR, dir, room, err);
    if (rc != 0)
        return rc;
    struct stat st;
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return err_errno(err, errno, "cannot make %s", dir);
    if (lstat(dir, &st) < 0)
        return err_errno(err, errno, "cannot look at %s", dir);
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077) != 0)
        return err_set(err, KPEER_EREFUSED, "%s is not a folder of this user alone (mode 0700)", dir);
    return 0;
}

static int write_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t put = write(fd, bytes, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -1;
        bytes += put;
        n -= (size_t)put;
    }
    return 0;
}

int files_private_write(const struct exec_ctx *ctx, const char *name, const char *bytes, size_t n,
                        struct files_private *doc, struct err *err)
{
    char dir[FILES_PATH_BYTES];
    int rc = private_dir(ctx, dir, sizeof dir, err);
    if (rc != 0)
        return rc;
    char path[FILES_PATH_BYTES];
    int length = snprintf(path, sizeof path, "%s/%s.%d.yaml", dir, name, (int)getpid());
    if (length < 0 || (size_t)length >= sizeof path)
        return err_set(err, KPEER_ELIMIT, "the path of the document %s is too long", name);
    unlink(path);
    cleanup_fd int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_errno(err, errno, "cannot make %s", path);
    memcpy(doc->path, path, sizeof path);
    doc->bytes = n;
    return write_all(fd, bytes, n) < 0 ? err_errno(err, errno, "cannot write %s", path) : 0;
}

static void overwrite(const char *path, size_t n)
{
    static const char zeros[4096];
    cleanup_fd int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return;
    while (n > 0) {
        size_t part = n < sizeof zeros ? n : sizeof zeros;
        if (write_all(fd, zeros, part) < 0)
            return;
        n -= part;
    }
    fdatasync(fd);
}

void files_private_remove(struct files_private *doc)
{
    if (!doc->path[0])
        return;
    overwrite(doc->path, doc->bytes);
    unlink(doc->path);
    doc->path[0] = '\0';
}

void files_private_sweep(const struct exec_ctx *ctx)
{
    char dir[FILES_PATH_BYTES];
    if (!files_exists(ctx, FILES_PRIVATE_DIR) || private_dir(ctx, dir, sizeof dir, NULL) != 0)
        return;
    DIR *d = opendir(dir);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        struct files_private doc = {0};
        struct stat st;
        if (e->d_name[0] == '.' ||
            snprintf(doc.path, sizeof doc.path, "%s/%s", dir, e->d_name) >= (int)sizeof doc.path ||
            lstat(doc.path, &st) < 0 || !S_ISREG(st.st_mode))
            continue;
        doc.bytes = (size_t)st.st_size;
        files_private_remove(&doc);
    }
    closedir(d);
}

/* nftw has no argument of its own; a worker process is single-threaded and removes one tree at a time. */
static struct {
    bool itself;
    int errnum;
    char where[128];
} removal;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    if (ftw->level == 0 && !removal.itself)
        return 0;
    int rc = type == FTW_DP || type == FTW_D || type == FTW_DNR ? rmdir(path) : unlink(path);
    if (rc < 0 && errno != ENOENT && removal.errnum == 0) {
        removal.errnum = errno;
        snprintf(removal.where, sizeof removal.where, "%s", path);
    }
    return 0;
}

int files_remove_tree(const struct exec_ctx *ctx, const char *path, bool itself, struct err *err)
{
    char full[FILES_PATH_BYTES];
    int rc = exec_path(ctx, path, full, sizeof full, err);
    if (rc != 0)
        return rc;
    removal.itself = itself;
    removal.errnum = 0;
    if (nftw(full, remove_one, 16, FTW_DEPTH | FTW_MOUNT | FTW_PHYS) < 0 && errno != ENOENT &&
        errno != ENOTDIR)
        return err_errno(err, errno, "cannot remove %s", full);
    if (removal.errnum)
        return err_errno(err, removal.errnum, "cannot remove %s", removal.where);
    return 0;
}
