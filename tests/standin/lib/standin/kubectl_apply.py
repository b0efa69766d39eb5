"""kubectl apply and create: every document checked against its kind's shape before anything is sent."""
import json
import os
import sys

from standin import client, host, object_types, resources, schema

LAST = "kubectl.kubernetes.io/last-applied-configuration"


def sources(call):
    """[(name in errors, text)] of the files asked for; - is standard input, a folder its manifests."""
    if not call.flags["filename"]:
        raise host.Failure("error: must specify one of -f and -k")
    for name in call.flags["filename"]:
        if name == "-":
            yield "STDIN", sys.stdin.buffer.read()
            continue
        if not os.path.exists(name):
            raise host.Failure(f'error: the path "{name}" does not exist')
        paths = [name]
        if os.path.isdir(name):
            paths = sorted(
                os.path.join(name, each) for each in os.listdir(name) if each.endswith((".yaml", ".yml", ".json"))
            )
        for path in paths:
            with open(path, "rb") as file:
                yield path, file.read()


def model(kind, path, depth):
    """The name of the OpenAPI model at a path, near enough to what kubectl prints."""
    group = object_types.MODELS[resources.group(kind)]
    parts = path.split(".")
    if depth == 0 or len(parts) == 1:
        return f"{group}.{kind}"
    if parts[-1] == "metadata":
        return "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
    if parts[-1] == "spec" and "template" in parts:
        return "io.k8s.api.core.v1.PodSpec"
    if parts[-1] == "containers" or parts[-1] == "initContainers":
        return "io.k8s.api.core.v1.Container"
    if len(parts) == 2:
        return f"{group}.{kind}{parts[-1][:1].upper()}{parts[-1][1:]}"
    return f"io.k8s.api.core.v1.{parts[-1][:1].upper()}{parts[-1][1:]}"


def refuse(source, kind, document, bad):
    """The words for a document of the wrong shape, which changed when the server took the checking over."""
    if host.minor() >= 25:
        where = bad.path.partition(".")[2]
        if bad.kind == "unknown":
            words = f'strict decoding error: unknown field "{where + "." if where else ""}{bad}"'
        elif bad.kind == "required":
            raise host.Failure(
                f'The {kind} "{document["metadata"].get("name")}" is invalid: {where + "." if where else ""}{bad}: '
                "Required value"
            )
        else:
            words = str(bad)
        version = document["apiVersion"].rpartition("/")[2]
        raise host.Failure(
            f'Error from server (BadRequest): error when creating "{source}": {kind} in version "{version}" cannot be '
            f"handled as a {kind}: {words}"
        )
    if bad.kind == "unknown":
        words = f'ValidationError({bad.path}): unknown field "{bad}" in {model(kind, bad.path, 1)}'
    elif bad.kind == "required":
        words = f'ValidationError({bad.path}): missing required field "{bad}" in {model(kind, bad.path, 1)}'
    elif bad.kind == "type":
        wanted = {"str": "string", "int": "integer", "bool": "boolean", "quantity": "string"}.get(
            bad.shape if isinstance(bad.shape, str) else "", "array" if isinstance(bad.shape, list) else "map"
        )
        got = {"object": "map", "number": "integer"}.get(bad.got, bad.got)
        words = (
            f'ValidationError({bad.path}): invalid type for {model(kind, bad.path.rpartition(".")[0], 1)}.'
            f'{bad.path.rpartition(".")[2]}: got "{got}", expected "{wanted}"'
        )
    else:
        words = f"ValidationError({bad.path}): {bad}"
    raise host.Failure(
        f'error: error validating "{source}": error validating data: {words}; if you choose to ignore these errors, turn '
        "validation off with --validate=false"
    )


