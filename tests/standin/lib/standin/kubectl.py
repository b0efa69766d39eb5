"""kubectl's stand-in: the commands kpeer and its tests use, over the stand-in API."""
import json
import os
import sys
import urllib.parse

from standin import client, flags, host, orders, resources

GLOBAL = {
    "kubeconfig": "",
    "cache-dir": "",
    "namespace": "",
    "request-timeout": "0",
    "context": "",
    "v": 0,
    "server": "",
    "cluster": "",
    "user": "",
    "warnings-as-errors": False,
    "cache-dir": "",
    "insecure-skip-tls-verify": False,
    "token": "",
    "as": "",
    "profile": "none",
    "match-server-version": False,
    "log-flush-frequency": "5s",
}
SHORT = {
    "n": "namespace",
    "o": "output",
    "f": "filename",
    "l": "selector",
    "A": "all-namespaces",
    "v": "v",
    "R": "recursive",
    "w": "watch",
    "k": "kustomize",
}


class Call:
    """One invocation: its flags, its words, and the API when it is needed."""

    def __init__(self, found, words):
        self.flags, self.words, self.line = found, words, None

    @property
    def namespace(self):
        return self.flags["namespace"] or "default"

    @property
    def api(self):
        if not self.line:
            from standin.schema import seconds

            path = self.flags["kubeconfig"] or os.environ.get("KUBECONFIG") or os.path.expanduser("~/.kube/config")
            if not os.path.exists(path):
                if self.flags["kubeconfig"]:
                    raise host.Failure(f"error: stat {path}: no such file or directory")
                raise host.Failure(
                    "The connection to the server localhost:8080 was refused - did you specify the right host or port?"
                )
            text = self.flags["request-timeout"]
            wait = float(text) if text.isdigit() else seconds(text)
            self.line = client.Api.from_kubeconfig(path, wait or 30.0)
        return self.line


def words(text):
    return host.Failure(f"error: {text}\nSee 'kubectl --help' for usage.")


def parse(argv, known):
    found, rest = flags.parse(argv, {**GLOBAL, **known}, SHORT, words)
    return Call(found, rest)


def kind_of(word):
    kind = resources.by_name(word)
    if not kind or not resources.served(kind, host.minor()):
        raise host.Failure(f'error: the server doesn\'t have a resource type "{word}"')
    return kind


def targets(call):
    """[(kind, name or None)] of `pods`, `pod NAME…`, `pod/NAME…`."""
    if not call.words:
        raise host.Failure(
            'error: You must specify the type of resource to get. Use "kubectl api-resources" for a complete list of '
            "supported resources."
        )
    if "/" in call.words[0]:
        return [(kind_of(word.partition("/")[0]), word.partition("/")[2]) for word in call.words]
    found = []
    for word in call.words[0].split(","):
        found += [(kind_of(word), name) for name in call.words[1:] or [None]]
    return found


def listed(call, kind, namespace=None):
    query = {
        name: call.flags[flag]
        for name, flag in (("labelSelector", "selector"), ("fieldSelector", "field-selector"))
        if call.flags.get(flag)
    }
    path = resources.path(kind, namespace)
    items = call.api.get(path + ("?" + urllib.parse.urlencode(query) if query else ""))["items"]
    return items


