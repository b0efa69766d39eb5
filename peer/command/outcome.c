#include "peer/command/outcome.h"

#include <stdio.h>
#include <string.h>

#include "protocol/mem.h"
#include "protocol/step.h"

#define NAMED_MAX 8 /* more names are not read */

static bool is_word(const json_t *member, const char *key, const char *word)
{
    return strcmp(writer_text(member, key), word) == 0;
}

/* "node1", "node1 and node2", "node1, node2 and 7 more"; those whose phase is ready, or those on the way. */
static size_t name_them(const json_t *members, bool ready, char *out, size_t room)
{
    size_t i, n = 0, used = 0;
    const json_t *m;

    out[0] = '\0';
    json_array_foreach(members, i, m)
    {
        if (!is_word(m, "state", "alive") || is_word(m, "phase", "ready") != ready)
            continue;
        if (n++ < NAMED_MAX && used < room)
            used +=
                (size_t)snprintf(out + used, room - used, "%s%s", used ? ", " : "", writer_text(m, "name"));
    }
    if (n > NAMED_MAX && used < room)
        snprintf(out + used, room - used, " and %zu more", n - NAMED_MAX);
    return n;
}

/* The others come by themselves, at their own pace. */
static void tell_others(struct progress *p, const json_t *members)
{
    char names[NAMED_MAX * (STEP_NAME_BYTES + 2) + 32];
    size_t ready = name_them(members, true, names, sizeof names);

    progress_say(p, TINT_NONE, "ready so far: %zu %s: %s", ready, ready == 1 ? "host" : "hosts", names);
    if (name_them(members, false, names, sizeof names))
        progress_say(p, TINT_NONE, "on their way: %s", names);
}

struct next {
    const char *command; /* %s stands for the flags */
    const char *what;
};

static void tell_next(struct progress *p, const struct next next[static 3], const char *flags)
{
    char command[3][200];
    size_t widest = 0;

    for (size_t i = 0; i < 3; i++) {
        const char *rest = strstr(next[i].command, "%s");
        size_t before = rest ? (size_t)(rest - next[i].command) : strlen(next[i].command);

        snprintf(command[i], sizeof command[i], "%.*s%s%s", (int)before, next[i].command, rest ? flags : "",
                 rest ? rest + 2 : "");
        widest = strlen(command[i]) > widest ? strlen(command[i]) : widest;
    }
    for (size_t i = 0; i < 3; i++)
        progress_say(p, TINT_NONE, "%s%-*s  %s", i ? "      " : "next: ", (int)widest, command[i],
                     next[i].what);
}

void outcome_tell(struct progress *p, const struct outcome *o)
{
    static const struct next built[] = {
        {"kpeer members%s", "who is in the group, and how far"},
        {"sudo kpeer kubeconfig --install%s", "makes this host a console, for:"},
        {"kubectl get nodes -o wide", "the cluster's Nodes"},
    };
    static const struct next rehearsed[] = {
        {"kpeer members%s", "who is in the group, and how far"},
        {"kpeer events --since 10m%s", "each command that would have been used"},
        {"kpeer leave --force%s", "the end of this host's rehearsal"},
    };
    const json_t *s = o->status, *cluster = json_object_get(s, "cluster");
    const json_t *members = json_object_get(o->members, "members");
    char took[32];

    writer_duration(took, sizeof took, o->took_ms);
    progress_say(p, TINT_GOOD, "%s: %s is a %s of the cluster at %s (Kubernetes %s), after %s",
                 o->rehearsed ? "rehearsed" : "ready", writer_text(s, "name"), writer_text(s, "role"),
                 writer_text(cluster, "endpoint"), writer_text(cluster, "kubernetes"), took);
    if (json_array_size(members))
        tell_others(p, members);
    tell_next(p, o->rehearsed ? rehearsed : built, o->flags);
}
