"""The wires: a network namespace per host, its NAT segment, and the switch that the hosts share.

Names: lab.INSTANCE.nodeN (the host), lab.INSTANCE.natN (its gateway, nothing beyond it), lab.INSTANCE.switch. In the
switch p<N> is the bridge's side of a host's host-only interface and q<N> that of its third one; an island K > 0 (see
faults.py) is a pair of bridges of its own, h<K> and i<K>.
"""

import contextlib
import ctypes
import os
import pathlib

from .errors import LabError, UsageError
from .run import run, wait_until

NETNS = pathlib.Path("/run/netns")
HOST_ONLY = "192.168.56"
INTERNAL = "172.28.128"
NAT_HOST, NAT_GATEWAY, NAT_DNS = "10.0.2.15", "10.0.2.2", "10.0.2.3"
CLONE_NEWNET = 0x40000000


def _name(instance, part):
    return f"lab.{instance.name}.{part}"


def host_ns(instance, host):
    return NETNS / _name(instance, host.name)


def switch(instance):
    return _name(instance, "switch")


def host_only_nic(options):
    return "eth0" if options.nics == 1 else "eth1"


def default_address(number):
    return f"{HOST_ONLY}.{10 + number}"


def check_address(text):
    parts = text.split(".")
    if len(parts) != 4 or ".".join(parts[:3]) != HOST_ONLY or not parts[3].isdigit() or not 2 <= int(parts[3]) <= 254:
        raise UsageError(f"bad address {text!r}: it must be one of {HOST_ONLY}.2 to {HOST_ONLY}.254")
    return text


def namespaces(instance):
    """The names of all network namespaces of an instance, whoever made them."""
    prefix = _name(instance, "")
    with contextlib.suppress(FileNotFoundError):
        return sorted(entry for entry in os.listdir(NETNS) if entry.startswith(prefix))
    return []


def _batch(lines, namespace=None):
    if lines:
        where = ("-n", namespace) if namespace else ()
        run("ip", *where, "-batch", "-", text="\n".join(lines) + "\n")


