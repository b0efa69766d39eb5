#include <jansson.h>
#include <seccomp.h>
#include <sodium.h>
#include <yaml.h>
#include <zmq.h>
#include <msgpack.h>
#include <openssl/crypto.h>

#include "peer/command/command.h"

int cmd_version(struct call *call, struct err *err)
{
    int zmq[3];
    char zmq_text[32], seccomp_text[48];
    const struct scmp_version *seccomp = seccomp_version();
    json_t *tree;
    int code;

    zmq_version(&zmq[0], &zmq[1], &zmq[2]);
    snprintf(zmq_text, sizeof zmq_text, "%d.%d.%d", zmq[0], zmq[1], zmq[2]);
    snprintf(seccomp_text, sizeof seccomp_text, "%u.%u.%u", seccomp->major, seccomp->minor, seccomp->micro);
    tree = json_pack("{s:s, s:{s:s, s:s, s:s, s:s, s:s, s:s, s:s}}", "version", KPEER_VERSION, "libraries",
                     "libzmq", zmq_text, "libsodium", sodium_version_string(), "msgpack-c", msgpack_version(),
                     "libyaml", yaml_get_version_string(), "openssl", OpenSSL_version(OPENSSL_VERSION_STRING),
                     "jansson", jansson_version_str(), "libseccomp", seccomp_text);
    if (!tree)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    if (writer_is_data(&call->out)) {
        code = writer_value(&call->out, tree, err);
    } else {
        const char *name;
        json_t *value;

        fprintf(call->out.to, "kpeer %s\n", KPEER_VERSION);
        json_object_foreach(json_object_get(tree, "libraries"), name, value)
            fprintf(call->out.to, "  %-10s %s\n", name, json_string_value(value));
        code = fflush(call->out.to) ? err_set(err, KPEER_EIO, "writing the output failed") : 0;
    }
    json_decref(tree);
    return code;
}
