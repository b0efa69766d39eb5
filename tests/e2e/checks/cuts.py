"""The power of all hosts, and the network between them, is cut in each phase of a formation."""

import re

from harness.agree import all_ready, one_cluster, record_of
from harness.hold import Hold
from harness.lab import wait_until

FLAGS = ("--expect", "3", "--timeout", "300s")


def promise(after, **wanted):
    """A hold before or after the first write of promises that are like this."""
    def check(at):
        found = at.promises()
        return found is not None and at.after == after and all(bool(found[key]) is value for key, value in wanted.items())

    return check


def record(after):
    return lambda at: at.name == "cluster" and at.after == after


# Where the founder stands when it happens: it is held there, so that the phase cannot pass.
SETTLING = promise(False, bound=True)
BOUND = promise(True, bound=True, constituted=False)
CONSTITUTED = promise(True, constituted=True)
VOTING = promise(False, voted=True)
VOTED = promise(True, voted=True)
FOUNDING = promise(True, founding=True)
PROPOSING = promise(False, accepted=True)
PROPOSED = promise(True, accepted=True)
COMMITTING = record(False)
COMMITTED = record(True)


def start(lab, hold, *others):
    """`kpeer up` on all, with these flags on all but node1, which founds and is held at its writes."""
    first, _ = begin(lab.hosts[0], hold)
    return [first] + [host.up(*others, *FLAGS) for host in lab.hosts[1:]]


def begin(founder, hold, wanted=lambda at: False):
    """Starts the founder and leads it until its checks are green, so that it is the best to stand when the others come;
    or until `wanted(at)`. Returns the job, and where it is held, if so."""
    job = hold.up("--role", "master", *FLAGS)
    return job, hold.reach(wanted, but=lambda: "step-finished preflight" in "\n".join(founder.log_tail(100)))


def inits(lab):
    return sum(host.ran("kubeadm init") for host in lab.hosts)


def again(lab):
    """`kpeer up` on all, as after a power cut; all must be one cluster."""
    jobs = [host.up(*(("--role", "master") if host is lab.hosts[0] else ()), *FLAGS) for host in lab.hosts]
    for job in jobs:
        job.wait(110).expect(0)
    all_ready(lab.hosts)
    return one_cluster(lab.hosts)


# --- power --------------------------------------------------------------------------------------------------------------


def all_off_at(lab, where):
    with Hold(lab.hosts[0]) as hold:
        start(lab, hold)
        hold.reach(where)
        lab.power_off()
    lab.power_on()
    return again(lab)


def all_off_in_order(lab, order):
    """The same while a stand-in obeys an order that lets it hang."""
    for host in lab.hosts:
        host.orders(order)
        host.up(*FLAGS)
    wait_until("a host meets the order", lambda: any(host.obeyed(order.rpartition(" ")[2]) for host in lab.hosts), 60)
    lab.power_off()
    for host in lab.hosts:
        (host.disk / "upper/etc/standin/orders").write_text("")
    lab.power_on()
    return again(lab)


def each_in_turn(lab, check, points):
    for number, (name, point) in enumerate(points.items()):
        if number:
            lab.heal()
            lab.fresh()
        try:
            check(lab, point)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from None


def test_all_hosts_lose_their_power_before_anybody_founds(trial):
    each_in_turn(trial.lab(3), all_off_at, {"settling": SETTLING, "bound": BOUND, "constituted": CONSTITUTED,
                                            "electing": VOTED})  # fmt: skip


def test_all_hosts_lose_their_power_while_one_founds(trial):
    lab = trial.lab(3)
    all_off_in_order(lab, "kubeadm-init wait-control-plane hang")
    assert inits(lab) == 2 and sum(host.ran("kubeadm reset") for host in lab.hosts) >= 1, "the half was not undone"
    lab.fresh()
    all_off_at(lab, PROPOSED)
    assert inits(lab) == 1, "what was proposed was founded again"


def test_all_hosts_lose_their_power_after_the_decision(trial):
    lab = trial.lab(3)
    all_off_at(lab, COMMITTED)
    assert inits(lab) == 1, "what was decided was founded again"
    lab.fresh()
    all_off_in_order(lab, "kubeadm-join tls-bootstrap hang")
    assert inits(lab) == 1, "what was decided was founded again"


