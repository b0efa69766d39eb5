#include "peer/executor/packages/apt_parse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/mem.h"
#include "protocol/wanted.h"

#define FIELD_BYTES 256

static bool all_of(const char *text, const char *more)
{
    for (const char *at = text; *at; at++) {
        bool plain = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || (*at >= '0' && *at <= '9');

        if (!plain && !strchr(more, *at))
            return false;
    }
    return *text != '\0';
}

bool apt_is_name(const char *text)
{
    return all_of(text, "+-.") && text[0] != '-' && strlen(text) < APT_NAME_BYTES;
}

bool apt_is_version(const char *text)
{
    return all_of(text, "+-.:~") && text[0] != '-' && strlen(text) < APT_VERSION_BYTES;
}

/* Copies [from, to) without the blanks at its ends; false where it does not fit. */
static bool take(const char *from, const char *to, char *out, size_t out_bytes)
{
    while (from < to && *from == ' ')
        from++;
    while (from < to && to[-1] == ' ')
        to--;
    if ((size_t)(to - from) >= out_bytes)
        return false;
    memcpy(out, from, (size_t)(to - from));
    out[to - from] = '\0';
    return true;
}

static const char *end_of(const char *line)
{
    return line + strcspn(line, "\n");
}

static const char *next_line(const char *line)
{
    const char *end = end_of(line);

    return *end ? end + 1 : end;
}

bool apt_parse_package(const char *line, size_t n, struct apt_package *out)
{
    char text[FIELD_BYTES], *version, *status, *rest;
    struct apt_package p = {0};

    if (n >= sizeof(text) || memchr(line, '\0', n))
        return false;
    memcpy(text, line, n);
    text[n] = '\0';
    version = strchr(text, '\t');
    status = version ? strchr(version + 1, '\t') : NULL;
    if (!status)
        return false;
    *version++ = *status++ = '\0';
    rest = strrchr(status, ' ');
    if (!rest || !apt_is_name(text) || (*version && !apt_is_version(version)))
        return false;
    mem_copy_text(p.name, sizeof(p.name), text);
    mem_copy_text(p.version, sizeof(p.version), version);
    p.there = strcmp(rest, " not-installed") != 0;
    p.cut = strstr(status, " reinstreq ") != NULL;
    p.held = strncmp(status, "hold ", 5) == 0;
    p.installed = strcmp(rest, " installed") == 0;
    p.broken = !p.installed && strcmp(rest, " not-installed") != 0 && strcmp(rest, " config-files") != 0;
    p.purging = strncmp(status, "purge ", 6) == 0;
    p.leaving = p.broken && !p.cut && (p.purging || strncmp(status, "deinstall ", 10) == 0);
    *out = p;
    return true;
}

/* "   kubeadm | 1.23.3-00 | https://… kubernetes-xenial/main amd64 Packages": its version. */
static bool madison_line(const char *line, const char *name, char *version, size_t version_bytes)
{
    const char *end = end_of(line), *first = memchr(line, '|', (size_t)(end - line));
    const char *second = first ? memchr(first + 1, '|', (size_t)(end - first - 1)) : NULL;
    char found[APT_NAME_BYTES];

    return second && take(line, first, found, sizeof(found)) && strcmp(found, name) == 0 &&
           take(first + 1, second, version, version_bytes) && apt_is_version(version);
}

bool apt_upstream_version(const char *version, struct version *out)
{
    const char *colon = strchr(version, ':');

    return version_parse(colon ? colon + 1 : version, out);
}

int apt_parse_madison(const char *text, const char *name, const char *wanted, char *out, size_t out_bytes,
                      struct err *err)
{
    struct version best = {0}, v, w;
    char version[APT_VERSION_BYTES];
    bool found = false;

    for (const char *line = text; *line; line = next_line(line)) {
        if (!madison_line(line, name, version, sizeof(version)) || !apt_upstream_version(version, &v))
            continue;
        if (wanted_minor(wanted, &w) && (v.major != w.major || v.minor != w.minor))
            continue;
        if (wanted_is_exact(wanted) && version_parse(wanted, &w) && version_compare(&v, &w) != 0)
            continue;
        if (strchr(version, '~') || (found && version_compare(&v, &best) <= 0))
            continue; /* of one version's revisions apt lists the newest first */
        if (mem_copy_text(out, out_bytes, version))
            return err_set(err, KPEER_ELIMIT, "the version %s is too long", version);
        best = v;
        found = true;
    }
    return found ? 0 : err_set(err, KPEER_ENOTFOUND, "there is no %s %s", name, wanted);
}

bool apt_parse_companion(const char *text, const char *name, const char *minor, char *out, size_t out_bytes)
{
    struct version best = {0}, v, limit = {0};
    char version[APT_VERSION_BYTES];
    bool found = false, bounded = minor && wanted_minor(minor, &limit);

    for (const char *line = text; *line; line = next_line(line)) {
        bool above, best_above, better;

        if (!madison_line(line, name, version, sizeof(version)) || !apt_upstream_version(version, &v))
            continue;
        above = bounded && (v.major > limit.major || (v.major == limit.major && v.minor > limit.minor));
        best_above =
            bounded && (best.major > limit.major || (best.major == limit.major && best.minor > limit.minor));
        better = above ? best_above && version_compare(&v, &best) < 0
                       : best_above || version_compare(&v, &best) > 0;
        if (found && !better)
            continue;
        if (mem_copy_text(out, out_bytes, version))
            continue;
        best = v;
        found = true;
    }
    return found;
}

