/* What apt, dpkg and a repository give. */
#include "peer/executor/packages/apt_parse.h"
#include "peer/executor/packages/key.h"
#include "protocol/wanted.h"
#include "tests/fuzz/fuzz.h"

static void status(const uint8_t *bytes, size_t n)
{
    struct apt_package p;
    cleanup_free char *exact = fuzz_text(bytes, n);
    if (!apt_parse_package(exact, n, &p))
        return;
    FUZZ_FIELD(p.name);
    FUZZ_FIELD(p.version);
    FUZZ_MUST(apt_is_name(p.name));
    FUZZ_MUST(!p.version[0] || apt_is_version(p.version));
    FUZZ_MUST(!(p.installed && p.broken));
}

/* "NAME WANTED" on a line of its own before the listing. */
static void madison(const uint8_t *bytes, size_t n)
{
    cleanup_free char *text = fuzz_text(bytes, n);
    char *listing = text, out[APT_VERSION_BYTES] = "", all[APT_VERSION_BYTES], small[4] = "";
    char *name = fuzz_line(&listing), *wanted = strchr(name, ' ');
    char form[32];
    if (!wanted)
        return;
    *wanted++ = '\0';
    if (!wanted_normalise(wanted, form, sizeof form))
        return;
    if (apt_parse_madison(listing, name, form, out, sizeof out, NULL) == 0) {
        FUZZ_FIELD(out);
        FUZZ_MUST(apt_is_version(out));
        FUZZ_MUST(apt_parse_offers(listing, name, out));
        FUZZ_MUST(apt_parse_companion(listing, name, NULL, all, sizeof all));
    }
    (void)apt_parse_madison(listing, name, form, small, sizeof small, NULL);
    FUZZ_FIELD(small);
    if (apt_parse_companion(listing, name, form, out, sizeof out))
        FUZZ_MUST(fuzz_ends(out, sizeof out) && apt_parse_offers(listing, name, out));
}

static void plan(const uint8_t *bytes, size_t n)
{
    static struct apt_plan p;
    struct err err = {0};
    cleanup_free char *text = fuzz_text(bytes, n);
    int code = apt_parse_plan(text, &p, &err);
    FUZZ_MUST(p.count <= APT_CHANGES_MAX);
    FUZZ_MUST(code == 0 || err.text[0]);
    FUZZ_FIELD(err.text);
    for (size_t i = 0; i < p.count; i++) {
        const struct apt_change *c = &p.changes[i];
        FUZZ_FIELD(c->name);
        FUZZ_FIELD(c->before);
        FUZZ_FIELD(c->after);
        FUZZ_MUST(apt_is_name(c->name));
        FUZZ_MUST((!c->before[0] || apt_is_version(c->before)) && (!c->after[0] || apt_is_version(c->after)));
    }
    (void)apt_parse_space(text);
}

static void progress(const uint8_t *bytes, size_t n)
{
    cleanup_free char *text = fuzz_text(bytes, n);
    char what[24];
    int32_t percent;
    bool is_download;
    if (!apt_parse_status(text, &percent, &is_download, what, sizeof what))
        return;
    FUZZ_FIELD(what);
    FUZZ_MUST(percent >= 0 && percent <= 100);
}

static void failure(const uint8_t *bytes, size_t n)
{
    struct err err = {0};
    cleanup_free char *text = fuzz_text(bytes, n);
    int code = apt_parse_failure(text, "kubeadm could not be installed", &err);
    FUZZ_MUST(code < 0 && code == err.code);
    FUZZ_FIELD(err.text);
    FUZZ_FIELD(err.hint);
    FUZZ_MUST(strchr(err.text, '\n') == NULL && err.hint[0]);
    FUZZ_MUST(apt_parse_failure(text, "kubeadm could not be installed", NULL) == code);
}

/* A binary keyring that was read is read again as it is; picking its first key leaves that one. */
static void repository_key(const uint8_t *bytes, size_t n)
{
    cleanup_free uint8_t *key = NULL, *again = NULL;
    char fingerprint[KEY_FINGERPRINT_BYTES], picked[KEY_FINGERPRINT_BYTES];
    size_t key_bytes = 0, again_bytes = 0;
    if (key_read((const char *)bytes, n, &key, &key_bytes, NULL))
        return;
    FUZZ_MUST(key_bytes > 0 && key_bytes <= n);
    FUZZ_MUST(key_read((const char *)key, key_bytes, &again, &again_bytes, NULL) == 0);
    FUZZ_MUST(again_bytes == key_bytes && memcmp(key, again, key_bytes) == 0);
    if (key_fingerprint(key, key_bytes, fingerprint, NULL))
        return;
    FUZZ_FIELD(fingerprint);
    FUZZ_MUST(key_pick(key, &key_bytes, fingerprint, NULL) == 0);
    FUZZ_MUST(key_bytes > 0 && key_bytes <= again_bytes && memcmp(key, again, key_bytes) == 0);
    FUZZ_MUST(key_fingerprint(key, key_bytes, picked, NULL) == 0 && strcmp(fingerprint, picked) == 0);
}

/* Which Kubernetes is wanted; two versions on two lines are compared. */
static void wanted(const uint8_t *bytes, size_t n)
{
    cleanup_free char *text = fuzz_text(bytes, n);
    char *second = text, *first = fuzz_line(&second);
    char form[32], again[32];
    struct version a, b;
    if (wanted_normalise(first, form, sizeof form)) {
        FUZZ_FIELD(form);
        FUZZ_MUST(wanted_normalise(form, again, sizeof again) && strcmp(form, again) == 0);
        FUZZ_MUST(!wanted_is_exact(form) || wanted_fits(form, form));
        (void)wanted_fits(form, second);
    }
    if (version_parse(first, &a) && version_parse(second, &b)) {
        int there = version_compare(&a, &b), back = version_compare(&b, &a);
        FUZZ_MUST((there > 0) == (back < 0) && (there == 0) == (back == 0));
    }
}

const struct fuzz_target fuzz_packages[] = {
    {"apt_status", "lines of dpkg-query", 512, status, NULL},
    {"apt_madison", "apt-cache madison", 4096, madison, NULL},
    {"apt_plan", "apt-get --simulate", 4096, plan, NULL},
    {"apt_progress", "APT::Status-Fd", 512, progress, NULL},
    {"apt_failure", "what apt and dpkg say when they fail", 2048, failure, NULL},
    {"repository_key", "a repository's key, armoured or binary", 4096, repository_key, NULL},
    {"wanted", "kubernetes: of the configuration, and versions", 128, wanted, NULL},
    {0},
};
