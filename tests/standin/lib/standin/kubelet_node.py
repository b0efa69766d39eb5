"""The kubelet that runs: registers the node, keeps its status true, runs static pods and gives the pods it is handed addresses that answer."""
import os
import shlex
import signal
import threading
import time
import urllib.parse

from standin import client, daemons, flannel, host, images, kubeadm_types, net, podnet, probes, schema
from standin.crictl import SOCKET, runtime_answers, runtime_driver

BOOTSTRAP = host.KUBE + "/bootstrap-kubelet.conf"
FINAL = host.KUBE + "/kubelet.conf"
PEM = host.KUBELET + "/pki/kubelet-client-current.pem"
STATIC = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")
NO_CNI = (
    "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: "
    "cni plugin not initialized"
)
RETRY = 0.3
FLAGS = set(
    """address allowed-unsafe-sysctls anonymous-auth authorization-mode bootstrap-kubeconfig cert-dir cgroup-driver cgroup-root
    client-ca-file cloud-provider cluster-dns cluster-domain config container-log-max-files container-log-max-size container-runtime
    container-runtime-endpoint cpu-manager-policy eviction-hard eviction-soft fail-swap-on feature-gates hostname-override
    image-gc-high-threshold image-gc-low-threshold image-service-endpoint kube-reserved kubeconfig kubelet-cgroups logtostderr
    max-pods network-plugin node-ip node-labels node-status-update-frequency pod-infra-container-image pod-manifest-path port
    protect-kernel-defaults provider-id read-only-port register-node register-with-taints resolv-conf root-dir
    rotate-certificates runtime-cgroups runtime-request-timeout serialize-image-pulls system-reserved tls-cert-file
    tls-private-key-file v volume-plugin-dir""".split()
)
# The minor version from which a flag is unknown.
GONE = {"network-plugin": 24, "container-runtime": 27}


def arguments():
    """The flags of the unit: kubeadm's file first, then the administrator's, which win."""
    words = []
    for path, name in (
        (host.KUBELET + "/kubeadm-flags.env", "KUBELET_KUBEADM_ARGS"),
        ("/etc/default/kubelet", "KUBELET_EXTRA_ARGS"),
    ):
        for line in host.read(path, "").splitlines():
            key, _, value = line.partition("=")
            if key.strip() == name:
                words += shlex.split(" ".join(shlex.split(value)))
    found = dict(word.lstrip("-").partition("=")[::2] for word in words)
    for name in found:
        if name not in FLAGS or host.minor(host.kubelet_version()) >= GONE.get(name, 99):
            raise host.Failure(f"Error: failed to parse kubelet flag: unknown flag: --{name}")
    return found


def configuration():
    """config.yaml, strictly; the kubelet does not start with a bad one."""
    path = host.KUBELET + "/config.yaml"
    value = schema.documents(host.read(path), host.Failure)[0]
    try:
        schema.check(value, kubeadm_types.KUBELET, "KubeletConfiguration")
    except schema.Bad as bad:
        raise host.Failure(f"failed to load Kubelet config file {path}, error failed to decode: {bad}") from bad
    return value


