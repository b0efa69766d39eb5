"""kubeadm init: the phases in the real one's order, each doing what it says."""
import ipaddress
import os

from standin import (
    bootstrap,
    client,
    host,
    images,
    kubeadm,
    kubeadm_config,
    kubeadm_node,
    kubeadm_token,
    kubeadm_types,
    objects,
    orders,
    pki,
    preflight,
    schema,
)

SERVER_CONFIGS = {
    "admin.conf": ("kubernetes-admin", ["system:masters"]),
    "kubelet.conf": (None, ["system:nodes"]),
    "controller-manager.conf": ("system:kube-controller-manager", []),
    "scheduler.conf": ("system:kube-scheduler", []),
}
# The part of init-seconds that each phase takes beyond its own work.
SHARE = {"certs": 0.1, "kubeconfig": 0.1, "wait-control-plane": 0.6, "upload-config": 0.1, "addon": 0.1}


def phases():
    early = (("preflight", check), ("certs", certs), ("kubeconfig", kubeconfigs))
    if host.minor() >= 29:
        middle = (("etcd", etcd), ("control-plane", manifests), ("kubelet-start", start_kubelet))
    else:
        middle = (("kubelet-start", start_kubelet), ("control-plane", manifests), ("etcd", etcd))
    return (
        early
        + middle
        + (
            ("wait-control-plane", wait_control_plane),
            ("upload-config", upload),
            ("upload-certs", upload_certs),
            ("mark-control-plane", mark),
            ("bootstrap-token", tokens),
            ("kubelet-finalize", finalize),
            ("addon", addons),
        )
    )


class Init:
    """One run: the flags, the configuration and what the phases leave for each other."""

    def __init__(self, found):
        self.flags = found
        self.config = kubeadm_config.init(found["config"])
        self.cluster, self.node = self.config["cluster"], self.config["node"]
        self.version, self.folder = self.cluster["kubernetesVersion"], self.cluster["certificatesDir"]
        self.address, self.port = self.config["endpoint"]["advertiseAddress"], self.config["endpoint"]["bindPort"]
        self.ca = self.ca_key = self.api = None

    def server(self):
        """host:port of the control plane as clients are to reach it."""
        given = self.cluster.get("controlPlaneEndpoint")
        if given:
            return given if given.rpartition(":")[2].isdigit() and ":" in given else f"{given}:{self.port}"
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    def args(self, part):
        return kubeadm_config.args_of((self.cluster.get(part) or {}).get("extraArgs"))


def check(run):
    host.say("[preflight] Running pre-flight checks")
    preflight.before_init(run.config, run.flags["ignore-preflight-errors"])
    host.say("[preflight] Pulling images required for setting up a Kubernetes cluster")
    host.say("[preflight] This might take a minute or two, depending on the speed of your internet connection")
    host.say("[preflight] You can also perform this action in beforehand using 'kubeadm config images pull'")
    preflight.pull(run.config, run.flags["ignore-preflight-errors"])


def alt_names(run):
    network = ipaddress.ip_network(run.cluster["networking"]["serviceSubnet"].split(",")[0], strict=False)
    domain = run.cluster["networking"]["dnsDomain"]
    names = [
        run.node["name"],
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc." + domain,
        str(network[1]),
        run.address,
    ]
    given = run.cluster.get("controlPlaneEndpoint")
    if given:
        names.append(run.server().rpartition(":")[0].strip("[]"))
    return list(dict.fromkeys(names + list((run.cluster.get("apiServer") or {}).get("certSANs") or ())))


def authority(run):
    have_cert, have_key = pki.exists(run.folder, "ca")
    if have_cert and have_key:
        host.say("[certs] Using existing ca certificate authority")
        run.ca, run.ca_key = pki.load_ca(run.folder)
    elif have_cert:
        raise host.Failure(
            "failure loading ca key: couldn't load the private key file "
            f"{run.folder}/ca.key: open {run.folder}/ca.key: no such file or directory"
        )
    else:
        host.say('[certs] Generating "ca" certificate and key')
        run.ca, run.ca_key = pki.new_ca()
        pki.put_pair(run.folder, "ca", run.ca, run.ca_key)
    if run.folder != host.PKI:
        raise host.Failure("standin: certificatesDir other than /etc/kubernetes/pki is not known here")


