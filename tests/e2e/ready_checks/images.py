"""Images on full hosts with a real containerd: from a registry in the lab, from archives, interrupted, swapped."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

from harness.full import CACHE, CONFIG, CTR, Registry
from harness.lab import Skip, wait_until

PREFIX = "google_containers"
FLANNEL = ("docker.io/flannel/flannel:v0.22.3", "docker.io/flannel/flannel-cni-plugin:v1.2.0")
PAUSE, ETCD, COREDNS = "k8s.gcr.io/pause:3.2", "k8s.gcr.io/etcd:3.4.13-0", "k8s.gcr.io/coredns:1.7.0"
APISERVER = "k8s.gcr.io/kube-apiserver:v1.20.2"


def configure(host, **images):
    """kpeer's configuration: JSON is YAML."""
    host.put(CONFIG, json.dumps({"images": images}))


def listed(host, *flags):
    return host.kpeer("images", "list", *flags, "-o", "json").expect(0).json()["images"]


def names(host):
    """The names of all images in the runtime; those that CRI adds, by id and digest, left out."""
    found = host.run(*CTR, "images", "ls", "-q").expect(0).out.split()
    return {name for name in found if not name.startswith("sha256:") and "@" not in name}


def drop(host, *which):
    """Removes images, and what only they had, from the runtime."""
    rows = [line.split() for line in host.run(*CTR, "images", "ls").expect(0).out.splitlines()[1:]]
    gone = {row[2] for row in rows if row[0] in which}
    doomed = [row[0] for row in rows if not which or row[2] in gone]
    host.run(*CTR, "images", "rm", "--sync", *doomed, seconds=60).expect(0)


def unwhole(host):
    """Names of images of which a part is missing."""
    rows = host.run(*CTR, "images", "check").expect(0).out.splitlines()[1:]
    return [row.split()[0] for row in rows if row.split()[3] != "complete"]


def mirror_path(image):
    """Where the mirror has an image: Kubernetes' own flat, Flannel's in a folder of its own."""
    last = image.rpartition("/")[2]
    return f"{PREFIX}/flannel/{last}" if image in FLANNEL else f"{PREFIX}/{last}"


def stage(trial, **options):
    """A host without any image, and a registry on another one with all of them in a mirror's layout."""
    lab = trial.full(2, **options)
    host, other = lab.hosts
    wanted = [each["image"] for each in listed(host)]
    assert len(wanted) == 9 and set(wanted) <= names(host), wanted
    registry = Registry(other)
    for image in wanted:
        registry.push(image, mirror_path(image))
    known = listed(host)
    drop(host)
    assert not names(host), names(host)
    configure(host, mirror=f"{registry.address}/{PREFIX}", insecure=True)
    return host, registry, known


def test_a_mirror_gives_what_misses(trial):
    host, registry, known = stage(trial)
    wanted = {each["image"] for each in known}
    assert not any(each["here"] for each in listed(host))
    began = time.monotonic()
    done = host.kpeer("images", "pull", seconds=180).expect(0, "9 of 9: ")
    trial.note(f"9 images in {time.monotonic() - began:.1f} s")
    assert names(host) == wanted, f"other names than wanted: {names(host) ^ wanted}: {done}"
    assert [each["id"] for each in listed(host)] == [each["id"] for each in known], "ids changed on the way"
    assert PAUSE.partition(":")[0] in host.run("crictl", "images").expect(0).out
    asked = registry.requests("/blobs/")
    assert asked > 9, "the registry was not asked"
    began = time.monotonic()
    again = host.kpeer("images", "pull", "-o", "json").expect(0).json()
    trial.note(f"again {time.monotonic() - began:.2f} s")
    assert {each["result"] for each in again["images"]} == {"here"}, again
    assert registry.requests("/blobs/") == asked and registry.requests("/manifests/") > 0
    workers = {each["image"] for each in listed(host, "--worker")}
    assert len(workers) == 5 and workers < wanted and {PAUSE, *FLANNEL} < workers, workers


