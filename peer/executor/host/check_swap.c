/* Swap: off now, and after the next start. */
#include <stdio.h>
#include <string.h>

#include "peer/executor/host/check.h"
#include "peer/executor/host/look.h"
#include "peer/executor/host/mend.h"
#include "peer/executor/host/parse.h"
#include "peer/executor/host/parse_boot.h"
#include "peer/executor/host/unit.h"
#include "protocol/mem.h"

#define FSTAB     "/etc/fstab"
#define GENERATOR "zram-generator.conf"
#define GENERATOR_NOTE                                                                                       \
    "# Written by kpeer: kubelet does not start with swap. \"kpeer leave\" puts the old file back.\n"

static void look_swap(struct survey *s)
{
    cleanup_free char *text = look_text(s->ctx, "/proc/swaps");
    char first[48] = "";
    size_t count = text ? parse_swaps(text, first, sizeof(first)) : 0;

    if (count == 0)
        check_tell(s, FINDING_GREEN, "", "swap is off");
    else
        check_tell(s, FINDING_RED, "swapoff -a, and comment the swap line out in /etc/fstab",
                   "swap is on (%s)", first);
}

/* An area that is no file of this host is that of the machine a container runs on. */
static int switch_off(struct exec_ctx *ctx, const char *area, int priority, struct err *err)
{
    struct journal_deed d = {.kind = DEED_SWAP, .after = "off"};
    const char *const argv[] = {"", "--", area, NULL};
    int code;

    if (!look_exists(ctx, area))
        return err_set(err, KPEER_EREFUSED, "the swap area %s is not this host's own", area);
    if (mem_copy_text(d.name, sizeof(d.name), area))
        return err_set(err, KPEER_ELIMIT, "the name of the swap area %s is too long", area);
    snprintf(d.before, sizeof(d.before), "%d", priority);
    code = journal_note_deed(ctx->journal, &d, err);
    return code ? code : mend_do(ctx, TOOL_SWAPOFF, argv, err);
}

static int fix_swap(struct survey *s, struct err *err)
{
    cleanup_free char *text = look_text(s->ctx, "/proc/swaps");
    char area[JOURNAL_DEED_BYTES];
    int priority, code = 0;
    bool found;

    for (const char *at = text; at && code == 0;) {
        at = parse_swap_next(at, area, sizeof(area), &priority, &found);
        if (found)
            code = switch_off(s->ctx, area, priority, err);
    }
    return code;
}

const struct check check_swap = {
    .name = "swap",
    .why = "kubelet does not start with it",
    .mend = "switch swap off",
    .undo = "swap is switched on again",
    .kubeadm = {"Swap"},
    .look = look_swap,
    .fix = fix_swap,
};

/* Which file of the zram generator counts, and whether it makes a device. */
static const char *zram_generator(const struct exec_ctx *ctx)
{
    static const char *const places[] = {"/etc/systemd/" GENERATOR, "/run/systemd/" GENERATOR,
                                         "/usr/local/lib/systemd/" GENERATOR, "/usr/lib/systemd/" GENERATOR};

    for (size_t i = 0; i < COUNT_OF(places); i++) {
        cleanup_free char *text = look_text(ctx, places[i]);

        if (text)
            return strstr(text, "[zram") ? places[i] : NULL;
    }
    return NULL;
}

/* Services that make swap areas of memory, by the names that distributions give them. */
static const char *const zram_services[] = {"zramswap.service", "zram-config.service"};

static bool is_unwanted(const struct parse_unit *u)
{
    return u->id[0] && strcmp(u->load, "not-found") != 0 && strcmp(u->file, "masked") != 0 &&
           strcmp(u->load, "masked") != 0;
}

/* The next of the units that switch swap on and are not fstab's, whose lines are commented out; *at is NULL
 * before the first. */
static bool next_unit(const char **at, const char *text, struct parse_unit *u)
{
    bool found;

    *at = *at ? *at : text;
    while (*at) {
        *at = parse_unit_next(*at, u, &found);
        if (found && is_unwanted(u) && strcmp(u->source, FSTAB) != 0)
            return true;
    }
    return false;
}

