"""What every stand-in shares: where this host's files are, the settings, the run log, and the way into each command.

Nothing heavy is imported here, and no re, which json brings along, too: `kubeadm version` has to answer at once, and a formation
calls the stand-ins by the dozen."""
import os
import sys
import time
from _json import encode_basestring_ascii

ETC = "/etc/standin"
RUN = "/run/standin"
BOOTED = RUN + "/booted"
LOG = "/var/log/standin.log"
KUBE = "/etc/kubernetes"
PKI = KUBE + "/pki"
KUBELET = "/var/lib/kubelet"

# Every setting of /etc/standin/settings (key=value) with its default; README.md says what each does.
SETTINGS = {
    "init-seconds": 0.6,
    "join-seconds": 0.1,
    "discovery-retry-seconds": 0.25,
    "control-plane-timeout-seconds": 240.0,
    "tls-bootstrap-timeout-seconds": 300.0,
    "token-sign-seconds": 0.0,
    "node-monitor-grace-seconds": 40.0,
    "heartbeat-seconds": 10.0,
    "flannel-seconds": 0.1,
    "pod-seconds": 0.05,
    "cpus": 0,
    "memory-mib": 0,
    "cri-disabled": 0,
}

COMMANDS = {
    "kubeadm": "kubeadm",
    "kubectl": "kubectl",
    "kubelet": "kubelet",
    "kube-apiserver": "apiserver",
    "systemctl": "systemctl",
    "containerd": "containerd",
    "crictl": "crictl",
    "ctr": "crictl",
}
DAEMONS = ("kubelet", "kube-apiserver", "containerd")


class Failure(Exception):
    """A command's failure: the text for stderr, as it is, and the exit status."""

    def __init__(self, text, status=1):
        super().__init__(text)
        self.status = status


def read(path, default=None):
    """The text of a file, or the default where there is none (None: the error passes)."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        if default is None:
            raise
        return default


def write(path, text, mode=0o644):
    """Puts a file in place whole, with its folder."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    new = f"{path}.{os.getpid()}.new"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(text if isinstance(text, bytes) else text.encode())
    os.rename(new, path)


def remove(*paths):
    for path in paths:
        try:
            os.unlink(path)
        except (FileNotFoundError, NotADirectoryError):
            pass


def setting(name):
    """One number of /etc/standin/settings, or its default. An unknown key in the file is an error."""
    value = SETTINGS[name]
    for line in read(ETC + "/settings", "").splitlines():
        key, equals, text = (part.strip() for part in line.partition("="))
        if not key or key.startswith("#"):
            continue
        if key not in SETTINGS or not equals:
            raise Failure(f"standin: {ETC}/settings: unknown setting {line!r}", 70)
        if key == name:
            value = float(text)
    return value


def version():
    """The Kubernetes version this host's programs speak, as v1.20.2."""
    text = read(ETC + "/kubernetes-version", "").strip() or os.environ.get("STANDIN_KUBERNETES_VERSION", "v1.20.2")
    part = text.split(".")
    if len(part) != 3 or part[0] != "v1" or not all(each.isascii() and each.isdigit() for each in part[1:]):
        raise Failure(f"standin: {text!r} is no Kubernetes version", 70)
    return text


def minor(text=None):
    return int((text or version()).split(".")[1])


def kubelet_version():
    """The version the kubelet at hand speaks, which may be another one."""
    return read(ETC + "/kubelet-version", "").strip() or version()


def hostname():
    return os.uname().nodename.strip().lower()


def product_uuid():
    """This host's system UUID as kubelet reads it: from DMI, else the machine id."""
    return read("/sys/class/dmi/id/product_uuid", "").strip() or machine_id()


def machine_id():
    return read("/etc/machine-id", "").strip()


def stamp(seconds=None):
    """A time as Kubernetes writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def klog(level, where, text):
    """A line as klog writes it to stderr: W1122 16:03:17.123456    1234 file.go:12] text."""
    now = time.time()
    head = time.strftime("%m%d %H:%M:%S", time.localtime(now))
    sys.stderr.write(f"{level}{head}.{int(now % 1 * 1e6):06d} {os.getpid():7d} {where}] {text}\n")
    sys.stderr.flush()


def say(text=""):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def in_json(value):
    """A text, a number, or a list or table of such, as JSON."""
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{in_json(name)}: {in_json(each)}" for name, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(in_json, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)


def note(**what):
    """Adds one JSON line to the run log; a host without a writable log goes without."""
    line = in_json({"t": f"{time.time():.6f}", "pid": os.getpid(), **what}) + "\n"
    try:
        fd = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    except OSError:
        return
    os.write(fd, line.encode())
    os.close(fd)


def wait_for(condition, seconds, every=0.02):
    """Polls until the condition holds; what it returned, or None once the time is over."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            return None
        time.sleep(every)


def pause(seconds):
    """Time that the real program would spend; nothing is waited for."""
    if seconds > 0:
        time.sleep(seconds)


def tool(name):
    """The path of a program that stands beside the one running now, else the one on PATH."""
    beside = os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), name)
    return beside if os.access(beside, os.X_OK) else f"/usr/bin/{name}"


def run(function, name, argv):
    """Runs one command and turns its failures into text and exit status as the real ones do."""
    try:
        return function(name, argv) or 0
    except Failure as failure:
        text = str(failure)
        if text:
            sys.stdout.flush()
            sys.stderr.write(text if text.endswith("\n") else text + "\n")
        return failure.status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except KeyboardInterrupt:
        return 130


def main():
    name = os.path.basename(sys.argv[0])
    if name not in COMMANDS:
        sys.exit(f"standin: call me by one of: {' '.join(COMMANDS)}")
    sys.path.append("/usr/lib/python3/dist-packages")
    note(run=name, argv=sys.argv[1:])
    if (name not in DAEMONS or "--version" in sys.argv) and not read(BOOTED, ""):
        from standin import daemons

        daemons.boot()
    started = time.monotonic()
    module = __import__(f"standin.{COMMANDS[name]}", fromlist=["command"])
    status = run(module.command, name, sys.argv[1:])
    note(done=name, status=status, seconds=round(time.monotonic() - started, 3))
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        pass
    os._exit(status)  # what an interpreter tidies up at its end costs more than some commands