class Kubelet:
    def __init__(self):
        self.config, self.flags = configuration(), arguments()
        self.name = self.flags.get("hostname-override") or host.hostname()
        self.lock = threading.RLock()
        self.api = None
        self.ready_said = None
        self.pods, self.answers, self.said = {}, {}, {}
        self.routes = flannel.Routes()
        # A runtime that groups by systemd cannot take the names of a kubelet that does not; the other way round works.
        self.misfit = runtime_driver() == "systemd" and self.config.get("cgroupDriver", "cgroupfs") == "cgroupfs"
        self.flannel = None
        self.registered = self.mirrored = False
        if self.config.get("failSwapOn", True) and len(host.read("/proc/swaps", "").splitlines()) > 1:
            raise host.Failure(
                "failed to run Kubelet: running with swap on is not supported, please disable swap! or set "
                "--fail-swap-on flag to false. /proc/swaps contained: " + host.read("/proc/swaps")
            )
        if not runtime_answers(SOCKET):
            raise host.Failure(
                f"failed to run Kubelet: failed to create kubelet: get remote runtime typed version failed: rpc error: "
                f'code = Unavailable desc = connection error: desc = "transport: Error while dialing dial unix {SOCKET}: '
                'connect: connection refused"'
            )

    # What the Node object says of this host.
    def addresses(self):
        given = self.flags.get("node-ip", "").split(",")[0]
        if given:
            if not net.is_local(given):
                host.note(kubelet="failed to validate nodeIP", address=given)
                return []
            address = given
        else:
            address = net.default_address()
        found = [{"type": "InternalIP", "address": address}] if address else []
        return found + [{"type": "Hostname", "address": self.name}]

    def ready(self):
        """(status, reason, message) of the Ready condition."""
        if not runtime_answers(SOCKET):
            return "False", "KubeletNotReady", "container runtime is down"
        if not podnet.configured():
            return "False", "KubeletNotReady", NO_CNI
        return "True", "KubeletReady", "kubelet is posting ready status"

    def conditions(self):
        status, reason, message = self.ready()
        quiet = [
            ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ]
        now = host.stamp()
        rows = [(kind, "False", why, text) for kind, why, text in quiet] + [("Ready", status, reason, message)]
        return status, [
            {
                "type": kind,
                "status": state,
                "reason": why,
                "message": text,
                "lastHeartbeatTime": now,
                "lastTransitionTime": now,
            }
            for kind, state, why, text in rows
        ]

    def info(self):
        system = dict(line.partition("=")[::2] for line in host.read("/etc/os-release", "").splitlines())
        return {
            "machineID": host.machine_id(),
            "systemUUID": host.product_uuid(),
            "bootID": host.read("/proc/sys/kernel/random/boot_id", "").strip(),
            "kernelVersion": os.uname().release,
            "osImage": system.get("PRETTY_NAME", "Linux").strip('"'),
            "containerRuntimeVersion": "containerd://1.6.20~ds1",
            "kubeletVersion": host.kubelet_version(),
            "kubeProxyVersion": host.kubelet_version(),
            "operatingSystem": "linux",
            "architecture": "amd64",
        }

    def status(self):
        state, conditions = self.conditions()
        size = {"cpu": str(os.cpu_count()), "memory": host.read("/proc/meminfo").split()[1] + "Ki", "pods": "110"}
        return state, {
            "addresses": self.addresses(),
            "conditions": conditions,
            "nodeInfo": self.info(),
            "capacity": size,
            "allocatable": size,
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        }

    def register(self):
        given = dict(part.partition("=")[::2] for part in self.flags.get("node-labels", "").split(",") if part)
        labels = {
            **given,
            "kubernetes.io/hostname": self.name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "beta.kubernetes.io/os": "linux",
            "beta.kubernetes.io/arch": "amd64",
        }
        self.ready_said, status = self.status()
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name, "labels": labels},
            "spec": {},
            "status": status,
        }
        try:
            self.api.post("/api/v1/nodes", node)
        except client.ApiError as error:
            if error.code != 409:
                raise
            # A Node of this name is taken over: that is how two hosts of one name end up as one Node.
            self.api.patch(f"/api/v1/nodes/{self.name}/status", {"metadata": {"labels": labels}, "status": status})

    def tell_status(self):
        state, status = self.status()
        self.api.patch(f"/api/v1/nodes/{self.name}/status", {"status": status})
        self.ready_said = state

    # TLS bootstrap: a key of our own, a certificate for a token.
    def bootstrap(self):
        from standin import pki

        api = client.Api.from_kubeconfig(BOOTSTRAP)
        key, request = pki.request("system:node:" + self.name, ["system:nodes"])
        body = {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"generateName": "csr-"},
            "spec": {
                "request": client.encoded(request),
                "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
                "usages": ["digital signature", "key encipherment", "client auth"],
            },
        }
        made = api.post("/apis/certificates.k8s.io/v1/certificatesigningrequests", body)
        text = (made.get("status") or {}).get("certificate")
        if not text:
            raise host.Failure("the certificate signing request was not approved")
        import base64

        host.write(PEM, base64.b64decode(text).decode() + key, 0o600)
        config = client.parse_kubeconfig(host.read(BOOTSTRAP), BOOTSTRAP)
        cluster = config["clusters"][0]["cluster"]
        host.write(
            FINAL,
            client.kubeconfig(
                cluster["server"],
                client.material(cluster, "certificate-authority"),
                "default-auth",
                {"client-certificate": PEM, "client-key": PEM},
            ),
            0o600,
        )

    def connect(self):
        """Tries until the node is registered. With neither kubeconfig there is nobody to try."""
        while True:
            try:
                if not os.path.exists(FINAL):
                    if not os.path.exists(BOOTSTRAP):
                        raise host.Failure(
                            "failed to run Kubelet: unable to load bootstrap kubeconfig: stat "
                            f"{BOOTSTRAP}: no such file or directory"
                        )
                    self.bootstrap()
                self.api = client.Api.from_kubeconfig(FINAL, 30.0)
                self.register()
                self.registered = True
                return
            except (client.ApiError, client.Unreachable, OSError) as error:
                host.note(kubelet="connect", error=str(error))
                time.sleep(RETRY)

    def sync_forever(self):
        """One long question to the API server after the other; each also tells that this node lives."""
        known, wait = "", host.setting("heartbeat-seconds")
        line = client.Api.from_kubeconfig(FINAL, wait + 20)
        while True:
            try:
                query = urllib.parse.urlencode({"known": known, "wait": wait if not self.unsettled() else 0.5})
                answer = line.get(f"/standin/v1/nodes/{self.name}/sync?{query}")
                with self.lock:
                    self.settle(answer)
                known = answer["known"]
            except (client.ApiError, client.Unreachable, OSError) as error:
                host.note(kubelet="sync", error=str(error))
                known = ""
                line.close()
                time.sleep(RETRY)

    def unsettled(self):
        return any(phase != "Running" for phase in self.said.values()) or any(map(probes.probed, self.pods.values()))

    def settle(self, answer):
        """Brings pods and routes of this host in line with what the API server says."""
        node, pods = answer["node"], {pod["metadata"]["uid"]: pod for pod in answer["pods"]}
        for uid in [uid for uid in self.pods if uid not in pods]:
            self.end(uid)
        if node is None:
            return
        state = next(
            (each["status"] for each in (node.get("status") or {}).get("conditions") or () if each["type"] == "Ready"),
            "",
        )
        if state != self.ready()[0]:
            self.tell_status()
        for uid, pod in pods.items():
            if (pod["metadata"].get("annotations") or {}).get("kubernetes.io/config.mirror"):
                continue
            if pod["metadata"].get("deletionTimestamp"):
                self.end(uid)
                self.api.call("DELETE", self.path(pod) + "?gracePeriodSeconds=0")
            elif self.said.get(uid) != "Running" or probes.probed(pod):
                self.begin(uid, pod, node, answer["maps"])
        if self.flannel:
            interface, address, pod_range = self.flannel
            self.routes.bring(answer["network"], self.name, interface, address, pod_range)

    @staticmethod
    def path(pod):
        return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"

    def begin(self, uid, pod, node, maps):
        """One try to start a pod; what stands in the way goes into its status."""
        self.pods[uid] = pod
        addresses = self.addresses()
        own = addresses[0]["address"] if addresses else ""
        try:
            if self.misfit:
                raise podnet.NotYet(
                    'failed to create containerd task: expected cgroupsPath to be of format "slice:prefix:name" for '
                    'systemd cgroups, got "/kubepods/besteffort" instead: unknown'
                )
            missing = next((each["image"] for each in pod["spec"]["containers"] if images.missing(each["image"])), None)
            if missing:
                self.tell(uid, pod, own, None, ("ImagePullBackOff", f'Back-off pulling image "{missing}"'))
                return
            if pod["spec"].get("hostNetwork"):
                if flannel.is_flannel(pod):
                    self.begin_flannel(pod, node, maps, own)
                address = own
            else:
                if not podnet.configured():
                    raise podnet.NotYet("network is not ready: " + NO_CNI)
                mounts = [flannel.Mounts(pod, each, maps) for each in pod["spec"]["containers"]]
                address = podnet.add(uid)
                self.serve(uid, pod, address, mounts)
            if uid not in self.said:
                host.pause(host.setting("pod-seconds"))
            self.tell(uid, pod, own, address, None, probes.ready(pod, address))
        except flannel.Crash as crash:
            self.tell(uid, pod, own, None, ("CrashLoopBackOff", str(crash)))
        except podnet.NotYet as reason:
            self.tell(uid, pod, own, None, ("ContainerCreating", f"Failed to create pod sandbox: {reason}"))

    def begin_flannel(self, pod, node, maps, own):
        host.pause(host.setting("flannel-seconds"))
        annotations, interface, address = flannel.run(self.api, node, pod, maps, own)
        self.api.patch("/api/v1/nodes/" + self.name + "/status", {"metadata": {"annotations": annotations}})
        self.flannel = (interface, address, node["spec"]["podCIDR"])
        self.tell_status()

    def serve(self, uid, pod, address, mounts):
        if uid in self.answers:
            return
        ports = {
            port["containerPort"]
            for each in pod["spec"]["containers"]
            for port in each.get("ports") or ()
            if port.get("protocol", "TCP") == "TCP"
        }
        more = {}
        for each, mounted in zip(pod["spec"]["containers"], mounts):
            more.update(probes.served(each, mounted))
        self.answers[uid] = [podnet.Answer(address, port, pod["metadata"]["name"]) for port in sorted(ports - more.keys())]
        self.answers[uid] += [podnet.Answer(address, port, text, path) for port, (path, text) in sorted(more.items())]

    def end(self, uid):
        for each in self.answers.pop(uid, ()):
            each.end()
        pod = self.pods.pop(uid, None)
        self.said.pop(uid, None)
        podnet.remove(uid)
        if pod and flannel.is_flannel(pod):
            self.flannel = None

    def tell(self, uid, pod, own, address, waiting, is_ready=False):
        """The pod's status to the API server, unless it was said before."""
        phase = "Pending" if waiting else "Running"
        word = f"{waiting}" if waiting else "Running" if is_ready else "Running, not ready"
        if self.said.get(uid) == word:
            return
        now = host.stamp()
        state = (
            {"waiting": {"reason": waiting[0], "message": waiting[1]}} if waiting else {"running": {"startedAt": now}}
        )
        names = [each["name"] for each in pod["spec"]["containers"]]
        status = {
            "phase": phase,
            "hostIP": own,
            "startTime": now,
            "conditions": [
                {"type": kind, "status": str(good)}
                for kind, good in (
                    ("Initialized", not waiting),
                    ("Ready", is_ready),
                    ("ContainersReady", is_ready),
                    ("PodScheduled", True),
                )
            ],
            "containerStatuses": [
                {
                    "name": name,
                    "ready": is_ready,
                    "restartCount": 0,
                    "state": state,
                    "started": not waiting,
                    "image": image["image"],
                }
                for name, image in zip(names, pod["spec"]["containers"])
            ],
        }
        if address:
            status.update(podIP=address, podIPs=[{"ip": address}])
        self.api.patch(self.path(pod) + "/status", {"status": status})
        self.said[uid] = word

    # Static pods: one process plays all of the control plane.
    def static(self):
        """Starts or ends the control plane as the manifests say; whether there is one."""
        wanted = not self.misfit and all(
            os.path.exists(f"{host.KUBE}/manifests/{name}.yaml") for name in ("kube-apiserver", "etcd")
        )
        if wanted and not daemons.running("kube-apiserver"):
            daemons.start("kube-apiserver")
        if not wanted and daemons.running("kube-apiserver"):
            daemons.stop("kube-apiserver")
        return wanted

    def mirror(self):
        """Mirror pods, so that the control plane's parts are seen among the pods."""
        own = self.addresses()
        for name in STATIC:
            if not os.path.exists(f"{host.KUBE}/manifests/{name}.yaml"):
                continue
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": f"{name}-{self.name}",
                    "namespace": "kube-system",
                    "labels": {"component": name},
                    "annotations": {"kubernetes.io/config.mirror": "standin"},
                },
                "spec": {"nodeName": self.name, "hostNetwork": True, "containers": [{"name": name, "image": name}]},
                "status": {
                    "phase": "Running",
                    "hostIP": own[0]["address"],
                    "podIP": own[0]["address"],
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "containerStatuses": [
                        {
                            "name": name,
                            "ready": True,
                            "restartCount": 0,
                            "image": name,
                            "state": {"running": {"startedAt": host.stamp()}},
                        }
                    ],
                },
            }
            try:
                self.api.post("/api/v1/namespaces/kube-system/pods", pod)
            except client.ApiError as error:
                if error.code != 409:
                    raise
        self.mirrored = True

    def watch_host(self):
        """Looks at this host itself: static pods, runtime, CNI."""
        line, told = None, None
        while True:
            try:
                founder = self.static()
                if self.registered:
                    state = self.ready()[0]
                    line = line or client.Api.from_kubeconfig(FINAL, 10.0)
                    if state != told and state != self.ready_said:
                        line.patch(f"/api/v1/nodes/{self.name}/status", {"status": self.status()[1]})
                        self.ready_said = state
                    told = state
                    if founder and not self.mirrored:
                        with self.lock:
                            self.mirror()
                time.sleep(0.05 if founder and not self.ready_said else 0.3)
            except (client.ApiError, client.Unreachable, OSError):
                line = None
                time.sleep(RETRY)


def listen():
    """The kubelet's own ports, which kubeadm's checks look at."""
    for address, port in (("0.0.0.0", 10250), ("127.0.0.1", 10248)):
        net.hold(address, port)


def run():
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    this = Kubelet()
    listen()
    threading.Thread(target=this.watch_host, daemon=True).start()
    this.connect()
    this.sync_forever()
