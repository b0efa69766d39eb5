"""`kpeer why` names host and cause: faults seeded one after the other, and asked for on hosts that are well, too."""

import re
import signal
import time

from harness.agree import master_of, one_cluster, worker_of
from harness.hold import compiled
from harness.lab import KEY, SLACK, STATE, new_key, wait_until

CLOCK = "/etc/standin/clock.so"


def causes(host, *about):
    """What is named there, the cause first; and the whole answer."""
    done = host.kpeer("why", *about, "-o", "json", seconds=90)
    assert done.status in (0, 1), done
    told = done.json()
    assert (done.status == 0) == (told["cause"] is None and told["ready"]), done
    return [told["cause"], *told["also"]] if told["cause"] else [], done


def finds(host, kind, faulty, pattern, *about, seconds=40):
    """On `host`, the cause is of this kind, lies on `faulty` (a host, one of several, an address, or None: on nobody in
    particular), and is told in these words, with something to do about it."""
    end = time.monotonic() + seconds * SLACK
    if isinstance(faulty, str):
        who = {faulty}
    else:
        some = faulty if isinstance(faulty, list) else [faulty] if faulty else []
        who = {word for each in some for word in (each.name, each.address)}
    while True:
        found, done = causes(host, *about)
        if found and found[0]["kind"] == kind and re.search(pattern, found[0]["text"]):
            there = {each[key] for each in found[0]["hosts"] for key in ("name", "address")}
            assert found[0]["next"] and (who & there if who else not there), done
            return found[0]
        assert time.monotonic() < end, f"{kind} of {who}, {pattern!r} wanted in {done}"


def well(host):
    return host.kpeer("why", seconds=90).expect(0, f"{host.name} is ready$")


def stop(host):
    """Its agent ends; the next one starts as if nothing had been."""
    if host.agents():
        host.signal_agent(signal.SIGTERM)
    wait_until("its agent has ended", lambda: not host.agents(), 20)


def shut(host, rule):
    """A rule of the host's packet filter that nobody manages."""
    host.sh("nft add table inet shut && nft add chain inet shut input '{ type filter hook input priority 0; }' && "
            f"nft add rule inet shut input {rule} drop").expect(0)


def opened(host):
    host.sh("nft delete table inet shut").expect(0)


# --- a host that would join a cluster -------------------------------------------------------------------------------------


def late_host(trial):
    """A cluster of three and a fourth host: the master, a worker, the fourth."""
    lab = trial.lab(3)
    lab.form("--expect", "3")
    return lab, master_of(lab.hosts), worker_of(lab.hosts), lab.add()


def test_a_host_that_is_not_fit_to_join(trial):
    lab, master, worker, late = late_host(trial)
    late.kpeer("why").expect(1, f"^seen +no agent runs on {late.name}", "\ncause .*was not started", "\ntry +sudo kpeer up")
    well(worker)

    late.put(KEY, new_key() + "\n", 0o600)  # the cluster that stands minds nobody's other key
    late.up()
    finds(late, "key", late, "has another key than this one")
    well(master)
    stop(late)
    late.put(KEY, lab.key + "\n", 0o600)

    late.put("/etc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/dev/none9 partition\t1048572\t0\t-2\n")
    late.sh("mount --bind /etc/swaps /proc/swaps").expect(0)
    late.up()
    finds(worker, "preflight", late, "swap is on")
    finds(late, "swap", late, r"swap is on \(/dev/none9\)")
    late.sh("umount /proc/swaps").expect(0)
    stop(late)

    late.orders("systemctl-start containerd fail")
    late.sh("systemctl stop containerd")
    late.up()
    finds(master, "preflight", late, "no socket of containerd")
    finds(late, "runtime", late, "no socket of containerd")
    late.orders()
    late.sh("systemctl start containerd").expect(0)
    stop(late)

    late.put("/etc/standin/images-missing", "*pause*\n")
    late.up()
    finds(worker, "image", late, "images could not be had")
    shown = late.kpeer("why").expect(1, f"seen +{late.name} is not ready", "\ncause .*images could not be had", "\ntry ")
    trial.note(re.search("cause +(.*)", shown.out)[1])