def test_another_digest_is_refused_and_not_left(trial):
    host, registry, known = stage(trial)
    right = {each["image"]: each["digest"] if at % 2 else each["id"] for at, each in enumerate(known)}
    wrong = right | {PAUSE: f"sha256:{'0' * 64}"}
    where = f"{registry.address}/{PREFIX}"
    configure(host, mirror=where, insecure=True, digests="/etc/kpeer/digests", retries=1)
    host.put("/etc/kpeer/digests", "".join(f"{image} {digest}\n" for image, digest in wrong.items()))
    error = host.kpeer("images", "pull", "-o", "json", seconds=180).expect(1).error()
    assert f"1 of 9 images could not be had: {PAUSE} from {where}/pause:3.2" in error["message"], error
    assert "not the image wanted" in error["message"] and "images.mirror" in error["hint"], error
    assert names(host) == set(right) - {PAUSE}, names(host)
    host.put("/etc/kpeer/digests", "".join(f"{image} {digest}\n" for image, digest in right.items()))
    host.kpeer("images", "pull").expect(0, "9 of 9: ")
    # The mirror now has another image under this name.
    drop(host, COREDNS)
    registry.push(PAUSE, f"{PREFIX}/{COREDNS.rpartition('/')[2]}")
    host.kpeer("images", "pull").expect(1, "not the image wanted")
    assert names(host) == set(right) - {COREDNS}, names(host)
    # One that is here and wrong goes, and the right one takes its place.
    host.run(*CTR, "images", "tag", "--force", PAUSE, ETCD).expect(0)
    host.kpeer("images", "pull").expect(1, "etcd:3.4.13-0 is here but it is not the image wanted", "coredns")
    found = {each["image"]: each["id"] for each in listed(host)}
    assert found[ETCD] == next(each["id"] for each in known if each["image"] == ETCD), found


def interrupt(host, registry, job, at, strike):
    """Strikes in the middle of a download, which the registry then holds still, and tells what was here."""
    wait_until(f"{at} are here", lambda: f"{at} of 9: " in job.text() or not job.running(), 120)
    registry.signal(signal.SIGSTOP)
    try:
        mine = [pid for pid in host.pids() if os.path.basename(host.arguments(pid)[0]) == "kpeer"]
        assert job.running() and mine, f"nothing was left to be interrupted:\n{job.text()}"
        strike(mine)
        done = job.wait(30)
        wait_until("no pull is left", lambda: not any("pull" in host.arguments(pid) for pid in host.pids()), 20)
        assert not unwhole(host), unwhole(host)
        return done
    finally:
        registry.signal(signal.SIGCONT)


def test_an_interrupted_pull_goes_on(trial):
    host, registry, known = stage(trial)
    wanted = {each["image"] for each in known}
    job = host.start("kpeer", "images", "pull")
    done = interrupt(host, registry, job, 2, lambda pids: os.kill(min(pids), signal.SIGINT))
    assert done.status == 1 and re.search("stopped|canceled|interrupt", done.err), done
    first = names(host) & wanted
    job = host.start("kpeer", "images", "pull")
    done = interrupt(host, registry, job, 5, lambda pids: [os.kill(pid, signal.SIGKILL) for pid in pids])
    second = names(host) & wanted
    assert done.status not in (0, 1) and first <= second, f"{first} {second} {done}"
    trial.note(f"{len(first)} of 9 were here when it was stopped, {len(second)} when it was killed")
    done = host.kpeer("images", "pull", "-o", "json", seconds=180).expect(0).json()
    assert {each["image"] for each in done["images"] if each["result"] == "here"} >= second, done
    assert any(each["result"] == "pulled" for each in done["images"]), done
    assert names(host) == wanted, f"left over: {names(host) ^ wanted}"
    assert not unwhole(host) and [each["id"] for each in listed(host)] == [each["id"] for each in known]


def test_a_registry_that_comes_back_is_asked_again(trial):
    host, registry, known = stage(trial)
    where = f"{registry.address}/{PREFIX}"
    configure(host, mirror=where, insecure=True, retries=20, parallel=2)
    job = host.start("kpeer", "images", "pull")
    wait_until("one is here", lambda: "1 of 9: " in job.text() or not job.running(), 120)
    registry.kill()
    wait_until("it tells that it tries again", lambda: "again in" in job.text() or not job.running(), 60)
    assert job.running(), job.text()
    assert not unwhole(host), unwhole(host)
    registry.start()
    done = job.wait(180).expect(0, "9 of 9: ")
    assert names(host) == {each["image"] for each in known}, done
    drop(host, APISERVER)
    registry.kill()
    configure(host, mirror=where, insecure=True, retries=1)
    error = host.kpeer("images", "pull", "-o", "json").expect(1).error()
    assert APISERVER in error["message"] and where in error["message"] and "refused" in error["message"], error
    assert error["hint"] and APISERVER not in names(host), error


def authority(folder, address):
    """An authority of the test's own, and a certificate of the registry's by it: (authority, certificate, key)."""
    made = [f"{folder}/{name}" for name in ("ca.crt", "ca.key", "registry.csr", "registry.key", "registry.crt", "ext")]
    ca, ca_key, request, key, certificate, ext = made
    with open(ext, "w", encoding="ascii") as file:
        file.write(f"subjectAltName=IP:{address}\n")
    new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes"]
    for words in (
        [*new, "-x509", "-subj", "/CN=lab authority", "-days", "2", "-keyout", ca_key, "-out", ca],
        [*new, "-subj", f"/CN={address}", "-keyout", key, "-out", request],
        ["openssl", "x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "2",
         "-extfile", ext, "-out", certificate],
    ):
        subprocess.run(words, check=True, capture_output=True, timeout=60)
    return ca, certificate, key


