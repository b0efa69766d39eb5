"""Faults on order."""
import time

from checks.lab import Lab


def order(lab, number, text):
    lab.put(number, "/etc/standin/orders", text)


def test_fail_in_each_phase_of_init(lab):
    for phase in (
        "preflight",
        "certs",
        "kubeconfig",
        "kubelet-start",
        "etcd",
        "wait-control-plane",
        "upload-config",
        "mark-control-plane",
        "bootstrap-token",
        "addons",
    ):
        lab.clean(1)
        order(lab, 1, f"kubeadm-init {phase} fail once\n")
        done = lab.init()
        name = phase.removesuffix("s") if phase == "addons" else phase
        assert done.status == 1 and f"error execution phase {name}: failed by order" in done.err, f"{phase}: {done}"
        lab.good(1, "kubeadm reset -f && rm -rf /var/lib/etcd")
        done = lab.init()
        assert done.status == 0, f"after {phase}: {done}"


def test_join_orders(lab):
    lab.cluster()
    for phase in ("preflight", "kubelet-start", "tls-bootstrap"):
        order(lab, 2, f"kubeadm-join {phase} fail once\n")
        done = lab.join(2)
        assert done.status == 1 and "failed by order" in done.err, f"{phase}: {done}"
        lab.kubectl("delete node node2 --ignore-not-found")
        lab.good(2, "kubeadm reset -f")
        assert lab.join(2).status == 0
        lab.kubectl("delete node node2")
        lab.good(2, "kubeadm reset -f")


def test_hang_take_kill_skip_rubbish(lab):
    lab.clean()
    order(lab, 1, "kubeadm-init certs hang\n")
    done = lab.init(more="& p=$!; sleep 0.7; kill -0 $p && kill -9 $p && echo was-hanging")
    assert "was-hanging" in done.out, str(done)
    order(lab, 1, "kubeadm-version start take=0.5 once\n")
    begin = time.monotonic()
    lab.good(1, "kubeadm version")
    assert time.monotonic() - begin > 0.5
    order(lab, 1, "kubeadm-init kubeconfig kill\n")
    done = lab.init()
    assert done.status == 137, str(done)
    order(lab, 1, "kubeadm-init start skip\n")
    lab.run(1, "kubeadm reset -f; rm -rf /var/lib/etcd")
    done = lab.init()
    assert done.status == 0 and lab.run(1, "test -e /etc/kubernetes/admin.conf").status == 1, str(done)
    order(lab, 1, "kubeadm-version start rubbish=long once\nkubeadm-token * rubbish=binary\n")
    assert len(lab.good(1, "kubeadm version").out) > 4 << 20
    assert "\ufffd" in lab.run(1, "kubeadm token list").out
    order(lab, 1, "kubeadm-version start rubbish=endless\n")
    assert lab.run(1, "kubeadm version | head -c 100000 | wc -c").out.strip() == "100000"
    order(lab, 1, "kubeadm-version start dance\n")
    done = lab.run(1, "kubeadm version")
    assert done.status == 70 and "not an order" in done.err, str(done)
    order(lab, 1, "systemctl-start kubelet fail\nkubectl-get start fail\n")
    assert "failed because the control process exited" in lab.run(1, "systemctl start kubelet").err
    assert lab.run(1, "kubectl get nodes").status == 1
    order(lab, 1, "")


def test_reset_asks(lab):
    lab.clean()
    done = lab.run(1, "kubeadm reset", "n\n")
    assert done.status == 1 and "Are you sure you want to proceed? [y/N]" in done.out, str(done)
    assert lab.run(1, "kubeadm reset", "y\n").status == 0


def test_formation_is_quick(lab):
    """With the settings as shipped: init about a second, join well under one."""
    lab.clean()
    for number in (1, 2):
        lab.good(number, "rm /etc/standin/settings")
    begin = time.monotonic()
    assert lab.init().status == 0
    middle = time.monotonic()
    assert lab.join(2, timeout="10s").status == 0
    end = time.monotonic()
    print(f"  init {middle - begin:.2f} s, join {end - middle:.2f} s")
    for number in (1, 2):
        Lab.ready(lab, number)
    assert middle - begin < 6 and end - middle < 4
