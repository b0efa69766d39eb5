"""The founder dies at each of its persisted writes (of its promises, the record, its keys, the executor's journal), and in
each phase of kubeadm init."""

import signal

from harness.agree import all_ready, one_cluster
from harness.hold import Hold

from .cuts import FLAGS, begin
from .founding import founder_at


def kill_agent(host):
    host.signal_agent(signal.SIGKILL)


def kill_executor(host):
    host.signal(host.executor(), signal.SIGKILL)


def cut_power(host):
    host.lab.tool("stop", host.name)
    host.lab.tool("start", host.name)
    host.lab.refresh()


def kind(at):
    """The agent's promises and record, which come in one order; the root side's journal and keys; and the list of members,
    which is written some seconds after a change of it."""
    return "root" if at.root else "members" if at.name == "members" else "agent"


def dies_at(lab, wanted_kind, number, fault):
    """One formation in which node1 founds and meets its fault at the `number`th hold of that kind. Returns where that was,
    or None when it was ready before, and all holds."""
    founder, others = lab.hosts[0], lab.hosts[1:]
    with Hold(founder) as hold:
        def wanted(at):
            return kind(at) == wanted_kind and sum(kind(each) == wanted_kind for each in hold.seen) == number

        job, at = begin(founder, hold, wanted)
        jobs = [job] + [host.up(*FLAGS) for host in others]
        at = at or hold.reach(wanted, but=lambda: wanted_kind != "members" and not job.running())
        if at:
            fault(founder)
        hold.release()
    if at:
        jobs[0].wait(60)
        jobs[0] = founder.up("--role", "master", *FLAGS)
    for job in jobs:
        job.wait(110).expect(0)
    all_ready(lab.hosts)
    one_cluster(lab.hosts)
    return at, hold.seen


def dies_at_each(trial, first, fault):
    """Every third write of the agent, and every third of the root side, before or after its rename by turns, so that the
    three faults together meet all writes; with --thorough each fault meets each write, before and after."""
    lab, met, holds = trial.lab(3), [], {"agent": 1000, "members": 2, "root": 1000}
    for each_kind in holds:
        turn = 0
        while True:
            number = turn + 1 if trial.options.thorough else 2 * (first + 3 * turn) + 1 + turn % 2
            if number > holds[each_kind]:
                break
            if met:
                lab.fresh()
            try:
                at, seen = dies_at(lab, each_kind, number, fault)
            except AssertionError as error:
                raise AssertionError(f"{each_kind}, hold {number}: {error}") from None
            if not at:  # a whole formation went by: so many there are
                holds["root"] = min(holds["root"], sum(kind(each) == "root" for each in seen))
                break
            met.append(at.name)
            turn += 1
    assert {"promises", "journal"} <= set(met), met
    trial.note(f"{len(met)} writes: {' '.join(f'{name}:{met.count(name)}' for name in dict.fromkeys(met))}")


def test_the_founders_agent_is_killed_at_its_writes(trial):
    dies_at_each(trial, 0, kill_agent)


def test_the_founders_executor_is_killed_at_its_writes(trial):
    dies_at_each(trial, 1, kill_executor)


def test_the_founder_loses_its_power_at_its_writes(trial):
    dies_at_each(trial, 2, cut_power)


def dies_in_phases(trial, fault, *phases):
    """The others found anew; the one that died undoes what it had begun, and joins."""
    lab = trial.lab(3)
    for number, (command, phase) in enumerate(phases):
        if number:
            lab.fresh()
        for host in lab.hosts:
            host.orders(f"{command} {phase} hang once")
        jobs = {host.name: host.up(*FLAGS) for host in lab.hosts}
        founder = founder_at(lab, "hang")
        fault(founder)
        jobs[founder.name].wait(60)
        founder.orders()
        jobs[founder.name] = founder.up(*FLAGS)
        try:
            for job in jobs.values():
                job.wait(110).expect(0)
            all_ready(lab.hosts)
            one_cluster(lab.hosts)
            assert founder.ran("kubeadm reset"), "the half was not undone"
        except AssertionError as error:
            raise AssertionError(f"{founder.name} in {command} {phase}: {error}") from None


def test_the_founders_agent_is_killed_in_phases_of_init(trial):
    dies_in_phases(trial, kill_agent, ("kubeadm-init", "preflight"), ("kubeadm-init", "etcd"), ("kubeadm-init", "addon"))


def test_the_founders_executor_is_killed_in_phases_of_init(trial):
    dies_in_phases(trial, kill_executor, ("kubeadm-init", "certs"), ("kubeadm-init", "upload-config"),
                   ("kubectl-apply", "start"))  # fmt: skip


def test_the_founder_loses_its_power_in_phases_of_init(trial):
    dies_in_phases(trial, cut_power, ("kubeadm-init", "kubelet-start"), ("kubeadm-init", "control-plane"),
                   ("kubeadm-init", "bootstrap-token"))  # fmt: skip
