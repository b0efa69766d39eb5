#include <sodium.h>
#include <string.h>
#include <unistd.h>

#include "peer/command/command.h"
#include "peer/keyfile.h"
#include "peer/keysource.h"
#include "peer/command/passphrase.h"
#include "peer/command/rotation.h"
#include "protocol/mem.h"

static void cleanup_key(struct secret **key)
{
    secret_free(*key);
}
#define cleanup_secret __attribute__((cleanup(cleanup_key)))

/* What may be said about a key in public: its group. */
static json_t *describe(const struct call *call, const struct secret *key)
{
    uint8_t id[GROUP_ID_BYTES];
    char hex[2 * GROUP_ID_BYTES + 1];

    secret_group_id(key, id);
    mem_hex(hex, id, sizeof id);
    return json_pack("{s:s, s:I, s:s}", "group", hex, "epoch", (json_int_t)secret_epoch(key), "key_file",
                     call->cfg.key_file);
}

/* What is typed unseen is typed twice; what another program gives is taken as it is. */
static int ask_passphrase(char *first, char *second, struct err *err)
{
    int code = keysource_line("passphrase (it is not shown)", first, err);

    if (!code)
        code = passphrase_check(first, err);
    if (code || !isatty(STDIN_FILENO))
        return code;
    code = keysource_line("the same again", second, err);
    if (!code && sodium_memcmp(first, second, KEYSOURCE_LINE_BYTES) != 0)
        code = err_set(err, KPEER_EINVAL, "the two are not the same");
    return code;
}

static int from_passphrase(struct secret **key, struct err *err)
{
    char *first = secret_alloc(KEYSOURCE_LINE_BYTES), *second = secret_alloc(KEYSOURCE_LINE_BYTES);
    int code = first && second ? ask_passphrase(first, second, err)
                               : err_set(err, KPEER_ENOMEM, "out of guarded memory");

    if (!code)
        code = passphrase_key(first, key, err);
    secret_release(first);
    secret_release(second);
    return code;
}

/* Says what was done, and what to do next. */
static int tell(struct call *call, const struct secret *key, const char *what, struct err *err)
{
    json_t *about = describe(call, key);
    int code = 0;

    if (!about)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    if (writer_is_data(&call->out))
        code = writer_value(&call->out, about, err);
    else
        fprintf(call->out.to, "%s of group %.8s written to %s\n", what, writer_text(about, "group"),
                call->cfg.key_file);
    json_decref(about);
    return code;
}

static int generate(struct call *call, struct err *err)
{
    bool words = command_flag(call, "passphrase") != NULL;
    cleanup_secret struct secret *key = NULL;
    int code = words ? from_passphrase(&key, err) : keyfile_generate(&key, err);

    if (code)
        return code;
    code = keyfile_write(call->cfg.key_file, key, command_flag(call, "force") != NULL, err);
    if (code == KPEER_EREFUSED)
        err_hint(
            err,
            "kpeer key generate --force makes a new one; hosts that hold the old key stay another group");
    if (!code)
        code = tell(call, key, "new key", err);
    if (code || writer_is_data(&call->out))
        return code;
    if (words)
        fputs("The same passphrase gives the same key on every host of the group.\n", call->out.to);
    else
        fprintf(call->out.to,
                "Copy this file to every host that shall join, for instance:\n  sudo scp %s root@HOST:%s\n",
                call->cfg.key_file, call->cfg.key_file);
    return 0;
}

static int import(struct call *call, struct err *err)
{
    cleanup_secret struct secret *key = NULL;
    int code = keysource_from_environment() ? keysource_environment(&key, err) : keysource_ask(&key, err);

    if (!code)
        code = keysource_keep(call->cfg.key_file, key, command_flag(call, "force") != NULL, err);
    return code ? code : tell(call, key, "key", err);
}

/* The one place where a key is shown, and only to root. */
static int show(struct call *call, struct err *err)
{
    cleanup_secret struct secret *key = NULL;
    char text[KEYTEXT_BYTES];
    int code;

    if (geteuid() != 0) {
        err_set(err, KPEER_EREFUSED, "only root may see the group key");
        return err_hint(err, "sudo kpeer key show");
    }
    code = keyfile_read(call->cfg.key_file, &key, err);
    if (code == KPEER_ENOTFOUND)
        err_hint(err, "sudo kpeer key generate, or copy the file from a host of the group");
    if (code)
        return code;
    keytext_format(key, text);
    if (writer_is_data(&call->out)) {
        json_t *about = describe(call, key);

        code = about && json_object_set_new(about, "key", json_string(text)) == 0
                   ? writer_value(&call->out, about, err)
                   : err_set(err, KPEER_ENOMEM, "out of memory");
        json_decref(about);
    } else {
        fprintf(call->out.to, "%s\n", text);
    }
    sodium_memzero(text, sizeof text);
    return code;
}

int cmd_key(struct call *call, struct err *err)
{
    const char *what = call->args[0];

    if (strcmp(what, "generate") == 0)
        return generate(call, err);
    if (strcmp(what, "import") == 0)
        return import(call, err);
    if (strcmp(what, "show") == 0)
        return show(call, err);
    if (strcmp(what, "rotate") == 0)
        return rotation_ask(call, "rotate", NULL, err);
    err_set(err, KPEER_EINVAL, "key: \"%.40s\" is none of generate, import, show, rotate", what);
    return err_hint(err, "kpeer key --help");
}
