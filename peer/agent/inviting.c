/* Giving the group's key to whoever was told a code (protocol/invite.h). One invitation at a time. */
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>

#include "peer/agent/agent_state.h"
#include "peer/log.h"
#include "protocol/clock.h"
#include "protocol/mem.h"

static void tell(struct agent *a, enum event_kind kind, const char *text)
{
    struct action act = {.kind = ACT_EVENT, .event = kind, .peer = a->identity->id};
    mem_copy_text(act.text, sizeof act.text, text);
    agent_event(a, &act);
}

void agent_invite(struct agent *a, struct control_call *call)
{
    uint8_t code[INVITE_CODE_BYTES];
    char text[INVITE_CODE_TEXT];
    if (a->cfg->trust == TRUST_SUBNET) {
        control_fail(call, KPEER_ESTATE, "this group has no key to give: whoever is on the subnet may join",
                     "on the other host: sudo kpeer up --trust-subnet");
        return;
    }
    randombytes_buf(code, sizeof code);
    struct invitation *inv = invitation_new(code, clock_ms());
    if (!inv) {
        control_fail(call, KPEER_ENOMEM, "the agent has no guarded memory left", NULL);
        return;
    }
    bool replaced = a->invitation && invitation_state(a->invitation, clock_ms()) == INVITATION_OPEN;
    invitation_free(a->invitation);
    a->invitation = inv;
    invite_code_text(code, text);
    control_reply(call, json_pack("{s:s, s:i, s:b}", "code", text, "seconds", INVITE_LIFE_MS / 1000,
                                  "replaced", replaced));
    sodium_memzero(code, sizeof code);
    sodium_memzero(text, sizeof text);
    tell(a, EVENT_INVITED, "one host may take the group's key by a code, within ten minutes");
}

bool agent_invited(void *ctx, const uint8_t *bytes, size_t n, const char *from,
                   uint8_t reply[static INVITE_BYTES])
{
    struct agent *a = ctx;
    uint8_t random[CPACE_SCALAR_BYTES];
    uint64_t now = clock_ms();
    char text[96];
    if (!a->invitation || !a->node)
        return false;
    enum invitation_state before = invitation_state(a->invitation, now);
    randombytes_buf(random, sizeof random);
    int rc =
        invitation_take(a->invitation, bytes, n, node_keyring(a->node)->key[0].secret, random, now, reply);
    sodium_memzero(random, sizeof random);
    enum invitation_state after = invitation_state(a->invitation, now);
    if (before == INVITATION_OPEN && after == INVITATION_GIVEN) {
        snprintf(text, sizeof text, "the group's key went to the host at %s, by invitation", from);
        tell(a, EVENT_KEY_GIVEN, text);
    } else if (before == INVITATION_OPEN && after == INVITATION_SPOILED) {
        tell(a, EVENT_INVITATION_SPOILED,
             "somebody on this network tries codes: the invitation is withdrawn");
    }
    if (after == INVITATION_EXPIRED || after == INVITATION_SPOILED) {
        invitation_free(a->invitation);
        a->invitation = NULL;
    }
    return rc == 0;
}
