/* A firewall that is shut, opened for what Kubernetes and kpeer need through whoever manages it; rules that
 * nobody manages are told and not touched. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "peer/executor/host/check.h"
#include "peer/executor/host/look.h"
#include "peer/executor/host/mend.h"
#include "peer/executor/host/parse_net.h"
#include "protocol/mem.h"

#define UFW       "ufw "
#define FIREWALLD "firewalld "
#define RULE_MAX  64

/* What must come in. */
struct need {
    uint16_t from, to;
    const char *protocol;
    bool master; /* only there */
};

static const struct need needs[] = {
    {6443, 6443, "tcp", true},  {2379, 2380, "tcp", true},    {10250, 10250, "tcp", false},
    {8472, 8472, "udp", false}, {30000, 32767, "tcp", false}, {30000, 32767, "udp", false},
};

static const char *const bridges[] = {"cni0", "flannel.1"};

struct rules {
    char words[24][RULE_MAX]; /* as the firewall's program takes them */
    size_t count;
};

enum firewall { FIREWALL_NONE, FIREWALL_UFW, FIREWALL_FIREWALLD, FIREWALL_RAW };

/* All needs with kpeer's own ports, which are configured. */
static size_t all_needs(const struct survey *s, struct need out[static 16])
{
    const struct executor_config *cfg = s->ctx->cfg;
    size_t count = 0;

    if (cfg->port) {
        out[count++] = (struct need){cfg->port, cfg->port, "tcp", false};
        out[count++] = (struct need){cfg->port, cfg->port, "udp", false};
    }
    if (cfg->multicast_port && cfg->multicast_port != cfg->port)
        out[count++] = (struct need){cfg->multicast_port, cfg->multicast_port, "udp", false};
    for (size_t i = 0; i < COUNT_OF(needs); i++) {
        if (!needs[i].master || s->role == STEP_ROLE_MASTER)
            out[count++] = needs[i];
    }
    return count;
}

static void add_rule(struct rules *r, const char *before, const struct need *n, char dash)
{
    if (n->from == n->to)
        snprintf(r->words[r->count++], RULE_MAX, "%s%u/%s", before, n->from, n->protocol);
    else
        snprintf(r->words[r->count++], RULE_MAX, "%s%u%c%u/%s", before, n->from, dash, n->to, n->protocol);
}

static void ufw_rules(const struct survey *s, struct rules *r)
{
    struct need all[16];
    size_t count = all_needs(s, all);

    for (size_t i = 0; i < count; i++)
        add_rule(r, "allow ", &all[i], ':');
    for (size_t i = 0; i < COUNT_OF(bridges); i++) {
        snprintf(r->words[r->count++], RULE_MAX, "allow in on %s", bridges[i]);
        snprintf(r->words[r->count++], RULE_MAX, "route allow in on %s", bridges[i]);
        snprintf(r->words[r->count++], RULE_MAX, "route allow out on %s", bridges[i]);
    }
}

static void firewalld_rules(const struct survey *s, struct rules *r)
{
    struct need all[16];
    size_t count = all_needs(s, all);

    for (size_t i = 0; i < count; i++)
        add_rule(r, "port=", &all[i], '-');
    for (size_t i = 0; i < COUNT_OF(bridges); i++)
        snprintf(r->words[r->count++], RULE_MAX, "interface=%s", bridges[i]);
}

/* The words of a rule as arguments; `copy` holds them. */
static void split_words(char *copy, const char **argv, size_t max)
{
    size_t n = 0;
    char *state;

    for (char *word = strtok_r(copy, " ", &state); word && n < max; word = strtok_r(NULL, " ", &state))
        argv[n++] = word;
}

static int ufw_run(struct exec_ctx *ctx, const char *words, struct err *err)
{
    const char *argv[12] = {""};
    char copy[JOURNAL_DEED_BYTES + 16];

    snprintf(copy, sizeof(copy), "%s", words);
    split_words(copy, argv + 1, COUNT_OF(argv) - 2);
    return mend_do(ctx, TOOL_UFW, argv, err);
}

