"""Programs that need no cluster: versions, units, runtime, preflight."""
import json
import time

from checks.lab import TOKEN, eventually, init_document


def test_kubeadm_version_is_quick(lab):
    # Processor time, as the machine may be busy with other things.
    spent = (
        'python3 -c \'import resource, subprocess, sys; subprocess.run(["kubeadm", "version", "-o", "json"]); '
        "use = resource.getrusage(resource.RUSAGE_CHILDREN); sys.stderr.write(str(use.ru_utime + use.ru_stime))'"
    )
    lab.good(4, spent)
    done = lab.good(4, spent)
    assert json.loads(done.out)["clientVersion"]["gitVersion"] == "v1.20.2"
    assert float(done.err) < 0.1, f"{done.err} s of processor time"
    assert lab.good(4, "kubeadm version -o short").out == "v1.20.2\n"
    lab.put(4, "/etc/standin/kubernetes-version", "v1.28.1\n")
    assert lab.good(4, "kubeadm version -o short").out == "v1.28.1\n"
    assert (
        "registry.k8s.io/coredns/coredns:" in lab.good(4, "kubeadm config images list --kubernetes-version v1.28.1").out
    )
    lab.good(4, "rm /etc/standin/kubernetes-version")
    assert lab.run(4, "kubeadm version --nonsense").status == 1


def test_units(lab):
    for command, status, words in (
        ("is-active containerd", 0, "active"),
        ("is-active nonsense", 4, "inactive"),
        ("is-enabled kubelet", 0, "enabled"),
        ("is-enabled nonsense", 1, "No such file or directory"),
        ("start nonsense", 5, "Unit nonsense.service not found."),
        ("stop nonsense", 5, "not loaded"),
        ("enable nonsense", 1, "Unit file nonsense.service does not exist."),
        ("show -p LoadState,ActiveState nonsense", 0, "LoadState=not-found\nActiveState=inactive"),
        ("daemon-reload", 0, ""),
        ("is-system-running", 0, "running"),
        ("disable kubelet", 0, "Removed"),
        ("is-enabled kubelet", 1, "disabled"),
        ("enable --now kubelet", 0, "Created symlink"),
        ("status nonsense", 4, "could not"),
        ("twist kubelet", 1, "Unknown command verb twist"),
        ("show --value -p ActiveState containerd.service", 0, "active"),
    ):
        done = lab.run(4, "systemctl " + command)
        assert done.status == status and words in done.text, f"{command}: {done}"


def test_kubelet_without_configuration_is_forever_starting(lab):
    lab.good(4, "systemctl restart kubelet")
    eventually(lambda: lab.run(4, "systemctl is-active kubelet").out == "activating\n")
    assert lab.run(4, "systemctl is-active -q kubelet").status == 3


def test_runtime(lab):
    lab.good(4, "crictl version && crictl images | grep -q kube-proxy && ctr -n k8s.io images ls -q | grep -q pause")
    images = "ctr -n k8s.io images"
    lab.good(4, "echo '*/etcd:*' > /etc/standin/images-absent")
    assert "/etcd:" not in lab.good(4, f"{images} check").out
    lab.good(4, f"{images} pull --plain-http r.example/etcd:1 && {images} tag r.example/etcd:1 k8s.gcr.io/etcd:3.4.13-0")
    done = lab.run(4, f"{images} tag r.example/etcd:1 k8s.gcr.io/etcd:3.4.13-0")
    assert done.status == 1 and "already exists" in done.err, str(done)
    rows = [line.split() for line in lab.good(4, f"{images} check name==k8s.gcr.io/etcd:3.4.13-0").out.splitlines()]
    assert len(rows) == 2 and rows[1][3] == "complete", rows
    assert "config" in lab.good(4, f"ctr -n k8s.io content get {rows[1][2]}").out
    lab.good(4, f"{images} rm r.example/etcd:1 k8s.gcr.io/etcd:3.4.13-0; rm /etc/standin/images-absent")
    assert "r.example" not in lab.good(4, f"{images} ls -q").out
    done = lab.run(4, f"{images} pull --no-such-flag r.example/etcd:1")
    assert done.status == 1 and "flag provided but not defined" in done.err, str(done)
    lab.good(4, "systemctl stop containerd")
    done = lab.run(4, "systemctl is-active containerd; crictl version")
    assert done.out == "inactive\n" and done.status == 1 and "connect endpoint" in done.err, str(done)
    lab.put(4, "/root/init.yml", init_document(address="192.168.56.14", node_ip="192.168.56.14"))
    done = lab.run(4, "kubeadm init --config /root/init.yml")
    assert done.status == 1 and "[ERROR CRI]: container runtime is not running" in done.err, str(done)
    lab.good(4, "systemctl restart containerd && crictl version")
    lab.put(4, "/etc/containerd/config.toml", 'disabled_plugins = ["cri"]\n')
    done = lab.run(4, "kubeadm init --config /root/init.yml")
    assert "unknown service runtime.v1alpha2.RuntimeService" in done.err, str(done)
    lab.good(4, "rm /etc/containerd/config.toml")


