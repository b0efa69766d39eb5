"""Faults on the wire: partition and loss.

Partition: the ports of the hosts that were cut sit on bridges of their own, an island, which no wire connects to the
rest; hosts of one island still hear each other. Healing moves the ports back. A port that changes its bridge takes no
forwarding entry along, so nothing stale is left on either side.

Loss: a classic BPF program on the egress of a host's port throws a share of the packets away, so each receiver loses on
its own. (A Linux without netem can do that, too.)
"""

from . import network
from .errors import UsageError
from .run import run

DRAW = 0xFFFFF038  # SKF_AD_OFF + SKF_AD_RANDOM: a load from there gives 32 random bits
PASS, DROP = 0, 2  # TC_ACT_OK, TC_ACT_SHOT


def cut(instance, names):
    """Puts the named hosts on an island of their own."""
    options, hosts = instance.options(), instance.hosts()
    chosen = [instance.host(name) for name in names]
    used = {host.island for host in hosts}
    island = next(number for number in range(1, len(hosts) + 2) if number not in used)
    present = run("ip", "-n", network.switch(instance), "-br", "link", "show", "type", "bridge").split()
    if network.bridges(island)[0] not in present:
        network.in_switch(instance, network.bridge_lines(island, options))
    _move(instance, chosen, island)


def heal(instance):
    _move(instance, [host for host in instance.hosts() if host.island], 0)


def _move(instance, hosts, island):
    """All of them by one command, so that a hundred are moved at nearly the same moment."""
    options = instance.options()
    flood = "on" if options.multicast else "off"
    lines = []
    for host in hosts:
        host.island = island
        if network.host_ns(instance, host).exists():
            ports = [f"p{host.number}", f"q{host.number}"][: 2 if options.nics == 3 else 1]
            for port, bridge in zip(ports, network.bridges(island), strict=False):
                lines += [f"link set {port} master {bridge}", f"link set {port} type bridge_slave mcast_flood {flood}"]
    network.in_switch(instance, lines)
    for host in hosts:
        instance.save(host)


def set_loss(instance, host, percent):
    """Lets `percent` of the packets to this host get lost on its host-only interfaces."""
    if not 0 <= percent <= 100:
        raise UsageError(f"bad loss {percent:g}: it is a percentage from 0 to 100")
    host.loss = percent
    instance.save(host)
    if network.host_ns(instance, host).exists():
        apply_loss(instance, host)


def apply_loss(instance, host):
    options = instance.options()
    where = ("tc", "-n", network.switch(instance))
    for port in [f"p{host.number}", f"q{host.number}"][: 2 if options.nics == 3 else 1]:
        run(*where, "qdisc", "del", "dev", port, "clsact", check=False)
        if host.loss > 0:
            run(*where, "qdisc", "add", "dev", port, "clsact")
            run(*where, "filter", "add", "dev", port, "egress", "bpf", "da", "bytecode", _program(host.loss))


def _program(percent):
    """draw a number; below the threshold: drop; else: pass. In tc's notation: count, then code jump jump value."""
    if percent >= 100:
        return f"1,6 0 0 {DROP}"
    threshold = int(percent / 100 * (1 << 32))
    return f"4,32 0 0 {DRAW},53 0 1 {threshold},6 0 0 {PASS},6 0 0 {DROP}"
