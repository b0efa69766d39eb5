"""A whole cluster: init, tokens, join, nodes, pods that answer, leaving and coming back."""
import concurrent.futures
import json
import time

from checks.lab import ADMIN, TOKEN, eventually, flannel_document


def nodes(lab):
    return {each["metadata"]["name"]: each for each in json.loads(lab.kubectl("get nodes -o json").out)["items"]}


def condition(node):
    return next(each["status"] for each in node["status"]["conditions"] if each["type"] == "Ready")


def test_formation(lab):
    lab.clean()
    done = lab.init()
    assert done.status == 0 and "Your Kubernetes control-plane has initialized successfully!" in done.out, str(done)
    order = [
        done.out.index(word)
        for word in (
            "[preflight]",
            "[certs]",
            "[kubeconfig]",
            "[kubelet-start]",
            "[control-plane]",
            "[etcd]",
            "[wait-control-plane]",
            "[apiclient]",
            "[upload-config]",
            "[mark-control-plane]",
            "[bootstrap-token]",
            "[addons]",
        )
    ]
    assert order == sorted(order), order
    for number in (2, 3):
        done = lab.join(number)
        assert done.status == 0 and "This node has joined the cluster:" in done.out, str(done)
    assert condition(nodes(lab)["node2"]) == "False", "Ready without a network"
    done = lab.flannel()
    assert done.status == 0 and "daemonset.apps/kube-flannel-ds created" in done.out, str(done)
    assert "unchanged" in lab.flannel().out
    done = lab.kubectl("wait --for=condition=Ready node --all --timeout=10s")
    assert done.status == 0, str(done)
    for name, node in nodes(lab).items():
        uuid = lab.good(int(name[4:]), "cat /sys/class/dmi/id/product_uuid").out.strip()
        assert node["status"]["nodeInfo"]["systemUUID"] == uuid, node
        assert node["status"]["addresses"][0] == {"type": "InternalIP", "address": f"192.168.56.1{name[4:]}"}, node
        assert node["metadata"]["annotations"]["flannel.alpha.coreos.com/public-ip"] == f"192.168.56.1{name[4:]}", node
    assert [nodes(lab)[f"node{n}"]["spec"]["podCIDR"] for n in (1, 2, 3)] == [f"10.10.{n}.0/24" for n in (0, 1, 2)]
    lab.good(
        1,
        "test $(stat -c %a /etc/kubernetes/admin.conf) = 600 && grep -q node-ip=192.168.56.11 /var/lib/kubelet/kubeadm-flags.env",
    )


POD = """
apiVersion: v1
kind: Pod
metadata: {name: web%d, labels: {app: web}}
spec:
  nodeName: node%d
  containers: [{name: web, image: nginx, ports: [{containerPort: 80}]}]
"""


def test_pods_answer_across_hosts(lab):
    for number in (2, 3):
        assert lab.kubectl("apply -f -", POD % (number, number)).status == 0
    assert lab.kubectl("wait --for=condition=Ready pod -l app=web --timeout=5s").status == 0
    for at in (2, 3):
        address = lab.kubectl(f"get pod web{at} -o jsonpath={{.status.podIP}}").out
        assert address.startswith(f"10.10.{at - 1}."), address
        for source in (1, 2, 3):
            done = lab.good(
                source,
                f"""python3 -c 'import socket; s=socket.create_connection(("{address}", 80), 3); s.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n"); print(s.recv(999).decode())'""",
            )
            assert f"web{at}" in done.out, str(done)


PROBED = """
apiVersion: v1
kind: ConfigMap
metadata: {name: corefile, labels: {app: probed}}
data:
  Corefile: |
    .:1053 {
        health :8080
    }
---
apiVersion: v1
kind: Pod
metadata: {name: serves, labels: {app: probed}}
spec:
  nodeName: node2
  containers:
  - {name: dns, image: "k8s.gcr.io/coredns:1.7.0", args: ["-conf", "%s"], volumeMounts: [{name: c, mountPath: /etc/coredns}],
     readinessProbe: {httpGet: {path: /health, port: 8080}}}
  volumes: [{name: c, configMap: {name: corefile}}]
"""
CALLER = """
apiVersion: v1
kind: Pod
metadata: {name: %s, labels: {app: probed}}
spec:
  nodeName: node3
  containers: [{name: none, image: "k8s.gcr.io/pause:3.2", readinessProbe: {httpGet: {host: "%s", path: %s, port: 8080}}}]
"""