static int ufw_text(struct exec_ctx *ctx, const char *what, struct spawn_result *res, struct err *err)
{
    const char *const added[] = {"", "show", "added", NULL}, *const status[] = {"", "status", NULL};

    return mend_run(ctx, TOOL_UFW, strcmp(what, "added") == 0 ? added : status, true, res, err);
}

/* Interfaces belong to the zone that trusts them, ports to the zone of the rest. */
static int firewalld_run(struct exec_ctx *ctx, const char *verb, const char *rule, bool permanent,
                         struct err *err)
{
    const char *argv[6] = {""};
    char option[RULE_MAX + 16];
    size_t n = 1;

    snprintf(option, sizeof(option), "--%s-%s", verb, rule);
    if (permanent)
        argv[n++] = "--permanent";
    if (strncmp(rule, "interface=", 10) == 0)
        argv[n++] = "--zone=trusted";
    argv[n++] = option;
    return mend_do(ctx, TOOL_FIREWALL_CMD, argv, err);
}

static bool firewalld_has(struct exec_ctx *ctx, const char *rule)
{
    return firewalld_run(ctx, "query", rule, false, NULL) == 0 &&
           firewalld_run(ctx, "query", rule, true, NULL) == 0;
}

static bool listing(struct exec_ctx *ctx, enum executor_tool tool, const char *const *argv,
                    bool (*shut)(const char *text, struct parse_shut *out), struct parse_shut *out,
                    char **text)
{
    struct spawn_result res;
    bool is_shut = mend_run(ctx, tool, argv, true, &res, NULL) == 0 && shut(res.out, out);

    if (is_shut)
        *text = strdup(res.out);
    spawn_result_fini(&res);
    return is_shut && *text;
}

/* Who keeps packets out, if anybody. `text` is the listing of unmanaged rules, the caller's to free. */
static enum firewall find_firewall(struct exec_ctx *ctx, struct parse_shut *shut, char **text)
{
    static const char *const state[] = {"", "--state", NULL}, *const save[] = {"", NULL},
                             *const list[] = {"", "list", "ruleset", NULL};
    struct spawn_result res;
    bool active = ufw_text(ctx, "status", &res, NULL) == 0 && parse_ufw_active(res.out);

    spawn_result_fini(&res);
    if (active)
        return FIREWALL_UFW;
    active = mend_run(ctx, TOOL_FIREWALL_CMD, state, true, &res, NULL) == 0 && strstr(res.out, "running");
    spawn_result_fini(&res);
    if (active)
        return FIREWALL_FIREWALLD;
    if (listing(ctx, TOOL_IPTABLES_SAVE, save, parse_iptables_shut, shut, text) ||
        listing(ctx, TOOL_NFT, list, parse_nft_shut, shut, text))
        return FIREWALL_RAW;
    return FIREWALL_NONE;
}

/* Only the rules that are not there yet stay. */
static int missing_rules(struct survey *s, enum firewall who, struct rules *r, struct err *err)
{
    struct spawn_result res = {0};
    size_t kept = 0;
    int code = 0;

    r->count = 0;
    if (who == FIREWALL_UFW) {
        ufw_rules(s, r);
        code = ufw_text(s->ctx, "added", &res, err);
    } else {
        firewalld_rules(s, r);
    }
    for (size_t i = 0; code == 0 && i < r->count; i++) {
        bool has =
            who == FIREWALL_UFW ? parse_ufw_has(res.out, r->words[i]) : firewalld_has(s->ctx, r->words[i]);

        if (!has)
            memmove(r->words[kept++], r->words[i], RULE_MAX);
    }
    r->count = kept;
    spawn_result_fini(&res);
    return code;
}

/* The command to type, for each rule that misses. */
static void say_rules(struct survey *s, enum firewall who, const struct rules *r)
{
    for (size_t i = 0; i < r->count; i++) {
        if (who == FIREWALL_UFW)
            exec_say(s->ctx, "firewall", -1, "ufw %s", r->words[i]);
        else
            exec_say(s->ctx, "firewall", -1, "firewall-cmd --permanent %s--add-%s",
                     r->words[i][0] == 'i' ? "--zone=trusted " : "", r->words[i]);
    }
}