bool apt_parse_offers(const char *text, const char *name, const char *version)
{
    char found[APT_VERSION_BYTES];

    for (const char *line = text; *line; line = next_line(line))
        if (madison_line(line, name, found, sizeof(found)) && strcmp(found, version) == 0)
            return true;
    return false;
}

/* "Inst NAME [OLD] (NEW ORIGIN [ARCH]) []", "Remv NAME [OLD]", "Purg NAME" where its files alone are left */
static bool plan_line(const char *line, struct apt_change *c)
{
    char text[FIELD_BYTES * 4], *save = NULL, *word, *name;
    bool is_inst = strncmp(line, "Inst ", 5) == 0;

    memset(c, 0, sizeof(*c));
    if (!take(line + 5, end_of(line), text, sizeof(text)))
        return false;
    name = strtok_r(text, " ", &save);
    word = strtok_r(NULL, " ", &save);
    if (!name || !apt_is_name(name))
        return false;
    mem_copy_text(c->name, sizeof(c->name), name);
    if (word && word[0] == '[' && word[1]) {
        word[strcspn(word, "]")] = '\0';
        if (!apt_is_version(word + 1))
            return false;
        mem_copy_text(c->before, sizeof(c->before), word + 1);
        word = strtok_r(NULL, " ", &save);
    }
    if (!is_inst)
        return c->before[0] != '\0' || (strncmp(line, "Purg ", 5) == 0 && !word);
    if (!word || word[0] != '(')
        return false;
    word[strcspn(word, ")")] = '\0';
    mem_copy_text(c->after, sizeof(c->after), word + 1);
    return apt_is_version(c->after);
}

int apt_parse_plan(const char *text, struct apt_plan *out, struct err *err)
{
    out->count = 0;
    for (const char *line = text; *line; line = next_line(line)) {
        if (strncmp(line, "Purg ", 5) != 0 && strncmp(line, "Inst ", 5) != 0 &&
            strncmp(line, "Remv ", 5) != 0)
            continue;
        if (out->count == APT_CHANGES_MAX)
            return err_set(err, KPEER_ELIMIT, "apt would change more than %d packages", APT_CHANGES_MAX);
        if (!plan_line(line, &out->changes[out->count]))
            return err_set(err, KPEER_EINVAL, "apt's plan has a line of unknown form: %.80s", line);
        out->count++;
    }
    return 0;
}

uint64_t apt_parse_space(const char *text)
{
    static const char marker[] = "After this operation, ";
    static const struct {
        const char *word;
        double bytes;
    } units[] = {{"B ", 1}, {"kB ", 1e3}, {"MB ", 1e6}, {"GB ", 1e9}};
    const char *at = strstr(text, marker), *from;
    double value = 0;
    char *end;

    if (!at)
        return 0;
    /* "1,234 kB": apt groups the thousands. */
    from = at + sizeof(marker) - 1;
    for (end = (char *)(uintptr_t)from; (*end >= '0' && *end <= '9') || *end == ','; end++)
        if (*end != ',')
            value = value * 10 + (*end - '0');
    if (*end == '.')
        value += strtod(end, &end);
    if (*end == ' ')
        end++;
    for (size_t i = 0; i < COUNT_OF(units); i++) {
        size_t n = strlen(units[i].word);

        if (strncmp(end, units[i].word, n) == 0 && strncmp(end + n, "of additional", 13) == 0 && value < 1e9)
            return (uint64_t)(value * units[i].bytes);
    }
    return 0;
}

bool apt_parse_status(const char *line, int32_t *percent, bool *is_download, char *what, size_t what_bytes)
{
    const char *package, *number, *words;
    char *end;
    double value;

    if (strncmp(line, "dlstatus:", 9) != 0 && strncmp(line, "pmstatus:", 9) != 0)
        return false;
    package = line + 9;
    number = strchr(package, ':');
    /* A foreign package is "name:arch". */
    if (number && (number[1] < '0' || number[1] > '9'))
        number = strchr(number + 1, ':');
    words = number ? strchr(number + 1, ':') : NULL;
    if (!words)
        return false;
    value = strtod(number + 1, &end);
    if (end != words || !(value >= 0 && value <= 100))
        return false;
    *percent = (int32_t)value;
    *is_download = line[0] == 'd';
    snprintf(what, what_bytes, "%s", words + 1);
    return true;
}

/* What apt says, and what that means. The first that fits counts: the cause stands before what follows of it.
 */
