"""kubeadm reset: what it removes, and, just as faithfully, what it leaves."""
import os
import shutil
import sys

from standin import daemons, host, kubeadm, orders, preflight, systemctl

LEFT = """
The reset process does not clean CNI configuration. To do so, you must remove /etc/cni/net.d

The reset process does not reset or clean up iptables rules or IPVS tables.
If you wish to reset iptables, you must do so manually by using the "iptables" command.

If your cluster was setup to utilize IPVS, run ipvsadm --clear (or similar)
to reset your system's IPVS tables.

The reset process does not clean your kubeconfig files and you must remove them manually.
Please, check the contents of the $HOME/.kube/config file.
"""


def empty(path):
    """Removes what is in a folder, not the folder."""
    for name in os.listdir(path) if os.path.isdir(path) else ():
        full = os.path.join(path, name)
        if os.path.isdir(full) and not os.path.islink(full):
            shutil.rmtree(full, ignore_errors=True)
        else:
            host.remove(full)


def asked():
    host.say("[reset] WARNING: Changes made to this host by 'kubeadm init' or 'kubeadm join' will be reverted.")
    sys.stdout.write("[reset] Are you sure you want to proceed? [y/N]: ")
    sys.stdout.flush()
    answer = sys.stdin.readline().strip().lower()
    if answer not in ("y", "yes"):
        raise host.Failure("Aborted reset operation" if answer or not sys.stdin.closed else "")


def run(argv):
    found, words = kubeadm.parse(
        argv,
        {
            "force": False,
            "cri-socket": "",
            "cert-dir": host.PKI,
            "config": "",
            "dry-run": False,
            "ignore-preflight-errors": [],
            "kubeconfig": "",
            "skip-phases": [],
            "cleanup-tmp-dir": False,
            "update-cluster-status": False,
        },
        {"f": "force"},
    )
    if words:
        raise kubeadm.Usage(f'unknown command "{words[0]}" for "kubeadm reset"')
    orders.enforce("kubeadm-reset", "start")
    if found["config"]:
        from standin import kubeadm_config

        kubeadm_config.load(found["config"], ("ResetConfiguration",))
    if not found["force"]:
        asked()
    orders.enforce("kubeadm-reset", "preflight")
    host.say("[preflight] Running pre-flight checks")
    checks = preflight.Checks(found["ignore-preflight-errors"])
    preflight.root(checks)
    checks.end()
    orders.enforce("kubeadm-reset", "cleanup-node")
    etcd = etcd_folder()
    host.say("[reset] Stopping the kubelet service")
    try:
        systemctl.change("stop", ["kubelet"])
    except host.Failure as failure:
        host.klog("W", "cleanupnode.go:99", f"[reset] The kubelet service could not be stopped by kubeadm: [{failure}]")
    host.say('[reset] Unmounting mounted directories in "/var/lib/kubelet"')
    daemons.stop("kube-apiserver")
    daemons.remove_pods()
    folders = [f"{host.KUBE}/manifests", found["cert-dir"]]
    host.say(f"[reset] Deleting contents of config directories: [{' '.join(folders)}]")
    files = [
        f"{host.KUBE}/{name}"
        for name in (
            "admin.conf",
            "super-admin.conf",
            "kubelet.conf",
            "bootstrap-kubelet.conf",
            "controller-manager.conf",
            "scheduler.conf",
        )
    ]
    if host.minor() < 29:
        files.remove(f"{host.KUBE}/super-admin.conf")
    host.say(f"[reset] Deleting files: [{' '.join(files)}]")
    state = ([etcd] if etcd else []) + [host.KUBELET, "/var/run/kubernetes"]
    if not etcd:
        host.say(
            "[reset] No etcd config found. Assuming external etcd\n[reset] Please, manually reset etcd to prevent further "
            "issues"
        )
    host.say(f"[reset] Deleting contents of stateful directories: [{' '.join(state)}]")
    for folder in folders + state:
        empty(folder)
    host.remove(*files)
    orders.enforce("kubeadm-reset", "end")
    host.say(LEFT)


def etcd_folder():
    """Where etcd keeps its data, when its manifest tells; without one the folder stays, as with the real reset."""
    from standin import controllers

    return controllers.flags("etcd").get("data-dir")
