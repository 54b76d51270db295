"""The real mailer against a scripted SES: what goes out, and what each answer, or none, comes to."""

import base64
import json
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.credentials import CredentialResolver
from botocore.session import Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from relayd.adapters.aws import Timeouts, client, new_session
from relayd.adapters.ses import QUOTA_HOLD, SesMailer
from relayd.errors import HoldError, InDoubtError, PermanentError, RelaydError, TransientError
from relayd.ports import Outgoing
from tests.adapters.scripted_server import Answer, Hang, Reset, ScriptedServer, Step, json_error
from tests.contract.moto_server import REGION, fake_session

SESSION = fake_session()
SECRET = "someone@private.example"
MAIL = Outgoing(
    sender="token@mask.example",
    recipient="owner@home.example",
    data=b"From: token@mask.example\r\n\r\n\x00\xff body\r\n",
    tags={"relayd-delivery": "d1-2"},
)
LARGE = Outgoing(MAIL.sender, MAIL.recipient, b"x" * 12_000_000)
"""More than the buffers between us and a server hold."""
ACCEPTED = Answer(body=b'{"MessageId": "0100-ses"}')


def mailer(
    endpoint: str, *, read: float = 5.0, configuration_set: str | None = None, session: Session = SESSION
) -> SesMailer:
    timeouts = Timeouts(connect=0.3, read=read)
    made: Any = client("sesv2", pool=2, timeouts=timeouts, session=session, endpoint=endpoint)
    return SesMailer(made, configuration_set=configuration_set)


