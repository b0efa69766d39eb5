/* Swap: off now, and after the next start. */
#include "peer/executor/host/check.h"
#include "peer/executor/host/look.h"
#include "peer/executor/host/parse.h"
#include "protocol/mem.h"

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

const struct check check_swap = {
    .name = "swap",
    .why = "kubelet does not start with it",
    .kubeadm = {"Swap"},
    .look = look_swap,
};
