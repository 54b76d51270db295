"""What an operator finds in the ledger, on SQLite and PostgreSQL alike: each delivery by whatever is in hand, and its
whole story.
"""

from dataclasses import replace

import pytest
import sqlalchemy as sa

from relayd.adapters.database import Database
from relayd.adapters.ledger import SqlLedger
from relayd.adapters.schema import attempts, deliveries
from relayd.model.address import Address
from relayd.model.delivery import (
    CLAIM_EXPIRED,
    IN_DOUBT,
    Claim,
    Concern,
    DeliveryKey,
    Draft,
    Held,
    Lost,
    Replay,
)
from relayd.model.feedback import Fail, Feedback
from relayd.ops.deliveries import Choice, Delivery, choose, find, siblings, trace_id_of
from relayd.ops.delivery_hints import DISCARDED, FAILED, hints
from relayd.ops.delivery_stories import UNDER_WAY, Story, stories
from relayd.ops.refusals import RefusedError
from relayd.rules import inbound
from tests.contract.deliveries import DRAFT, TTL, ask, send, take
from tests.contract.operated import Operated
from tests.contract.stores import SqlStores
from tests.fakes.clock import VirtualClock

BOX = "me@example.org"
TRACES = [f"00-{number:032x}-{number:016x}-01" for number in range(1, 100)]


class Ledger:
    """A real one, with a mask, and mails that are told apart by their ids."""

    def __init__(self, database: Database, clock: VirtualClock) -> None:
        self.database, self.clock = database, clock
        self.stores = SqlStores(database)
        self.ledger: SqlLedger = self.stores.ledger
        self.directory: Operated = self.stores.directory
        self.shop = self.directory.add("shop@mask.example")
        self.concern = Concern("forward", self.shop.mask_id, self.shop.owner.owner_id)

    def key(self, mail_id: str, recipient: str = "shop@mask.example", mailbox: str = BOX) -> DeliveryKey:
        return DeliveryKey(mail_id, recipient, mailbox)

    def send(self, mail_id: str) -> Claim:
        claim = send(self.ledger, self.key(mail_id), self.concern, ses_id=f"ses-{mail_id}")
        self.clock.sleep(1)
        return claim

    def take(self, mail_id: str, *, message: str = "m1", trace: str | None = None) -> Claim:
        claim = take(self.ledger, self.key(mail_id), self.concern, message=message, trace=trace)
        self.clock.sleep(1)
        return claim

    def discard(self, mail_id: str, reason: str, *, known: bool = True, held: Held | None = None) -> None:
        recipient = "shop@mask.example" if known else "shop+tag@mask.example"
        concern = self.concern if known else None
        self.ledger.discarded(self.key(mail_id, recipient, ""), reason, message_id="m1", concern=concern, held=held)
        self.clock.sleep(1)

    def found(self, **chosen: object) -> list[str]:
        return [one.mail_id for one in choose(self.database, Choice(**chosen))]  # type: ignore[arg-type]

    def story(self, name: str) -> Story:
        (story,) = stories(self.database, find(self.database, name))
        return story

    def one(self, name: str) -> Delivery:
        (found,) = find(self.database, name)
        return found


@pytest.fixture
def world(database: Database, clock: VirtualClock) -> Ledger:
    return Ledger(database, clock)


def told(story: Story) -> list[tuple[int | None, str]]:
    return [(one.number, one.outcome) for one in story.attempts]


def commands(story: Story) -> str:
    return "\n".join(hint.command for hint in hints(story) if hint.command)


# Finding.


def test_newest_first_and_no_more_than_asked_for(world: Ledger) -> None:
    """By when the mail came, whatever happened to it since."""
    for mail_id in ("a", "b", "c"):
        world.send(mail_id)
    world.take("d")
    world.ledger.give_back(world.take("e"), "s3_timeout")
    world.take("e")
    assert world.found() == ["e", "d", "c", "b", "a"]
    assert world.found(limit=2) == ["e", "d"]
    assert world.found(states=("sent",), limit=2) == ["c", "b"]