def tls(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's side of TLS for localhost, and the bundle that vouches for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    bundle, chain = folder / "bundle.pem", folder / "chain.pem"
    bundle.write_bytes(certificate.public_bytes(Encoding.PEM))
    chain.write_bytes(private + bundle.read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return context, bundle


def tls_session(folder: Path) -> tuple[ssl.SSLContext, Session]:
    """A server's side of TLS for localhost, and a session that trusts it."""
    server_side, bundle = tls(folder)
    session = fake_session()
    session.set_config_variable("ca_bundle", str(bundle))
    return server_side, session


def failure(*steps: Step, mail: Outgoing = MAIL, read: float = 5.0) -> RelaydError:
    """The error that a send comes to, with nothing in it that may not be told, after one request at most."""
    with ScriptedServer(*steps) as server:
        with pytest.raises(RelaydError) as caught:
            mailer(server.endpoint, read=read).send(mail)
        assert len(server.requests) <= 1, "one attempt per call"
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    return caught.value


def test_a_send_is_the_mail_and_nothing_else() -> None:
    """The mail's bytes go out as they are, from the token to the mailbox, with tags and configuration set."""
    with ScriptedServer(ACCEPTED) as server:
        assert mailer(server.endpoint, configuration_set="relayd").send(MAIL) == "0100-ses"
        [request] = server.requests
    sent = json.loads(request.body)
    assert base64.b64decode(sent.pop("Content")["Raw"]["Data"]) == MAIL.data
    assert sent == {
        "FromEmailAddress": "token@mask.example",
        "Destination": {"ToAddresses": ["owner@home.example"]},
        "EmailTags": [{"Name": "relayd-delivery", "Value": "d1-2"}],
        "ConfigurationSetName": "relayd",
    }
    assert request.headers["user-agent"].startswith("relayd/")


def test_connections_are_used_again() -> None:
    """One connection carries one send after the other."""
    with ScriptedServer(ACCEPTED) as server:
        one = mailer(server.endpoint)
        for _ in range(3):
            one.send(MAIL)
        assert {request.connection for request in server.requests} == {1}


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (json_error(429, "TooManyRequestsException", "Too many requests"), TransientError, "ses_throttled"),
        (json_error(400, "Throttling", "Maximum sending rate exceeded."), TransientError, "ses_throttled"),
        (json_error(400, "Throttling", "Daily message quota exceeded."), HoldError, "ses_daily_quota"),
        (json_error(400, "LimitExceededException", "Daily message quota exceeded"), HoldError, "ses_daily_quota"),
        (json_error(400, "SendingPausedException"), HoldError, "ses_sending_paused"),
        (json_error(400, "MessageRejected", "Sending paused for this account."), HoldError, "ses_sending_paused"),
        (json_error(400, "MessageRejected", "Sending is suspended."), HoldError, "ses_sending_paused"),
        (json_error(403, "SomethingNew"), HoldError, "access_denied"),
        (json_error(400, "AccountSendingPausedException"), HoldError, "ses_sending_paused"),
        (json_error(400, "ConfigurationSetSendingPausedException"), HoldError, "ses_sending_paused"),
        (json_error(400, "AccountSuspendedException"), HoldError, "ses_sending_paused"),
        (json_error(400, "MailFromDomainNotVerifiedException"), HoldError, "ses_mail_from_not_verified"),
        (json_error(404, "NotFoundException"), HoldError, "ses_configuration_set_missing"),
        (json_error(400, "ConfigurationSetDoesNotExist"), HoldError, "ses_configuration_set_missing"),
        (json_error(403, "AccessDeniedException", f"{SECRET} is not authorized"), HoldError, "access_denied"),
        (json_error(403, "ExpiredTokenException"), HoldError, "credentials_refused"),
        (json_error(400, "UnrecognizedClientException"), HoldError, "credentials_refused"),
        (json_error(403, "InvalidSignatureException"), HoldError, "credentials_refused"),
        (Answer(401, b"who are you?"), HoldError, "access_denied"),
        (Answer(403, b"<html>no</html>"), HoldError, "access_denied"),
        (
            json_error(400, "MessageRejected", f"Email address is not verified. The following failed: {SECRET}"),
            HoldError,
            "ses_address_not_verified",
        ),
        (json_error(400, "MessageRejected", f"Address {SECRET} is bad"), PermanentError, "ses_rejected"),
        (
            json_error(400, "BadRequestException", f"Duplicate header '{SECRET}'"),
            PermanentError,
            "ses_refused_malformed",
        ),
        (json_error(400, "InvalidParameterValue", "Missing final '@domain'"), PermanentError, "ses_refused_malformed"),
        (json_error(413, "RequestEntityTooLargeException"), PermanentError, "too_large"),
        (Answer(413, b""), PermanentError, "too_large"),
        (
            json_error(400, "MessageRejected", "Message length is more than 41943040 bytes long"),
            PermanentError,
            "too_large",
        ),
        (json_error(400, "BadRequestException", "Message size exceeds the limit"), PermanentError, "too_large"),
        (json_error(500, "InternalFailure", SECRET), TransientError, "ses_unavailable"),
        (Answer(503, b"<html>busy</html>"), TransientError, "ses_unavailable"),
        (Answer(408, b""), TransientError, "ses_unavailable"),
        (json_error(400, "InventedYesterdayException"), TransientError, "ses_unavailable"),
        (Answer(400, b"<html>a proxy's page</html>"), TransientError, "ses_unavailable"),
    ],
)
def test_each_answer_means_what_the_table_says(answer: Answer, kind: type[RelaydError], reason: str) -> None:
    """Every error that SES is known to answer becomes the failure that the queue should see."""
    error = failure(answer)
    assert type(error) is kind
    assert error.reason == reason
    assert f"HTTP {answer.status}" in error.detail


def test_throttling_is_not_charged() -> None:
    """Nobody's mail failed: SES only wants it later."""
    error = failure(json_error(429, "TooManyRequestsException"))
    assert isinstance(error, TransientError)
    assert not error.charged


def test_the_daily_quota_holds_for_ten_minutes() -> None:
    """It makes no sense to ask earlier."""
    error = failure(json_error(400, "Throttling", "Daily message quota exceeded"))
    assert isinstance(error, HoldError)
    assert error.retry_after == QUOTA_HOLD >= 600


def test_one_unverified_address_is_not_everybodys() -> None:
    """The hold is a narrow one: it may be this one mailbox (SES's sandbox)."""
    error = failure(json_error(400, "MessageRejected", "Email address is not verified."))
    assert isinstance(error, HoldError)
    assert not error.wide


