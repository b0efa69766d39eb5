"""Founding and joining that go wrong in the middle: one cluster in the end, and nothing hangs."""

import contextlib
import signal

from harness.agree import all_ready, one_cluster, worker_of
from harness.lab import SLACK, wait_until


def founder_at(lab, word, seconds=60):
    """Waits until a host's init has come to its order, takes the orders away from the others, and returns it."""
    host = wait_until("a founder meets its order", lambda: next((h for h in lab.hosts if h.obeyed(word)), None), seconds)
    for other in lab.hosts:
        if other is not host:
            other.orders()
    return host


def begin(lab, *orders, seconds=120):
    """Orders on all hosts, since nobody knows who will be elected; then `kpeer up` on all."""
    for host in lab.hosts:
        host.orders(*orders)
    return {host.name: host.up("--expect", str(len(lab.hosts)), "--timeout", f"{seconds * SLACK}s") for host in lab.hosts}


def end(lab, jobs, seconds=130, but=None):
    for host in lab.hosts:
        if host is not but:
            jobs[host.name].wait(seconds).expect(0)
    all_ready(lab.hosts)
    return one_cluster(lab.hosts)


def kinds(host):
    return [event["event"] for event in host.events()]


def fails_once(trial, phase):
    lab = trial.lab(3)
    jobs = begin(lab, f"kubeadm-init {phase} fail once")
    host = founder_at(lab, "fail")
    record, _ = end(lab, jobs)
    assert "step-failed" in kinds(host), "the failure was not told"
    trial.note(f"{host.name} failed in {phase}, {record['founder_name']} founded")


def test_init_fails_once_early(trial):
    fails_once(trial, "certs")


def test_init_fails_once_in_the_middle(trial):
    fails_once(trial, "wait-control-plane")


def test_init_fails_once_at_the_end(trial):
    fails_once(trial, "addon")


def test_init_fails_always_everywhere(trial):
    """Clear words within the time, no cluster; and when it is mended, `kpeer up` goes on."""
    lab = trial.lab(3)
    jobs = begin(lab, "kubeadm-init control-plane fail", seconds=15)
    done = [job.wait(60) for job in jobs.values()]
    for each in done:
        assert each.status in (1, 4), each
    tried = [host for host in lab.hosts if "step-failed" in kinds(host)]
    assert tried, "nobody founded"
    for host in tried:
        host.kpeer("status").expect(1, "kubeadm init ended with status 1")
    assert not any(host.cluster() for host in lab.hosts)
    for host in lab.hosts:
        host.orders()
    lab.form("--expect", "3")
    one_cluster(lab.hosts)


def test_join_fails_once(trial):
    lab = trial.lab(3)
    jobs = begin(lab, "kubeadm-join tls-bootstrap fail once")
    for host in lab.hosts:
        jobs[host.name].wait(130)  # `up` may end with the failure, while the agent tries again
    all_ready(lab.hosts)
    one_cluster(lab.hosts)
    assert "step-failed" in kinds(worker_of(lab.hosts))


def test_apply_of_the_pod_network_fails_once(trial):
    lab = trial.lab(3)
    jobs = begin(lab, "kubectl-apply start fail once")
    end(lab, jobs)


def test_kubeadm_is_killed_in_the_middle_of_init(trial):
    lab = trial.lab(3)
    jobs = begin(lab, "kubeadm-init control-plane kill once")
    founder_at(lab, "kill")
    end(lab, jobs)


def hanging_founder(trial):
    """A group whose founder hangs in the middle of init."""
    lab = trial.lab(3)
    jobs = begin(lab, "kubeadm-init wait-control-plane hang")
    return lab, jobs, founder_at(lab, "hang")


