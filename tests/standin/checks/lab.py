"""The hosts the tests run on: a lab instance with the stand-ins in place, and the documents to feed them."""
import os
import pathlib
import subprocess
import time

STANDIN = pathlib.Path(__file__).resolve().parents[1]
TOOL = STANDIN.parent / "lab/lab"
TOKEN = "abcdef.0123456789abcdef"
ADMIN = "/etc/kubernetes/admin.conf"


class NoLab(Exception):
    """This machine cannot carry the lab; the text says why."""


def eventually(check, seconds=8.0):
    """Polls a check until it says yes; `seconds` are those of a machine that does nothing else."""
    seconds *= 3
    end = time.monotonic() + seconds
    while not check():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain")
        time.sleep(0.05)


class Done:
    """What a command did: status, out, err, and both as text."""

    def __init__(self, done):
        self.status, self.out, self.err = (
            done.returncode,
            done.stdout.decode(errors="replace"),
            done.stderr.decode(errors="replace"),
        )
        self.text = self.out + self.err

    def __str__(self):
        return f"status {self.status}: {self.text[-1500:]}"


class Lab:
    def __init__(self, count):
        self.count, self.name = count, f"standin{os.getpid()}"

    def tool(self, *words, **more):
        return subprocess.run([TOOL, "--name", self.name, *words], capture_output=True, check=False, **more)

    def __enter__(self):
        done = self.tool("up", str(self.count), "--standin", str(STANDIN / "bin"))
        if done.returncode == 77:
            raise NoLab(done.stderr.decode().strip())
        if done.returncode:
            raise RuntimeError(done.stderr.decode())
        for number in range(1, self.count + 1):
            self.ready(number)
        return self

    def ready(self, number):
        """What no reboot keeps: forwarding, and here short times, so that the tests are quick."""
        self.put(
            number,
            "/etc/standin/settings",
            "init-seconds=0\njoin-seconds=0\nnode-monitor-grace-seconds=1.5\n"
            "heartbeat-seconds=0.5\ncontrol-plane-timeout-seconds=2\ntls-bootstrap-timeout-seconds=4\n",
        )
        self.run(number, "sysctl -qw net.ipv4.ip_forward=1")

    def __exit__(self, *_):
        self.tool("down")

    def run(self, number, command, text=None, seconds=60):
        """Runs a shell line on a host."""
        return Done(
            self.tool("exec", f"node{number}", "sh", "-c", command, input=(text or "").encode(), timeout=seconds)
        )

    def good(self, number, command, text=None):
        done = self.run(number, command, text)
        assert done.status == 0, f"node{number}: {command}: {done}"
        return done

    def put(self, number, path, text):
        done = self.run(number, f"mkdir -p {os.path.dirname(path)} && cat > {path}", text)
        assert done.status == 0, str(done)

    def kubectl(self, command, text=None, number=1):
        return self.run(number, f"kubectl --kubeconfig {ADMIN} {command}", text)

    def clean(self, number=None):
        """All hosts, or one, as they were: no cluster, no leftovers, no orders."""
        line = (
            "kubeadm reset -f >/dev/null 2>&1; rm -rf /etc/cni/net.d /var/lib/cni /run/flannel /var/lib/etcd /etc/standin/orders "
            "/etc/kubernetes /root/*; ip link del cni0 2>/dev/null; ip link del flannel.1 2>/dev/null; "
            "ip -4 route show | grep onlink | while read r; do ip route del $r; done; ip route flush type unreachable; true"
        )
        done = self.tool(*(["exec", f"node{number}"] if number else ["each"]), "sh", "-c", line)
        assert done.returncode == 0, done.stderr.decode()

    # The way to a cluster.
    def init(self, more="", **change):
        self.put(1, "/root/init.yml", init_document(**change))
        return self.run(1, f"kubeadm init --config /root/init.yml {more}")

    def pin(self):
        return (
            "sha256:"
            + self.good(
                1,
                "openssl x509 -pubkey -noout -in /etc/kubernetes/pki/ca.crt | openssl pkey -pubin -outform "
                "der | sha256sum | cut -d' ' -f1",
            ).out.strip()
        )

    def join(self, number, hash_=None, token=TOKEN, timeout="3s", more="", server="192.168.56.11:6443", name=None):
        self.put(number, "/root/join.yml", join_document(number, hash_ or self.pin(), token, timeout, server, name))
        return self.run(number, f"kubeadm join --config /root/join.yml {more}")

    def flannel(self, **change):
        return self.kubectl("apply -f -", flannel_document(**change))

    def cluster(self, workers=()):
        """A cluster with Flannel and these workers, anew."""
        self.clean()
        for done in (self.init(), self.flannel(), *(self.join(number) for number in workers)):
            assert done.status == 0, str(done)
        done = self.kubectl("wait --for=condition=Ready node --all --timeout=10s")
        assert done.status == 0, str(done)


