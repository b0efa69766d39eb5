#include "peer/executor/images/parse_images.h"

#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/mem.h"

#define CTR_FIELDS   12
#define cleanup_json __attribute__((cleanup(cleanup_json_decref)))

static void cleanup_json_decref(json_t **j)
{
    json_decref(*j);
}

void image_rows_fini(struct image_rows *rows)
{
    free(rows->rows);
    memset(rows, 0, sizeof *rows);
}

const struct image_row *image_rows_find(const struct image_rows *rows, const char *name)
{
    char full[REFERENCE_BYTES];
    if (!reference_full(name, full))
        return NULL;
    for (size_t i = 0; i < rows->count; i++)
        if (strcmp(rows->rows[i].name, full) == 0)
            return &rows->rows[i];
    return NULL;
}

static int begin(struct image_rows *rows, struct err *err)
{
    memset(rows, 0, sizeof *rows);
    rows->rows = calloc(PARSE_IMAGES_ROWS, sizeof *rows->rows);
    return rows->rows ? 0 : err_set(err, KPEER_ENOMEM, "out of memory");
}

/* Adds an image; a name, digest or id that is none is left out. */
static void add(struct image_rows *rows, const char *name, const char *digest, const char *id, bool whole)
{
    struct image_row *row = &rows->rows[rows->count];
    if (rows->count == PARSE_IMAGES_ROWS || !name || !reference_full(name, row->name))
        return;
    row->digest[0] = row->id[0] = '\0';
    if (digest && reference_is_digest(digest))
        mem_copy_text(row->digest, sizeof row->digest, digest);
    if (id && reference_is_digest(id))
        mem_copy_text(row->id, sizeof row->id, id);
    row->whole = whole;
    rows->count++;
}

/* Copies the next line of a text without its end; longer ones are cut. False at the end. */
static bool next_line(const char **at, const char *end, char *line, size_t room)
{
    if (*at >= end)
        return false;
    const char *stop = memchr(*at, '\n', (size_t)(end - *at));
    size_t n = (size_t)((stop ? stop : end) - *at);
    size_t kept = n < room ? n : room - 1;
    memcpy(line, *at, kept);
    line[kept] = '\0';
    *at = stop ? stop + 1 : end;
    return true;
}

/* Splits at blanks, in place; answers how many fields there are, at most CTR_FIELDS. */
static size_t split(char *line, char *field[static CTR_FIELDS])
{
    size_t n = 0;
    char *rest = NULL;
    for (char *word = strtok_r(line, " \t\r", &rest); word && n < CTR_FIELDS;
         word = strtok_r(NULL, " \t\r", &rest))
        field[n++] = word;
    return n;
}

int parse_images_ctr(const char *text, size_t n, struct image_rows *rows, struct err *err)
{
    char line[1024], *field[CTR_FIELDS];
    const char *at = text, *end = text + n;
    if (begin(rows, err) != 0)
        return KPEER_ENOMEM;
    if (!next_line(&at, end, line, sizeof line))
        return 0;
    size_t fields = split(line, field);
    if (fields < 5 || strcmp(field[0], "REF") != 0 || strcmp(field[2], "DIGEST") != 0 ||
        strcmp(field[3], "STATUS") != 0) {
        image_rows_fini(rows);
        return err_set(err, KPEER_EINVAL, "this is no listing of images as ctr prints it");
    }
    while (next_line(&at, end, line, sizeof line)) {
        fields = split(line, field);
        if (fields < 5 || !reference_is_digest(field[2]))
            continue;
        bool unpacked = strcmp(field[fields - 1], "true") == 0;
        add(rows, field[0], field[2], NULL, strcmp(field[3], "complete") == 0 || unpacked);
    }
    return 0;
}

static json_t *load(const char *text, size_t n, const char *what, struct err *err)
{
    json_error_t e;
    json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &e);
    if (!root)
        err_set(err, KPEER_EINVAL, "%s is no JSON: %.120s, line %d", what, e.text, e.line);
    return root;
}

/* The digest of "REPOSITORY@DIGEST" that goes with a tag's repository, else of the first. */
static const char *digest_of(const json_t *digests, const char *tag)
{
    const char *first = NULL;
    size_t repository = (size_t)(strrchr(tag, ':') ? strrchr(tag, ':') - tag : 0);
    for (size_t i = 0; i < json_array_size(digests); i++) {
        const char *text = json_string_value(json_array_get(digests, i));
        const char *at = text ? strchr(text, '@') : NULL;
        if (!at)
            continue;
        if ((size_t)(at - text) == repository && memcmp(text, tag, repository) == 0)
            return at + 1;
        first = first ? first : at + 1;
    }
    return first;
}

