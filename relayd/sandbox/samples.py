"""Mails of our own that differ in what they ask of relayd, each with the end that it must come to.

The same seed and number give the same mail, so that a failure can be run again.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, cycle
from typing import Literal

from relayd.model.address import Address
from relayd.sandbox import letters
from relayd.sandbox.contents import Contents
from relayd.sandbox.letters import Pen
from relayd.sandbox.masks import (
    ADA,
    BRAVE,
    CLEAN,
    CLICK_HOST,
    GONE,
    LOST,
    NEWS,
    OFF,
    PAIR,
    PICKY,
    PIXEL_HOST,
    POST,
    PUSHY,
    QUIET,
    RULE,
    SHOP,
    TEAM,
    WARNING_URL,
    WING,
    SandboxMask,
)
from relayd.sandbox.receiving import EICAR, GTUBE, new_mail_id
from relayd.sandbox.world import DOMAIN, World

Route = Literal["door", "topic", "foreign topic", "queue"]

PEN_FRIEND = "clerk@bureau.example"
"""To whom the owner of `SHOP` writes."""
WRITE_TO = "{write_to}"
"""In the place of an address: the one that the owner writes to, so that the pen friend gets the mail."""


@dataclass(frozen=True, slots=True)
class Expected:
    """How a mail has to end: exactly these deliveries and no other, or in the dead-letter queue."""

    forwards: frozenset[tuple[str, str]] = frozenset()
    """(envelope recipient, mailbox), both normalised. Of a reply: (token, correspondent)."""
    discards: frozenset[tuple[str, str]] = frozenset()
    """(envelope recipient, reason)."""
    dead_letter: str = ""
    """The reason of the dead letter; empty where there must be none."""

    def __str__(self) -> str:
        if self.dead_letter:
            return f"dead letter {self.dead_letter}"
        told = [f"{recipient} forwarded to {mailbox}" for recipient, mailbox in sorted(self.forwards)]
        return ", ".join(told + [f"{recipient} discarded ({reason})" for recipient, reason in sorted(self.discards)])


@dataclass(frozen=True, slots=True)
class Sample:
    """One thing to send. `data` is a mail for the door, or a text for the topic or the queue."""

    number: int
    kind: str
    expected: Expected
    data: bytes = field(repr=False)
    route: Route = "door"
    source: str = ""
    recipients: tuple[str, ...] = ()
    marker: str = ""
    """A word in an odd message, by which its dead letter is recognised."""
    contents: Contents | None = None
    """What is looked for in the mail that SES is given."""
    paused: str = ""
    """The mailbox that has to be paused before it is sent."""

    @property
    def name(self) -> str:
        return f"{self.number} {self.kind}"


@dataclass(frozen=True, slots=True)
class To:
    """An envelope recipient and what has to become of the mail for it."""

    address: str
    mailboxes: tuple[str, ...] = ()
    discard: str = ""

    @classmethod
    def mask(cls, mask: SandboxMask, address: str = "") -> "To":
        return cls(address or mask.address, mask.reached)

    @classmethod
    def refused(cls, reason: str, mask: SandboxMask = SHOP, address: str = "") -> "To":
        return cls(address or mask.address, discard=reason)


@dataclass(frozen=True, slots=True)
class Kind:
    """A sort of mail: how it is written, whom it goes to, and so what must become of it."""

    name: str
    write: Callable[[Pen], bytes]
    to: tuple[To, ...] = (To.mask(SHOP),)
    source: str | None = None
    """MAIL FROM; the sender in From where not given."""
    contents: Contents | None = None
    paused: str = ""
    """As in `Sample`."""
    once: bool = False
    """What it brings about lasts, so it comes up once."""
    events: bool = False
    """It needs an SES that tells what became of mail."""

    def sample(self, seed: int, number: int, token: str) -> Sample:
        to = [(_filled(one.address, number, token), one) for one in self.to]
        pen = Pen(seed, number, to[0][0])
        forwards = {(Address.parse(address).full, mailbox) for address, one in to for mailbox in one.mailboxes}
        discards = {(Address.parse(address).full, one.discard) for address, one in to if one.discard}
        return Sample(
            number,
            self.name,
            Expected(frozenset(forwards), frozenset(discards)),
            self.write(pen),
            source=pen.sender if self.source is None else self.source,
            recipients=tuple(address for address, _ in to),
            contents=self.contents,
            paused=self.paused,
        )


def _filled(address: str, number: int, token: str) -> str:
    return address.replace(WRITE_TO, token).replace("{number}", str(number))


KINDS = (
    Kind("plain", letters.plain),
    Kind("html", letters.html, (To.mask(NEWS),)),
    Kind("attachment", letters.attachment),
    Kind("unknown_mask", letters.plain, (To.refused("unknown_mask", address=f"nobody@{DOMAIN}"),)),
    Kind("two_mailboxes", letters.html, (To.mask(TEAM),)),
    Kind("two_masks", letters.plain, (To.mask(SHOP), To.mask(NEWS))),
    Kind("spam", letters.verdict("spam"), (To.refused("spam"),)),
    Kind("wrong_charset", letters.wrong_charset),
    Kind("unlabelled_8bit", letters.unlabelled_8bit),
    Kind("lone_lf", letters.lone_lf),
    Kind("long_lines", letters.long_lines),
    Kind("dots", letters.dots),
    Kind("unicode_subject", letters.unicode_subject),
    Kind("mailing_list", letters.list_mail, (To.mask(NEWS),)),
    Kind("bounce", letters.bounce, source=""),
    Kind("tag", letters.plain, (To.mask(SHOP, f"shop+summer@{DOMAIN}"),)),
    Kind("upper_case", letters.plain, (To.mask(SHOP, f"SHOP@{DOMAIN.upper()}"),)),
    Kind("one_known_one_not", letters.plain, (To.mask(SHOP), To.refused("unknown_mask", address=f"nobody@{DOMAIN}"))),
    Kind("disabled", letters.plain, (To.refused("mask_disabled", OFF),)),
    Kind("owner_inactive", letters.plain, (To.refused("owner_inactive", GONE),)),
    Kind("noreply", letters.plain, (To.refused("noreply", address=f"noreply@{DOMAIN}"),)),
    Kind("virus", letters.verdict("virus"), (To.refused("virus"),)),
    Kind("eicar", letters.containing(EICAR), (To.refused("virus", NEWS),)),
    Kind("gtube", letters.containing(GTUBE), (To.refused("spam"),)),
    Kind("spam_wanted", letters.verdict("spam"), (To.mask(BRAVE),)),
    Kind("dmarc_reject", letters.verdict("dmarc-reject"), (To.refused("dmarc_reject"),)),
    Kind("dmarc_quarantine", letters.verdict("dmarc-quarantine")),
    Kind("gray", letters.verdict("gray")),
    Kind("nested", letters.nested),
    Kind("cut_headers", letters.cut_headers),
    Kind("loop", letters.loop, (To.refused("loop"),)),
    Kind("loop_out_of_sight", letters.loop_out_of_sight, (To.refused("loop"),)),
    Kind("same_field_twice", letters.twice_the_same),
    Kind("bare", letters.bare),
    Kind("big", letters.big),
    Kind(
        "banner_and_trackers",
        letters.tracked,
        (To.mask(CLEAN),),
        contents=Contents((CLEAN.address, WARNING_URL), (PIXEL_HOST, f'"https://{CLICK_HOST}')),
    ),
    Kind("german_banner", letters.html, (To.mask(POST),), contents=Contents((POST.address,))),
    Kind("list_refused", letters.list_mail, (To.refused("list_mail", QUIET),)),
    Kind("sender_blocked", letters.pushy, (To.refused("sender_blocked", PICKY),), source=f"news{PUSHY}"),
    Kind("one_unverified", letters.plain, (To.mask(PAIR),)),
    Kind("made_by_a_rule", letters.plain, (To(f"trip-{{number}}@{RULE.domain}", RULE.mailboxes),)),
    Kind(
        "reply",
        letters.answer,
        (To(WRITE_TO, (PEN_FRIEND,)),),
        source=ADA,
        contents=Contents(("Thank you, it has come.",), (ADA, ADA.replace("@", "%40"))),
    ),
    Kind("reply_by_a_stranger", letters.plain, (To(WRITE_TO, discard="reply_not_allowed"),)),
    Kind("reply_to_all", letters.answer_to_all, (To(WRITE_TO, discard="reply_leak"),), source=ADA),
    Kind("mailbox_bounces", letters.plain, (To.mask(WING),), once=True, events=True),
    Kind(
        "mailbox_paused",
        letters.plain,
        (To(WING.address, tuple(box for box in WING.reached if box != LOST), "bounce_pause"),),
        paused=LOST,
        events=True,
    ),
)


def _not_json(world: World, marker: str) -> tuple[Route, str]:  # noqa: ARG001
    return "queue", f"this is no JSON: {marker}"


def _other_shape(world: World, marker: str) -> tuple[Route, str]:  # noqa: ARG001
    return "topic", json.dumps({"weather": "fine", "marker": marker})


def _received(world: World, marker: str, bucket: str) -> str:
    action = {"type": "S3", "topicArn": world.topic_arn, "bucketName": bucket, "objectKey": marker}
    mail = {"messageId": marker, "source": "x@example.net", "timestamp": "2026-07-06T09:10:11.000Z", "headers": []}
    receipt = {"recipients": [SHOP.address], "action": action}
    return json.dumps({"notificationType": "Received", "mail": mail, "receipt": receipt})


def _envelope(world: World, marker: str, certificate_url: str) -> str:
    return json.dumps(
        {
            "Type": "Notification",
            "MessageId": marker,
            "TopicArn": world.topic_arn,
            "Message": _received(world, marker, world.bucket),
            "Timestamp": "2026-07-06T09:10:11.000Z",
            "SignatureVersion": "1",
            "Signature": "bm9uZQ==",
            "SigningCertURL": certificate_url,
        }
    )


def _foreign_bucket(world: World, marker: str) -> tuple[Route, str]:
    return "topic", _received(world, marker, "somebody-elses")


def _foreign_topic(world: World, marker: str) -> tuple[Route, str]:
    return "foreign topic", _received(world, marker, world.bucket)


def _forged(world: World, marker: str) -> tuple[Route, str]:
    url = "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0.pem"
    return "queue", _envelope(world, marker, url)


def _foreign_certificate(world: World, marker: str) -> tuple[Route, str]:
    return "queue", _envelope(world, marker, "https://sns.us-east-1.amazonaws.com.example.net/x.pem")


def _unsigned(world: World, marker: str) -> tuple[Route, str]:
    return "queue", _received(world, marker, world.bucket)


Odd = tuple[str, Callable[[World, str], tuple[Route, str]], str]
ODD: tuple[Odd, ...] = (
    ("not_json", _not_json, "not_json"),
    ("other_shape", _other_shape, "unknown_type"),
    ("foreign_bucket", _foreign_bucket, "foreign_bucket"),
    ("foreign_topic", _foreign_topic, "foreign_topic"),
)
"""Messages that are no mail: name, how it is made, the reason that its dead letter must carry."""
FORGED: tuple[Odd, ...] = (
    ("forged", _forged, "forged_signature"),
    ("foreign_certificate", _foreign_certificate, "foreign_certificate"),
    ("unsigned", _unsigned, "unsigned"),
)
"""More of them, for a relayd that verifies signatures. One that trusts the queue's policy would take them for mail."""

ODD_EVERY = 15
"""One message in so many is odd."""


def samples(count: int, world: World, seed: int = 1, *, token: str, signed: bool = False) -> Iterator[Sample]:
    """`count` samples: the kinds in turn, an odd message now and then.

    `token`: the address that the pen friend is written to. `signed`: relayd verifies signatures.
    """
    oddities = cycle(ODD + FORGED if signed else ODD)
    kinds = _in_turn([kind for kind in KINDS if world.events is not None or not kind.events])
    for number in range(1, count + 1):
        if number % ODD_EVERY:
            yield next(kinds).sample(seed, number, token)
            continue
        name, make, reason = next(oddities)
        marker = new_mail_id()
        route, text = make(world, marker)
        yield Sample(number, name, Expected(dead_letter=reason), text.encode(), route, marker=marker)


def _in_turn(kinds: Sequence[Kind]) -> Iterator[Kind]:
    return chain(kinds, cycle([kind for kind in kinds if not kind.once]))
