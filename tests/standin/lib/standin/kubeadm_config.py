"""Reads kubeadm's configuration files: splits, decodes strictly, fills in defaults, validates, in the real one's order and words."""
import ipaddress
import re

from standin import host, images, kubeadm_types, schema

TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
SUBDOMAIN_WORDS = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
GROUP_NAME = "system:bootstrappers:kubeadm:default-node-token"
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def new_token():
    import secrets

    part = "".join(secrets.choice(LETTERS) for _ in range(22))
    return f"{part[:6]}.{part[6:]}"


def runtime_socket():
    """The socket kubeadm takes when it is not told: containerd's, as dockershim is not at hand here."""
    plain = "/run/containerd/containerd.sock"
    return plain if host.minor() < 24 else "unix:///var" + plain


def gvk_words(group, version, kind):
    return f'schema.GroupVersionKind{{Group:"{group}", Version:"{version}", Kind:"{kind}"}}'


def split(text):
    """{(group, version, kind): document} of a configuration file."""
    found, mine = {}, {}
    for document in schema.documents(text, host.Failure):
        if not isinstance(document, dict):
            raise host.Failure(
                "invalid configuration: kind and apiVersion is mandatory information that must be specified"
            )
        api, kind = document.get("apiVersion"), document.get("kind")
        if not isinstance(api, str) or not isinstance(kind, str) or not api or not kind:
            raise host.Failure(
                "invalid configuration for GroupVersionKind /, Kind=: kind and apiVersion is mandatory "
                "information that must be specified"
            )
        group, _, version = api.rpartition("/")
        key = (group, version, kind)
        if key in found:
            raise host.Failure(
                f'invalid configuration: kind "{group}/{version}, Kind={kind}" is specified twice in YAML file'
            )
        found[key] = document
        if group == kubeadm_types.GROUP:
            mine[kind] = version
    kinds = set(mine)
    if kinds & {"InitConfiguration", "ClusterConfiguration"} and "JoinConfiguration" in kinds:
        raise host.Failure(
            "invalid configuration: kinds InitConfiguration, ClusterConfiguration and JoinConfiguration are "
            "mutually exclusive"
        )
    if len(set(mine.values())) > 1:
        raise host.Failure("invalid configuration: documents of one file speak different kubeadm API versions")
    return found


def shape_of(key):
    group, version, kind = key
    if key in kubeadm_types.COMPONENTS:
        return kubeadm_types.COMPONENTS[key]
    if group == kubeadm_types.GROUP:
        minor = host.minor()
        if version in kubeadm_types.versions(minor):
            shape = kubeadm_types.shapes(version).get(kind)
            if shape:
                return shape
        elif kubeadm_types.too_old(version, minor):
            raise host.Failure(
                f'your configuration file uses an old API spec: "{group}/{version}". Please use kubeadm '
                f"{kubeadm_types.too_old(version, minor)} instead and run 'kubeadm config migrate --old-config "
                "old.yaml --new-config new.yaml', which will write the new, similar spec using a newer API version."
            )
        else:
            raise host.Failure(
                f'no kind "{kind}" is registered for version "{group}/{version}" in scheme '
                '"k8s.io/kubernetes/cmd/kubeadm/app/apis/kubeadm/scheme/scheme.go:31"'
            )
    raise host.Failure(
        f"unknown configuration {gvk_words(*key)} for scheme definitions in "
        '"k8s.io/kubernetes/cmd/kubeadm/app/apis/kubeadm/scheme/scheme.go:31" and '
        '"k8s.io/kubernetes/cmd/kubeadm/app/componentconfigs/scheme.go:28"'
    )


def decode(key, document):
    """Where the real one of old only warns of an unknown field, this one ends: nobody should rely on a warning."""
    try:
        schema.check(document, shape_of(key), key[2])
    except schema.Bad as bad:
        if bad.kind == "unknown":
            words = (
                f'strict decoding error: unknown field "{bad}"'
                if host.minor() >= 24
                else f'error unmarshaling JSON: while decoding JSON: json: unknown field "{bad}"'
            )
        elif bad.kind == "required":
            words = f"missing required field {bad.path}.{bad}"
        else:
            words = f"error unmarshaling JSON: while decoding JSON: {bad}"
        raise host.Failure(f"error unmarshaling configuration {gvk_words(*key)}: {words}") from bad


