#include "peer/executor/kube/parse.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "protocol/field.h"
#include "protocol/mem.h"

#define CAUSE_BYTES                                                                                          \
    (2 * ERR_TEXT_BYTES) /* what is looked at of a cause, longer than any text that keeps one */

/* The next line of a text: its start and length; NULL at the end. */
static const char *next_line(const char **at, size_t *n)
{
    const char *line = *at;
    if (!line || !*line)
        return NULL;
    *n = strcspn(line, "\n");
    *at = line[*n] ? line + *n + 1 : line + *n;
    if (*n > 0 && line[*n - 1] == '\r')
        (*n)--;
    return line;
}

static bool is_image(const char *line, size_t n)
{
    static const char extra[] = "./:_-@";
    bool tagged = false;
    if (n == 0 || n >= PARSE_IMAGE_BYTES || !isalnum((unsigned char)line[0]))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!isalnum((unsigned char)line[i]) && !strchr(extra, line[i]))
            return false;
        tagged = tagged || line[i] == ':';
    }
    return tagged;
}

void parse_images(const char *text, size_t n, struct parse_images *images)
{
    (void)n; /* the text is NUL-ended; bytes after an inner NUL are no lines */
    memset(images, 0, sizeof *images);
    size_t length = 0;
    for (const char *line; (line = next_line(&text, &length)) != NULL && images->count < PARSE_IMAGES_MAX;) {
        if (!is_image(line, length))
            continue;
        memcpy(images->names[images->count], line, length);
        images->count++;
    }
}

const char *parse_image_of(const struct parse_images *images, const char *program)
{
    size_t n = strlen(program);
    for (size_t i = 0; i < images->count; i++) {
        const char *last = strrchr(images->names[i], '/');
        last = last ? last + 1 : images->names[i];
        if (strncmp(last, program, n) == 0 && last[n] == ':')
            return images->names[i];
    }
    return NULL;
}

/* "node/NAME" → the name; false for any other line. */
static bool node_name(const char *line, size_t n, char name[static STEP_NAME_BYTES])
{
    if (n < 6 || n - 5 >= STEP_NAME_BYTES || strncmp(line, "node/", 5) != 0)
        return false;
    memcpy(name, line + 5, n - 5);
    name[n - 5] = '\0';
    return field_name(name);
}

size_t parse_node_names(const char *text, size_t n, char names[][STEP_NAME_BYTES], size_t room, size_t *total)
{
    (void)n; /* the text is NUL-ended, as that of parse_images */
    char name[STEP_NAME_BYTES];
    size_t length = 0, all = 0, at = 0, taken = 0;
    for (const char *rest = text, *line; (line = next_line(&rest, &length)) != NULL;)
        all += node_name(line, length, name);
    for (const char *line; (line = next_line(&text, &length)) != NULL;) {
        if (!node_name(line, length, name))
            continue;
        if (all <= room || at * room / all != (at + 1) * room / all)
            memcpy(names[taken++], name, sizeof name);
        at++;
    }
    *total = all;
    return taken;
}

bool parse_phase(const char *line, char *phase, size_t phase_bytes)
{
    if (line[0] != '[')
        return false;
    size_t n = strspn(line + 1, "abcdefghijklmnopqrstuvwxyz0123456789-");
    if (n == 0 || line[1 + n] != ']' || n >= phase_bytes)
        return false;
    memcpy(phase, line + 1, n);
    phase[n] = '\0';
    return true;
}

static bool is_token_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static size_t token_run(const char *at)
{
    size_t n = 0;
    while (is_token_byte(at[n]))
        n++;
    return n;
}

/* A token is 6 and 16 such bytes around a dot; a certificate key is 64 hex digits that are not a "sha256:"
 * hash. Longer runs around the dot are hidden too: better too much than a token. */
void parse_mask(char *line)
{
    for (char *at = line; *at;) {
        size_t n = token_run(at);
        if (n == 0) {
            at++;
            continue;
        }
        size_t second = at[n] == '.' ? token_run(at + n + 1) : 0;
        bool hash = at - line >= 7 && memcmp(at - 7, "sha256:", 7) == 0;
        if (n >= 6 && second >= 16)
            memset(at, '*', n), memset(at + n + 1, '*', second), n += 1 + second;
        else if (n == 64 && !hash)
            memset(at, '*', n);
        at += n;
    }
}

static void join(char *cause, size_t room, const char *line, size_t n)
{
    size_t have = strlen(cause);
    if (have + 3 >= room)
        return;
    while (n > 0 && isspace((unsigned char)*line))
        line++, n--;
    snprintf(cause + have, room - have, "%s%.*s", have ? "; " : "", (int)(n > 4096 ? 4096 : n), line);
}

