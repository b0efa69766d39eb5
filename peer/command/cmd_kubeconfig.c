#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer/command/command.h"
#include "protocol/mem.h"

#define ANSWER_MS 60000

/* Whoever called, also through sudo: their home, and from now on their rights, so that nothing of root's can
 * be overwritten through a link in a home. */
static int become_caller(char home[static CONFIG_PATH_BYTES], struct err *err)
{
    const char *sudo = getenv("SUDO_UID");
    uid_t uid = geteuid();
    const struct passwd *pw;

    if (uid == 0 && sudo && *sudo)
        uid = (uid_t)strtoul(sudo, NULL, 10);
    pw = getpwuid(uid);
    if (!pw || mem_copy_text(home, CONFIG_PATH_BYTES, pw->pw_dir))
        return err_set(err, KPEER_ENOTFOUND, "user %u has no home", (unsigned)uid);
    if (uid == geteuid())
        return 0;
    if (initgroups(pw->pw_name, pw->pw_gid) || setgid(pw->pw_gid) || setuid(uid))
        return err_errno(err, errno, "becoming user %s", pw->pw_name);
    return 0;
}

static int write_new(const char *path, const char *text, struct err *err)
{
    size_t n = strlen(text);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool ok;

    if (fd < 0)
        return err_errno(err, errno, "%s", path);
    ok = write(fd, text, n) == (ssize_t)n && fsync(fd) == 0;
    if (close(fd) || !ok) {
        err_errno(err, errno, "%s", path);
        unlink(path);
        return KPEER_EIO;
    }
    return 0;
}

/* Whether the file holds exactly this text. */
static bool same_text(const char *path, const char *text)
{
    size_t n = strlen(text);
    cleanup_free char *old = malloc(n + 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool same = fd >= 0 && old && read(fd, old, n + 1) == (ssize_t)n && memcmp(old, text, n) == 0;

    if (old)
        sodium_memzero(old, n + 1);
    if (fd >= 0)
        close(fd);
    return same;
}

static int install(struct call *call, const char *text, struct err *err)
{
    char home[CONFIG_PATH_BYTES], folder[CONFIG_PATH_BYTES + 16], path[CONFIG_PATH_BYTES + 32];
    char tmp[CONFIG_PATH_BYTES + 64];
    int code = become_caller(home, err);

    if (code)
        return code;
    snprintf(folder, sizeof folder, "%s/.kube", home);
    snprintf(path, sizeof path, "%s/config", folder);
    snprintf(tmp, sizeof tmp, "%s/config.kpeer-%ld", folder, (long)getpid());
    if (mkdir(folder, 0700) && errno != EEXIST)
        return err_errno(err, errno, "%s", folder);
    if (access(path, F_OK) == 0 && !same_text(path, text) && !command_flag(call, "force")) {
        err_set(err, KPEER_EREFUSED, "there is another kubeconfig at %s", path);
        return err_hint(err, "kpeer kubeconfig --install --force replaces it");
    }
    code = write_new(tmp, text, err);
    if (!code && rename(tmp, path)) {
        code = err_errno(err, errno, "%s", path);
        unlink(tmp);
    }
    if (!code && writer_is_data(&call->out)) {
        json_t *told = json_pack("{s:s}", "installed", path);

        code = told ? writer_value(&call->out, told, err) : err_set(err, KPEER_ENOMEM, "out of memory");
        json_decref(told);
    } else if (!code) {
        fprintf(call->out.to, "kubeconfig written to %s; try: kubectl get nodes -o wide\n", path);
    }
    return code;
}

int cmd_kubeconfig(struct call *call, struct err *err)
{
    struct control_client *client = NULL;
    json_t *answer = NULL;
    const char *text;
    int code = command_connect(call, &client, err);

    if (!code)
        code = control_ask(client, "kubeconfig", NULL, ANSWER_MS, &answer, err);
    text = json_string_value(json_object_get(answer, "kubeconfig"));
    if (!code && !text)
        code = err_set(err, KPEER_EINVAL, "the agent's answer has no kubeconfig");
    if (!code && command_flag(call, "install"))
        code = install(call, text, err);
    else if (!code && writer_is_data(&call->out))
        code = writer_value(&call->out, answer, err);
    else if (!code && (fputs(text, call->out.to) == EOF || fflush(call->out.to)))
        code = err_set(err, KPEER_EIO, "writing the output failed");
    json_decref(answer);
    control_close(client);
    return code;
}
