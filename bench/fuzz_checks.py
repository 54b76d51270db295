"""What must hold for whatever `bench.fuzz` feeds in: judged by SES's rules and by the standard library's parser."""

import email
import email.policy
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from email.utils import parseaddr
from typing import TypeVar

from relayd.errors import HoldError, PermanentError
from relayd.mail import rebuild
from relayd.mail.banner import Banner
from relayd.mail.letter import Letter, parse
from relayd.mail.plans import ReplyPlan
from relayd.mail.replies import ReplyLeakError, addressed, reply
from relayd.mail.rewrite import ForwardPlan, Rewritten, forward
from relayd.mail.trackers import TrackerList
from relayd.mail.transfer import encoding_of
from relayd.model.address import Address
from relayd.sandbox.cloud import raw_mail
from relayd.wire.ses import read
from relayd.wire.sns import certificate_host_allowed, open_envelope, verify
from tests.mail.judge import flaws, leaves
from tests.wire.samples import TOPIC_ARN, certificate, key

T = TypeVar("T")

PLAN = ForwardPlan(
    mask=Address.parse("shop+news@mask.example"),
    tag="news",
    reply_address="mfzwizltoq3gk4tfobxw4@mask.example",
    envelope_source="bounce@sender.example",
    hops="v1; n=1; mac=" + "0" * 64,
    warnings=("dmarc",),
    threads={"a@b": ("0100-1@eu-west-1.amazonses.com",)},
)
DRESSED = replace(
    PLAN,
    banner=Banner("shop@mask.example", "stranger@x.example", "de"),
    trackers=TrackerList(frozenset({"x.example", "lindsaar.net"})),
    tracker_warning="https://relay.example/warning",
)
OWNER = "bob@example.org"
"""Bob writes many of the mails, so in a reply he is the one whom nobody may find."""
_OWNER = re.compile(rb"(?i)(?<![\w.%+=&;-])bob@example\.org(?![\w.&=%-])")
"""As a word of its own: `abbob@example.org` is somebody else."""
_FIELDS = """
    from to cc subject mime-version content-type content-transfer-encoding content-disposition content-language
    content-id content-description references in-reply-to list-id list-unsubscribe list-unsubscribe-post auto-submitted
    precedence importance x-relayd-mask x-relayd-tag x-relayd-hops x-relayd-warning x-relayd-original-from
    x-relayd-original-to x-relayd-original-date x-relayd-original-message-id
    """
_ALLOWED = frozenset(_FIELDS.split())
_JUDGED = 100_000
"""Bytes up to which the standard library is asked for the leaves: its time is not linear."""
_DEEP = 100
"""Levels from which it is not asked: it recurses."""


