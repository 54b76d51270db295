"""An observer in the same world as a daemon: it finds the same about every mail, and leaves no mark. Virtual time."""

import copy
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from relayd.adapters.observing import (
    ObservedQueue,
    ObservingDirectory,
    ObservingFeedbacks,
    ObservingLedger,
    ObservingMailer,
    ObservingNotices,
    Unpaused,
)
from relayd.errors import TransientError
from relayd.model.notice import OwnerNotice
from relayd.relay import Relay
from relayd.runtime.sightings import Sightings
from relayd.runtime.supervisor import Supervisor
from relayd.stages import Ports
from relayd.telemetry import spans
from tests.engine.mailing import STRANGER, answer, bounced, letter, received, run_out, token_of
from tests.engine.world import MAIL, World, notification
from tests.fakes.ledger_rows import Row


class Watched:
    """An observer of a world's mail, with a queue of its own."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sightings = Sightings(world.clock)
        saw, unpaused = self.sightings.would, Unpaused()
        self.ports: Ports = replace(
            world._ports(),
            mailer=ObservingMailer(),
            directory=ObservingDirectory(world.directory),
            ledger=ObservingLedger(world.ledger, world.clock, saw),
            feedbacks=ObservingFeedbacks(world.feedbacks, saw),
            notices=ObservingNotices(world.clock, saw),
            pauses=unpaused,
            traced=unpaused,
        )

    @contextmanager
    def observing(self) -> Iterator[Supervisor]:
        world = self.world
        relay = Relay(self.ports, world._settings(), jitter=lambda: 0.5)
        engine = world._engine(world.concurrency)
        supervisor = Supervisor(
            ObservedQueue(world.queue),
            relay,
            world.clock,
            world.health,
            engine,
            governed=("s3", "database", "certificates"),
            watchers=(self.sightings.ended,),
        )
        deaf = spans.hear_steps(self.sightings.stepped)
        supervisor.start()
        yield supervisor
        assert supervisor.stop()
        deaf()

    def run_out(self, within: float = 3600.0) -> dict[str, Any]:
        """Observe until the queue is empty, and tell what was seen."""
        with self.observing():
            assert self.world.until(lambda: not self.world.queue.left, within)
        return self.sightings.told()

    @property
    def would(self) -> dict[str, Any]:
        would: dict[str, Any] = self.sightings.told()["would"]
        return would


def marks(world: World) -> dict[str, Any]:
    """Everything in a world that a daemon changes."""
    return copy.deepcopy(
        {
            "ledger": world.ledger.rows,
            "attempts": world.ledger.attempts,
            "quarantine": world.ledger.quarantine,
            "usage": world.ledger.usage.days,
            "contacts": world.directory.contacts,
            "masks": world.directory.masks,
            "notices": world.notices.told,
            "sent": world.mailer.sent,
            "objects": world.store.objects,
            "dead letters": world.queue.dead_letters,
        }
    )


def everything(world: World) -> None:
    """One mail of each kind that the rules and the route know."""
    world.directory.add("two@mask.example", "me@owner.example", "work@owner.example", owner="me@owner.example")
    world.directory.add("off@mask.example", "me@owner.example", owner="me@owner.example", enabled=False)
    world.directory.add_rule("mask.example", "any-*", "me@owner.example", owner="me@owner.example")
    token = token_of(world)
    received(world, MAIL, mail_id="plain")
    received(world, MAIL, "two@mask.example", "shop@mask.example", mail_id="three")
    received(world, MAIL, "two@mask.example", "nobody@mask.example", mail_id="half")
    received(world, MAIL, "any-thing@mask.example", mail_id="ruled")
    received(world, MAIL, "off@mask.example", mail_id="off")
    received(world, MAIL, mail_id="virus", virus="FAIL")
    received(world, MAIL, mail_id="spam", spam="FAIL")
    received(world, letter(fields="X-Later: x\r\nList-Id: <x.example>\r\n"), mail_id="cut", cut=True)
    answer(world, token, mail_id="answer")
    answer(world, token, mail_id="refused-answer", dmarc="FAIL", spf="FAIL")
    world.mail("odd", body="not JSON")
    world.mail("foreign", body=notification("foreign", bucket="somebody-else"))


def fates(rows: list[Row]) -> Counter[tuple[str, str]]:
    """What became of a daemon's deliveries, in an observer's words."""
    words = {"discarded": "discard", "failed": "fail"}
    found = Counter[tuple[str, str]]()
    for row in rows:
        sent = "reply" if row.concern and row.concern.kind == "reply" else "forward"
        found[words.get(row.state, sent), row.reason or ""] += 1
    return found


def seen(would: dict[str, Any]) -> Counter[tuple[str, str]]:
    found = Counter({("forward", ""): would["forward"], ("reply", ""): would["reply"]})
    for fate in ("discard", "quarantine", "fail"):
        # In the ledger what is held back is a discard.
        word = "discard" if fate == "quarantine" else fate
        found += Counter({(word, reason): count for reason, count in would[fate].items()})
    return found


def test_an_observer_finds_what_a_daemon_does() -> None:
    """The same mails, once through a daemon and once through an observer: the same fates, and owners told the same."""
    real, watched = World(), Watched(World())
    everything(real)
    everything(watched.world)
    before = marks(watched.world)
    run_out(real)
    told = watched.run_out()
    expected = fates([row for row in real.ledger.rows.values() if row.concern.kind != "notice"])
    unread = Counter({("fail", letter.reason): 1 for letter in real.queue.dead_letters})
    assert seen(told["would"]) == expected + unread
    assert told["would"]["forward"] == 8
    assert told["would"]["reply"] == 1
    assert set(told["would"]["discard"]) >= {"unknown_mask", "mask_disabled", "virus"}
    assert told["would"]["quarantine"] == {"spam": 1}
    assert told["would"]["fail"] == {"foreign_bucket": 1, "not_json": 1}
    assert told["would"]["tell_owner"] == dict(Counter(one.notice.kind for one in real.notices.told))
    assert told["messages"]["finished"] == len(watched.world.queue.published)
    assert told["messages"]["waiting"] == 0
    assert marks(watched.world) == before
    assert not watched.world.mailer.calls
    assert watched.world.ledger.calls == []


def test_the_mail_is_really_fetched_and_rewritten() -> None:
    """What cannot be fetched or written shows, as it would in a daemon; and where the time went."""
    watched = Watched(World())
    world = watched.world
    world.mails(3)
    world.queue.publish(notification("gone"))
    with watched.observing():
        assert world.until(lambda: watched.sightings.told()["messages"]["finished"] == 3)
        assert world.until(lambda: watched.sightings.told()["messages"]["waiting_for"] == {"content_missing": 1})
        world.store.put("in/gone", MAIL)
        assert world.until(lambda: not world.queue.left)
    told = watched.sightings.told()
    assert told["would"]["forward"] == 4
    assert told["messages"] == {
        "finished": 4,
        "waiting": 0,
        "finished_by": {"accepted": {"forwarded": 4}},
        "waiting_for": {},
    }
    stages = {stage["stage"]: stage for stage in told["stages"]}
    assert stages["s3.fetch"]["count"] >= 5
    assert stages["rewrite"]["count"] == 4
    assert {"decode", "decide", "claim", "record"} <= set(stages)
    assert told["stages"] == sorted(told["stages"], key=lambda stage: -stage["total"])


def test_a_mail_that_can_never_be_fetched_comes_to_its_end() -> None:
    """As in a daemon, after some tries: it would be a dead letter, and is none."""
    watched = Watched(World())
    watched.world.queue.publish(notification("gone"))
    with watched.observing():
        for _ in range(4):
            watched.world.clock.sleep(300)
    assert watched.would["fail"] == {"content_missing": 1}
    assert not watched.world.queue.left
    assert watched.world.queue.dead_letters == []


def test_a_mail_is_counted_once_however_often_it_comes() -> None:
    """Twins of SNS, deletes that SQS loses, and a mail half of which has to wait: each delivery counts once."""
    watched = Watched(World(seed=3))
    world = watched.world
    world.directory.add("two@mask.example", "me@owner.example", "work@owner.example", owner="me@owner.example")
    world.queue.faults.twins = 0.5
    world.queue.faults.lost_answers = {"delete": 0.3}
    world.mails(20)
    for number in range(20):
        world.queue.publish(notification(f"mail-{number}"))
    received(world, MAIL, "two@mask.example", "nobody@mask.example", mail_id="half")
    told = watched.run_out()
    assert told["would"]["forward"] == 22
    assert told["would"]["discard"] == {"unknown_mask": 1}
    assert told["messages"]["waiting"] == 0


def test_what_another_daemon_has_done_with_the_mail_is_no_matter() -> None:
    """An observer beside a daemon of the same database says what it would do with each mail, and disturbs no claim."""
    world = World()
    world.mails(4)
    bodies = [one.body for one in world.queue.published]
    watched = Watched(world)
    run_out(world)
    before = marks(world)
    for body in bodies:
        world.queue.publish(body)
    assert watched.run_out()["would"]["forward"] == 4
    assert marks(world) == before


def test_threads_are_looked_up_in_the_real_ledger() -> None:
    """A mail is rewritten as it would be: with the names that its thread has by now."""
    world = World()
    world.mail("one", letter(mail_id="first@stranger.example"))
    run_out(world)
    watched = Watched(world)
    received(world, letter(fields="In-Reply-To: <first@stranger.example>\r\n"), mail_id="two")
    before = world.ledger.calls.copy()
    watched.run_out()
    assert world.ledger.calls[len(before) :] == ["threads"]


def test_events_are_understood_and_lead_to_nothing() -> None:
    """A bounce that comes among the mail would pause a mailbox, and pauses none."""
    world = World()
    world.mails(1)
    run_out(world)
    (row,) = world.ledger.rows.values()
    watched = Watched(world)
    for _ in range(2):
        world.queue.publish(bounced(row))
    before = marks(world)
    told = watched.run_out()
    assert told["would"]["apply_event"] == {"bounce": 1}
    assert marks(world) == before


def test_a_rule_that_is_used_up_meanwhile() -> None:
    """A mask that a rule would make is not made, and the rule is asked again as a daemon would ask it."""
    watched = Watched(World())
    world = watched.world
    world.directory.add_rule("mask.example", "any-*", "me@owner.example", owner="me@owner.example", limit=1)
    for name in ("one", "two"):
        received(world, MAIL, f"any-{name}@mask.example", mail_id=name)
    # Each of them could be made, since neither is.
    assert watched.run_out()["would"]["forward"] == 2
    assert set(world.directory.masks) == {"shop@mask.example"}


def test_a_pause_of_operators_holds_no_observer() -> None:
    """Nothing is sent anyway."""
    watched = Watched(World())
    watched.world.order_book.pause(everything=True)
    watched.world.orders.refresh()
    watched.world.mails(1)
    assert watched.run_out()["would"]["forward"] == 1


def test_owners_would_be_told_once_a_day() -> None:
    """Of each kind, as the real notices have it."""
    watched = Watched(World())
    owner = watched.world.mask.owner.owner_id
    for _ in range(3):
        watched.ports.notices.tell(OwnerNotice(owner, "mail_refused", {}))
    watched.world.clock.sleep(86_400)
    watched.ports.notices.tell(OwnerNotice(owner, "mail_refused", {}))
    assert watched.would["tell_owner"] == {"mail_refused": 2}
    assert watched.ports.notices.waiting(10) == []


def test_a_database_that_is_away_holds_an_observer_up() -> None:
    """It cannot say what it would do; the mail waits."""
    watched = Watched(World())
    world = watched.world
    world.directory.fail_with = TransientError("database_timeout", dependency="database")
    world.mails(2)
    with watched.observing():
        world.clock.sleep(120)
        assert watched.sightings.told()["messages"]["finished"] == 0
        world.directory.fail_with = None
        assert world.until(lambda: not world.queue.left)
    assert watched.would["forward"] == 2


def test_addresses_never_get_into_what_is_told() -> None:
    """Words, ids and numbers: it may be posted."""
    watched = Watched(World())
    everything(watched.world)
    text = str(watched.run_out())
    assert "@" not in text
    assert STRANGER not in text
