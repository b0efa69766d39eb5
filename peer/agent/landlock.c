#include "peer/agent/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Newer than the headers of Debian 12; the kernel is asked for its version before one is used. */
#define FS_REFER     (1ull << 13)
#define FS_TRUNCATE  (1ull << 14)
#define FS_IOCTL_DEV (1ull << 15)

#define FS_FIRST (LANDLOCK_ACCESS_FS_MAKE_SYM * 2 - 1) /* all of version 1 */
#define FS_READ  LANDLOCK_ACCESS_FS_READ_FILE
#define FS_STORE                                                                                             \
    (FS_READ | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |   \
     LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | FS_REFER | FS_TRUNCATE)
#define FS_REMOVE LANDLOCK_ACCESS_FS_REMOVE_FILE

/* What a rule for a file that is no folder may name. */
#define FS_OF_FILE                                                                                           \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE | FS_TRUNCATE)

#define ABI_REFER     2
#define ABI_TRUNCATE  3
#define ABI_IOCTL_DEV 5

/* What is fenced in: all that this kernel knows of and we do. */
static uint64_t handled(int abi)
{
    uint64_t all = FS_FIRST | FS_REFER;

    if (abi >= ABI_TRUNCATE)
        all |= FS_TRUNCATE;
    if (abi >= ABI_IOCTL_DEV)
        all |= FS_IOCTL_DEV;
    return all;
}

static uint64_t allowed(enum landlock_use use)
{
    switch (use) {
    case LANDLOCK_READ:
        return FS_READ;
    case LANDLOCK_STORE:
        return FS_STORE;
    case LANDLOCK_REMOVE:
        return FS_REMOVE;
    }
    return 0;
}

static int kernel_abi(void)
{
#ifdef KPEER_NO_SANDBOX
    return 0;
#else
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

    return abi < 0 ? 0 : (int)abi;
#endif
}

static int add(int ruleset, const struct landlock_path *p, int abi, struct err *err)
{
    struct landlock_path_beneath_attr rule = {.allowed_access = allowed(p->use) & handled(abi)};
    struct stat st;
    int rc = 0;

    rule.parent_fd = open(p->path, O_PATH | O_CLOEXEC);
    if (rule.parent_fd < 0 && (errno == ENOENT || errno == EACCES))
        return 0; /* what cannot be reached need not be allowed */
    if (rule.parent_fd < 0 || fstat(rule.parent_fd, &st))
        rc = -1;
    else if (!S_ISDIR(st.st_mode))
        rule.allowed_access &= FS_OF_FILE;
    if (rc || syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0))
        rc = err_errno(err, errno, "cannot fence the agent in at %s", p->path);
    if (rule.parent_fd >= 0)
        close(rule.parent_fd);
    return rc;
}

int landlock_make(const struct landlock_path *paths, size_t count, int *fd, int *abi, struct err *err)
{
    struct landlock_ruleset_attr attr;
    int rc = 0, ruleset;

    *fd = -1;
    *abi = kernel_abi();
    if (*abi < ABI_REFER)
        return 0;
    attr = (struct landlock_ruleset_attr){.handled_access_fs = handled(*abi)};
    ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (ruleset < 0)
        return err_errno(err, errno, "cannot fence the agent in");
    for (size_t i = 0; !rc && i < count; i++)
        rc = add(ruleset, &paths[i], *abi, err);
    if (rc)
        close(ruleset);
    else
        *fd = ruleset;
    return rc;
}

int landlock_enter(int fd, struct err *err)
{
    int rc = 0;

    if (fd < 0)
        return 0;
    if (syscall(SYS_landlock_restrict_self, fd, 0))
        rc = err_errno(err, errno, "cannot fence the agent in");
    close(fd);
    return rc;
}
