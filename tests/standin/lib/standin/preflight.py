"""kubeadm's checks before init and join, in its order and words."""
import ipaddress
import os
import re
import socket
import sys

from standin import daemons, host, images, net
from standin.crictl import SOCKET, runtime_answers

FATAL = "[preflight] Some fatal errors occurred:"
ADVICE = (
    "[preflight] If you know what you are doing, you can make a check non-fatal with `--ignore-preflight-errors=...`"
)


class Checks:
    """Gathers what the checks found; an ignored error turns into a warning."""

    def __init__(self, ignored):
        self.ignored = {name.strip().lower() for name in ignored}
        self.errors = []

    def warn(self, name, text):
        sys.stderr.write(f"\t[WARNING {name}]: {text}\n")

    def fail(self, name, text):
        if "all" in self.ignored or name.lower() in self.ignored:
            self.warn(name, text)
        else:
            self.errors.append(f"\t[ERROR {name}]: {text}")

    def end(self):
        sys.stderr.flush()
        if self.errors:
            raise host.Failure("\n".join([FATAL, *self.errors, ADVICE]))


def root(checks):
    if os.geteuid() != 0:
        checks.fail("IsPrivilegedUser", "user is not running as root")


def label(path):
    return path.replace("/", "-")


def absent(checks, path):
    if os.path.exists(path):
        checks.fail("FileAvailable-" + label(path), f"{path} already exists")


def empty(checks, path):
    if os.path.isdir(path) and os.listdir(path):
        checks.fail("DirAvailable-" + label(path), f"{path} is not empty")


def port(checks, number):
    if not net.port_free(number):
        checks.fail(f"Port-{number}", f"Port {number} is in use")


def content(checks, path, wanted):
    text = host.read(path, "missing")
    if text == "missing":
        checks.fail("FileContent-" + label(path), f"{path} does not exist")
    elif text[: len(wanted)] != wanted:
        checks.fail("FileContent-" + label(path), f"{path} contents are not set to {wanted}")


def resources(checks):
    cpus = int(host.setting("cpus")) or os.cpu_count()
    if cpus < 2:
        checks.fail("NumCPU", f"the number of available CPUs {cpus} is less than the required 2")
    total = int(re.search(r"MemTotal:\s+(\d+)", host.read("/proc/meminfo"))[1]) // 1024
    total = int(host.setting("memory-mib")) or total
    if total < 1700:
        checks.fail("Mem", f"the system RAM ({total} MB) is less than the minimum 1700 MB")


def cri_disabled():
    """containerd as Docker's packages bring it: its configuration turns the plugin off that Kubernetes needs."""
    import tomllib

    try:
        disabled = tomllib.loads(host.read("/etc/containerd/config.toml", "")).get("disabled_plugins") or []
    except tomllib.TOMLDecodeError:
        return False
    return "cri" in disabled or "io.containerd.grpc.v1.cri" in disabled or bool(host.setting("cri-disabled"))


def runtime(checks, path):
    if "dockershim" in path:
        raise host.Failure(
            'docker is required for container runtime: exec: "docker": executable file not found in $PATH'
        )
    plain = path.removeprefix("unix://").removeprefix("/var")
    if plain != SOCKET or not runtime_answers(SOCKET):
        checks.fail(
            "CRI",
            f'container runtime is not running: output: time="{host.stamp()}" level=fatal msg="connect: connect '
            f"endpoint 'unix://{plain}', make sure you are running as root and the endpoint has been started: context "
            'deadline exceeded"\n, error: exit status 1',
        )
    elif cri_disabled():
        checks.fail(
            "CRI",
            f'container runtime is not running: output: time="{host.stamp()}" level=fatal msg="getting status of '
            'runtime failed: rpc error: code = Unimplemented desc = unknown service runtime.v1alpha2.RuntimeService"\n, '
            "error: exit status 1",
        )


def swap(checks):
    if len(host.read("/proc/swaps", "").splitlines()) > 1:
        if host.minor() < 23:
            checks.fail("Swap", "running with swap on is not supported. Please disable swap")
        else:
            checks.warn(
                "Swap",
                "swap is supported for cgroup v2 only; the NodeSwap feature gate of the kubelet is beta but "
                "disabled by default"
                if host.minor() >= 28
                else "swap is enabled; production deployments should "
                "disable swap unless testing the NodeSwap feature gate of the kubelet",
            )


