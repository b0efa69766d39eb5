#include "peer/command/redact.h"

#include <locale.h>
#include <regex.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "protocol/mem.h"

#define KNOWN_MAX   16
#define KNOWN_LEAST 8
#define LINE_BYTES  16384 /* the rest of a longer line is taken out */
#define OUT_BYTES   (2 * LINE_BYTES)
#define GROUPS      6

/* Of what is secret: the first may have more behind them, the others not. */
#define WORDS                                                                                                \
    "token|passw[a-z]*|passphrase|secret|credential|signature|api[-_]?key|access[-_]?key|private[-_]?key|"   \
    "client-?key-?data|certificate-?key"
#define NAME  "((" WORDS ")[a-z0-9_.-]*|(^|[^a-z])(pass|auth))" /* two groups and two */
#define QUOTE "\\\\*[\"']?"                                     /* of JSON within a text, too */
/* A value in quotes, which may be cut off. Where those are escaped nobody knows how deep: up to the end. */
#define QUOTED "\"([^\"\\]|\\\\.)*\\\\?(\"|$)|'([^']|'')*('|$)|\\\\+[\"'].*"
#define ESCAPE "\\\\[a-z]|\\\\u[0-9a-f]{4}|%[0-9a-f]{2}" /* ends in what could be a token's own letter */
#define SCHEME "((bearer|basic|digest|negotiate|token)[[:space:]]+)?"

/* What may stand where a port would, and what is in no port. */
#define PORTLIKE "[^]@[:space:]\"'/?#\\\\]"
#define NO_PORT  "[^]@[:space:]\"'/?#\\\\0-9.,;:)}>]"

enum kind {
    PLAIN, /* letters of either case */
    NAMED, /* the same; group 1 is a name, and may be that of something harmless */
    EXACT, /* as they are written here */
    UNIT,  /* the same, in a unit, where a line that ends in \ goes on in the next one */
};

/* What looks like a secret. The group in brackets of number `group` is what is taken out. A name may stand in
 * quotes, as in JSON and YAML, and a value as well. */
static const struct {
    const char *pattern;
    size_t group;
    enum kind kind;
} looks[] = {
    {"(kpeer-group-key-[0-9]+:[^[:space:]\"']*)", 1, PLAIN},
    {"(^|[^a-z0-9.]|" ESCAPE ")[a-z0-9]{6}\\.([a-z0-9]{16})($|[^a-z0-9])", 2, EXACT},
    {"(eyJ[a-z0-9_-]{8,}\\.[a-z0-9_-]{4,}\\.[a-z0-9_-]*)", 1, PLAIN},
    {"authorization" QUOTE "[[:space:]]*:[[:space:]]*" QUOTE SCHEME "(.+)$", 3, PLAIN},
    {"(bearer|basic) +([a-z0-9._~+/=-]{8,})", 2, PLAIN},
    /* In a URL up to the last @, but not to that of an image's digest; else where a port would be. */
    {"://([^][/@:[:space:]\"']*:)?([^[:space:]\"']+)@([^s]|s[^h]|sh[^a]|$)", 2, PLAIN},
    {"://[^][/@:[:space:]\"']+:(" PORTLIKE "*" NO_PORT "[^@[:space:]\"']*)([[:space:]\"']|$)", 1, PLAIN},
    {"(^|[^A-Za-z])(Environment|SetCredential[A-Za-z]*)[[:space:]]*=[[:space:]]*[\"']?([A-Za-z0-9_]+=)?(.*)$",
     4, UNIT},
    {"KEY=(" QUOTED "|[^[:space:]]+)", 1, EXACT},
    {"--code" QUOTE "[[:space:],=]+" QUOTE "([a-z0-9-]+)", 1, PLAIN},
    {"--([a-z0-9]+-)*(" WORDS ")" QUOTE "[[:space:],=]+(" QUOTED "|[^[:space:],;}]+)", 3, PLAIN},
    {NAME QUOTE "[[:space:]]*=[[:space:]]*(" QUOTED "|[^[:space:],;}]+)", 5, NAMED},
    {NAME QUOTE "[[:space:]]*:[[:space:]]*(" QUOTED "|[^\"'[:space:]].*)", 5, NAMED},
    {"(LS0tLS1CRUdJTi[a-z0-9+/=]*)", 1, PLAIN}, /* PEM, in base64 */
};

