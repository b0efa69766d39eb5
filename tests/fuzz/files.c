/* kpeer's own files: configuration, group key, journal. */
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <unistd.h>

#include "peer/config/config.h"
#include "peer/config/config_report.h"
#include "peer/executor/journal_store.h"
#include "peer/keyfile.h"
#include "peer/command/redact.h"
#include "tests/fuzz/fuzz.h"

/* ---- kpeer.yaml ---- */

/* What was read is shown as data, and the data is a configuration that reads the same. JSON is YAML too. */
static void config_yaml(const uint8_t *bytes, size_t n)
{
    static struct config cfg, again;
    struct err err = {0};
    config_default(&cfg);
    if (config_parse_yaml(&cfg, "kpeer.yaml", (const char *)bytes, n, &err)) {
        FUZZ_MUST(err.code < 0 && err.text[0] && fuzz_ends(err.text, sizeof err.text));
        FUZZ_FIELD(err.hint);
        return;
    }
    for (size_t i = 0; i < cfg.seed_count; i++) /* as config_load does */
        cfg.seeds[i].port = cfg.seeds[i].port ? cfg.seeds[i].port : cfg.port;
    json_t *report = config_report(&cfg);
    FUZZ_MUST(report);
    cleanup_free char *text = json_dumps(report, 0);
    FUZZ_MUST(text);
    config_default(&again);
    FUZZ_MUST(config_parse_yaml(&again, "again", text, strlen(text), &err) == 0);
    json_t *second = config_report(&again);
    FUZZ_MUST(json_equal(report, second));
    json_decref(report);
    json_decref(second);
}

/* ---- the group key's file ---- */

static void keyfile(const uint8_t *bytes, size_t n)
{
    cleanup_free char *text = fuzz_text(bytes, n);
    char shown[KEYTEXT_BYTES];
    struct secret *key = NULL, *again = NULL;
    if (keytext_parse(text, &key, NULL))
        return;
    keytext_format(key, shown);
    FUZZ_FIELD(shown);
    FUZZ_MUST(keytext_parse(shown, &again, NULL) == 0 && secret_equal(key, again));
    secret_free(key);
    secret_free(again);
}

static void seed_keyfile(struct fuzz_sink *sink)
{
    char text[KEYTEXT_BYTES];
    struct secret *key = secret_new((const uint8_t[GROUP_KEY_BYTES]){1, 2, 3});
    FUZZ_MUST(key);
    keytext_format(key, text);
    fuzz_give(sink, text, strlen(text));
    secret_free(key);
}

/* ---- the journal ---- */

#define HEAD       "kpeer-journal 2\n"
#define HEAD_BYTES (sizeof HEAD - 1)

static size_t read_journal(char *path, size_t path_bytes, uint8_t *out, size_t room)
{
    snprintf(path, path_bytes, "%s/journal", fuzz_folder());
    FILE *f = fopen(path, "rb");
    FUZZ_MUST(f);
    size_t n = fread(out, 1, room, f);
    fclose(f);
    return n;
}

/* The first byte is the version, the rest what the file says; the head and the sum over it are made here, so
 * that what is tried gets past them. */
static void put_journal(const uint8_t *bytes, size_t n)
{
    char path[4200];
    uint8_t sum[JOURNAL_HASH_BYTES];
    snprintf(path, sizeof path, "%s/journal", fuzz_folder());
    FILE *f = fopen(path, "wb");
    FUZZ_MUST(f);
    journal_store_hash(bytes + 1, n - 1, sum);
    fprintf(f, "kpeer-journal %c\n", '0' + bytes[0] % 4);
    fwrite(sum, 1, sizeof sum, f);
    fwrite(bytes + 1, 1, n - 1, f);
    FUZZ_MUST(fclose(f) == 0);
}

