/* Preloaded into a host's agent by the tests: plays somebody who has taken it over. Whenever the agent has
 * waited for something it looks for an order in its own folder, tries it with the agent's rights and writes
 * there what came of it. Other programs pass untouched. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define FDS 64

static int is_agent;
static int folder; /* the agent's own, by the descriptor that it has of it */

static __attribute__((constructor)) void begin(int argc, char **argv)
{
    is_agent = argc > 1 && strcmp(argv[1], "agent") == 0;
}

static int try_open(const char *path, int flags)
{
    int fd = openat(folder, path, flags | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    return fd;
}

static int try_connect(const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0)
        return fd;
    strncpy(to.sun_path, path, sizeof to.sun_path - 1);
    return connect(fd, (struct sockaddr *)&to, sizeof to);
}

static int obey(const char *verb, const char *path)
{
    if (strcmp(verb, "write") == 0)
        return try_open(path, O_WRONLY | O_CREAT);
    if (strcmp(verb, "read") == 0)
        return try_open(path, O_RDONLY);
    if (strcmp(verb, "connect") == 0)
        return try_connect(path);
    return execl(path, path, (char *)NULL);
}

static void look(void)
{
    char order[256] = "", verb[16], path[200];
    int fd = -1, said;
    for (folder = 3; fd < 0 && folder < FDS; folder += fd < 0)
        fd = openat(folder, "order", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t n = read(fd, order, sizeof order - 1);
    close(fd);
    if (n <= 0 || sscanf(order, "%15s %199s", verb, path) != 2 || unlinkat(folder, "order", 0))
        return;
    said = obey(verb, path) >= 0 ? 0 : errno;
    fd = openat(folder, "answer.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    const char *text = said ? strerror(said) : "done";
    if (write(fd, text, strlen(text)) > 0)
        renameat(folder, "answer.new", folder, "answer");
    close(fd);
}

int clock_gettime(clockid_t which, struct timespec *ts)
{
    int (*real)(clockid_t, struct timespec *) =
        (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    if (is_agent && which == CLOCK_BOOTTIME && getuid() != 0)
        look();
    return real(which, ts);
}