int parse_images_crictl(const char *text, size_t n, struct image_rows *rows, struct err *err)
{
    cleanup_json json_t *root = load(text, n, "crictl's listing", err);
    if (!root)
        return KPEER_EINVAL;
    const json_t *images = json_object_get(root, "images");
    if (!json_is_object(root) || (images && !json_is_array(images)))
        return err_set(err, KPEER_EINVAL, "crictl's listing has no list of images");
    if (begin(rows, err) != 0)
        return KPEER_ENOMEM;
    for (size_t i = 0; i < json_array_size(images); i++) {
        const json_t *image = json_array_get(images, i), *tags = json_object_get(image, "repoTags");
        for (size_t k = 0; k < json_array_size(tags); k++) {
            const char *tag = json_string_value(json_array_get(tags, k));
            if (tag)
                add(rows, tag, digest_of(json_object_get(image, "repoDigests"), tag),
                    json_string_value(json_object_get(image, "id")), true);
        }
    }
    return 0;
}

bool parse_images_sandbox(const char *text, size_t n, char name[static REFERENCE_BYTES])
{
    cleanup_json json_t *root = load(text, n, "", NULL);
    const char *found = json_string_value(json_object_get(json_object_get(root, "config"), "sandboxImage"));
    return found && reference_full(found, name);
}

int parse_images_docker(const char *text, size_t n, struct image_rows *rows, struct err *err)
{
    char line[2048], name[REFERENCE_BYTES];
    const char *at = text, *end = text + n;
    if (begin(rows, err) != 0)
        return KPEER_ENOMEM;
    while (next_line(&at, end, line, sizeof line)) {
        if (line[strspn(line, " \t\r")] == '\0')
            continue;
        cleanup_json json_t *row = load(line, strlen(line), "docker's listing", err);
        const char *repository = json_string_value(json_object_get(row, "Repository"));
        const char *tag = json_string_value(json_object_get(row, "Tag"));
        if (!row) {
            image_rows_fini(rows);
            return KPEER_EINVAL;
        }
        int length = repository && tag ? snprintf(name, sizeof name, "%s:%s", repository, tag) : -1;
        if (length > 0 && (size_t)length < sizeof name)
            add(rows, name, json_string_value(json_object_get(row, "Digest")),
                json_string_value(json_object_get(row, "ID")), true);
    }
    return 0;
}

static bool is_for(const json_t *entry, const char *architecture)
{
    const json_t *platform = json_object_get(entry, "platform");
    const char *os = json_string_value(json_object_get(platform, "os"));
    const char *arch = json_string_value(json_object_get(platform, "architecture"));
    return os && arch && strcmp(os, "linux") == 0 && strcmp(arch, architecture) == 0;
}

/* The manifest for this platform; one without a platform is taken where it is the only one. */
static const char *choose(const json_t *manifests, const char *architecture)
{
    for (size_t i = 0; i < json_array_size(manifests); i++)
        if (is_for(json_array_get(manifests, i), architecture))
            return json_string_value(json_object_get(json_array_get(manifests, i), "digest"));
    const json_t *only = json_array_size(manifests) == 1 ? json_array_get(manifests, 0) : NULL;
    return json_object_get(only, "platform") ? NULL : json_string_value(json_object_get(only, "digest"));
}

int parse_images_manifest(const char *text, size_t n, const char *architecture, struct image_manifest *out,
                          struct err *err)
{
    cleanup_json json_t *root = load(text, n, "the manifest", err);
    if (!root)
        return KPEER_EINVAL;
    const json_t *manifests = json_object_get(root, "manifests");
    const char *next = manifests
                           ? choose(manifests, architecture)
                           : json_string_value(json_object_get(json_object_get(root, "config"), "digest"));
    if (!next && manifests)
        return err_set(err, KPEER_ENOTFOUND, "the image is not made for linux/%s", architecture);
    if (!next || !reference_is_digest(next))
        return err_set(err, KPEER_EINVAL, "the manifest names no configuration by its sha256");
    out->is_index = manifests != NULL;
    mem_copy_text(out->next, sizeof out->next, next);
    return 0;
}

/* A name within an archive that leads nowhere else. */
static bool is_member(const char *text)
{
    size_t n = strlen(text);
    return n > 0 && n < PARSE_MEMBER_BYTES && text[0] != '/' && text[0] != '-' && !strstr(text, "..") &&
           strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789./_-") == n;
}

static void add_entry(struct archive_entries *out, const char *name, const char *member, bool is_manifest)
{
    struct archive_entry *entry = &out->entry[out->count];
    if (out->count == COUNT_OF(out->entry) || !name || !reference_full(name, entry->name))
        return;
    mem_copy_text(entry->member, sizeof entry->member, member);
    entry->is_manifest = is_manifest;
    out->count++;
}

static void add_docker(struct archive_entries *out, const json_t *image)
{
    const char *config = json_string_value(json_object_get(image, "Config"));
    const json_t *tags = json_object_get(image, "RepoTags");
    for (size_t i = 0; config && is_member(config) && i < json_array_size(tags); i++)
        add_entry(out, json_string_value(json_array_get(tags, i)), config, false);
}

