"""What SES calls malformed is sent in a plainer form, then in an attachment; then a person is told."""

import base64

import pytest

from relayd.errors import HoldError, PermanentError, RelaydError, TransientError
from relayd.wire import own
from tests.engine.mailing import letter, received, run_out, sent_mail, sent_to, states, told
from tests.engine.world import SECRET, World

MALFORMED = PermanentError("ses_refused_malformed")
MAIL = letter(fields="List-Id: <x.example>\r\nContent-Type: text/plain; charset=us-ascii\r\n", text="a body")


def refusing(times: int, *mailboxes: str, error: PermanentError = MALFORMED) -> World:
    world = World()
    if times:
        world.mailer.fail_with(error, times=times)
    world.directory.add("two@mask.example", *(mailboxes or ("me@owner.example",)), owner="me@owner.example")
    received(world, MAIL, "two@mask.example", mail_id="odd")
    run_out(world)
    return world


def test_the_first_form_is_the_mail_as_it_came() -> None:
    """But for its header; nothing is rebuilt without a reason."""
    world = refusing(0)
    assert sent_mail(world)["List-Id"] == "<x.example>"
    assert world.mailer.calls == 1


def test_a_mail_that_is_refused_is_rebuilt() -> None:
    """With the essential headers alone, and the same content."""
    world = refusing(1)
    assert world.mailer.calls == 2
    assert sent_to(world) == ["me@owner.example"]
    assert sent_mail(world)["List-Id"] is None
    assert sent_mail(world)["Subject"] == "hello"
    assert sent_mail(world).get_payload(decode=True).strip() == b"a body"  # type: ignore[union-attr]
    assert states(world) == [("sent", None)]
    assert told(world) == []


def test_a_mail_that_is_refused_twice_is_attached() -> None:
    """As it was received, to the byte."""
    world = refusing(2)
    assert world.mailer.calls == 3
    attached = list(sent_mail(world).walk())[-1]
    assert attached.get_filename() == "original.eml"
    assert base64.b64decode(str(attached.get_payload())) == MAIL
    assert states(world) == [("sent", None)]


def test_a_mail_that_is_refused_in_every_form() -> None:
    """Dead-lettered, listed, its owner told by whom it was; and it may be released once SES, or relayd, has changed."""
    world = refusing(3)
    assert world.mailer.calls == 3
    assert [dead.reason for dead in world.queue.dead_letters] == ["ses_refused_malformed"]
    (held,) = world.ledger.quarantine
    assert (held.reason, held.key.mailbox) == ("ses_refused_malformed", "me@owner.example")
    assert told(world) == ["mail_refused"]
    facts = world.notices.told[0].notice.facts
    assert facts["sender"] == "news@stranger.example"
    assert facts["size"] == str(len(MAIL))
    world.queue.publish(own.seal(held.held.notification, released=[held.reason], secrets=(SECRET,), now=0.0))
    run_out(world)
    assert sent_to(world) == ["me@owner.example"]


def test_two_mailboxes_do_not_climb_twice() -> None:
    """What SES refused for the first one is not tried for the second."""
    world = refusing(1, "me@owner.example", "work@owner.example")
    assert world.mailer.calls == 3
    assert sent_to(world) == ["me@owner.example", "work@owner.example"]
    first, second = world.mailer.sent
    assert first.mail.data == second.mail.data


def test_two_mailboxes_that_both_are_refused() -> None:
    """Each fails by itself; one dead letter, one notice."""
    world = refusing(9, "me@owner.example", "work@owner.example")
    assert states(world) == [("failed", "ses_refused_malformed")] * 2
    assert world.mailer.calls == 4
    assert len(world.queue.dead_letters) == 1
    assert len(world.ledger.quarantine) == 2
    assert told(world) == ["mail_refused"]


@pytest.mark.parametrize(
    ("reason", "notice"),
    [("ses_rejected", ["mail_refused"]), ("too_large", ["mail_too_large"]), ("something_else", [])],
)
def test_other_refusals_are_not_climbed(reason: str, notice: list[str]) -> None:
    """No other form would help. What no owner can do anything about, no owner is told."""
    world = refusing(1, error=PermanentError(reason))
    assert world.mailer.calls == 1
    assert states(world) == [("failed", reason)]
    assert told(world) == notice
    assert len(world.ledger.quarantine) == len(notice)


@pytest.mark.parametrize("error", [TransientError("ses_unavailable"), HoldError("ses", "ses_sending_paused")])
def test_trouble_on_the_second_step_begins_again(error: RelaydError) -> None:
    """The ladder is of one attempt: nothing was sent, and the next attempt finds out anew."""
    world = World()
    world.mailer.fail_with(MALFORMED)
    world.mailer.fail_with(error)
    world.mailer.fail_with(MALFORMED)
    received(world, MAIL, mail_id="odd")
    run_out(world)
    assert world.mailer.calls == 4
    assert len(world.mailer.sent) == 1
    assert sent_mail(world)["List-Id"] is None


def test_a_lost_answer_on_the_second_step_is_a_doubt() -> None:
    """SES may have taken the rebuilt mail: it is not sent again before its claim has ended."""
    world = World()
    world.mailer.fail_with(MALFORMED)
    received(world, MAIL, mail_id="odd")
    world.mailer.lose_answers(1)
    run_out(world)
    assert len(world.mailer.sent) == 2
    first, second = world.mailer.sent
    assert second.at - first.at >= world.send_seconds
    (row,) = world.ledger.rows.values()
    assert row.resends == 1


def test_a_mail_that_is_too_large_once_it_is_written() -> None:
    """8-bit content grows by a third: both mailboxes hear the same, nothing is tried, and no bug is counted."""
    world = World()
    world.directory.add("two@mask.example", "me@owner.example", "work@owner.example", owner="me@owner.example")
    line = b"\xff" * 900 + b"\r\n"
    fields = "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: 8bit\r\n"
    received(world, letter(fields=fields, text="") + line * 36_000, "two@mask.example", mail_id="large")
    run_out(world)
    assert world.mailer.calls == 0
    assert states(world) == [("failed", "too_large")] * 2
    assert [dead.reason for dead in world.queue.dead_letters] == ["too_large"]
    assert world.queue.receive_count("message-1") == 1
    assert told(world) == ["mail_too_large"]
    assert int(world.notices.told[0].notice.facts["size"]) > 32_000_000
    assert len(world.ledger.quarantine) == 2
