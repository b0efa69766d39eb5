#include "peer/executor/images/reference.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "protocol/mem.h"

#define HUB "docker.io/"

static const char *const homes[] = {"registry.k8s.io/", "k8s.gcr.io/"};

/* Parts of a path are lower-case letters, digits, and marks between them: one dot, or any dashes and
 * underscores. */
static bool is_path(const char *text, size_t n)
{
    enum { PLAIN, DASH, SHUT } before = SHUT; /* what a mark may not follow */
    for (size_t i = 0; i < n; i++) {
        if (islower((unsigned char)text[i]) || isdigit((unsigned char)text[i]))
            before = PLAIN;
        else if ((text[i] == '-' || text[i] == '_') && before != SHUT)
            before = DASH;
        else if ((text[i] == '.' || text[i] == '/') && before == PLAIN)
            before = SHUT;
        else
            return false;
    }
    return n > 0 && before == PLAIN;
}

static bool is_host(const char *text, size_t n)
{
    size_t name = n;
    const char *colon = memchr(text, ':', n);
    if (colon)
        name = (size_t)(colon - text);
    if (name == 0 || (colon && (n - name < 2 || n - name > 6)))
        return false;
    for (size_t i = 0; i < name; i++)
        if (!isalnum((unsigned char)text[i]) && (!strchr(".-", text[i]) || i == 0 || i + 1 == name))
            return false;
    for (size_t i = name + 1; i < n; i++)
        if (!isdigit((unsigned char)text[i]))
            return false;
    return true;
}

/* Length of the registry before the first slash, 0 where the first part is none. */
static size_t registry_length(const char *name)
{
    size_t n = strcspn(name, "/");
    if (name[n] != '/')
        return 0;
    bool marked =
        memchr(name, '.', n) || memchr(name, ':', n) || (n == 9 && memcmp(name, "localhost", 9) == 0);
    return marked ? n : 0;
}

static bool is_tag(const char *text)
{
    size_t n = strlen(text);
    if (n == 0 || n > 128 || text[0] == '.' || text[0] == '-')
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)text[i]) && !strchr("._-", text[i]))
            return false;
    return true;
}

bool reference_is_image(const char *text)
{
    if (strlen(text) >= REFERENCE_BYTES || reference_is_digest(text))
        return false;
    size_t host = registry_length(text);
    const char *path = host ? text + host + 1 : text;
    const char *colon = strchr(path, ':');
    return (!host || is_host(text, host)) && colon && is_path(path, (size_t)(colon - path)) &&
           is_tag(colon + 1);
}

bool reference_is_prefix(const char *text)
{
    size_t n = strcspn(text, "/");
    if (strlen(text) >= REFERENCE_BYTES / 2 || !is_host(text, n))
        return false;
    return text[n] == '\0' || is_path(text + n + 1, strlen(text + n + 1));
}

bool reference_is_digest(const char *text)
{
    return strncmp(text, "sha256:", 7) == 0 && strlen(text) == 71 &&
           strspn(text + 7, "0123456789abcdef") == 64;
}

bool reference_full(const char *name, char out[static REFERENCE_BYTES])
{
    if (!reference_is_image(name))
        return false;
    const char *hub = registry_length(name) ? "" : HUB;
    const char *library = hub[0] && !strchr(name, '/') ? "library/" : "";
    int n = snprintf(out, REFERENCE_BYTES, "%s%s%s", hub, library, name);
    return n > 0 && n < REFERENCE_BYTES;
}

void reference_registry(const char *name, char out[static REFERENCE_BYTES])
{
    snprintf(out, REFERENCE_BYTES, "%.*s", (int)strcspn(name, "/"), name);
}

/* What follows either home of Kubernetes' own images; NULL: it is none of them. */
static const char *own_path(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(homes); i++)
        if (strncmp(name, homes[i], strlen(homes[i])) == 0)
            return name + strlen(homes[i]);
    return NULL;
}

bool reference_same(const char *a, const char *b)
{
    char x[REFERENCE_BYTES], y[REFERENCE_BYTES];
    if (!reference_full(a, x) || !reference_full(b, y))
        return false;
    const char *p = own_path(x), *q = own_path(y);
    return p && q ? strcmp(p, q) == 0 : strcmp(x, y) == 0;
}

bool reference_is_public(const char *name)
{
    static const char *const all[] = {"registry.k8s.io", "k8s.gcr.io", "docker.io",
                                      "quay.io",         "ghcr.io",    "gcr.io"};
    char full[REFERENCE_BYTES], registry[REFERENCE_BYTES];
    if (!reference_full(name, full))
        return false;
    reference_registry(full, registry);
    for (size_t i = 0; i < COUNT_OF(all); i++)
        if (strcmp(registry, all[i]) == 0)
            return true;
    return false;
}

static void add(struct reference_sources *out, const char *prefix, const char *path)
{
    char name[REFERENCE_BYTES];
    int n = snprintf(name, sizeof name, "%s%s%s", prefix, prefix[0] ? "/" : "", path);
    if (n < 0 || (size_t)n >= sizeof name || out->count == REFERENCE_SOURCES_MAX || !reference_is_image(name))
        return;
    for (size_t i = 0; i < out->count; i++)
        if (strcmp(out->names[i], name) == 0)
            return;
    memcpy(out->names[out->count++], name, sizeof name);
}

static void add_mirrored(struct reference_sources *out, const char *mirror, const char *full)
{
    static const char nested[] = "coredns/coredns:";
    const char *own = own_path(full);
    const char *path = own ? own : strchr(full, '/') + 1;
    if (strncmp(full, mirror, strlen(mirror)) == 0 && full[strlen(mirror)] == '/')
        return; /* it is the mirror's own name */
    if (own && strncmp(own, nested, strlen(nested)) == 0)
        add(out, mirror, strchr(own, '/') + 1);
    add(out, mirror, path);
    if (!own)
        add(out, mirror, strrchr(path, '/') ? strrchr(path, '/') + 1 : path);
}

void reference_sources(const char *name, const char *mirror, struct reference_sources *out)
{
    char full[REFERENCE_BYTES];
    memset(out, 0, sizeof *out);
    if (!reference_full(name, full))
        return;
    if (mirror && mirror[0])
        add_mirrored(out, mirror, full);
    add(out, "", full);
    const char *own = own_path(full);
    for (size_t i = 0; own && i < COUNT_OF(homes); i++) {
        char home[REFERENCE_BYTES];
        reference_registry(homes[i], home);
        add(out, home, own);
    }
}
