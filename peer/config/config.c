#include "peer/config/config.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "peer/config/mirror.h"
#include "protocol/mem.h"
#include "protocol/wanted.h"

void config_default(struct config *out)
{
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < config_schema_count; i++)
        if (config_schema[i].def)
            config_set(out, &config_schema[i], config_schema[i].def, false, NULL);
}

void config_env_name(const struct config_key *key, char out[static 64])
{
    snprintf(out, 64, "KPEER_%s", key->key);
    for (char *p = out; *p; p++)
        *p = *p == '.' || *p == '-' ? '_' : (char)toupper((unsigned char)*p);
}

/* Levenshtein distance of short words; long ones count as far apart. */
static size_t distance(const char *a, const char *b)
{
    size_t row[48], n = strlen(a), m = strlen(b);

    if (n >= COUNT_OF(row) || m >= COUNT_OF(row))
        return SIZE_MAX;
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);

            diagonal = row[j];
            best = best < row[j] + 1 ? best : row[j] + 1;
            row[j] = best < row[j - 1] + 1 ? best : row[j - 1] + 1;
        }
    }
    return row[m];
}

const char *config_nearest(const char *word, const char *const *words, size_t count)
{
    size_t best = 1 + strlen(word) / 3;
    const char *near = NULL;

    for (size_t i = 0; i < count; i++) {
        size_t d = distance(word, words[i]);

        if (d <= best && d < strlen(words[i])) {
            near = words[i];
            best = d ? d - 1 : 0;
        }
    }
    return near;
}