static bool is_noise(const char *line, size_t n)
{
    static const char *const noise[] = {"To see the stack trace",
                                        "[preflight] If you know what you are doing",
                                        "error execution phase preflight: [preflight] Some fatal errors"};
    for (size_t i = 0; i < COUNT_OF(noise); i++)
        if (n >= strlen(noise[i]) && memcmp(line, noise[i], strlen(noise[i])) == 0)
            return true;
    return n == 0;
}

static void collect_errors(const char *text, char *cause, size_t room)
{
    size_t n = 0;
    for (const char *line; (line = next_line(&text, &n)) != NULL;) {
        const char *mark = memmem(line, n, "[ERROR ", 7);
        if (mark)
            join(cause, room, mark, n - (size_t)(mark - line));
    }
}

static void last_line(const char *text, const char *needle, char *cause, size_t room)
{
    const char *found = NULL;
    size_t found_n = 0;
    size_t n = 0;
    for (const char *line; (line = next_line(&text, &n)) != NULL;) {
        if (is_noise(line, n) || (needle && !memmem(line, n, needle, strlen(needle))))
            continue;
        found = line;
        found_n = n;
    }
    if (found)
        join(cause, room, found, found_n);
}

/* Without the phase, which is told of elsewhere: members hear the first words of an error alone. */
static const char *without_phase(const char *cause)
{
    static const char before[] = "error execution phase ";
    const char *end = strncmp(cause, before, sizeof before - 1) == 0 ? strstr(cause, ": ") : NULL;
    return end ? end + 2 : cause;
}

/* Secrets are hidden before the text is cut to fit: half of one would not be known for what it is. */
void parse_cause(const char *errout, const char *out, char *cause, size_t cause_bytes)
{
    char whole[CAUSE_BYTES] = "";
    collect_errors(errout, whole, sizeof whole);
    if (!whole[0])
        last_line(errout, "error", whole, sizeof whole);
    if (!whole[0])
        last_line(errout, NULL, whole, sizeof whole);
    if (!whole[0])
        last_line(out, NULL, whole, sizeof whole);
    parse_mask(whole);
    snprintf(cause, cause_bytes, "%s", without_phase(whole));
}

const char *parse_hint(const char *cause)
{
    static const struct {
        const char *sign;
        const char *hint;
    } known[] = {
        {"already exists in the cluster",
         "another host has this name: give this one another (kpeer up --name NAME)"},
        {"already exists",
         "something of an earlier cluster is left on this host: run 'kpeer leave', then 'kpeer up'"},
        {"DirAvailable",
         "something of an earlier cluster is left on this host: run 'kpeer leave', then 'kpeer up'"},
        {"FileAvailable",
         "something of an earlier cluster is left on this host: run 'kpeer leave', then 'kpeer up'"},
        {"Port-", "another program holds a port that Kubernetes needs: stop it (ss -ltnp shows which)"},
        {"Swap", "turn swap off: swapoff -a, and take its line out of /etc/fstab"},
        {"NumCPU", "a control plane needs 2 CPUs: let another host be it (role: worker here)"},
        {"[ERROR Mem]",
         "a control plane needs 1700 MB of memory: let another host be it (role: worker here)"},
        {"ipv4-ip_forward", "set net.ipv4.ip_forward to 1 (kpeer preflight shows all that this host lacks)"},
        {"bridge-nf", "load the kernel module br_netfilter"},
        {"CRI",
         "see that the container runtime runs and its CRI plugin is enabled: systemctl status containerd"},
        {"ImagePull",
         "the images could not be fetched: set image_repository to a mirror, or import them beforehand"},
        {"timed out waiting for the condition", "look at the kubelet: journalctl -u kubelet -n 50"},
        {"kubelet isn't running", "look at the kubelet: journalctl -u kubelet -n 50"},
        {"cluster CA found in cluster-info",
         "the control plane is not the one that the group committed to: see kpeer status"},
        {"could not find a JWS signature",
         "the token is gone or has expired: a new one is asked for at the next try"},
        {"x509: certificate has expired or is not yet valid",
         "the clocks of the hosts differ: set them right"},
        {"no such host", "this host's name must resolve: put it into /etc/hosts"},
        {"deadline exceeded", "the control plane does not answer: see addresses and firewall"},
        {"connection refused", "nothing answers there: see on the control plane whether its API server runs"},
        {"no route to host", "the control plane cannot be reached: see addresses and firewall"},
    };
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (strstr(cause, known[i].sign))
            return known[i].hint;
    return "see kpeer events for the whole output";
}
