"""What the port Certificates promises, on the pinned file and over HTTPS; then what HTTPS adds."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from itertools import count
from pathlib import Path

import pytest
import urllib3

from relayd.adapters.certificates import (
    FAILURE_SECONDS,
    MAX_BYTES,
    MAX_CERTIFICATES,
    HttpCertificates,
    PinnedCertificate,
)
from relayd.errors import ConfigurationError, HoldError
from relayd.ports import Certificates
from relayd.wire.sns import signing_key
from tests.contract.certificate_server import CertificateServer, plain
from tests.wire.samples import certificate, key

PEM = certificate(key())


class Watch:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CertificateServer]:
    server = CertificateServer(tmp_path_factory.mktemp("tls"))
    yield server
    server.close()


@pytest.fixture
def server(shared_server: CertificateServer) -> CertificateServer:
    shared_server.answers.clear()
    shared_server.requests.clear()
    shared_server.answers["/a.pem"] = plain(PEM)
    return shared_server


def over_http(
    server: CertificateServer, *, read_seconds: float = 5.0, monotonic: Callable[[], float] | None = None
) -> HttpCertificates:
    http = urllib3.PoolManager(ssl_context=server.trust())
    return HttpCertificates(http=http, read_seconds=read_seconds, monotonic=monotonic or Watch())


def hold(certificates: Certificates, url: str) -> HoldError:
    with pytest.raises(HoldError) as caught:
        certificates.fetch(url)
    assert caught.value.dependency == "certificates"
    return caught.value


@pytest.fixture(params=["http", "pinned"])
def certificates(request: pytest.FixtureRequest, server: CertificateServer, tmp_path: Path) -> Certificates:
    if request.param == "http":
        return over_http(server)
    path = tmp_path / "pinned.pem"
    path.write_bytes(PEM)
    return PinnedCertificate(path)


def test_a_certificate_is_fetched(certificates: Certificates, server: CertificateServer) -> None:
    """The PEM comes back byte for byte, each time, and holds a key that can be used."""
    assert [certificates.fetch(server.url("/a.pem")) for _ in range(2)] == [PEM, PEM]
    assert signing_key(certificates.fetch(server.url("/a.pem"))).public_numbers() == key().public_key().public_numbers()


def test_pinned_certificate_answers_every_url(tmp_path: Path) -> None:
    """Pinning is for hosts without a way out: no URL is ever looked at."""
    path = tmp_path / "pinned.pem"
    path.write_bytes(PEM)
    assert PinnedCertificate(path).fetch("https://nowhere.invalid/x.pem") == PEM


@pytest.mark.parametrize("content", [None, b"", b"no certificate", PEM[:-200]])
def test_pinned_certificate_that_cannot_work_stops_the_start(tmp_path: Path, content: bytes | None) -> None:
    """A wrong path or a broken file is told when it is configured, with the variable's name."""
    path = tmp_path / "pinned.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        PinnedCertificate(path)
    assert [problem.subject for problem in caught.value.problems] == ["RELAYD_SNS_CERTIFICATE_FILE"]


def test_each_url_is_fetched_once(server: CertificateServer) -> None:
    """A certificate does not change under its URL, and SNS is not asked per mail."""
    server.answers["/b.pem"] = plain(certificate(key(), expired=True))
    certificates = over_http(server)
    for _ in range(3):
        certificates.fetch(server.url("/a.pem"))
        certificates.fetch(server.url("/b.pem"))
    assert server.requests == {"/a.pem": 1, "/b.pem": 1}


def test_workers_that_want_the_same_certificate_share_one_fetch(server: CertificateServer) -> None:
    """Sixteen mails after a start need one certificate, and make one call."""
    gate = threading.Event()
    waiting = threading.Barrier(17)

    def slow(handler: BaseHTTPRequestHandler) -> None:
        gate.wait(10)
        plain(PEM)(handler)

    server.answers["/slow.pem"] = slow
    certificates, results = over_http(server), []

    def fetch() -> None:
        waiting.wait(10)
        results.append(certificates.fetch(server.url("/slow.pem")))

    threads = [threading.Thread(target=fetch, daemon=True) for _ in range(16)]
    for thread in threads:
        thread.start()
    waiting.wait(10)
    # While one URL hangs, another is served.
    assert certificates.fetch(server.url("/a.pem")) == PEM
    gate.set()
    for thread in threads:
        thread.join(10)
    assert results == [PEM] * 16
    assert server.requests["/slow.pem"] == 1


def test_a_failure_is_repeated_for_a_moment_then_tried_again(server: CertificateServer) -> None:
    """Workers do not queue up behind a dead host, and recovery is noticed within seconds."""
    watch = Watch()
    certificates = over_http(server, monotonic=watch)
    server.answers["/a.pem"] = plain(b"", 503)
    first, again = hold(certificates, server.url("/a.pem")), hold(certificates, server.url("/a.pem"))
    assert (first.reason, first.detail, first.wide) == (again.reason, again.detail, again.wide)
    assert first is not again
    assert server.requests["/a.pem"] == 1
    server.answers["/a.pem"] = plain(PEM)
    watch.now += FAILURE_SECONDS
    assert certificates.fetch(server.url("/a.pem")) == PEM


