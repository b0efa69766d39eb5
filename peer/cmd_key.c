#include <sodium.h>
#include <string.h>
#include <unistd.h>

#include "peer/command.h"
#include "peer/keyfile.h"
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

static int generate(struct call *call, struct err *err)
{
    cleanup_secret struct secret *key = NULL;
    json_t *about;
    int code = keyfile_generate(&key, err);

    if (!code)
        code = keyfile_write(call->cfg.key_file, key, command_flag(call, "force") != NULL, err);
    if (code == KPEER_EREFUSED)
        err_hint(
            err,
            "kpeer key generate --force makes a new one; hosts that hold the old key stay another group");
    if (code)
        return code;
    about = describe(call, key);
    if (!about)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    if (writer_is_data(&call->out))
        code = writer_value(&call->out, about, err);
    else
        fprintf(call->out.to,
                "new key of group %.8s written to %s\nCopy this file to every host that shall join, for "
                "instance:\n"
                "  sudo scp %s root@HOST:%s\n",
                writer_text(about, "group"), call->cfg.key_file, call->cfg.key_file, call->cfg.key_file);
    json_decref(about);
    return code;
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

        if (about && json_object_set_new(about, "key", json_string(text)) == 0)
            code = writer_value(&call->out, about, err);
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
    if (strcmp(what, "show") == 0)
        return show(call, err);
    if (strcmp(what, "rotate") == 0) {
        err_set(err, KPEER_EREFUSED, "this version of kpeer cannot rotate the key of a living group");
        return err_hint(err,
                        "leave with every host, then: kpeer key generate --force, copy the file, kpeer up");
    }
    err_set(err, KPEER_EINVAL, "key: \"%.40s\" is none of generate, show, rotate", what);
    return err_hint(err, "kpeer key --help");
}
