"""What a command has to know of this host's network: read from the kernel, through files and the `ip` program."""
import fcntl
import os
import socket
import struct
import subprocess
import threading

IP = "/usr/sbin/ip" if os.path.exists("/usr/sbin/ip") else "/sbin/ip"
SIOCGIFADDR = 0x8915


def address_of(interface):
    """The first IPv4 address of an interface, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plug:
        try:
            answer = fcntl.ioctl(plug, SIOCGIFADDR, struct.pack("256s", interface.encode()[:15]))
        except OSError:
            return None
    return socket.inet_ntoa(answer[20:24])


def default_interface():
    """The interface of the default route with the lowest metric, or None."""
    best = None
    with open("/proc/net/route", encoding="ascii") as table:
        for line in table.readlines()[1:]:
            field = line.split()
            if field[1] == "00000000" and field[7] == "00000000" and int(field[3], 16) & 1:
                best = min(best or (1 << 33, ""), (int(field[6]), field[0]))
    return best[1] if best else None


def default_address():
    """The address kubeadm and kubelet take when nobody tells them: that of the default route's interface."""
    interface = default_interface()
    return address_of(interface) if interface else None


def source_towards(target):
    """The address this host would speak from to reach the target, or None; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plug:
        try:
            plug.connect((target, 9))
        except OSError:
            return None
        return plug.getsockname()[0]


def is_local(address):
    """Whether the address is one of this host's own."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as plug:
        try:
            plug.bind((address, 0))
        except OSError:
            return False
    return True


def interface_of(address):
    """The interface that holds an address, or None."""
    for _, name in socket.if_nameindex():
        if address_of(name) == address:
            return name
    out = subprocess.run([IP, "-o", "addr", "show", "to", address], capture_output=True, text=True, check=False).stdout
    return out.split()[1] if out else None


def port_free(port):
    """Whether a TCP port could be listened on, on all addresses, as Go's net.Listen would."""
    for family, any_address in ((socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")):
        try:
            plug = socket.socket(family, socket.SOCK_STREAM)
        except OSError:
            continue
        with plug:
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                plug.bind((any_address, port))
                plug.listen(1)
            except OSError as error:
                if error.errno == 97:
                    continue
                return False
            return True
    return True


def batch(lines):
    """Runs `ip -force -batch`; every line is tried. Returns what ip complained of."""
    done = subprocess.run(
        [IP, "-force", "-batch", "-"], input="\n".join(lines) + "\n", capture_output=True, text=True, check=False
    )
    return done.stderr.strip()


def hold(address, port):
    """A port that the real program occupies; whoever connects is hung up on."""
    plug = socket.create_server((address, port), backlog=16)

    def answer():
        while True:
            plug.accept()[0].close()

    threading.Thread(target=answer, daemon=True).start()