def init_document(
    version="v1.20.2", api="v1beta2", address="192.168.56.11", pods="10.10.0.0/16", node_ip="192.168.56.11"
):
    args = f"    node-ip: {node_ip}\n" if api != "v1beta4" else f"  - name: node-ip\n    value: {node_ip}\n"
    extra = f"  kubeletExtraArgs:\n{args}" if node_ip else ""
    subnet = f"  podSubnet: {pods}\n" if pods else "  dnsDomain: cluster.local\n"
    return (
        f"apiVersion: kubeadm.k8s.io/{api}\nkind: InitConfiguration\nbootstrapTokens:\n- token: {TOKEN}\n  ttl: 1h0m0s\n"
        f"localAPIEndpoint:\n  advertiseAddress: {address}\nnodeRegistration:\n  criSocket: unix:///run/containerd/containerd.sock\n"
        f"{extra}---\napiVersion: kubeadm.k8s.io/{api}\nkind: ClusterConfiguration\nkubernetesVersion: {version}\nnetworking:\n"
        f"{subnet}"
    )


def join_document(number, hash_, token=TOKEN, timeout="3s", server="192.168.56.11:6443", name=None):
    named = f"  name: {name}\n" if name else ""
    return (
        f"apiVersion: kubeadm.k8s.io/v1beta2\nkind: JoinConfiguration\ndiscovery:\n  bootstrapToken:\n    token: {token}\n    "
        f'apiServerEndpoint: {server}\n    caCertHashes: ["{hash_}"]\n  timeout: {timeout}\nnodeRegistration:\n{named}  '
        "criSocket: unix:///run/containerd/containerd.sock\n  kubeletExtraArgs:\n    node-ip: 192.168.56.1"
        f"{number}\n"
    )


def flannel_document(
    network="10.10.0.0/16",
    choice="--iface-can-reach=192.168.56.1",
    verbs='"get", "list", "watch"',
    tolerations="[{operator: Exists, effect: NoSchedule}]",
    more="",
):
    choice = f'"{choice}", ' if choice else ""
    return f"""
kind: ClusterRole
apiVersion: rbac.authorization.k8s.io/v1
metadata: {{name: flannel}}
rules:
- {{apiGroups: [""], resources: ["pods"], verbs: ["get"]}}
- {{apiGroups: [""], resources: ["nodes"], verbs: [{verbs}]}}
- {{apiGroups: [""], resources: ["nodes/status"], verbs: ["patch"]}}
---
kind: ClusterRoleBinding
apiVersion: rbac.authorization.k8s.io/v1
metadata: {{name: flannel}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: flannel}}
subjects: [{{kind: ServiceAccount, name: flannel, namespace: kube-system}}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {{name: flannel, namespace: kube-system}}
---
kind: ConfigMap
apiVersion: v1
metadata: {{name: kube-flannel-cfg, namespace: kube-system}}
data:
  cni-conf.json: '{{"name": "cbr0", "cniVersion": "0.3.1", "plugins": [{{"type": "flannel"}}, {{"type": "portmap"}}]}}'
  net-conf.json: '{{"Network": "{network}", "Backend": {{"Type": "vxlan"}}}}'
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: kube-flannel-ds, namespace: kube-system}}
spec:
  selector: {{matchLabels: {{app: flannel}}}}
  template:
    metadata: {{labels: {{app: flannel}}}}
    spec:
      hostNetwork: true
      tolerations: {tolerations}
      serviceAccountName: flannel
      initContainers:
      - name: install-cni
        image: flannel:v1
        command: [cp]
        args: ["-f", /etc/kube-flannel/cni-conf.json, /etc/cni/net.d/10-flannel.conflist]
        volumeMounts: [{{name: cni, mountPath: /etc/cni/net.d}}, {{name: cfg, mountPath: /etc/kube-flannel/}}]
      containers:
      - name: kube-flannel
        image: flannel:v1
        command: [/opt/bin/flanneld]
        args: [{choice}--ip-masq, --kube-subnet-mgr{more}]
        securityContext: {{capabilities: {{add: [NET_ADMIN, NET_RAW]}}}}
        env:
        - {{name: POD_NAME, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}
        - {{name: POD_NAMESPACE, valueFrom: {{fieldRef: {{fieldPath: metadata.namespace}}}}}}
        volumeMounts: [{{name: run, mountPath: /run/flannel}}, {{name: cfg, mountPath: /etc/kube-flannel/}}]
      volumes:
      - {{name: run, hostPath: {{path: /run/flannel}}}}
      - {{name: cni, hostPath: {{path: /etc/cni/net.d}}}}
      - {{name: cfg, configMap: {{name: kube-flannel-cfg}}}}
"""
