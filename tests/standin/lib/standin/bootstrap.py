"""Bootstrap tokens as the API server, the token signer and the certificate signer see them. Called with the store's lock held."""
import base64
import calendar
import hashlib
import hmac
import json
import re
import time

from standin import host

TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
TYPE = "bootstrap.kubernetes.io/token"


def der_value(der, at):
    """Where the contents of the DER value at a place begin and end."""
    length, at = der[at + 1], at + 2
    if length & 0x80:
        bytes_of_length = length & 0x7F
        length, at = int.from_bytes(der[at : at + bytes_of_length], "big"), at + bytes_of_length
    return at, at + length


def pin(pem):
    """kubeadm's hash of a CA certificate's public key: sha256:<hex>. Read here, since cryptography takes longer to import
    than all else that join does."""
    import ssl

    der = ssl.PEM_cert_to_DER_cert(pem)
    at, _ = der_value(der, der_value(der, 0)[0])
    # The key follows the serial number, the algorithm, the issuer, the time and the subject, and in front of all the version.
    for _ in range(6 if der[at] == 0xA0 else 5):
        at = der_value(der, at)[1]
    return "sha256:" + hashlib.sha256(der[at : der_value(der, at)[1]]).hexdigest()


def decoded(secret):
    """The fields of a token's Secret as text."""
    found = {}
    for name, value in (secret.get("data") or {}).items():
        try:
            found[name] = base64.b64decode(value, validate=True).decode()
        except ValueError:
            found[name] = ""
    return found


def expiry(fields):
    """When a token ends, in seconds since 1970; None for never, 0 for what is no time."""
    text = fields.get("expiration")
    if not text:
        return None
    try:
        zone = re.fullmatch(r"(.*?)(?:\.\d+)?(Z|[+-]\d\d:\d\d)", text)
        at = calendar.timegm(time.strptime(zone[1], "%Y-%m-%dT%H:%M:%S"))
        if zone[2] != "Z":
            hours, minutes = zone[2][1:].split(":")
            at -= (1 if zone[2][0] == "+" else -1) * (int(hours) * 3600 + int(minutes) * 60)
        return at
    except (ValueError, TypeError):
        return 0


def alive(fields):
    end = expiry(fields)
    return end is None or end > time.time()


def secret_of(store, token_id):
    """The fields of a token that is well-formed and has not ended; else None."""
    secret = store.get("Secret", "kube-system", "bootstrap-token-" + token_id)
    if secret is None or secret.get("type") != TYPE:
        return None
    fields = decoded(secret)
    return fields if fields.get("token-id") == token_id and alive(fields) else None


def groups_of(store, token):
    """The groups of a bearer token that may authenticate, or None."""
    match = TOKEN.fullmatch(token)
    fields = secret_of(store, match[1]) if match else None
    if not fields or not hmac.compare_digest(fields.get("token-secret", ""), match[2]):
        return None
    if fields.get("usage-bootstrap-authentication") != "true":
        return None
    extra = [
        each for each in fields.get("auth-extra-groups", "").split(",") if each.startswith("system:bootstrappers:")
    ]
    return ["system:bootstrappers", *extra, "system:authenticated"]


def plain(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def signature(text, token_id, secret):
    """A detached JWS over a text: header..signature, HMAC-SHA256 keyed with the token."""
    head = plain(json.dumps({"alg": "HS256", "kid": token_id}, separators=(",", ":")).encode())
    mark = hmac.new(secret.encode(), head + b"." + plain(text.encode()), hashlib.sha256).digest()
    return (head + b".." + plain(mark)).decode()


def token_of(token_id, fields):
    return f"{token_id}.{fields.get('token-secret', '')}"


def sign_tokens(store, after):
    """Puts the signatures of all live signing tokens into cluster-info and takes those of dead ones out; a token younger than
    `after` seconds waits. Whether there is one left to wait for."""
    info = store.get("ConfigMap", "kube-public", "cluster-info")
    if info is None:
        return False
    wanted, waiting = {}, False
    text = info["data"]["kubeconfig"]
    for secret in store.all("Secret", "kube-system"):
        if secret.get("type") != TYPE:
            continue
        fields = decoded(secret)
        if not alive(fields):
            store.drop("Secret", secret)
        elif fields.get("usage-bootstrap-signing") == "true":
            made = store.born.get(secret["metadata"]["uid"], 0)
            if time.monotonic() - made < after:
                waiting = True
                continue
            token_id = fields.get("token-id", "")
            wanted["jws-kubeconfig-" + token_id] = signature(text, token_id, token_of(token_id, fields))
    have = {name: value for name, value in info["data"].items() if name.startswith("jws-kubeconfig-")}
    if have != wanted:
        store.merge("ConfigMap", info, {"data": {**{name: None for name in have if name not in wanted}, **wanted}})
    return waiting


def sign_request(core, given, user, groups, refusal):
    """Checks, approves and signs a request for a node's client certificate at once, as the approver and signer would."""
    from standin import client, pki
    from cryptography.hazmat.primitives import serialization

    spec = given.get("spec") or {}
    try:
        made, common, organisations = pki.requested(base64.b64decode(spec.get("request") or "", validate=True).decode())
    except ValueError as error:
        raise refusal(422, f"CertificateSigningRequest is invalid: spec.request: Invalid value: {error}") from error
    if spec.get("signerName") != "kubernetes.io/kube-apiserver-client-kubelet":
        raise refusal(422, "spec.signerName: Unsupported value")
    fit = (
        organisations == ["system:nodes"]
        and common.startswith("system:node:")
        and ("system:bootstrappers:kubeadm:default-node-token" in groups or user == common)
    )
    given["spec"].update(username=user, groups=groups)
    if not fit:
        given["status"] = {}
        return
    ca, key = core.signer()
    cert = pki.issue(ca, key, made.subject, made.public_key(), "client")
    pem = cert.public_bytes(serialization.Encoding.PEM).decode()
    given["status"] = {
        "certificate": client.encoded(pem),
        "conditions": [
            {
                "type": "Approved",
                "status": "True",
                "reason": "AutoApproved",
                "message": "Auto approving kubelet client certificate after SubjectAccessReview.",
                "lastUpdateTime": host.stamp(),
            }
        ],
    }
