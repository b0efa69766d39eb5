/* The journal: what it remembers over a restart, putting back exactly, files that others changed, damage. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <sodium.h>

#include "peer/executor/file.h"
#include "peer/executor/journal.h"
#include "peer/executor/spawn.h"
#include "protocol/pack.h"

#define ID "0123456789abcdef0123456789abcdef"

struct place {
    char root[64];
    char dir[96];
    struct journal *j;
};

static const char *at(const struct place *p, const char *name)
{
    static char path[4][160];
    static unsigned next;
    char *out = path[next++ % 4];

    snprintf(out, 160, "%s/%s", p->root, name);
    return out;
}

static void reopen(struct place *p)
{
    journal_close(p->j);
    p->j = NULL;
    assert_int_equal(journal_open(p->dir, &p->j, NULL), 0);
}

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof(*p));

    strcpy(p->root, "/tmp/kpeer-journal-XXXXXX");
    if (!mkdtemp(p->root))
        return -1;
    snprintf(p->dir, sizeof(p->dir), "%s/state/executor", p->root);
    *state = p;
    return journal_open(p->dir, &p->j, NULL);
}

static int teardown(void **state)
{
    struct place *p = *state;
    const char *argv[] = {"rm", "-rf", p->root, NULL};
    struct spawn_result res;

    journal_close(p->j);
    spawn_run(&(struct spawn_request){.program = "rm", .argv = argv}, &res, NULL);
    spawn_result_fini(&res);
    free(p);
    return 0;
}

static void put(const char *path, const char *text, mode_t mode)
{
    assert_int_equal(file_put(path, text, strlen(text), mode, (uid_t)-1, (gid_t)-1, NULL), 0);
}

static void assert_file(const char *path, const char *text, mode_t mode)
{
    struct stat st;
    char *bytes;
    size_t n;

    assert_int_equal(file_read(path, 4096, &bytes, &n, NULL), 0);
    assert_string_equal(bytes, text);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, mode);
    free(bytes);
}

static void replace(struct place *p, const char *path, const char *text)
{
    assert_int_equal(journal_replace_file(p->j, path, text, strlen(text), 0644, NULL), 0);
}

static void test_steps_are_remembered(void **state)
{
    struct place *p = *state;

    assert_false(journal_state(p->j)->init_begun);
    assert_int_equal(journal_begin(p->j, STEP_INIT, ID, NULL), 0);
    reopen(p);
    assert_true(journal_state(p->j)->init_begun);
    assert_false(journal_state(p->j)->init_done);
    assert_int_equal(journal_state(p->j)->unfinished, STEP_INIT);
    assert_string_equal(journal_state(p->j)->cluster_id, ID);
    assert_int_equal(journal_end(p->j, STEP_INIT, KPEER_EIO, NULL), 0);
    assert_false(journal_state(p->j)->init_done);
    assert_int_equal(journal_begin(p->j, STEP_RESET, NULL, NULL), 0);
    assert_int_equal(journal_end(p->j, STEP_RESET, KPEER_EIO, NULL), 0);
    assert_true(journal_state(p->j)->init_begun); /* a reset that failed changes nothing of that */
    assert_int_equal(journal_begin(p->j, STEP_RESET, NULL, NULL), 0);
    assert_int_equal(journal_end(p->j, STEP_RESET, 0, NULL), 0);
    reopen(p);
    assert_false(journal_state(p->j)->init_begun);
    assert_string_equal(journal_state(p->j)->cluster_id, "");
    assert_int_equal(journal_state(p->j)->unfinished, STEP_NONE);
}

static void test_many_steps(void **state)
{
    struct place *p = *state;

    for (int i = 0; i < 2 * JOURNAL_STEPS_MAX; i++) {
        assert_int_equal(journal_begin(p->j, STEP_APPLY, NULL, NULL), 0);
        assert_int_equal(journal_end(p->j, STEP_APPLY, 0, NULL), 0);
    }
    reopen(p);
}