/* Names that end so are of files, objects and steps that have to do with a secret. */
static const char *const harmless[] = {"name", "file",    "path", "dir",   "ref",
                                       "hash", "seconds", ".go",  "-mint", "-revoke"};

#define PEM_BEGIN "-----BEGIN "
#define PEM_KEY   "PRIVATE KEY" /* and BLOCK, in PGP's */
#define PEM_END   "-----END "

struct redact {
    locale_t plain; /* bytes, not characters: quicker, and no input is invalid */
    bool compiled;
    regex_t look[COUNT_OF(looks)];
    size_t known_count;
    char *known[KNOWN_MAX];
};

int redact_new(struct redact **out, struct err *err)
{
    struct redact *r = calloc(1, sizeof *r);
    locale_t before;
    int bad = 0;

    if (!r)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    r->plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    before = r->plain ? uselocale(r->plain) : (locale_t)0;
    for (size_t i = 0; r->plain && i < COUNT_OF(looks); i++)
        bad |=
            regcomp(&r->look[i], looks[i].pattern, REG_EXTENDED | (looks[i].kind >= EXACT ? 0 : REG_ICASE));
    if (before)
        uselocale(before);
    r->compiled = r->plain != (locale_t)0;
    if (!r->compiled || bad) {
        redact_free(r);
        return err_set(err, KPEER_ENOMEM, "no memory to look for secrets");
    }
    *out = r;
    return 0;
}

void redact_free(struct redact *r)
{
    if (!r)
        return;
    for (size_t i = 0; r->compiled && i < COUNT_OF(looks); i++)
        regfree(&r->look[i]);
    for (size_t i = 0; i < r->known_count; i++)
        sodium_free(r->known[i]);
    if (r->plain)
        freelocale(r->plain);
    free(r);
}

int redact_add(struct redact *r, const char *secret, struct err *err)
{
    size_t n = strlen(secret);
    char *copy;

    if (n < KNOWN_LEAST)
        return 0;
    copy = r->known_count < KNOWN_MAX ? sodium_malloc(n + 1) : NULL;
    if (!copy)
        return err_set(err, KPEER_ENOMEM, "no memory to look for secrets");
    memcpy(copy, secret, n + 1);
    r->known[r->known_count++] = copy;
    return 0;
}

/* ---- the whole text ---- */

/* Private keys in PEM, on lines of their own or within one; one that is cut short ends with the text. */
static size_t keys_out(char *text)
{
    size_t removed = 0, mark = strlen(REDACT_MARK);

    for (char *at = text; (at = strstr(at, PEM_BEGIN)) != NULL;) {
        char *label = at + strlen(PEM_BEGIN), *end = strstr(label, "-----"), *kind = strstr(label, PEM_KEY);

        if (!kind || !end || kind > end) {
            at = label;
            continue;
        }
        end = strstr(label, PEM_END);
        end = end ? strstr(end + strlen(PEM_END), "-----") : NULL;
        end = end ? end + strlen("-----") : at + strlen(at);
        memcpy(at, REDACT_MARK, mark); /* shorter than the first line alone */
        memmove(at + mark, end, strlen(end) + 1);
        at += mark;
        removed++;
    }
    return removed;
}

static size_t known_out(const struct redact *r, char *text)
{
    size_t removed = 0;

    for (size_t i = 0; i < r->known_count; i++) {
        size_t n = strlen(r->known[i]);

        for (char *at = text; (at = strstr(at, r->known[i])) != NULL; at += n, removed++)
            memset(at, 'x', n);
    }
    return removed;
}

/* ---- a line ---- */

static bool is_harmless(const char *name, size_t n)
{
    for (size_t i = 0; i < COUNT_OF(harmless); i++) {
        size_t end = strlen(harmless[i]);

        if (n >= end && strncasecmp(name + n - end, harmless[i], end) == 0)
            return true;
    }
    return false;
}

