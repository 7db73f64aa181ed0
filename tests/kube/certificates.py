"""A certificate authority of the test's own, and the keys that an API server needs."""

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOUR = datetime.timedelta(hours=1)


def write_key(path, key):
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM,
                                       serialization.PrivateFormat.PKCS8,
                                       serialization.NoEncryption()))
    path.chmod(0o600)


def write_key_pair(folder, name):
    """name.key and name.pub, as the signer of ServiceAccounts' tokens wants them."""
    key = ec.generate_private_key(ec.SECP256R1())
    write_key(folder / f"{name}.key", key)
    (folder / f"{name}.pub").write_bytes(key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))


def subject(common_name, organisation=None):
    names = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organisation:
        names.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    return x509.Name(names)


def alternative_names(names):
    found = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return x509.SubjectAlternativeName(found)


class Authority:
    """Signs certificates; its own is `name`.crt in the folder."""

    def __init__(self, folder, name="ca"):
        self.folder, self.certificate = folder, folder / f"{name}.crt"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = subject(f"podwire tests {name}")
        own = self._begin(self._name, self._key, -HOUR, 24 * HOUR).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.certificate.write_bytes(self._sign(own))

    def issue(self, name, common_name, organisation=None, names=(), begins=-HOUR, ends=24 * HOUR):
        """Writes name.crt and name.key, for a server of these `names` or for a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        write_key(self.folder / f"{name}.key", key)
        usage = ExtendedKeyUsageOID.SERVER_AUTH if names else ExtendedKeyUsageOID.CLIENT_AUTH
        one = self._begin(subject(common_name, organisation), key, begins, ends).add_extension(
            x509.ExtendedKeyUsage([usage]), critical=False)
        if names:
            one = one.add_extension(alternative_names(names), critical=False)
        (self.folder / f"{name}.crt").write_bytes(self._sign(one))

    def _begin(self, name, key, begins, ends):
        now = datetime.datetime.utcnow()
        return x509.CertificateBuilder().subject_name(name).issuer_name(self._name).public_key(
            key.public_key()).serial_number(x509.random_serial_number()).not_valid_before(
            now + begins).not_valid_after(now + ends)

    def _sign(self, builder):
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