@pytest.mark.parametrize(("status", "wide"), [(404, False), (403, False), (204, False), (500, True), (503, True)])
def test_no_certificate_there(server: CertificateServer, status: int, wide: bool) -> None:
    """A made-up URL in one message must not hold up the others; a host in trouble holds up all."""
    server.answers["/x.pem"] = plain(b"", status)
    error = hold(over_http(server), server.url("/x.pem"))
    assert (error.reason, error.detail, error.wide) == ("certificate_unavailable", f"status {status}", wide)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(server: CertificateServer, status: int) -> None:
    """The host rule would be worth nothing if the host could point elsewhere."""
    server.answers["/moved.pem"] = plain(b"", status, Location=server.url("/a.pem"))
    assert not hold(over_http(server), server.url("/moved.pem")).wide
    assert server.requests == {"/moved.pem": 1}


@pytest.mark.parametrize(
    "body", [b"", b"<html>", PEM[:-200], b" " * (MAX_BYTES + 1) + PEM], ids=["empty", "html", "cut", "big"]
)
def test_what_is_no_certificate_is_not_kept(server: CertificateServer, body: bytes) -> None:
    """One bad answer must not stay for good."""
    watch = Watch()
    certificates = over_http(server, monotonic=watch)
    server.answers["/a.pem"] = plain(body)
    error = hold(certificates, server.url("/a.pem"))
    assert (error.reason, error.wide) == ("certificate_unreadable", False)
    server.answers["/a.pem"] = plain(PEM)
    watch.now += FAILURE_SECONDS
    assert certificates.fetch(server.url("/a.pem")) == PEM


def test_a_body_that_never_ends_is_left(server: CertificateServer) -> None:
    """The size counts what came, whatever the server announced."""

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not server.stopping.is_set():
            handler.wfile.write(b"A" * 4096)

    server.answers["/endless.pem"] = endless
    assert hold(over_http(server), server.url("/endless.pem")).reason == "certificate_unreadable"


def test_a_body_in_drops_is_left(server: CertificateServer) -> None:
    """Each drop arrives in time, but all together they take too long."""

    def drops(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not server.stopping.wait(0.002):
            handler.wfile.write(b"A")

    server.answers["/drops.pem"] = drops
    seconds = count(step=3)
    error = hold(over_http(server, monotonic=lambda: float(next(seconds))), server.url("/drops.pem"))
    assert (error.reason, error.detail, error.wide) == ("certificate_unavailable", "too slow", True)


def test_a_server_that_hangs_is_left(server: CertificateServer) -> None:
    """No answer within the read timeout is a hold."""

    def hang(handler: BaseHTTPRequestHandler) -> None:
        server.stopping.wait(1)

    server.answers["/hang.pem"] = hang
    error = hold(over_http(server, read_seconds=0.05), server.url("/hang.pem"))
    assert (error.reason, error.detail, error.wide) == ("certificate_unavailable", "ReadTimeoutError", True)


def test_a_body_cut_short_is_a_hold(server: CertificateServer) -> None:
    """A connection that breaks in the middle brings no certificate."""

    def cut(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(PEM)))
        handler.end_headers()
        handler.wfile.write(PEM[:50])

    server.answers["/cut.pem"] = cut
    hold(over_http(server), server.url("/cut.pem"))


def test_nobody_there(server: CertificateServer, tmp_path: Path) -> None:
    """A refused connection is a hold for all, without a second attempt."""
    gone = CertificateServer(tmp_path)
    gone.close()
    error = hold(over_http(server), gone.url("/a.pem"))
    assert (error.reason, error.wide) == ("certificate_unavailable", True)


def test_a_server_with_another_name_is_not_trusted(server: CertificateServer) -> None:
    """TLS is where a certificate's trust comes from, so the host's name is checked."""
    assert hold(over_http(server), server.url("/a.pem", host="localhost")).detail == "SSLError"
    assert not server.requests


def test_only_known_authorities_are_trusted_by_default(server: CertificateServer) -> None:
    """Without a context of the test's own, loopback's self-made authority counts for nothing."""
    assert hold(HttpCertificates(), server.url("/a.pem")).detail == "SSLError"
    assert not server.requests


def test_the_number_of_kept_certificates_is_bounded(server: CertificateServer) -> None:
    """Made-up URLs cannot fill the memory; the least used goes first."""
    certificates = over_http(server)
    certificates.fetch(server.url("/a.pem"))
    for number in range(MAX_CERTIFICATES):
        hold(certificates, server.url(f"/made-up-{number}.pem"))
    certificates.fetch(server.url("/a.pem"))
    assert server.requests["/a.pem"] == 2
