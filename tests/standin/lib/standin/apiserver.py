"""The API server's stand-in: a real TLS listener that knows clients by certificate or bootstrap token, and serves the kinds of
`resources` in Kubernetes' JSON. One process does the work of etcd, controller manager and scheduler too, and holds their ports."""
import copy
import http.server
import json
import re
import signal
import ssl
import sys
import threading
import time
import urllib.parse
from os import _exit

from standin import authz, bootstrap, controllers, host, net, resources
from standin.store import Conflict, Store

PATH = re.compile(
    r"/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+)/(?P<version>[^/]+))"
    r"(?:/namespaces/(?P<ns>[^/]+)(?=/[^/]))?/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>[a-z]+))?"
)
REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "AlreadyExists",
    422: "Invalid",
    503: "ServiceUnavailable",
}


class Refusal(Exception):
    def __init__(self, code, message, **details):
        super().__init__(message)
        self.code, self.details = code, details


def status(code, message, details=None):
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": REASONS.get(code, ""),
        "details": details or {},
        "code": code,
    }


def selected(each, fields, labels):
    have = {
        "metadata.name": each["metadata"]["name"],
        "metadata.namespace": each["metadata"].get("namespace", ""),
        "spec.nodeName": each.get("spec", {}).get("nodeName", ""),
        "status.phase": each.get("status", {}).get("phase", ""),
    }
    mine = each["metadata"].get("labels") or {}
    return all((have.get(name) == value) != unequal for name, unequal, value in fields) and all(
        label_holds(mine, *one) for one in labels
    )


def label_holds(mine, name, how, value):
    if how == "exists":
        return name in mine
    if how == "absent":
        return name not in mine
    if how == "in":
        return mine.get(name) in value
    return (mine.get(name) == value) == (how == "=")


def parse_labels(text):
    found = []
    for part in re.split(r",(?![^(]*\))", text or ""):
        part = part.strip()
        if match := re.fullmatch(r"([^\s!=]+)\s+in\s+\(([^)]*)\)", part):
            found.append((match[1], "in", [one.strip() for one in match[2].split(",")]))
        elif match := re.fullmatch(r"([^!=\s]+)\s*(==?|!=)\s*([^=\s]*)", part):
            found.append((match[1], "!=" if match[2] == "!=" else "=", match[3]))
        elif part.startswith("!"):
            found.append((part[1:], "absent", None))
        elif part:
            found.append((part, "exists", None))
    return found


def parse_fields(text):
    found = []
    for part in filter(None, (text or "").split(",")):
        match = re.fullmatch(r"([A-Za-z.]+)\s*(==?|!=)\s*(.*)", part)
        if not match:
            raise Refusal(400, f"invalid selector: '{text}'; can't understand '{part}'")
        found.append((match[1], match[2] == "!=", match[3]))
    return found


