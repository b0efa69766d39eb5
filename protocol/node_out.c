#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/mem.h"
#include "protocol/node_state.h"

/* What the last step's actions pointed to may have held secrets. */
void out_begin(struct node *n)
{
    for (size_t i = 0; i < n->owned_count; i++) {
        sodium_memzero(n->owned[i].p, n->owned[i].n);
        free(n->owned[i].p);
    }
    n->owned_count = 0;
    n->action_count = 0;
}

void out_free(struct node *n)
{
    out_begin(n);
    free(n->owned);
    free(n->action);
}

struct action *out_action(struct node *n, enum action_kind kind)
{
    /* Without memory the caller writes to a spare and the step fails as a whole. */
    if (n->action_count == n->action_room) {
        size_t room = n->action_room ? 2 * n->action_room : 16;
        struct action *list = realloc(n->action, room * sizeof *list);
        if (!list) {
            n->no_memory = true;
            return &n->spare;
        }
        n->action = list;
        n->action_room = room;
    }
    struct action *a = &n->action[n->action_count++];
    memset(a, 0, sizeof *a);
    a->kind = kind;
    return a;
}

bool out_own(struct node *n, void *p, size_t bytes_n)
{
    if (n->owned_count == n->owned_room) {
        size_t room = n->owned_room ? 2 * n->owned_room : 16;
        void *owned = realloc(n->owned, room * sizeof *n->owned);
        if (!owned) {
            n->no_memory = true;
            sodium_memzero(p, bytes_n);
            free(p);
            return false;
        }
        n->owned = owned;
        n->owned_room = room;
    }
    n->owned[n->owned_count].p = p;
    n->owned[n->owned_count++].n = bytes_n;
    return true;
}

void *out_copy(struct node *n, const void *bytes, size_t bytes_n)
{
    void *p = malloc(bytes_n ? bytes_n : 1);
    if (!p) {
        n->no_memory = true;
        return NULL;
    }
    if (bytes_n)
        memcpy(p, bytes, bytes_n);
    return out_own(n, p, bytes_n) ? p : NULL;
}

struct action *out_event(struct node *n, enum event_kind kind, const struct peer_id *member)
{
    struct action *a = out_action(n, ACT_EVENT);
    a->event = kind;
    if (member) {
        a->peer = *member;
        mem_copy_text(a->name, sizeof a->name, node_name_of(n, member));
    }
    return a;
}

void out_text(struct action *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(a->text, sizeof a->text, fmt, ap);
    va_end(ap);
}

void out_reply(struct node *n, uint64_t request, int code, const char *text, const char *hint)
{
    if (request == 0)
        return;
    struct action *a = out_action(n, ACT_REPLY);
    a->request = request;
    a->code = code;
    mem_clip_text(a->text, sizeof a->text, text);
    mem_clip_text(a->hint, sizeof a->hint, hint);
}

static struct running *free_slot(struct node *n)
{
    for (size_t i = 0; i < RUNNING_MAX; i++)
        if (n->running[i].id == 0)
            return &n->running[i];
    return NULL;
}

uint32_t out_run(struct node *n, struct step *step, const struct peer_id *subject, uint64_t request)
{
    struct running *run = free_slot(n);
    if (!run)
        return 0;
    n->last_step_id = n->last_step_id >= 0x7fffffffu ? 1 : n->last_step_id + 1;
    step->id = n->last_step_id;
    struct step *copy = out_copy(n, step, sizeof *step);
    if (!copy)
        return 0;
    if (step->record_bytes > 0)
        copy->record = out_copy(n, step->record, step->record_bytes);
    *run = (struct running){.id = step->id, .kind = step->kind, .started_ms = n->now_ms, .request = request};
    if (subject)
        run->subject = *subject;
    struct action *e = out_event(n, EVENT_STEP_STARTED, subject);
    mem_copy_text(e->name, sizeof e->name, step_word(step->kind));
    struct action *a = out_action(n, ACT_RUN);
    a->step = copy;
    return step->id;
}

void out_cancel(struct node *n, uint32_t id)
{
    struct step step = {.id = id};
    const struct step *copy = out_copy(n, &step, sizeof step);
    if (copy)
        out_action(n, ACT_CANCEL)->step = copy;
}
