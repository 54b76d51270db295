"""What the ledger knows of mails that are to be put through again, on SQLite and on PostgreSQL."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from relayd.adapters.database import Database
from relayd.adapters.ledger import SqlLedger
from relayd.errors import HoldError
from relayd.model.address import Address
from relayd.model.delivery import Claim, Concern, DeliveryKey, Draft, Held
from relayd.ops.replay.deliveries import NOWHERE, DeliverySource, Place, State, Wanted
from relayd.ops.replay.ended import Endings
from relayd.ops.replay.offers import Offer
from relayd.ops.replay.raw_mails import RawMails
from relayd.wire.compact import compact
from tests.fakes.clock import VirtualClock
from tests.replay.raw import FakeBucket, raw_mail
from tests.wire.samples import received_text

CONCERN = Concern("forward", "mask1", "owner1")
SHOP = "shop@mask.example"


class Rows:
    """A ledger with a story."""

    def __init__(self, database: Database, clock: VirtualClock) -> None:
        self.ledger = SqlLedger(database)
        self.clock = clock

    def add(self, mail_id: str, state: str, reason: str = "", recipient: str = SHOP, box: str = "me@x.example") -> None:
        """One delivery, ten seconds after the one before."""
        self.clock.sleep(10)
        key = DeliveryKey(mail_id, recipient, box)
        if state == "discarded":
            self.ledger.discarded(key, reason, message_id=f"sqs-{mail_id}", concern=CONCERN)
            return
        claim = self.ledger.claim(key, CONCERN, message_id=f"sqs-{mail_id}", ttl=60, trace=None)
        assert isinstance(claim, Claim)
        if state == "failed":
            self.ledger.failed(claim, reason, message_id=f"sqs-{mail_id}")
        elif state == "sent":
            self.ledger.begin_send(claim, Draft(), ttl=60)
            self.ledger.sent(claim, f"ses-{mail_id}")


@pytest.fixture
def rows(database: Database, clock: VirtualClock) -> Rows:
    return Rows(database, clock)


def test_how_far_mails_are(database: Database, rows: Rows) -> None:
    """By recipient and mailbox; nothing of mails that nobody asked about, or that the ledger has never heard of."""
    rows.add("m1", "sent")
    rows.add("m1", "failed", "bug", box="other@x.example")
    rows.add("m1", "discarded", "spam", recipient="b@mask.example", box="")
    rows.add("m2", "claimed")
    rows.add("m3", "sent")
    found = Endings(database).of(["m1", "m2", "m1", "m9"])
    assert {mail_id: ended.states for mail_id, ended in found.items()} == {
        "m1": {
            SHOP: {"me@x.example": "sent", "other@x.example": "failed"},
            "b@mask.example": {"": "discarded"},
        },
        "m2": {SHOP: {"me@x.example": "claimed"}},
    }
    assert Endings(database).of([]) == {}


def test_many_mails_at_once(database: Database, rows: Rows) -> None:
    """More than a query takes parameters for."""
    rows.add("m1233", "sent")
    assert list(Endings(database).of(f"m{number}" for number in range(1_234))) == ["m1233"]


def source(
    database: Database, bucket: FakeBucket, *states: State, prefixes: Sequence[str] = ("",), **wanted: Any
) -> DeliverySource:
    places = [Place(bucket, prefix) for prefix in prefixes]
    return DeliverySource(database, Wanted(states or ("failed",), **wanted), places, RawMails(VirtualClock()))


def offers(found: DeliverySource) -> list[Offer]:
    return [one for portion in found.offers() for one in portion]


def recipients(found: Offer) -> tuple[str, ...]:
    assert found.received is not None
    return found.received.recipients


def test_one_offer_a_mail_for_those_it_failed_for(database: Database, rows: Rows) -> None:
    """Whoever got it does not get it again: the recipients are those of the rows, and not those of the mail."""
    for box in ("a@x.example", "b@x.example"):
        rows.add("m1", "failed", "ses_rejected", box=box)
    rows.add("m1", "failed", "bug", recipient="b@mask.example")
    rows.add("m1", "sent", recipient="c@mask.example")
    rows.add("m2", "sent")
    bucket = FakeBucket({"m1": raw_mail("m1", recipient="c@mask.example")})
    found = source(database, bucket)
    assert found.total() == 1
    [one] = offers(found)
    assert recipients(one) == (SHOP, "b@mask.example")
    assert (one.reason, one.problem, one.names) == ("ses_rejected", "", frozenset({"m1", "sqs-m1"}))


@pytest.mark.parametrize(
    ("states", "wanted", "mails"),
    [
        (("failed",), {}, ["m1", "m2"]),
        (("discarded",), {}, ["m3"]),
        (("sent",), {}, ["m4"]),
        (("failed", "sent"), {}, ["m1", "m2", "m4"]),
        (("failed",), {"reasons": frozenset({"bug"})}, ["m2"]),
        (("failed",), {"mask": Address.parse("Other+y@mask.example")}, ["m2"]),
        (("failed",), {"name": "m1"}, ["m1"]),
        (("failed",), {"name": "sqs-m2"}, ["m2"]),
        (("failed",), {"name": "m4"}, []),
    ],
)
def test_what_was_asked_for(
    database: Database, rows: Rows, states: tuple[State, ...], wanted: dict[str, Any], mails: list[str]
) -> None:
    """By state, reason, mask and id, oldest first."""
    rows.add("m1", "failed", "ses_rejected")
    rows.add("m2", "failed", "bug", recipient="other+x@mask.example")
    rows.add("m3", "discarded", "mask_disabled", box="")
    rows.add("m4", "sent")
    rows.add("m5", "claimed")
    bucket = FakeBucket({f"m{n}": raw_mail(f"m{n}") for n in range(6)})
    found = offers(source(database, bucket, *states, **wanted))
    assert [one.received.mail_id for one in found if one.received] == mails


def test_since_and_until(database: Database, rows: Rows) -> None:
    """From the one on, and before the other, by the row's last change."""
    began = rows.clock.time()
    for number in range(4):
        rows.add(f"m{number}", "failed", "bug")
    bucket = FakeBucket({f"m{n}": raw_mail(f"m{n}") for n in range(4)})
    found = offers(source(database, bucket, since=began + 20, until=began + 40))
    assert [one.received.mail_id for one in found if one.received] == ["m1", "m2"]
    assert [one.at for one in found] == [began + 20, began + 30]


