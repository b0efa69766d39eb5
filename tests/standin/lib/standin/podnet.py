"""Addresses for pods on this host: real ones, on a real bridge cni0, out of the node's range, as Flannel's CNI plugin would give them."""
import ipaddress
import json
import os
import socket
import threading

from standin import daemons, host, net

CONF = "/etc/cni/net.d"
SUBNET = "/run/flannel/subnet.env"


class NotYet(Exception):
    """The sandbox cannot be made; the text says why."""


def configured():
    """Whether the runtime finds a CNI configuration."""
    try:
        return any(name.endswith((".conf", ".conflist", ".json")) for name in os.listdir(CONF))
    except OSError:
        return False


def conf():
    """The first configuration, as the runtime picks it."""
    names = sorted(name for name in os.listdir(CONF) if name.endswith((".conf", ".conflist", ".json")))
    try:
        value = json.loads(host.read(f"{CONF}/{names[0]}"))
    except ValueError as error:
        raise NotYet(f"error loading CNI config file {names[0]}: {error}") from error
    plugins = value.get("plugins") or [value]
    if not value.get("name") or not plugins or plugins[0].get("type") != "flannel":
        raise NotYet(f"failed to find plugin {json.dumps((plugins or [{}])[0].get('type'))} in path [/opt/cni/bin]")
    return value["name"]


def subnet():
    text = host.read(SUBNET, "")
    values = dict(line.partition("=")[::2] for line in text.splitlines())
    if "FLANNEL_SUBNET" not in values:
        raise NotYet(
            f'plugin type="flannel" failed (add): loadFlannelSubnetEnv failed: open {SUBNET}: no such file or directory'
        )
    return ipaddress.ip_interface(values["FLANNEL_SUBNET"])


def bridge(gateway):
    """cni0 with the range's first address; one that carries another is the classic trap after a careless reset."""
    if not os.path.exists("/sys/class/net/cni0"):
        net.batch(["link add cni0 type bridge", f"addr add {gateway} dev cni0", "link set cni0 up"])
        return
    have = net.address_of("cni0")
    if have is None:
        net.batch([f"addr add {gateway} dev cni0", "link set cni0 up"])
    elif have != str(gateway.ip):
        raise NotYet(
            'plugin type="bridge" failed (add): failed to set bridge addr: "cni0" already has an IP address different from '
            + str(gateway)
        )


def add(uid):
    """The pod's address; the same one when it has one already."""
    have = json.loads(host.read(daemons.PODS, "{}"))
    if uid in have:
        return have[uid]
    name, gateway = conf(), subnet()
    bridge(gateway)
    folder = f"/var/lib/cni/networks/{name}"
    os.makedirs(folder, exist_ok=True)
    for address in list(gateway.network.hosts())[1:]:
        try:
            fd = os.open(f"{folder}/{address}", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            continue
        os.write(fd, uid.encode())
        os.close(fd)
        net.batch([f"addr add {address}/32 dev cni0"])
        have[uid] = str(address)
        host.write(daemons.PODS, json.dumps(have))
        return have[uid]
    raise NotYet("no IP addresses available in range set: " + str(gateway.network))


def remove(uid):
    have = json.loads(host.read(daemons.PODS, "{}"))
    address = have.pop(uid, None)
    if address:
        net.batch([f"addr del {address}/32 dev cni0"])
        for folder, _, files in os.walk("/var/lib/cni/networks"):
            if address in files:
                host.remove(f"{folder}/{address}")
        host.write(daemons.PODS, json.dumps(have))


class Answer:
    """Serves a pod's TCP port: whoever asks is told a text, such as the pod's name, in HTTP; with a path, at that alone."""

    def __init__(self, address, port, text, path=None):
        self.plug = socket.create_server((address, port), backlog=16)
        self.text, self.path = f"{text}\n".encode(), path
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                line, _ = self.plug.accept()
            except OSError:
                return
            with line:
                try:
                    line.settimeout(2)
                    asked = line.recv(4096).split(b" ")[1:2]
                    known = self.path is None or asked == [self.path.encode()]
                    line.sendall(
                        b"HTTP/1.0 %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
                        % (b"200 OK" if known else b"404 Not Found", len(self.text) if known else 0)
                        + (self.text if known else b"")
                    )
                except OSError:
                    continue

    def end(self):
        # Only shutdown wakes a thread that waits in accept.
        try:
            self.plug.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.plug.close()
