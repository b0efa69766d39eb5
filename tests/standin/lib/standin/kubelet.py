"""kubelet's stand-in. It is asked for its version many times for each time that it runs, and what runs is much to import."""
from standin import host


def command(_name, argv):
    if "--version" in argv:
        host.say("Kubernetes " + host.kubelet_version())
        return
    from standin import kubelet_node

    kubelet_node.run()