def get(argv):
    from standin import kubectl_print

    call = parse(
        argv,
        {
            "output": "",
            "all-namespaces": False,
            "selector": "",
            "field-selector": "",
            "raw": "",
            "no-headers": False,
            "ignore-not-found": False,
            "show-labels": False,
            "watch": False,
            "sort-by": "",
            "chunk-size": 500,
        },
    )
    if call.flags["raw"]:
        sys.stdout.write(call.api.get(call.flags["raw"], raw=True))
        return 0
    if call.flags["watch"]:
        raise host.Failure("standin: get knows no --watch")
    status, found, missing, everywhere = 0, [], [], call.flags["all-namespaces"]
    for kind, name in targets(call):
        if name is None:
            items = listed(call, kind, None if everywhere else call.namespace)
            found += [(kind, each) for each in items]
            continue
        if everywhere:
            raise host.Failure("error: a resource cannot be retrieved by name across all namespaces")
        try:
            found.append((kind, call.api.get(resources.path(kind, call.namespace, name))))
        except client.ApiError as error:
            if error.code != 404:
                raise
            if not call.flags["ignore-not-found"]:
                missing.append(f"Error from server (NotFound): {error}")
                status = 1
    by_name = len(call.words) == 2 or "/" in call.words[0] and len(call.words) == 1
    kinds = list(dict.fromkeys(kind for kind, _ in found)) or [targets(call)[0][0]]
    output = call.flags["output"]
    if found or not by_name and output not in ("", "wide", "name"):
        for kind in kinds if output in ("", "wide", "name") else kinds[:1]:
            items = [each for one, each in found if one == kind or output not in ("", "wide", "name")]
            kubectl_print.show(
                kind, items, by_name, output, everywhere and resources.namespaced(kind), not call.flags["no-headers"]
            )
    elif not by_name and not missing:
        where = f" in {call.namespace} namespace" if resources.namespaced(kinds[0]) and not everywhere else ""
        sys.stderr.write(f"No resources found{where}\n" if not where else f"No resources found{where}.\n")
    if missing:
        raise host.Failure("\n".join(missing), status)
    return status


def delete(argv):
    call = parse(
        argv,
        {
            "filename": [],
            "ignore-not-found": False,
            "wait": True,
            "force": False,
            "grace-period": -1,
            "timeout": "0",
            "all": False,
            "selector": "",
            "now": False,
            "cascade": "",
            "output": "",
            "field-selector": "",
            "all-namespaces": False,
            "recursive": False,
        },
    )
    if call.flags["filename"]:
        from standin import kubectl_apply

        doomed = [(kind, space, each["metadata"]["name"]) for kind, space, each in kubectl_apply.objects(call)]
    elif call.words and (call.flags["all"] or call.flags["selector"]) and len(call.words) == 1:
        doomed = [
            (kind, each["metadata"].get("namespace"), each["metadata"]["name"])
            for kind, _ in targets(call)
            for each in listed(call, kind, call.namespace)
        ]
    else:
        doomed = [(kind, call.namespace, name) for kind, name in targets(call)]
        if any(name is None for _, _, name in doomed):
            raise host.Failure("error: resource(s) were provided, but no name was specified")
    return remove(call, doomed)


def remove(call, doomed):
    if call.flags["force"] and call.flags["grace-period"] > 0:
        raise host.Failure("error: --force and --grace-period greater than 0 cannot be specified together")
    forced = call.flags["force"]  # without it a period of 0 is one of 1
    tail = " force deleted" if forced else " deleted"
    errors, going = [], []
    if forced:
        sys.stderr.write(
            "warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. "
            "The resource may continue to run on the cluster indefinitely.\n"
        )
    for kind, space, name in doomed:
        path = resources.path(kind, space, name)
        try:
            call.api.call("DELETE", path + ("?gracePeriodSeconds=0" if forced else ""))
        except client.ApiError as error:
            if error.code != 404 or not call.flags["ignore-not-found"]:
                errors.append(f"Error from server ({error.reason}): {error}")
            continue
        host.say(f'{resources.qualified(kind)} "{name}"{tail}')
        going.append(path)
    if call.flags["wait"] and not forced:
        for path in going:
            if not host.wait_for(lambda path=path: call.api.find(path) is None, timeout_of(call) or 300.0, 0.03):
                errors.append(f"error: timed out waiting for the condition on {path.rpartition('/')[2]}")
    if errors:
        raise host.Failure("\n".join(errors))


def timeout_of(call):
    from standin.schema import seconds

    text = call.flags["timeout"]
    return float(text) if text.isdigit() else seconds(text)