def test_tls_with_and_without_its_authority(trial):
    host, plain, known = stage(trial)
    with tempfile.TemporaryDirectory(prefix="kpeer-ca-") as folder:
        ca, certificate, key = authority(folder, plain.host.address)
        for path, name in ((certificate, "/etc/registry.crt"), (key, "/etc/registry.key")):
            plain.host.put(name, open(path, encoding="ascii").read(), 0o600)
        host.put("/etc/kpeer/ca.crt", open(ca, encoding="ascii").read())
    tls = Registry(plain.host, 5443, ("/etc/registry.crt", "/etc/registry.key"))
    configure(host, mirror=f"{tls.address}/{PREFIX}", retries=0)
    error = host.kpeer("images", "pull", "--worker", "-o", "json", seconds=120).expect(1).error()
    assert "5 of 5" in error["message"] and "x509" in error["message"] and "images.ca" in error["hint"], error
    configure(host, mirror=f"{plain.address}/{PREFIX}", retries=0)
    error = host.kpeer("images", "pull", "--worker", "-o", "json", seconds=120).expect(1).error()
    assert "images.insecure" in error["hint"], error
    assert not names(host), names(host)
    configure(host, mirror=f"{tls.address}/{PREFIX}", ca="/etc/kpeer/ca.crt")
    host.kpeer("images", "pull", "--worker", seconds=120).expect(0, "5 of 5: ")
    assert names(host) == {each["image"] for each in known if each["worker"]}, names(host)
    configure(host, second=f"{tls.address}/{PREFIX}", ca="/etc/kpeer/ca.crt")
    host.kpeer("images", "verify", "--worker").expect(0)


def test_archives_without_any_registry(trial):
    lab = trial.full(1, bind=f"{CACHE}/images:/srv/images")
    host = lab.hosts[0]
    known = listed(host)
    drop(host)
    configure(host, archives="/srv/images", retries=0)
    began = time.monotonic()
    done = host.kpeer("images", "pull", "-o", "json", seconds=180).expect(0).json()
    trial.note(f"9 archives in {time.monotonic() - began:.1f} s")
    assert {each["result"] for each in done["images"]} == {"imported"}, done
    assert names(host) == {each["image"] for each in known}, f"what is not needed was taken in too: {names(host)}"
    assert [each["id"] for each in listed(host)] == [each["id"] for each in known]
    assert not unwhole(host), unwhole(host)
    # An archive that is none does no harm while another source has the image; without one it is named.
    drop(host, PAUSE)
    host.put("/srv/own/a-broken.tar", "this is no archive\n")
    configure(host, archives="/srv/own", retries=0)
    host.kpeer("images", "pull", seconds=60).expect(1, "a-broken.tar", "pause:3.2")
    exported = host.run(*CTR, "images", "export", "/srv/own/etcd.tar", ETCD)
    assert exported.status == 0, exported
    drop(host, ETCD)
    host.sh("cp /srv/images/pause.tar /srv/own/").expect(0)
    host.kpeer("images", "pull", seconds=60).expect(0, "a-broken.tar")
    assert names(host) == {each["image"] for each in known}, names(host)


def test_mirrors_of_the_runtimes_own_are_used(trial):
    """What ctr does not know: mirrors in containerd's configuration, through which the kubelet pulls."""
    host, registry, known = stage(trial)
    for each in known:
        if each["worker"]:
            registry.push(each["image"], each["image"].partition("/")[2])
    config = host.get("/etc/containerd/config.toml")
    mirrors = '  [plugins."io.containerd.grpc.v1.cri".registry.mirrors]\n' + "".join(
        f'    [plugins."io.containerd.grpc.v1.cri".registry.mirrors."{name}"]\n      endpoint = ["http://{registry.address}"]\n'
        for name in ("k8s.gcr.io", "docker.io"))
    host.put("/etc/containerd/config.toml", config + mirrors)
    host.run("systemctl", "restart", "containerd").expect(0)
    wait_until("containerd answers", lambda: host.run("crictl", "version").status == 0, 30)
    host.remove(CONFIG)
    host.kpeer("images", "pull", "--worker", seconds=240).expect(0, "5 of 5: ")
    assert names(host) == {each["image"] for each in known if each["worker"]}, names(host)


def verdicts(done):
    return {each["image"]: each["verdict"] for each in done.json()["images"]}


