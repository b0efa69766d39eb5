"""containerd's stand-in: a process that listens on the runtime's socket for as long as it lives. Its version is asked for much
more often."""
import os

from standin import host


def serve():
    import signal
    import socket

    from standin.crictl import SOCKET

    signal.signal(signal.SIGTERM, lambda *_: (host.remove(SOCKET), os._exit(0)))
    os.makedirs(os.path.dirname(SOCKET), mode=0o711, exist_ok=True)
    host.remove(SOCKET)
    plug = socket.socket(socket.AF_UNIX)
    plug.bind(SOCKET)
    os.chmod(SOCKET, 0o660)
    plug.listen(64)
    while True:
        plug.accept()[0].close()


def command(_name, argv):
    if argv[:1] in (["--version"], ["-v"]):
        host.say("containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u1")
        return
    if argv[:2] == ["config", "dump"] or argv[:2] == ["config", "default"]:
        host.say(host.read("/etc/containerd/config.toml", "version = 2\n"))
        return
    serve()