static const struct {
    const char *words;
    int code;
    const char *hint;
} causes[] = {
    {"NO_PUBKEY", KPEER_EAUTH, "set packages.keyring to the key that signs this repository"},
    {"BADSIG", KPEER_EAUTH, "the repository was changed on its way or on the mirror: use another mirror"},
    {"EXPKEYSIG", KPEER_EAUTH, "the repository's key has expired: get its new one, or use another mirror"},
    {"signatures were invalid", KPEER_EAUTH, "the repository was changed on its way: use another mirror"},
    {"is not signed", KPEER_EAUTH, "use a signed repository, or a folder of .deb files (packages.folder)"},
    {"GPG error", KPEER_EAUTH, "set packages.keyring to the key that signs this repository"},
    {"Hash Sum mismatch", KPEER_EAUTH, "the mirror is being changed or damaged: try again, or use another"},
    {"unexpected size", KPEER_EAUTH, "the mirror is being changed or damaged: try again, or use another"},
    {"Certificate verification failed", KPEER_EAUTH, "look at this host's clock and ca-certificates"},
    {"No space left", KPEER_ELIMIT, "make room on /var and /usr, then try again"},
    {"enough free space", KPEER_ELIMIT, "make room on /var, then try again"},
    {"Could not get lock", KPEER_ETIMEOUT, "wait for the other apt or dpkg to end, then try again"},
    {"Unable to acquire the dpkg frontend lock", KPEER_ETIMEOUT, "wait for the other apt to end"},
    {"frontend lock was locked", KPEER_ETIMEOUT, "wait for the other apt to end, then try again"},
    {"Could not resolve", KPEER_EIO, "look at this host's DNS, or set packages.mirror or packages.folder"},
    {"Temporary failure resolving", KPEER_EIO,
     "look at this host's DNS, or set packages.mirror or packages.folder"},
    {"Could not connect", KPEER_EIO,
     "set packages.mirror to a repository that can be reached, or packages.folder"},
    {"Cannot initiate the connection", KPEER_EIO, "set packages.mirror to a repository that can be reached"},
    {"Connection failed", KPEER_EIO, "set packages.mirror to a repository that can be reached"},
    {"Connection timed out", KPEER_EIO, "set packages.mirror to a repository that can be reached"},
    {"  404  ", KPEER_ENOTFOUND, "look at packages.mirror, packages.layout and the version"},
    /* What upstream's store answers for what it has not. */
    {"  403  ", KPEER_ENOTFOUND, "look at packages.mirror, packages.layout and the version"},
    {"File not found", KPEER_ENOTFOUND, "look at packages.mirror, packages.layout and the version"},
    {"does not have a Release file", KPEER_ENOTFOUND, "look at packages.mirror and packages.layout"},
    {"Conflicting values set for option Signed-By", KPEER_ESTATE,
     "this host has the same repository with another key: remove one of the two from "
     "/etc/apt/sources.list.d"},
    {"Unable to locate package", KPEER_ENOTFOUND, "look at this host's apt sources"},
    {"has no installation candidate", KPEER_ENOTFOUND, "look at this host's apt sources"},
    {"unmet dependencies", KPEER_ENOTFOUND,
     "look at this host's apt sources, or set packages.folder to hold all"},
    {"needs to be reinstalled", KPEER_ENOTFOUND, "apt-get install --reinstall it, then try again"},
    {"held broken packages", KPEER_ESTATE, "see which packages are held: apt-mark showhold"},
    {"dpkg: error processing", KPEER_EIO, "see /var/log/apt/term.log, and try again once that is mended"},
    {"Packages need to be removed", KPEER_ESTATE,
     "another package stands in the way: see apt-get install kubeadm"},
};

static void clean_line(const char *line, char *out, size_t out_bytes)
{
    if (strncmp(line, "E: ", 3) == 0 || strncmp(line, "W: ", 3) == 0)
        line += 3;
    snprintf(out, out_bytes, "%.*s", (int)strcspn(line, "\n"), line);
}

/* The line in which `words` stand. */
static const char *line_with(const char *text, const char *words)
{
    const char *at = strstr(text, words);

    while (at && at > text && at[-1] != '\n')
        at--;
    return at;
}

/* "E: Unable to correct problems": the first of apt's own error lines, else the last line of all. */
static const char *plain_cause(const char *errout)
{
    const char *last = errout;

    for (const char *line = errout; *line; line = next_line(line)) {
        if (strncmp(line, "E: ", 3) == 0)
            return line;
        if (*line != '\n')
            last = line;
    }
    return last;
}

int apt_parse_failure(const char *errout, const char *what, struct err *err)
{
    char line[200];

    for (size_t i = 0; i < COUNT_OF(causes); i++) {
        const char *at = line_with(errout, causes[i].words);

        if (!at)
            continue;
        clean_line(at, line, sizeof(line));
        err_set(err, causes[i].code, "%s: %s", what, line);
        err_hint(err, "%s", causes[i].hint);
        return causes[i].code;
    }
    clean_line(plain_cause(errout), line, sizeof(line));
    err_set(err, KPEER_EIO, "%s: %s", what, line[0] ? line : "it failed without a word");
    return err_hint(err, "see /var/log/apt/term.log and /var/log/dpkg.log");
}
