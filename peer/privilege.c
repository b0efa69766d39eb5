#include "peer/privilege.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "protocol/mem.h"

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

int privilege_choose(const char *wanted, struct privilege_user *out, struct err *err)
{
    struct privilege_user user = {.uid = (uid_t)-1, .gid = (gid_t)-1};
    if (geteuid() == 0 && wanted[0] && !find_user(wanted, &user)) {
        err_set(err, KPEER_EINVAL, "there is no user %s for the agent, or it is root", wanted);
        err_hint(err, "useradd --system --no-create-home %s, or set another user", wanted);
        return KPEER_EINVAL;
    }
    if (geteuid() == 0 && !wanted[0] && !find_user("kpeer", &user))
        (void)find_user("nobody", &user);
    *out = user;
    return 0;
}

int privilege_drop(const struct privilege_user *user, struct err *err)
{
    if (!user->drop)
        return 0;
    if (setgroups(0, NULL) || setresgid(user->gid, user->gid, user->gid) ||
        setresuid(user->uid, user->uid, user->uid))
        return err_errno(err, errno, "cannot become user %s", user->name);
    if (setuid(0) == 0 || geteuid() != user->uid || getegid() != user->gid)
        return err_set(err, KPEER_EIO, "became user %s but kept root's rights", user->name);
    return 0;
}

int privilege_harden(struct err *err)
{
    struct rlimit none = {0, 0}, files;
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) || setrlimit(RLIMIT_CORE, &none))
        return err_errno(err, errno, "cannot switch core dumps off");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return err_errno(err, errno, "cannot give up gaining privileges");
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files); /* with fewer there are fewer links */
    }
    return 0;
}