def test_a_majority_is_lost_for_good_before_the_decision(trial):
    """The one that is left says what it waits for and the way out, and the way out works."""
    lab = trial.lab(3)
    left, lost = lab.hosts[2], lab.hosts[:2]
    with Hold(lab.hosts[0]) as hold:
        start(lab, hold)
        hold.reach(VOTED)
        wait_until("all are bound", lambda: left.status()["election"]["constituted"], 20)
        lab.tool("wipe", *(host.name for host in lost))
    wait_until("it is noticed", lambda: re.search("a majority of the 3 hosts that decide: 1 of them is here; not heard: "
                                                       "(node1, node2|node2, node1)", left.status()["waiting"]), 60)  # fmt: skip
    left.kpeer("status").expect(1, "waiting +a majority", "try .*kpeer leave --force")
    for host in lost:
        lab.tool("start", host.name)
    lab.refresh()
    for host in lost:
        lab.furnish(host)
    jobs = [host.up(*FLAGS) for host in lost]
    for host in lost:
        wait_until("they are told", lambda h=host: h.phase() and "the 3 hosts that decide already" in h.status()["waiting"], 30)
    left.kpeer("leave", "--force", seconds=60).expect(0)
    for job in (*jobs, left.up(*FLAGS)):
        job.wait(110).expect(0)
    one_cluster(lab.hosts)


# --- network ------------------------------------------------------------------------------------------------------------


def constituted(hosts):
    """Who has not heard yet that all are bound when another is cut off settles anew, and rightly so."""
    wait_until("all know that the set is whole", lambda: all(host.status()["election"]["constituted"] for host in hosts), 20)


def founder_alone(lab, where):
    """The founder is cut off there. The others found; it undoes its part and joins them."""
    founder, others = lab.hosts[0], lab.hosts[1:]
    with Hold(founder) as hold:
        jobs = start(lab, hold)
        hold.reach(where)
        constituted(others)
        lab.cut(founder)
    for job in jobs[1:]:
        job.wait(110).expect(0)
    decided, master = one_cluster(others)
    assert founder.cluster() is None, "a minority decided"
    lab.heal()
    all_ready(lab.hosts)
    assert one_cluster(lab.hosts) == (decided, master), "healing changed the cluster"
    jobs[0].wait(30)


def founder_and_one(lab, where):
    """The founder has a majority still: it goes on with it, and the third one joins when it is back. The others are
    workers: one that is held for longer than a few seconds counts as failed, and another would found in its place."""
    founder, third = lab.hosts[0], lab.hosts[2]
    with Hold(founder) as hold:
        jobs = start(lab, hold, "--role", "worker")
        hold.reach(where)
        constituted(lab.hosts[1:])
        lab.cut(third)
    for job in jobs[:2]:
        job.wait(110).expect(0)
    decided, master = one_cluster(lab.hosts[:2])
    assert master is founder and third.cluster() in (None, decided), third.cluster()
    lab.heal()
    jobs[2].wait(110).expect(0)
    assert one_cluster(lab.hosts) == (decided, master), "healing changed the cluster"
    assert inits(lab) == 1


def test_the_founder_is_cut_off_around_the_vote(trial):
    each_in_turn(trial.lab(3), founder_alone, {"before the vote": CONSTITUTED, "during": VOTING, "after": VOTED})


def test_the_founder_is_cut_off_around_the_proposal(trial):
    each_in_turn(trial.lab(3), founder_alone, {"before the proposal": PROPOSING, "before it is told": PROPOSED})


def test_the_founder_is_cut_off_with_a_majority_around_the_vote(trial):
    each_in_turn(trial.lab(3), founder_and_one, {"before the vote": CONSTITUTED, "during": VOTING, "after": VOTED})


def test_the_founder_is_cut_off_with_a_majority_around_the_decision(trial):
    each_in_turn(trial.lab(3), founder_and_one, {"before the proposal": PROPOSING, "before it is told": PROPOSED,
                                                 "before the record": COMMITTING, "after it": COMMITTED})  # fmt: skip


def test_the_founder_is_cut_off_while_the_others_accept(trial):
    """What a majority has accepted is carried forward by the next leader, and nobody founds again."""
    lab = trial.lab(3)
    founder, others = lab.hosts[0], lab.hosts[1:]
    with Hold(others[0]) as one, Hold(others[1]) as two:
        jobs = [founder.up("--role", "master", *FLAGS)] + [hold.up(*FLAGS) for hold in (one, two)]
        stand_at(PROPOSING, one, two)
        lab.cut(founder)
    wait_until("the others decide without the founder", lambda: all(host.cluster() for host in others), 60)
    decided = record_of(others)
    assert decided["founder_name"] == founder.name and founder.cluster() is None
    lab.heal()
    for job in jobs:
        job.wait(110).expect(0)
    assert one_cluster(lab.hosts) == (decided, founder)
    assert inits(lab) == 1, "what was accepted was founded again"


def stand_at(where, *holds):
    """Leads several held hosts on, by turns, until each stands there."""
    left = {hold: None for hold in holds}
    def step():
        for hold in list(left):
            at = hold.look()
            if at and where(at):
                del left[hold]
            elif at:
                hold.go()
        return not left

    wait_until("all stand at their write", step, 60)