def test_verify_tells_what_differs_and_what_misses(trial):
    host, registry, known = stage(trial, bind=f"{CACHE}/images:/srv/images")
    where = f"{registry.address}/{PREFIX}"
    host.kpeer("images", "pull", seconds=180).expect(0)
    sources = {"registry": where, "archives": "/srv/images", "file": "/etc/kpeer/known"}
    host.put("/etc/kpeer/known", "".join(f"{each['image']} {each['id']}\n" for each in known))
    configure(host, insecure=True)
    host.kpeer("images", "verify").expect(2, "images.second")
    for second in sources.values():
        configure(host, second=second, insecure=True)
        done = host.kpeer("images", "verify", "-o", "json").expect(0)
        assert set(verdicts(done).values()) == {"same"} and len(verdicts(done)) == 9, done
    host.run(*CTR, "images", "tag", "--force", COREDNS, PAUSE).expect(0)  # one swapped for another
    drop(host, ETCD)
    ids = {each["image"]: each["id"] for each in known}
    for word, second in sources.items():
        configure(host, second=second, insecure=True)
        done = host.kpeer("images", "verify", "-o", "json").expect(1)
        found = verdicts(done)
        assert found.pop(PAUSE) == "different" and found.pop(ETCD) == "missing", f"{word}: {done}"
        assert set(found.values()) == {"same"}, f"{word}: {done}"
        row = next(each for each in done.json()["images"] if each["image"] == PAUSE)
        assert row["id"] == ids[COREDNS], f"{word}: {row}"
        assert word == "file" or row["second_id"] == ids[PAUSE], f"{word}: {row}"
        host.kpeer("images", "verify").expect(1, r"pause:3\.2 .* different", r"etcd:3\.4\.13-0 .* missing", r"same")
    # A second source that does not have it, and one that is not there.
    host.put("/etc/kpeer/known", f"{COREDNS} {ids[COREDNS]}\n")
    done = host.kpeer("images", "verify", "-o", "json").expect(1)
    assert [image for image, word in verdicts(done).items() if word == "same"] == [COREDNS], done
    registry.kill()
    configure(host, second=where, insecure=True)
    host.kpeer("images", "verify").expect(1, where, "refused")


def start_docker(host, registry):
    """Debian's dockerd on the host's containerd; from the package in the cache, without its network."""
    packages = sorted(CACHE.glob("debs/debian/pool/docker.io_*.deb"))
    if not packages:
        raise Skip(f"no package docker.io in {CACHE}/debs: run tests/lab/full/build")
    with tempfile.TemporaryDirectory(prefix="kpeer-docker-") as folder:
        subprocess.run(["dpkg-deb", "-x", packages[0], folder], check=True, timeout=120)
        for program in ("bin/docker", "sbin/dockerd"):
            shutil.copy(f"{folder}/usr/{program}", host.path(f"/usr/{program}"))
    job = host.start("dockerd", "--containerd", "/run/containerd/containerd.sock", "--iptables=false", "--bridge=none",
                     "--storage-driver", "vfs", "--insecure-registry", registry.address)
    wait_until("docker answers", lambda: host.run("docker", "version").status == 0 or not job.running(), 60)
    assert job.running(), job.text()


def test_docker_as_the_runtime(trial):
    host, registry, known = stage(trial, bind=f"{CACHE}/images:/srv/images")
    start_docker(host, registry)
    where = f"{registry.address}/{PREFIX}"
    ids = {each["image"]: each["id"] for each in known if each["worker"]}

    def tags():
        found = host.run("docker", "images", "--format", "{{.Repository}}:{{.Tag}}").expect(0).out.split()
        return {name if "." in name.partition("/")[0] else f"docker.io/{name}" for name in found}
    configure(host, mirror=where, second=where)
    host.kpeer("images", "pull", "--worker", seconds=180).expect(0, "5 of 5: ")
    assert tags() == set(ids), tags()
    assert {each["image"]: each["id"] for each in listed(host, "--worker")} == ids
    again = host.kpeer("images", "pull", "--worker", "-o", "json").expect(0).json()
    assert {each["result"] for each in again["images"]} == {"here"}, again
    host.kpeer("images", "verify", "--worker", seconds=120).expect(0)
    host.run("docker", "tag", COREDNS, PAUSE).expect(0)
    done = host.kpeer("images", "verify", "--worker", "-o", "json", seconds=120).expect(1)
    assert {image for image, word in verdicts(done).items() if word != "same"} == {PAUSE}, done
    host.put("/etc/kpeer/digests", f"{PAUSE} sha256:{'0' * 64}\n")
    configure(host, mirror=where, digests="/etc/kpeer/digests")
    host.kpeer("images", "pull", "--worker", seconds=180).expect(1, "not the image wanted")
    assert tags() == set(ids) - {PAUSE}, tags()
    configure(host, archives="/srv/images")
    done = host.kpeer("images", "pull", "--worker", "-o", "json", seconds=120).expect(0).json()
    assert [each["result"] for each in done["images"] if each["image"] == PAUSE] == ["imported"], done
    assert {each["image"]: each["id"] for each in listed(host, "--worker")} == ids
