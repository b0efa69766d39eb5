/* Undoing what the fixes of this folder did that is no file. */
#include <string.h>

#include "peer/executor/host/check.h"
#include "peer/executor/host/host.h"
#include "peer/executor/host/look.h"
#include "peer/executor/host/mend.h"
#include "peer/executor/host/parse_boot.h"
#include "peer/executor/host/unit.h"
#include "peer/executor/packages/packages.h"
#include "protocol/mem.h"

/* A module that is in use by then stays: the next start is without it. */
static int undo_module(void *ctx, const struct journal_deed *d, enum journal_undone *how, struct err *err)
{
    cleanup_free char *modules = look_text(ctx, "/proc/modules");
    const char *const argv[] = {"", "-r", d->name, NULL};

    (void)err;
    *how = JOURNAL_SAME;
    if (modules && parse_modules_loaded(modules, d->name))
        *how = mend_do(ctx, TOOL_MODPROBE, argv, NULL) ? JOURNAL_LEFT : JOURNAL_BACK;
    return 0;
}

static bool swap_is_on(const struct exec_ctx *ctx, const char *wanted)
{
    cleanup_free char *text = look_text(ctx, "/proc/swaps");
    char area[JOURNAL_DEED_BYTES];
    int priority;
    bool found;

    for (const char *at = text; at;) {
        at = parse_swap_next(at, area, sizeof(area), &priority, &found);
        if (found && strcmp(area, wanted) == 0)
            return true;
    }
    return false;
}

/* `before` is its priority; the kernel gives negative ones itself. */
static int undo_swap(void *ctx, const struct journal_deed *d, enum journal_undone *how, struct err *err)
{
    bool own = d->before[0] && d->before[0] != '-';
    const char *const plain[] = {"", "--", d->name, NULL};
    const char *const with_priority[] = {"", "-p", d->before, "--", d->name, NULL};

    *how = JOURNAL_SAME;
    if (swap_is_on(ctx, d->name))
        return 0;
    *how = look_exists(ctx, d->name) ? JOURNAL_BACK : JOURNAL_LEFT;
    return *how == JOURNAL_BACK ? mend_do(ctx, TOOL_SWAPON, own ? with_priority : plain, err) : 0;
}

journal_undoer *const host_undoers[DEED_KIND_COUNT] = {
    [DEED_UNIT] = unit_undo,       [DEED_HOLD] = packages_undo, [DEED_PACKAGE] = packages_undo,
    [DEED_MODULE] = undo_module,   [DEED_SWAP] = undo_swap,     [DEED_HOSTNAME] = check_undo_hostname,
    [DEED_RULE] = check_undo_rule,
};