/* `systemctl show` of all that is a swap unit or a service that makes one. */
static int list_units(struct exec_ctx *ctx, struct spawn_result *res)
{
    const char *const argv[] = {"",
                                "show",
                                "-p",
                                "Id,LoadState,UnitFileState,ActiveState,SourcePath",
                                "--no-pager",
                                "--",
                                "*.swap",
                                zram_services[0],
                                zram_services[1],
                                NULL};

    memset(res, 0, sizeof(*res));
    return unit_systemd(ctx) ? mend_run(ctx, TOOL_SYSTEMCTL, argv, true, res, NULL) : KPEER_ENOTFOUND;
}

/* The first unit that will switch swap on; empty: none. A stopped and disabled service will not. */
static void find_unit(struct exec_ctx *ctx, char *out, size_t out_bytes)
{
    struct spawn_result res;
    struct parse_unit u;
    const char *at = NULL;

    out[0] = 0;
    if (list_units(ctx, &res) == 0) {
        while (!out[0] && next_unit(&at, res.out, &u)) {
            if (unit_runs(&u) || unit_enabled(&u))
                snprintf(out, out_bytes, "%.60s", u.id);
        }
    }
    spawn_result_fini(&res);
}

static void look_swap_boot(struct survey *s)
{
    cleanup_free char *fstab = look_text(s->ctx, FSTAB);
    char first[48] = "", unit[64];
    size_t count = fstab ? parse_fstab_swaps(fstab, first, sizeof(first)) : 0;
    const char *zram = zram_generator(s->ctx);

    find_unit(s->ctx, unit, sizeof(unit));
    if (count)
        check_tell(s, FINDING_RED, "comment the swap line out in /etc/fstab",
                   "/etc/fstab switches swap on at boot (%s)", first);
    if (zram)
        check_tell(s, FINDING_RED, "put an empty file at /etc/systemd/" GENERATOR, "%s makes swap", zram);
    if (unit[0])
        check_tell(s, FINDING_RED, "systemctl mask --now the unit", "the unit %s switches swap on", unit);
    if (!count && !zram && !unit[0])
        check_tell(s, FINDING_GREEN, "", "swap stays off after the next start");
}

static int fix_fstab(struct exec_ctx *ctx, struct err *err)
{
    cleanup_free char *text = NULL;
    cleanup_free char *fresh = NULL;
    char first[8];
    size_t n, fresh_bytes;
    int code = look_read(ctx, FSTAB, &text, &n, err);

    if (code == KPEER_ENOTFOUND)
        return 0;
    if (code == 0 && parse_fstab_swaps(text, first, sizeof(first)) == 0)
        return 0;
    code = code ? code : parse_fstab_comment(text, n, &fresh, &fresh_bytes, err);
    code = code ? code : mend_file(ctx, FSTAB, fresh, fresh_bytes, 0644, err);
    return code ? err_wrap(err, FSTAB) : 0;
}

static int fix_units(struct exec_ctx *ctx, struct err *err)
{
    struct spawn_result res;
    struct parse_unit u;
    const char *at = NULL;
    int code = 0;

    if (list_units(ctx, &res) == 0) {
        while (code == 0 && next_unit(&at, res.out, &u))
            code = unit_runs(&u) || unit_enabled(&u) ? unit_set(ctx, u.id, UNIT_MASKED, err) : 0;
    }
    spawn_result_fini(&res);
    return code;
}

static int fix_swap_boot(struct survey *s, struct err *err)
{
    int code = fix_fstab(s->ctx, err);

    if (code == 0 && zram_generator(s->ctx))
        code = mend_file(s->ctx, "/etc/systemd/" GENERATOR, GENERATOR_NOTE, sizeof(GENERATOR_NOTE) - 1, 0644,
                         err);
    return code ? code : fix_units(s->ctx, err);
}

const struct check check_swap_boot = {
    .name = "swap-boot",
    .why = "kubelet would not start after a restart",
    .mend = "comment swap out in /etc/fstab, mask units that switch it on",
    .undo = "/etc/fstab and the units are put back",
    .kubeadm = {"Swap"},
    .look = look_swap_boot,
    .fix = fix_swap_boot,
};