static void count_path(void *ctx, const char *path)
{
    (void)path;
    ++*(int *)ctx;
}

static void test_put_back(void **state)
{
    struct place *p = *state;
    int done = 0;

    put(at(p, "old"), "before\n", 0640);
    replace(p, at(p, "old"), "kpeer\n");
    replace(p, at(p, "a/b/new"), "new\n");
    replace(p, at(p, "old"), "kpeer again\n");
    put(at(p, "gone"), "was here\n", 0600);
    assert_int_equal(journal_remove_file(p->j, at(p, "gone"), NULL), 0);
    assert_int_equal(journal_remove_file(p->j, at(p, "never"), NULL), 0);
    assert_int_equal(access(at(p, "gone"), F_OK), -1);
    assert_true(journal_owns(p->j, at(p, "a/b/new")));
    assert_file(at(p, "old"), "kpeer again\n", 0644);
    reopen(p);
    assert_int_equal(journal_state(p->j)->changes, 5); /* the folders a and a/b too */
    assert_int_equal(journal_undo(p->j, NULL, count_path, NULL, &done, NULL), 0);
    assert_int_equal(done, 5);
    assert_file(at(p, "old"), "before\n", 0640);
    assert_file(at(p, "gone"), "was here\n", 0600);
    assert_int_equal(access(at(p, "a"), F_OK), -1);
    assert_int_equal(journal_state(p->j)->changes, 0);
    assert_int_equal(journal_undo(p->j, NULL, count_path, NULL, &done, NULL), 0);
    assert_int_equal(done, 5);
}

static void test_what_others_put_where_nothing_was_is_removed(void **state)
{
    struct place *p = *state;
    int done = 0, left = 0;

    put(at(p, "theirs"), "before\n", 0755);
    assert_int_equal(journal_expect_file(p->j, at(p, "theirs"), NULL), 0);
    assert_int_equal(journal_expect_file(p->j, at(p, "guest"), NULL), 0);
    assert_int_equal(journal_expect_file(p->j, at(p, "folder"), NULL), 0);
    assert_int_equal(journal_expect_file(p->j, at(p, "never"), NULL), 0);
    put(at(p, "guest"), "came later\n", 0755);
    assert_int_equal(mkdir(at(p, "folder"), 0755), 0);
    assert_int_equal(journal_expect_file(p->j, at(p, "guest"), NULL), 0);
    reopen(p);
    assert_int_equal(journal_state(p->j)->changes, 3);
    assert_int_equal(journal_undo(p->j, NULL, count_path, NULL, &done, NULL), 0);
    assert_int_equal(done, 1);
    assert_int_equal(access(at(p, "guest"), F_OK), -1);
    assert_int_equal(access(at(p, "folder"), F_OK), 0);
    assert_file(at(p, "theirs"), "before\n", 0755);
    assert_int_equal(journal_state(p->j)->changes, 0);
    assert_int_equal(journal_undo(p->j, NULL, NULL, count_path, &left, NULL), 0);
    assert_int_equal(left, 0);
}

static void test_same_content_is_no_change(void **state)
{
    struct place *p = *state;

    put(at(p, "same"), "x", 0644);
    replace(p, at(p, "same"), "x");
    assert_int_equal(journal_state(p->j)->changes, 0);
}

static void test_what_others_changed_is_left(void **state)
{
    struct place *p = *state;
    int left = 0;

    replace(p, at(p, "mine"), "kpeer\n");
    put(at(p, "mine"), "the user's\n", 0644);
    assert_false(journal_owns(p->j, at(p, "mine")));
    assert_int_equal(journal_undo(p->j, NULL, NULL, count_path, &left, NULL), 0);
    assert_int_equal(left, 1);
    assert_file(at(p, "mine"), "the user's\n", 0644);
    /* And if kpeer writes over it, that is what is put back. */
    replace(p, at(p, "mine"), "kpeer 2\n");
    put(at(p, "mine"), "the user's second\n", 0644);
    replace(p, at(p, "mine"), "kpeer 3\n");
    assert_int_equal(journal_undo(p->j, NULL, NULL, NULL, NULL, NULL), 0);
    assert_file(at(p, "mine"), "the user's second\n", 0644);
}