def test_readiness_is_probed(lab):
    """For real, from the host that the pod is on; also of another pod, as a probe's host says."""
    assert lab.kubectl("apply -f -", PROBED % "/etc/coredns/Corefile").status == 0
    assert lab.kubectl("wait --for=condition=Ready pod serves --timeout=5s").status == 0
    address = lab.kubectl("get pod serves -o jsonpath={.status.podIP}").out
    assert lab.kubectl("apply -f -", CALLER % ("calls", address, "/health")).status == 0
    assert lab.kubectl("wait --for=condition=Ready pod calls --timeout=5s").status == 0
    assert lab.kubectl("apply -f -", CALLER % ("lost", address, "/other")).status == 0
    assert lab.kubectl("wait --for=condition=Ready pod lost --timeout=2s").status == 1
    assert lab.kubectl("get pod lost -o jsonpath={.status.phase}").out == "Running"
    assert lab.kubectl("delete pod serves --timeout=5s").status == 0
    assert lab.kubectl("wait --for=condition=Ready=false pod calls --timeout=5s").status == 0
    assert lab.kubectl("apply -f -", PROBED % "/etc/coredns/None").status == 0
    assert lab.kubectl("wait --for=condition=Ready pod serves --timeout=2s").status == 1
    assert "no such file" in lab.kubectl("get pod serves -o json").out
    assert lab.kubectl("delete pod,configmap -l app=probed --timeout=5s").status == 0


def test_get_shapes(lab):
    done = lab.kubectl("get pods -A -o wide")
    assert "NAMESPACE" in done.out and "kube-apiserver-node1" in done.out and "coredns-" in done.out, str(done)
    assert lab.kubectl("get nodes -o name").out == "node/node1\nnode/node2\nnode/node3\n"
    assert lab.kubectl("get --raw /healthz").out == "ok"
    done = lab.kubectl("get node nobody")
    assert done.status == 1 and 'Error from server (NotFound): nodes "nobody" not found' in done.err, str(done)
    done = lab.kubectl("get nonsense")
    assert done.status == 1 and "the server doesn't have a resource type" in done.err, str(done)
    assert "No resources found in default namespace." in lab.kubectl("get pods -l app=none").err
    found = json.loads(lab.kubectl("get pods -A --field-selector spec.nodeName=node2 -o json").out)["items"]
    assert found and all(each["spec"]["nodeName"] == "node2" for each in found)
    assert lab.run(1, "KUBECONFIG=/etc/kubernetes/admin.conf kubectl config view").text.count("REDACTED") == 2


def test_node_credentials_see_their_own(lab):
    own = "kubectl --kubeconfig /etc/kubernetes/kubelet.conf "
    lab.good(2, own + "get node node2 -o jsonpath={.status.nodeInfo.systemUUID}")
    lab.good(2, own + "get pods -A --field-selector spec.nodeName=node2")
    for words in (
        "get node node3",
        "get nodes",
        "get pods -A",
        "delete node node2",
        "get secrets -n kube-system",
        "cordon node3",
        "get pods -A --field-selector spec.nodeName=node3",
    ):
        done = lab.run(2, own + words)
        assert (
            done.status == 1
            and "Error from server (Forbidden)" in done.err
            and 'User "system:node:node2" cannot' in done.err
        ), f"{words}: {done}"


