"""kubeadm's stand-in: the command tree."""
import os
import sys

from standin import flags, host, orders

TRACE = "\nTo see the stack trace of this error execute with --v=5 or higher"
COMMON = {
    "v": 0,
    "rootfs": "",
    "help": False,
    "azure-container-registry-config": "",
    "log-file": "",
    "log-file-max-size": 0,
    "add-dir-header": False,
    "skip-headers": False,
    "skip-log-headers": False,
    "one-output": False,
}


class Usage(host.Failure):
    def __init__(self, text, status=1):
        super().__init__(text + TRACE, status)


def parse(argv, known, short=None):
    found, words = flags.parse(argv, {**COMMON, **known}, {"v": "v", "h": "help", **(short or {})}, Usage)
    if found["help"]:
        host.say("standin: see the manual of the real program")
        raise SystemExit(0)
    return found, words


def print_version(argv):
    found, words = parse(argv, {"output": ""}, {"o": "output"})
    if words:
        raise Usage(f'unknown command "{words[0]}" for "kubeadm version"')
    orders.enforce("kubeadm-version", "start")
    version = host.version()
    info = {
        "major": "1",
        "minor": version.split(".")[1],
        "gitVersion": version,
        "gitCommit": "standin",
        "gitTreeState": "clean",
        "buildDate": "2021-01-13T13:25:59Z",
        "goVersion": "go1.15.5",
        "compiler": "gc",
        "platform": "linux/amd64",
    }
    if found["output"] == "short":
        host.say(version)
    elif found["output"] in ("json", "yaml"):
        import json

        # One JSON document is YAML as well.
        host.say(json.dumps({"clientVersion": info}, indent=2))
    elif not found["output"]:
        inner = ", ".join(f'{name[:1].upper() + name[1:]}:"{value}"' for name, value in info.items())
        host.say(f"kubeadm version: &version.Info{{{inner}}}")
    else:
        raise Usage(f"invalid output format: {found['output']}")


def list_images(argv, pull=False):
    from standin import images, kubeadm_config

    found, _ = parse(
        argv,
        {
            "kubernetes-version": "",
            "image-repository": "",
            "config": "",
            "output": "text",
            "feature-gates": "",
            "cri-socket": "",
            "experimental-output": "",
        },
        {"o": "output"},
    )
    version, source = found["kubernetes-version"], found["image-repository"]
    if found["config"]:
        config = kubeadm_config.init(found["config"])["cluster"]
        version, source = config["kubernetesVersion"], config["imageRepository"]
    if not version:
        host.klog(
            "W",
            "version.go:102",
            "could not fetch a Kubernetes version from the internet: unable to get URL "
            '"https://dl.k8s.io/release/stable-1.txt": Temporary failure in name resolution',
        )
        host.klog("W", "version.go:103", f"falling back to the local client version: {host.version()}")
    version = kubeadm_config.check_version(version or host.version())
    names = images.needed(version, None if source == images.repository(host.version()) else source or None)
    if not pull and found["output"] == "json":
        import json

        host.say(
            json.dumps({"kind": "Images", "apiVersion": "output.kubeadm.k8s.io/v1alpha1", "images": names}, indent=4)
        )
        return
    for name in names:
        if pull:
            try:
                images.pull(name)
            except host.Failure as error:
                raise Usage(f'failed to pull image "{name}": output: {error}\n, error: exit status 1') from error
        host.say(f"[config/images] Pulled {name}" if pull else name)


def defaults(kind):
    """`config print init-defaults` and `join-defaults` in the newest API version this kubeadm speaks."""
    from standin import images, kubeadm_types

    api = kubeadm_types.versions(host.minor())[-1]
    node = "node" if kind == "init-defaults" else host.hostname()
    role = "control-plane" if host.minor() >= 24 else "master"
    registration = f"nodeRegistration:\n  criSocket: /var/run/containerd/containerd.sock\n  name: {node}\n  taints:" + (
        f"\n  - effect: NoSchedule\n    key: node-role.kubernetes.io/{role}\n" if kind == "init-defaults" else " null\n"
    )
    if kind == "join-defaults":
        timeout = "" if api == "v1beta4" else "  timeout: 5m0s\n"
        host.say(
            f"apiVersion: kubeadm.k8s.io/{api}\ncaCertPath: /etc/kubernetes/pki/ca.crt\ndiscovery:\n  bootstrapToken:\n    "
            "apiServerEndpoint: kube-apiserver:6443\n    token: abcdef.0123456789abcdef\n    unsafeSkipCAVerification: true\n"
            f"{timeout}  tlsBootstrapToken: abcdef.0123456789abcdef\nkind: JoinConfiguration\n{registration}".rstrip()
        )
        return
    host.say(
        f"apiVersion: kubeadm.k8s.io/{api}\nbootstrapTokens:\n- groups:\n  - system:bootstrappers:kubeadm:default-node-token\n  "
        "token: abcdef.0123456789abcdef\n  ttl: 24h0m0s\n  usages:\n  - signing\n  - authentication\nkind: InitConfiguration\n"
        f"localAPIEndpoint:\n  advertiseAddress: 1.2.3.4\n  bindPort: 6443\n{registration}---\napiServer: {{}}\napiVersion: "
        f"kubeadm.k8s.io/{api}\ncertificatesDir: /etc/kubernetes/pki\nclusterName: kubernetes\ncontrollerManager: {{}}\n"
        f"dns: {{}}\netcd:\n  local:\n    dataDir: /var/lib/etcd\nimageRepository: {images.repository(host.version())}\nkind: "
        f"ClusterConfiguration\nkubernetesVersion: v1.{host.minor()}.0\nnetworking:\n  dnsDomain: cluster.local\n  "
        "serviceSubnet: 10.96.0.0/12\nscheduler: {}"
    )