def programs(checks):
    missing = host.read(host.ETC + "/programs-missing", "").split()
    needed = ["conntrack", "ip", "iptables", "mount", "nsenter"] + (["crictl"] if host.minor() < 31 else [])
    for name in missing:
        if name in needed:
            checks.fail("FileExisting-" + name, f"{name} not found in system path")
        else:
            checks.warn("FileExisting-" + name, f"{name} not found in system path")


def node_name(checks, name):
    try:
        socket.getaddrinfo(name, None)
    except (OSError, UnicodeError):
        checks.warn("Hostname", f'hostname "{name}" could not be reached')
        checks.warn("Hostname", f'hostname "{name}": lookup {name}: no such host')


def kubelet(checks, control_plane):
    """The version of the kubelet at hand against kubeadm's and, at init, the control plane's; then its service."""
    match = re.fullmatch(r"v(\d+)\.(\d+)\.(\d+)", host.kubelet_version())
    if not match or not os.access(host.tool("kubelet"), os.X_OK):
        checks.fail(
            "KubeletVersion",
            "couldn't get kubelet version: cannot execute 'kubelet --version': executable file not " "found in $PATH",
        )
        return
    text, minor = ".".join(match.groups()), int(match[2])
    if minor < host.minor() - (1 if host.minor() < 29 else 3):
        checks.fail(
            "KubeletVersion", f'Kubelet version "{text}" is lower than kubeadm can support. Please upgrade kubelet'
        )
    if control_plane and minor > host.minor(control_plane):
        checks.fail(
            "KubeletVersion",
            "the kubelet version is higher than the control plane version. This is not a supported "
            f'version skew and may lead to a malfunctional cluster. Kubelet version: "{text}" Control plane version: '
            f'"{control_plane[1:]}"',
        )
    if not daemons.enabled("kubelet"):
        checks.warn("Service-Kubelet", "kubelet service is not enabled, please run 'systemctl enable kubelet.service'")


def common(checks, node, control_plane):
    runtime(checks, node["criSocket"])
    swap(checks)
    programs(checks)
    node_name(checks, node["name"])
    kubelet(checks, control_plane)
    port(checks, 10250)


def network(checks, address):
    try:
        if ipaddress.ip_address(address).version == 6:
            content(checks, "/proc/sys/net/ipv6/conf/default/forwarding", "1")
            return
    except ValueError:
        return
    if host.minor() < 30:
        content(checks, "/proc/sys/net/bridge/bridge-nf-call-iptables", "1")
    content(checks, "/proc/sys/net/ipv4/ip_forward", "1")


def before_init(config, ignored):
    checks = Checks(ignored + (config["node"].get("ignorePreflightErrors") or []))
    root(checks)
    checks.end()
    cluster, manifests = config["cluster"], host.KUBE + "/manifests/"
    resources(checks)
    version = cluster["kubernetesVersion"]
    if host.minor(version) > host.minor():
        checks.warn(
            "KubernetesVersion",
            f"Kubernetes version is greater than kubeadm version. Please consider to upgrade kubeadm. "
            f"Kubernetes version: {version[1:]}. Kubeadm version: 1.{host.minor()}.x",
        )
    for number in (config["endpoint"]["bindPort"], 10259, 10257):
        port(checks, number)
    for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"):
        absent(checks, f"{manifests}{name}.yaml")
    common(checks, config["node"], version)
    network(checks, config["endpoint"]["advertiseAddress"])
    for number in (2379, 2380):
        port(checks, number)
    empty(checks, (cluster.get("etcd") or {}).get("local", {}).get("dataDir") or "/var/lib/etcd")
    checks.end()


def pull(config, ignored):
    checks = Checks(ignored + (config["node"].get("ignorePreflightErrors") or []))
    source = config["cluster"]["imageRepository"]
    source = None if source == images.repository(host.version()) else source
    for name in images.needed(config["cluster"]["kubernetesVersion"], source):
        try:
            images.pull(name)
        except host.Failure as error:
            checks.fail("ImagePull", f"failed to pull image {name}: output: {error}\n, error: exit status 1")
    checks.end()


def before_join(config, ignored):
    checks = Checks(ignored + (config["node"].get("ignorePreflightErrors") or []))
    root(checks)
    checks.end()
    absent(checks, host.KUBE + "/kubelet.conf")
    absent(checks, host.KUBE + "/bootstrap-kubelet.conf")
    manifests = host.KUBE + "/manifests"
    empty(checks, manifests)
    common(checks, config["node"], None)
    absent(checks, config["ca"])
    network(checks, config["server"].rpartition(":")[0].strip("[]"))
    checks.end()