def test_a_notification_that_was_kept(database: Database, rows: Rows) -> None:
    """Where the mail was held back, its own says where it lies and what SES found: nobody has to look for it."""
    text = compact(received_text(mail={"messageId": "m1"}, receipt={"spamVerdict": {"status": "FAIL"}}), SHOP)
    key = DeliveryKey("m1", SHOP, "me@x.example")
    claim = rows.ledger.claim(key, CONCERN, message_id="sqs-m1", ttl=60, trace=None)
    assert isinstance(claim, Claim)
    rows.ledger.failed(claim, "mail_refused", message_id="sqs-m1", held=Held(text))
    [one] = offers(source(database, FakeBucket({})))
    assert (one.text, one.problem) == (text, "")


def test_a_notification_that_was_kept_for_one_of_several(database: Database, rows: Rows) -> None:
    """It is for that one alone; the others must not be forgotten over it."""
    rows.add("m1", "failed", "bug", recipient="b@mask.example")
    key = DeliveryKey("m1", SHOP, "me@x.example")
    claim = rows.ledger.claim(key, CONCERN, message_id="sqs-m1", ttl=60, trace=None)
    assert isinstance(claim, Claim)
    text = compact(received_text(mail={"messageId": "m1"}), SHOP)
    rows.ledger.failed(claim, "mail_refused", message_id="sqs-m1", held=Held(text))
    [one] = offers(source(database, FakeBucket({"m1": raw_mail("m1")})))
    assert set(recipients(one)) == {SHOP, "b@mask.example"}


def test_the_mail_is_looked_for(database: Database, rows: Rows) -> None:
    """In each place by turns; what is nowhere is told of, and so is what lies there and is not SES's."""
    for mail_id in ("m1", "m2", "m3", "m4"):
        rows.add(mail_id, "failed", "bug")
    bucket = FakeBucket({"m1": raw_mail("m1"), "in/m2": raw_mail("m2"), "m4": b"From: a@b.example\r\n\r\nx\r\n"})
    bucket.errors["m3"] = HoldError("s3", "access_denied", wide=False)
    found = {
        one.problem or json.loads(one.text or "")["receipt"]["action"]["objectKey"]
        for one in offers(source(database, bucket, prefixes=("", "in/")))
    }
    assert found == {"m1", "in/m2", "access_denied", "not_from_ses"}
    bucket.errors.clear()
    problems = [one.problem for one in offers(source(database, bucket, prefixes=("", "in/")))]
    assert problems == ["", "", NOWHERE, "not_from_ses"]


def test_mails_are_read_when_their_turn_comes(database: Database, rows: Rows) -> None:
    """A stop after the first portion has not read them all; how many there are is known all the same."""
    for number in range(200):
        rows.add(f"m{number:03}", "failed", "bug")
    bucket = FakeBucket({f"m{n:03}": raw_mail(f"m{n:03}") for n in range(200)})
    found = source(database, bucket)
    portions = found.offers()
    assert next(portions) == []
    first = next(portions)
    assert bucket.reads == len(first) < 100
    assert found.total() == 200
    assert len(first) + sum(len(portion) for portion in portions) == bucket.reads == 200
