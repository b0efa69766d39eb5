"""The objects kubeadm puts into a new cluster, as far as anybody looks at them."""
from standin import host


def kubelet_map(version):
    return f"kubelet-config-1.{host.minor(version)}" if host.minor(version) < 24 else "kubelet-config"


def control_plane_marks():
    """(labels, taint keys) of a control-plane node in this version."""
    old, new = "node-role.kubernetes.io/master", "node-role.kubernetes.io/control-plane"
    minor = host.minor()
    return ([old, new] if minor < 24 else [new]), ([old] if minor < 24 else [old, new] if minor == 24 else [new])


def workload(app, spec, more=None):
    labels = {"k8s-app": app}
    return {
        "metadata": {"labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
            **(more or {}),
        },
    }


def coredns(image):
    bears = [
        {"key": "CriticalAddonsOnly", "operator": "Exists"},
        *({"key": key, "effect": "NoSchedule"} for key in control_plane_marks()[1]),
    ]
    ports = [
        {"containerPort": 53, "name": "dns", "protocol": "UDP"},
        {"containerPort": 53, "name": "dns-tcp", "protocol": "TCP"},
    ]
    return workload(
        "kube-dns",
        {
            "serviceAccountName": "coredns",
            "tolerations": bears,
            "containers": [{"name": "coredns", "image": image, "ports": ports}],
        },
        {"replicas": 2},
    )


def dns_service(address):
    return {
        "spec": {
            "clusterIP": address,
            "type": "ClusterIP",
            "selector": {"k8s-app": "kube-dns"},
            "ports": [{"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53}],
        }
    }


def kube_proxy(image):
    return workload(
        "kube-proxy",
        {
            "serviceAccountName": "kube-proxy",
            "hostNetwork": True,
            "tolerations": [{"operator": "Exists"}],
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "containers": [{"name": "kube-proxy", "image": image}],
        },
    )