def check(source, document):
    """The kind of a document that may be sent."""
    if not isinstance(document, dict):
        raise host.Failure(
            f"error: error parsing {source}: error converting YAML to JSON: json: cannot unmarshal "
            f"{schema.go_kind(document)} into Go value of type map[string]interface {{}}"
        )
    missing = [name for name in ("apiVersion", "kind") if not isinstance(document.get(name), str) or not document[name]]
    if missing:
        words = ", ".join(f"{name} not set" for name in missing)
        words = f"[{words}]" if len(missing) > 1 else words
        raise host.Failure(
            f'error: error validating "{source}": error validating data: {words}; if you choose to ignore these errors, '
            "turn validation off with --validate=false"
        )
    kind, api = document["kind"], document["apiVersion"]
    if not resources.by_api(api, kind, host.minor()):
        late = "" if host.minor() < 25 else "\nensure CRDs are installed first"
        name = (document.get("metadata") or {}).get("name", "")
        if host.minor() >= 25:
            raise host.Failure(
                f'error: resource mapping not found for name: "{name}" namespace: "" from "{source}": no matches for kind '
                f'"{kind}" in version "{api}"{late}'
            )
        raise host.Failure(f'error: unable to recognize "{source}": no matches for kind "{kind}" in version "{api}"')
    try:
        schema.check(document, object_types.SHAPES[kind], kind)
    except schema.Bad as bad:
        refuse(source, kind, document, bad)
    if not (document.get("metadata") or {}).get("name"):
        raise host.Failure(
            f'error: error when retrieving current configuration of:\nResource: "{resources.plural(kind)}", '
            f'GroupVersionKind: "{api}, Kind={kind}"\nName: "", Namespace: ""\nfrom server for: "{source}": resource '
            "name may not be empty"
        )
    return kind


def objects(call):
    """[(kind, namespace, document)] of all files, checked; lists are taken apart."""
    found = []
    for source, text in sources(call):

        def fault(words, source=source):
            return host.Failure(f"error: error parsing {source}: error converting YAML to JSON: {words}")

        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            raise fault("yaml: invalid leading UTF-8 octet") from error
        documents = schema.documents(text, fault)
        for document in documents:
            if isinstance(document, dict) and document.get("kind") == "List":
                documents += document.get("items") or []
                continue
            kind = check(source, document)
            space = None
            if resources.namespaced(kind):
                space = document["metadata"].get("namespace") or call.namespace
                if call.flags["namespace"] and space != call.flags["namespace"]:
                    raise host.Failure(
                        f'error: the namespace from the provided object "{space}" does not match the namespace '
                        f"\"{call.flags['namespace']}\". You must pass '--namespace={space}' to perform this operation."
                    )
            found.append((kind, space, document))
    if not found:
        raise host.Failure("error: no objects passed to apply")
    return found


def removed(old, new):
    """A merge patch that takes away what was applied before and is no longer wanted."""
    patch = {}
    for name, value in old.items():
        if name not in new:
            patch[name] = None
        elif isinstance(value, dict) and isinstance(new[name], dict):
            inner = removed(value, new[name])
            if inner:
                patch[name] = inner
    return patch


def overlay(into, more):
    for name, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            overlay(into[name], value)
        else:
            into[name] = value


def put(call, kind, space, document, keep):
    """created, configured or unchanged."""
    path = resources.path(kind, space, document["metadata"]["name"])
    text = json.dumps(document, separators=(",", ":"), sort_keys=True) + "\n"
    document["metadata"] = dict(document["metadata"])
    now = call.api.find(path) if keep else None
    if keep:
        document["metadata"]["annotations"] = {**(document["metadata"].get("annotations") or {}), LAST: text}
    if now is None:
        call.api.post(resources.path(kind, space), document)
        return "created"
    before = json.loads((now["metadata"].get("annotations") or {}).get(LAST, "{}"))
    patch = removed(before, json.loads(text))
    overlay(patch, document)
    made = call.api.patch(path, patch)
    return "unchanged" if made["metadata"]["resourceVersion"] == now["metadata"]["resourceVersion"] else "configured"


def run(call, keep=True):
    errors = []
    dry = call.flags["dry-run"] not in ("none", "")
    for kind, space, document in objects(call):
        name = document["metadata"]["name"]
        try:
            done = "created (dry run)" if dry else put(call, kind, space, document, keep)
            host.say(f"{resources.qualified(kind)}/{name} {done}")
        except client.ApiError as error:
            if error.code == 422:
                errors.append(
                    f"The {str(error).partition(' is invalid')[0].replace('.apps', '').replace('.rbac.authorization.k8s.io', '')}"
                    f" is invalid{str(error).partition(' is invalid')[2]}"
                )
            else:
                errors.append(
                    f'Error from server ({error.reason}): error when creating "{call.flags["filename"][0]}": {error}'
                )
    if errors:
        raise host.Failure("\n".join(errors))
