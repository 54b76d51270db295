"""What an owner writes to a token: sent on from the mask, or refused, and then the owner is told."""

from collections.abc import Callable

import pytest

from relayd.errors import PermanentError
from relayd.rules.evidence import Limits
from relayd.wire import own
from tests.engine.mailing import (
    OWNER,
    SES_DOMAIN,
    STRANGER,
    answer,
    letter,
    only_row,
    received,
    run_out,
    running,
    sent_mail,
    sent_to,
    states,
    token_of,
    told,
)
from tests.engine.world import SECRET, World

REFUSED = [("discarded", "reply_not_allowed")]


def test_an_owner_s_answer_goes_to_the_contact_from_the_mask() -> None:
    """Nothing of the owner is in it, and it counts as a reply and not as a mail."""
    world = World()
    world.directory.set_mask("shop@mask.example", display_name="A Shopper")
    token = token_of(world)
    answer(world, token, text=f"Yours,\r\nJane, {OWNER}", fields=f"Reply-To: {OWNER}\r\nX-Mailer: owner.example\r\n")
    run_out(world)
    assert sent_to(world) == [STRANGER]
    assert world.mailer.sent[0].mail.sender == "shop@mask.example"
    data = world.mailer.sent[0].mail.data
    assert b'From: "A Shopper" <shop@mask.example>\r\n' in data
    assert f"To: {STRANGER}\r\n".encode() in data
    assert b"owner.example" not in data
    row = only_row(world)
    assert (row.state, row.concern.kind, row.key.mailbox) == ("sent", "reply", STRANGER)
    usage = world.directory.usage
    assert usage is not None
    today = usage.today(world.mask.owner.owner_id)
    assert (today.replies, today.mails) == (1, 0)


def _other_author(world: World, token: str) -> None:
    answer(world, token, sender=STRANGER)


def _unproven(world: World, token: str) -> None:
    answer(world, token, dmarc="GRAY", spf="GRAY")


def _spf_of_another_domain(world: World, token: str) -> None:
    answer(world, token, dmarc="GRAY", source="thief@evil.example")


def _two_authors(world: World, token: str) -> None:
    answer(world, token, sender=f"{OWNER}, thief@evil.example")


def _two_from_fields(world: World, token: str) -> None:
    answer(world, token, fields="From: thief@evil.example\r\n")


def _a_from_field_with_a_space(world: World, token: str) -> None:
    answer(world, token)
    (message,) = world.queue.published
    shown = message.body.replace(
        '{\\"name\\": \\"To\\"', '{\\"name\\": \\"From \\", \\"value\\": \\"x@evil.example\\"}, {\\"name\\": \\"To\\"'
    )
    assert shown != message.body
    world.queue.delete([lease.receipt_handle for lease in world.queue.receive(1, 0, 60)])
    world.queue.publish(shown)


def _a_longer_domain(world: World, token: str) -> None:
    answer(world, token, sender=f"{OWNER} .evil.example")


def _unverified(world: World, token: str) -> None:
    world.directory.set_verified(OWNER, False)
    answer(world, token)


def _flagged(world: World, token: str) -> None:
    world.directory.set_owner(world.mask.owner.owner_id, flagged=True)
    answer(world, token)


def _inactive(world: World, token: str) -> None:
    world.directory.set_owner(world.mask.owner.owner_id, active=False)
    answer(world, token)


def _nobody(world: World, _: str) -> None:
    answer(world, f"{world.directory.contact(world.mask.mask_id, None).token}@mask.example")


def _another_owner(world: World, token: str) -> None:
    world.directory.add("other@mask.example", "you@elsewhere.example")
    answer(world, token, sender="you@elsewhere.example")


@pytest.mark.parametrize(
    "arrive",
    [
        _other_author,
        _unproven,
        _spf_of_another_domain,
        _two_authors,
        _two_from_fields,
        _a_from_field_with_a_space,
        _a_longer_domain,
        _unverified,
        _flagged,
        _inactive,
        _nobody,
        _another_owner,
    ],
)
def test_a_reply_that_is_not_allowed(arrive: Callable[[World, str], None]) -> None:
    """It is not even fetched; the mask's owner is told."""
    world = World()
    arrive(world, token_of(world))
    run_out(world)
    assert states(world) == REFUSED
    assert not world.mailer.sent
    assert not world.store.fetches
    assert [(one.notice.owner_id, one.notice.kind) for one in world.notices.told] == [
        (world.mask.owner.owner_id, "reply_not_allowed")
    ]


def test_spf_alone_is_enough_where_the_envelope_is_the_owner_s_own() -> None:
    """A domain without DMARC may write, too."""
    world = World()
    answer(world, token_of(world), dmarc="GRAY", source="bounces@owner.example")
    run_out(world)
    assert sent_to(world) == [STRANGER]


