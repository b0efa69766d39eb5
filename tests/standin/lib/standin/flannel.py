"""What Flannel's pod does on a node, done by the kubelet's stand-in: it reads the applied manifest, not an assumption of it. A manifest
that would not work (no rights, wrong network, no interface, unknown flag) makes the pod crash with Flannel's own words."""
import ipaddress
import json
import os
import re
import socket

from standin import host, net
from standin.store import PUBLIC_IP

FLAGS = {
    "kube-subnet-mgr": True,
    "ip-masq": True,
    "iface": False,
    "iface-regex": False,
    "iface-can-reach": False,
    "public-ip": False,
    "v": False,
    "kubeconfig-file": False,
    "net-config-path": False,
    "subnet-file": False,
    "healthz-ip": False,
    "healthz-port": False,
    "kube-api-url": False,
    "kube-annotation-prefix": False,
    "iptables-resync": False,
    "iptables-forward-rules": True,
    "logtostderr": True,
    "set-node-network-unavailable": True,
    "public-ipv6": False,
    "charon-executable-path": False,
    "ip-blackhole-route": True,
    "alsologtostderr": True,
}
BACKENDS = ("vxlan", "host-gw", "udp", "wireguard", "ipip", "ipsec", "extension", "alloc")
RIGHTS = (
    ("get", "pods", ""),
    ("get", "nodes", ""),
    ("list", "nodes", ""),
    ("watch", "nodes", ""),
    ("patch", "nodes", "status"),
)


class Crash(Exception):
    """The container ended; the text is its last word."""


def is_flannel(pod):
    return any(
        "flanneld" in " ".join(each.get("command") or ()) or "--kube-subnet-mgr" in (each.get("args") or ())
        for each in pod["spec"]["containers"]
    )


def environment(container, facts):
    """{name: value} of a container; `facts` maps field paths to this pod's values."""
    found = {}
    for each in container.get("env") or ():
        field = ((each.get("valueFrom") or {}).get("fieldRef") or {}).get("fieldPath")
        value = facts.get(field) if field else each.get("value", "")
        if value is None:
            raise Crash(f"CreateContainerConfigError: field label not supported: {field}")
        found[each["name"]] = expand(value, found)
    return found


def expand(text, values):
    """$(NAME) as the kubelet replaces it: unknown names stay as they are, $$ is a dollar sign."""
    return re.sub(
        r"\$\$|\$\(([A-Za-z_][\w.-]*)\)",
        lambda match: "$" if match[0] == "$$" else values.get(match[1], match[0]),
        text,
    )


def arguments(container, values):
    """{flag: [values]} of flanneld's command line."""
    words = list(container.get("command") or ())[1:] + list(container.get("args") or ())
    words = [expand(word, values) for word in words]
    found, at = {}, 0
    while at < len(words):
        name, equals, value = words[at].lstrip("-").partition("=")
        if not words[at].startswith("-"):
            break
        if name not in FLAGS:
            raise Crash(f"flag provided but not defined: -{name}")
        if not FLAGS[name] and not equals:
            at += 1
            if at >= len(words):
                raise Crash(f"flag needs an argument: -{name}")
            value = words[at]
        found.setdefault(name, []).append(value if not FLAGS[name] or equals else "true")
        at += 1
    return found


class Mounts:
    """The files a container sees: ConfigMaps and folders of the host, at their places."""

    def __init__(self, pod, container, maps):
        self.at = []
        volumes = {each["name"]: each for each in pod["spec"].get("volumes") or ()}
        for mount in container.get("volumeMounts") or ():
            volume = volumes.get(mount["name"], {})
            name = (volume.get("configMap") or {}).get("name")
            if name:
                data = maps.get(f"{pod['metadata']['namespace']}/{name}")
                if data is None:
                    raise Crash(f'MountVolume.SetUp failed for volume "{mount["name"]}" : configmap "{name}" not found')
                self.at.append((mount["mountPath"].rstrip("/"), data, None))
            elif volume.get("hostPath"):
                self.at.append((mount["mountPath"].rstrip("/"), None, volume["hostPath"]["path"]))

    def text(self, path):
        """The text of a mounted ConfigMap's file, or None."""
        for folder, data, _ in self.at:
            if data is not None and path.startswith(folder + "/"):
                return data.get(path[len(folder) + 1 :])
        return None

    def on_host(self, path):
        """Where a path inside the container is on the host, or None."""
        for folder, _, source in self.at:
            if source is not None and (path == folder or path.startswith(folder + "/")):
                return source.rstrip("/") + path[len(folder) :]
        return None