def test_a_mask_s_are_its_replies_too_and_what_came_before_it_was_there(world: Ledger) -> None:
    """By its id, and by the address for mail that there was no mask for; nobody else's, however alike it looks."""
    other = world.directory.add("shop_@mask.example")
    world.discard("early", "unknown_mask", known=False)
    world.send("forward")
    reply = Concern("reply", world.shop.mask_id, world.shop.owner.owner_id)
    send(world.ledger, world.key("reply", "token@mask.example", "seller@shop.example"), reply)
    send(world.ledger, world.key("other", "shop_@mask.example"), replace(world.concern, mask_id=other.mask_id))
    for number, recipient in enumerate(("shopping@mask.example", "shop+a@other.example", "shopx+a@mask.example")):
        key = world.key(f"foreign{number}", recipient, "")
        world.ledger.discarded(key, "unknown_mask", message_id="m", concern=None)
    assert world.found(mask=Address.parse("shop+any@mask.example")) == ["reply", "forward", "early"]
    assert world.found(mask=Address.parse("shop_@mask.example")) == ["other"]
    assert world.found(mask=Address.parse("nobody@mask.example")) == []


def test_a_time_is_of_the_mail_s_coming(world: Ledger) -> None:
    """Since is with, until is without."""
    began = world.clock.time()
    for mail_id in ("a", "b", "c"):
        world.send(mail_id)
    assert world.found(since=began + 0.5) == ["c", "b"]
    assert world.found(until=began + 1.5) == ["b", "a"]
    assert world.found(since=began + 0.5, until=began + 1.5) == ["b"]


def test_states_are_as_of_now(world: Ledger) -> None:
    """What SES may have is open as well as in doubt, until it is given up; and in doubt still when it is."""
    world.send("sent")
    world.discard("discarded", "spam")
    world.ledger.failed(world.take("failed"), "refused", message_id="m1")
    world.ledger.give_back(world.take("waiting"), "s3_timeout")
    for mail_id in ("doubt", "resent", "lost"):
        world.ledger.begin_send(world.take(mail_id), DRAFT, ttl=TTL)
    world.clock.sleep(TTL)
    world.ledger.begin_send(world.take("lost"), DRAFT, ttl=TTL)
    world.clock.sleep(TTL)
    lost = ask(world.ledger, world.key("lost"), world.concern)
    assert isinstance(lost, Lost)
    world.ledger.failed(lost.claim, IN_DOUBT, message_id="m1")
    world.take("resent")
    world.take("live")
    standing = {one.mail_id: one.state for one in choose(world.database, Choice())}
    assert standing == {
        "sent": "sent",
        "discarded": "discarded",
        "failed": "failed",
        "waiting": "open",
        "doubt": "in-doubt",
        "resent": "in-doubt",
        "lost": "failed",
        "live": "open",
    }
    assert world.found(states=("open",)) == ["live", "resent", "doubt", "waiting"]
    assert world.found(states=("in-doubt",)) == ["lost", "resent", "doubt"]
    assert world.found(states=("failed", "sent")) == ["lost", "failed", "sent"]


def test_a_reason_is_that_of_the_end_or_of_the_last_try(world: Ledger) -> None:
    """Not of a try that is long forgotten, nor of one before a send."""
    world.discard("spam", "spam")
    world.ledger.give_back(world.take("waiting"), "s3_timeout")
    world.ledger.give_back(world.take("moved on"), "s3_timeout")
    world.ledger.give_back(world.take("moved on"), "ses_throttled")
    world.ledger.give_back(world.take("sent"), "s3_timeout")
    world.send("sent")
    assert world.found(reason="spam") == ["spam"]
    assert world.found(reason="s3_timeout") == ["waiting"]
    assert world.found(reason="ses_throttled") == ["moved on"]
    assert [one.reason for one in choose(world.database, Choice(states=("open",)))] == ["ses_throttled", "s3_timeout"]