def certificate(run, name, use, common, groups=(), names=(), signer=None):
    """One certificate, unless there is one already; one that another CA signed is an error."""
    ca, key = signer or (run.ca, run.ca_key)
    if all(pki.exists(run.folder, name)):
        if not pki.signed_by(host.read(f"{run.folder}/{name}.crt"), ca):
            raise host.Failure(
                f"error execution phase certs/{name}: [certs] certificate {name} not signed by CA certificate ca: "
                "x509: certificate signed by unknown authority"
            )
        host.say(f"[certs] Using existing {name} certificate and key on disk")
        return
    own = pki.new_key()
    pki.put_pair(run.folder, name, pki.issue(ca, key, pki.subject(common, groups), own.public_key(), use, names), own)
    host.say(f'[certs] Generating "{name}" certificate and key')
    if names:
        shown = [each for each in names if not each[0].isdigit() or ":" in each]
        addresses = [each for each in names if each not in shown]
        host.say(
            f"[certs] {name} serving cert is signed for DNS names [{' '.join(shown)}] and IPs [{' '.join(addresses)}]"
        )


def certs(run):
    host.say(f'[certs] Using certificateDir folder "{run.folder}"')
    authority(run)
    certificate(run, "apiserver", "server", "kube-apiserver", names=alt_names(run))
    certificate(run, "apiserver-kubelet-client", "client", "kube-apiserver-kubelet-client", ["system:masters"])
    for name, common in (("front-proxy", "front-proxy-ca"), ("etcd", "etcd-ca")):
        path = "front-proxy-ca" if name == "front-proxy" else "etcd/ca"
        signer = pki.new_ca(common)
        if not all(pki.exists(run.folder, path)):
            host.say(f'[certs] Generating "{path}" certificate and key')
            pki.put_pair(run.folder, path, *signer)
            leaf = "front-proxy-client" if name == "front-proxy" else "etcd/server"
            certificate(
                run,
                leaf,
                "client" if name == "front-proxy" else "server",
                leaf.rpartition("/")[2],
                signer=signer,
                names=() if name == "front-proxy" else ("localhost", run.node["name"], run.address, "127.0.0.1"),
            )
    if not os.path.exists(run.folder + "/sa.key"):
        host.say('[certs] Generating "sa" key and public key')
        key = pki.new_key()
        host.write(run.folder + "/sa.key", pki.key_pem(key), 0o600)
        host.write(run.folder + "/sa.pub", pki.public_pem(key))


def kubeconfigs(run):
    if not run.ca:
        run.ca, run.ca_key = pki.load_ca(run.folder)
    host.say(f'[kubeconfig] Using kubeconfig folder "{host.KUBE}"')
    wanted = dict(SERVER_CONFIGS)
    if host.minor() >= 29:
        wanted["admin.conf"] = ("kubernetes-admin", ["kubeadm:cluster-admins"])
        wanted["super-admin.conf"] = ("kubernetes-super-admin", ["system:masters"])
    for name, (user, groups) in wanted.items():
        path = f"{host.KUBE}/{name}"
        # The controller manager and the scheduler speak to the API server of their own host.
        server = (
            f"https://{run.address}:{run.port}"
            if name[:1] in "cs" and "super" not in name
            else "https://" + run.server()
        )
        if os.path.exists(path):
            same_cluster(path, run, server)
            host.say(f'[kubeconfig] Using existing kubeconfig file: "{path}"')
            continue
        host.say(f'[kubeconfig] Writing "{name}" kubeconfig file')
        text = pki.client_kubeconfig(run.ca, run.ca_key, server, user or "system:node:" + run.node["name"], groups)
        host.write(path, text, 0o600)


def same_cluster(path, run, server):
    """An existing kubeconfig is kept only when it is of this cluster."""
    cluster = client.parse_kubeconfig(host.read(path), path)["clusters"][0]["cluster"]
    if client.material(cluster, "certificate-authority").strip() != pki.cert_pem(run.ca).strip():
        raise host.Failure(f'a kubeconfig file "{path}" exists already but has got the wrong CA cert')
    if cluster["server"] != server:
        raise host.Failure(f'a kubeconfig file "{path}" exists already but has got the wrong API Server URL')


