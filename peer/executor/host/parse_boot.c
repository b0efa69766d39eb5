#include "peer/executor/host/parse_boot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "peer/executor/spawn.h"
#include "protocol/mem.h"

#define BLANKS " \t\r"
#define MARK   "# kpeer: "

/* A part of a text, without a NUL of its own. */
struct span {
    const char *at;
    size_t n;
};

/* The next line of *at, without its newline; false at the end. */
static bool take_line(const char **at, struct span *line)
{
    if (!**at)
        return false;
    line->at = *at;
    line->n = strcspn(*at, "\n");
    *at += line->n + ((*at)[line->n] == '\n');
    return true;
}

/* The next blank-separated word of a line, cut off its start; n is 0 where there is none. */
static struct span take_word(struct span *line)
{
    struct span word;

    while (line->n && strchr(BLANKS, line->at[0])) {
        line->at++;
        line->n--;
    }
    word = (struct span){line->at, 0};
    while (word.n < line->n && !strchr(BLANKS, word.at[word.n]))
        word.n++;
    line->at += word.n;
    line->n -= word.n;
    return word;
}

static bool is(struct span word, const char *text)
{
    return word.n == strlen(text) && memcmp(word.at, text, word.n) == 0;
}

static bool has_option(struct span options, const char *option)
{
    size_t want = strlen(option);

    for (size_t at = 0; at < options.n;) {
        const char *comma = memchr(options.at + at, ',', options.n - at);
        size_t n = comma ? (size_t)(comma - options.at) - at : options.n - at;

        if (n == want && memcmp(options.at + at, option, n) == 0)
            return true;
        at += n + 1;
    }
    return false;
}

/* A line of fstab that switches swap on at boot; its device. */
static bool is_swap(struct span line, struct span *device)
{
    struct span type, options;

    *device = take_word(&line);
    if (device->n == 0 || device->at[0] == '#')
        return false;
    take_word(&line);
    type = take_word(&line);
    options = take_word(&line);
    return is(type, "swap") && !has_option(options, "noauto");
}

size_t parse_fstab_swaps(const char *text, char *first, size_t first_bytes)
{
    struct span line, device;
    size_t count = 0;

    first[0] = 0;
    while (take_line(&text, &line)) {
        if (is_swap(line, &device) && count++ == 0)
            spawn_escape(first, first_bytes, device.at, device.n);
    }
    return count;
}

int parse_fstab_comment(const char *text, size_t n, char **out, size_t *out_bytes, struct err *err)
{
    char device[8];
    size_t count, used = 0;
    struct span line, word;
    const char *at = text;
    char *fresh;

    if (strlen(text) != n)
        return err_set(err, KPEER_EINVAL, "it holds bytes that no fstab has");
    count = parse_fstab_swaps(text, device, sizeof(device));
    fresh = malloc(n + count * (sizeof(MARK) - 1) + 1);
    if (!fresh)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    while (take_line(&at, &line)) {
        size_t whole = (size_t)(at - line.at);

        if (is_swap(line, &word)) {
            memcpy(fresh + used, MARK, sizeof(MARK) - 1);
            used += sizeof(MARK) - 1;
        }
        memcpy(fresh + used, line.at, whole);
        used += whole;
    }
    fresh[used] = 0;
    *out = fresh;
    *out_bytes = used;
    return 0;
}

/* sysctl takes net/ipv4/x for net.ipv4.x. */
static bool same_key(struct span a, const char *key)
{
    if (a.n != strlen(key))
        return false;
    for (size_t i = 0; i < a.n; i++) {
        if ((a.at[i] == '/' ? '.' : a.at[i]) != (key[i] == '/' ? '.' : key[i]))
            return false;
    }
    return true;
}

static struct span trimmed(struct span s)
{
    while (s.n && strchr(BLANKS, s.at[0])) {
        s.at++;
        s.n--;
    }
    while (s.n && strchr(BLANKS, s.at[s.n - 1]))
        s.n--;
    return s;
}

bool parse_sysctl_value(const char *text, const char *key, char *out, size_t out_bytes)
{
    struct span line, name, value;
    bool found = false;

    while (take_line(&text, &line)) {
        const char *equals = memchr(line.at, '=', line.n);

        if (!equals)
            continue;
        name = trimmed((struct span){line.at, (size_t)(equals - line.at)});
        value = trimmed((struct span){equals + 1, line.n - (size_t)(equals + 1 - line.at)});
        if (name.n && name.at[0] == '-') /* a failure does not matter; the value counts */
            name = (struct span){name.at + 1, name.n - 1};
        if (!same_key(name, key))
            continue;
        spawn_escape(out, out_bytes, value.at, value.n);
        found = true;
    }
    return found;
}