def test_ids_are_found_now_and_before_a_replay(world: Ledger) -> None:
    """SES's of the mail as it came and as it was sent, each time; and every attempt's trace."""
    world.send("a")
    first = world.take("b", trace=TRACES[0])
    world.ledger.give_back(first, "s3_timeout")
    claim = world.take("b", trace=TRACES[1])
    world.ledger.begin_send(claim, DRAFT, ttl=TTL)
    world.ledger.sent(claim, "ses-1")
    key = world.key("b")
    take(world.ledger, key, world.concern, message="r1", trace=TRACES[2], replay=Replay("act", again=True))
    assert world.found(mail_id="b") == world.found(ses_id="ses-1") == ["b"]
    for trace in TRACES[:3]:
        assert world.found(trace_id=trace_id_of(trace)) == ["b"]
    assert world.found(trace_id="f" * 32) == world.found(ses_id="ses") == world.found(mail_id="") == []
    assert world.found(mail_id="b", ses_id="ses-a") == []


def test_one_id_finds_it_whatever_it_is(world: Ledger) -> None:
    """Ours, SES's tag, SES's ids, and both Message-IDs, with or without brackets and blanks."""
    claim = world.take("mail-1")
    world.ledger.begin_send(claim, Draft(10, "4711@stranger.example"), ttl=TTL)
    world.ledger.sent(claim, "0102-ses")
    names = [
        claim.delivery_id,
        f"{claim.delivery_id}-1",
        "mail-1",
        " 0102-ses ",
        "<0102-ses@eu-west-1.amazonses.com>",
        "<4711@stranger.example>",
        "4711@stranger.example",
    ]
    assert {world.one(name).delivery_id for name in names} == {claim.delivery_id}


@pytest.mark.parametrize("name", ["", "nothing", "%", "@", "<>", "x@y.example", "nul\0byte", "half\udc80", "x" * 9999])
def test_what_is_not_there_is_refused_with_a_hint(world: Ledger, name: str) -> None:
    """Whatever was typed."""
    world.send("mail-1")
    with pytest.raises(RefusedError) as caught:
        find(world.database, name)
    assert "deliveries list --mask" in caught.value.problems[0].hint


def test_a_mail_has_all_its_deliveries(world: Ledger) -> None:
    """And one of them knows how many others there are."""
    for mailbox in ("a@example.org", "b@example.org"):
        send(world.ledger, world.key("mail-1", mailbox=mailbox), world.concern)
    world.send("mail-2")
    found = find(world.database, "mail-1")
    assert [one.to for one in found] == ["a@example.org", "b@example.org"]
    assert [siblings(world.database, one) for one in (*found, world.one("mail-2"))] == [1, 1, 0]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (TRACES[9], f"{10:032x}"),
        ("ABCDEF0123456789abcdef0123456789", "abcdef0123456789abcdef0123456789"),
        (f"  {'0' * 31}1\n", f"{1:032x}"),
        ("1-5759e988-bd862e3fe1be46a994272793", None),
        ("%" * 32, None),
        ("a" * 33, None),
        ("", None),
        (None, None),
    ],
)
def test_a_trace_s_id_is_read(text: str | None, found: str | None) -> None:
    """Alone, or as a traceparent has it."""
    assert trace_id_of(text) == found


# Stories.


def test_a_mail_that_went_through_at_once(world: Ledger) -> None:
    """One attempt, of which only the delivery itself tells."""
    began = world.clock.time()
    claim = take(world.ledger, world.key("a"), world.concern, trace=TRACES[0])
    world.clock.sleep(2)
    world.ledger.begin_send(claim, Draft(10, None, 3), ttl=TTL)
    world.ledger.sent(claim, "ses-a")
    story = world.story("a")
    (only,) = story.attempts
    assert (only.number, only.outcome, only.message_id, only.ses_id) == (1, "sent", "m1", "ses-a")
    assert only.trace_id == trace_id_of(TRACES[0])
    assert (only.began_at, only.ended_at) == pytest.approx((began, began + 2), abs=1e-3)
    assert (story.delivery.size, story.delivery.trackers, story.delivery.mask) == (10, 3, "shop@mask.example")
    assert "replay --deliveries --message-id a --state sent --again" in commands(story)