static void look_managed(struct survey *s, enum firewall who)
{
    const char *name = who == FIREWALL_UFW ? "ufw" : "firewalld";
    struct rules r;
    struct err e = {0};
    char next[160];

    if (missing_rules(s, who, &r, &e)) {
        check_tell(s, FINDING_WARN, "see which ports it lets in", "%s does not tell its rules: %.60s", name,
                   e.text);
    } else if (r.count == 0) {
        check_tell(s, FINDING_GREEN, "", "%s lets in what is needed", name);
    } else {
        if (s->ctx->cfg->tell_firewall)
            say_rules(s, who, &r);
        snprintf(next, sizeof(next), "%s%s, and %zu more",
                 who == FIREWALL_UFW ? "ufw " : "firewall-cmd --add-", r.words[0], r.count - 1);
        check_tell(s, FINDING_RED, next, "%s keeps out what is needed (%s)", name, r.words[0]);
    }
}

static void say_raw(struct survey *s, const struct parse_shut *shut, const struct need *n)
{
    if (shut->is_nft)
        exec_say(s->ctx, "firewall", -1, "nft insert rule %s %s %s %s dport %u-%u accept", shut->family,
                 shut->table, shut->chain, n->protocol, n->from, n->to);
    else
        exec_say(s->ctx, "firewall", -1, "iptables -I INPUT -p %s --dport %u:%u -j ACCEPT", n->protocol,
                 n->from, n->to);
}

static void say_bridges(struct survey *s, const struct parse_shut *shut)
{
    for (size_t i = 0; i < COUNT_OF(bridges); i++) {
        if (shut->is_nft)
            exec_say(s->ctx, "firewall", -1, "nft insert rule %s %s %s iifname %s accept", shut->family,
                     shut->table, shut->chain, bridges[i]);
        else
            exec_say(s->ctx, "firewall", -1, "iptables -I INPUT -i %s -j ACCEPT", bridges[i]);
    }
}

static void look_raw(struct survey *s, const struct parse_shut *shut, const char *text)
{
    struct need all[16];
    size_t count = all_needs(s, all), missing = 0, first = 0;

    for (size_t i = 0; i < count; i++) {
        if (parse_accepts(text, all[i].protocol, all[i].from, all[i].to))
            continue;
        first = missing++ ? first : i;
        say_raw(s, shut, &all[i]);
    }
    if (!missing) {
        check_tell(s, FINDING_GREEN, "", "the firewall's rules name what is needed");
        return;
    }
    say_bridges(s, shut);
    check_tell(s, FINDING_WARN, "add the rules that are told above, and keep them over a restart",
               "%s %.20s %.20s (%s) lets in no %s %u, nor %zu more", shut->is_nft ? "nftables" : "iptables",
               shut->table, shut->chain, shut->why, all[first].protocol, all[first].from, missing - 1);
}

static void look_firewall(struct survey *s)
{
    cleanup_free char *text = NULL;
    struct parse_shut shut;
    enum firewall who = find_firewall(s->ctx, &shut, &text);

    if (who == FIREWALL_NONE)
        check_tell(s, FINDING_GREEN, "", "no firewall is shut");
    else if (who == FIREWALL_RAW)
        look_raw(s, &shut, text);
    else
        look_managed(s, who);
}

static int open_rule(struct exec_ctx *ctx, enum firewall who, const char *rule, struct err *err)
{
    struct journal_deed d = {.kind = DEED_RULE, .before = "absent", .after = "there"};
    int code;

    snprintf(d.name, sizeof(d.name), "%s%s", who == FIREWALL_UFW ? UFW : FIREWALLD, rule);
    code = journal_note_deed(ctx->journal, &d, err);
    if (code || who == FIREWALL_UFW)
        return code ? code : ufw_run(ctx, rule, err);
    code = firewalld_run(ctx, "add", rule, true, err);
    return code ? code : firewalld_run(ctx, "add", rule, false, err);
}

