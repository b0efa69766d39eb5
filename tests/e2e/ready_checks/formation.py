"""Three bare hosts become a real cluster by `kpeer up` alone, and bare hosts again by `kpeer leave`."""

import json
import os
from concurrent.futures import ThreadPoolExecutor

from harness.lab import wait_until
from harness.tree import Tree, assert_same

from .host import CONFIG, FLAWS

CACHE = os.environ.get("KPEER_CACHE") or "/var/cache/kpeer-lab"
IMAGES = "/opt/images"
WEB = "docker.io/kpeer/web:1"
UP_SECONDS = 420
POD = """apiVersion: v1
kind: Pod
metadata: {{name: web-{name}}}
spec:
  nodeName: {name}
  terminationGracePeriodSeconds: 1
  containers:
  - {{name: web, image: "{image}", imagePullPolicy: Never, ports: [{{containerPort: 80}}]}}
"""


def master_of(lab):
    names = [member["name"] for member in lab.hosts[0].members()["members"] if member["role"] == "master"]
    assert len(names) == 1, f"masters: {names}"
    return next(host for host in lab.hosts if host.name == names[0])


def kubectl(host, *words):
    """With its cache where nothing stays: what this test leaves behind is not kpeer's."""
    return host.kubectl("--cache-dir", "/tmp/kubectl-cache", *words)


def assert_nodes(master, hosts):
    """Each host a Node, Ready, under its host-only address, of the wanted version."""
    nodes = json.loads(kubectl(master, "get", "nodes", "-o", "json").expect(0).out)["items"]
    told = {}
    for node in nodes:
        addresses = {each["type"]: each["address"] for each in node["status"]["addresses"]}
        ready = [each["status"] for each in node["status"]["conditions"] if each["type"] == "Ready"]
        info = node["status"]["nodeInfo"]
        told[node["metadata"]["name"]] = (addresses.get("InternalIP"), ready, info["kubeletVersion"], info["systemUUID"])
    wanted = {host.name: (host.address, ["True"], "v1.20.2", host.get("/sys/class/dmi/id/product_uuid").strip())
              for host in hosts}
    assert told == wanted, f"Nodes {told}, not {wanted}"


def answer(host, address):
    """What a web server answers, asked without any program that a bare host lacks."""
    return host.run("bash", "-c", f"exec 3<>/dev/tcp/{address}/80 && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3",
                    seconds=10).out


def assert_pods_answer(master, hosts):
    """A pod on each worker answers each other host."""
    workers = [host for host in hosts if host is not master]
    for host in workers:
        host.run("ctr", "-n", "k8s.io", "images", "import", f"{IMAGES}/web.tar").expect(0)
        master.put("/tmp/pod.yml", POD.format(name=host.name, image=WEB))
        kubectl(master, "apply", "-f", "/tmp/pod.yml").expect(0)
    for host in workers:
        def address(name=f"web-{host.name}"):
            return kubectl(master, "get", "pod", name, "-o", "jsonpath={.status.podIP}").out.strip()

        where = wait_until(f"an address of the pod on {host.name}", address, 60)
        for other in hosts:
            if other is not host:
                wait_until(f"{other.name} hears the pod on {host.name}",
                           lambda other=other: f"web-{host.name}" in answer(other, where), 60)


def test_bare_hosts_become_a_cluster_and_bare_again(trial):
    lab = trial.bare(3, flaws=FLAWS, mirrors=True, bind=f"{CACHE}/images:{IMAGES}",
                     config=f"{CONFIG}images:\n  archives: {IMAGES}\n")
    before = {host.name: Tree(host.root) for host in lab.hosts}
    done = lab.form(seconds=UP_SECONDS)
    trial.note(f"kpeer up on three bare hosts: {max(each.seconds for each in done):.1f} s")
    master = master_of(lab)
    assert_nodes(master, lab.hosts)
    assert_pods_answer(master, lab.hosts)

    workers = [host for host in lab.hosts if host is not master]
    for host in workers:
        done = host.kpeer("leave", seconds=180).expect(0)
        trial.note(f"kpeer leave on a worker: {done.seconds:.1f} s")
    assert_nodes(master, [master])
    master.kpeer("leave", "--force", seconds=180).expect(0)
    with ThreadPoolExecutor(3) as pool:
        after = list(pool.map(lambda host: Tree(host.root, before[host.name]), lab.hosts))
    for host, tree in zip(lab.hosts, after, strict=True):
        assert_same(before[host.name], tree, f"{host.name} after kpeer leave")