def test_a_long_way(world: Ledger) -> None:
    """Every kind of end that an attempt can have, in order, and no attempt twice or left out."""
    world.ledger.give_back(world.take("a"), "s3_timeout")
    world.take("a")
    world.clock.sleep(TTL)
    world.ledger.begin_send(world.take("a"), DRAFT, ttl=TTL)
    world.clock.sleep(TTL)
    world.ledger.failed(world.take("a"), "ses_rejected", message_id="m1")
    world.ledger.refused(world.take("a", message="m2"), "loop")
    key, act = world.key("a"), Replay("act")
    claim = take(world.ledger, key, world.concern, message="r1", replay=act)
    assert told(world.story("a"))[-1] == (6, UNDER_WAY)
    world.ledger.begin_send(claim, DRAFT, ttl=TTL)
    world.ledger.sent(claim, "ses-1")
    story = world.story("a")
    ends = ["s3_timeout", CLAIM_EXPIRED, IN_DOUBT, "ses_rejected", "loop", "sent"]
    assert told(story) == list(enumerate(ends, 1))
    assert [one.replay_id for one in story.attempts] == [None] * 5 + ["act"]
    take(world.ledger, key, world.concern, message="r2", replay=Replay("again", again=True))
    after = world.story("a")
    assert told(after) == [*told(story), (7, UNDER_WAY)]
    assert [one.ses_id for one in after.attempts] == [None] * 5 + ["ses-1", None]
    assert all(one.began_at is not None for one in after.attempts)


def test_decisions_without_an_attempt(world: Ledger) -> None:
    """Discarded, replayed, discarded once more: each is told, and none has a number."""
    world.discard("a", "spam")
    assert told(world.story("a")) == [(None, "spam")]
    world.ledger.give_back(world.take("b"), "s3_timeout")
    world.ledger.discarded(world.key("b"), "mask_disabled", message_id="m2", concern=world.concern)
    assert told(world.story("b")) == [(1, "s3_timeout"), (None, "mask_disabled")]
    world.ledger.discarded(world.key("c"), "bounce_pause", message_id="m3", concern=world.concern)
    take(world.ledger, world.key("c"), world.concern, message="r1", replay=Replay("act"))
    assert told(world.story("c")) == [(None, "bounce_pause"), (1, UNDER_WAY)]
    world.ledger.refused(world.take("d"), "loop")
    assert told(world.story("d")) == [(1, "loop")]
    world.clock.sleep(60)
    world.ledger.discarded(world.key("d"), "loop", message_id="r1", concern=world.concern, replay=Replay("act"))
    assert told(world.story("d")) == [(1, "loop"), (None, "loop")]


def test_who_is_gone(world: Ledger) -> None:
    """A claim that ran out: nobody has taken it over yet, so nobody has written it down."""
    world.take("claimed")
    world.ledger.begin_send(world.take("sending"), DRAFT, ttl=TTL)
    assert told(world.story("claimed")) == told(world.story("sending")) == [(1, UNDER_WAY)]
    assert "A replica has it in hand" in hints(world.story("claimed"))[0].text
    world.clock.sleep(TTL)
    assert told(world.story("claimed")) == [(1, CLAIM_EXPIRED)]
    assert told(world.story("sending")) == [(1, IN_DOUBT)]
    assert "process that had it is gone" in hints(world.story("claimed"))[0].text
    assert f"relayd-delivery={world.one('sending').delivery_id}-1" in hints(world.story("sending"))[0].text


def test_what_ses_took_back(world: Ledger) -> None:
    """It was sent, and then it was not: the last word is told, with SES's id."""
    claim = world.send("a")
    event = Feedback("reject", "event-1", "ses-a", claim.delivery_id, 1)
    world.stores.feedbacks.apply(event, [Fail(claim.delivery_id, "ses_rejected_virus")])
    (only,) = world.story("a").attempts
    assert (only.outcome, only.ses_id) == ("ses_rejected_virus", "ses-a")