def test_any_mailbox_of_the_owner_may_answer() -> None:
    """Of a mask with two, and one that the mask does not forward to; a tag on either side does not matter."""
    world = World()
    world.directory.add("other@mask.example", "work@owner.example", owner=OWNER)
    token = token_of(world)
    answer(world, token.replace("@", "+x@"), sender="work+shop@owner.example")
    run_out(world)
    assert sent_to(world) == [STRANGER]


def test_a_conversation_is_one_thread_on_both_sides() -> None:
    """Stranger, owner, stranger, owner: each knows the other's mails by the ids that reached them."""
    world = World()
    received(world, letter(), mail_id="mail-1")
    with running(world):
        assert world.until(lambda: not world.queue.left)
        assert len(world.mailer.sent) == 1
        token = sent_mail(world)["From"].rpartition("<")[2].strip(">")
        assert token == token_of(world)
        answer(world, token, fields=f"In-Reply-To: <ses-1@{SES_DOMAIN}>\r\nReferences: <ses-1@{SES_DOMAIN}>\r\n")
        assert world.until(lambda: not world.queue.left)
        assert len(world.mailer.sent) == 2
        assert sent_mail(world)["In-Reply-To"] == "<one@stranger.example>"
        assert sent_mail(world)["References"] == "<one@stranger.example>"
        again = letter(
            mail_id="two@stranger.example",
            fields=f"In-Reply-To: <ses-2@{SES_DOMAIN}>\r\n"
            f"References: <one@stranger.example>\r\n <ses-2@{SES_DOMAIN}>\r\n",
        )
        received(world, again, mail_id="mail-2")
        assert world.until(lambda: not world.queue.left)
        assert len(world.mailer.sent) == 3
        assert sent_mail(world)["In-Reply-To"] == "<answer@owner.example>"
        assert sent_mail(world)["References"].split() == [f"<ses-1@{SES_DOMAIN}>", "<answer@owner.example>"]
        fields = f"In-Reply-To: <ses-3@{SES_DOMAIN}>\r\nReferences: <answer@owner.example> <ses-3@{SES_DOMAIN}>\r\n"
        answer(world, token, mail_id="answer-2", fields=fields)
        assert world.until(lambda: not world.queue.left)
        assert len(world.mailer.sent) == 4
    assert sent_mail(world)["In-Reply-To"] == "<two@stranger.example>"
    assert sent_mail(world)["References"].split() == [f"<ses-2@{SES_DOMAIN}>", "<two@stranger.example>"]
    to_stranger = [send.mail.data for send in world.mailer.sent if send.mail.recipient == STRANGER]
    assert len(to_stranger) == 2
    assert not any(b"owner.example" in data for data in to_stranger)


def test_several_tokens_in_one_mail() -> None:
    """Each contact gets one, and each sees to whom else it went: by their own addresses."""
    world = World()
    first, second = token_of(world), token_of(world, "support@other.example")
    answer(world, f"{first}, Support <{second}>", first, second)
    run_out(world)
    assert sorted(sent_to(world)) == [STRANGER, "support@other.example"]
    assert {str(sent_mail(world, number)["To"]) for number in (0, 1)} == {f"{STRANGER}, support@other.example"}
    assert states(world) == [("sent", None)] * 2


@pytest.mark.parametrize("stranger", ["friend@elsewhere.example", OWNER, "other@mask.example"])
def test_a_leak_is_refused_and_the_owner_told_once(stranger: str) -> None:
    """A mail that also goes to somebody's real address would tell one who the other is: refused whole, and said so
    once a day.
    """
    world = World()
    world.directory.add("other@mask.example", "you@elsewhere.example")
    token = token_of(world)
    for number in range(3):
        answer(world, f"{token}, {stranger}", token, mail_id=f"answer-{number}")
    run_out(world)
    assert not world.mailer.sent
    assert states(world) == [("discarded", "reply_leak")] * 3
    assert told(world) == ["reply_leak"]


def test_a_token_of_another_owner_s_is_a_leak() -> None:
    """Whoever saw it in a mail may not use it."""
    world = World()
    world.directory.add("other@mask.example", "you@elsewhere.example")
    token, theirs = token_of(world), token_of(world, "bank@b.example", "other@mask.example")
    answer(world, f"{token}, {theirs}", token, theirs)
    run_out(world)
    assert not world.mailer.sent
    assert states(world) == [("discarded", "reply_leak"), ("discarded", "reply_not_allowed")]