static void add_oci(struct archive_entries *out, const json_t *entry)
{
    const json_t *notes = json_object_get(entry, "annotations");
    const char *digest = json_string_value(json_object_get(entry, "digest"));
    const char *name = json_string_value(json_object_get(notes, "io.containerd.image.name"));
    char member[PARSE_MEMBER_BYTES];
    if (!name)
        name = json_string_value(json_object_get(notes, "org.opencontainers.image.ref.name"));
    if (!digest || !reference_is_digest(digest))
        return;
    parse_images_blob(digest, member);
    add_entry(out, name, member, true);
}

int parse_images_archive(const char *text, size_t n, struct archive_entries *out, struct err *err)
{
    cleanup_json json_t *root = load(text, n, "the archive's list of images", err);
    if (!root)
        return KPEER_EINVAL;
    const json_t *manifests = json_object_get(root, "manifests");
    if (!json_is_array(root) && !json_is_array(manifests))
        return err_set(err, KPEER_EINVAL, "the archive's list of images is neither Docker's nor OCI's");
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < json_array_size(root); i++)
        add_docker(out, json_array_get(root, i));
    for (size_t i = 0; i < json_array_size(manifests); i++)
        add_oci(out, json_array_get(manifests, i));
    return 0;
}

void parse_images_blob(const char *digest, char member[static PARSE_MEMBER_BYTES])
{
    snprintf(member, PARSE_MEMBER_BYTES, "blobs/sha256/%s", digest + 7);
}

void parse_images_hash(const void *bytes, size_t n, char digest[static STEP_HASH_BYTES])
{
    unsigned char hash[crypto_hash_sha256_BYTES];
    crypto_hash_sha256(hash, bytes, n);
    memcpy(digest, "sha256:", 7);
    mem_hex(digest + 7, hash, sizeof hash);
}

int parse_images_digests(const char *text, size_t n, struct image_rows *rows, struct err *err)
{
    char line[1024], *field[CTR_FIELDS];
    const char *at = text, *end = text + n;
    if (begin(rows, err) != 0)
        return KPEER_ENOMEM;
    for (int number = 1; next_line(&at, end, line, sizeof line); number++) {
        line[strcspn(line, "#")] = '\0';
        size_t fields = split(line, field);
        if (fields == 0)
            continue;
        const char *fault = fields != 2                     ? "two words are wanted: IMAGE DIGEST"
                            : !reference_is_image(field[0]) ? "the first word is no image with a tag"
                            : !reference_is_digest(field[1])
                                ? "the second word is not sha256: and 64 hex digits"
                            : rows->count == PARSE_IMAGES_ROWS ? "too many lines"
                                                               : NULL;
        if (fault) {
            image_rows_fini(rows);
            return err_set(err, KPEER_EINVAL, "line %d: %s", number, fault);
        }
        add(rows, field[0], field[1], NULL, true);
    }
    return 0;
}

/* Behind `WORDS "…": ` where the text has it; else the text. */
static const char *behind_quote(const char *text, const char *words)
{
    const char *at = strstr(text, words);
    const char *quote = at ? strchr(at + strlen(words), '"') : NULL;
    const char *end = quote ? strstr(quote + 1, "\": ") : NULL;
    return end ? end + 3 : text;
}

/* Which program, image and address it was the caller tells better. */
static const char *skip_known(const char *line)
{
    const char *at = strncmp(line, "ctr: ", 5) == 0 ? line + 5 : line;
    at = behind_quote(at, "failed to resolve reference");
    return behind_quote(at, "failed to do request:");
}

void parse_images_cause(const char *errout, char *cause, size_t cause_bytes)
{
    size_t n = strlen(errout);
    while (n && strchr(" \t\r\n", errout[n - 1]))
        n--;
    size_t start = n;
    while (start && errout[start - 1] != '\n')
        start--;
    char line[1024];
    snprintf(line, sizeof line, "%.*s", (int)(n - start < sizeof line ? n - start : sizeof line - 1),
             errout + start);
    mem_clip_text(cause, cause_bytes, skip_known(line));
}

const char *parse_images_hint(const char *cause)
{
    static const struct {
        const char *word;
        const char *hint;
    } known[] = {
        {"HTTP response to HTTPS", "the registry speaks plain http: set images.insecure: true"},
        {"x509", "give the registry's authority: images.ca: FILE"},
        {"certificate", "give the registry's authority: images.ca: FILE"},
        {"no space left", "free space where the runtime keeps images (/var/lib/containerd), then try again"},
        {"unauthorized", "the registry wants a login: take another mirror (images.mirror)"},
        {"denied", "the registry wants a login: take another mirror (images.mirror)"},
        {"not found",
         "the registry does not have this image: set images.mirror to one that has it, or put an "
         "archive of it into images.archives"},
        {"connection refused", "is the registry running? Then try again: kpeer images pull"},
    };
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (strstr(cause, known[i].word))
            return known[i].hint;
    return "look at the way to the registry, or set images.mirror or images.archives; then: kpeer images "
           "pull";
}
