#include "peer/agent/filter.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#if defined(KPEER_NO_SANDBOX) || UINTPTR_MAX < UINT64_MAX
#define HAVE_FILTER 0
#else
#define HAVE_FILTER 1
#endif

/* Rules compare 64 bits; what the kernel takes as an int may come with rubbish above it. */
#define INT_MASK 0xffffffffu

static struct scmp_arg_cmp is_int(unsigned arg, int value)
{
    return SCMP_CMP(arg, SCMP_CMP_MASKED_EQ, INT_MASK, (uint32_t)value);
}

static int allow_if(scmp_filter_ctx f, int number, struct scmp_arg_cmp a)
{
    return seccomp_rule_add_array(f, SCMP_ACT_ALLOW, number, 1, &a);
}

static int allow_socket(scmp_filter_ctx f, int number)
{
    const struct scmp_arg_cmp routes[] = {is_int(0, AF_NETLINK), is_int(2, NETLINK_ROUTE)};
    int rc = allow_if(f, number, is_int(0, AF_INET));

    return rc ? rc : seccomp_rule_add_array(f, SCMP_ACT_ALLOW, number, 2, routes);
}

/* A process in place of a thread is another process. */
static int allow_thread(scmp_filter_ctx f, int number)
{
    const struct scmp_arg_cmp process = SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0);
    int rc = allow_if(f, number, SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));

    return rc ? rc : seccomp_rule_add_array(f, SCMP_ACT_KILL_PROCESS, number, 1, &process);
}

static int allow(scmp_filter_ctx f, const struct filter_call *call, pid_t executor)
{
    int rc;

    switch (call->when) {
    case FILTER_ALWAYS:
        return seccomp_rule_add(f, SCMP_ACT_ALLOW, call->number, 0);
    case FILTER_NO_EXEC:
        return allow_if(f, call->number, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    case FILTER_THREAD:
        return allow_thread(f, call->number);
    case FILTER_NAME:
        return allow_if(f, call->number, is_int(0, PR_SET_NAME));
    case FILTER_EXECUTOR:
        return executor > 0 ? allow_if(f, call->number, is_int(0, executor)) : 0;
    case FILTER_SELF:
        return allow_if(f, call->number, is_int(0, getpid()));
    case FILTER_OURSELVES:
        return allow_if(f, call->number, is_int(0, 0));
    case FILTER_SOCKET:
        return allow_socket(f, call->number);
    case FILTER_IOCTL:
        rc = allow_if(f, call->number, is_int(1, SIOCGIFMTU));
        return rc ? rc : allow_if(f, call->number, is_int(1, TCGETS));
    }
    return -EINVAL;
}

static int set_up(scmp_filter_ctx f)
{
    int rc = seccomp_attr_set(f, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);

    if (!rc)
        rc = seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1);
    if (!rc)
        rc = seccomp_attr_set(f, SCMP_FLTATR_CTL_LOG, 1);
    if (!rc) /* for speed alone: where it is not there nothing is lost */
        (void)seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    /* no_new_privs is on already, and libseccomp's own call would be one more. */
    return rc ? rc : seccomp_attr_set(f, SCMP_FLTATR_CTL_NNP, 0);
}

static int fill(scmp_filter_ctx f, pid_t executor)
{
    int rc = set_up(f);

    for (size_t i = 0; !rc && i < filter_allowed_count; i++)
        if (filter_allowed[i].number >= 0)
            rc = allow(f, &filter_allowed[i], executor);
    for (size_t i = 0; !rc && i < filter_deadly_count; i++)
        if (filter_deadly[i].number >= 0)
            rc = seccomp_rule_add(f, SCMP_ACT_KILL_PROCESS, filter_deadly[i].number, 0);
    /* Its flags are in memory, where a filter cannot see them: the C library then uses clone. */
    return rc ? rc : seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
}

int filter_enter(pid_t executor, bool *on, struct err *err)
{
    scmp_filter_ctx f;
    int rc;

    *on = false;
    if (!HAVE_FILTER || prctl(PR_GET_SECCOMP) < 0)
        return 0;
    f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!f)
        return err_set(err, KPEER_ENOMEM, "no memory for the system call filter");
    rc = fill(f, executor);
    if (!rc)
        rc = seccomp_load(f);
    seccomp_release(f);
    if (rc)
        return err_errno(err, -rc, "cannot put the system call filter on");
    *on = true;
    return 0;
}
