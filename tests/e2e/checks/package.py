"""The package where there is no systemd: an upgrade starts the agent again, which `kpeer up` had started."""

from harness.agree import all_ready, master_of
from harness.package import assert_upgrades, bring


FORCE = ("--force-depends",)  # light hosts have all of it, and a dpkg that knows of nothing


def test_an_upgrade_loses_nobody(trial):
    lab = trial.lab(3)
    for host in lab.hosts:
        host.remove("/usr/bin/kpeer")
        host.run("dpkg", "-i", *FORCE, bring(host, "7.0"), seconds=120).expect(0)
        host.put("/etc/kpeer/other name.yaml", "expect: 3\n")
    lab.form("--config", "/etc/kpeer/other name.yaml")
    all_ready(lab.hosts)
    assert_upgrades(trial, lab.hosts, master_of(lab.hosts), "7.1", FORCE)
    for host in lab.hosts:
        host.kpeer("up").expect(0, "all is well")
