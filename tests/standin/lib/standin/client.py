"""A client of the API: kubeconfigs read and written, TLS checked, one connection kept. Errors come in Go's words.

The little HTTP that it takes is spoken here: http.client brings in all of email, and most callers ask once and end."""
import binascii
import json
import os
import re
import socket
import ssl

from standin import host


class ApiError(Exception):
    """An answer of the API server that is no success: its Status object."""

    def __init__(self, code, status):
        super().__init__(status.get("message") or f"the server responded with the status code {code}")
        self.code, self.status = code, status
        self.reason = status.get("reason", "")


class Unreachable(Exception):
    """No answer at all; kind is refused, timeout, tls or dial."""

    def __init__(self, kind, text, server):
        super().__init__(text)
        self.kind, self.server = kind, server


def memory_file(text):
    """The path of an anonymous file with this text, for interfaces that take file names alone."""
    fd = os.memfd_create("standin")
    os.write(fd, text.encode())
    return f"/proc/self/fd/{fd}", fd


def entry(config, kind, name):
    for each in config.get(kind) or ():
        if each.get("name") == name:
            return each.get(kind[:-1]) or {}
    raise host.Failure(f'error: {kind[:-1]} "{name}" does not exist')


def material(given, name):
    """Inline data, or what the file that is named holds."""
    if given.get(name + "-data"):
        return binascii.a2b_base64(given[name + "-data"]).decode()
    return host.read(given[name]) if given.get(name) else None


def parse_kubeconfig(text, source):
    import yaml

    try:
        config = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise host.Failure(f'error: error loading config file "{source}": yaml: {error}') from error
    if not isinstance(config, dict) or config.get("kind") != "Config":
        raise host.Failure(f'error: error loading config file "{source}": no kind "Config" is registered')
    return config


def encoded(text):
    return binascii.b2a_base64(text.encode(), newline=False).decode()


def kubeconfig(server, ca, user, credentials):
    """A kubeconfig as kubeadm writes it; credentials are the lines of the user's entry."""
    lines = "".join(f"    {name}: {value}\n" for name, value in credentials.items())
    context = f"{user}@kubernetes"
    return (
        f"apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {encoded(ca)}\n    server: {server}\n"
        f"  name: kubernetes\ncontexts:\n- context:\n    cluster: kubernetes\n    user: {user}\n  name: {context}\n"
        f"current-context: {context}\nkind: Config\npreferences: {{}}\nusers:\n- name: {user}\n  user:\n{lines}"
    )


class Garbled(Exception):
    """An answer that is no HTTP."""


class Line:
    """A connection on which one request after the other is made; each answer has a Content-Length or ends the connection."""

    def __init__(self, plug, name):
        self.plug, self.name, self.file = plug, name, plug.makefile("rb")

    def close(self):
        self.file.close()
        self.plug.close()

    def request(self, method, path, data, head):
        """(status, text, whether the server ends the connection)."""
        head = {"Host": self.name, "Accept-Encoding": "identity", **head}
        if data is not None or method in ("POST", "PUT", "PATCH"):
            head["Content-Length"] = len(data or b"")
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items()), "", ""]
        self.plug.sendall("\r\n".join(lines).encode("latin-1") + (data or b""))
        first = self.file.readline(65536)
        if not first:
            raise ConnectionResetError("closed without an answer")
        word = first.decode("latin-1").split(None, 2)
        if len(word) < 2 or not word[0].startswith("HTTP/") or not word[1].isdigit():
            raise Garbled(f"no status line: {first!r}")
        found = self.headers()
        length, how = found.get("content-length", ""), found.get("connection", "").lower()
        if "transfer-encoding" in found:
            raise Garbled("a transfer encoding")
        text = self.file.read(int(length)) if length.isdigit() else self.file.read()
        if length.isdigit() and len(text) < int(length):
            raise Garbled(f"{len(text)} bytes of {length}")
        return int(word[1]), text, not length.isdigit() or how == "close" or word[0] == "HTTP/1.0"

    def headers(self):
        found = {}
        while True:
            line = self.file.readline(65536).decode("latin-1")
            if not line.endswith("\n") or len(found) > 100:
                raise Garbled("an unfinished head")
            name, colon, value = line.strip().partition(":")
            if not name:
                return found
            found[name.lower()] = value.strip()


