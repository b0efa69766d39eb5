#include "peer/agent/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "protocol/mem.h"
#include "protocol/secret.h"

#define MAGIC        "kpeer\n\x1a"
#define MAGIC_BYTES  8
#define VERSION      1
#define KIND_BYTES   12
#define SUM_BYTES    32
#define HEADER_BYTES (MAGIC_BYTES + 4 + KIND_BYTES + 8)
#define FILE_MAX     (HEADER_BYTES + STORE_BLOB_MAX + SUM_BYTES)
#define STALE_TRIES  100
#define GIVE_DEPTH   1 /* folders below ours: stale-TIME */
#define IDENTITY     "identity"
#define HOST_BYTES   (16 + 1 + FACTS_MACS_MAX * 6)

int (*store_fault)(const char *step);

struct store {
    char *dir;
    int fd;      /* the folder */
    int lock;    /* the lock file */
    uid_t owner; /* of the folder, when it was opened */
};

static const char *const names[STORE_KEY_COUNT] = {[STORE_PROMISES] = "promises",
                                                   [STORE_CLUSTER] = "cluster",
                                                   [STORE_MEMBERS] = "members",
                                                   [STORE_KEYS] = "keys"};

/* True, with errno set, when a test wants this step to fail. */
static bool faulty(const char *step)
{
    int e = store_fault ? store_fault(step) : 0;
    if (e)
        errno = e;
    return e != 0;
}

/* Whether the folder that holds ours is root's alone to write: then whatever it holds was put there by root,
 * and an agent whose user is another one now takes over what the one before it left. */
static bool below_roots_folder(const struct store *s)
{
    struct stat above;
    return geteuid() == 0 && fstatat(s->fd, "..", &above, 0) == 0 && above.st_uid == 0 &&
           (above.st_mode & 0022) == 0;
}

static int open_dir(struct store *s, struct err *err)
{
    struct stat st;
    if (mkdir(s->dir, 0700) && errno != EEXIST)
        return err_errno(err, errno, "cannot make the state folder %s", s->dir);
    s->fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (s->fd < 0 || fstat(s->fd, &st))
        return err_errno(err, errno, "cannot open the state folder %s", s->dir);
    if (st.st_uid != geteuid() && !below_roots_folder(s)) {
        err_set(err, KPEER_EREFUSED, "the state folder %s belongs to user %u", s->dir, st.st_uid);
        err_hint(err, "chown it to the agent's user, or use another folder (--state-dir)");
        return KPEER_EREFUSED;
    }
    if ((st.st_mode & 0077) && fchmod(s->fd, 0700))
        return err_errno(err, errno, "cannot make the state folder %s ours", s->dir);
    s->owner = st.st_uid;
    return 0;
}