def test_tokens(lab):
    done = lab.good(1, "kubeadm token create --ttl 2m --description short")
    token = done.out.strip()
    rows = [
        json.loads(text + "}") for text in lab.good(1, "kubeadm token list -o json").out.split("\n}") if text.strip()
    ]
    assert {row["token"] for row in rows} == {TOKEN, token}, rows
    assert lab.good(1, "kubeadm token list").out.count("\n") == 3
    done = lab.run(1, f"kubeadm token create {token}")
    assert done.status == 1 and f'a token with id "{token[:6]}" already exists' in done.err, str(done)
    done = lab.good(1, f"kubeadm token delete {token[:6]}")
    assert done.out == f'bootstrap token "{token[:6]}" deleted\n', str(done)
    done = lab.run(1, f"kubeadm token delete {token[:6]}")
    assert done.status == 1 and "not found" in done.err, str(done)
    for words, status in (
        ("create abc", 1),
        ("create --ttl soon", 1),
        ("create --nonsense", 1),
        ("delete a", 1),
        ("", 1),
    ):
        done = lab.run(1, "kubeadm token " + words)
        assert done.status == status and done.err, f"{words}: {done}"
    lab.put(
        1,
        "/root/token.yml",
        "apiVersion: kubeadm.k8s.io/v1beta2\nkind: InitConfiguration\nbootstrapTokens:\n- token: "
        "fedcba.0123456789abcdef\n  ttl: 1m0s\n",
    )
    assert (
        lab.good(1, f"kubeadm token create --kubeconfig {ADMIN} --config /root/token.yml").out
        == "fedcba.0123456789abcdef\n"
    )
    done = lab.run(1, "kubeadm token create --config /root/token.yml --ttl 1m")
    assert done.status == 1 and "can not mix '--config' with arguments [ttl]" in done.err, str(done)
    assert "kubeadm join 192.168.56.11:6443 --token " in lab.good(1, "kubeadm token create --print-join-command").out


def test_wrong_hash_fails_at_once(lab):
    begin = time.monotonic()
    done = lab.join(4, "sha256:" + "00" * 32, timeout="30s")
    assert (
        done.status == 1
        and "couldn't validate the identity of the API Server: cluster CA found in cluster-info" in done.err
    ), str(done)
    assert time.monotonic() - begin < 5
    lab.good(4, "test ! -e /etc/kubernetes/pki/ca.crt && test ! -e /etc/kubernetes/kubelet.conf")


def test_bad_tokens_wait_for_the_timeout(lab):
    for token in ("aaaaaa.0123456789abcdef", expired(lab)):
        begin = time.monotonic()
        done = lab.join(4, token=token, timeout="1s500ms")
        assert (
            done.status == 1
            and f'could not find a JWS signature in the cluster-info ConfigMap for token ID "{token[:6]}"' in done.err
        ), str(done)
        assert 1.4 < time.monotonic() - begin < 5
    begin = time.monotonic()
    done = lab.join(4, token="abcdef.0000000000000000", timeout="20s")
    assert done.status == 1 and "failed to verify JWS signature" in done.err and time.monotonic() - begin < 5, str(done)
    done = lab.join(4, server="192.168.56.12:6443", timeout="1s")
    assert done.status == 1 and "connection refused" in done.err, str(done)


def expired(lab):
    token = lab.good(1, "kubeadm token create --ttl 1s").out.strip()
    eventually(lambda: not (token[:6] in lab.good(1, "kubeadm token list").out))
    return token


def test_name_that_is_ready(lab):
    begin = time.monotonic()
    done = lab.join(4, name="node2", timeout="10s")
    assert (
        done.status == 1 and 'a Node with name "node2" and status "Ready" already exists in the cluster' in done.err
    ), str(done)
    assert time.monotonic() - begin < 4
    lab.good(4, "test -e /etc/kubernetes/pki/ca.crt && test ! -e /etc/kubernetes/kubelet.conf")
    done = lab.join(4, timeout="10s")
    assert done.status == 1 and "[ERROR FileAvailable--etc-kubernetes-pki-ca.crt]" in done.err, str(done)
    lab.good(4, "kubeadm reset -f")
    done = lab.join(4, timeout="10s")
    assert done.status == 0, str(done)
    eventually(lambda: not (condition(nodes(lab)["node4"]) != "True"))


