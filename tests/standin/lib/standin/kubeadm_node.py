"""What kubeadm init and join do alike: phases with their orders and their words for a failure, and the kubelet set up."""
import ipaddress

from standin import client, host, images, kubeadm, orders, systemctl


def step(command, name, function, run, seconds):
    """One phase: orders first, then the work; any failure is named after the phase."""
    try:
        text = orders.obey(command, name)
        if text:
            raise host.Failure(text)
        function(run)
        host.pause(seconds)
    except host.Failure as failure:
        words = str(failure)
        words = words if words.startswith("error execution phase") else f"error execution phase {name}: {words}"
        raise kubeadm.Usage(words) from failure
    except (client.ApiError, client.Unreachable) as failure:
        raise kubeadm.Usage(f"error execution phase {name}: {failure}") from failure


def kubelet_flags(node, version, extra=None):
    """The line of kubeadm-flags.env."""
    args = {}
    if host.minor() < 24:
        args.update({"container-runtime": "remote", "container-runtime-endpoint": node["criSocket"]})
    else:
        args["container-runtime-endpoint"] = node["criSocket"]
    if node["name"] != host.hostname():
        args["hostname-override"] = node["name"]
    args["pod-infra-container-image"] = next(name for name in images.needed(version) if "/pause:" in name)
    if extra:
        args["register-with-taints"] = extra
    args.update(node["args"])
    return 'KUBELET_KUBEADM_ARGS="' + " ".join(f"--{name}={value}" for name, value in sorted(args.items())) + '"\n'


def kubelet_config(given, services, domain):
    """KubeletConfiguration with kubeadm's defaults; given wins."""
    import yaml

    dns = str(ipaddress.ip_network(services.split(",")[0], strict=False)[10])
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True, "cacheTTL": "0s"},
            "x509": {"clientCAFile": "/etc/kubernetes/pki/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "clusterDNS": [dns],
        "clusterDomain": domain,
        "healthzPort": 10248,
        "rotateCertificates": True,
        "staticPodPath": "/etc/kubernetes/manifests",
    }
    if host.minor() >= 22:
        config["cgroupDriver"] = "systemd"
    return yaml.safe_dump({**config, **given}, default_flow_style=False)


def restart_kubelet(starting):
    host.say("[kubelet-start] Starting the kubelet" if starting else "[kubelet-start] Stopping the kubelet")
    try:
        systemctl.change("restart" if starting else "stop", ["kubelet"])
    except host.Failure as failure:
        host.say(
            f"[kubelet-start] WARNING: unable to {'start' if starting else 'stop'} the kubelet service momentarily: [{failure}]"
        )


def write_kubelet(node, version, given, network):
    host.say('[kubelet-start] Writing kubelet environment file with flags to file "/var/lib/kubelet/kubeadm-flags.env"')
    host.write(host.KUBELET + "/kubeadm-flags.env", kubelet_flags(node, version))
    host.say('[kubelet-start] Writing kubelet configuration to file "/var/lib/kubelet/config.yaml"')
    host.write(host.KUBELET + "/config.yaml", kubelet_config(given, network["serviceSubnet"], network["dnsDomain"]))
