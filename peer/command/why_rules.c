/* The causes, each a rule over the picture. */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "peer/command/why_state.h"
#include "peer/writer.h"
#include "protocol/mem.h"

#define TEXT_BYTES 600

#define UP_AGAIN  "sudo kpeer up"
#define FORM_ANEW "on each host: sudo kpeer leave --force, then " UP_AGAIN

/* ---- causes ---- */

static json_t *host_of(const char *name, const char *address)
{
    return json_pack("{s:s, s:s}", "name", name, "address", address);
}

static json_t *hosts_of(const json_t *member)
{
    json_t *hosts = json_array();

    if (member)
        json_array_append_new(hosts, host_of(writer_text(member, "name"), writer_text(member, "address")));
    return hosts;
}

/* Takes `hosts` over. What an earlier rule found on the same hosts leaves this a consequence. */
static void add(struct why *w, const char *kind, json_t *hosts, const char *next, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

static void add(struct why *w, const char *kind, json_t *hosts, const char *next, const char *fmt, ...)
{
    char text[TEXT_BYTES], safe[TEXT_BYTES];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    writer_safe(safe, sizeof safe, text); /* it may have been cut within a character */
    for (size_t i = 0; i < w->before; i++) {
        if (!json_equal(json_object_get(json_array_get(w->causes, i), "hosts"), hosts))
            continue;
        json_decref(hosts);
        return;
    }
    json_array_append_new(w->causes, json_pack("{s:s, s:o, s:s, s:s}", "kind", kind, "hosts", hosts, "text",
                                               safe, "next", next));
}

/* ---- members ---- */

/* This host, also where no agent tells of it. */
static json_t *this_host(const struct why *w)
{
    json_t *hosts = hosts_of(w->self);

    if (json_array_size(hosts) == 0)
        json_array_append_new(hosts, host_of(writer_text(w->picture, "host"), ""));
    return hosts;
}

/* Whoever is at an address: the members that are known there, else the address alone. */
static json_t *hosts_at(const struct why *w, const char *address)
{
    json_t *hosts = json_array();
    const json_t *m;
    size_t i;

    json_array_foreach(w->members, i, m)
    {
        if (why_is(m, "address", address) && !why_left(m))
            json_array_append_new(hosts, host_of(writer_text(m, "name"), address));
    }
    if (json_array_size(hosts) == 0)
        json_array_append_new(hosts, host_of("", address));
    return hosts;
}

static size_t count_alive(const struct why *w)
{
    const json_t *m;
    size_t i, count = 0;

    json_array_foreach(w->members, i, m) count += why_is(m, "state", "alive");
    return count;
}

static const char *sign(const struct why *w, const char *word)
{
    return writer_text(json_object_get(w->status, "signs"), word);
}

static const char *waiting(const struct why *w)
{
    return writer_text(w->status, "waiting");
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* Texts that tell a cause which lies on that very host; what else goes wrong may be the consequence of
 * something elsewhere. */
static const struct {
    const char *sign;
    const char *kind;
} own_causes[] = {
    {"this host is not fit", "preflight"},    {"images could not be had", "image"},
    {"No space left on device", "disk"},      {"could not find a JWS signature", "ticket"},
    {"the ticket from the master", "ticket"},
};

static const char *kind_of(const char *text)
{
    for (size_t i = 0; i < COUNT_OF(own_causes); i++)
        if (strstr(text, own_causes[i].sign))
            return own_causes[i].kind;
    return NULL;
}

/* ---- without an agent ---- */

static void find_ending(struct why *w)
{
    const json_t *ending = json_object_get(w->picture, "ending");
    const char *text = writer_text(ending, "text");

    if (!w->status && *text)
        add(w, kind_of(text) ? kind_of(text) : "agent", this_host(w), writer_text(ending, "next"), "%s",
            text);
}

static void find_silent(struct why *w)
{
    if (w->silent)
        add(w, "agent", this_host(w),
            "journalctl -u kpeer tells what it was at; if it stays so: sudo systemctl restart kpeer",
            "the agent of %s runs and does not answer: it is stopped or stuck",
            writer_text(w->picture, "host"));
}

static void find_no_agent(struct why *w)
{
    if (!w->status && !w->silent)
        add(w, "agent", this_host(w), UP_AGAIN, "the agent of %s was not started, or it was killed",
            writer_text(w->picture, "host"));
}

/* ---- who hears whom ---- */

/* It has to come first: the others go by another key now. */
static void find_evicted(struct why *w)
{
    const char *error = writer_text(w->status, "error");

    if (begins(error, "this host was evicted"))
        add(w, "evicted", this_host(w), writer_text(w->status, "hint"), "%s", error);
}

/* Another group beside a whole one of ours is nobody's fault. */
static void find_other_key(struct why *w)
{
    const char *at = sign(w, "other-group");

    if (!*at || w->ready || w->cluster || !w->members)
        return;
    if (count_alive(w) > 1)
        add(w, "key", hosts_at(w, at),
            "there: sudo kpeer key show; copy this group's key file to it, then: sudo "
            "systemctl restart kpeer",
            "the host at %s has another key than this group", at);
    else
        add(w, "key", this_host(w),
            "compare `sudo kpeer key show` here and there; copy the right file over, then: sudo systemctl "
            "restart "
            "kpeer",
            "the host at %s has another key than this one, and no host with the key of this one is heard",
            at);
}

static void find_clash(struct why *w)
{
    const char *at = sign(w, "conflict");

    if (*at)
        add(w, "address", hosts_at(w, at), "give one of them another address; it goes on by itself",
            "two hosts claim the address %s: neither is reached there", at);
}

#define MULTICAST_HINT                                                                                       \
    "let multicast and UDP 7373 through there (nft list ruleset; switch: IGMP snooping), or name a host: "   \
    "sudo "                                                                                                  \
    "kpeer up --seed ADDRESS"

/* Others that cannot be linked to, since one side does not hear the other, are no members as far as this host
 * knows. */
static void find_one_way(struct why *w)
{
    const char *deaf = sign(w, "deaf"), *unheard = sign(w, "unheard");
    bool knocked =
        json_integer_value(json_object_get(json_object_get(w->status, "heard"), "refused-links")) > 0;

    if (*deaf)
        add(w, "multicast", hosts_at(w, deaf), MULTICAST_HINT,
            "the host at %s is heard here and does not hear this one: multicast does not arrive there", deaf);
    else if (*unheard)
        add(w, "multicast", this_host(w), MULTICAST_HINT,
            "hosts are heard here, and none of them hears this one: its multicast does not get out");
    else if (knocked && !w->cluster && count_alive(w) == 1)
        add(w, "multicast", this_host(w), MULTICAST_HINT,
            "other hosts connect to this one, so they hear it; what they send by multicast does not arrive "
            "here");
}

/* ---- who is not there ---- */

static void add_absent(struct why *w, const char *kind, const json_t *member)
{
    char text[TEXT_BYTES], next[160];

    why_member_text(w, member, text, sizeof text);
    snprintf(next, sizeof next, "see that it is on and connected; there: sudo kpeer why, " UP_AGAIN);
    add(w, kind, hosts_of(member), next, "%s: it is off or cut off, or its agent has ended", text);
}

/* Whatever else is wrong, a host that is not there has that to mend first. */
static void find_gone(struct why *w)
{
    if (w->subject && why_absent(w->subject))
        add_absent(w, w->subject == w->master ? "master" : "absent", w->subject);
}

/* The master's leaving is more than its own. */
static void find_left(struct why *w)
{
    const char *name = writer_text(w->subject, "name");
    char next[TEXT_BYTES];

    if (w->own || w->subject == w->master || !why_left(w->subject))
        return;
    if (why_evicted(w->subject)) {
        snprintf(next, sizeof next,
                 "to use it again: on %.80s: sudo kpeer leave --force; with the present key file: " UP_AGAIN,
                 name);
        add(w, "evicted", hosts_of(w->subject), next, "%s is no member any more: somebody typed kpeer evict",
            name);
    } else {
        snprintf(next, sizeof next, "to have it back: on %.80s: " UP_AGAIN, name);
        add(w, "left", hosts_of(w->subject), next, "%s is no member any more: somebody typed kpeer leave",
            name);
    }
}

/* Whoever is here under a name that another member had, which is shown no more. */
static const json_t *find_alive(const struct why *w, const char *name)
{
    const json_t *m;
    size_t i;

    json_array_foreach(w->members, i, m)
    {
        if (why_is(m, "name", name) && why_is(m, "state", "alive"))
            return m;
    }
    return NULL;
}

/* There is one control plane, and it went with its host. */
static void find_master_down(struct why *w)
{
    const char *name = writer_text(w->cluster, "founder_name");
    const json_t *anew = w->cluster && !w->master ? find_alive(w, name) : NULL;

    if (anew)
        add(w, "master", hosts_of(anew), FORM_ANEW,
            "the master %s has left, and is here anew: this cluster has no control plane", name);
    else if (w->master && why_left(w->master))
        add(w, "master", hosts_of(w->master), FORM_ANEW,
            "the master %s has left: this cluster has no control plane", name);
    else if (w->cluster && !w->master)
        add(w, "master", json_array(), "start it: there: " UP_AGAIN, "the master %s is not heard", name);
    else if (w->master && why_absent(w->master))
        add_absent(w, "master", w->master);
}

static void find_no_quorum(struct why *w)
{
    json_t *hosts = json_array();
    const json_t *m;
    size_t i;

    json_array_foreach(w->members, i, m)
    {
        if (why_absent(m))
            json_array_append_new(hosts, host_of(writer_text(m, "name"), writer_text(m, "address")));
    }
    if (!w->cluster && begins(waiting(w), "a majority of the"))
        add(w, "quorum", json_incref(hosts), writer_text(w->status, "hint"),
            "nothing can be decided without %s", waiting(w));
    json_decref(hosts);
}

/* A host that formation waits for. */
static void find_absent(struct why *w)
{
    const json_t *m;
    size_t i;

    json_array_foreach(w->members, i, m)
    {
        if (why_absent(m) && !w->cluster && !w->ready)
            add_absent(w, "absent", m);
    }
}

/* ---- what was looked at ---- */

static void find_unfit(struct why *w)
{
    const json_t *checks = json_object_get(w->picture, "checks"), *check;
    json_t *hosts = this_host(w);
    size_t i;

    json_array_foreach(checks, i, check)
    {
        if (w->own && why_is(check, "level", "red"))
            add(w, writer_text(check, "check"), json_incref(hosts), writer_text(check, "next"),
                "%s is not fit: %s", writer_text(json_array_get(hosts, 0), "name"),
                writer_text(check, "detail"));
    }
    json_decref(hosts);
}

static bool names(const json_t *hosts, const json_t *member)
{
    const json_t *host;
    size_t i;

    json_array_foreach(hosts, i, host)
    {
        if (member && why_is(host, "name", writer_text(member, "name")) &&
            why_is(host, "address", writer_text(member, "address")))
            return true;
    }
    return false;
}

/* Whether a fault of the group lies on this host's way: it is its own, the master's, or everybody's. */
static bool concerns(const struct why *w, const json_t *fault)
{
    const json_t *hosts = json_object_get(fault, "hosts");

    return json_array_size(hosts) == 0 || names(hosts, w->subject) || names(hosts, w->master);
}

static void find_in_group(struct why *w)
{
    const json_t *faults = json_object_get(json_object_get(w->picture, "group"), "faults"), *fault;
    size_t i;

    for (int rest = 0; rest < 2; rest++)
        json_array_foreach(faults, i, fault)
        {
            if (concerns(w, fault) != (rest == 0) || !why_is(fault, "level", "red") ||
                why_is(fault, "check", "answer"))
                continue;
            add(w, writer_text(fault, "check"), json_incref(json_object_get(fault, "hosts")),
                writer_text(fault, "next"), "%s", writer_text(fault, "text"));
        }
}

/* ---- what the hosts say of themselves ---- */

static void add_told(struct why *w, const json_t *member, const char *kind, const char *text)
{
    char name[WHY_HOST_BYTES], next[WHY_HOST_BYTES + 64];

    snprintf(next, sizeof next, "on %.80s: sudo kpeer why", writer_text(member, "name"));
    add(w, kind, hosts_of(member), member == w->self ? writer_text(w->status, "hint") : next, "%s says: %s",
        why_name(member, name), text);
}

static const char *text_of(const struct why *w, const json_t *member)
{
    return writer_text(member == w->self ? w->status : member, member == w->self ? "error" : "note");
}

static bool is_troubled(const struct why *w, const json_t *member)
{
    return !why_absent(member) && !why_left(member) && *text_of(w, member);
}

/* The subject first, then the others, of whom one may be what it waits for. */
static void find_told_causes(struct why *w)
{
    const json_t *m;
    size_t i;

    if (w->ready)
        return;
    for (int others = 0; others < 2; others++)
        json_array_foreach(w->members, i, m)
        {
            const char *text = text_of(w, m), *kind = kind_of(text);

            if (kind && is_troubled(w, m) && (m == w->subject) == (others == 0))
                add_told(w, m, kind, text);
        }
}

/* ---- where nothing deeper is seen ---- */

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '-' || c == '.';
}

/* Whether a text holds `word` followed by `then`, and not as a part of a longer word. */
static bool holds(const char *text, const char *word, const char *then)
{
    size_t n = strlen(word);

    for (const char *at = n ? strstr(text, word) : NULL; at; at = strstr(at + 1, word))
        if ((at == text || !is_word(at[-1])) && (*then ? begins(at + n, then) : !is_word(at[n])))
            return true;
    return false;
}

/* The members that a text about the group names, as protocol/check.c words it. */
static json_t *hosts_in(const struct why *w, const char *text)
{
    json_t *hosts = json_array();
    const json_t *m;
    size_t i;

    json_array_foreach(w->members, i, m)
    {
        const char *name = writer_text(m, "name"), *address = writer_text(m, "address");

        if (!why_left(m) && (holds(text, address, "") || holds(text, name, " has ")))
            json_array_append_new(hosts, host_of(name, address));
    }
    return hosts;
}

/* What each host says alike of the group is no host's own. */
static void find_error(struct why *w)
{
    const char *text = why_error(w);
    bool blocked = w->own && strcmp(waiting(w), text) == 0;

    if (*text && blocked)
        add(w, "group", hosts_in(w, text), writer_text(w->status, "hint"), "%s", text);
    else if (*text)
        add_told(w, w->subject, "step", text);
}

static void find_told_errors(struct why *w)
{
    const json_t *m;
    size_t i;

    json_array_foreach(w->members, i, m)
    {
        if (!w->ready && is_troubled(w, m) && m != w->subject)
            add_told(w, m, "step", text_of(w, m));
    }
}

static void find_too_few(struct why *w)
{
    json_int_t expect = json_integer_value(json_object_get(json_object_get(w->status, "election"), "expect"));

    if (!w->status || w->cluster || w->ready)
        return;
    if (expect > (json_int_t)count_alive(w))
        add(w, "hosts", json_array(),
            "start the others: " UP_AGAIN " on each; or give all the right --expect",
            "%zu of %lld expected hosts are here, and nothing is heard of the others", count_alive(w),
            (long long)expect);
    else if (count_alive(w) == 1 && expect != 1)
        add(w, "hosts", json_array(),
            UP_AGAIN " on the other hosts; where it runs there already: " MULTICAST_HINT,
            "no other host is heard: kpeer runs on none, or multicast does not get through");
}

static void find_waiting(struct why *w)
{
    const char *hint = writer_text(w->status, "hint");

    if (w->own && !w->ready && *waiting(w) && *hint)
        add(w, "waiting", this_host(w), hint, "%s waits for %s", writer_text(w->subject, "name"), waiting(w));
}

/* ---- in order ---- */

/* A cause before its consequences. What is `surface` counts only where nothing stands above it. */
static const struct {
    void (*find)(struct why *w);
    bool surface;
} rules[] = {
    {find_ending, false},      {find_evicted, false}, {find_clash, false},   {find_other_key, false},
    {find_one_way, false},     {find_gone, false},    {find_left, false},    {find_master_down, false},
    {find_no_quorum, false},   {find_unfit, false},   {find_silent, false},  {find_in_group, false},
    {find_told_causes, false}, {find_absent, false},  {find_error, true},    {find_told_errors, true},
    {find_too_few, true},      {find_waiting, true},  {find_no_agent, true},
};

void why_find(struct why *w)
{
    for (size_t i = 0; i < COUNT_OF(rules); i++) {
        w->before = json_array_size(w->causes);
        if (!rules[i].surface || w->before == 0)
            rules[i].find(w);
    }
}