def cordon_node(call, name, yes):
    """Says `cordoned` or `already cordoned`, as kubectl does."""
    path = resources.path("Node", None, name)
    node = call.api.get(path)
    word = "cordoned" if yes else "uncordoned"
    if bool(node["spec"].get("unschedulable")) == yes:
        host.say(f"node/{name} already {word}")
        return
    call.api.patch(path, {"spec": {"unschedulable": True if yes else None}})
    host.say(f"node/{name} {word}")


def cordon(argv, yes=True):
    call = parse(argv, {"selector": "", "dry-run": "none"})
    if not call.words:
        raise host.Failure("error: USAGE: cordon NODE [flags]")
    for name in call.words:
        cordon_node(call, name.removeprefix("node/"), yes)


def uncordon(argv):
    cordon(argv, False)


def drain(argv):
    known = {
        "ignore-daemonsets": False,
        "delete-local-data": False,
        "force": False,
        "timeout": "0s",
        "grace-period": -1,
        "disable-eviction": False,
        "pod-selector": "",
        "selector": "",
        "skip-wait-for-delete-timeout": 0,
        "dry-run": "none",
    }
    if host.minor() >= 20:
        known["delete-emptydir-data"] = False
    call = parse(argv, known)
    if len(call.words) != 1:
        raise host.Failure("error: USAGE: drain NODE [flags]")
    name = call.words[0].removeprefix("node/")
    if call.flags["delete-local-data"] and host.minor() >= 20:
        sys.stderr.write(
            "Flag --delete-local-data has been deprecated, This option is deprecated and will be deleted. Use "
            "--delete-emptydir-data.\n"
        )
    cordon_node(call, name, True)
    query = urllib.parse.urlencode({"fieldSelector": f"spec.nodeName={name}"})
    pods = call.api.get(f"/api/v1/pods?{query}")["items"]
    doomed = chosen(call, name, pods)
    for pod in doomed:
        meta = pod["metadata"]
        host.say(f"evicting pod {meta['namespace']}/{meta['name']}")
        call.api.call(
            "POST",
            resources.path("Pod", meta["namespace"], meta["name"]) + "/eviction",
            {
                "apiVersion": "policy/v1beta1",
                "kind": "Eviction",
                "metadata": {"name": meta["name"], "namespace": meta["namespace"]},
            },
        )
    for pod in doomed:
        meta = pod["metadata"]
        path = resources.path("Pod", meta["namespace"], meta["name"])
        if not host.wait_for(lambda path=path, uid=meta["uid"]: gone(call, path, uid), timeout_of(call) or 600.0, 0.03):
            raise host.Failure(
                f"error: error when waiting for pod \"{meta['name']}\" terminating: global timeout reached: "
                f"{call.flags['timeout']}"
            )
        host.say(f"pod/{meta['name']} evicted")
    host.say(f"node/{name} {'evicted' if doomed else 'drained'}" if host.minor() < 22 else f"node/{name} drained")


def gone(call, path, uid):
    pod = call.api.find(path)
    return pod is None or pod["metadata"]["uid"] != uid


def chosen(call, name, pods):
    """The pods that drain evicts; pods it may not touch end it, all kinds of them named at once."""
    daemons, local, bare, doomed = [], [], [], []
    for pod in pods:
        meta = pod["metadata"]
        owners = {ref.get("kind") for ref in meta.get("ownerReferences") or ()}
        full = f"{meta['namespace']}/{meta['name']}"
        if (meta.get("annotations") or {}).get("kubernetes.io/config.mirror"):
            continue
        if "DaemonSet" in owners:
            daemons.append(full)
            continue
        if any("emptyDir" in each for each in pod["spec"].get("volumes") or ()):
            local.append(full)
        if not owners:
            bare.append(full)
        doomed.append(pod)
    errors = []
    if daemons and not call.flags["ignore-daemonsets"]:
        errors.append(f"cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore): {', '.join(daemons)}")
    if local and not (call.flags.get("delete-emptydir-data") or call.flags["delete-local-data"]):
        errors.append(
            f"cannot delete Pods with local storage (use --delete-emptydir-data to override): {', '.join(local)}"
        )
    if bare and not call.flags["force"]:
        errors.append(
            "cannot delete Pods not managed by ReplicationController, ReplicaSet, Job, DaemonSet or StatefulSet (use "
            f"--force to override): {', '.join(bare)}"
        )
    if errors:
        text = errors[0] if len(errors) == 1 else "[" + ", ".join(errors) + "]"
        raise host.Failure(
            f'error: unable to drain node "{name}", aborting command...\n\nThere are pending nodes to be drained:\n '
            f"{name}\nerror: {text}"
        )
    if daemons:
        sys.stderr.write(f"WARNING: ignoring DaemonSet-managed Pods: {', '.join(daemons)}\n")
    return doomed


