#include "peer/ending.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer/config/config.h"

#define NAME       "ending"
#define PATH_BYTES (CONFIG_PATH_BYTES + sizeof "/" NAME)
#define ENDING_MAX (ERR_TEXT_BYTES + ERR_HINT_BYTES + 2)

static void path_of(const char *run_dir, char out[static PATH_BYTES])
{
    snprintf(out, PATH_BYTES, "%.*s/%s", CONFIG_PATH_BYTES - 1, run_dir, NAME);
}

int ending_open(const char *run_dir, struct err *err)
{
    char path[PATH_BYTES];
    int fd;

    path_of(run_dir, path);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    return fd < 0 ? err_errno(err, errno, "cannot open %s", path) : fd;
}

void ending_tell(int fd, const struct err *why)
{
    char text[ENDING_MAX + 1];
    int n = why ? snprintf(text, sizeof text, "%s\n%s\n", why->text, why->hint) : 0;

    if (fd < 0 || ftruncate(fd, 0))
        return;
    if (n > 0 && pwrite(fd, text, (size_t)n, 0) != n && ftruncate(fd, 0) == 0)
        return; /* half a reason is none */
}

/* What a line holds, without its end; returns where the next one begins. */
static char *take_line(char *at, char *out, size_t room)
{
    char *end = strchr(at, '\n');

    if (end)
        *end = '\0';
    snprintf(out, room, "%s", at);
    return end ? end + 1 : at + strlen(at);
}

int ending_read(const char *run_dir, struct err *out)
{
    char path[PATH_BYTES], text[ENDING_MAX + 1], *at = text;
    struct stat st;
    ssize_t n = -1;
    int fd;

    path_of(run_dir, path);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        n = read(fd, text, ENDING_MAX);
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return KPEER_ENOTFOUND;
    text[n] = '\0';
    at = take_line(at, out->text, sizeof out->text);
    take_line(at, out->hint, sizeof out->hint);
    return 0;
}