def start_kubelet(run):
    kubeadm_node.restart_kubelet(False)
    kubeadm_node.write_kubelet(run.node, run.version, run.config["kubelet"], run.cluster["networking"])
    kubeadm_node.restart_kubelet(True)


def static_pod(run, name, image, args):
    words = "".join(f"    - --{key}={value}\n" for key, value in sorted(args.items()))
    text = (
        f"apiVersion: v1\nkind: Pod\nmetadata:\n  creationTimestamp: null\n  labels:\n    component: {name}\n    tier: "
        f"control-plane\n  name: {name}\n  namespace: kube-system\nspec:\n  containers:\n  - command:\n    - {name}\n{words}"
        f"    image: {image}\n    imagePullPolicy: IfNotPresent\n    name: {name}\n  hostNetwork: true\n  priorityClassName: "
        "system-node-critical\n"
    )
    host.write(f"{host.KUBE}/manifests/{name}.yaml", text, 0o600)


def image(run, word):
    source = run.cluster["imageRepository"]
    names = images.needed(run.version, None if source == images.repository(host.version()) else source)
    return next(name for name in names if word in name)


def manifests(run):
    host.say(f'[control-plane] Using manifest folder "{host.KUBE}/manifests"')
    network = run.cluster["networking"]
    server = {
        "advertise-address": run.address,
        "allow-privileged": "true",
        "authorization-mode": "Node,RBAC",
        "client-ca-file": host.PKI + "/ca.crt",
        "enable-bootstrap-token-auth": "true",
        "etcd-servers": "https://127.0.0.1:2379",
        "secure-port": run.port,
        "service-cluster-ip-range": network["serviceSubnet"],
        "tls-cert-file": host.PKI + "/apiserver.crt",
        "tls-private-key-file": host.PKI + "/apiserver.key",
    }
    manager = {
        "kubeconfig": host.KUBE + "/controller-manager.conf",
        "leader-elect": "true",
        "cluster-signing-cert-file": host.PKI + "/ca.crt",
        "cluster-signing-key-file": host.PKI + "/ca.key",
    }
    if network.get("podSubnet"):
        manager.update({"allocate-node-cidrs": "true", "cluster-cidr": network["podSubnet"]})
        if "." in network["podSubnet"]:
            manager.setdefault("node-cidr-mask-size", 24)
    scheduler = {"kubeconfig": host.KUBE + "/scheduler.conf", "leader-elect": "true"}
    for name, args, part in (
        ("kube-apiserver", server, "apiServer"),
        ("kube-controller-manager", manager, "controllerManager"),
        ("kube-scheduler", scheduler, "scheduler"),
    ):
        host.say(f'[control-plane] Creating static Pod manifest for "{name}"')
        static_pod(run, name, image(run, name), {**args, **run.args(part)})


def etcd(run):
    host.say(f'[etcd] Creating static Pod manifest for local etcd in "{host.KUBE}/manifests"')
    local = (run.cluster.get("etcd") or {}).get("local") or {}
    folder = local.get("dataDir") or "/var/lib/etcd"
    os.makedirs(folder, mode=0o700, exist_ok=True)
    static_pod(
        run,
        "etcd",
        image(run, "/etcd:"),
        {
            "data-dir": folder,
            "advertise-client-urls": f"https://{run.address}:2379",
            "name": run.node["name"],
            **kubeadm_config.args_of(local.get("extraArgs")),
        },
    )


def wait_control_plane(run):
    host.say(
        "[wait-control-plane] Waiting for the kubelet to boot up the control plane as static Pods from directory "
        f'"{host.KUBE}/manifests". This can take up to 4m0s'
    )
    given = (run.cluster.get("apiServer") or {}).get("timeoutForControlPlane")
    seconds = schema.seconds(given) if given else host.setting("control-plane-timeout-seconds")
    run.api = client.Api.from_kubeconfig(admin(), 2.0)

    def healthy():
        try:
            return run.api.get("/healthz", raw=True) == "ok"
        except (client.Unreachable, client.ApiError):
            return False

    if not host.wait_for(healthy, seconds):
        host.say(
            "\n\tUnfortunately, an error has occurred:\n\t\ttimed out waiting for the condition\n\n\tThis error is likely "
            "caused by:\n\t\t- The kubelet is not running\n\t\t- The kubelet is unhealthy due to a misconfiguration of the "
            "node in some way (required cgroups disabled)\n\n\tIf you are on a systemd-powered system, you can try to "
            "troubleshoot the error with the following commands:\n\t\t- 'systemctl status kubelet'\n\t\t- 'journalctl -xeu "
            "kubelet'\n"
        )
        raise host.Failure("couldn't initialize a Kubernetes cluster")
    host.say("[apiclient] All control plane components are healthy after 0.500000 seconds")
    run.api.timeout = 30.0