def test_a_known_defect_is_named() -> None:
    """The dead letter tells what SES found, in a word of ours."""
    error = failure(json_error(400, "BadRequestException", f"Duplicate header '{SECRET}'"))
    assert error.detail.endswith("duplicate_header")


class TestNoAnswer:
    """Whether the mail may be out depends on how far the request came."""

    @pytest.mark.parametrize("size", [10, 2_000_000])
    def test_no_answer_in_time_is_doubt(self, size: int) -> None:
        """SES has the whole request and does not answer: it may have taken the mail."""
        mail = Outgoing(MAIL.sender, MAIL.recipient, b"x" * size)
        error = failure(Hang(after_request=True), mail=mail, read=1.0 if size > 100 else 0.2)
        assert (type(error), error.reason) == (InDoubtError, "ses_timeout")

    def test_a_reset_after_the_request_is_doubt(self) -> None:
        """The connection broke where the answer should have come."""
        error = failure(Reset(after_request=True))
        assert (type(error), error.reason) == (InDoubtError, "ses_unreachable")

    def test_an_answer_that_says_nothing_is_doubt(self) -> None:
        """A success without an id was most likely one."""
        assert type(failure(Answer(200, b"{}"))) is InDoubtError

    def test_an_answer_cut_short_is_doubt(self) -> None:
        """A success whose text is incomplete was most likely one."""
        assert type(failure(Answer(200, b'{"Message', length=30))) is InDoubtError

    def test_rubbish_is_doubt(self) -> None:
        """What is no HTTP came from something that had our request."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            sender = mailer(f"http://127.0.0.1:{listener.getsockname()[1]}", read=1)
            listener.settimeout(5)

            def rubbish() -> None:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1 << 16)
                    connection.sendall(b"220 smtp here\r\n\r\n")

            thread = threading.Thread(target=rubbish)
            thread.start()
            with pytest.raises(InDoubtError):
                sender.send(MAIL)
            thread.join()

    def test_a_bug_after_the_send_is_doubt(self) -> None:
        """A telemetry hook that raises on the answer must not make a mail that was accepted look unsent."""

        def hook(**event: object) -> None:
            raise ZeroDivisionError(SECRET)

        with ScriptedServer(ACCEPTED) as server:
            made: Any = client("sesv2", pool=1, timeouts=Timeouts(1, 1), session=SESSION, endpoint=server.endpoint)
            made.meta.events.register("after-call.sesv2.SendEmail", hook)
            with pytest.raises(InDoubtError) as caught:
                SesMailer(made, configuration_set=None).send(MAIL)
        assert SECRET not in str(caught.value)

    def test_nobody_listening_is_transient(self) -> None:
        """A refused connection carries no mail."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        with pytest.raises(TransientError, match="ses_unreachable"):
            mailer(f"http://127.0.0.1:{port}").send(MAIL)

    def test_a_request_that_could_not_be_sent_is_transient(self) -> None:
        """The other side stopped reading half-way: it cannot have accepted what it has not got."""
        mail = Outgoing(MAIL.sender, MAIL.recipient, b"x" * 20_000_000)
        began = time.monotonic()
        error = failure(Hang(after_request=False), mail=mail, read=0.6)
        assert type(error) is TransientError
        assert 0.5 < time.monotonic() - began < 2.5, "the read timeout bounds the sending; the connect timeout does not"

    def test_a_reset_while_sending_is_transient(self) -> None:
        """The connection broke before the last byte was out."""
        mail = Outgoing(MAIL.sender, MAIL.recipient, b"x" * 20_000_000)
        assert type(failure(Reset(after_request=False), mail=mail)) is TransientError

    def test_a_tls_handshake_that_hangs_is_transient(self) -> None:
        """botocore calls it a read timeout; but no mail was sent on a connection that never was."""
        with ScriptedServer(Hang(after_request=False)) as server:
            one = mailer(server.endpoint.replace("http:", "https:"), read=0.5)
            with pytest.raises(TransientError):
                one.send(MAIL)

    def test_a_handshake_with_something_else_is_transient(self) -> None:
        """An endpoint that does not speak TLS has not got the mail."""
        with ScriptedServer(Answer(400)) as server:
            one = mailer(server.endpoint.replace("http:", "https:"), read=0.5)
            with pytest.raises(TransientError):
                one.send(MAIL)

    def test_over_tls_too(self, tmp_path: Path) -> None:
        """The connections that AWS is really reached by know their progress as well."""
        server_side, secure = tls_session(tmp_path)
        with ScriptedServer(ACCEPTED, Reset(after_request=True), wrap=server_side.wrap_socket) as server:
            endpoint = server.endpoint.replace("http://127.0.0.1", "https://localhost")
            one = mailer(endpoint, session=secure)
            assert one.send(MAIL) == "0100-ses"
            with pytest.raises(InDoubtError):
                one.send(MAIL)
        with ScriptedServer(Hang(after_request=False), wrap=server_side.wrap_socket) as server:
            endpoint = server.endpoint.replace("http://127.0.0.1", "https://localhost")
            with pytest.raises(TransientError):
                mailer(endpoint, session=secure, read=0.6).send(LARGE)
            with pytest.raises(TransientError, match="SSLError"):
                mailer(endpoint).send(MAIL)  # a certificate that nobody vouches for

    @pytest.mark.parametrize("over", ["http", "https"])
    def test_a_large_mail_that_is_slow_to_be_taken_is_sent(self, over: str, tmp_path: Path) -> None:
        """The connect timeout has no say once a connection is open: not over TLS, not on one that is used again."""
        server_side, secure = tls_session(tmp_path)
        slow = Answer(body=ACCEPTED.body, late=0.7)
        with ScriptedServer(slow, slow, wrap=server_side.wrap_socket if over == "https" else None) as server:
            one = mailer(server.endpoint.replace("http://127.0.0.1", f"{over}://localhost"), session=secure)
            for _ in range(2):
                assert one.send(LARGE) == "0100-ses"
            assert [request.connection for request in server.requests] == [1, 1]

    @pytest.mark.parametrize("over", ["http", "https"])
    def test_a_large_mail_that_is_not_taken_is_given_up_at_the_read_timeout(self, over: str, tmp_path: Path) -> None:
        """It bounds the sending on a connection that is used again as on a new one, neither sooner nor much later."""
        server_side, secure = tls_session(tmp_path)
        hang = Hang(after_request=False)
        with ScriptedServer(ACCEPTED, hang, wrap=server_side.wrap_socket if over == "https" else None) as server:
            endpoint = server.endpoint.replace("http://127.0.0.1", f"{over}://localhost")
            one = mailer(endpoint, session=secure, read=0.6)
            one.send(MAIL)
            # The second of these finds a connection of its own, and it hangs as the one that was used again did.
            for _ in range(2):
                began = time.monotonic()
                with pytest.raises(TransientError):
                    one.send(LARGE)
                assert 0.5 < time.monotonic() - began < 1.4

    def test_doubt_does_not_stick(self) -> None:
        """What one call came to says nothing about the next one of the same thread."""
        with ScriptedServer(Reset(after_request=True), ACCEPTED) as server:
            one = mailer(server.endpoint)
            with pytest.raises(InDoubtError):
                one.send(MAIL)
            assert one.send(MAIL) == "0100-ses"
        with pytest.raises(TransientError):
            one.send(MAIL)


def test_missing_credentials_hold() -> None:
    """Without credentials nothing is sent, and nothing is charged."""
    bare = new_session()
    bare.register_component("credential_provider", CredentialResolver(providers=[]))
    one = SesMailer(
        client("sesv2", pool=1, timeouts=Timeouts(1, 1), session=bare, region=REGION, endpoint="http://127.0.0.1:1"),
        configuration_set=None,
    )
    with pytest.raises(HoldError, match="credentials_missing"):
        one.send(MAIL)
