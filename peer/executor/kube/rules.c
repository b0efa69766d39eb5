#include "peer/executor/kube/rules.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/mem.h"

#define LINE_MAX_BYTES 4096
#define CHAIN_BYTES    64

static bool is_ours(const char *chain)
{
    static const char *const prefixes[] = {"KUBE-", "CNI-", "FLANNEL-"};
    for (size_t i = 0; i < COUNT_OF(prefixes); i++)
        if (strncmp(chain, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    return false;
}

/* The chain's name after "-A " or ":". */
static bool chain_of(const char *text, char chain[static CHAIN_BYTES])
{
    size_t n = strcspn(text, " \t");
    if (n == 0 || n >= CHAIN_BYTES)
        return false;
    memcpy(chain, text, n);
    chain[n] = '\0';
    return true;
}

static bool leads_to_ours(const char *rule)
{
    static const char *const jumps[] = {" -j ", " -g "};
    char chain[CHAIN_BYTES];
    for (size_t i = 0; i < COUNT_OF(jumps); i++)
        for (const char *at = rule; (at = strstr(at, jumps[i])) != NULL; at += 4)
            if (chain_of(at + 4, chain) && is_ours(chain))
                return true;
    return strstr(rule, "--comment \"flanneld ") != NULL;
}

struct removal {
    FILE *out;
    size_t count;  /* in all tables */
    char **chains; /* of this table, deleted once every rule that leads to them is gone */
    size_t chain_count;
};

static bool keep_chain(struct removal *r, const char *chain)
{
    char **more = reallocarray(r->chains, r->chain_count + 1, sizeof *more);
    if (!more)
        return false;
    r->chains = more;
    r->chains[r->chain_count] = strdup(chain);
    return r->chains[r->chain_count] && ++r->chain_count;
}

static void end_table(struct removal *r)
{
    for (size_t i = 0; i < r->chain_count; i++) {
        fprintf(r->out, "-X %s\n", r->chains[i]);
        free(r->chains[i]);
    }
    r->chain_count = 0;
    fprintf(r->out, "COMMIT\n");
}

/* Naming a chain as ":CHAIN" flushes it under --noflush, so its own rules need no deleting. */
static bool take_line(struct removal *r, const char *line)
{
    char chain[CHAIN_BYTES];
    if (line[0] == '*') {
        fprintf(r->out, "%s\n", line);
    } else if (strcmp(line, "COMMIT") == 0) {
        end_table(r);
    } else if (line[0] == ':' && chain_of(line + 1, chain) && is_ours(chain)) {
        fprintf(r->out, ":%s - [0:0]\n", chain);
        r->count++;
        return keep_chain(r, chain);
    } else if (strncmp(line, "-A ", 3) == 0 && chain_of(line + 3, chain) && !is_ours(chain) &&
               leads_to_ours(line)) {
        fprintf(r->out, "-D %s\n", line + 3);
        r->count++;
    }
    return true;
}

static bool take_all(struct removal *r, const char *saved, size_t n)
{
    const char *end = saved + n;
    while (saved < end) {
        const char *stop = memchr(saved, '\n', (size_t)(end - saved));
        size_t length = (size_t)((stop ? stop : end) - saved);
        char line[LINE_MAX_BYTES];
        if (length < sizeof line) { /* no rule of theirs is longer */
            memcpy(line, saved, length);
            line[length] = '\0';
            if (!take_line(r, line))
                return false;
        }
        saved += length + 1;
    }
    return true;
}

int rules_removal(const char *saved, size_t n, char **out, size_t *out_bytes, size_t *count, struct err *err)
{
    char *bytes = NULL;
    size_t size = 0;
    if (n > RULES_MAX_BYTES)
        return err_set(err, KPEER_ELIMIT, "more packet filter rules than kpeer reads");
    struct removal r = {.out = open_memstream(&bytes, &size)};
    if (!r.out)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    bool ok = take_all(&r, saved, n);
    for (size_t i = 0; i < r.chain_count; i++) /* a table cut off before its COMMIT */
        free(r.chains[i]);
    free(r.chains);
    ok = ok && !ferror(r.out);
    if (fclose(r.out) != 0 || !ok) {
        free(bytes);
        return err_set(err, KPEER_ENOMEM, "out of memory");
    }
    *count = r.count;
    *out = r.count ? bytes : NULL;
    *out_bytes = r.count ? size : 0;
    if (!r.count)
        free(bytes);
    return 0;
}
