"""The SMTP door, with a stand-in for SES receiving behind it."""

import smtplib
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from relayd.errors import ConfigurationError
from relayd.sandbox.door import MAX_MAIL, Door
from relayd.sandbox.receiving import Accepted
from relayd.sandbox.traces import Span

SPAN = Span("t", "s", "", "received", 0.0, 1.0)


class FakeReceiver:
    """Keeps what it is given, or fails when told to."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.taken: list[tuple[str, tuple[str, ...], bytes]] = []

    def accept(self, source: str, recipients: tuple[str, ...], data: bytes, peer: str) -> Accepted:
        if self.failure:
            raise self.failure
        assert peer == "127.0.0.1"
        self.taken.append((source, recipients, data))
        return Accepted("mail-1", "trace-1", source, recipients, "", len(data), 0.0, SPAN)


@contextmanager
def opened(receiver: FakeReceiver) -> Iterator[tuple[Door, smtplib.SMTP, list[Accepted]]]:
    accepted: list[Accepted] = []
    door = Door(receiver, ("mask.example", "xn--mxm-rna.example"), 0, accepted.append)
    try:
        with smtplib.SMTP("127.0.0.1", door.port, local_hostname="test.example", timeout=10) as client:
            yield door, client, accepted
    finally:
        door.close()


def test_mail_goes_in_with_its_envelope_and_its_bytes_untouched() -> None:
    """Lone LFs, dots at line starts, 8-bit bytes and long lines arrive as they were sent."""
    receiver = FakeReceiver()
    data = b"Subject: x\r\n\r\n.dot\r\n..two\r\nb\xfcr\nlone\n" + b"l" * 5000 + b"\r\n"
    with opened(receiver) as (_, client, accepted):
        client.sendmail("a@example.net", ["Shop@MASK.example", "news@mask.example"], data)
    assert receiver.taken == [("a@example.net", ("Shop@MASK.example", "news@mask.example"), data)]
    assert [mail.mail_id for mail in accepted] == ["mail-1"]


def test_a_bounce_has_an_empty_source() -> None:
    """`MAIL FROM:<>` reaches SES receiving as the empty string."""
    receiver = FakeReceiver()
    with opened(receiver) as (_, client, _):
        client.sendmail("", ["shop@mask.example"], b"Subject: x\r\n\r\n")
    assert receiver.taken[0][0] == ""


def test_the_answer_names_the_mail() -> None:
    """Who sends can tell by the answer which mail became of it."""
    with opened(FakeReceiver()) as (_, client, _):
        client.helo()
        client.mail("a@example.net")
        client.rcpt("shop@mask.example")
        assert client.data(b"x") == (250, b"2.0.0 OK mail-1")


@pytest.mark.parametrize("recipient", ["you@example.org", "shop@sub.mask.example", "shop@mask.example.org"])
def test_foreign_recipients_are_refused_with_a_hint(recipient: str) -> None:
    """The door is no relay: only our mail domains, and the answer says which."""
    receiver = FakeReceiver()
    with opened(receiver) as (_, client, _):
        client.ehlo()
        client.mail("a@example.net")
        code, text = client.rcpt(recipient)
    assert code == 550
    assert b"shop@mask.example" in text
    assert not receiver.taken


def test_what_is_no_address_is_refused() -> None:
    """A recipient without a domain gets a permanent answer, and the session goes on."""
    with opened(FakeReceiver()) as (_, client, _):
        client.ehlo()
        client.mail("a@example.net")
        assert client.rcpt("shop")[0] == 553
        assert client.rcpt("shop@mask.example")[0] == 250


def test_no_more_recipients_than_ses_takes() -> None:
    """The 101st recipient is put off, as SES does it."""
    with opened(FakeReceiver()) as (_, client, _):
        client.ehlo()
        client.mail("a@example.net")
        codes = [client.rcpt(f"m{number}@mask.example")[0] for number in range(101)]
    assert codes == [250] * 100 + [452]


def test_too_large_a_mail_is_refused_before_it_is_sent() -> None:
    """The limit is announced, and SIZE beyond it refused."""
    with opened(FakeReceiver()) as (_, client, _):
        client.ehlo()
        assert client.esmtp_features["size"] == str(MAX_MAIL)
        assert client.mail("a@example.net", [f"SIZE={MAX_MAIL + 1}"])[0] == 552


def test_a_storage_failure_leaves_the_mail_with_its_sender() -> None:
    """451: try again; and the text tells no addresses."""
    with opened(FakeReceiver(OSError("shop@mask.example"))) as (_, client, accepted):
        with pytest.raises(smtplib.SMTPDataError) as caught:
            client.sendmail("a@example.net", ["shop@mask.example"], b"x")
        assert caught.value.smtp_code == 451
        assert "@" not in str(caught.value.smtp_error)
        assert not accepted


def test_the_banner_tells_no_versions() -> None:
    """Whoever connects learns that it is a sandbox, not on which library it runs."""
    with opened(FakeReceiver()) as (door, _, _), socket.create_connection(("127.0.0.1", door.port), 5) as raw:
        assert raw.recv(200) == b"220 mask.example relayd sandbox\r\n"


def test_unknown_commands_and_odd_bytes_do_not_reach_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """The SMTP library logs addresses at every level; nothing of it may come out."""
    with opened(FakeReceiver()) as (_, client, _):
        client.docmd("NONSENSE", "shop@mask.example")
        client.docmd("VRFY", "shop@mask.example")
    assert caplog.records == []


def test_a_port_in_use_is_a_configuration_problem() -> None:
    """The hint names the option that helps."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError) as caught:
            Door(FakeReceiver(), ("mask.example",), port, lambda _: None)
    problem = caught.value.problems[0]
    assert str(port) in problem.subject
    assert "--smtp-port" in problem.hint