def version(argv):
    call = parse(argv, {"client": False, "output": "", "short": False})
    text = host.version()
    info = {
        "major": "1",
        "minor": text.split(".")[1],
        "gitVersion": text,
        "gitCommit": "standin",
        "gitTreeState": "clean",
        "buildDate": "2021-01-13T13:28:09Z",
        "goVersion": "go1.15.5",
        "compiler": "gc",
        "platform": "linux/amd64",
    }
    found = {"clientVersion": info}
    if not call.flags["client"]:
        found["serverVersion"] = call.api.get("/version")
    if call.flags["output"] in ("json", "yaml"):
        host.say(json.dumps(found, indent=2))
        return
    for title, each in (("Client", "clientVersion"), ("Server", "serverVersion")):
        if each in found:
            host.say(f"{title} Version: {found[each]['gitVersion']}")


def config(argv):
    call = parse(argv, {"output": "yaml", "raw": False, "minify": False, "flatten": False, "merge": True})
    path = call.flags["kubeconfig"] or os.environ.get("KUBECONFIG") or os.path.expanduser("~/.kube/config")
    value = client.parse_kubeconfig(host.read(path), path)
    if call.words == ["current-context"]:
        host.say(value.get("current-context", ""))
        return
    if call.words != ["view"]:
        raise host.Failure("standin: kubectl config knows view and current-context")
    if not call.flags["raw"]:
        for each in value.get("clusters") or ():
            if each["cluster"].get("certificate-authority-data"):
                each["cluster"]["certificate-authority-data"] = "DATA+OMITTED"
        for each in value.get("users") or ():
            for name in ("client-certificate-data", "client-key-data", "token"):
                if each["user"].get(name):
                    each["user"][name] = "REDACTED"
    from standin import jsonpath

    how, _, spec = call.flags["output"].partition("=")
    if how == "jsonpath":
        sys.stdout.write(jsonpath.render(spec, value))
    elif how == "json":
        host.say(json.dumps(value, indent=4))
    else:
        import yaml

        host.say(yaml.safe_dump(value).rstrip())


def wait(argv):
    from standin.store import condition

    call = parse(
        argv,
        {
            "for": "",
            "timeout": "30s",
            "all": False,
            "selector": "",
            "field-selector": "",
            "all-namespaces": False,
            "output": "",
        },
    )
    how, _, what = call.flags["for"].partition("=")
    what, _, value = what.partition("=")
    if how not in ("condition", "delete") or how == "condition" and not what:
        raise host.Failure(f'error: unrecognized condition: "{call.flags["for"]}"')
    space = None if call.flags["all-namespaces"] else call.namespace
    found = [
        (kind, each)
        for kind, name in targets(call)
        for each in ([call.api.get(resources.path(kind, call.namespace, name))] if name else listed(call, kind, space))
    ]
    if not found:
        raise host.Failure("error: no matching resources found")
    for kind, each in found:
        path = resources.path(kind, each["metadata"].get("namespace"), each["metadata"]["name"])

        def met(path=path):
            now = call.api.find(path)
            if how == "delete":
                return now is None
            return (
                now
                and condition(now, what[:1].upper() + what[1:]).get("status", "").lower() == (value or "true").lower()
            )

        title = f"{resources.qualified(kind)}/{each['metadata']['name']}"
        if not host.wait_for(met, timeout_of(call), 0.05):
            raise host.Failure(
                f"error: timed out waiting for the condition on {kind.lower()}s/{each['metadata']['name']}"
            )
        host.say(f"{title} condition met")


