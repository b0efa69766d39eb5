"""kubeadm join: discovery by bootstrap token, and the TLS bootstrap that the kubelet does."""
import hmac
import os

from standin import bootstrap, client, host, kubeadm, kubeadm_config, kubeadm_node, objects, orders, preflight

INFO = "/api/v1/namespaces/kube-public/configmaps/cluster-info"
BOOTSTRAP = host.KUBE + "/bootstrap-kubelet.conf"
FINAL = host.KUBE + "/kubelet.conf"


class Join:
    def __init__(self, found, config):
        self.flags, self.config, self.node = found, config, config["node"]
        self.ca = self.server = self.api = self.network = None
        self.kubelet, self.version = {}, host.version()


def from_flags(found, words):
    """What join is asked by arguments instead of a file."""
    import json

    if len(words) != 1:
        raise kubeadm.Usage("discovery.bootstrapToken: Required value: APIServerEndpoint is not set", 3)
    from standin import kubeadm_types

    discovery = {
        "bootstrapToken": {
            "token": found["discovery-token"] or found["token"],
            "apiServerEndpoint": words[0],
            "caCertHashes": found["discovery-token-ca-cert-hash"],
            "unsafeSkipCAVerification": found["discovery-token-unsafe-skip-ca-verification"],
        }
    }
    api = kubeadm_types.versions(host.minor())[-1]
    node = {"name": found["node-name"]} if found["node-name"] else {}
    path, fd = client.memory_file(
        json.dumps(
            {
                "apiVersion": f"kubeadm.k8s.io/{api}",
                "kind": "JoinConfiguration",
                "discovery": discovery,
                "nodeRegistration": node,
            }
        )
    )
    try:
        return kubeadm_config.join(path)
    finally:
        os.close(fd)


def cluster_info(run, **how):
    """cluster-info with a signature for the token; retried until discovery's time is over, as the real one does without a word."""
    token_id, last = run.config["token"][:6], "context deadline exceeded"
    api = client.Api("https://" + run.config["server"], timeout=min(10.0, max(run.config["timeout"], 0.1)), **how)

    def ask():
        nonlocal last
        try:
            info = api.get(INFO)
        except client.Unreachable as error:
            last = f'Get "{api.server}{INFO}?timeout=10s": {error}'
            return None
        except client.ApiError as error:
            last = f"failed to request the cluster-info ConfigMap: {error}"
            return None
        if "jws-kubeconfig-" + token_id not in info["data"]:
            last = f'could not find a JWS signature in the cluster-info ConfigMap for token ID "{token_id}"'
            return None
        return info

    info = host.wait_for(
        ask, run.config["timeout"], min(host.setting("discovery-retry-seconds"), run.config["timeout"]) or 0.01
    )
    api.close()
    if not info:
        raise host.Failure(f"couldn't validate the identity of the API Server: {last}")
    return info["data"]


def discover(run):
    """The CA, checked against signature and pins, and the cluster's own name for its server."""
    for each in run.config["hashes"]:
        kind, _, value = each.partition(":")
        if kind.lower() != "sha256":
            raise host.Failure(
                "couldn't validate the identity of the API Server: invalid discovery token CA certificate hash: "
                f'invalid hash "{each}", expected "format:hex". Known format(s) are: sha256'
            )
        if len(value) != 64 or any(letter not in "0123456789abcdef" for letter in value.lower()):
            raise host.Failure(
                "couldn't validate the identity of the API Server: invalid discovery token CA certificate hash: "
                "invalid hash " + repr(each)
            )
    data = cluster_info(run, insecure=True)
    text, (token_id, secret) = data["kubeconfig"], run.config["token"].split(".")
    if not hmac.compare_digest(
        bootstrap.signature(text, token_id, f"{token_id}.{secret}"), data["jws-kubeconfig-" + token_id]
    ):
        raise host.Failure(
            "couldn't validate the identity of the API Server: failed to verify JWS signature of received cluster "
            "info object, can't trust this API Server"
        )
    cluster = client.parse_kubeconfig(text, "cluster-info")["clusters"][0]["cluster"]
    run.ca, run.server = client.material(cluster, "certificate-authority"), cluster["server"]
    pin = bootstrap.pin(run.ca)
    if run.config["hashes"]:
        if pin not in [each.lower() for each in run.config["hashes"]]:
            raise host.Failure(
                "couldn't validate the identity of the API Server: cluster CA found in cluster-info ConfigMap is "
                f'invalid: none of the public keys "{pin}" are pinned'
            )
        if cluster_info(run, ca=run.ca)["kubeconfig"] != text:
            raise host.Failure(
                "couldn't validate the identity of the API Server: the second kubeconfig from the cluster-info "
                "ConfigMap (using validated TLS) was different from the first"
            )