def back_again(lab, jobs, founder):
    """The others have formed without the first founder; it comes back, cleans up and joins."""
    others = [host for host in lab.hosts if host is not founder]
    for host in others:
        jobs[host.name].wait(130).expect(0)
    record, master = one_cluster(others)
    founder.orders()
    founder.kpeer("up", "--expect", "3", "--timeout", "270s", seconds=100).expect(0, "worker")
    assert one_cluster(lab.hosts) == (record, master), "its return changed the cluster"
    assert founder.ran("kubeadm reset"), "it did not undo its half"


def test_founder_is_killed_in_the_middle_of_init(trial):
    lab, jobs, founder = hanging_founder(trial)
    founder.signal_agent(signal.SIGKILL, everything=True)
    jobs[founder.name].wait(30)
    wait_until("what it ran is gone too", lambda: not founder.running("kubeadm"), 20)
    back_again(lab, jobs, founder)


def test_only_the_founders_agent_is_killed_in_the_middle_of_init(trial):
    """The root side notices that its agent is gone, and ends what runs."""
    lab, jobs, founder = hanging_founder(trial)
    founder.signal_agent(signal.SIGKILL)
    jobs[founder.name].wait(30)
    wait_until("the executor and what it ran are gone", lambda: not founder.agents() and not founder.running("kubeadm"), 20)
    back_again(lab, jobs, founder)


def test_founder_loses_its_power_in_the_middle_of_init(trial):
    lab, jobs, founder = hanging_founder(trial)
    lab.tool("stop", founder.name)
    others = [host for host in lab.hosts if host is not founder]
    for host in others:
        jobs[host.name].wait(130).expect(0)
    record, master = one_cluster(others)
    founder_disk = founder.disk / "upper/etc/standin/orders"
    founder_disk.write_text("")
    lab.tool("start", founder.name)
    lab.refresh()
    founder.kpeer("up", "--expect", "3", "--timeout", "270s", seconds=100).expect(0, "worker")
    assert one_cluster(lab.hosts) == (record, master), "its return changed the cluster"
    assert founder.ran("kubeadm reset"), "it did not undo its half"


def stopped_founder(trial, take, everything):
    """The founder's agent stands still in the middle of init for longer than its lease, then goes on."""
    lab = trial.lab(3)
    jobs = begin(lab, f"kubeadm-init wait-control-plane take={take}")
    founder = founder_at(lab, "take")
    founder.signal_agent(signal.SIGSTOP, everything)
    others = [host for host in lab.hosts if host is not founder]
    try:
        for host in others:
            jobs[host.name].wait(130).expect(0)
        record, master = one_cluster(others)
    finally:
        with contextlib.suppress(AssertionError):
            founder.signal_agent(signal.SIGCONT, everything)
    founder.orders()
    all_ready(lab.hosts)
    assert one_cluster(lab.hosts) == (record, master), "its return changed the cluster"
    assert founder.ran("kubeadm reset"), "it did not undo its half"
    assert "lease-lost" in kinds(founder), "it was not told that the lease was lost"
    jobs[founder.name].wait(60)


def test_founder_stands_still_while_its_init_goes_on(trial):
    """Init ends while the agent stands still: what it built can no longer be committed."""
    stopped_founder(trial, 2, False)


def test_founder_stands_still_and_its_init_lasts_longer(trial):
    stopped_founder(trial, 40, False)


def test_founder_and_executor_stand_still(trial):
    stopped_founder(trial, 40, True)


def test_founder_is_cut_off_in_the_middle_of_init(trial):
    lab, jobs, founder = hanging_founder(trial)
    lab.tool("cut", founder.name)
    others = [host for host in lab.hosts if host is not founder]
    for host in others:
        jobs[host.name].wait(130).expect(0)
    record, master = one_cluster(others)
    wait_until("the lonely founder steps back", lambda: "lease-lost" in kinds(founder), 60)
    wait_until("and ends its init", lambda: not founder.running("kubeadm"), 60)
    founder.orders()
    lab.tool("heal")
    all_ready(lab.hosts)
    assert one_cluster(lab.hosts) == (record, master), "its return changed the cluster"
    assert founder.ran("kubeadm reset"), "it did not undo its half"