def mark(argv, part):
    """`label` and `annotate`."""
    call = parse(argv, {"overwrite": False, "all": False, "selector": ""})
    kind = kind_of(call.words[0].partition("/")[0])
    name, changes = (
        (call.words[0].partition("/")[2], call.words[1:]) if "/" in call.words[0] else (call.words[1], call.words[2:])
    )
    path = resources.path(kind, call.namespace, name)
    have = call.api.get(path)["metadata"].get(part) or {}
    patch = {}
    for word in changes:
        key, equals, value = word.partition("=")
        if equals and key in have and have[key] != value and not call.flags["overwrite"]:
            raise host.Failure(f"error: '{key}' already has a value ({have[key]}), and --overwrite is false")
        patch[key if equals else word.removesuffix("-")] = value if equals else None
    call.api.patch(path, {"metadata": {part: patch}})
    host.say(f"{resources.qualified(kind)}/{name} {'labeled' if part == 'labels' else 'annotated'}")


def apply(argv):
    from standin import kubectl_apply

    return kubectl_apply.run(
        parse(
            argv,
            {
                "filename": [],
                "validate": "true",
                "force": False,
                "dry-run": "none",
                "server-side": False,
                "output": "",
                "recursive": False,
                "wait": False,
                "field-manager": "",
                "force-conflicts": False,
                "prune": False,
                "selector": "",
            },
        )
    )


def create(argv):
    from standin import kubectl_apply

    return kubectl_apply.run(
        parse(
            argv,
            {
                "filename": [],
                "validate": "true",
                "dry-run": "none",
                "output": "",
                "recursive": False,
                "save-config": False,
            },
        ),
        False,
    )


TREE = {
    "get": get,
    "delete": delete,
    "drain": drain,
    "cordon": cordon,
    "uncordon": uncordon,
    "version": version,
    "config": config,
    "wait": wait,
    "apply": apply,
    "create": create,
    "label": lambda argv: mark(argv, "labels"),
    "annotate": lambda argv: mark(argv, "annotations"),
}


def split(argv):
    """(verb, the rest): global flags may stand before the verb."""
    at = 0
    while at < len(argv) and argv[at].startswith("-"):
        word = argv[at]
        name = SHORT.get(word[1:2], "") if not word.startswith("--") else word[2:].partition("=")[0]
        takes = (
            name in GLOBAL
            and not isinstance(GLOBAL[name], bool)
            and "=" not in word
            and (word.startswith("--") or len(word) == 2)
        )
        at += 2 if takes else 1
    return (argv[at], argv[:at] + argv[at + 1 :]) if at < len(argv) else ("", argv)


def unreachable(error):
    where = error.server.removeprefix("https://")
    if error.kind == "refused":
        return f"The connection to the server {where} was refused - did you specify the right host or port?"
    return f"Unable to connect to the server: {error}"


def command(_name, argv):
    verb, rest = split(argv)
    if not verb:
        host.say("kubectl controls the Kubernetes cluster manager. (standin)")
        return 0
    if verb not in TREE:
        raise host.Failure(f'error: unknown command "{verb}" for "kubectl"\nRun \'kubectl --help\' for usage.')
    try:
        orders.enforce("kubectl-" + verb, "start")
        status = TREE[verb](rest)
        orders.enforce("kubectl-" + verb, "end")
        return status
    except orders.Skip:
        return 0
    except client.ApiError as error:
        if error.code == 401:
            raise host.Failure("error: You must be logged in to the server (Unauthorized)") from error
        raise host.Failure(f"Error from server ({error.reason}): {error}") from error
    except client.Unreachable as error:
        raise host.Failure(unreachable(error)) from error
