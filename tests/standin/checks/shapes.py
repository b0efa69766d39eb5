"""Objects for the API: what kubectl apply checks before it sends anything."""
import os
import sys

from checks.lab import STANDIN, flannel_document

sys.path.insert(0, str(STANDIN / "lib"))

from standin import host, jsonpath, kubectl_apply, schema, validate  # noqa: E402

# what is replaced in the Flannel manifest, with what, words of the error with kubectl 1.20, words with 1.28
BAD = (
    (
        "hostNetwork: true",
        "hostnetwork: true",
        'unknown field "hostnetwork" in io.k8s.api.core.v1.PodSpec',
        'strict decoding error: unknown field "spec.template.spec.hostnetwork"',
    ),
    (
        "hostNetwork: true",
        'hostNetwork: "true"',
        'got "string", expected "boolean"',
        "cannot unmarshal string into Go struct field",
    ),
    (
        "selector: {matchLabels: {app: flannel}}",
        "minReadySeconds: 1",
        'ValidationError(DaemonSet.spec): missing required field "selector"',
        "spec.selector: Required value",
    ),
    ('verbs: ["get"]', 'verb: ["get"]', 'unknown field "verb"', 'unknown field "rules.verb"'),
    (
        "apiVersion: apps/v1",
        "apiVersion: extensions/v1beta1",
        'no matches for kind "DaemonSet" in version "extensions/v1beta1"',
        "resource mapping not found for name",
    ),
    ("kind: DaemonSet", "kind: Daemonset", 'no matches for kind "Daemonset"', 'no matches for kind "Daemonset"'),
    ("kind: DaemonSet\n", "", "kind not set", "kind not set"),
    (
        "metadata: {name: flannel, namespace: kube-system}",
        "metadata: {namespace: kube-system}",
        "resource name may not be empty",
        "resource name may not be empty",
    ),
    ("command: [cp]", "command: cp", 'got "string", expected "array"', "cannot unmarshal string"),
    ("app: flannel}}", "app: 1}}", "", ""),
)


def words_for(text, version):
    os.environ["STANDIN_KUBERNETES_VERSION"] = version
    try:
        for document in schema.documents(text, host.Failure):
            kubectl_apply.check("STDIN", document)
    except host.Failure as failure:
        return str(failure)
    return ""


def test_good_manifest():
    for version in ("v1.20.2", "v1.28.0"):
        assert words_for(flannel_document(), version) == ""


def test_bad_manifests():
    for old, new, early, late in BAD:
        text = flannel_document()
        assert old in text, old
        for version, words in (("v1.20.2", early), ("v1.28.0", late)):
            got = words_for(text.replace(old, new, 1), version)
            assert got and words in got, f"{new!r} with {version}: {got!r}"


def test_old_kinds_go_away():
    policy = "apiVersion: policy/v1beta1\nkind: PodSecurityPolicy\nmetadata: {name: psp}\nspec: {privileged: false}\n"
    assert words_for(policy, "v1.20.2") == ""
    assert 'no matches for kind "PodSecurityPolicy"' in words_for(policy, "v1.25.0")
    role = "apiVersion: rbac.authorization.k8s.io/v1beta1\nkind: ClusterRole\nmetadata: {name: r}\nrules: []\n"
    assert words_for(role, "v1.20.2") == ""
    assert "no matches for kind" in words_for(role, "v1.22.0")


def test_server_side_rules():
    document = next(each for each in schema.documents(flannel_document(), host.Failure) if each["kind"] == "DaemonSet")
    validate.validate(document, "DaemonSet", None)
    for change, words in (
        (lambda d: d["spec"]["selector"]["matchLabels"].update(app="x"), "`selector` does not match template `labels`"),
        (lambda d: d["spec"]["template"]["spec"].update(volumes=[]), 'volumeMounts[0].name: Not found: "cni"'),
        (lambda d: d["metadata"].update(name="Kube_Flannel"), "metadata.name: Invalid value"),
        (
            lambda d: d["spec"]["template"]["spec"].update(tolerations=[{"effect": "Never", "operator": "Exists"}]),
            "tolerations[0].effect: Unsupported value",
        ),
        (lambda d: d["spec"]["template"]["spec"]["containers"][0].pop("image"), "containers[0].image: Required value"),
    ):
        broken = next(
            each for each in schema.documents(flannel_document(), host.Failure) if each["kind"] == "DaemonSet"
        )
        change(broken)
        try:
            validate.validate(broken, "DaemonSet", None)
        except validate.Invalid as invalid:
            assert words in str(invalid), invalid
        else:
            raise AssertionError(f"nothing was said of: {words}")


def test_jsonpath():
    value = {
        "items": [
            {"n": "a", "c": [{"t": "Ready", "s": "True"}, {"t": "Disk", "s": "False"}], "m": {"x.y/z": 1}},
            {"n": "b", "c": []},
        ]
    }
    for template, wanted in (
        ("{.items[*].n}", "a b"),
        ('{.items[?(@.n=="b")].n}', "b"),
        ('{range .items[*]}{.n}{"\\t"}{.c[?(@.t=="Ready")].s}{"\\n"}{end}', "a\tTrue\nb\t\n"),
        ("{.items[0].m.x\\.y/z}", "1"),
        ("{.items[-1].n}", "b"),
        ("{..t}", "Ready Disk"),
        (".items[0].n", "a"),
        ("{.nothing}", ""),
        ("{.items[0].c[0]}", '{"t":"Ready","s":"True"}'),
    ):
        got = jsonpath.render(template, value)
        assert got == wanted, f"{template}: {got!r}"
    for template in ("{.items[}", "{.items"):
        try:
            jsonpath.render(template, value)
        except host.Failure:
            continue
        raise AssertionError(template)