def test_how_things_stand_now(world: Ledger, clock: VirtualClock) -> None:
    """What is held, what it has cost, and whether mask, owner and mailbox are well: for what can be done."""
    world.discard("spam", "spam", held=Held("{}", "a", "b"))
    world.discard("off", "mask_disabled")
    world.discard("flag", "owner_flagged")
    world.ledger.charge("m1", bug=False)
    world.ledger.give_back(world.take("open"), "s3_timeout")
    world.send("sent")
    assert world.story("open").around.charged == 1
    around = world.story("sent").around
    assert (around.mask_enabled, around.owner_active, around.mailbox_paused_until) == (True, True, None)
    assert "quarantine release" in commands(world.story("spam"))
    assert "masks enable" not in commands(world.story("off"))
    world.directory.set_mask("shop@mask.example", enabled=False)
    world.directory.set_owner(world.shop.owner.owner_id, flagged=True)
    world.directory.pause(BOX, "hard", clock.time() + 60)
    assert "masks enable shop@mask.example" in commands(world.story("off"))
    assert f"owners unflag {BOX}" in commands(world.story("flag"))
    assert f"owners mailbox unpause {BOX} {BOX}" in commands(world.story("sent"))
    reply = replace(world.concern, kind="reply")
    send(world.ledger, world.key("reply", "token@mask.example"), reply, ses_id="ses-reply")
    assert "unpause" not in commands(world.story("reply")), "a correspondent may be somebody's mailbox, too"
    clock.sleep(60)
    assert "unpause" not in commands(world.story("sent"))


@pytest.mark.parametrize("reason", [*DISCARDED, *inbound.REASONS, "something_new"])
def test_every_discard_has_something_to_say(world: Ledger, reason: str) -> None:
    """And a command only where every word of it is known."""
    world.discard("a", reason, known=reason not in ("unknown_mask", "rule_limit", "no_recipient", "noreply"))
    said = hints(world.story("a"))
    assert said
    assert all(hint.text for hint in said)
    assert all("None" not in hint.command for hint in said)


@pytest.mark.parametrize("reason", [*FAILED, "something_new"])
def test_every_failure_has_something_to_say(world: Ledger, reason: str) -> None:
    """The dead letter is where it can be tried again from."""
    world.ledger.failed(world.take("a"), reason, message_id="m1")
    story = world.story("a")
    assert hints(story)
    hopeless = reason in FAILED and not FAILED[reason].may_change
    assert ("replay --dead-letters --message-id a" in commands(story)) is not hopeless


def test_rows_of_before_tell_what_they_know(world: Ledger, database: Database) -> None:
    """An older relayd kept no attempts and no times of claims."""
    world.ledger.failed(world.take("a"), "refused", message_id="m1")
    world.ledger.give_back(world.take("b", trace=TRACES[0]), "s3_timeout")
    claim = world.take("b", trace=TRACES[1])
    world.ledger.begin_send(claim, DRAFT, ttl=TTL)
    world.ledger.sent(claim, "ses-1")
    with database.writing() as connection:
        connection.execute(sa.delete(attempts))
        connection.exec_driver_sql("UPDATE deliveries SET claimed_at = NULL")
    assert told(world.story("a")) == [(1, "refused")]
    (only,) = world.story("b").attempts
    assert (only.number, only.outcome, only.began_at) == (2, "sent", None)
    assert world.found(trace_id=trace_id_of(TRACES[0])) == ["b"]


def test_many_are_told_in_few_questions(world: Ledger, database: Database) -> None:
    """A mail to six hundred mailboxes, each of which failed once before."""
    world.ledger.give_back(world.take("mail"), "s3_timeout")
    with database.writing() as connection:
        row = dict(connection.execute(sa.select(deliveries)).mappings().one())
        tried = dict(connection.execute(sa.select(attempts)).mappings().one())
        more = [{"delivery_id": f"{number:020x}"} for number in range(599)]
        connection.execute(sa.insert(deliveries), [row | one | {"mailbox": one["delivery_id"]} for one in more])
        connection.execute(sa.insert(attempts), [tried | one for one in more])
    said: list[str] = []
    sa.event.listen(database.engine, "before_cursor_execute", lambda *args: said.append(str(args[2])))
    asked = find(database, "mail")
    found = stories(database, asked)
    assert [len(story.attempts) for story in found] == [1] * 600
    assert [story.delivery for story in found] == asked
    assert sum("SELECT" in one for one in said) <= 7