def install(pod, maps):
    """The init containers: what they copy onto the host. Returns whether a CNI configuration was put in place."""
    put = False
    for container in pod["spec"].get("initContainers") or ():
        mounts = Mounts(pod, container, maps)
        words = list(container.get("command") or ()) + list(container.get("args") or ())
        for match in re.finditer(r"\bcp\s+(?:-\S+\s+)*(\S+)\s+(\S+)", " ".join(words)):
            source, target = match[1].strip("'\";"), match[2].strip("'\";")
            place = mounts.on_host(target)
            if not place:
                continue
            text = mounts.text(source)
            if text is None and target.endswith((".conf", ".conflist")):
                raise Crash(f"cp: cannot stat '{source}': No such file or directory")
            host.write(
                place,
                text if text is not None else "#!/bin/sh\n# a plugin out of Flannel's image\n",
                0o644 if text else 0o755,
            )
            put = put or text is not None
    return put


def choose(flags):
    """(interface, address) as flanneld chooses them."""
    for target in flags.get("iface-can-reach", ()):
        address = net.source_towards(target)
        if address:
            return net.interface_of(address), address
        raise Crash(f"Failed to find interface to use: failed to find interface that can reach {target}")
    for name in flags.get("iface", ()):
        try:
            socket.inet_aton(name)
            found = net.interface_of(name)
            if found:
                return found, name
        except OSError:
            address = net.address_of(name)
            if address:
                return name, address
    for pattern in flags.get("iface-regex", ()):
        for _, name in socket.if_nameindex():
            address = net.address_of(name)
            if address and (re.search(pattern, name) or re.search(pattern, address)):
                return name, address
    if "iface" in flags or "iface-regex" in flags:
        raise Crash("Failed to find interface to use that matches the interfaces and/or regexes provided")
    name = net.default_interface()
    if not name:
        raise Crash(
            "Failed to find any valid interface to use: failed to get default interface: Unable to find default route"
        )
    return name, net.address_of(name)


def network_of(text, pod_range, node):
    """net-conf.json checked against this node's range."""
    try:
        config = json.loads(text)
        whole = ipaddress.ip_network(config["Network"])
    except (ValueError, KeyError, TypeError) as error:
        raise Crash(f"Failed to create SubnetManager: error parsing subnet config: {error}") from error
    kind = (config.get("Backend") or {}).get("Type", "udp")
    if kind not in BACKENDS:
        raise Crash(f"Error registering network: unknown backend type: {kind}")
    if not pod_range:
        raise Crash(f'Error registering network: failed to acquire lease: node "{node}" pod cidr not assigned')
    if not ipaddress.ip_network(pod_range).subnet_of(whole):
        raise Crash(
            f'Error registering network: failed to acquire lease: subnet "{whole}" specified in the flannel net config '
            f'doesn\'t contain "{pod_range}" PodCIDR of the "{node}" node'
        )
    return config, kind


def check_rights(api, node, pod):
    account = f"system:serviceaccount:{pod['metadata']['namespace']}:{pod['spec'].get('serviceAccountName', 'default')}"
    for verb, resource, sub in RIGHTS:
        why = api.get(f"/standin/v1/nodes/{node}/may?account={account}&verb={verb}&resource={resource}&sub={sub}")[
            "refused"
        ]
        if why:
            raise Crash(
                f"Failed to create SubnetManager: error retrieving pod spec: {why}"
                if resource == "pods"
                else f"Failed to create SubnetManager: {why}"
            )