class Inside:
    """For a while this thread is in another network namespace, where /proc/sys/net is that one's."""

    libc = ctypes.CDLL(None, use_errno=True)

    def __init__(self, name):
        self.name = name

    def _enter(self, fd):
        if self.libc.setns(fd, CLONE_NEWNET) != 0:
            raise LabError(f"network namespace {self.name}: {os.strerror(ctypes.get_errno())}")

    def __enter__(self):
        self.old = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        fd = os.open(NETNS / self.name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._enter(fd)
        finally:
            os.close(fd)

    def __exit__(self, *_):
        self._enter(self.old)
        os.close(self.old)


def _set_sysctl(key, value):
    path = pathlib.Path("/proc/sys/net") / key
    if path.exists():
        path.write_text(str(value))


def bridge_lines(island, options):
    """Bridges of an island: plain switches that know nothing of multicast groups and forward from the first packet."""
    lines = []
    for bridge in bridges(island):
        lines += [
            f"link add {bridge} address {_hardware_address(0xFF, island)} type bridge "
            "stp_state 0 forward_delay 0 mcast_snooping 0",
            f"link set {bridge} up",
        ]
    return lines if options.nics == 3 else lines[:2]


def bridges(island):
    return ("h0", "i0") if island == 0 else (f"h{island}", f"i{island}")


def create_switch(instance, options):
    name = switch(instance)
    if name in namespaces(instance):
        return
    run("ip", "netns", "add", name)
    with Inside(name):
        for key in ("iptables", "ip6tables", "arptables"):
            _set_sysctl(f"bridge/bridge-nf-call-{key}", 0)
    _batch(["link set lo up", *bridge_lines(0, options), f"addr add {HOST_ONLY}.1/24 dev h0"], name)


def _hardware_address(kind, number):
    """VirtualBox's own prefix; `kind` tells the interfaces of one host apart."""
    return f"08:00:27:{kind:02x}:{number >> 8:02x}:{number & 255:02x}"


def _link_lines(instance, host, options):
    """The veth pairs of a host. Clones share the hardware address of their NAT interface, as copied disks do."""
    inside, number = host_ns(instance, host).name, host.number
    nat_number = 1 if options.cloned else number
    pairs = []
    if options.nics > 1:
        pairs.append(("eth0", _hardware_address(2, nat_number), "nat0", _name(instance, f"nat{number}")))
    pairs.append((host_only_nic(options), _hardware_address(0x56, number), f"p{number}", switch(instance)))
    if options.nics == 3:
        pairs.append(("eth2", _hardware_address(0x80, number), f"q{number}", switch(instance)))
    return [
        f"link add {nic} netns {inside} address {mac} type veth peer name {peer} netns {where}"
        for nic, mac, peer, where in pairs
    ]


def _port_lines(host, options):
    flood = "on" if options.multicast else "off"
    ports = [f"p{host.number}", f"q{host.number}"][: 2 if options.nics == 3 else 1]
    lines = []
    for port, bridge in zip(ports, bridges(host.island), strict=False):
        lines += [
            f"link set {port} master {bridge} up",
            f"link set {port} type bridge_slave mcast_flood {flood}",
        ]
    return lines


def _inside_lines(host, options):
    nic = host_only_nic(options)
    lines = ["link set lo up", f"addr add {host.address}/24 brd + dev {nic}", f"link set {nic} up"]
    if options.ipv6:
        lines.append(f"addr add fd00:56::{10 + host.number:x}/64 dev {nic} nodad")
    if options.nics == 1:
        return [*lines, f"route add default via {HOST_ONLY}.1"]
    if options.nics == 3:
        lines += [f"addr add {INTERNAL}.{10 + host.number}/24 brd + dev eth2", "link set eth2 up"]
    return [
        *lines,
        f"addr add {NAT_HOST}/24 brd + dev eth0",
        "link set eth0 up",
        f"route add default via {NAT_GATEWAY}",
    ]


def _gateway_lines():
    return [
        "link set lo up",
        f"addr add {NAT_GATEWAY}/24 dev nat0",
        f"addr add {NAT_DNS}/24 dev nat0",
        "link set nat0 up",
        "route add unreachable default",
    ]


def plug_in(instance, hosts, options):
    """Makes the namespaces and wires of hosts that have none, many in one go."""
    parts = [host.name for host in hosts]
    if options.nics > 1:
        parts += [f"nat{host.number}" for host in hosts]
    for part in parts:
        run("ip", "netns", "add", _name(instance, part))
    _batch([line for host in hosts for line in _link_lines(instance, host, options)])
    _batch([line for host in hosts for line in _port_lines(host, options)], switch(instance))
    for host in hosts:
        _batch(_inside_lines(host, options), _name(instance, host.name))
        if options.nics > 1:
            gateway = _name(instance, f"nat{host.number}")
            _batch(_gateway_lines(), gateway)
            with Inside(gateway):
                _set_sysctl("ipv4/ip_forward", 1)


def _links(namespace):
    return {line.split()[0].split("@")[0] for line in run("ip", "-n", namespace, "-br", "link").splitlines()}


def await_carrier(instance, hosts):
    """Waits until the switch sees every host: links come up a moment after they were set up."""
    ports = {f"p{host.number}" for host in hosts}

    def all_up():
        links = run("ip", "-n", switch(instance), "-br", "link").splitlines()
        up = {line.split("@")[0] for line in links if line.split()[1] == "UP"}
        return ports <= up

    wait_until(all_up, 10, "the hosts' links", pause=0.05)


def unplug(instance, hosts):
    """Removes what plug_in made, as far as it is there."""
    there = set(namespaces(instance))
    if switch(instance) in there:
        # a namespace ends some time after its last user; its wires must be gone at once
        ports = {f"{letter}{host.number}" for host in hosts for letter in "pq"}
        _batch([f"link del {port}" for port in sorted(ports & _links(switch(instance)))], switch(instance))
    names = {_name(instance, part) for host in hosts for part in (host.name, f"nat{host.number}")}
    for name in sorted(names & there):
        run("ip", "netns", "del", name)


def remove_all(instance):
    for name in namespaces(instance):
        run("ip", "netns", "del", name)


def change_address(instance, host, options, address):
    nic = host_only_nic(options)
    lines = [f"addr del {host.address}/24 dev {nic}", f"addr add {address}/24 brd + dev {nic}"]
    if options.nics == 1:
        lines.append(f"route replace default via {HOST_ONLY}.1")
    _batch(lines, _name(instance, host.name))


def in_switch(instance, lines):
    _batch(lines, switch(instance))