class Api:
    """One server as one user."""

    def __init__(self, server, ca=None, cert=None, key=None, token=None, insecure=False, timeout=10.0):
        match = re.fullmatch(r"https://(\[[^\]]+\]|[^:/]+):(\d+)/?", server)
        if not match:
            raise host.Failure(f"error: cannot reach {server!r}: not https://HOST:PORT")
        self.name, self.port = match[1].strip("[]"), int(match[2])
        self.server, self.token, self.timeout = server.rstrip("/"), token, timeout
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if insecure:
            self.context.check_hostname = False
            self.context.verify_mode = ssl.CERT_NONE
        elif ca:
            self.context.load_verify_locations(cadata=ca)
        if cert:
            paths = [memory_file(cert), memory_file(key)]
            try:
                self.context.load_cert_chain(paths[0][0], paths[1][0])
            finally:
                for _, fd in paths:
                    os.close(fd)
        self.line = None

    @classmethod
    def from_kubeconfig(cls, path, timeout=10.0):
        config = parse_kubeconfig(host.read(path), path)
        context = entry(config, "contexts", config.get("current-context"))
        cluster, user = entry(config, "clusters", context.get("cluster")), entry(config, "users", context.get("user"))
        return cls(
            cluster.get("server") or "http://localhost:8080",
            material(cluster, "certificate-authority"),
            material(user, "client-certificate"),
            material(user, "client-key"),
            user.get("token"),
            bool(cluster.get("insecure-skip-tls-verify")),
            timeout,
        )

    def connect(self, timeout):
        where = f"dial tcp {self.name}:{self.port}"
        try:
            plain = socket.create_connection((self.name, self.port), timeout)
        except ConnectionRefusedError as error:
            raise Unreachable("refused", where + ": connect: connection refused", self.server) from error
        except TimeoutError as error:
            raise Unreachable("timeout", where + ": i/o timeout", self.server) from error
        except OSError as error:
            raise Unreachable(
                "dial", f"{where}: connect: {(error.strerror or str(error)).lower()}", self.server
            ) from error
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            secure = self.context.wrap_socket(plain, server_hostname=self.name)
        except ssl.SSLCertVerificationError as error:
            raise Unreachable("tls", self.tls_words(error), self.server) from error
        except TimeoutError as error:
            raise Unreachable("timeout", "net/http: TLS handshake timeout", self.server) from error
        except OSError as error:
            raise Unreachable(
                "tls", "remote error: tls: " + (getattr(error, "reason", None) or "EOF"), self.server
            ) from error
        self.line = Line(secure, f"{self.name}:{self.port}")

    def tls_words(self, error):
        if error.verify_code in (62, 64):
            return f"x509: certificate is valid for other names, not {self.name}"
        if error.verify_code in (9, 10):
            return "x509: certificate has expired or is not yet valid"
        return "x509: certificate signed by unknown authority"

    def close(self):
        if self.line:
            self.line.close()
            self.line = None

    def call(self, method, path, body=None, kind="application/json", timeout=None, raw=False):
        """The decoded answer, ApiError for a refusal, Unreachable when there is none. A kept connection that turns out to be
        dead is opened anew once."""
        timeout = timeout or self.timeout
        head = {"Accept": "application/json", "User-Agent": "standin"}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            head["Content-Type"] = kind
        if self.token:
            head["Authorization"] = "Bearer " + self.token
        for kept in (self.line is not None, False):
            if not self.line:
                self.connect(timeout)
            self.line.plug.settimeout(timeout)
            try:
                code, text, ended = self.line.request(method, path, data, head)
                break
            except TimeoutError as error:
                self.close()
                raise Unreachable(
                    "timeout", f'{method.title()} "{self.server}{path}": context deadline exceeded', self.server
                ) from error
            except (OSError, Garbled) as error:
                self.close()
                if not kept:
                    raise Unreachable("dial", f'{method.title()} "{self.server}{path}": EOF', self.server) from error
        if ended:
            self.close()
        return self.answer(code, text, raw)

    @staticmethod
    def answer(code, text, raw):
        if raw and code < 400:
            return text.decode(errors="replace")
        try:
            value = json.loads(text)
        except ValueError:
            value = {"message": text.decode(errors="replace").strip()}
        if code >= 400:
            raise ApiError(code, value if isinstance(value, dict) else {})
        return value

    def get(self, path, **more):
        return self.call("GET", path, **more)

    def post(self, path, body):
        return self.call("POST", path, body)

    def patch(self, path, body):
        return self.call("PATCH", path, body, "application/merge-patch+json")

    def find(self, path):
        """The object, or None where there is none of that name."""
        try:
            return self.get(path)
        except ApiError as error:
            if error.code == 404:
                return None
            raise