def config(argv):
    if argv[:2] == ["images", "list"]:
        list_images(argv[2:])
    elif argv[:2] == ["images", "pull"]:
        list_images(argv[2:], True)
    elif argv[:1] == ["print"] and argv[1:2] in (["init-defaults"], ["join-defaults"]):
        defaults(argv[1])
    elif argv[:1] == ["validate"] and host.minor() >= 26:
        validate(argv[1:])
    else:
        raise Usage(f'unknown command "{" ".join(argv)}" for "kubeadm config"')


def validate(argv):
    from standin import kubeadm_config, schema

    found, _ = parse(argv, {"config": "", "allow-experimental-api": False})
    text = host.read(found["config"])
    kinds = {each.get("kind") for each in schema.documents(text, Usage) if isinstance(each, dict)}
    (kubeadm_config.join if "JoinConfiguration" in kinds else kubeadm_config.init)(found["config"])
    host.say("ok")


def init(argv):
    from standin import kubeadm_init

    found, words = parse(
        argv,
        {
            "config": "",
            "ignore-preflight-errors": [],
            "skip-phases": [],
            "dry-run": False,
            "upload-certs": False,
            "skip-token-print": False,
            "skip-certificate-key-print": False,
            "apiserver-advertise-address": "",
            "pod-network-cidr": "",
            "kubernetes-version": "",
            "service-cidr": "",
            "node-name": "",
            "token": "",
            "token-ttl": "",
            "cri-socket": "",
            "cert-dir": "",
            "image-repository": "",
            "control-plane-endpoint": "",
        },
    )
    if words:
        raise Usage(f'unknown command "{words[0]}" for "kubeadm init"')
    own = (
        "apiserver-advertise-address",
        "pod-network-cidr",
        "kubernetes-version",
        "service-cidr",
        "node-name",
        "token",
        "token-ttl",
        "cri-socket",
        "cert-dir",
        "image-repository",
        "control-plane-endpoint",
    )
    mixed(found, own)
    return kubeadm_init.run(found)


def mixed(found, own):
    """Settings by flag: not beside a configuration file, as in the real one; and not known to this one without."""
    given = [name for name in own if found[name]]
    if given and found["config"]:
        raise Usage(f"can not mix '--config' with arguments [{' '.join(given)}]")
    if given:
        raise Usage(f"standin: use --config; this stand-in knows no --{given[0]}")


def join(argv):
    from standin import kubeadm_join

    if os.path.exists(host.ETC + "/forbid-token-argv") and any(word.startswith("--token") for word in argv):
        raise Usage("standin: the token stands in the arguments, where everybody on this host can read it", 70)
    found, words = parse(
        argv,
        {
            "config": "",
            "ignore-preflight-errors": [],
            "skip-phases": [],
            "dry-run": False,
            "node-name": "",
            "token": "",
            "discovery-token": "",
            "discovery-token-ca-cert-hash": [],
            "discovery-token-unsafe-skip-ca-verification": False,
            "discovery-file": "",
            "tls-bootstrap-token": "",
            "cri-socket": "",
            "control-plane": False,
            "certificate-key": "",
            "apiserver-advertise-address": "",
        },
    )
    own = (
        "node-name",
        "token",
        "discovery-token",
        "discovery-token-ca-cert-hash",
        "discovery-file",
        "tls-bootstrap-token",
        "cri-socket",
        "control-plane",
        "certificate-key",
        "apiserver-advertise-address",
    )
    if found["config"]:
        mixed(found, own)
    return kubeadm_join.run(found, words)


def token(argv):
    from standin import kubeadm_token

    return kubeadm_token.run(argv)


def reset(argv):
    from standin import kubeadm_reset

    return kubeadm_reset.run(argv)


def completion(_argv):
    host.say("# standin: no completion")


TREE = {
    "version": print_version,
    "config": config,
    "init": init,
    "join": join,
    "token": token,
    "reset": reset,
    "completion": completion,
}


def holds_token(word):
    if len(word) < 23:
        return False
    import re

    return re.search(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b", word)


def command(_name, argv):
    if os.path.exists(host.ETC + "/forbid-token-argv") and any(holds_token(word) for word in argv):
        raise Usage("standin: the token stands in the arguments, where everybody on this host can read it", 70)
    first = next((at for at, word in enumerate(argv) if not word.startswith("-")), None)
    if first is None:
        host.say("kubeadm: easily bootstrap a secure Kubernetes cluster (standin)")
        return 0
    if argv[first] not in TREE:
        raise Usage(f'unknown command "{argv[first]}" for "kubeadm"')
    try:
        return TREE[argv[first]](argv[:first] + argv[first + 1 :])
    except orders.Skip:
        return 0
    finally:
        sys.stdout.flush()
