"""What must hold of every formed group, whatever happened on the way."""

from .lab import wait_until


def record_of(hosts):
    """The one record that all these hosts hold."""
    records = [host.cluster() for host in hosts]
    assert all(records), f"a host without a record: {records}"
    assert all(record == records[0] for record in records), f"not one record: {records}"
    return records[0]


def all_ready(hosts, seconds=90):
    """Waits until every host calls itself ready; tells which one did not."""
    phases = {}

    def check():
        for host in hosts:
            if phases.get(host.name) != "ready":
                phases[host.name] = host.phase()
        return all(phases[host.name] == "ready" for host in hosts)

    try:
        wait_until("all hosts ready", check, seconds)
    except AssertionError:
        told = {host.name: host.kpeer("status").text for host in hosts if phases[host.name] != "ready"}
        raise AssertionError(f"not all ready within {seconds} s: {phases}\n" + "\n".join(told.values())) from None


def one_cluster(hosts):
    """One record on all, one master, and one control plane alone: on the disks, and in the API's own nodes."""
    record = record_of(hosts)
    masters = {member["name"] for host in hosts for member in host.members()["members"] if member["role"] == "master"}
    assert masters == {record["founder_name"]}, f"master(s) {masters}, founder {record['founder_name']}"
    planes = [host for host in hosts if host.has("/etc/kubernetes/manifests/kube-apiserver.yaml")]
    assert [host.address for host in planes] == [record["endpoint"].rpartition(":")[0]], (
        f"control planes on {[host.name for host in planes]}, the record says {record['endpoint']}"
    )
    nodes = nodes_of(planes[0])
    assert len(nodes) == len(hosts), f"{len(hosts)} Nodes wanted: {nodes}"
    assert all(ready for ready, _ in nodes.values()), f"not all Nodes are Ready: {nodes}"
    addresses = {address for _, address in nodes.values()}
    assert addresses == {host.address for host in hosts}, f"other addresses: {nodes}"
    return record, planes[0]


def nodes_of(master):
    """Name of each Node: whether it is Ready, and its InternalIP."""
    found = {}
    for node in master.kubectl("get", "nodes", "-o", "json").expect(0).json()["items"]:
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", []))
        addresses = [a["address"] for a in node["status"].get("addresses", []) if a["type"] == "InternalIP"]
        found[node["metadata"]["name"]] = (ready, addresses[0] if addresses else None)
    return found


def master_of(hosts):
    address = record_of(hosts)["endpoint"].rpartition(":")[0]
    return next(host for host in hosts if host.address == address)


def worker_of(hosts):
    master = master_of(hosts)
    return next(host for host in hosts if host is not master)
