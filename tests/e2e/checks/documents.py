"""The shell blocks of README and tutorial that say that they are run, typed on hosts where there is nothing yet."""

import re

from harness.agree import all_ready, master_of, nodes_of, worker_of
from harness.document import block, furnish, invite, lines, play, play_on_all
from harness.lab import KEY, wait_until

VERSION = "v1.23.3"  # the tutorial's


def raise_hosts(trial, count):
    lab = trial.lab(count, keys=False)
    for host in lab.hosts:
        furnish(host)
    return lab


def has_keys(hosts):
    texts = {host.get(KEY) for host in hosts if host.has(KEY)}
    return len(texts) == 1 and all(host.has(KEY) for host in hosts)


def test_readme_three_commands(trial):
    """In the tool's own words: "on one host; copy /etc/kpeer/group.key to the others", "on each of the three", …"""
    lab = raise_hosts(trial, 3)
    first, *others = lab.hosts
    generate, up, kubeconfig = lines("three commands")
    play(lab, first, generate)
    for host in others:
        host.put(KEY, first.get(KEY), 0o600)
    play_on_all(lab.hosts, up)
    all_ready(lab.hosts)
    play(lab, others[0], kubeconfig)
    shown = play(lab, others[0], re.search(r"then: (.+)", block("three commands"))[1]).out
    assert all(host.name in shown for host in lab.hosts), shown


def test_readme_step_by_step(trial):
    lab = raise_hosts(trial, 3)
    first, second, third = lab.hosts
    generate, copy = lines("key")
    play(lab, first, generate)
    play(lab, first, copy, HOST=second.name)
    assert has_keys([first, second])
    up, = lines("up")
    play_on_all([first, second], up)
    invite(lab, first, third, *lines("invitation"))
    assert has_keys(lab.hosts)
    all_ready(lab.hosts)
    shown = play(lab, third, block("afterwards")).out
    assert all(shown.count(host.name) >= 2 for host in lab.hosts), shown


def test_tutorial(trial):
    """As it is told: the short way, and on what stands then, what a person does in kpeer's place."""
    lab = raise_hosts(trial, 4)
    *three, fourth = lab.hosts
    for host in lab.hosts:
        host.put("/etc/standin/kubernetes-version", f"{VERSION}\n")
        host.put("/etc/kpeer/kpeer.yaml", f"expect: 3\nkubernetes: {VERSION[1:]}\npod_cidr: 10.10.0.0/16\n")
        host.remove("/etc/standin/forbid-token-argv")  # by hand it is there for all to see
    text = block("tutorial key")
    for host, address in zip(three[1:], ("192.168.10.211", "192.168.10.212"), strict=True):
        assert text.count(address) == 1, text
        text = text.replace(address, host.address)
    play(lab, three[0], text)
    assert has_keys(three)
    three[2].put("/etc/standin/images-absent", "*\n")
    play(lab, three[2], block("tutorial images"))
    images = three[2].run("ctr", "-n", "k8s.io", "images", "ls", "-q").out
    assert f"k8s.gcr.io/kube-proxy:{VERSION}" in images and "aliyuncs" not in images, images
    play_on_all(three, block("tutorial up"))
    master, worker = master_of(three), worker_of(three)

    play(lab, master, block("tutorial kubeconfig"))
    console = next(host for host in three if host not in (master, worker))
    play(lab, console, block("tutorial console"), **{"192.168.10.210": master.address})
    play(lab, console, block("tutorial verify"))
    by_hand(lab, master, console, worker)

    invite(lab, master, fourth, *lines("tutorial invitation"))
    wait_until("the fourth is a Node", lambda: fourth.name in nodes_of(master), 30)


def by_hand(lab, master, console, worker):
    """A worker goes, and comes again on the line that `token create` prints."""
    drain, delete, *reset = lines("tutorial leaving")
    play(lab, console, drain, worker2=worker.name)
    play(lab, console, delete, worker2=worker.name)
    assert worker.name not in nodes_of(master)
    play(lab, worker, "\n".join(reset))
    printed = play(lab, master, block("tutorial token")).out
    found = re.search(r"kubeadm join (\S+) --token (\S+) +--discovery-token-ca-cert-hash sha256:(\w+)", printed)
    assert found, printed
    endpoint, token, ca_hash = found.groups()
    play(lab, worker, block("tutorial join"), HASH=ca_hash, TOKEN=token, **{"192.168.10.210:6443": endpoint})
    wait_until("the worker is a Node again", lambda: worker.name in nodes_of(master), 30)