/* firewalld writes a zone's file only when the zone is first changed: then it goes away with the rules. */
static int expect_zones(struct exec_ctx *ctx, struct err *err)
{
    static const char *const files[] = {"public.xml", "public.xml.old", "trusted.xml", "trusted.xml.old"};
    char path[PATH_MAX], name[64];
    int code = 0;

    for (size_t i = 0; i < COUNT_OF(files) && code == 0; i++) {
        snprintf(name, sizeof(name), "/etc/firewalld/zones/%s", files[i]);
        code = exec_path(ctx, name, path, sizeof(path), err);
        code = code ? code : journal_expect_file(ctx->journal, path, err);
    }
    return code;
}

static int fix_firewall(struct survey *s, struct err *err)
{
    cleanup_free char *text = NULL;
    struct parse_shut shut;
    enum firewall who = find_firewall(s->ctx, &shut, &text);
    struct rules r;
    int code;

    if (s->ctx->cfg->tell_firewall || (who != FIREWALL_UFW && who != FIREWALL_FIREWALLD))
        return 0;
    code = missing_rules(s, who, &r, err);
    if (code == 0 && who == FIREWALL_FIREWALLD)
        code = expect_zones(s->ctx, err);
    for (size_t i = 0; i < r.count && code == 0; i++)
        code = open_rule(s->ctx, who, r.words[i], err);
    return code;
}

const struct check check_firewall = {
    .name = "firewall",
    .why = "hosts of a cluster must reach each other",
    .mend = "open what is needed (ufw, firewalld), or tell the rules",
    .undo = "the rules are taken away again",
    .kubeadm = {"FirewalldCheck"},
    .look = look_firewall,
    .fix = fix_firewall,
};

/* "delete allow 6443/tcp", but "route delete allow in on cni0". */
static int ufw_delete(struct exec_ctx *ctx, const char *rule, struct err *err)
{
    bool route = strncmp(rule, "route ", 6) == 0;
    char words[JOURNAL_DEED_BYTES + 16];

    snprintf(words, sizeof(words), "%sdelete %s", route ? "route " : "", rule + (route ? 6 : 0));
    return ufw_run(ctx, words, err);
}

static int undo_ufw(struct exec_ctx *ctx, const char *rule, enum journal_undone *how, struct err *err)
{
    struct spawn_result res;
    int code = ufw_text(ctx, "added", &res, err);

    *how = code == 0 && parse_ufw_has(res.out, rule) ? JOURNAL_BACK : JOURNAL_SAME;
    spawn_result_fini(&res);
    if (code == KPEER_ENOTFOUND)
        *how = JOURNAL_LEFT; /* ufw was removed since, and its rules with it */
    else if (code == 0 && *how == JOURNAL_BACK)
        code = ufw_delete(ctx, rule, err);
    return code == KPEER_ENOTFOUND ? 0 : code;
}

static int undo_firewalld(struct exec_ctx *ctx, const char *rule, enum journal_undone *how, struct err *err)
{
    const char *const state[] = {"", "--state", NULL};
    bool runs = mend_do(ctx, TOOL_FIREWALL_CMD, state, NULL) == 0;
    bool now = firewalld_run(ctx, "query", rule, false, NULL) == 0;
    bool later = firewalld_run(ctx, "query", rule, true, NULL) == 0;
    int code = later ? firewalld_run(ctx, "remove", rule, true, err) : 0;

    if (code == 0 && now)
        code = firewalld_run(ctx, "remove", rule, false, err);
    *how = !runs ? JOURNAL_LEFT : now || later ? JOURNAL_BACK : JOURNAL_SAME;
    return code;
}

int check_undo_rule(void *ctx, const struct journal_deed *d, enum journal_undone *how, struct err *err)
{
    if (strncmp(d->name, UFW, sizeof(UFW) - 1) == 0)
        return undo_ufw(ctx, d->name + sizeof(UFW) - 1, how, err);
    return undo_firewalld(ctx, d->name + sizeof(FIREWALLD) - 1, how, err);
}