class Server:
    """What all connections share."""

    def __init__(self, store):
        self.store = store
        self.ca = self.ca_key = None
        self.seen = {}
        self.network_text = (0, "")

    def signer(self):
        """The CA, read when it is first needed: cryptography takes its time."""
        if not self.ca:
            from standin import pki

            self.ca, self.ca_key = pki.load_ca(host.PKI)
        return self.ca, self.ca_key

    def user_of(self, certificate, header):
        """(user, groups) of a connection; Refusal for a token that is none."""
        if certificate:
            part = [(name, value) for rdn in certificate.get("subject", ()) for name, value in rdn]
            common = "".join(value for name, value in part if name == "commonName")
            return common, [value for name, value in part if name == "organizationName"] + ["system:authenticated"]
        if header:
            token = header.removeprefix("Bearer ").strip()
            with self.store.lock:
                groups = bootstrap.groups_of(self.store, token)
            if groups is None:
                raise Refusal(401, "Unauthorized")
            return "system:bootstrap:" + token[:6], groups
        return "system:anonymous", ["system:unauthenticated"]

    # What the path /standin/v1/nodes/NAME/sync tells a kubelet: all it would learn by watches.
    def sync(self, node, known, wait):
        store, end = self.store, time.monotonic() + wait
        with store.lock:
            self.seen[node] = time.monotonic()
            while True:
                mine = f"{store.network}.{store.pods_of.get(node, 0)}"
                left = end - time.monotonic()
                if mine != known or left <= 0:
                    break
                store.changed.wait(left)
            self.seen[node] = time.monotonic()
            own = store.get("Node", None, node)
            pods = [each for each in store.all("Pod") if each["spec"].get("nodeName") == node]
            return {"known": mine, "node": own, "pods": pods, "network": self.network(), "maps": self.maps_of(pods)}

    def network(self):
        if self.network_text[0] != self.store.network:
            rows = [
                {
                    "name": each["metadata"]["name"],
                    "podCIDR": each["spec"].get("podCIDR"),
                    "publicIP": (each["metadata"].get("annotations") or {}).get("flannel.alpha.coreos.com/public-ip"),
                }
                for each in self.store.all("Node")
            ]
            self.network_text = (self.store.network, rows)
        return self.network_text[1]

    def maps_of(self, pods):
        """The ConfigMaps that a node's pods mount, by namespace/name."""
        found = {}
        for pod in pods:
            space = pod["metadata"]["namespace"]
            for volume in pod["spec"].get("volumes") or ():
                name = (volume.get("configMap") or {}).get("name")
                each = self.store.get("ConfigMap", space, name) if name else None
                if each:
                    found[f"{space}/{name}"] = each.get("data") or {}
        return found

    def may(self, account, verb, resource, sub=""):
        """For what runs in a pod: whether its service account may; used by the Flannel of the node."""
        ask = {"verb": verb, "group": "", "resource": resource, "sub": sub, "namespace": "", "name": "", "fields": {}}
        return authz.refuse(self.store, account, ["system:serviceaccounts"], ask)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 120

    def setup(self):
        self.request.settimeout(10)
        self.request.do_handshake()
        super().setup()

    def log_message(self, *_):
        pass

    def reply(self, code, value, kind="application/json"):
        data = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def body(self):
        length = int(self.headers.get("Content-Length") or 0)
        if length > 3 << 20:
            raise Refusal(413, "Request entity too large: limit is 3145728")
        text = self.rfile.read(length)
        if not text:
            return {}
        try:
            value = json.loads(text)
        except ValueError as error:
            raise Refusal(400, f"the object provided is unrecognized: {error}") from error
        if not isinstance(value, dict):
            raise Refusal(400, "the object provided is unrecognized: not an object")
        return value

    def serve(self):
        try:
            given = self.body()
            address = urllib.parse.urlsplit(self.path)
            query = dict(urllib.parse.parse_qsl(address.query))
            user, groups = self.server.core.user_of(self.request.getpeercert(), self.headers.get("Authorization"))
            self.route(address.path, query, given, user, groups)
        except Refusal as refusal:
            self.reply(refusal.code, status(refusal.code, str(refusal), refusal.details))
        except Conflict as conflict:
            self.reply(409, status(409, f'{self.what} "{conflict}" already exists'))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve

    def route(self, path, query, given, user, groups):
        if path in ("/healthz", "/livez", "/readyz"):
            self.reply(200, "ok", "text/plain; charset=utf-8")
        elif path == "/version":
            version = host.version()
            self.reply(
                200, {"major": "1", "minor": str(host.minor(version)), "gitVersion": version, "platform": "linux/amd64"}
            )
        elif match := re.fullmatch(r"/standin/v1/nodes/([^/]+)/(sync|may)", path):
            self.route_standin(match, query, user, groups)
        elif match := PATH.fullmatch(path):
            self.route_kind(match, query, given, user, groups)
        else:
            raise Refusal(404, "the server could not find the requested resource")

    def route_standin(self, match, query, user, groups):
        core = self.server.core
        if user != "system:node:" + match[1] and "system:masters" not in groups:
            raise Refusal(403, f'nodes "{match[1]}" is forbidden: User "{user}" cannot sync as this node')
        if match[2] == "sync":
            self.reply(200, core.sync(match[1], query.get("known"), min(float(query.get("wait", 10)), 60)))
            return
        with core.store.lock:
            why = core.may(query["account"], query["verb"], query["resource"], query.get("sub", ""))
        self.reply(200, {"refused": why})

    def route_kind(self, match, query, given, user, groups):
        store = self.server.core.store
        group, version = match["group"] or "", match["version"] or match["core"]
        kind = resources.by_plural(group, version, match["plural"], host.minor())
        if not kind:
            raise Refusal(404, "the server could not find the requested resource")
        self.what = f"{match['plural']}.{group}" if group else match["plural"]
        verb = {
            "GET": "get" if match["name"] else "list",
            "POST": "create",
            "PUT": "update",
            "PATCH": "patch",
            "DELETE": "delete",
        }[self.command]
        fields = parse_fields(query.get("fieldSelector"))
        ask = {
            "verb": verb,
            "group": group,
            "resource": match["plural"],
            "sub": match["sub"] or "",
            "name": match["name"],
            "namespace": match["ns"],
            "fields": {name: value for name, unequal, value in fields if not unequal},
        }
        with store.lock:
            refused = authz.refuse(store, user, groups, ask)
            if refused:
                raise Refusal(403, refused)
            code, value = self.act(kind, match, query, given, verb, fields, user, groups)
            value = json.dumps(value)
        self.reply(code, value)

    def act(self, kind, match, query, given, verb, fields, user, groups):
        store, space, name = self.server.core.store, match["ns"], match["name"]
        if verb == "list":
            labels = parse_labels(query.get("labelSelector"))
            return 200, {
                "kind": kind + "List",
                "apiVersion": resources.api_version(kind),
                "metadata": {"resourceVersion": str(store.version)},
                "items": [each for each in store.all(kind, space) if selected(each, fields, labels)],
            }
        if verb == "create":
            return 201, self.create(kind, space, name, match["sub"], given, user, groups)
        each = store.get(kind, space, name)
        if each is None:
            raise Refusal(404, f'{self.what} "{name}" not found', name=name, kind=match["plural"])
        if verb == "delete":
            controllers.delete(store, kind, each, given.get("gracePeriodSeconds", query.get("gracePeriodSeconds")))
            return 200, {
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Success",
                "details": {"name": name, "kind": match["plural"], "uid": each["metadata"]["uid"]},
            }
        if verb in ("patch", "update"):
            if verb == "update":
                patch = {part: None for part in each if part not in given and part not in ("status", "metadata")}
                patch.update(given)
            else:
                patch = given
            if match["sub"] == "status":
                patch = {part: patch[part] for part in ("status", "metadata") if part in patch}
            before = copy.deepcopy(each)
            store.merge(kind, each, patch)
            try:
                controllers.validate(store, kind, each, before)
            except controllers.Invalid as invalid:
                store.objects[kind][store.key(kind, space, name)] = before
                raise Refusal(422, f'{invalid.kind(kind)} "{name}" is invalid: {invalid}') from invalid
        return 200, each

    def create(self, kind, space, name, sub, given, user, groups):
        store = self.server.core.store
        if sub == "eviction":
            pod = store.get("Pod", space, name)
            if pod is None:
                raise Refusal(404, f'pods "{name}" not found')
            controllers.delete(store, "Pod", pod, None)
            return {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        if given.get("kind") != kind:
            raise Refusal(
                400,
                f'the API version in the data ({given.get("apiVersion")}) or kind ({given.get("kind")}) does not '
                f"match the expected {kind}",
            )
        meta = given.setdefault("metadata", {})
        if resources.namespaced(kind):
            if meta.setdefault("namespace", space) != space:
                raise Refusal(
                    400, "the namespace of the provided object does not match the namespace sent on the request"
                )
            if store.get("Namespace", None, space) is None:
                raise Refusal(404, f'namespaces "{space}" not found')
        if kind == "CertificateSigningRequest":
            bootstrap.sign_request(self.server.core, given, user, groups, Refusal)
        elif kind == "Node" and user.startswith("system:node:") and user != "system:node:" + str(meta.get("name")):
            raise Refusal(
                403,
                f'nodes "{meta.get("name")}" is forbidden: node "{user[12:]}" is not allowed to modify node '
                f'"{meta.get("name")}"',
            )
        try:
            controllers.validate(store, kind, given, None)
        except controllers.Invalid as invalid:
            raise Refusal(422, f'{invalid.kind(kind)} "{meta.get("name")}" is invalid: {invalid}') from invalid
        return store.add(kind, given)


class Listener(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request, client_address):
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            host.note(apiserver_error=repr(error))


def tls():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(host.PKI + "/apiserver.crt", host.PKI + "/apiserver.key")
    context.load_verify_locations(host.PKI + "/ca.crt")
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def command(_name, _argv):
    signal.signal(signal.SIGTERM, lambda *_: _exit(0))
    facts = controllers.facts()
    if not net.is_local(facts["advertise"]):
        raise host.Failure(f"listen tcp {facts['advertise']}:2380: bind: cannot assign requested address")
    for address, port in (
        ("127.0.0.1", 2379),
        (facts["advertise"], 2379),
        (facts["advertise"], 2380),
        ("127.0.0.1", 10257),
        ("127.0.0.1", 10259),
    ):
        net.hold(address, port)
    listener = Listener(("0.0.0.0", facts["port"]), Handler)
    listener.socket = tls().wrap_socket(listener.socket, server_side=True, do_handshake_on_connect=False)
    store = Store(facts["data"])
    listener.core = Server(store)
    with store.lock:
        controllers.begin(store, facts)
    threading.Thread(target=store.save_forever, daemon=True).start()
    threading.Thread(target=controllers.work, args=(listener.core, facts), daemon=True).start()
    listener.serve_forever(60)
