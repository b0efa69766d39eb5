"""kubeadm's configuration documents, good and bad, in each API version."""
import os
import sys
import tempfile

from checks.lab import STANDIN, init_document, join_document

sys.path.insert(0, str(STANDIN / "lib"))
sys.dont_write_bytecode = True

from standin import host, kubeadm_config  # noqa: E402

HASH = "sha256:" + "0a" * 32
GOOD = (
    ("v1.20.2", "v1beta2"),
    ("v1.26.1", "v1beta2"),
    ("v1.22.0", "v1beta3"),
    ("v1.31.0", "v1beta3"),
    ("v1.31.0", "v1beta4"),
)
# what is replaced, with what, the exit status, words of the error; on v1beta2 and 1.20.2
BAD_INIT = (
    ("nodeRegistration:", "nodeRegistrations:", 1, 'json: unknown field "nodeRegistrations"'),
    ("criSocket:", "crisocket:", 1, 'json: unknown field "crisocket"'),
    ("kubernetesVersion:", "kubernetesversion:", 1, 'Kind:"ClusterConfiguration"}: error unmarshaling JSON'),
    ("podSubnet: 10.10.0.0/16", "podSubnet: 10.10.0.0", 3, 'networking.podSubnet: Invalid value: "10.10.0.0"'),
    ("podSubnet: 10.10.0.0/16", "podSubnet: 10.10.0.0/33", 3, "invalid CIDR address: 10.10.0.0/33"),
    ("podSubnet: 10.10.0.0/16", "podSubnet: 10.10.0.0/25", 3, "is smaller than the size of node subnet with mask 24"),
    (
        "podSubnet: 10.10.0.0/16",
        "podSubnet: 10.0.0.0/7",
        3,
        "pod subnet mask and node-mask difference can not be greater than 16",
    ),
    (
        "podSubnet: 10.10.0.0/16",
        "podSubnet: 10.10.0.0/16\n  serviceSubnet: 10.1.0.0/30",
        3,
        "is too small, the minimum is 10",
    ),
    ("podSubnet: 10.10.0.0/16", "podSubnet: [10.10.0.0/16]", 1, "cannot unmarshal array into Go struct field"),
    ("token: abcdef.0123456789abcdef", "token: abcdef.0123456789ABCDEF", 1, "was not of the form"),
    ("token: abcdef.0123456789abcdef", "token: abcdef", 1, "was not of the form"),
    ("ttl: 1h0m0s", "ttl: 1 hour", 1, 'time: invalid duration "1 hour"'),
    ("ttl: 1h0m0s", "ttl: 3600", 1, "cannot unmarshal number into Go struct field"),
    ("ttl: 1h0m0s", "usages: [signing, joining]", 3, "invalid bootstrap token usage string: joining"),
    ("ttl: 1h0m0s", "groups: [admins]", 3, 'bootstrap group "admins" is invalid'),
    (
        "ttl: 1h0m0s",
        "ttl: 1h0m0s\n  expires: 2030-01-01T00:00:00Z",
        3,
        ".TTL and .Expires fields are mutually exclusive",
    ),
    (
        "advertiseAddress: 192.168.56.11",
        "advertiseAddress: node1",
        3,
        "localAPIEndpoint.advertiseAddress: Invalid value",
    ),
    (
        "advertiseAddress: 192.168.56.11",
        "advertiseAddress: 192.168.56.11\n  bindPort: 70000",
        3,
        "bindPort: Invalid value: 70000",
    ),
    (
        "advertiseAddress: 192.168.56.11",
        'advertiseAddress: 192.168.56.11\n  bindPort: "6443"',
        1,
        "cannot unmarshal string into",
    ),
    ("node-ip: 192.168.56.11", "node-ip: 11", 1, "cannot unmarshal number into Go struct field"),
    (
        "  kubeletExtraArgs:\n    node-ip: 192.168.56.11",
        "  kubeletExtraArgs:\n  - name: node-ip\n    value: a",
        1,
        "cannot unmarshal array",
    ),
    ("nodeRegistration:", "nodeRegistration:\n  name: Node_1", 3, "a lowercase RFC 1123 subdomain must consist of"),
    ("nodeRegistration:", "nodeRegistration:\n  imagePullPolicy: Never", 1, 'unknown field "imagePullPolicy"'),
    ("unix:///run/containerd/containerd.sock", "containerd.sock", 3, "nodeRegistration.criSocket: Invalid value"),
    (
        "kubernetesVersion: v1.20.2",
        "kubernetesVersion: v1.18.0",
        1,
        "only supports deploying clusters with the control plane version >=",
    ),
    ("kubernetesVersion: v1.20.2", "kubernetesVersion: twenty", 1, "couldn't parse Kubernetes version"),
    (
        "kubernetesVersion: v1.20.2",
        "kubernetesVersion: stable-1",
        1,
        "could not fetch a Kubernetes version from the internet",
    ),
    ("kubernetesVersion: v1.20.2", "kubernetesVersion: v1.20.2\nkubernetesVersion: v1.20.1", 1, "already set in map"),
    (
        "kubernetesVersion: v1.20.2",
        "kubernetesVersion: v1.20.2\ncontrolPlaneEndpoint: a_b:6443",
        3,
        "controlPlaneEndpoint: Invalid",
    ),
    ("kubeadm.k8s.io/v1beta2", "kubeadm.k8s.io/v1beta1", 1, "your configuration file uses an old API spec"),
    ("kubeadm.k8s.io/v1beta2", "kubeadm.k8s.io/v1beta3", 1, 'no kind "InitConfiguration" is registered for version'),
    ("kind: InitConfiguration", "kind: InitConfig", 1, "unknown configuration schema.GroupVersionKind"),
    ("kind: ClusterConfiguration", "kind: InitConfiguration", 1, "is specified twice in YAML file"),
    ("kind: ClusterConfiguration", "Kind: ClusterConfiguration", 1, "kind and apiVersion is mandatory information"),
    ("---", "--- {", 1, "yaml: "),
    ("kind: ClusterConfiguration", "kind: ClusterConfiguration\nnetworks: {}", 1, 'unknown field "networks"'),
)
BAD_JOIN = (
    ("token: abcdef.0123456789abcdef", "token: abcdef.0123", 3, "discovery.bootstrapToken.token: Invalid value"),
    (
        f'caCertHashes: ["{HASH}"]',
        "caCertHashes: []",
        3,
        "using token-based discovery without caCertHashes can be unsafe",
    ),
    ("apiServerEndpoint: 192.168.56.11:6443", "apiServerEndpoint: 192.168.56.11", 3, "missing port in address"),
    (
        "apiServerEndpoint: 192.168.56.11:6443",
        "apiServerEndpoint: https://192.168.56.11:6443",
        3,
        "apiServerEndpoint: Invalid value",
    ),
    ("apiServerEndpoint:", "apiserverEndpoint:", 1, 'unknown field "apiserverEndpoint"'),
    ("timeout: 3s", "timeout: soon", 1, "time: invalid duration"),
    ("  bootstrapToken:", "  bootstraptoken:", 1, 'unknown field "bootstraptoken"'),
    ("kind: JoinConfiguration", "kind: InitConfiguration", 1, 'unknown field "discovery"'),
    (
        "nodeRegistration:",
        "caCertPath: ca.crt\nnodeRegistration:",
        3,
        "the ca certificate path must be an absolute path",
    ),
)