def check_container(pod, container, names):
    if not names.get("NODE_NAME") and not (names.get("POD_NAME") and names.get("POD_NAMESPACE")):
        raise Crash("Failed to create SubnetManager: env variables POD_NAME and POD_NAMESPACE must be set")
    security = container.get("securityContext") or {}
    if not security.get("privileged") and "NET_ADMIN" not in ((security.get("capabilities") or {}).get("add") or ()):
        raise Crash("Error registering network: failed to create vxlan device: operation not permitted")
    if not pod["spec"].get("hostNetwork"):
        raise Crash("Failed to find any valid interface to use: the pod is not on the host's network")


def run(api, node, pod, maps, own):
    """Everything once; the node's annotations and (interface, address). Crash when the pod would not live."""
    name = node["metadata"]["name"]
    installed = install(pod, maps)
    container = next(
        (each for each in pod["spec"]["containers"] if "flanneld" in " ".join(each.get("command") or ())),
        pod["spec"]["containers"][0],
    )
    meta = pod["metadata"]
    values = environment(
        container,
        {
            "metadata.name": meta["name"],
            "metadata.namespace": meta["namespace"],
            "metadata.uid": meta["uid"],
            "spec.nodeName": name,
            "status.hostIP": own,
            "status.podIP": own,
            "spec.serviceAccountName": pod["spec"].get("serviceAccountName"),
        },
    )
    flags, mounts = arguments(container, values), Mounts(pod, container, maps)
    if "kube-subnet-mgr" not in flags:
        raise Crash("Failed to create SubnetManager: dial tcp 127.0.0.1:2379: connect: connection refused")
    check_container(pod, container, values)
    check_rights(api, name, pod)
    text = mounts.text(flags.get("net-config-path", ["/etc/kube-flannel/net-conf.json"])[-1])
    if text is None:
        raise Crash(
            "Failed to create SubnetManager: failed to read net conf: open /etc/kube-flannel/net-conf.json: no such file or "
            "directory"
        )
    config, kind = network_of(text, node["spec"].get("podCIDR"), name)
    interface, address = choose(flags)
    address = flags.get("public-ip", [address])[-1]
    if not installed:
        place, conf = mounts.on_host("/etc/cni/net.d/10-flannel.conflist"), mounts.text(
            "/etc/kube-flannel/cni-conf.json"
        )
        if place and conf:
            host.write(place, conf)
    place = mounts.on_host("/run/flannel/subnet.env")
    if place:
        first = ipaddress.ip_network(node["spec"]["podCIDR"])
        host.write(
            place,
            f"FLANNEL_NETWORK={config['Network']}\nFLANNEL_SUBNET={first[1]}/{first.prefixlen}\nFLANNEL_MTU=1450\n"
            f"FLANNEL_IPMASQ={flags.get('ip-masq', ['false'])[-1]}\n",
        )
    return (
        {
            "flannel.alpha.coreos.com/backend-type": kind,
            "flannel.alpha.coreos.com/kube-subnet-manager": "true",
            "flannel.alpha.coreos.com/backend-data": "null",
            PUBLIC_IP: address,
        },
        interface,
        address,
    )


class Routes:
    """The routes to the other nodes' pods, kept in step with the list of nodes."""

    def __init__(self):
        self.have = {}

    def bring(self, rows, own, interface, address, pod_range):
        wanted = {}
        for row in rows:
            if row["name"] == own or not row["podCIDR"] or not row["publicIP"] or row["podCIDR"] == pod_range:
                continue
            reachable = row["publicIP"] != address and not net.is_local(row["publicIP"])
            wanted[row["podCIDR"]] = f"via {row['publicIP']} dev {interface} onlink" if reachable else None
        lines = []
        for cidr, way in wanted.items():
            if self.have.get(cidr, "") != way:
                lines.append(f"route replace {cidr} {way}" if way else f"route replace unreachable {cidr}")
        lines += [f"route del {cidr}" for cidr in self.have if cidr not in wanted]
        if not os.path.exists("/sys/class/net/flannel.1") and pod_range:
            lines += [
                "link add flannel.1 type bridge",
                f"addr add {pod_range.partition('/')[0]}/32 dev flannel.1",
                "link set flannel.1 up",
            ]
        if lines:
            net.batch(lines)
        self.have = wanted