def load(path, wanted, optional=()):
    """The documents of a file by kind, strictly decoded; at least one of the wanted kinds has to be there."""
    try:
        with open(path, "rb") as file:
            text = file.read().decode()
    except OSError as error:
        raise host.Failure(f'unable to read config from "{path}" : open {path}: {error.strerror.lower()}') from error
    except UnicodeDecodeError as error:
        raise host.Failure("yaml: invalid leading UTF-8 octet") from error
    found = split(text)
    for key, document in found.items():
        decode(key, document)
    kinds = {key[2]: document for key, document in found.items()}
    if not set(wanted) & set(kinds):
        if len(wanted) > 1:
            raise host.Failure("no InitConfiguration or ClusterConfiguration kind was found in the YAML file")
        raise host.Failure(f'no {wanted[0]} found in config file "{path}"')
    for key in found:
        if key[2] not in wanted and key[2] not in optional:
            host.klog(
                "W",
                "common.go:77",
                f"WARNING: Ignored YAML document with GroupVersionKind {key[0]}/{key[1]}, Kind={key[2]}",
            )
    return kinds


def args_of(value):
    """extraArgs of any API version as a dict."""
    if isinstance(value, list):
        return {each.get("name", ""): each.get("value", "") for each in value}
    return dict(value or {})


class Faults:
    """Collects field errors and ends as Kubernetes' aggregate does: one in plain, several in brackets, exit status 3."""

    def __init__(self):
        self.all = []

    def invalid(self, field, value, words):
        shown = value if isinstance(value, (int, list)) and not isinstance(value, bool) else schema.go_quote(value)
        self.all.append(f"{field}: Invalid value: {shown}: {words}")

    def required(self, field, words):
        self.all.append(f"{field}: Required value: {words}")

    def end(self):
        if self.all:
            text = self.all[0] if len(self.all) == 1 else "[" + ", ".join(self.all) + "]"
            raise host.Failure(text + TRACE, 3)


TRACE = "\nTo see the stack trace of this error execute with --v=5 or higher"


def check_address(faults, field, text, port):
    try:
        address = ipaddress.ip_address(text)
        if address.is_multicast or address.is_unspecified:
            faults.invalid(field + ".advertiseAddress", text, "ip address is not valid")
    except ValueError:
        faults.invalid(field + ".advertiseAddress", text, "ip address is not valid")
    if not 1 <= port <= 65535:
        faults.invalid(field + ".bindPort", port, "port number is not valid")


def check_subnet(faults, field, text, fewest):
    """A CIDR, or two of different families; a Go CIDR may have host bits set, which kubeadm takes and others choke on."""
    nets = []
    for part in text.split(","):
        try:
            nets.append(ipaddress.ip_network(part, strict=False))
        except ValueError:
            nets = None
        if nets is None or "/" not in part:
            faults.invalid(field, text, f"invalid CIDR address: {part}" if nets is None or "/" not in part else "")
            return None
    for net in nets:
        if net.num_addresses < fewest:
            faults.invalid(
                field, text, f"subnet with {net.num_addresses} address(es) is too small, the minimum is {fewest}"
            )
            return None
    return nets[0]


def check_mask(faults, pods, manager):
    """Pod subnet against the mask given to each node, as kubeadm does since 1.20."""
    if pods is None or manager.get("allocate-node-cidrs") == "false":
        return
    size = int(manager.get("node-cidr-mask-size") or (24 if pods.version == 4 else 64))
    if size < pods.prefixlen:
        faults.invalid(
            "networking.podSubnet",
            str(pods),
            f"the size of pod subnet with mask {pods.prefixlen} is smaller than "
            f"the size of node subnet with mask {size}",
        )
    elif size - pods.prefixlen > 16:
        faults.invalid(
            "networking.podSubnet", str(pods), "pod subnet mask and node-mask difference can not be greater than 16"
        )


def check_args(faults, field, value, minor):
    if isinstance(value, list):
        for at, each in enumerate(value):
            if not each.get("name"):
                faults.invalid(f"{field}[{at}]", "", "argument has no name" if minor >= 31 else "")


def check_node(faults, node):
    if not SUBDOMAIN.fullmatch(node["name"]) or len(node["name"]) > 253:
        faults.invalid("nodeRegistration.name", node["name"], SUBDOMAIN_WORDS)
    path = node["criSocket"]
    if not path.removeprefix("unix://").startswith("/"):
        faults.invalid(
            "nodeRegistration.criSocket",
            path,
            f"only URL scheme \"unix\" is supported, got \"{path.partition(':')[0]}\""
            if "://" in path
            else "path is not absolute",
        )
    check_args(faults, "nodeRegistration.kubeletExtraArgs", node.get("kubeletExtraArgs"), host.minor())
    policy = node.get("imagePullPolicy")
    if policy not in (None, "", "Always", "IfNotPresent", "Never"):
        faults.invalid("nodeRegistration.imagePullPolicy", policy, 'invalid image pull policy, must be one of: ""')


