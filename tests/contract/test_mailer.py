"""What a Mailer promises, on the fake and on SES as moto and the embedded AWS have it."""

from collections.abc import Callable

import pytest

from relayd.adapters.ses import SesMailer
from relayd.ports import Mailer, Outgoing
from tests.contract.moto_server import MotoServer
from tests.fakes.clock import VirtualClock
from tests.fakes.mailer import FakeMailer

MAIL = Outgoing(
    sender="abcdefghijklmnopqrst@mask.example",
    recipient="success@simulator.amazonses.com",
    data=b"From: A <abcdefghijklmnopqrst@mask.example>\r\nSubject: hello\r\n\r\n.\r\nbody\r\n",
    tags={"relayd-delivery": "d-1_2"},
)


Accepted = Callable[[], list[tuple[str, str, bytes]]]
"""Sender, recipient and bytes of every mail that was accepted so far."""


def on_fake() -> tuple[Mailer, Accepted]:
    fake = FakeMailer(VirtualClock())
    return fake, lambda: [(send.mail.sender, send.mail.recipient, send.mail.data) for send in fake.sent]


def on_ses(server: MotoServer) -> tuple[Mailer, Accepted]:
    if not server.ses.list_email_identities()["EmailIdentities"]:
        server.ses.create_email_identity(EmailIdentity="mask.example")
    before = len(server.sent_mails())

    def accepted() -> list[tuple[str, str, bytes]]:
        mails = server.sent_mails()[before:]
        return [(mail["source"], *mail["destinations"], _bytes(mail["raw_data"])) for mail in mails]

    return SesMailer(server.relayd_client("sesv2"), configuration_set=None), accepted


def _bytes(raw: str | bytes) -> bytes:
    """moto remembers text."""
    return raw.encode() if isinstance(raw, str) else raw


@pytest.fixture(params=["fake", "moto", "embedded"])
def world(request: pytest.FixtureRequest) -> tuple[Mailer, Accepted]:
    return on_fake() if request.param == "fake" else on_ses(request.getfixturevalue(request.param))


def test_a_send_reaches_its_one_recipient(world: tuple[Mailer, Accepted]) -> None:
    """The mail is accepted once, as it is, from the given sender for the given recipient."""
    mailer, accepted = world
    mailer.send(MAIL)
    assert accepted() == [(MAIL.sender, MAIL.recipient, MAIL.data)]


def test_each_send_has_an_id_of_its_own(world: tuple[Mailer, Accepted]) -> None:
    """A send answers with SES's id for the mail; the same mail sent again is another one."""
    mailer, accepted = world
    first, second = mailer.send(MAIL), mailer.send(MAIL)
    assert first
    assert second
    assert first != second
    assert len(accepted()) == 2