static void test_links_are_refused(void **state)
{
    struct place *p = *state;
    struct err err = {0};

    assert_int_equal(symlink("/etc/passwd", at(p, "link")), 0);
    assert_int_equal(journal_replace_file(p->j, at(p, "link"), "x", 1, 0644, &err), KPEER_EREFUSED);
    assert_int_equal(journal_remove_file(p->j, at(p, "link"), &err), KPEER_EREFUSED);
    assert_int_equal(journal_replace_file(p->j, "relative", "x", 1, 0644, &err), KPEER_EINVAL);
    assert_int_equal(journal_state(p->j)->changes, 0);
}

static void test_settings(void **state)
{
    struct place *p = *state;

    put(at(p, "ip_forward"), "0\n", 0644);
    assert_int_equal(journal_set_sysctl(p->j, at(p, "ip_forward"), "1", NULL), 0);
    assert_int_equal(journal_set_sysctl(p->j, at(p, "ip_forward"), "1", NULL), 0);
    assert_file(at(p, "ip_forward"), "1\n", 0644);
    assert_int_equal(journal_set_sysctl(p->j, at(p, "absent"), "1", NULL), KPEER_ENOTFOUND);
    assert_int_equal(journal_state(p->j)->changes, 1);
    reopen(p);
    assert_int_equal(journal_undo(p->j, NULL, NULL, NULL, NULL, NULL), 0);
    assert_file(at(p, "ip_forward"), "0\n", 0644);
}

/* Between the note and the file a crash may come: neither the old nor the new file is then a stranger's. */
static void test_crash_before_the_file(void **state)
{
    struct place *p = *state;
    int left = 0;

    put(at(p, "f"), "one\n", 0644);
    replace(p, at(p, "f"), "two\n");
    put(at(p, "f"), "one\n", 0644); /* as if the file had not been written yet */
    assert_int_equal(journal_undo(p->j, NULL, NULL, count_path, &left, NULL), 0);
    assert_int_equal(left, 0);
    replace(p, at(p, "f"), "two\n");
    replace(p, at(p, "f"), "three\n");
    put(at(p, "f"), "two\n", 0644);
    assert_int_equal(journal_undo(p->j, NULL, NULL, count_path, &left, NULL), 0);
    assert_int_equal(left, 0);
    assert_file(at(p, "f"), "one\n", 0644);
}

/* Each byte of the file flipped, and the file cut at each length: an error, never a guess. */
static void test_damage(void **state)
{
    struct place *p = *state;
    char path[160], *bytes;
    size_t n;

    replace(p, at(p, "f"), "x");
    snprintf(path, sizeof(path), "%s/journal", p->dir);
    assert_int_equal(file_read(path, 65536, &bytes, &n, NULL), 0);
    for (size_t i = 0; i < n; i++) {
        struct journal *j = NULL;
        struct err err = {0};

        bytes[i] ^= 0x41;
        assert_int_equal(file_put(path, bytes, n, 0600, (uid_t)-1, (gid_t)-1, NULL), 0);
        bytes[i] ^= 0x41;
        assert_in_range(-journal_open(p->dir, &j, &err), -KPEER_EINVAL, -KPEER_EVERSION);
        assert_null(j);
        assert_string_not_equal(err.text, "");
        assert_int_equal(file_put(path, bytes, i, 0600, (uid_t)-1, (gid_t)-1, NULL), 0);
        assert_int_not_equal(journal_open(p->dir, &j, &err), 0);
    }
    bytes[14] = '3';
    assert_int_equal(file_put(path, bytes, n, 0600, (uid_t)-1, (gid_t)-1, NULL), 0);
    {
        struct journal *j = NULL;

        assert_int_equal(journal_open(p->dir, &j, NULL), KPEER_EVERSION);
    }
    free(bytes);
}

