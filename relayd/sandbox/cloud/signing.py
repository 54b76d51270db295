"""SNS's key, its certificate, and its signatures."""

import base64
import datetime
from collections.abc import Mapping
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

KEY_BITS = 2048
_FIELDS = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
"""What SNS signs in a notification, in this order; Subject only where there is one."""
_HASHES: Mapping[str, type[hashes.HashAlgorithm]] = {"1": hashes.SHA1, "2": hashes.SHA256}


class Signing:
    """One key for the life of the process, made when it is first wanted."""

    @cached_property
    def _key(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)

    @cached_property
    def certificate(self) -> bytes:
        """PEM, signed by itself."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(name, name, self._key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=365))
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    @cached_property
    def certificate_path(self) -> str:
        """Where SNS has it, on whatever host."""
        digest = hashes.Hash(hashes.SHA256())
        digest.update(self.certificate)
        return f"/SimpleNotificationService-{digest.finalize().hex()[:32]}.pem"

    def sign(self, envelope: Mapping[str, str], version: str) -> str:
        """The signature of a notification, in base64."""
        canonical = "".join(f"{name}\n{envelope[name]}\n" for name in _FIELDS if name in envelope)
        signature = self._key.sign(canonical.encode(), padding.PKCS1v15(), _HASHES[version]())
        return base64.b64encode(signature).decode()
