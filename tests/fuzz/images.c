/* What runtimes, registries and archives say of images. */
#include "peer/executor/images/parse_images.h"
#include "peer/executor/images/reference.h"
#include "tests/fuzz/fuzz.h"

static void check_rows(const struct image_rows *rows)
{
    FUZZ_MUST(rows->count <= PARSE_IMAGES_ROWS);
    for (size_t i = 0; i < rows->count; i++) {
        const struct image_row *row = &rows->rows[i];
        FUZZ_FIELD(row->name);
        FUZZ_FIELD(row->digest);
        FUZZ_FIELD(row->id);
        FUZZ_MUST(reference_is_image(row->name) && fuzz_shows(row->name));
        FUZZ_MUST(!row->digest[0] || reference_is_digest(row->digest));
        FUZZ_MUST(!row->id[0] || reference_is_digest(row->id));
        FUZZ_MUST(image_rows_find(rows, row->name));
    }
}

static void listing(const uint8_t *bytes, size_t n)
{
    static int (*const readers[])(const char *, size_t, struct image_rows *, struct err *) = {
        parse_images_ctr, parse_images_crictl, parse_images_docker, parse_images_digests};
    cleanup_free char *text = fuzz_text(bytes, n);
    for (size_t i = 0; i < COUNT_OF(readers); i++) {
        struct image_rows rows = {0};
        struct err err = {0};
        if (readers[i](text, n, &rows, &err) == 0) {
            check_rows(&rows);
            image_rows_fini(&rows);
        } else {
            FUZZ_MUST(err.text[0] && fuzz_ends(err.text, sizeof err.text));
        }
    }
}

static void manifest(const uint8_t *bytes, size_t n)
{
    cleanup_free char *text = fuzz_text(bytes, n);
    static struct archive_entries entries;
    struct image_manifest m;
    char name[REFERENCE_BYTES];
    if (parse_images_manifest(text, n, "amd64", &m, NULL) == 0)
        FUZZ_MUST(fuzz_ends(m.next, sizeof m.next) && reference_is_digest(m.next));
    if (parse_images_sandbox(text, n, name))
        FUZZ_MUST(fuzz_ends(name, sizeof name) && fuzz_shows(name));
    if (parse_images_archive(text, n, &entries, NULL))
        return;
    FUZZ_MUST(entries.count <= COUNT_OF(entries.entry));
    for (size_t i = 0; i < entries.count; i++) {
        FUZZ_FIELD(entries.entry[i].name);
        FUZZ_FIELD(entries.entry[i].member);
        FUZZ_MUST(reference_is_image(entries.entry[i].name));
        /* It is given to tar: nothing but a member's name. */
        FUZZ_MUST(entries.entry[i].member[0] != '-' && entries.entry[i].member[0] != '/');
        FUZZ_MUST(!strstr(entries.entry[i].member, "..") && fuzz_shows(entries.entry[i].member));
    }
}

/* Two names, a line each; the second is a mirror too. */
static void reference(const uint8_t *bytes, size_t n)
{
    cleanup_free char *text = fuzz_text(bytes, n);
    char *second = text, *first = fuzz_line(&second), full[REFERENCE_BYTES], again[REFERENCE_BYTES];
    struct reference_sources sources;
    FUZZ_MUST(reference_same(first, second) == reference_same(second, first));
    if (!reference_full(first, full))
        return;
    FUZZ_FIELD(full);
    FUZZ_MUST(reference_is_image(first) && reference_is_image(full));
    FUZZ_MUST(reference_full(full, again) && strcmp(full, again) == 0);
    FUZZ_MUST(reference_same(first, full));
    reference_registry(full, again);
    FUZZ_MUST(fuzz_ends(again, sizeof again) && !strchr(again, '/'));
    reference_sources(full, reference_is_prefix(second) ? second : NULL, &sources);
    FUZZ_MUST(sources.count <= REFERENCE_SOURCES_MAX);
    for (size_t i = 0; i < sources.count; i++)
        FUZZ_MUST(fuzz_ends(sources.names[i], REFERENCE_BYTES) && reference_is_image(sources.names[i]));
}

static void pull_cause(const uint8_t *bytes, size_t n)
{
    cleanup_free char *text = fuzz_text(bytes, n);
    char cause[80];
    parse_images_cause(text, cause, sizeof cause);
    FUZZ_MUST(fuzz_ends(cause, sizeof cause) && fuzz_shows(cause));
    FUZZ_MUST(parse_images_hint(cause)[0]);
}

const struct fuzz_target fuzz_images[] = {
    {"image_rows", "listings of ctr, crictl and docker, and the user's digests", 4096, listing, NULL},
    {"image_manifest", "manifests, indices, and what an archive holds", 4096, manifest, NULL},
    {"image_reference", "names of images and mirrors", 512, reference, NULL},
    {"image_cause", "why a pull failed", 1024, pull_cause, NULL},
    {0},
};