static void test_folder_open_to_others(void **state)
{
    struct place *p = *state;
    struct journal *j = NULL;

    assert_int_equal(chmod(p->dir, 0777), 0);
    assert_int_equal(journal_open(p->dir, &j, NULL), KPEER_EREFUSED);
    assert_int_equal(chmod(p->dir, 0700), 0);
    assert_int_equal(chmod(at(p, "state"), 0775), 0);
    assert_int_equal(journal_open(p->dir, &j, NULL), KPEER_EREFUSED);
    assert_int_equal(journal_open("relative", &j, NULL), KPEER_EINVAL);
}

static void test_rehearsal(void **state)
{
    struct place *p = *state;
    struct journal *j = NULL;

    assert_int_equal(journal_open(NULL, &j, NULL), 0);
    assert_int_equal(journal_begin(j, STEP_INIT, ID, NULL), 0);
    assert_true(journal_state(j)->init_begun);
    assert_int_equal(journal_replace_file(j, at(p, "f"), "x", 1, 0644, NULL), KPEER_ESTATE);
    assert_int_equal(access(at(p, "f"), F_OK), -1);
    journal_close(j);
}

static void test_folders(void **state)
{
    struct place *p = *state;
    struct stat st;
    int done = 0, left = 0;

    assert_int_equal(mkdir(at(p, "there"), 0700), 0);
    assert_int_equal(journal_make_dir(p->j, at(p, "there"), 0755, NULL), 0);
    assert_int_equal(journal_state(p->j)->changes, 0);
    assert_int_equal(journal_make_dir(p->j, at(p, "m/n"), 0750, NULL), 0);
    assert_int_equal(journal_make_dir(p->j, at(p, "used"), 0755, NULL), 0);
    assert_int_equal(journal_make_dir(p->j, at(p, "gone"), 0755, NULL), 0);
    assert_int_equal(stat(at(p, "m/n"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0750);
    put(at(p, "used/theirs"), "x", 0644);
    assert_int_equal(rmdir(at(p, "gone")), 0); /* as if it had not been made yet */
    reopen(p);
    assert_int_equal(journal_state(p->j)->changes, 4);
    assert_int_equal(journal_undo(p->j, NULL, count_path, NULL, &done, NULL), 0);
    assert_int_equal(done, 2);
    assert_int_equal(access(at(p, "m"), F_OK), -1);
    assert_int_equal(access(at(p, "used/theirs"), F_OK), 0);
    put(at(p, "file"), "x", 0644);
    assert_int_equal(journal_make_dir(p->j, at(p, "file"), 0755, NULL), KPEER_EREFUSED);
    assert_int_equal(journal_make_dir(p->j, "relative", 0755, NULL), KPEER_EINVAL);
    assert_int_equal(journal_make_dir(p->j, at(p, "again"), 0755, NULL), 0);
    put(at(p, "again/theirs"), "x", 0644);
    assert_int_equal(journal_undo(p->j, NULL, NULL, count_path, &left, NULL), 0);
    assert_int_equal(left, 1);
}

static struct timespec mtime_of(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return st.st_mtim;
}

static void set_mtime(const char *path, time_t s, long ns)
{
    const struct timespec times[2] = {{s, ns}, {s, ns}};

    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void assert_mtime(const char *path, time_t s, long ns)
{
    struct timespec t = mtime_of(path);

    assert_int_equal(t.tv_sec, s);
    assert_int_equal(t.tv_nsec, ns);
}

static void test_times_are_put_back(void **state)
{
    struct place *p = *state;

    assert_int_equal(mkdir(at(p, "d"), 0755), 0);
    assert_int_equal(mkdir(at(p, "e"), 0755), 0);
    put(at(p, "d/f"), "one\n", 0600);
    set_mtime(at(p, "d/f"), 1000000000, 123456789);
    set_mtime(at(p, "d"), 1000000001, 5);
    set_mtime(at(p, "e"), 1000000001, 5);
    replace(p, at(p, "d/f"), "two\n");
    replace(p, at(p, "d/new"), "new\n");
    replace(p, at(p, "d/f"), "three\n");
    replace(p, at(p, "e/sub/new"), "new\n");
    reopen(p);
    assert_int_equal(journal_undo(p->j, NULL, NULL, NULL, NULL, NULL), 0);
    assert_mtime(at(p, "d/f"), 1000000000, 123456789);
    assert_mtime(at(p, "d"), 1000000001, 5);
    assert_mtime(at(p, "e"), 1000000001, 5);
    /* Where somebody else was at the folder, its time is theirs. */
    replace(p, at(p, "d/f"), "two\n");
    set_mtime(at(p, "d"), 1000000002, 0);
    assert_int_equal(journal_undo(p->j, NULL, NULL, NULL, NULL, NULL), 0);
    assert_true(mtime_of(at(p, "d")).tv_sec > 1000000002);
    assert_file(at(p, "d/f"), "one\n", 0600);
}

static void test_mode_alone(void **state)
{
    struct place *p = *state;

    put(at(p, "f"), "same\n", 0600);
    replace(p, at(p, "f"), "same\n");
    assert_file(at(p, "f"), "same\n", 0644);
    assert_int_equal(journal_undo(p->j, NULL, NULL, NULL, NULL, NULL), 0);
    assert_file(at(p, "f"), "same\n", 0600);
}

/* A crash leaves a new file beside the one to be replaced: undo takes that away too. */
static void test_halves_are_swept(void **state)
{
    struct place *p = *state;

    replace(p, at(p, "f"), "x");
    put(at(p, "f.kpeer-new"), "ha", 0600);
    assert_int_equal(journal_undo(p->j, NULL, NULL, NULL, NULL, NULL), 0);
    assert_int_equal(access(at(p, "f.kpeer-new"), F_OK), -1);
    put(at(p, "f.kpeer-new"), "ha", 0600);
    replace(p, at(p, "f"), "y");
    assert_int_equal(access(at(p, "f.kpeer-new"), F_OK), -1);
}

/* A host with units and rules that are words alone, and what was asked of it. */
struct deeds {
    char unit[16], rule[16];
    char log[256];
    bool fails;
};

static int undo_word(struct deeds *w, char *word, const struct journal_deed *d, enum journal_undone *how,
                     struct err *err)
{
    if (w->fails)
        return err_set(err, KPEER_EIO, "no answer");
    *how = strcmp(word, d->before) == 0  ? JOURNAL_SAME
           : strcmp(word, d->after) == 0 ? JOURNAL_BACK
                                         : JOURNAL_LEFT;
    if (*how == JOURNAL_BACK)
        strcpy(word, d->before);
    return 0;
}

static int undo_unit(void *ctx, const struct journal_deed *d, enum journal_undone *how, struct err *err)
{
    struct deeds *w = ctx;

    return undo_word(w, w->unit, d, how, err);
}

static int undo_rule(void *ctx, const struct journal_deed *d, enum journal_undone *how, struct err *err)
{
    struct deeds *w = ctx;

    return undo_word(w, w->rule, d, how, err);
}

static void log_back(void *ctx, const char *path)
{
    strcat(strcat(((struct deeds *)ctx)->log, "+"), path[0] == '/' ? "file" : path);
}

static void log_left(void *ctx, const char *path)
{
    strcat(strcat(((struct deeds *)ctx)->log, "-"), path[0] == '/' ? "file" : path);
}

static const char *undo_deeds(struct place *p, struct deeds *w, int code)
{
    static journal_undoer *const undoers[DEED_KIND_COUNT] = {
        [DEED_UNIT] = undo_unit, [DEED_RULE] = undo_rule};

    w->log[0] = 0;
    reopen(p);
    assert_int_equal(journal_undo(p->j, undoers, log_back, log_left, w, NULL), code);
    return w->log;
}

static void append_line(void *ctx, const char *text)
{
    char *all = ctx;

    assert_true(strlen(all) + strlen(text) + 2 < 2048);
    strcat(strcat(all, text), "\n");
}

/* Names and what was done, and nothing of what a file holds. */
static void test_list(void **state)
{
    static const struct journal_deed unit = {DEED_UNIT, "kubelet", "off", "on"};
    struct place *p = *state;
    char all[2048] = "", wanted[512];

    assert_int_equal(journal_begin(p->j, STEP_FIX, NULL, NULL), 0);
    replace(p, at(p, "f"), "MARKER");
    assert_int_equal(journal_note_deed(p->j, &unit, NULL), 0);
    assert_int_equal(journal_end(p->j, STEP_FIX, KPEER_ETIMEOUT, NULL), 0);
    assert_int_equal(journal_begin(p->j, STEP_JOIN, ID, NULL), 0);
    journal_list(p->j, append_line, all);
    assert_non_null(strstr(all, "Z fix: timed-out after "));
    snprintf(wanted, sizeof wanted,
             "Z %s: not ended\n%s: made, to be put back\nunit kubelet: \"on\" in place of \"off\"\n",
             step_word(STEP_JOIN), at(p, "f"));
    assert_non_null(strstr(all, wanted));
    assert_null(strstr(all, "MARKER"));
}

static void test_deeds(void **state)
{
    static const struct journal_deed unit = {DEED_UNIT, "kubelet", "off", "on"};
    static const struct journal_deed again = {DEED_UNIT, "kubelet", "on", "masked"};
    static const struct journal_deed rule = {DEED_RULE, "6443/tcp", "shut", "open"};
    struct place *p = *state;
    struct deeds w = {.unit = "off", .rule = "shut"};
    struct journal_deed found;

    assert_int_equal(journal_note_deed(p->j, &unit, NULL), 0);
    assert_string_equal(undo_deeds(p, &w, 0), ""); /* the power went before it was done */
    assert_int_equal(journal_state(p->j)->changes, 0);
    assert_int_equal(journal_note_deed(p->j, &unit, NULL), 0);
    replace(p, at(p, "f"), "x");
    assert_int_equal(journal_note_deed(p->j, &rule, NULL), 0);
    assert_int_equal(journal_note_deed(p->j, &again, NULL), 0);
    assert_int_equal(journal_state(p->j)->changes, 3);
    assert_true(journal_find_deed(p->j, DEED_UNIT, "kubelet", &found));
    assert_string_equal(found.before, "off");
    assert_string_equal(found.after, "masked");
    assert_false(journal_find_deed(p->j, DEED_RULE, "kubelet", NULL));
    strcpy(w.unit, "masked");
    strcpy(w.rule, "somebody's");
    assert_string_equal(undo_deeds(p, &w, 0), "-rule 6443/tcp+file+unit kubelet");
    assert_string_equal(w.unit, "off");
    assert_string_equal(w.rule, "somebody's");
    assert_int_equal(journal_state(p->j)->changes, 0);
}

static void test_deeds_that_cannot_be_undone_stay(void **state)
{
    static const struct journal_deed unit = {DEED_UNIT, "kubelet", "off", "on"};
    static const struct journal_deed module = {DEED_MODULE, "overlay", "absent", "loaded"};
    struct place *p = *state;
    struct deeds w = {.unit = "on", .fails = true};
    struct journal_deed nameless = {.kind = DEED_UNIT};

    assert_int_equal(journal_note_deed(p->j, &nameless, NULL), KPEER_EINVAL);
    assert_int_equal(journal_note_deed(p->j, &unit, NULL), 0);
    assert_int_equal(journal_note_deed(p->j, &module, NULL), 0);
    replace(p, at(p, "f"), "x");
    assert_string_equal(undo_deeds(p, &w, KPEER_ESTATE), "+file"); /* nobody knows modules here */
    assert_int_equal(journal_state(p->j)->changes, 2);
    w.fails = false;
    assert_string_equal(undo_deeds(p, &w, KPEER_ESTATE), "+unit kubelet");
    assert_int_equal(journal_state(p->j)->changes, 1);
}

/* As kpeer wrote it before there were deeds: one file that was made. */
static void test_version_1(void **state)
{
    struct place *p = *state;
    uint8_t zero[32] = {0}, now[32], file[4096], *body;
    struct pack_writer w;
    char path[160];
    size_t n;

    put(at(p, "old"), "made by the first\n", 0644);
    crypto_generichash(now, sizeof(now), (const uint8_t *)"made by the first\n", 18, NULL, 0);
    pack_writer_init(&w, 2048);
    pack_put_array(&w, 8);
    for (int i = 0; i < 4; i++)
        pack_put_bool(&w, false);
    pack_put_str(&w, ID);
    pack_put_uint(&w, STEP_NONE);
    pack_put_array(&w, 1);
    pack_put_array(&w, 11);
    pack_put_uint(&w, 1);
    pack_put_str(&w, at(p, "old"));
    pack_put_bool(&w, false);
    for (int i = 0; i < 3; i++)
        pack_put_uint(&w, 0);
    pack_put_bool(&w, false);
    pack_put_bin(&w, now, sizeof(now));
    pack_put_bin(&w, zero, sizeof(zero));
    pack_put_str(&w, "");
    pack_put_str(&w, "");
    pack_put_array(&w, 0);
    assert_int_equal(pack_writer_take(&w, &body, &n, NULL), 0);
    pack_writer_fini(&w);
    memcpy(file, "kpeer-journal 1\n", 16);
    crypto_generichash(file + 16, 32, body, n, NULL, 0);
    memcpy(file + 48, body, n);
    free(body);
    snprintf(path, sizeof(path), "%s/journal", p->dir);
    assert_int_equal(file_put(path, file, 48 + n, 0600, (uid_t)-1, (gid_t)-1, NULL), 0);
    reopen(p);
    assert_string_equal(journal_state(p->j)->cluster_id, ID);
    assert_int_equal(journal_state(p->j)->changes, 1);
    assert_int_equal(journal_begin(p->j, STEP_UNDO, NULL, NULL), 0); /* written in the new form from now on */
    reopen(p);
    assert_int_equal(journal_undo(p->j, NULL, NULL, NULL, NULL, NULL), 0);
    assert_int_equal(access(at(p, "old"), F_OK), -1);
}

int main(void)
{
#define WITH_PLACE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_PLACE(test_steps_are_remembered),
        WITH_PLACE(test_many_steps),
        WITH_PLACE(test_put_back),
        WITH_PLACE(test_what_others_put_where_nothing_was_is_removed),
        WITH_PLACE(test_same_content_is_no_change),
        WITH_PLACE(test_what_others_changed_is_left),
        WITH_PLACE(test_links_are_refused),
        WITH_PLACE(test_settings),
        WITH_PLACE(test_crash_before_the_file),
        WITH_PLACE(test_damage),
        WITH_PLACE(test_folder_open_to_others),
        WITH_PLACE(test_rehearsal),
        WITH_PLACE(test_folders),
        WITH_PLACE(test_times_are_put_back),
        WITH_PLACE(test_mode_alone),
        WITH_PLACE(test_halves_are_swept),
        WITH_PLACE(test_list),
        WITH_PLACE(test_deeds),
        WITH_PLACE(test_deeds_that_cannot_be_undone_stay),
        WITH_PLACE(test_version_1),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