def check(run):
    host.say("[preflight] Running pre-flight checks")
    preflight.before_join(run.config, run.flags["ignore-preflight-errors"])
    discover(run)
    host.say("[preflight] Reading configuration from the cluster...")
    host.say(
        "[preflight] FYI: You can look at this config file with 'kubectl -n kube-system get cm kubeadm-config -o yaml'"
    )
    import yaml

    run.api = client.Api(run.server, run.ca, token=run.config["tls"], timeout=30.0)
    try:
        document = run.api.get("/api/v1/namespaces/kube-system/configmaps/kubeadm-config")["data"][
            "ClusterConfiguration"
        ]
        cluster = yaml.safe_load(document)
        run.version, run.network = cluster["kubernetesVersion"], cluster["networking"]
        name = objects.kubelet_map(run.version)
        text = run.api.get("/api/v1/namespaces/kube-system/configmaps/" + name)["data"]["kubelet"]
        run.kubelet = yaml.safe_load(text)
    except client.ApiError as error:
        raise host.Failure(
            "unable to fetch the kubeadm-config ConfigMap: failed to get config map: " + str(error)
        ) from error
    newest = host.minor(run.version)
    if newest > host.minor():
        raise host.Failure(
            "unable to fetch the kubeadm-config ConfigMap: this version of kubeadm is too old for a control plane of "
            f"version {run.version}"
        )


def start_kubelet(run):
    name = run.node["name"]
    text = client.kubeconfig(run.server, run.ca, "tls-bootstrap-token-user", {"token": run.config["tls"]})
    host.write(BOOTSTRAP, text, 0o600)
    host.write(run.config["ca"], run.ca)
    try:
        start_with_bootstrap(run, name)
    finally:
        host.remove(BOOTSTRAP)


def start_with_bootstrap(run, name):
    node = run.api.find("/api/v1/nodes/" + name)
    ready = node and any(
        each.get("type") == "Ready" and each.get("status") == "True"
        for each in (node.get("status") or {}).get("conditions") or ()
    )
    if ready:
        raise host.Failure(
            f'a Node with name "{name}" and status "Ready" already exists in the cluster. You must delete the existing '
            "Node or change the name of this new joining Node"
        )
    host.write(host.KUBELET + "/kubeadm-flags.env", "")
    kubeadm_node.restart_kubelet(False)
    kubeadm_node.write_kubelet(run.node, run.version, run.kubelet, run.network)
    kubeadm_node.restart_kubelet(True)
    host.say("[kubelet-start] Waiting for the kubelet to perform the TLS Bootstrap...")
    text = orders.obey("kubeadm-join", "tls-bootstrap")
    if text:
        raise host.Failure(text)
    if not host.wait_for(lambda: os.path.exists(FINAL), host.setting("tls-bootstrap-timeout-seconds")):
        raise host.Failure("timed out waiting for the condition")
    annotate(run, name)


def annotate(run, name):
    """The CRI socket goes onto the Node, for which the kubelet's own credentials are used, once it has registered."""
    api = client.Api.from_kubeconfig(FINAL)

    def patched():
        try:
            return api.patch(
                "/api/v1/nodes/" + name,
                {"metadata": {"annotations": {"kubeadm.alpha.kubernetes.io/cri-socket": run.node["criSocket"]}}},
            )
        except (client.ApiError, client.Unreachable):
            return None

    if not host.wait_for(patched, host.setting("tls-bootstrap-timeout-seconds")):
        raise host.Failure("error uploading crisocket: timed out waiting for the condition")


def run(found, words):
    orders.enforce("kubeadm-join", "start")
    this = Join(found, kubeadm_config.join(found["config"]) if found["config"] else from_flags(found, words))
    kubeadm_node.step("kubeadm-join", "preflight", check, this, 0)
    kubeadm_node.step("kubeadm-join", "kubelet-start", start_kubelet, this, host.setting("join-seconds"))
    host.say(
        "\nThis node has joined the cluster:\n* Certificate signing request was sent to apiserver and a response was received.\n* "
        "The Kubelet was informed of the new secure connection details.\n\nRun 'kubectl get nodes' on the control-plane to see "
        "this node join the cluster.\n"
    )
    orders.enforce("kubeadm-join", "end")