/* What was read is written as it was, where it is of the present version. It is never acted on. */
static void journal(const uint8_t *bytes, size_t n)
{
    static uint8_t saved[64 * 1024];
    struct journal *j = NULL;
    char path[4200];
    if (n < 1)
        return;
    put_journal(bytes, n);
    if (journal_open(fuzz_folder(), &j, NULL))
        return;
    const struct journal_state *s = journal_state(j);
    FUZZ_MUST(s->changes <= JOURNAL_CHANGES_MAX && s->unfinished < STEP_KIND_COUNT);
    FUZZ_FIELD(s->cluster_id);
    for (size_t i = 0; i < s->changes; i++) {
        FUZZ_FIELD(j->c.changes[i].path);
        FUZZ_FIELD(j->c.changes[i].old_value);
        FUZZ_FIELD(j->c.changes[i].new_value);
    }
    FUZZ_MUST(j->c.step_count <= JOURNAL_STEPS_MAX && j->c.folder_count <= JOURNAL_FOLDERS_MAX);
    FUZZ_MUST(journal_store_save(j, NULL) == 0);
    size_t got = read_journal(path, sizeof path, saved, sizeof saved);
    if (bytes[0] % 4 == 2)
        FUZZ_MUST(got == n - 1 + HEAD_BYTES + JOURNAL_HASH_BYTES &&
                  memcmp(saved + HEAD_BYTES + JOURNAL_HASH_BYTES, bytes + 1, n - 1) == 0);
    FUZZ_MUST(journal_refresh(j, NULL) == 0);
    journal_close(j);
}

static void give_journal(struct fuzz_sink *sink)
{
    static uint8_t file[64 * 1024];
    char path[4200];
    size_t n = read_journal(path, sizeof path, file, sizeof file);
    file[HEAD_BYTES + JOURNAL_HASH_BYTES - 1] = 2;
    fuzz_give(sink, file + HEAD_BYTES + JOURNAL_HASH_BYTES - 1, n - HEAD_BYTES - JOURNAL_HASH_BYTES + 1);
}

static void seed_journal(struct fuzz_sink *sink)
{
    struct journal *j = NULL;
    char path[4200];
    const struct journal_deed deed = {
        .kind = DEED_UNIT, .name = "kubelet", .before = "disabled", .after = "enabled"};
    snprintf(path, sizeof path, "%s/journal", fuzz_folder());
    unlink(path);
    FUZZ_MUST(journal_open(fuzz_folder(), &j, NULL) == 0);
    FUZZ_MUST(journal_begin(j, STEP_INIT, "0123456789abcdef0123456789abcdef", NULL) == 0);
    give_journal(sink);
    FUZZ_MUST(journal_note_deed(j, &deed, NULL) == 0);
    snprintf(path, sizeof path, "%s/not-there", fuzz_folder());
    FUZZ_MUST(journal_expect_file(j, path, NULL) == 0);
    give_journal(sink);
    FUZZ_MUST(journal_end(j, STEP_INIT, KPEER_EIO, NULL) == 0);
    give_journal(sink);
    journal_close(j);
}

static bool is_small(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* abcdef.0123456789abcdef, and neither more letters nor a dot before it. */
static bool is_bootstrap_token(const char *text, size_t at)
{
    if (at && (is_small(text[at - 1]) || text[at - 1] == '.'))
        return false;
    for (size_t i = 0; i < 23; i++)
        if (i == 6 ? text[at + i] != '.' : !is_small(text[at + i]))
            return false;
    return !is_small(text[at + 23]);
}

/* What has a form that only secrets have is gone, and there are no more lines than before. */
static void redact(const uint8_t *bytes, size_t n)
{
    static struct redact *r;
    char *out = NULL;
    size_t out_bytes = 0, removed = 0, lines = 0;
    if (!r)
        FUZZ_MUST(redact_new(&r, NULL) == 0);
    FUZZ_MUST(redact_text(r, (const char *)bytes, n, &out, &out_bytes, &removed, NULL) == 0);
    FUZZ_MUST(strlen(out) == out_bytes && out_bytes <= 16 * n + 16);
    for (size_t i = 0; i < n; i++)
        lines += bytes[i] == '\n';
    for (size_t i = 0; i < out_bytes; i++) {
        FUZZ_MUST(out[i] != '\n' || lines-- > 0);
        FUZZ_MUST(!is_bootstrap_token(out, i));
    }
    free(out);
}

const struct fuzz_target fuzz_files[] = {
    {"config_yaml", "kpeer.yaml", 4096, config_yaml, NULL},
    {"keyfile", "the group key's text", 160, keyfile, seed_keyfile},
    {"journal", "the executor's journal, its sum made right", 4096, journal, seed_journal},
    {"redact", "what goes into a report", 512, redact, NULL},
    {0},
};
