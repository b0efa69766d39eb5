"""kubeadm token: create, list, delete, generate."""
import json
import os
import time

from standin import bootstrap, client, host, kubeadm, kubeadm_config, orders, schema

SECRETS = "/api/v1/namespaces/kube-system/secrets"


def api_of(path, timeout=10.0):
    path = path or os.environ.get("KUBECONFIG") or host.KUBE + "/admin.conf"
    if not os.path.exists(path):
        raise kubeadm.Usage(f"failed to load admin kubeconfig: open {path}: no such file or directory")
    return client.Api.from_kubeconfig(path, timeout)


def secret(token):
    """The Secret for one token of a configuration: token, ttl or expires, description, usages, groups."""
    token_id, key = token["token"].split(".")
    fields = {"token-id": token_id, "token-secret": key}
    if token.get("description"):
        fields["description"] = token["description"]
    if token.get("expires"):
        fields["expiration"] = token["expires"]
    else:
        seconds = schema.seconds(token.get("ttl") or "24h0m0s")
        if seconds:
            fields["expiration"] = host.stamp(time.time() + seconds)
    for usage in token.get("usages") or ("signing", "authentication"):
        fields["usage-bootstrap-" + usage] = "true"
    groups = token.get("groups") or [kubeadm_config.GROUP_NAME]
    fields["auth-extra-groups"] = ",".join(groups)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": bootstrap.TYPE,
        "metadata": {"name": "bootstrap-token-" + token_id, "namespace": "kube-system"},
        "data": {name: client.encoded(value) for name, value in fields.items()},
    }


def add(api, token):
    try:
        api.post(SECRETS, secret(token))
    except client.ApiError as error:
        if error.code == 409:
            raise kubeadm.Usage(f'a token with id "{token["token"][:6]}" already exists') from error
        raise


def create(argv, api, found, words):
    if found["config"]:
        kubeadm.mixed({**found, "token": words}, ("ttl", "description", "usages", "groups", "token"))
        tokens = kubeadm_config.init(found["config"])["tokens"]
    else:
        text = words[0] if words else kubeadm_config.new_token()
        if not kubeadm_config.TOKEN.fullmatch(text):
            raise kubeadm.Usage(
                f'the bootstrap token "{text}" was not of the form "\\\\A([a-z0-9]{{6}})\\\\.([a-z0-9]{{16}})\\\\z"'
            )
        try:
            schema.seconds(found["ttl"] or "24h0m0s")
        except ValueError as error:
            raise kubeadm.Usage(f'invalid argument "{found["ttl"]}" for "--ttl" flag: {error}') from error
        tokens = [
            {
                "token": text,
                "ttl": found["ttl"],
                "description": found["description"],
                "usages": found["usages"],
                "groups": found["groups"],
            }
        ]
        faults = kubeadm_config.Faults()
        kubeadm_config.check_tokens(faults, tokens)
        faults.end()
    for token in tokens:
        add(api, token)
    if not found["print-join-command"]:
        host.say(tokens[0]["token"])
        return
    info = client.parse_kubeconfig(
        api.get("/api/v1/namespaces/kube-public/configmaps/cluster-info")["data"]["kubeconfig"], "cluster-info"
    )
    cluster = info["clusters"][0]["cluster"]
    ca = client.material(cluster, "certificate-authority")
    host.say(
        f"kubeadm join {cluster['server'].removeprefix('https://')} --token {tokens[0]['token']}     "
        f"--discovery-token-ca-cert-hash {bootstrap.pin(ca)} "
    )


def remaining(fields):
    end = bootstrap.expiry(fields)
    if end is None:
        return "<forever>"
    left = int(end - time.time())
    if left <= 0:
        return "<invalid>"
    return f"{left // 3600}h" if left >= 3600 else f"{left // 60}m" if left >= 120 else f"{left}s"


def listed(api, output):
    rows = []
    for each in api.get(SECRETS)["items"]:
        if each.get("type") == bootstrap.TYPE:
            rows.append(bootstrap.decoded(each))
    if output in ("json", "yaml"):
        for fields in rows:
            usages = [name for name in ("authentication", "signing") if fields.get("usage-bootstrap-" + name) == "true"]
            one = {
                "kind": "BootstrapToken",
                "apiVersion": "output.kubeadm.k8s.io/v1alpha1",
                "creationTimestamp": None,
                "token": bootstrap.token_of(fields["token-id"], fields),
                "description": fields.get("description", ""),
                "expires": fields.get("expiration"),
                "usages": usages,
                "groups": list(filter(None, fields.get("auth-extra-groups", "").split(","))),
            }
            host.say(
                json.dumps(
                    {name: value for name, value in one.items() if value or name == "creationTimestamp"}, indent=4
                )
            )
        return
    if not rows:
        return
    head = ("TOKEN", "TTL", "EXPIRES", "USAGES", "DESCRIPTION", "EXTRA GROUPS")
    table = [head]
    for fields in rows:
        usages = ",".join(
            name for name in ("authentication", "signing") if fields.get("usage-bootstrap-" + name) == "true"
        )
        table.append(
            (
                bootstrap.token_of(fields["token-id"], fields),
                remaining(fields),
                fields.get("expiration", "<never>"),
                usages,
                fields.get("description") or "<none>",
                fields.get("auth-extra-groups", "<none>"),
            )
        )
    widths = [max(len(row[at]) for row in table) for at in range(len(head))]
    for row in table:
        host.say("   ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def delete(api, words):
    if not words:
        raise kubeadm.Usage('missing subcommand; "token delete" requires a token ID or full token to delete')
    for word in words:
        match = kubeadm_config.TOKEN.fullmatch(word)
        token_id = match[1] if match else word
        if not len(token_id) == 6 or not token_id.isalnum() or token_id != token_id.lower():
            raise kubeadm.Usage(
                f'given token or token id "{word}" didn\'t match pattern "\\\\A([a-z0-9]{{6}})\\\\z" or '
                '"\\\\A([a-z0-9]{6})\\\\.([a-z0-9]{16})\\\\z"'
            )
        try:
            api.call("DELETE", f"{SECRETS}/bootstrap-token-{token_id}")
        except client.ApiError as error:
            raise kubeadm.Usage(f'failed to delete bootstrap token "{token_id}": {error}') from error
        host.say(f'bootstrap token "{token_id}" deleted')


def run(argv):
    found, words = kubeadm.parse(
        argv,
        {
            "kubeconfig": "",
            "dry-run": False,
            "config": "",
            "ttl": "",
            "description": "",
            "usages": [],
            "groups": [],
            "print-join-command": False,
            "certificate-key": "",
            "output": "text",
            "experimental-output": "",
        },
        {"o": "output"},
    )
    verb = words[0] if words else ""
    if verb not in ("create", "list", "delete", "generate"):
        raise kubeadm.Usage(
            'missing subcommand; "token" is not meant to be run on its own'
            if not verb
            else f'unknown command "{verb}" for "kubeadm token"'
        )
    orders.enforce("kubeadm-token", verb)
    if verb == "generate":
        host.say(kubeadm_config.new_token())
        return
    api = api_of(found["kubeconfig"])
    try:
        if verb == "create":
            create(argv, api, found, words[1:])
        elif verb == "list":
            listed(api, found["output"])
        else:
            delete(api, words[1:])
    except client.ApiError as error:
        raise kubeadm.Usage(f"failed to {verb} bootstrap tokens: {error}") from error
    except client.Unreachable as error:
        # The real one tries again for a while before it gives up with the last error.
        raise kubeadm.Usage(f'{verb} bootstrap token: Get "{api.server}{SECRETS}?timeout=10s": {error}') from error
