#include "peer/agent/fields.h"

#include <inttypes.h>
#include <stdio.h>

#include "peer/report.h"
#include "protocol/mem.h"

enum { EVENT, MEMBER, NAME, STEP, ADDRESS, PHASE, ROLE, TERM, TOOK, CODE, HINT, COUNT };

static const char *const names[COUNT] = {
    [EVENT] = "KPEER_EVENT",     [MEMBER] = "KPEER_MEMBER", [NAME] = "KPEER_NAME", [STEP] = "KPEER_STEP",
    [ADDRESS] = "KPEER_ADDRESS", [PHASE] = "KPEER_PHASE",   [ROLE] = "KPEER_ROLE", [TERM] = "KPEER_TERM",
    [TOOK] = "KPEER_TOOK_MS",    [CODE] = "KPEER_CODE",     [HINT] = "KPEER_HINT",
};
_Static_assert(COUNT <= FIELDS_MAX, "struct fields holds all of them");

const char *fields_name(size_t i)
{
    return i < COUNT ? names[i] : NULL;
}

void fields_of_event(const struct action *act, const struct node_status *now, struct fields *out)
{
    *out = (struct fields){.count = COUNT};
    for (size_t i = 0; i < COUNT; i++)
        out->field[i].name = names[i];
    if (!peer_id_is_zero(&act->peer))
        peer_id_text(&act->peer, out->member);
    snprintf(out->term, sizeof out->term, "%" PRIu64, act->term ? act->term : now->term);
    if (act->took_ms)
        snprintf(out->took, sizeof out->took, "%" PRIu32, act->took_ms);
    out->field[EVENT].value = event_word(act->event);
    out->field[MEMBER].value = out->member;
    out->field[report_is_step(act->event) ? STEP : NAME].value = act->name;
    out->field[ADDRESS].value = act->address;
    out->field[PHASE].value = phase_word(now->phase);
    out->field[ROLE].value = role_word(now->role);
    out->field[TERM].value = out->term;
    out->field[TOOK].value = out->took;
    out->field[CODE].value = act->code ? err_word(act->code) : NULL;
    out->field[HINT].value = act->hint;
}
