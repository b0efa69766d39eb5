/* The packages: what installs, repairs and holds them is in packages/. */
#include <string.h>

#include "peer/executor/host/check.h"
#include "peer/executor/packages/packages.h"

static void look_packages(struct survey *s)
{
    struct packages_state p;
    struct err e = {0};

    if (packages_look(s->ctx, s->role, &p, &e))
        check_tell(s, FINDING_WARN, "see what dpkg --audit says", "%.80s", e.text);
    else if (p.broken[0])
        check_tell(s, FINDING_RED, "dpkg --configure -a", "half installed: %.70s", p.broken);
    else if (p.wrong[0])
        check_tell(s, FINDING_RED, "kpeer preflight --fix, or change kubernetes in the configuration",
                   "of another version: %.70s", p.wrong);
    else if (p.missing[0] && p.can_install)
        check_tell(s, FINDING_RED, "kpeer preflight --fix", "not installed: %.80s", p.missing);
    else if (p.unheld[0] && p.can_install)
        check_tell(s, FINDING_RED, "kpeer preflight --fix", "free to be upgraded: %.70s", p.unheld);
    else if (p.cut_short)
        check_tell(s, FINDING_WARN, "kpeer preflight --fix",
                   "the downloads of an installation that was cut short are left");
    else if (p.missing[0])
        check_tell(s, FINDING_WARN, "install them, or set packages.install: true", "not installed: %.80s",
                   p.missing);
    else
        check_tell(s, FINDING_GREEN, "", "packages are there%s%s", p.version[0] ? ", Kubernetes " : "",
                   p.version);
}

static int fix_packages(struct survey *s, struct err *err)
{
    s->stale = true;
    return packages_install(s->ctx, s->role, err);
}

const struct check check_packages = {
    .name = "packages",
    .why = "Kubernetes in one version on all hosts",
    .mend = "install them from packages.mirror or packages.folder, and hold them",
    .undo = "they are purged and the repository is forgotten",
    .look = look_packages,
    .fix = fix_packages,
};