def admin():
    """The kubeconfig init itself works with."""
    path = host.KUBE + "/super-admin.conf"
    return path if os.path.exists(path) else host.KUBE + "/admin.conf"


def node_object(run):
    node = host.wait_for(lambda: run.api.find("/api/v1/nodes/" + run.node["name"]), 60)
    if not node:
        raise host.Failure("timed out waiting for the condition")
    return node


def put(run, kind, space, name, body):
    """Creates an object, or brings one that a former try left into this shape."""
    from standin import resources

    body = {
        "apiVersion": resources.api_version(kind),
        "kind": kind,
        **body,
        "metadata": {"name": name, **({"namespace": space} if space else {}), **body.get("metadata", {})},
    }
    try:
        run.api.post(resources.path(kind, space), body)
    except client.ApiError as error:
        if error.code != 409:
            raise
        run.api.patch(resources.path(kind, space, name), body)


def upload(run):
    import yaml

    host.say(
        '[upload-config] Storing the configuration used in ConfigMap "kubeadm-config" in the "kube-system" Namespace'
    )
    document = {"apiVersion": f"kubeadm.k8s.io/{kubeadm_types.versions(host.minor())[-1]}", **run.config["document"]}
    document.update(kind="ClusterConfiguration", kubernetesVersion=run.version, networking=run.cluster["networking"])
    put(run, "ConfigMap", "kube-system", "kubeadm-config", {"data": {"ClusterConfiguration": yaml.safe_dump(document)}})
    name = objects.kubelet_map(run.version)
    host.say(
        f'[kubelet] Creating a ConfigMap "{name}" in namespace kube-system with the configuration for the kubelets in the '
        "cluster"
    )
    put(run, "ConfigMap", "kube-system", name, {"data": {"kubelet": host.read(host.KUBELET + "/config.yaml")}})
    node_object(run)
    run.api.patch(
        "/api/v1/nodes/" + run.node["name"],
        {"metadata": {"annotations": {"kubeadm.alpha.kubernetes.io/cri-socket": run.node["criSocket"]}}},
    )


def upload_certs(_run):
    host.say("[upload-certs] Skipping phase. Please see --upload-certs")


def mark(run):
    labels, keys = objects.control_plane_marks()
    taints = run.node.get("taints")
    if taints is None:
        taints = [{"key": key, "effect": "NoSchedule"} for key in keys]
    name = run.node["name"]
    host.say(
        f'[mark-control-plane] Marking the node {name} as control-plane by adding the labels "'
        + " and ".join(f"{label}=''" for label in labels)
        + '"'
    )
    if taints:
        shown = " ".join(f"{each['key']}:{each.get('effect', '')}" for each in taints)
        host.say(f"[mark-control-plane] Marking the node {name} as control-plane by adding the taints [{shown}]")
    have = node_object(run)["spec"].get("taints") or []
    keys = {each["key"] for each in taints}
    run.api.patch(
        "/api/v1/nodes/" + name,
        {
            "metadata": {"labels": {label: "" for label in labels}},
            "spec": {"taints": [each for each in have if each["key"] not in keys] + taints},
        },
    )