class Timer:
    """Adds up the processor time that relayd's own code takes."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, function: Callable[[], T]) -> T:
        start = time.process_time()
        try:
            return function()
        finally:
            self.seconds += time.process_time() - start


def check_mail(raw: bytes, timer: Timer) -> Iterator[str]:
    """What is wrong with what becomes of a mail, as words without content."""
    letter = timer(lambda: parse(raw))
    before = _leaves(raw)
    for name, write in _REWRITINGS.items():
        try:
            result = timer(lambda write=write: write(letter, raw))  # type: ignore[misc]
        except ReplyLeakError:
            continue
        if result.unsendable_parts:
            # SES would refuse it, and it is not sent: the next rung is.
            continue
        yield from (f"{name}: {flaw}" for flaw in _flaws(result.data))
        yield from (f"{name}: {flaw}" for flaw in _changes(name, raw, before, result.data))


def _changes(name: str, raw: bytes, before: list[bytes] | None, data: bytes) -> Iterator[str]:
    sender = parseaddr(str(email.message_from_bytes(data.partition(b"\r\n\r\n")[0])["From"]))[1]
    if sender != ("shop@mask.example" if name == "reply" else PLAN.reply_address):
        yield "another From"
    match name:
        case "attachment":
            if leaves(data)[1] != raw:
                yield "the original is not in it"
        case "reply":
            if any(_OWNER.search(text) for text in (data.partition(b"\r\n\r\n")[0], *_texts(data))):
                yield "the owner is in it"
        case "forward" | "strict":
            if before is not None and not _same(before, _leaves(data), raw):
                yield "other leaves"


def check_body(data: bytes, timer: Timer) -> Iterator[str]:
    """What is wrong with what an SQS message is taken for."""
    text = data.decode("utf-8", "surrogatepass")
    try:
        envelope = timer(lambda: open_envelope(text, {}))
        timer(lambda: read(envelope))
    except PermanentError as error:
        if len(str(error)) > 200:
            yield "an error text that is as long as if it showed a value"
        return
    signed = envelope.signed
    if signed is None:
        return
    timer(lambda: certificate_host_allowed(signed.certificate_url, TOPIC_ARN))
    try:
        timer(lambda: verify(signed, _CERTIFICATE))
    except (PermanentError, HoldError):
        return


_CERTIFICATE = certificate(key())
_REWRITINGS: Mapping[str, Callable[[Letter, bytes], Rewritten]] = {
    "forward": lambda letter, _: forward(letter, PLAN),
    "dressed": lambda letter, _: forward(letter, DRESSED),
    "reply": lambda letter, _: reply(letter, _reply_plan(letter)),
    "strict": lambda letter, raw: rebuild.strict(letter, PLAN, raw),
    "attachment": lambda letter, raw: rebuild.as_attachment(letter, PLAN, raw),
}


def _reply_plan(letter: Letter) -> ReplyPlan:
    # Whoever it is addressed to is taken for a contact, or every reply would be refused.
    recipients = {address.bare: "contact@there.example" for address in addressed(letter)}
    owned = (Address.parse(OWNER),)
    return ReplyPlan(Address.parse("shop@mask.example"), "Shop", "contact@there.example", recipients, owned, PLAN.hops)


def _flaws(data: bytes) -> Iterator[str]:
    yield from flaws(data)
    try:
        # File names stand in texts too, where this one looks for them.
        raw_mail.read(data, refuse_attachments=False)
    except raw_mail.RawMailError as error:
        yield f"refused: {str(error)[:40]}"
    head = email.message_from_bytes(data.partition(b"\r\n\r\n")[0], policy=email.policy.compat32)
    names = Counter(name.lower() for name in head)
    if max(names.values()) > 1:
        yield "a header twice"
    if set(names) - _ALLOWED:
        yield "a header that is not allowed"


def _leaves(raw: bytes) -> list[bytes] | None:
    """None where it would take the judge too long, or where he is known to read less than other readers."""
    if len(raw) > _JUDGED or raw.lower().count(b"content-type:") > _DEEP:
        return None
    parts = list(email.message_from_bytes(raw, policy=email.policy.compat32).walk())
    for part in parts:
        label = str(part.get("content-transfer-encoding", ""))
        if label != label.strip() or "(" in label or not label.isprintable():
            return None
        if part.get_content_maintype() == "message" and encoding_of(label.encode("ascii", "replace")) != "identity":
            return None
    return leaves(raw)


def _texts(data: bytes) -> Iterator[bytes]:
    """What is read as text. An attached file is the owner's, who knows what is in it."""
    if len(data) > _JUDGED or data.lower().count(b"content-type:") > _DEEP:
        return
    for part in email.message_from_bytes(data, policy=email.policy.compat32).walk():
        if part.get_content_maintype() == "text" and isinstance(content := part.get_payload(decode=True), bytes):
            yield content


def _same(before: list[bytes], after: list[bytes] | None, raw: bytes) -> bool:
    if after is None or after == before:
        return True
    # What was signed or encrypted and stored with LF gets back its CRLF. A delivery status has nothing but lines.
    ends = (b"\r\n", b"\r") if b"delivery-status" in raw.lower() else (b"\r\n",)
    for end in ends:
        before, after = [[leaf.replace(end, b"\n") for leaf in found] for found in (before, after)]
        raw = raw.replace(end, b"\n")
    if b"encrypted" in raw.lower():
        # Where one has no end, there is no saying whose its last line end is.
        before, after = [[leaf.removesuffix(b"\n") for leaf in found] for found in (before, after)]
        raw = raw.removesuffix(b"\n")
    # A signed part that cannot be sent as it is comes with the original.
    return after in (before, [*before, raw])