def load(function, text, version):
    """(status, text) of loading a document with a kubeadm of some version; 0 when it is taken."""
    os.environ["STANDIN_KUBERNETES_VERSION"] = version
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        file.write(text)
        file.flush()
        try:
            function(file.name)
        except host.Failure as failure:
            return failure.status, str(failure)
    return 0, ""


def replaced(text, old, new, times=1):
    assert old in text, f"the test's document holds no {old!r}"
    return text.replace(old, new, times)


def test_good_documents():
    for version, api in GOOD:
        status, text = load(kubeadm_config.init, init_document(version, api), version)
        assert status == 0, f"{api} with {version}: {text}"
    status, text = load(kubeadm_config.join, join_document(2, HASH), "v1.20.2")
    assert status == 0, text


def test_bad_init_documents():
    for old, new, status, words in BAD_INIT:
        got, text = load(
            kubeadm_config.init, replaced(init_document(), old, new, -1 if old.startswith("kubeadm.") else 1), "v1.20.2"
        )
        assert got == status and words in text, f"{new!r}: status {got}, {text!r}"


def test_bad_join_documents():
    for old, new, status, words in BAD_JOIN:
        got, text = load(kubeadm_config.join, replaced(join_document(2, HASH), old, new), "v1.20.2")
        assert got == status and words in text, f"{new!r}: status {got}, {text!r}"