static const char *env_value(char *const *env, const char *name)
{
    size_t n = strlen(name);

    for (; env && *env; env++)
        if (strncmp(*env, name, n) == 0 && (*env)[n] == '=')
            return *env + n + 1;
    return NULL;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

/* The whole file, one byte more than is allowed at most. Returns its length or an error. */
static ssize_t read_all(int fd, char *buf, size_t room)
{
    size_t n = 0;

    while (n < room) {
        ssize_t got = read(fd, buf + n, room - n);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        n += (size_t)got;
    }
    return (ssize_t)n;
}

/* `named`: the user asked for this very file. */
static int load_file(struct config *cfg, const char *path, bool named, struct err *err)
{
    __attribute__((cleanup(close_fd))) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    cleanup_free char *text = NULL;
    ssize_t n;

    if (fd < 0 && errno == ENOENT && !named)
        return 0;
    if (fd < 0)
        return err_errno(err, errno, "configuration %s", path);
    text = malloc(CONFIG_FILE_BYTES + 1);
    if (!text)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    n = read_all(fd, text, CONFIG_FILE_BYTES + 1);
    if (n < 0)
        return err_errno(err, errno, "configuration %s", path);
    cfg->reading = CONFIG_FROM_FILE;
    return config_parse_yaml(cfg, path, text, (size_t)n, err);
}

static int load_env(struct config *cfg, char *const *env, struct err *err)
{
    cfg->reading = CONFIG_FROM_ENVIRONMENT;
    for (size_t i = 0; i < config_schema_count; i++) {
        char name[64];
        const char *value;

        config_env_name(&config_schema[i], name);
        value = env_value(env, name);
        if (value && *value && config_set(cfg, &config_schema[i], value, false, err))
            return err_wrap(err, "environment variable %s", name);
    }
    return 0;
}

static int load_flags(struct config *cfg, const struct config_setting *flags, size_t count, struct err *err)
{
    cfg->reading = CONFIG_FROM_FLAG;
    for (size_t i = 0; i < count; i++) {
        bool again = false;

        for (size_t j = 0; j < i; j++)
            again = again || flags[j].key == flags[i].key;
        if (config_set(cfg, flags[i].key, flags[i].value, again, err))
            return err_wrap(err, "--%s", flags[i].key->flag);
    }
    return 0;
}

static bool same_family(const char *a, const char *b)
{
    return (strchr(a, ':') == NULL) == (strchr(b, ':') == NULL);
}

static bool networks_overlap(const char *a, const char *b)
{
    uint8_t x[16] = {0}, y[16] = {0};
    char ta[STEP_CIDR_BYTES], tb[STEP_CIDR_BYTES];
    int pa = atoi(strchr(a, '/') + 1), pb = atoi(strchr(b, '/') + 1);
    int bits = pa < pb ? pa : pb;

    snprintf(ta, sizeof ta, "%.*s", (int)(strchr(a, '/') - a), a);
    snprintf(tb, sizeof tb, "%.*s", (int)(strchr(b, '/') - b), b);
    inet_pton(strchr(ta, ':') ? AF_INET6 : AF_INET, ta, x);
    inet_pton(strchr(tb, ':') ? AF_INET6 : AF_INET, tb, y);
    for (int i = 0; i < bits; i++)
        if ((x[i / 8] ^ y[i / 8]) & (0x80 >> (i % 8)))
            return false;
    return true;
}

/* What each value alone cannot show. */
static int check_whole(struct config *cfg, struct err *err)
{
    for (size_t i = 0; i < cfg->seed_count; i++)
        if (cfg->seeds[i].port == 0)
            cfg->seeds[i].port = cfg->port;
    if (same_family(cfg->pod_cidr, cfg->service_cidr) && networks_overlap(cfg->pod_cidr, cfg->service_cidr))
        return err_set(err, KPEER_EINVAL, "pod_cidr %s and service_cidr %s overlap", cfg->pod_cidr,
                       cfg->service_cidr);
    return 0;
}

int config_load(struct config *out, const struct config_source *src, struct err *err)
{
    cleanup_free struct config *cfg = malloc(sizeof *cfg);
    const char *from_env = env_value(src->env, "KPEER_CONFIG");
    const char *file = src->file ? src->file : from_env && *from_env ? from_env : NULL;
    int code;

    if (!cfg)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    config_default(cfg);
    code = load_file(cfg, file ? file : CONFIG_DEFAULT_FILE, file != NULL, err);
    if (!code)
        code = load_env(cfg, src->env, err);
    if (!code)
        code = load_flags(cfg, src->flags, src->flag_count, err);
    if (!code)
        code = check_whole(cfg, err);
    if (!code)
        *out = *cfg;
    return code;
}

void config_for_node(const struct config *cfg, struct node_config *out)
{
    node_config_default(out);
    mem_copy_text(out->name, sizeof out->name, cfg->name);
    mem_copy_text(out->version, sizeof out->version, KPEER_VERSION);
    out->role = cfg->role;
    out->expect = cfg->expect;
    out->pinned = cfg->interface[0] || cfg->subnet[0];
    out->rename = cfg->hostnames == HOSTNAMES_AUTO;
    out->name_fixed = cfg->name[0] != '\0';
    out->fix = cfg->fix;
    out->dry_run = cfg->dry_run;
    out->port = cfg->port;
    mem_copy_text(out->pod_cidr, sizeof out->pod_cidr, cfg->pod_cidr);
    mem_copy_text(out->service_cidr, sizeof out->service_cidr, cfg->service_cidr);
    /* Any other form is settled by the packages that each host gets: its kubeadm's version is what it offers.
     */
    if (wanted_is_exact(cfg->kubernetes))
        mem_copy_text(out->kubernetes_version, sizeof out->kubernetes_version, cfg->kubernetes);
    out->settle_ms = cfg->settle_ms;
    out->beat_ms = cfg->heartbeat_ms;
    out->key_overlap_ms = cfg->key_overlap_ms;
    out->console_set = cfg->console_count > 0;
    for (size_t i = 0; i < cfg->console_count; i++)
        if (strcmp(cfg->console[i], "none") != 0) /* nobody: no member is to get it by that name */
            mem_copy_text(out->console[out->console_count++], sizeof out->console[0], cfg->console[i]);
    out->key_fixed = cfg->trust == TRUST_SUBNET;
}

static const struct mirror *mirror_of(const struct config *cfg)
{
    return &mirrors[(size_t)cfg->mirror < mirror_count ? (size_t)cfg->mirror : 0];
}

static void packages_for_executor(const struct config *cfg, struct packages_config *out)
{
    const struct config_packages *p = &cfg->packages;
    const struct mirror *m = p->mirror[0] ? mirror_find(p->mirror) : mirror_of(cfg);

    out->install = p->install;
    out->layout = (enum packages_layout)p->layout;
    out->runtime = (enum packages_runtime)p->runtime;
    mem_copy_text(out->keyring, sizeof out->keyring, p->keyring);
    mem_copy_text(out->fingerprint, sizeof out->fingerprint, p->key);
    mem_copy_text(out->folder, sizeof out->folder, p->folder);
    if (m) {
        mem_copy_text(out->minor_url, sizeof out->minor_url, m->minor);
        mem_copy_text(out->legacy_url, sizeof out->legacy_url, m->legacy ? m->legacy : "");
    } else {
        mirror_from_url(p->mirror, out->minor_url, out->legacy_url, sizeof out->minor_url);
    }
}

/* A mirror's name becomes its prefix of images; anything else stays. */
static void mirror_of_images(char *prefix, size_t n)
{
    const struct mirror *m = mirror_find(prefix);

    if (m)
        mem_copy_text(prefix, n, m->images ? m->images : "");
}

/* Images: what is set for them themselves comes before what the mirror has. */
static void images_for_executor(const struct config *cfg, struct executor_config *out)
{
    const struct mirror *m = mirror_of(cfg);

    mem_copy_text(out->image_repository, sizeof out->image_repository,
                  cfg->image_repository[0] || !m->images ? cfg->image_repository : m->images);
    mem_copy_text(out->flannel_images, sizeof out->flannel_images,
                  cfg->flannel_images[0] || !m->flannel ? cfg->flannel_images : m->flannel);
    out->images = cfg->images;
    mirror_of_images(out->images.mirror, sizeof out->images.mirror);
    mirror_of_images(out->images.second, sizeof out->images.second);
}

void config_for_executor(const struct config *cfg, struct executor_config *out)
{
    memset(out, 0, sizeof *out);
    mem_copy_text(out->state_dir, sizeof out->state_dir, cfg->state_dir);
    memcpy(out->tools, cfg->tools, sizeof out->tools);
    out->dry_run = cfg->dry_run;
    mem_copy_text(out->key_file, sizeof out->key_file, cfg->key_file);
    mem_copy_text(out->flannel_manifest, sizeof out->flannel_manifest, cfg->flannel_manifest);
    mem_copy_text(out->flannel_version, sizeof out->flannel_version, cfg->flannel_version);
    mem_copy_text(out->flannel_backend, sizeof out->flannel_backend, cfg->flannel_backend);
    images_for_executor(cfg, out);
    packages_for_executor(cfg, &out->packages);
    mem_copy_text(out->kubernetes_version, sizeof out->kubernetes_version, cfg->kubernetes);
    mem_copy_text(out->probe_image, sizeof out->probe_image, cfg->probe_image);
    mem_copy_text(out->pod_cidr, sizeof out->pod_cidr, cfg->pod_cidr);
    mem_copy_text(out->service_cidr, sizeof out->service_cidr, cfg->service_cidr);
    out->port = cfg->port;
    out->multicast_port = cfg->multicast_port;
    out->tell_firewall = cfg->firewall == FIREWALL_TELL;
    memcpy(out->ignore, cfg->ignore_preflight, sizeof out->ignore);
    out->ignore_count = cfg->ignore_preflight_count;
}

int config_socket_path(const struct config *cfg, char out[static 108], struct err *err)
{
    int n = snprintf(out, 108, "%s/kpeer.sock", cfg->run_dir);

    if (n < 0 || n >= 108)
        return err_set(err, KPEER_EINVAL, "run_dir %s: too long for a socket's address", cfg->run_dir);
    return 0;
}
