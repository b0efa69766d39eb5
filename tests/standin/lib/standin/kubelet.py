"""kubelet's stand-in. It is asked for its version many times for each time that it runs, and what runs is much to import."""
from standin import host


def command(_name, argv):
    if "--version" in argv:
        host.say("Kubernetes " + host.kubelet_version())
        return
    path = host.KUBELET + "/config.yaml"
    if not host.read(path, ""):  # before all else: until kubeadm has written it, a kubelet starts in vain
        raise host.Failure(
            f'failed to load Kubelet config file {path}, error failed to read kubelet config file "{path}", error: open '
            f"{path}: no such file or directory"
        )
    from standin import kubelet_node

    kubelet_node.run()