def check_tokens(faults, tokens):
    for at, token in enumerate(tokens):
        text = token.get("token") or ""
        if not TOKEN.fullmatch(text):
            # The real one finds this while decoding: the token is a type of its own there.
            raise host.Failure(
                f'the bootstrap token "{text}" was not of the form "\\\\A([a-z0-9]{{6}})\\\\.([a-z0-9]{{16}})\\\\z"'
                + TRACE
            )
        if token.get("ttl") and token.get("expires"):
            faults.invalid(
                f"bootstrapTokens.{at}", "", "the BootstrapToken .TTL and .Expires fields are mutually exclusive"
            )
        for usage in token.get("usages") or ():
            if usage not in ("signing", "authentication"):
                faults.invalid(
                    f"bootstrapTokens.{at}.usages",
                    token["usages"],
                    f"invalid bootstrap token usage string: {usage}, valid usage options: authentication, signing",
                )
        for group in token.get("groups") or ():
            if not re.fullmatch(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]", group):
                faults.invalid(
                    f"bootstrapTokens.{at}.groups",
                    token["groups"],
                    f'bootstrap group "{group}" is invalid '
                    "(must match \\Asystem:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]\\z)",
                )


def node_defaults(node):
    node = dict(node or {})
    node["name"] = (node.get("name") or host.hostname()).lower()
    node["criSocket"] = node.get("criSocket") or runtime_socket()
    node["args"] = args_of(node.get("kubeletExtraArgs"))
    return node


def init(path):
    """What `kubeadm init` works from: {"node", "endpoint", "cluster", "tokens", "kubelet", "skip"} with defaults in place."""
    from standin import net

    kinds = (
        load(
            path,
            ("InitConfiguration", "ClusterConfiguration"),
            ("KubeletConfiguration", "KubeProxyConfiguration", "ClusterStatus"),
        )
        if path
        else {}
    )
    first, cluster = kinds.get("InitConfiguration", {}), dict(kinds.get("ClusterConfiguration", {}))
    node = node_defaults(first.get("nodeRegistration"))
    endpoint = dict(first.get("localAPIEndpoint") or {})
    endpoint.setdefault("bindPort", 6443)
    if not endpoint.get("advertiseAddress"):
        endpoint["advertiseAddress"] = net.default_address() or "0.0.0.0"
    tokens = [dict(token) for token in first.get("bootstrapTokens") or [{"token": new_token()}]]
    faults = Faults()
    check_node(faults, node)
    check_tokens(faults, tokens)
    check_cluster(faults, cluster)
    check_address(faults, "localAPIEndpoint", endpoint["advertiseAddress"], endpoint["bindPort"])
    key = first.get("certificateKey")
    if key and not re.fullmatch(r"[0-9a-fA-F]{64}", key):
        faults.invalid("certificateKey", key, "certificate key is not a valid hex-encoded AES key of size 32")
    faults.end()
    return {
        "node": node,
        "endpoint": endpoint,
        "cluster": cluster,
        "tokens": tokens,
        "skip": first.get("skipPhases") or [],
        "kubelet": kinds.get("KubeletConfiguration", {}),
        "document": kinds.get("ClusterConfiguration", {}),
    }


def check_version(text):
    """Release versions alone: labels such as stable-1 would have to be looked up on the internet."""
    if not re.fullmatch(r"v?\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?", text):
        if re.match(r"(stable|latest|ci/)", text):
            raise host.Failure(
                f"could not fetch a Kubernetes version from the internet: unable to get URL "
                f'"https://dl.k8s.io/release/{text}.txt": Temporary failure in name resolution' + TRACE
            )
        raise host.Failure(f'couldn\'t parse Kubernetes version "{text}": could not parse "{text}" as version' + TRACE)
    text = "v" + text.removeprefix("v")
    lowest = host.minor() - 1
    if host.minor(text) < lowest:
        raise host.Failure(
            "this version of kubeadm only supports deploying clusters with the control plane version >= "
            f"1.{lowest}.0. Current version: {text}" + TRACE
        )
    return text


