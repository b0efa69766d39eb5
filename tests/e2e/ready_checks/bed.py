"""The test bed itself: bare hosts, their disks, their mirrors."""

from harness.tree import Tree, assert_same


def test_bare_host_and_its_mirrors(trial):
    lab = trial.bare(1, mirrors=True)
    host = lab.hosts[0]
    before = Tree(host.root)
    assert len(before.entries) > 5000, f"{len(before.entries)} files only"
    assert_same(before, Tree(host.root, before), "two looks")
    host.kpeer("version").expect(0)
    host.put("/etc/issue", "changed\n")
    found = list(Tree(host.root, before).differences(before))
    assert len(found) == 1 and found[0].startswith("/etc/issue: size "), found
    host.run("apt-get", "update").expect(0)
    assert any("/debian/dists/bookworm/InRelease" in line for line in lab.mirrors.requests()), lab.mirrors.requests()
    host.sh("apt-get install -s containerd").expect(0, "Inst runc")


def test_nothing_changes_by_itself(trial):
    lab = trial.bare(1, flaws=("swap", "docker", "sysctl"))
    host = lab.hosts[0]
    before = Tree(host.root)
    lab.power_cut(host)
    assert_same(before, Tree(host.root, before), "after a power cut")