def test_init_over_a_living_control_plane(lab):
    done = lab.init()
    labels = [line for line in done.err.splitlines() if "[ERROR" in line]
    assert done.status == 1 and len(labels) == 11, str(done)


def test_leave(lab):
    done = lab.kubectl("drain node3")
    assert (
        done.status == 1 and "cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore)" in done.err
    ), str(done)
    assert "use --force to override" in done.err, str(done)
    done = lab.kubectl("drain node3 --ignore-daemonsets --delete-emptydir-data --force --timeout 10s")
    assert done.status == 0 and "pod/web3 evicted" in done.out, str(done)
    assert lab.kubectl("delete node node3").out == 'node "node3" deleted\n'
    assert (
        lab.kubectl("delete node node3").status == 1 and lab.kubectl("delete node node3 --ignore-not-found").status == 0
    )
    done = lab.good(3, "kubeadm reset --force")
    assert "[reset] Deleting contents of stateful directories: [/var/lib/kubelet /var/run/kubernetes]" in done.out, str(
        done
    )
    lab.good(
        3,
        "ls /etc/cni/net.d/10-flannel.conflist && ip link show cni0 && ip link show flannel.1 && test ! -e /etc/kubernetes/kubelet.conf"
        " && ! systemctl is-active -q kubelet",
    )
    eventually(lambda: not ("10.10.2.0/24" in lab.good(1, "ip route").out))


def test_leftovers_break_the_next_network(lab):
    """A host that rejoins over CNI files is Ready at once, and its pods are not."""
    assert lab.join(2).status == 1
    done = lab.join(3)
    assert done.status == 0, str(done)
    assert lab.kubectl("delete node node2 node4").status == 0
    for number in (2, 4):
        lab.good(
            number,
            "kubeadm reset -f && rm -rf /etc/cni/net.d /var/lib/cni /run/flannel && ip link del flannel.1; ip link del cni0; true",
        )
    lab.good(
        3, "ip link add cni0 type bridge 2>/dev/null; ip addr flush dev cni0 && ip addr add 10.10.99.1/24 dev cni0"
    )
    lab.kubectl("apply -f -", POD % (9, 3))
    eventually(lambda: not ("ContainerCreating" not in lab.kubectl("get pod web9").out))

    eventually(lambda: '\\"cni0\\" already has an IP address different from' in lab.kubectl("get pod web9 -o json").out)
    assert condition(nodes(lab)["node3"]) == "True"
    lab.kubectl("delete pod web9")


def test_two_hosts_of_one_name(lab):
    """Both at once: both end with 0, and one Node exists."""
    for number in (2, 4):
        lab.good(number, "echo flannel-seconds=3 >> /etc/standin/settings")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for done in pool.map(lambda number: lab.join(number, name="twin"), (2, 4)):
            assert done.status == 0, str(done)
    for number in (2, 4):
        lab.good(number, "sed -i /flannel/d /etc/standin/settings")
    found = [name for name in nodes(lab) if name == "twin"]
    assert found == ["twin"]


def test_power_cut(lab):
    lab.cluster(workers=(2,))
    for host in ("node1", "node2"):
        assert lab.tool("stop", host).returncode == 0
        assert lab.tool("start", host).returncode == 0
    for number in (1, 2):
        lab.good(number, "sysctl -qw net.ipv4.ip_forward=1; systemctl default")
    eventually(lambda: not (lab.kubectl("get --raw /healthz").out != "ok"))
    eventually(lambda: not ([condition(each) for each in nodes(lab).values()] != ["True", "True"]))


def test_silent_node(lab):
    lab.good(2, "systemctl stop kubelet")
    eventually(lambda: not (condition(nodes(lab)["node2"]) != "Unknown"))
    assert "NotReady" in lab.kubectl("get node node2").out
    lab.good(2, "systemctl start kubelet")
    eventually(lambda: not (condition(nodes(lab)["node2"]) != "True"))