def test_a_host_that_cannot_join(trial):
    lab, master, worker, late = late_host(trial)

    late.put("/etc/standin/kubernetes-version", "v1.21.0\n")
    late.up()
    finds(worker, "kubernetes", late, "Kubernetes v1.21.0")
    finds(late, "kubernetes", late, "Kubernetes v1.21.0")
    late.remove("/etc/standin/kubernetes-version")
    stop(late)

    late.orders("kubeadm-join start take=6")  # no token lives for as long
    reaper = master.start("sh", "-c", "while sleep 1; do kubeadm token list | awk -F. 'NR > 1 { print $1 }' | "
                                      "xargs -rn 1 kubeadm token delete; done")
    late.up()
    finds(master, "ticket", late, "could not find a JWS signature")
    stop(late)
    reaper.end()
    late.orders()

    shut(master, "iifname eth1 tcp dport 6443")
    late.up()
    wait_until("it joins", lambda: late.phase() == "joining", 60)
    finds(late, "port", master, "nobody reaches TCP 6443 of")
    finds(worker, "port", master, "nobody reaches TCP 6443 of")
    opened(master)
    stop(late)

    late.sh(f"mount -t tmpfs -o size=1m,mode=0755 none {STATE} && cat /dev/zero >{STATE}/filler 2>/dev/null")
    late.up().wait(60).expect(1)
    finds(late, "disk", late, "No space left on device")
    finds(worker, "absent", late, "was last heard")

    lab.tool("stop", master.name)
    finds(worker, "master", master, "the master, was last heard")


# --- hosts that would form one --------------------------------------------------------------------------------------------


def up(host, *flags, clock=0):
    """`kpeer up` of one of three; its clock may be off."""
    if not clock:
        return host.up("--expect", "3", *flags)
    host.path(CLOCK).parent.mkdir(parents=True, exist_ok=True)
    host.path(CLOCK).write_bytes(compiled("clock"))
    return host.start("env", f"LD_PRELOAD={CLOCK}", f"KPEER_TEST_CLOCK={clock}", "kpeer", "up", "--expect", "3", *flags)


def test_hosts_that_do_not_hear_each_other(trial):
    lab = trial.lab(3)
    first, second, odd = lab.hosts
    up(first)
    up(second)

    odd.put(KEY, new_key() + "\n", 0o600)
    up(odd)
    finds(odd, "key", odd, "has another key than this one")
    finds(first, "key", odd.address, f"the host at {odd.address} has another key")
    stop(odd)
    odd.put(KEY, lab.key + "\n", 0o600)

    shut(odd, "ip daddr 239.255.73.73")
    up(odd)
    finds(first, "multicast", odd.address, "does not arrive there")
    finds(odd, "multicast", odd, "does not arrive here")
    opened(odd)
    stop(odd)

    lab.tool("address", "--force", odd.name, second.address)
    up(odd)
    finds(first, "address", second.address, f"two hosts claim the address {second.address}")
    finds(odd, "address", second.address, f"two hosts claim the address {second.address}")


def test_a_group_that_cannot_found(trial):
    lab = trial.lab(3)
    first, second, odd = lab.hosts

    up(first)
    up(second)
    up(odd, clock=420)
    finds(first, "clock", odd, r"is 4(19|20) s ahead of the group")
    stop(odd)

    odd.put("/etc/machine-id", second.get("/etc/machine-id"))
    up(odd)
    finds(first, "machine-id", odd, "the same machine-id")


def test_a_majority_that_is_off(trial):
    lab = trial.lab(3)
    for host in lab.hosts:
        host.orders("kubeadm-init wait-control-plane hang")
        up(host)
    founder = wait_until("somebody founds", lambda: next((h for h in lab.hosts if h.obeyed("hang")), None), 60)
    one, other = (host for host in lab.hosts if host is not founder)
    lab.tool("stop", founder.name, other.name)
    finds(one, "quorum", founder, f"a majority of the 3 hosts that decide.*{other.name}")


def test_a_group_of_hosts_that_are_too_small(trial):
    lab = trial.lab(2, memory="1100M", cpus="1")
    for host in lab.hosts:
        host.up("--expect", "2")
    finds(lab.hosts[0], "group", lab.hosts, "no host here can be the master")  # it names one of the largest: both are
