/* For toml_oracle: reads TOML texts ("LENGTH\n" and bytes) and tells of each what kpeer reads there and what
 * it makes of it when it sets or drops what it sets and drops in containerd's configuration. */
#include <stdio.h>

#include "peer/executor/host/parse_toml.h"
#include "tests/fuzz/fuzz.h"

#define CRI "io.containerd.grpc.v1.cri"

static const struct {
    struct toml_path path;
    const char *value;
} edits[] = {
    {{{"version"}, 1}, "2"},
    {{{"plugins", CRI, "sandbox_image"}, 3}, "\"registry.k8s.io/pause:3.9\""},
    {{{"plugins", CRI, "containerd", "runtimes", "runc", "options", "SystemdCgroup"}, 7}, "true"},
    {{{"plugins", CRI, "registry", "config_path"}, 4}, "\"/etc/containerd/certs.d\""},
};

/* The code, and after success the text. */
static void tell(int code, char *text, size_t n)
{
    printf("%d\n", code);
    if (code)
        return;
    printf("%zu\n", n);
    fwrite(text, 1, n, stdout);
    free(text);
}

static void edit(const char *text, size_t n)
{
    static const struct toml_path disabled = {{"disabled_plugins"}, 1};
    char *out = NULL;
    size_t out_bytes = 0;
    for (size_t i = 0; i < COUNT_OF(edits); i++) {
        struct toml_value v = {TOML_ABSENT, ""};
        int code = toml_get(text, n, &edits[i].path, &v, NULL);
        printf("%d %d %s\n", code, (int)v.kind, code ? "" : v.text);
        code = toml_set(text, n, &edits[i].path, edits[i].value, &out, &out_bytes, NULL);
        tell(code, out, out_bytes);
    }
    int code = toml_list_drop(text, n, &disabled, "cri", &out, &out_bytes, NULL);
    tell(code, out, out_bytes);
}

int main(void)
{
    static uint8_t bytes[64 * 1024];
    size_t n = 0;
    while (scanf("%zu", &n) == 1) {
        FUZZ_MUST(getchar() == '\n' && n <= sizeof bytes && fread(bytes, 1, n, stdin) == n);
        cleanup_free char *text = fuzz_text(bytes, n);
        edit(text, n);
    }
    return 0;
}
