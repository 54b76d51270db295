"""Whether SNS's certificate can be had: from the file that is pinned, or from SNS's hosts."""

from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography import x509

from relayd.adapters.certificates import HttpCertificates
from relayd.errors import HoldError
from relayd.ops.doctor.local_facts import CertificateFacts
from relayd.wire.sns import signing_key

Fetch = Callable[[str], bytes]


def pinned(path: Path) -> CertificateFacts:
    """What the file holds."""
    try:
        pem = path.read_bytes()
        signing_key(pem)
        certificate = x509.load_pem_x509_certificate(pem)
    except OSError as error:
        return CertificateFacts(str(path), f"it cannot be read ({type(error).__name__})")
    except (HoldError, ValueError):
        return CertificateFacts(str(path), "it holds no X.509 certificate with an RSA key")
    return CertificateFacts(
        str(path),
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=certificate.not_valid_after_utc.timestamp(),
    )


def hosts(topic_arns: Sequence[str], fetch: Fetch | None = None) -> CertificateFacts:
    """Whether SNS's hosts answer, with a certificate of their own that this machine trusts. What is asked for is not
    there, so that any answer will do.
    """
    fetch = fetch or HttpCertificates().fetch
    found: dict[str, str] = {}
    for host in sorted({host_of(arn) for arn in topic_arns}):
        try:
            fetch(f"https://{host}/SimpleNotificationService-relayd-doctor.pem")
        except HoldError as error:
            found[host] = "" if error.detail.startswith("status ") else error.detail
        else:
            found[host] = ""
    return CertificateFacts(hosts=found)


def host_of(topic_arn: str) -> str:
    """Where SNS keeps the certificates of a topic's region."""
    _, partition, _, region = topic_arn.split(":")[:4]
    return f"sns.{region}.amazonaws.com{'.cn' if partition == 'aws-cn' else ''}"