def check_cluster(faults, cluster):
    """Fills in and checks ClusterConfiguration."""
    if not cluster.get("kubernetesVersion"):
        host.klog(
            "W",
            "version.go:102",
            "could not fetch a Kubernetes version from the internet: unable to get URL "
            '"https://dl.k8s.io/release/stable-1.txt": Temporary failure in name resolution',
        )
        host.klog("W", "version.go:103", f"falling back to the local client version: {host.version()}")
        cluster["kubernetesVersion"] = host.version()
    cluster["kubernetesVersion"] = check_version(cluster["kubernetesVersion"])
    network = cluster["networking"] = dict(cluster.get("networking") or {})
    network["serviceSubnet"] = network.get("serviceSubnet") or "10.96.0.0/12"
    network["dnsDomain"] = network.get("dnsDomain") or "cluster.local"
    if not SUBDOMAIN.fullmatch(network["dnsDomain"]):
        faults.invalid("networking.dnsDomain", network["dnsDomain"], SUBDOMAIN_WORDS)
    check_subnet(faults, "networking.serviceSubnet", network["serviceSubnet"], 10)
    if network.get("podSubnet"):
        pods = check_subnet(faults, "networking.podSubnet", network["podSubnet"], 10)
        check_mask(faults, pods, args_of((cluster.get("controllerManager") or {}).get("extraArgs")))
    cluster["imageRepository"] = cluster.get("imageRepository") or images.repository(host.version())
    folder = cluster["certificatesDir"] = cluster.get("certificatesDir") or host.PKI
    if not folder.startswith("/"):
        faults.invalid("certificatesDir", folder, "path is not absolute")
    for name in (cluster.get("apiServer") or {}).get("certSANs") or ():
        try:
            ipaddress.ip_address(name)
        except ValueError:
            if not SUBDOMAIN.fullmatch(name.removeprefix("*.")):
                faults.invalid(
                    "apiServer.certSANs",
                    name,
                    "altname is not a valid IP address, DNS label or a DNS label with "
                    "subdomain wildcards: " + SUBDOMAIN_WORDS,
                )
    check_endpoint(faults, cluster.get("controlPlaneEndpoint"))
    for part in ("apiServer", "controllerManager", "scheduler"):
        check_args(faults, part + ".extraArgs", (cluster.get(part) or {}).get("extraArgs"), host.minor())


def check_endpoint(faults, text):
    if text:
        name, _, port = text.rpartition(":") if re.search(r":\d*$", text) and "]" not in text[-1] else (text, "", "")
        if not SUBDOMAIN.fullmatch(name.lower()) and not re.fullmatch(r"\[[0-9a-fA-F:.]+\]", name):
            faults.invalid("controlPlaneEndpoint", text, f"invalid host: {name}" if name else "host is empty")
        elif port and not 1 <= int(port) <= 65535:
            faults.invalid(
                "controlPlaneEndpoint", text, f"port {port} must be a valid number between 1 and 65535, inclusive"
            )


def join(path):
    """What `kubeadm join` works from: {"node", "token", "server", "hashes", "unsafe", "timeout", "ca", "tls"}."""
    given = load(path, ("JoinConfiguration",), ("KubeletConfiguration",))["JoinConfiguration"]
    node, discovery = node_defaults(given.get("nodeRegistration")), given.get("discovery") or {}
    token = discovery.get("bootstrapToken")
    faults = Faults()
    if token is None and discovery.get("file") is None:
        faults.invalid("discovery", "", "bootstrapToken or file must be set")
    if token is not None and discovery.get("file") is not None:
        faults.invalid("discovery", "", "bootstrapToken and file cannot both be set")
    elif discovery.get("file") is not None:
        raise host.Failure("standin: discovery by file is not known here" + TRACE, 70)
    token = token or {}
    tls = discovery.get("tlsBootstrapToken") or token.get("token") or ""
    if discovery.get("bootstrapToken") is not None:
        check_discovery(faults, token, tls)
    check_node(faults, node)
    path = given.get("caCertPath") or host.PKI + "/ca.crt"
    if not path.startswith("/") or not path.endswith(".crt"):
        faults.invalid("caCertPath", path, "the ca certificate path must be an absolute path")
    faults.end()
    if given.get("controlPlane") is not None:
        raise host.Failure("standin: further control planes are not known here" + TRACE, 70)
    timeout = discovery.get("timeout") or (given.get("timeouts") or {}).get("discovery") or "5m0s"
    return {
        "node": node,
        "token": token["token"],
        "server": token["apiServerEndpoint"],
        "tls": tls,
        "ca": path,
        "hashes": token.get("caCertHashes") or [],
        "unsafe": bool(token.get("unsafeSkipCAVerification")),
        "timeout": schema.seconds(timeout),
        "skip": given.get("skipPhases") or [],
    }


def check_discovery(faults, token, tls):
    field = "discovery.bootstrapToken"
    server = token.get("apiServerEndpoint") or ""
    if not server:
        faults.required(field, "APIServerEndpoint is not set")
    if not token.get("caCertHashes") and not token.get("unsafeSkipCAVerification"):
        faults.invalid(
            field + ".caCertHashes",
            "",
            "using token-based discovery without caCertHashes can be unsafe. Set "
            "unsafeSkipCAVerification as true in your kubeadm config file or pass "
            "--discovery-token-unsafe-skip-ca-verification flag to continue",
        )
    if not TOKEN.fullmatch(token.get("token") or ""):
        faults.invalid(field + ".token", token.get("token") or "", "the bootstrap token is invalid")
    if not re.fullmatch(r"(\[[^\]]+\]|[^:\[\]]+):\d+", server):
        faults.invalid(
            field + ".apiServerEndpoint",
            server,
            f"address {server}: missing port in address" if server else "missing port in address",
        )
    if not TOKEN.fullmatch(tls):
        faults.invalid("discovery.tlsBootstrapToken", tls, "the bootstrap token is invalid")
