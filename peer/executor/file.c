#include "peer/executor/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/mem.h"

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

#define cleanup_fd __attribute__((cleanup(close_fd)))

static int read_all(int fd, const char *path, size_t max, char *bytes, size_t *n, struct err *err)
{
    size_t used = 0;

    for (;;) {
        ssize_t got = read(fd, bytes + used, max + 1 - used);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_errno(err, errno, "cannot read %s", path);
        if (got == 0)
            break;
        used += (size_t)got;
        if (used > max)
            return err_set(err, KPEER_ELIMIT, "%s is larger than %zu bytes", path, max);
    }
    bytes[used] = 0;
    *n = used;
    return 0;
}

int file_read(const char *path, size_t max, char **out, size_t *n, struct err *err)
{
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    char *bytes;
    int code;

    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return err_set(err, KPEER_ENOTFOUND, "there is no %s", path);
    if (fd < 0)
        return err_errno(err, errno, "cannot open %s", path);
    if (fstat(fd, &st) || !S_ISREG(st.st_mode))
        return err_set(err, KPEER_EINVAL, "%s is not a regular file", path);
    bytes = malloc(max + 1);
    if (!bytes)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    code = read_all(fd, path, max, bytes, n, err);
    if (code) {
        free(bytes);
        return code;
    }
    *out = bytes;
    return 0;
}

static int write_all(int fd, const char *bytes, size_t n)
{
    while (n) {
        ssize_t done = write(fd, bytes, n);

        if (done < 0 && errno != EINTR)
            return -1;
        if (done > 0) {
            bytes += done;
            n -= (size_t)done;
        }
    }
    return 0;
}

int file_sync_folder(const char *path, struct err *err)
{
    char dir[PATH_MAX];
    char *slash;

    if (mem_copy_text(dir, sizeof(dir), path))
        return err_set(err, KPEER_ELIMIT, "the path %s is too long", path);
    slash = strrchr(dir, '/');
    if (slash)
        slash[slash == dir] = 0;
    {
        cleanup_fd int fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0 || fsync(fd))
            return err_errno(err, errno, "cannot sync the folder of %s", path);
    }
    return 0;
}

/* What is written to the new file `temp` takes the place of `path`. */
static int put_open(int fd, const char *temp, const char *path, const void *bytes, size_t n,
                    const struct file_look *look, struct err *err)
{
    bool owner = look->uid != (uid_t)-1 || look->gid != (gid_t)-1;
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, look->mtime};

    if (write_all(fd, bytes, n) || (owner && fchown(fd, look->uid, look->gid)) || fchmod(fd, look->mode) ||
        (look->dated && futimens(fd, times)) || fsync(fd) || rename(temp, path)) {
        int code = err_errno(err, errno, "cannot write %s", path);

        unlink(temp);
        return code;
    }
    return file_sync_folder(path, err);
}

int file_put(const char *path, const void *bytes, size_t n, mode_t mode, uid_t uid, gid_t gid,
             struct err *err)
{
    const struct file_look look = {.mode = mode, .uid = uid, .gid = gid};
    char temp[PATH_MAX];
    int used = snprintf(temp, sizeof(temp), "%s.kpeer-XXXXXX", path);
    cleanup_fd int fd = -1;

    if (used < 0 || (size_t)used >= sizeof(temp))
        return err_set(err, KPEER_ELIMIT, "the path %s is too long", path);
    fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, errno, "cannot make a new file beside %s", path);
    return put_open(fd, temp, path, bytes, n, &look, err);
}

static int new_path(const char *path, char out[static PATH_MAX], struct err *err)
{
    int used = snprintf(out, PATH_MAX, "%s.kpeer-new", path);

    return used < 0 || used >= PATH_MAX ? err_set(err, KPEER_ELIMIT, "the path %s is too long", path) : 0;
}

int file_write(const char *path, const void *bytes, size_t n, const struct file_look *look, struct err *err)
{
    char temp[PATH_MAX];
    cleanup_fd int fd = -1;
    int code = new_path(path, temp, err);

    if (code)
        return code;
    unlink(temp);
    fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, errno, "cannot make a new file beside %s", path);
    return put_open(fd, temp, path, bytes, n, look, err);
}

int file_sweep(const char *path, struct err *err)
{
    char temp[PATH_MAX];
    int code = new_path(path, temp, err);

    return code ? code : file_remove(temp, err);
}

int file_remove(const char *path, struct err *err)
{
    if (unlink(path)) {
        if (errno == ENOENT || errno == ENOTDIR)
            return 0;
        return err_errno(err, errno, "cannot remove %s", path);
    }
    return file_sync_folder(path, err);
}

int file_make_dirs(const char *path, mode_t mode, struct err *err)
{
    char part[PATH_MAX];

    if (mem_copy_text(part, sizeof(part), path))
        return err_set(err, KPEER_ELIMIT, "the path %s is too long", path);
    for (char *at = part + 1; at[-1]; at++) {
        bool last = *at == 0;

        if (*at && *at != '/')
            continue;
        *at = 0;
        if (mkdir(part, last ? mode : 0755) && errno != EEXIST)
            return err_errno(err, errno, "cannot make the folder %s", part);
        if (last)
            return 0;
        *at = '/';
    }
    return 0;
}

int file_make_parents(const char *path, struct err *err)
{
    char dir[PATH_MAX];
    char *slash;

    if (mem_copy_text(dir, sizeof(dir), path))
        return err_set(err, KPEER_ELIMIT, "the path %s is too long", path);
    slash = strrchr(dir, '/');
    if (!slash || slash == dir)
        return 0;
    *slash = 0;
    return file_make_dirs(dir, 0755, err);
}