def test_own_authority(lab):
    """A CA that was placed before init is used as it is."""
    lab.clean()
    lab.good(
        1,
        "mkdir -p /etc/kubernetes/pki && cd /etc/kubernetes/pki && openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key "
        "-out ca.crt -days 10 -subj /CN=kubernetes 2>/dev/null && sha256sum ca.crt > /root/sum",
    )
    before = lab.pin()
    done = lab.init()
    assert (
        done.status == 0 and "[certs] Using existing ca certificate authority" in done.out and before in done.out
    ), str(done)
    lab.good(1, "cd /etc/kubernetes/pki && sha256sum -c /root/sum")
    told = lab.run(
        1,
        "echo | openssl s_client -connect 192.168.56.11:6443 -CAfile /etc/kubernetes/pki/ca.crt -verify_return_error "
        "-verify_ip 192.168.56.11 2>&1",
    )  # its status also tells how the server hung up, which is not the question
    assert "Verify return code: 0 (ok)" in told.text, str(told)
    assert lab.join(2, before).status == 0


def test_bad_authorities(lab):
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt -subj /CN=kubernetes 2>/dev/null"
    for line, words in (
        (make + " -days 10 && openssl genrsa -out ca.key 2048 2>/dev/null", "private key does not match public key"),
        (make + " -days 10; rm ca.key", "ca.key: no such file or directory"),
        ("echo x > ca.crt; echo x > ca.key", "error reading"),
        (make + " -days 10 -addext basicConstraints=CA:FALSE", "the certificate is not a CA"),
    ):
        lab.clean()
        lab.run(1, "mkdir -p /etc/kubernetes/pki && cd /etc/kubernetes/pki && " + line)
        done = lab.init()
        assert done.status == 1 and "error execution phase certs" in done.err and words in done.err, f"{line}: {done}"


def test_address_that_is_not_ours(lab):
    lab.clean()
    done = lab.init(address="192.168.56.99")
    assert done.status == 1 and "couldn't initialize a Kubernetes cluster" in done.err, str(done)


def test_default_route_traps(lab):
    """Without node-ip and without an interface for Flannel, both take the address that every VM has."""
    lab.clean()
    assert lab.init(node_ip=None).status == 0
    assert lab.flannel(choice="").status == 0
    assert lab.kubectl("wait --for=condition=Ready node --all --timeout=10s").status == 0
    node = nodes(lab)["node1"]
    assert node["status"]["addresses"][0]["address"] == "10.0.2.15", node
    assert node["metadata"]["annotations"]["flannel.alpha.coreos.com/public-ip"] == "10.0.2.15", node


def test_flannel_that_cannot_work(lab):
    for change, words in (
        ({"network": "10.99.0.0/16"}, 'doesn\'t contain \\"10.10.0.0/24\\" PodCIDR'),
        ({"verbs": '"get", "list"'}, "cannot watch resource"),
        ({"choice": "--iface=eth7"}, "Failed to find interface to use"),
        ({"more": ", --nonsense"}, "flag provided but not defined: -nonsense"),
    ):
        lab.clean()
        assert lab.init().status == 0 and lab.flannel(**change).status == 0
        eventually(lambda words=words: words in lab.kubectl("get pods -n kube-system -l app=flannel -o json").out)
        # As on a real host: the CNI file is in place, and that is all that Ready looks at.
        eventually(lambda: condition(nodes(lab)["node1"]) == "True")
    lab.clean()
    assert lab.init(pods=None).status == 0 and lab.flannel().status == 0
    eventually(lambda: "pod cidr not assigned" in lab.kubectl("get pods -n kube-system -l app=flannel -o json").out)
    lab.clean()
    assert lab.init().status == 0 and lab.flannel(tolerations="[]").status == 0
    assert lab.kubectl("get pods -n kube-system -l app=flannel -o name").out == ""


def test_variables_in_flannels_arguments(lab):
    """$(HOST_IP) is how a manifest names each host's own address."""
    lab.clean()
    assert lab.init().status == 0
    text = flannel_document(choice="--iface=$(HOST_IP)").replace(
        "        env:\n", "        env:\n        - {name: HOST_IP, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}\n"
    )
    assert lab.kubectl("apply -f -", text).status == 0
    assert lab.kubectl("wait --for=condition=Ready node --all --timeout=10s").status == 0
    assert nodes(lab)["node1"]["metadata"]["annotations"]["flannel.alpha.coreos.com/public-ip"] == "192.168.56.11"


