#include "peer/agent/privilege.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "protocol/mem.h"

#define STATUS_BYTES 1024 /* the head of /proc/PID/status has what is asked for */

static bool find_user(const char *name, struct privilege_user *out)
{
    const struct passwd *pw = getpwnam(name);
    if (!pw || pw->pw_uid == 0 || mem_copy_text(out->name, sizeof out->name, name))
        return false;
    out->uid = pw->pw_uid;
    out->gid = pw->pw_gid;
    out->drop = true;
    return true;
}

static bool read_status(const char *pid, char out[static STATUS_BYTES])
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%.32s/status", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, STATUS_BYTES - 1);
    if (fd >= 0)
        close(fd);
    out[n > 0 ? n : 0] = '\0';
    return n > 0;
}

/* Whether a process has the id as any of its user or group ids. One that has ended and is not waited for does
 * not count: it may be the agent before us. */
static bool status_has(const char *text, unsigned id)
{
    unsigned u[4], g[4];
    const char *uid = strstr(text, "\nUid:"), *gid = strstr(text, "\nGid:"),
               *state = strstr(text, "\nState:\t");
    if (!uid || !gid || !state || state[8] == 'Z' || state[8] == 'X' ||
        sscanf(uid, "\nUid: %u %u %u %u", &u[0], &u[1], &u[2], &u[3]) != 4 ||
        sscanf(gid, "\nGid: %u %u %u %u", &g[0], &g[1], &g[2], &g[3]) != 4)
        return false;
    for (int i = 0; i < 4; i++)
        if (u[i] == id || g[i] == id)
            return true;
    return false;
}

static bool runs_somewhere(unsigned id)
{
    char text[STATUS_BYTES];
    const struct dirent *entry;
    bool found = false;
    DIR *proc = opendir("/proc");
    if (!proc)
        return true; /* who cannot look must not take */
    while (!found && (entry = readdir(proc)) != NULL)
        found = isdigit((unsigned char)entry->d_name[0]) && read_status(entry->d_name, text) &&
                status_has(text, id);
    closedir(proc);
    return found;
}

bool privilege_taken(unsigned id)
{
    return getpwuid(id) || getgrgid(id) || runs_somewhere(id);
}

int privilege_unused(unsigned before, const char *where, bool (*taken)(unsigned id), unsigned *out)
{
    unsigned range = PRIVILEGE_LAST - PRIVILEGE_FIRST + 1, start = 5381;
    if (before >= PRIVILEGE_FIRST && before <= PRIVILEGE_LAST && !taken(before)) {
        *out = before;
        return 0;
    }
    for (const char *p = where; *p; p++)
        start = start * 33 ^ (unsigned char)*p;
    for (unsigned i = 0; i < range; i++) {
        unsigned id = PRIVILEGE_FIRST + (start + i) % range;
        if (!taken(id)) {
            *out = id;
            return 0;
        }
    }
    return KPEER_ENOTFOUND;
}

static int choose_unused(uid_t before, const char *where, struct privilege_user *out, struct err *err)
{
    unsigned id;
    if (privilege_unused(before, where, privilege_taken, &id)) {
        err_set(err, KPEER_EREFUSED,
                "the agent has no user: there is none called kpeer, and no id from %d to %d is free",
                PRIVILEGE_FIRST, PRIVILEGE_LAST);
        err_hint(err, "useradd --system --no-create-home kpeer");
        return KPEER_EREFUSED;
    }
    snprintf(out->name, sizeof out->name, "%u", id);
    out->uid = (uid_t)id;
    out->gid = (gid_t)id;
    out->drop = true;
    return 0;
}

int privilege_choose(const char *wanted, uid_t before, const char *where, struct privilege_user *out,
                     struct err *err)
{
    struct privilege_user user = {.uid = (uid_t)-1, .gid = (gid_t)-1};
    int rc = 0;
    if (geteuid() == 0 && wanted[0] && !find_user(wanted, &user)) {
        err_set(err, KPEER_EINVAL, "there is no user %s for the agent, or it is root", wanted);
        err_hint(err, "useradd --system --no-create-home %s, or set another user", wanted);
        return KPEER_EINVAL;
    }
    if (geteuid() == 0 && !wanted[0] && !find_user("kpeer", &user))
        rc = choose_unused(before, where, &user, err);
    if (!rc)
        *out = user;
    return rc;
}

/* What no program that we could ever start may get either. */
static int clear_bounds(struct err *err)
{
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) && errno != EINVAL)
        return err_errno(err, errno, "cannot give up ambient capabilities");
    for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0))
            return err_errno(err, errno, "cannot give up capability %lu", cap);
    return 0;
}

static int clear_capabilities(struct err *err)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
    if (syscall(SYS_capset, &head, none))
        return err_errno(err, errno, "cannot give up capabilities");
    return 0;
}

int privilege_drop(const struct privilege_user *user, struct err *err)
{
    int rc = user->drop ? clear_bounds(err) : 0;
    if (rc)
        return rc;
    if (user->drop && (setgroups(0, NULL) || setresgid(user->gid, user->gid, user->gid) ||
                       setresuid(user->uid, user->uid, user->uid)))
        return err_errno(err, errno, "cannot become user %s", user->name);
    rc = clear_capabilities(err);
    if (rc || !user->drop)
        return rc;
    if (setuid(0) == 0 || geteuid() != user->uid || getegid() != user->gid)
        return err_set(err, KPEER_EIO, "became user %s but kept root's rights", user->name);
    return 0;
}

int privilege_harden(struct err *err)
{
    struct rlimit none = {0, 0}, files;
    if (prctl(PR_SET_DUMPABLE, PRIVILEGE_DUMPABLE, 0, 0, 0) || setrlimit(RLIMIT_CORE, &none))
        return err_errno(err, errno, "cannot switch core dumps off");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return err_errno(err, errno, "cannot give up gaining privileges");
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files); /* with fewer there are fewer links */
    }
    return 0;
}
