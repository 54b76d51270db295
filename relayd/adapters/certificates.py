"""SNS's signing certificates: fetched once per URL and kept, or pinned to a file for hosts without a way out."""

import ssl
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import urllib3

from relayd.errors import ConfigurationError, HoldError, Problem
from relayd.telemetry import names
from relayd.telemetry.calls import TracedCall
from relayd.wire.sns import signing_key

CONNECT_SECONDS = 3.0
READ_SECONDS = 5.0
"""Between two reads. The whole fetch may take connect and read time together."""
MAX_BYTES = 64 * 1024
"""Of a certificate. SNS's have about 2 KB."""
MAX_CERTIFICATES = 64
"""Kept at once. A region has one or two at a time; the rest is room for replayed mail."""
FAILURE_SECONDS = 3.0
"""How long a failure is repeated without another call, so that sixteen workers do not each wait for a dead host."""


@dataclass(slots=True)
class _Entry:
    """What is known of one URL. Whoever holds `lock` fetches; the others wait for what it brings."""

    lock: Lock = field(default_factory=Lock)
    pem: bytes | None = None
    failure: HoldError | None = None
    failed_at: float = 0.0


class HttpCertificates:
    """`Certificates` over HTTPS. Only readable certificates are kept, so that a bad answer does not stay."""

    def __init__(
        self,
        *,
        connect_seconds: float = CONNECT_SECONDS,
        read_seconds: float = READ_SECONDS,
        http: urllib3.PoolManager | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout = urllib3.Timeout(connect=connect_seconds, read=read_seconds)
        self._seconds = connect_seconds + read_seconds
        self._http = http or urllib3.PoolManager(ssl_context=_tls())
        self._monotonic = monotonic
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._lock = Lock()

    def fetch(self, url: str) -> bytes:
        """The certificate as PEM. The caller has checked the URL's host.

        Raises HoldError: a wide one when the host cannot be reached, a narrow one when it has no certificate there,
        since the URL came with one message and a made-up one must not hold up the others.
        """
        entry = self._entry(url)
        with entry.lock:
            if entry.pem is None:
                self._raise_recent(entry)
                try:
                    pem = self._get(url)
                    signing_key(pem)
                except HoldError as error:
                    entry.failure, entry.failed_at = _copy(error), self._monotonic()
                    raise
                entry.pem, entry.failure = pem, None
            return entry.pem

    def _entry(self, url: str) -> _Entry:
        with self._lock:
            entry = self._entries.setdefault(url, _Entry())
            self._entries.move_to_end(url)
            if len(self._entries) > MAX_CERTIFICATES:
                self._entries.popitem(last=False)
            return entry

    def _raise_recent(self, entry: _Entry) -> None:
        failure = entry.failure
        if failure is not None and self._monotonic() - entry.failed_at < FAILURE_SECONDS:
            raise _copy(failure)

    def _get(self, url: str) -> bytes:
        with TracedCall("certificates", "fetch", names.CERTIFICATE):
            return self._request(url)

    def _request(self, url: str) -> bytes:
        deadline = self._monotonic() + self._seconds
        try:
            response = self._http.request(
                "GET", url, timeout=self._timeout, retries=False, redirect=False, preload_content=False
            )
            try:
                if response.status != 200:
                    # 5xx is the host's trouble, all else (redirects included) the URL's.
                    raise HoldError(
                        "certificates",
                        "certificate_unavailable",
                        f"status {response.status}",
                        wide=response.status >= 500,
                    )
                return self._body(response, deadline)
            finally:
                # Closed, not pooled: the next certificate is wanted in months, and the rest of a bad body never.
                response.close()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise HoldError("certificates", "certificate_unavailable", type(error).__name__) from None

    def _body(self, response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
        """The body, within size and time. `read1` returns after one read, so a trickle cannot outlast the deadline."""
        body = b""
        while chunk := response.read1(MAX_BYTES + 1 - len(body)):
            body += chunk
            if len(body) > MAX_BYTES:
                raise HoldError("certificates", "certificate_unreadable", f"over {MAX_BYTES} bytes", wide=False)
            if self._monotonic() > deadline:
                raise HoldError("certificates", "certificate_unavailable", "too slow")
        return body


class PinnedCertificate:
    """`Certificates` that answers every URL with one file, read at start so that a wrong path shows at once."""

    def __init__(self, path: Path) -> None:
        try:
            self._pem = path.read_bytes()
            signing_key(self._pem)
        except OSError as error:
            raise _unusable(f"cannot be read ({type(error).__name__})") from None
        except HoldError:
            raise _unusable("holds no X.509 certificate with an RSA key") from None

    def fetch(self, url: str) -> bytes:  # noqa: ARG002  (the port's signature: pinned means that no URL counts)
        return self._pem


def _copy(error: HoldError) -> HoldError:
    """Threads that raise one exception object write over each other's traceback, and a kept one keeps its frames."""
    return HoldError(error.dependency, error.reason, error.detail, wide=error.wide)


def _unusable(problem: str) -> ConfigurationError:
    return ConfigurationError(
        [
            Problem(
                "RELAYD_SNS_CERTIFICATE_FILE",
                f"the file {problem}",
                "Point it to SNS's signing certificate as a PEM file, or leave it unset to have certificates fetched.",
            )
        ]
    )


def _tls() -> ssl.SSLContext:
    """The system's authorities (and SSL_CERT_FILE's), and certifi's where it is installed: slim images have none."""
    context = ssl.create_default_context()
    try:
        import certifi
    except ImportError:
        return context
    context.load_verify_locations(certifi.where())
    return context