/* Writes `line` with each place marked that has this look; `out` holds OUT_BYTES. */
static size_t look_out(const struct redact *r, size_t look, const char *line, char *out)
{
    const size_t mark = strlen(REDACT_MARK), group = looks[look].group;
    const char *begin = line;
    regmatch_t m[GROUPS];
    size_t used = 0, removed = 0;

    while (regexec(&r->look[look], line, GROUPS, m, line == begin ? 0 : REG_NOTBOL) == 0) {
        size_t from = (size_t)m[group].rm_so, to = (size_t)m[group].rm_eo;

        if (to == from)
            break;
        if (to - from == mark && memcmp(line + from, REDACT_MARK, mark) == 0)
            from = to;
        else if (looks[look].kind == NAMED &&
                 is_harmless(line + m[1].rm_so, (size_t)(m[1].rm_eo - m[1].rm_so)))
            from = to = (size_t)m[1].rm_eo;
        if (used + from + mark >= OUT_BYTES) { /* no room to tell */
            snprintf(out + used, OUT_BYTES - used, "%.*s", (int)from, line);
            return removed + 1;
        }
        memcpy(out + used, line, from);
        used += from;
        line += to;
        if (from == to)
            continue;
        memcpy(out + used, REDACT_MARK, mark);
        used += mark;
        removed++;
    }
    snprintf(out + used, OUT_BYTES - used, "%s", line);
    return removed;
}

/* How much of a line is looked at: of a long one up to where a word ends, as half a secret looks like none.
 */
static size_t looked_at(const char *line, size_t n)
{
    if (n <= LINE_BYTES)
        return n;
    for (n = LINE_BYTES; n > 0 && !strchr(" \t,;&", line[n - 1]);)
        n--;
    return n;
}

/* *goes_on: whether the line is of what was taken out of the one before, and then whether the next one is. */
static size_t line_out(const struct redact *r, char *line, bool *goes_on, FILE *to)
{
    char room[2][OUT_BYTES], *now = room[0];
    size_t n = strlen(line), removed = n > LINE_BYTES;
    bool open_end = n > 0 && line[n - 1] == '\\';

    if (*goes_on) {
        char first = line[strspn(line, " \t")];

        *goes_on = open_end || first == '#' || first == ';'; /* comments do not end it */
        fputs(n ? REDACT_MARK : "", to);
        return n > 0;
    }
    snprintf(now, OUT_BYTES, "%.*s%s", (int)looked_at(line, n), line, removed ? REDACT_MARK : "");
    for (size_t i = 0; i < COUNT_OF(looks); i++) {
        char *next = now == room[0] ? room[1] : room[0];

        size_t found = look_out(r, i, now, next);

        *goes_on |= found && open_end && looks[i].kind == UNIT;
        removed += found;
        now = next;
    }
    fputs(now, to);
    return removed;
}

int redact_text(const struct redact *r, const char *text, size_t n, char **out, size_t *out_bytes,
                size_t *removed, struct err *err)
{
    cleanup_free char *copy = malloc(n + 1);
    char *made = NULL;
    FILE *to = copy ? open_memstream(&made, out_bytes) : NULL;
    locale_t before;
    bool goes_on = false, bad;

    if (!to)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    before = uselocale(r->plain);
    for (size_t i = 0; i < n; i++)
        copy[i] = text[i] ? text[i] : ' ';
    copy[n] = '\0';
    *removed = known_out(r, copy) + keys_out(copy);
    for (char *rest = copy, *line; (line = strsep(&rest, "\n")) != NULL;) {
        *removed += line_out(r, line, &goes_on, to);
        if (rest)
            fputc('\n', to);
    }
    uselocale(before);
    sodium_memzero(copy, n);
    bad = ferror(to) != 0;
    if (fclose(to) || bad) {
        free(made);
        return err_set(err, KPEER_ENOMEM, "out of memory");
    }
    *out = made;
    return 0;
}