def tokens(run):
    host.say("[bootstrap-token] Using token: " + run.config["tokens"][0]["token"])
    host.say("[bootstrap-token] Configuring bootstrap tokens, cluster-info ConfigMap, RBAC Roles")
    for token in run.config["tokens"]:
        made = kubeadm_token.secret(token)
        put(run, "Secret", "kube-system", made["metadata"]["name"], {"type": bootstrap.TYPE, "data": made["data"]})
    for text in ("to get nodes", "to post CSRs in order for nodes to get long term certificate credentials"):
        host.say(f"[bootstrap-token] configured RBAC rules to allow Node Bootstrap tokens {text}")
    host.say(
        "[bootstrap-token] configured RBAC rules to allow the csrapprover controller automatically approve CSRs from a Node "
        "Bootstrap Token"
    )
    host.say(
        "[bootstrap-token] configured RBAC rules to allow certificate rotation for all node client certificates in the "
        "cluster"
    )
    host.say('[bootstrap-token] Creating the "cluster-info" ConfigMap in the "kube-public" namespace')
    info = (
        f"apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {client.encoded(pki.cert_pem(run.ca))}\n    server: "
        f'https://{run.server()}\n  name: ""\ncontexts: null\ncurrent-context: ""\nkind: Config\npreferences: {{}}\nusers: '
        "null\n"
    )
    put(run, "ConfigMap", "kube-public", "cluster-info", {"data": {"kubeconfig": info}})


def finalize(_run):
    host.say(
        f'[kubelet-finalize] Updating "{host.KUBE}/kubelet.conf" to point to a rotatable kubelet client certificate and key'
    )


def addons(run):
    skipped = set(run.flags["skip-phases"]) | set(run.config["skip"])
    if "addon/coredns" not in skipped:
        put(run, "ServiceAccount", "kube-system", "coredns", {})
        put(run, "Deployment", "kube-system", "coredns", objects.coredns(image(run, "coredns")))
        dns = str(ipaddress.ip_network(run.cluster["networking"]["serviceSubnet"].split(",")[0], strict=False)[10])
        put(run, "Service", "kube-system", "kube-dns", objects.dns_service(dns))
        host.say("[addons] Applied essential addon: CoreDNS")
    if "addon/kube-proxy" not in skipped:
        put(run, "ServiceAccount", "kube-system", "kube-proxy", {})
        put(run, "ConfigMap", "kube-system", "kube-proxy", {"data": {"config.conf": "kind: KubeProxyConfiguration\n"}})
        put(run, "DaemonSet", "kube-system", "kube-proxy", objects.kube_proxy(image(run, "kube-proxy")))
        host.say("[addons] Applied essential addon: kube-proxy")


def farewell(run):
    host.say(
        "\nYour Kubernetes control-plane has initialized successfully!\n\nTo start using your cluster, you need to run the "
        "following as a regular user:\n\n  mkdir -p $HOME/.kube\n  sudo cp -i /etc/kubernetes/admin.conf $HOME/.kube/config\n"
        "  sudo chown $(id -u):$(id -g) $HOME/.kube/config\n\nAlternatively, if you are the root user, you can run:\n\n  export "
        'KUBECONFIG=/etc/kubernetes/admin.conf\n\nYou should now deploy a pod network to the cluster.\nRun "kubectl apply -f '
        '[podnetwork].yaml" with one of the options listed at:\n  https://kubernetes.io/docs/concepts/cluster-administration/'
        "addons/\n"
    )
    shown = "<value withheld>" if run.flags["skip-token-print"] else run.config["tokens"][0]["token"]
    host.say(
        "Then you can join any number of worker nodes by running the following on each as root:\n\nkubeadm join "
        f"{run.server()} --token {shown} \\\n    --discovery-token-ca-cert-hash {bootstrap.pin(pki.cert_pem(run.ca))} "
    )


def run(found):
    orders.enforce("kubeadm-init", "start")
    this = Init(found)
    host.say(f"[init] Using Kubernetes version: {this.version}")
    skipped = set(found["skip-phases"]) | set(this.config["skip"])
    known = {name for name, _ in phases()} | {"addon/coredns", "addon/kube-proxy"}
    for name in skipped:
        if name not in known and name.partition("/")[0] not in known:
            raise kubeadm.Usage(f"invalid phase name: {name}")
    total = host.setting("init-seconds")
    for name, function in phases():
        if name in skipped:
            continue
        if not this.api and name in ("upload-config", "mark-control-plane", "bootstrap-token", "addon"):
            this.api = client.Api.from_kubeconfig(admin(), 30.0)
        kubeadm_node.step("kubeadm-init", name, function, this, total * SHARE.get(name, 0))
    if not this.ca:
        this.ca, this.ca_key = pki.load_ca(this.folder)
    farewell(this)
    orders.enforce("kubeadm-init", "end")