static int take_lock(struct store *s, struct err *err)
{
    s->lock = openat(s->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->lock < 0)
        return err_errno(err, errno, "cannot open %s/lock", s->dir);
    if (flock(s->lock, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno != EWOULDBLOCK)
        return err_errno(err, errno, "cannot lock %s", s->dir);
    err_set(err, KPEER_ESTATE, "another agent uses the state folder %s", s->dir);
    err_hint(err, "stop it first, or give this one a folder of its own (--state-dir)");
    return KPEER_ESTATE;
}

int store_open(struct store **out, const char *dir, struct err *err)
{
    struct store *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(err, KPEER_ENOMEM, "no memory for the store");
    *s = (struct store){.dir = strdup(dir), .fd = -1, .lock = -1};
    int rc = s->dir ? open_dir(s, err) : err_set(err, KPEER_ENOMEM, "no memory for the store");
    if (!rc)
        rc = take_lock(s, err);
    if (rc) {
        store_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

uid_t store_owner(const struct store *s)
{
    return s->owner;
}

static bool is_entry(const char *name)
{
    return strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* Only what is here and nowhere else: the user before may have linked somebody's file into the folder. */
static bool may_give(const struct stat *st)
{
    return S_ISDIR(st->st_mode) || (S_ISREG(st->st_mode) && st->st_nlink == 1);
}

/* Gives a folder and what it holds to a user; errno tells why not. `fd` is closed. */
static int give_folder(int fd, uid_t uid, gid_t gid, int depth)
{
    DIR *folder = fdopendir(fd);
    const struct dirent *entry;
    int bad = folder ? fchown(fd, uid, gid) : -1;
    while (!bad && (entry = readdir(folder)) != NULL) {
        struct stat st;
        int in = is_entry(entry->d_name)
                     ? openat(fd, entry->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)
                     : -1;
        if (in < 0)
            continue; /* a link, or nothing of ours */
        bool ours = fstat(in, &st) == 0 && may_give(&st);
        if (ours && S_ISDIR(st.st_mode) && depth > 0) {
            bad = give_folder(in, uid, gid, depth - 1);
            continue;
        }
        bad = ours ? fchown(in, uid, gid) : 0;
        close(in);
    }
    if (folder)
        closedir(folder);
    else
        close(fd);
    return bad;
}

int store_give(struct store *s, uid_t uid, gid_t gid, struct err *err)
{
    int fd = uid == (uid_t)-1 ? -1 : openat(s->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (uid == (uid_t)-1)
        return 0;
    if (fd < 0 || give_folder(fd, uid, gid, GIVE_DEPTH))
        return err_errno(err, errno, "cannot hand over the state folder %s", s->dir);
    return 0;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    if (s->lock >= 0)
        close(s->lock);
    if (s->fd >= 0)
        close(s->fd);
    free(s->dir);
    free(s);
}

static void put_le(uint8_t *out, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        out[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get_le(const uint8_t *in, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = bytes; i > 0; i--)
        value = value << 8 | in[i - 1];
    return value;
}

static void put_header(uint8_t *out, const char *kind, size_t n)
{
    memset(out, 0, HEADER_BYTES);
    memcpy(out, MAGIC, strlen(MAGIC));
    put_le(out + MAGIC_BYTES, VERSION, 4);
    memcpy(out + MAGIC_BYTES + 4, kind, strnlen(kind, KIND_BYTES - 1));
    put_le(out + MAGIC_BYTES + 4 + KIND_BYTES, n, 8);
}

static int write_all(int fd, const uint8_t *bytes, size_t n)
{
    while (n > 0) {
        ssize_t written = faulty("write") ? -1 : write(fd, bytes, n);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -1;
        bytes += written;
        n -= (size_t)written;
    }
    return 0;
}

/* Writes `n` bytes (header and sum included) as `name`.new and makes it `name`; errno tells why not. */
static int replace(struct store *s, const char *name, const uint8_t *bytes, size_t n)
{
    char fresh[32];
    snprintf(fresh, sizeof fresh, "%s.new", name);
    int fd = faulty("open")
                 ? -1
                 : openat(s->fd, fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -1;
    int bad = write_all(fd, bytes, n) || faulty("fsync") || fsync(fd);
    int saved = errno;
    if (close(fd) && !bad) {
        bad = -1;
        saved = errno;
    }
    if (!bad && !faulty("rename") && renameat(s->fd, fresh, s->fd, name) == 0)
        return faulty("fsync-dir") || fsync(s->fd) ? -1 : 0;
    if (!bad)
        saved = errno;
    unlinkat(s->fd, fresh, 0);
    errno = saved;
    return -1;
}

static int put_file(struct store *s, const char *name, const uint8_t *bytes, size_t n, struct err *err)
{
    if (n > STORE_BLOB_MAX)
        return err_set(err, KPEER_ELIMIT, "%s/%s would be %zu bytes long", s->dir, name, n);
    size_t total = HEADER_BYTES + n + SUM_BYTES;
    uint8_t *file = malloc(total);
    if (!file)
        return err_set(err, KPEER_ENOMEM, "no memory to write %s/%s", s->dir, name);
    put_header(file, name, n);
    if (n)
        memcpy(file + HEADER_BYTES, bytes, n);
    crypto_generichash(file + HEADER_BYTES + n, SUM_BYTES, file, HEADER_BYTES + n, NULL, 0);
    int rc = replace(s, name, file, total) ? err_errno(err, errno, "cannot write %s/%s", s->dir, name) : 0;
    sodium_memzero(file, total);
    free(file);
    return rc;
}

/* The whole file, judged on its open descriptor; *out NULL when there is none. */
static int read_file(struct store *s, const char *name, uint8_t **out, size_t *n, struct err *err)
{
    struct stat st;
    *out = NULL;
    *n = 0;
    int fd = openat(s->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? 0 : err_errno(err, errno, "cannot open %s/%s", s->dir, name);
    int rc = fstat(fd, &st) ? err_errno(err, errno, "cannot look at %s/%s", s->dir, name) : 0;
    if (!rc && (!S_ISREG(st.st_mode) || st.st_size > (off_t)FILE_MAX))
        rc = err_set(err, KPEER_EINVAL, "%s/%s is no file of kpeer's", s->dir, name);
    uint8_t *bytes = rc ? NULL : malloc((size_t)st.st_size + 1);
    if (!rc && !bytes)
        rc = err_set(err, KPEER_ENOMEM, "no memory to read %s/%s", s->dir, name);
    size_t got = 0;
    while (!rc && got < (size_t)st.st_size) {
        ssize_t k = read(fd, bytes + got, (size_t)st.st_size - got);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            rc = err_errno(err, errno, "cannot read %s/%s", s->dir, name);
        if (k <= 0)
            break;
        got += (size_t)k;
    }
    close(fd);
    if (rc) {
        free(bytes);
        return rc;
    }
    *out = bytes;
    *n = got;
    return 0;
}

static int check_file(const struct store *s, const char *name, const uint8_t *file, size_t total,
                      struct err *err)
{
    uint8_t header[HEADER_BYTES], sum[SUM_BYTES];
    if (total < MAGIC_BYTES + 4 || memcmp(file, MAGIC, strlen(MAGIC) + 1) != 0)
        return err_set(err, KPEER_EIO, "%s/%s is no file of kpeer's, or torn", s->dir, name);
    uint64_t version = get_le(file + MAGIC_BYTES, 4);
    if (version != VERSION)
        return err_set(err, KPEER_EVERSION, "%s/%s has version %llu, this kpeer reads %d", s->dir, name,
                       (unsigned long long)version, VERSION);
    if (total < HEADER_BYTES + SUM_BYTES)
        return err_set(err, KPEER_EIO, "%s/%s is torn", s->dir, name);
    size_t n = total - HEADER_BYTES - SUM_BYTES;
    put_header(header, name, n);
    if (memcmp(file, header, HEADER_BYTES) != 0)
        return err_set(err, KPEER_EIO, "%s/%s is torn, or another file under its name", s->dir, name);
    crypto_generichash(sum, sizeof sum, file, HEADER_BYTES + n, NULL, 0);
    if (memcmp(sum, file + HEADER_BYTES + n, sizeof sum) != 0)
        return err_set(err, KPEER_EIO, "%s/%s is damaged: its checksum does not fit", s->dir, name);
    return 0;
}

/* What helps depends on what is lost with the file. */
static void hint_damaged(const struct store *s, const char *name, struct err *err)
{
    if (strcmp(name, names[STORE_MEMBERS]) == 0)
        err_hint(err, "move that file away, then: sudo kpeer up; it is made anew");
    else if (strcmp(name, names[STORE_CLUSTER]) == 0)
        err_hint(err, "restore it from a copy; or move that file away, then: sudo kpeer up; the other hosts "
                      "tell it anew");
    else if (strcmp(name, names[STORE_KEYS]) == 0)
        err_hint(err,
                 "restore it from a copy; or copy the present key file from another host, move that file "
                 "away, then: sudo kpeer up");
    else
        err_hint(err,
                 "restore it from a copy; or, but not on the master, move %s away, then: sudo kpeer up; this "
                 "host joins "
                 "again, as a new member",
                 s->dir);
}

static int get_file(struct store *s, const char *name, uint8_t **out, size_t *n, struct err *err)
{
    uint8_t *file = NULL;
    size_t total = 0;
    int rc = read_file(s, name, &file, &total, err);
    if (rc)
        return rc;
    if (file) {
        rc = check_file(s, name, file, total, err);
        if (rc) {
            sodium_memzero(file, total);
            free(file);
            hint_damaged(s, name, err);
            return rc;
        }
        total -= HEADER_BYTES + SUM_BYTES;
        memmove(file, file + HEADER_BYTES, total);
    }
    *out = file;
    *n = total;
    return 0;
}

int store_put(struct store *s, enum store_key key, const uint8_t *bytes, size_t n, struct err *err)
{
    return put_file(s, names[key], bytes, n, err);
}

int store_get(struct store *s, enum store_key key, uint8_t **out, size_t *n, struct err *err)
{
    return get_file(s, names[key], out, n, err);
}

/* The identity's file: seed, machine-id, number of hardware addresses, those. */
static void put_host(uint8_t out[static HOST_BYTES], const struct store_host *h)
{
    size_t count = h->mac_count < FACTS_MACS_MAX ? h->mac_count : FACTS_MACS_MAX;
    memset(out, 0, HOST_BYTES);
    memcpy(out, h->machine_id, 16);
    out[16] = (uint8_t)count;
    memcpy(out + 17, h->mac, count * 6);
}

static bool have_common_mac(const uint8_t *file, const struct store_host *h)
{
    for (size_t i = 0; i < file[16] && i < FACTS_MACS_MAX; i++)
        for (size_t k = 0; k < h->mac_count; k++)
            if (memcmp(file + 17 + 6 * i, h->mac[k], 6) == 0)
                return true;
    return false;
}

static bool have_all_macs(const uint8_t *file, const struct store_host *h)
{
    uint8_t now[HOST_BYTES];
    put_host(now, h);
    return file[16] > 0 && file[16] == now[16] && memcmp(file + 17, now + 17, (size_t)now[16] * 6) == 0;
}

/* One hardware address in common will do: cards come and go. Where either side has none, machine-id alone
 * decides. A host whose machine-id alone is another one now was given it, as clones are: a copy of its disk
 * would have other hardware. */
static bool same_host(const uint8_t *file, const struct store_host *h)
{
    if (memcmp(file, h->machine_id, 16) != 0)
        return have_all_macs(file, h);
    return file[16] == 0 || h->mac_count == 0 || have_common_mac(file, h);
}

static int make_identity(struct store *s, const struct store_host *host, struct identity **out,
                         struct err *err)
{
    uint8_t file[IDENTITY_SEED_BYTES + HOST_BYTES];
    randombytes_buf(file, IDENTITY_SEED_BYTES);
    put_host(file + IDENTITY_SEED_BYTES, host);
    int rc = put_file(s, IDENTITY, file, sizeof file, err);
    if (!rc)
        rc = identity_new(out, file, err);
    sodium_memzero(file, sizeof file);
    return rc;
}

static bool have_files(const struct store *s)
{
    for (size_t i = 0; i <= STORE_KEY_COUNT; i++)
        if (faccessat(s->fd, i < STORE_KEY_COUNT ? names[i] : IDENTITY, F_OK, 0) == 0)
            return true;
    return false;
}

/* Moves all that the agent wrote into
 * stale-TIME. */
static int move_aside(struct store *s, char stale[static 64], struct err *err)
{
    int made = -1;
    long long now = (long long)time(NULL);
    for (int i = 0; made && i < STALE_TRIES;
         i++) { /* never into a folder that holds what an earlier one left */
        snprintf(stale, 64, "stale-%lld", now + i);
        made = mkdirat(s->fd, stale, 0700);
        if (made && errno != EEXIST)
            break;
    }
    if (made)
        return err_errno(err, errno, "cannot make %s/%s", s->dir, stale);
    int to = openat(s->fd, stale, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (to < 0)
        return err_errno(err, errno, "cannot open %s/%s", s->dir, stale);
    int rc = 0;
    /* The identity goes last: after a crash in between the move is begun again. */
    for (size_t i = 0; !rc && i <= STORE_KEY_COUNT; i++) {
        const char *name = i < STORE_KEY_COUNT ? names[i] : IDENTITY;
        if (renameat(s->fd, name, to, name) && errno != ENOENT)
            rc = err_errno(err, errno, "cannot move %s/%s aside", s->dir, name);
    }
    if (!rc && (fsync(to) || fsync(s->fd)))
        rc = err_errno(err, errno, "cannot sync %s", s->dir);
    close(to);
    return rc;
}

/* What it belongs to is brought up to date, or the next change would make it another's. */
static int keep_host(struct store *s, uint8_t *file, const struct store_host *host, struct err *err)
{
    if (memcmp(file + IDENTITY_SEED_BYTES, host->machine_id, 16) == 0)
        return 0;
    put_host(file + IDENTITY_SEED_BYTES, host);
    return put_file(s, IDENTITY, file, IDENTITY_SEED_BYTES + HOST_BYTES, err);
}

int store_identity(struct store *s, const struct store_host *host, struct identity **out, bool *renewed,
                   char stale[static 64], struct err *err)
{
    uint8_t *file = NULL;
    size_t n = 0;
    *renewed = false;
    int rc = get_file(s, IDENTITY, &file, &n, err);
    if (rc)
        return rc;
    if (file && n != IDENTITY_SEED_BYTES + HOST_BYTES) {
        rc = err_set(err, KPEER_EIO, "%s/%s has a wrong length", s->dir, IDENTITY);
        hint_damaged(s, IDENTITY, err);
    } else if (file && same_host(file + IDENTITY_SEED_BYTES, host)) {
        rc = keep_host(s, file, host, err);
        if (!rc)
            rc = identity_new(out, file, err);
    } else {
        if (have_files(s)) {
            rc = move_aside(s, stale, err);
            *renewed = rc == 0;
        }
        if (!rc)
            rc = make_identity(s, host, out, err);
    }
    if (file)
        sodium_memzero(file, n);
    free(file);
    return rc;
}

/* The identity first: state without identity is told as foreign, an identity without its promises is not. */
int store_renew(struct store *s, struct err *err)
{
    if (unlinkat(s->fd, IDENTITY, 0) && errno != ENOENT)
        return err_errno(err, errno, "cannot remove %s/%s", s->dir, IDENTITY);
    for (size_t i = 0; i < STORE_KEY_COUNT; i++)
        if (unlinkat(s->fd, names[i], 0) && errno != ENOENT)
            return err_errno(err, errno, "cannot remove %s/%s", s->dir, names[i]);
    return fsync(s->fd) ? err_errno(err, errno, "cannot sync %s", s->dir) : 0;
}

void store_machine_id(uint8_t out[static 16])
{
    char text[64] = "";
    memset(out, 0, 16);
    int fd = open("/etc/machine-id", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' '))
        n--;
    if (n > 0)
        crypto_generichash(out, 16, (const unsigned char *)text, (size_t)n, NULL, 0);
}
