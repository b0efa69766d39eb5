"""X.509 for the stand-in cluster: the CA, certificates signed by it, requests and kubeconfigs. Imports cryptography, so
only those import this who need it."""
import datetime
import ipaddress
import os

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from standin import client, host

BACKDATED = datetime.timedelta(minutes=5)
YEAR = datetime.timedelta(days=365)
USES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}


def new_key():
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    ).decode()


def cert_pem(cert):
    return cert.public_bytes(serialization.Encoding.PEM).decode()


def subject(common, groups=()):
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        + [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    )


def builder(name, issuer, public, years):
    now = datetime.datetime.utcnow()
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + years * YEAR)
    )


def key_usage(ca):
    return x509.KeyUsage(True, False, True, False, False, ca, False, False, False)


def new_ca(common="kubernetes"):
    key = new_key()
    name = subject(common)
    cert = (
        builder(name, name, key.public_key(), 10)
        .add_extension(key_usage(True), True)
        .add_extension(x509.BasicConstraints(True, None), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .sign(key, hashes.SHA256())
    )
    return cert, key


def issue(ca, ca_key, name, public, use, names=()):
    """Signs one certificate; names are its DNS names and addresses."""
    made = builder(name, ca.subject, public, 1).add_extension(key_usage(False), True)
    made = made.add_extension(x509.BasicConstraints(False, None), True)
    made = made.add_extension(x509.ExtendedKeyUsage([USES[use]]), False)
    made = made.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), False)
    if names:
        made = made.add_extension(x509.SubjectAlternativeName([general_name(each) for each in names]), False)
    return made.sign(ca_key, hashes.SHA256())


def general_name(text):
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def load_ca(folder):
    """(certificate, key) of a pki folder, checked: a CA, valid now, and its own key."""
    try:
        cert = x509.load_pem_x509_certificate(host.read(folder + "/ca.crt").encode())
    except ValueError as error:
        raise host.Failure(
            f"failure loading ca certificate: couldn't load the certificate file {folder}/ca.crt: error reading "
            f"{folder}/ca.crt: data does not contain any valid RSA or ECDSA certificates"
        ) from error
    try:
        key = serialization.load_pem_private_key(host.read(folder + "/ca.key").encode(), None)
    except ValueError as error:
        raise host.Failure(
            f"failure loading ca key: couldn't load the private key file {folder}/ca.key: error reading "
            f"private key file {folder}/ca.key: data does not contain a valid RSA or ECDSA private key"
        ) from error
    now = datetime.datetime.utcnow()
    if now < cert.not_valid_before:
        raise host.Failure("failure loading ca certificate: the certificate is not valid yet")
    if now > cert.not_valid_after:
        raise host.Failure("failure loading ca certificate: the certificate has expired")
    try:
        is_ca = cert.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_ca = False
    if not is_ca:
        raise host.Failure("failure loading ca certificate: the certificate is not a CA")
    if public_bytes(cert.public_key()) != public_bytes(key.public_key()):
        raise host.Failure("failure loading ca certificate: tls: private key does not match public key")
    return cert, key


def public_bytes(public):
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def public_pem(key):
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def signed_by(pem, ca):
    """Whether a CA's key signed this certificate, as far as its identifier tells."""
    cert = x509.load_pem_x509_certificate(pem.encode())
    mine = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.public_key())
    try:
        return (
            cert.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
            == mine.key_identifier
        )
    except x509.ExtensionNotFound:
        return False


def request(common, groups):
    """(key, request) in PEM for a client certificate."""
    key = new_key()
    made = x509.CertificateSigningRequestBuilder().subject_name(subject(common, groups)).sign(key, hashes.SHA256())
    return key_pem(key), made.public_bytes(serialization.Encoding.PEM).decode()


def requested(pem):
    """(request, common name, organisations) of a request whose signature holds; ValueError otherwise."""
    made = x509.load_pem_x509_csr(pem.encode())
    if not made.is_signature_valid:
        raise ValueError("the signature of the request does not hold")
    part = {
        oid: [each.value for each in made.subject.get_attributes_for_oid(oid)]
        for oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME)
    }
    return made, "".join(part[NameOID.COMMON_NAME][:1]), part[NameOID.ORGANIZATION_NAME]


def put_pair(folder, name, cert, key):
    host.write(f"{folder}/{name}.crt", cert_pem(cert))
    host.write(f"{folder}/{name}.key", key_pem(key), 0o600)


def client_kubeconfig(ca, ca_key, server, user, groups):
    key = new_key()
    cert = issue(ca, ca_key, subject(user, groups), key.public_key(), "client")
    return client.kubeconfig(
        server,
        cert_pem(ca),
        user,
        {"client-certificate-data": client.encoded(cert_pem(cert)), "client-key-data": client.encoded(key_pem(key))},
    )


def exists(folder, name):
    return os.path.exists(f"{folder}/{name}.crt"), os.path.exists(f"{folder}/{name}.key")