static bool same_module(struct span a, const char *module)
{
    if (a.n != strlen(module))
        return false;
    for (size_t i = 0; i < a.n; i++) {
        if ((a.at[i] == '-' ? '_' : a.at[i]) != (module[i] == '-' ? '_' : module[i]))
            return false;
    }
    return true;
}

/* Whether a line's first word is this module's name. */
static bool names_module(const char *text, const char *module)
{
    struct span line;

    while (take_line(&text, &line)) {
        if (same_module(take_word(&line), module))
            return true;
    }
    return false;
}

bool parse_modules_load(const char *text, const char *module)
{
    return names_module(text, module);
}

bool parse_modules_loaded(const char *text, const char *module)
{
    return names_module(text, module);
}

bool parse_filesystem_known(const char *text, const char *name)
{
    struct span line;

    while (take_line(&text, &line)) {
        struct span word = take_word(&line);

        if (is(word, "nodev"))
            word = take_word(&line);
        if (is(word, name))
            return true;
    }
    return false;
}

bool parse_hosts_has(const char *text, const char *name)
{
    struct span line, word;

    while (take_line(&text, &line)) {
        const char *hash = memchr(line.at, '#', line.n);

        if (hash)
            line.n = (size_t)(hash - line.at);
        if (take_word(&line).n == 0)
            continue;
        while ((word = take_word(&line)).n) {
            if (word.n == strlen(name) && strncasecmp(word.at, name, word.n) == 0)
                return true;
        }
    }
    return false;
}

static void set_field(char *field, size_t bytes, struct span value)
{
    field[0] = 0;
    if (value.n < bytes)
        spawn_escape(field, bytes, value.at, value.n);
}

const char *parse_unit_next(const char *at, struct parse_unit *unit, bool *found)
{
    struct span line;

    memset(unit, 0, sizeof(*unit));
    *found = false;
    while (take_line(&at, &line)) {
        const char *equals = memchr(line.at, '=', line.n);
        struct span key, value;

        if (line.n == 0 && *found)
            return at;
        if (!equals)
            continue;
        *found = true;
        key = (struct span){line.at, (size_t)(equals - line.at)};
        value = (struct span){equals + 1, line.n - key.n - 1};
        if (is(key, "Id"))
            set_field(unit->id, sizeof(unit->id), value);
        else if (is(key, "LoadState"))
            set_field(unit->load, sizeof(unit->load), value);
        else if (is(key, "UnitFileState"))
            set_field(unit->file, sizeof(unit->file), value);
        else if (is(key, "ActiveState"))
            set_field(unit->active, sizeof(unit->active), value);
        else if (is(key, "SourcePath"))
            set_field(unit->source, sizeof(unit->source), value);
    }
    return NULL;
}

/* Blanks in names come as octal: "\040". */
static void unescape_octal(char *text)
{
    char *to = text;

    for (const char *at = text; *at;) {
        if (at[0] == '\\' && at[1] >= '0' && at[1] <= '3' && at[2] >= '0' && at[2] <= '7' && at[3] >= '0' &&
            at[3] <= '7') {
            *to++ = (char)((at[1] - '0') * 64 + (at[2] - '0') * 8 + at[3] - '0');
            at += 4;
        } else {
            *to++ = *at++;
        }
    }
    *to = 0;
}

const char *parse_swap_next(const char *at, char *area, size_t area_bytes, int *priority, bool *found)
{
    struct span line, name, last = {0};
    char number[12];

    *found = false;
    while (take_line(&at, &line)) {
        name = take_word(&line);
        if (name.n == 0 || name.at[0] != '/' || name.n >= area_bytes)
            continue; /* the heading, or nothing that could be given to swapoff */
        for (struct span word; (word = take_word(&line)).n;)
            last = word;
        memcpy(area, name.at, name.n);
        area[name.n] = 0;
        unescape_octal(area);
        set_field(number, sizeof(number), last);
        *priority = (int)strtol(number, NULL, 10);
        *found = true;
        return at;
    }
    return NULL;
}
