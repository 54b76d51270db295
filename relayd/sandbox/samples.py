"""Mails of our own that differ in what they ask of relayd, each with the end that it must come to.

The same seed and number give the same mail, so that a failure can be run again.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from relayd.model.address import Address
from relayd.sandbox import letters
from relayd.sandbox.letters import Pen
from relayd.sandbox.receiving import EICAR, GTUBE, new_mail_id
from relayd.sandbox.world import BRAVE, DOMAIN, GONE, NEWS, OFF, SHOP, TEAM, SandboxMask, World

Route = Literal["door", "topic", "foreign topic", "queue"]


@dataclass(frozen=True, slots=True)
class Expected:
    """How a mail has to end: exactly these deliveries and no other, or in the dead-letter queue."""

    forwards: frozenset[tuple[str, str]] = frozenset()
    """(envelope recipient, mailbox), both normalised."""
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
        return cls(address or mask.address, mask.mailboxes)

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

    def sample(self, seed: int, number: int) -> Sample:
        pen = Pen(seed, number)
        forwards = {(Address.parse(to.address).full, mailbox) for to in self.to for mailbox in to.mailboxes}
        discards = {(Address.parse(to.address).full, to.discard) for to in self.to if to.discard}
        return Sample(
            number,
            self.name,
            Expected(frozenset(forwards), frozenset(discards)),
            self.write(pen),
            source=pen.sender if self.source is None else self.source,
            recipients=tuple(to.address for to in self.to),
        )


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


def samples(count: int, world: World, seed: int = 1, *, signed: bool = False) -> Iterator[Sample]:
    """`count` samples: the kinds in turn, an odd message now and then. `signed`: relayd verifies signatures."""
    oddities = ODD + FORGED if signed else ODD
    mails = odd = 0
    for number in range(1, count + 1):
        if number % ODD_EVERY == 0:
            name, make, reason = oddities[odd % len(oddities)]
            marker = new_mail_id()
            route, text = make(world, marker)
            yield Sample(number, name, Expected(dead_letter=reason), text.encode(), route, marker=marker)
            odd += 1
        else:
            yield KINDS[mails % len(KINDS)].sample(seed, number)
            mails += 1