def test_kubelet_flags_and_drivers(lab):
    lab.clean()
    lab.put(1, "/etc/default/kubelet", "KUBELET_EXTRA_ARGS=--node-adress=192.168.56.11\n")
    done = lab.init()
    assert done.status == 1 and "couldn't initialize a Kubernetes cluster" in done.err, str(done)
    assert "unknown flag: --node-adress" in lab.good(1, "cat /var/log/standin-kubelet.log; rm /etc/default/kubelet").out
    lab.clean()
    lab.put(
        1,
        "/etc/containerd/config.toml",
        "[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc.options]\nSystemdCgroup = true\n",
    )
    assert json.loads(lab.good(1, "crictl --runtime-endpoint unix:///run/containerd/containerd.sock info").out)[
        "config"
    ]
    assert "couldn't initialize a Kubernetes cluster" in lab.init().err
    lab.good(
        1,
        "kubeadm reset -f; rm -rf /var/lib/etcd; printf -- '---\napiVersion: kubelet.config.k8s.io/v1beta1\nkind: "
        "KubeletConfiguration\ncgroupDriver: systemd\n' >> /root/init.yml; kubeadm init --config /root/init.yml; "
        "rm /etc/containerd/config.toml",
    )


def test_apply(lab):
    lab.cluster()
    done = lab.kubectl("apply -f -", flannel_document().replace("hostNetwork", "hostnetwork"))
    assert (
        done.status == 1 and 'error validating "STDIN": error validating data: ValidationError(DaemonSet' in done.err
    ), str(done)
    done = lab.kubectl(
        "apply -f -",
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: one}\n---\napiVersion: v1\nkind: ConfigMap\n"
        "metadata: {name: a, namespace: one}\ndata: {x: y}\n---\napiVersion: apps/v1\nkind: Deployment\n"
        "metadata: {name: d, namespace: one}\nspec:\n  replicas: 2\n  selector: {matchLabels: {a: b}}\n  "
        "template: {metadata: {labels: {a: b}}, spec: {tolerations: [{operator: Exists}], containers: "
        "[{name: c, image: i}]}}\n",
    )
    assert done.out == "namespace/one created\nconfigmap/a created\ndeployment.apps/d created\n", str(done)
    assert lab.kubectl("wait -n one --for=condition=Available deployment/d --timeout=5s").status == 0
    done = lab.kubectl(
        "apply -f -", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: one}\ndata: {z: y}\n"
    )
    assert (
        done.out == "configmap/a configured\n" and lab.kubectl("get cm a -n one -o jsonpath={.data}").out == '{"z":"y"}'
    ), str(done)
    done = lab.kubectl("apply -f -", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: two}\n")
    assert done.status == 1 and 'namespaces "two" not found' in done.err, str(done)
    assert "cannot be specified together" in lab.kubectl("delete namespace one --force --grace-period=1").err
    assert lab.kubectl("delete namespace one").status == 0
    assert lab.kubectl("apply -f /nowhere").status == 1 and lab.kubectl("apply").status == 1


def test_other_versions(lab):
    """The newest documents against the newest stand-in, end to end."""
    lab.clean()
    for number in (1, 2):
        lab.put(number, "/etc/standin/kubernetes-version", "v1.31.2\n")
    done = lab.init(version="v1.31.2", api="v1beta4")
    assert done.status == 0, str(done)
    lab.good(1, "test -e /etc/kubernetes/super-admin.conf")
    labels = nodes(lab)["node1"]["metadata"]["labels"]
    assert "node-role.kubernetes.io/control-plane" in labels and "node-role.kubernetes.io/master" not in labels
    assert lab.kubectl("get cm kubelet-config -n kube-system -o name").status == 0
    done = lab.join(2)
    assert done.status == 1 and "old API spec" in done.err, str(done)
    for number in (1, 2):
        lab.good(number, "rm /etc/standin/kubernetes-version; kubeadm reset -f")