def test_preflight(lab):
    """Each cause alone, by its label, in the real one's frame."""
    lab.put(4, "/root/init.yml", init_document(address="192.168.56.14", node_ip="192.168.56.14"))
    run = "kubeadm init --config /root/init.yml"
    for cause, undo, words in (
        (
            "sysctl -qw net.ipv4.ip_forward=0",
            "sysctl -qw net.ipv4.ip_forward=1",
            "[ERROR FileContent--proc-sys-net-ipv4-ip_forward]: /proc/sys/net/ipv4/ip_forward contents are not set to 1",
        ),
        (
            "echo cpus=1 >> /etc/standin/settings",
            "sed -i /cpus/d /etc/standin/settings",
            "[ERROR NumCPU]: the number of available CPUs 1 is less than the required 2",
        ),
        (
            "echo memory-mib=1024 >> /etc/standin/settings",
            "sed -i /memory/d /etc/standin/settings",
            "[ERROR Mem]: the system RAM (1024 MB) is less than the minimum 1700 MB",
        ),
        (
            "mkdir -p /var/lib/etcd/member",
            "rm -r /var/lib/etcd",
            "[ERROR DirAvailable--var-lib-etcd]: /var/lib/etcd is not empty",
        ),
        (
            "mkdir -p /etc/kubernetes/manifests && touch /etc/kubernetes/manifests/etcd.yaml",
            "rm -r /etc/kubernetes",
            "[ERROR FileAvailable--etc-kubernetes-manifests-etcd.yaml]: /etc/kubernetes/manifests/etcd.yaml already exists",
        ),
        (
            "echo v1.22.0 > /etc/standin/kubelet-version",
            "rm /etc/standin/kubelet-version",
            "[ERROR KubeletVersion]: the kubelet version is higher than the control plane version",
        ),
        (
            "echo '*pause*' > /etc/standin/images-missing",
            "rm /etc/standin/images-missing",
            "[ERROR ImagePull]: failed to pull image k8s.gcr.io/pause:3.2",
        ),
        (
            "echo conntrack > /etc/standin/programs-missing",
            "rm /etc/standin/programs-missing",
            "[ERROR FileExisting-conntrack]: conntrack not found in system path",
        ),
    ):
        lab.run(4, cause)
        done = lab.run(4, run)
        lab.run(4, undo)
        assert done.status == 1 and words in done.err, f"{cause}: {done}"
        assert "error execution phase preflight: [preflight] Some fatal errors occurred:" in done.err, str(done)
        assert "--ignore-preflight-errors=..." in done.err
    holding = (
        "python3 -c \"import socket, subprocess, sys; s = socket.create_server(('', 10250)); "
        "sys.exit(subprocess.run(['kubeadm', 'init', '--config', '/root/init.yml']).returncode)\""
    )
    done = lab.run(4, holding)
    assert done.status == 1 and "[ERROR Port-10250]: Port 10250 is in use" in done.err, str(done)
    done = lab.run(
        4,
        "sysctl -qw net.ipv4.ip_forward=0; " + run + " --ignore-preflight-errors=all --skip-phases certs,kubeconfig,"
        "kubelet-start,control-plane,etcd,wait-control-plane,upload-config,mark-control-plane,bootstrap-token,addon; "
        "sysctl -qw net.ipv4.ip_forward=1",
    )
    assert "[WARNING FileContent--proc-sys-net-ipv4-ip_forward]" in done.err, str(done)


def test_host_name_that_does_not_resolve_is_a_warning(lab):
    lab.put(
        4,
        "/root/init.yml",
        init_document(address="192.168.56.14").replace("nodeRegistration:", "nodeRegistration:\n  name: elsewhere"),
    )
    done = lab.run(
        4, "sysctl -qw net.ipv4.ip_forward=0; kubeadm init --config /root/init.yml; sysctl -qw net.ipv4.ip_forward=1"
    )
    assert '[WARNING Hostname]: hostname "elsewhere" could not be reached' in done.err, str(done)


def test_not_root(lab):
    lab.run(4, "chmod go+x /root")  # where the checkout lies in there, nobody else could even start the program
    done = lab.run(4, "setpriv --reuid 65534 --clear-groups kubeadm init")
    assert done.status == 1 and "[ERROR IsPrivilegedUser]: user is not running as root" in done.err, str(done)


def test_no_cluster(lab):
    done = lab.run(4, "kubeadm token list")
    assert done.status == 1 and "failed to load admin kubeconfig" in done.err, str(done)
    done = lab.run(4, "kubectl get nodes")
    assert done.status == 1 and "The connection to the server localhost:8080 was refused" in done.err, str(done)
    done = lab.run(4, "kubectl --kubeconfig /nowhere get nodes")
    assert done.status == 1 and "stat /nowhere: no such file or directory" in done.err, str(done)
    done = lab.run(4, "kubelet")
    assert done.status == 1 and "failed to load Kubelet config file /var/lib/kubelet/config.yaml" in done.err, str(done)


def test_token_in_arguments(lab):
    lab.good(4, "touch /etc/standin/forbid-token-argv")
    for line in (
        f"kubeadm join 192.168.56.11:6443 --token {TOKEN} --discovery-token-unsafe-skip-ca-verification",
        f"kubeadm token create {TOKEN}",
    ):
        done = lab.run(4, line)
        assert done.status == 70 and "the token stands in the arguments" in done.err, str(done)
    lab.good(4, "rm /etc/standin/forbid-token-argv; grep -q abcdef /var/log/standin.log")


def test_run_log(lab):
    lab.good(4, "kubeadm version -o short")
    lines = [json.loads(line) for line in lab.good(4, "tail -n 2 /var/log/standin.log").out.splitlines()]
    assert lines[0]["run"] == "kubeadm" and lines[0]["argv"] == ["version", "-o", "short"], lines
    assert lines[1]["status"] == 0 and abs(float(lines[0]["t"]) - time.time()) < 60, lines