def test_one_version_a_file():
    got, text = load(kubeadm_config.init, replaced(init_document(), "v1beta2", "v1beta3"), "v1.24.0")
    assert got == 1 and "speak different kubeadm API versions" in text, text


def test_versions_read_their_own_documents_only():
    for version, api, words in (
        ("v1.20.2", "v1beta3", "is registered"),
        ("v1.27.0", "v1beta2", "old API spec"),
        ("v1.30.0", "v1beta4", "is registered"),
        ("v1.20.2", "v1beta4", "is registered"),
    ):
        got, text = load(kubeadm_config.init, init_document(version, api), version)
        assert got == 1 and words in text, f"{api} with {version}: {got} {text!r}"


def test_extra_args_are_lists_in_v1beta4_alone():
    wrong = init_document("v1.31.0", "v1beta3").replace("v1beta3", "v1beta4")
    got, text = load(kubeadm_config.init, wrong, "v1.31.0")
    assert got == 1 and "cannot unmarshal object" in text, text
    wrong = init_document("v1.31.0", "v1beta4").replace("v1beta4", "v1beta3")
    got, text = load(kubeadm_config.init, wrong, "v1.31.0")
    assert got == 1 and "cannot unmarshal array" in text, text


def test_discovery_timeout_moved_in_v1beta4():
    given = (
        join_document(2, HASH)
        .replace("v1beta2", "v1beta4")
        .replace("    node-ip: 192.168.56.12", "  - {name: node-ip, value: a}")
    )
    got, text = load(kubeadm_config.join, given, "v1.31.0")
    assert got == 1 and 'strict decoding error: unknown field "timeout"' in text, text
    got, text = load(
        kubeadm_config.join, given.replace("  timeout: 3s\n", "") + "timeouts: {discovery: 7s}\n", "v1.31.0"
    )
    assert got == 0, text


def test_unknown_field_words_by_version():
    for version, api, words in (
        ("v1.20.2", "v1beta2", 'json: unknown field "x"'),
        ("v1.25.0", "v1beta3", "strict decoding error"),
    ):
        _, text = load(kubeadm_config.init, init_document(version, api) + "x: 1\n", version)
        assert words in text, text


def test_kubelet_document():
    kubelet = "---\napiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
    for line, status, words in (
        ("cgroupDriver: systemd", 0, ""),
        ("cgroupdriver: systemd", 1, 'unknown field "cgroupdriver"'),
        ("failSwapOn: maybe", 1, "cannot unmarshal string"),
        ("maxPods: 110", 0, ""),
        ("syncFrequency: never", 1, "invalid duration"),
    ):
        got, text = load(kubeadm_config.init, init_document() + kubelet + line + "\n", "v1.20.2")
        assert got == status and words in text, f"{line}: {got} {text!r}"


def test_not_even_yaml():
    for text in ("\x00", "a: b: c", "[]", "- 1", "kind: 1\napiVersion: v1\n", "", "&a [*a]", "{" * 200):
        got, words = load(kubeadm_config.init, text, "v1.20.2")
        assert got == 1 and words, f"{text[:20]!r}: {got} {words!r}"