@pytest.mark.parametrize("fields", ["Auto-Submitted: auto-replied\r\n", "Precedence: bulk\r\n"])
def test_automatic_mail_is_never_answered_by_a_notice(fields: str) -> None:
    """Refused for three reasons, and nobody hears of it: two programs would talk to each other for ever."""
    world = World()
    token = token_of(world)
    answer(world, token, mail_id="a", sender=STRANGER, fields=fields)
    answer(world, f"{token}, friend@elsewhere.example", token, mail_id="b", fields=fields)
    world.mailer.fail_with(PermanentError("ses_rejected"), times=9)
    answer(world, token, mail_id="c", fields=fields)
    run_out(world)
    assert states(world) == [
        ("discarded", "reply_leak"),
        ("discarded", "reply_not_allowed"),
        ("failed", "ses_rejected"),
    ]
    assert told(world) == []


def test_an_owner_s_automatic_answer_is_sent() -> None:
    """An out-of-office answer is an answer, and still says what it is."""
    world = World()
    answer(world, token_of(world), fields="Auto-Submitted: auto-replied\r\n")
    run_out(world)
    assert sent_mail(world)["Auto-Submitted"] == "auto-replied"


def test_a_reply_whose_header_was_cut_is_decided_again() -> None:
    """Its author is not in the notification: it is fetched, and then sent."""
    world = World()
    answer(world, token_of(world), cut=True)
    run_out(world)
    assert sent_to(world) == [STRANGER]


@pytest.mark.parametrize(
    "more",
    [
        {"sender": "thief@evil.example"},
        {"fields": "From: thief@evil.example\r\n"},
        {"fields": "From : thief@evil.example\r\n"},
        {"sender": "Jane Doe"},
    ],
)
def test_a_stranger_s_reply_whose_header_was_cut_is_refused(more: dict[str, str]) -> None:
    """DMARC passed for somebody; the mail itself shows that it was not the owner."""
    world = World()
    answer(world, token_of(world), cut=True, source="thief@evil.example", **more)
    run_out(world)
    assert states(world) == REFUSED
    assert not world.mailer.sent
    assert told(world) == ["reply_not_allowed"]


def test_the_daily_limit_of_replies() -> None:
    """The third of two is refused; the next day is another day."""
    world = World(limits=Limits(replies=2), concurrency=1)
    token = token_of(world)
    with running(world):
        for number in range(3):
            answer(world, token, mail_id=f"answer-{number}")
            assert world.until(lambda: not world.queue.left)
        assert sorted(states(world)) == [*REFUSED, ("sent", None), ("sent", None)]
        world.clock.sleep(86_400)
        answer(world, token, mail_id="tomorrow")
        assert world.until(lambda: not world.queue.left)
    assert len(world.mailer.sent) == 3


@pytest.mark.parametrize("reason", ["ses_rejected", "ses_refused_malformed"])
def test_a_reply_that_ses_refuses(reason: str) -> None:
    """It is never sent in another form: dead-lettered, kept, and its owner told to whom it did not go."""
    world = World()
    world.mailer.fail_with(PermanentError(reason), times=9)
    answer(world, token_of(world))
    run_out(world)
    assert world.mailer.calls == 1
    assert [dead.reason for dead in world.queue.dead_letters] == [reason]
    assert [held.reason for held in world.ledger.quarantine] == [reason]
    assert told(world) == ["mail_refused"]


def test_a_reply_that_was_refused_may_be_released() -> None:
    """It is decided again, on the whole mail, as the owner's own."""
    world = World()
    world.mailer.fail_with(PermanentError("ses_rejected"))
    answer(world, token_of(world))
    run_out(world)
    (held,) = world.ledger.quarantine
    sealed = own.seal(held.held.notification, released=[held.reason], secrets=(SECRET,), now=0.0)
    world.queue.publish(sealed)
    run_out(world)
    assert sent_to(world) == [STRANGER]


def test_a_reply_with_a_virus() -> None:
    """It goes nowhere, and is no reply: nobody is told."""
    world = World()
    answer(world, token_of(world), virus="FAIL")
    run_out(world)
    assert states(world) == [("discarded", "virus")]
    assert told(world) == []


def test_a_reply_from_a_disabled_mask() -> None:
    """The owner may still end a conversation."""
    world = World()
    token = token_of(world)
    world.directory.set_mask("shop@mask.example", enabled=False)
    answer(world, token)
    run_out(world)
    assert sent_to(world) == [STRANGER]


def test_the_token_of_a_removed_mask_is_nobody_s() -> None:
    """As the mask's own address."""
    world = World()
    token = token_of(world)
    world.directory.remove("shop@mask.example")
    answer(world, token)
    run_out(world)
    assert states(world) == [("discarded", "unknown_mask")]


def test_a_notice_names_the_refused_mail() -> None:
    """So that its owner knows which one it was."""
    world = World()
    answer(world, token_of(world), dmarc="FAIL", spf="FAIL")
    run_out(world)
    facts = world.notices.told[0].notice.facts
    assert facts["mask"] == "shop@mask.example"
    assert facts["subject"] == "hello"
    assert facts["sender"] == OWNER
