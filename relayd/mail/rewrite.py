"""The forwarded mail: a new header from an allow list, and the body's own bytes below it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from relayd.errors import PermanentError
from relayd.mail import hops
from relayd.mail.addresses import display_list, is_plain_list, phrase
from relayd.mail.fields import Field, first
from relayd.mail.headers import ids, is_clean, normal, wire_field
from relayd.mail.letter import Letter
from relayd.mail.lines import CRLF
from relayd.mail.parameters import rebuilt
from relayd.mail.repair import repair
from relayd.mail.words import folded, text_of, unstructured, visible
from relayd.model.address import Address

_KEPT = frozenset(
    {
        "subject",
        "mime-version",
        "content-type",
        "content-transfer-encoding",
        "content-disposition",
        "content-language",
        "content-id",
        "references",
        "in-reply-to",
        "to",
        "cc",
        "list-id",
        "list-unsubscribe",
        "list-unsubscribe-post",
        "auto-submitted",
        "precedence",
        "importance",
    }
)
"""What may pass, in its first copy. SES refuses second copies, and everything else tells too much or steers SES."""

_TOLD = (
    ("from", "X-Relayd-Original-From"),
    ("to", "X-Relayd-Original-To"),
    ("date", "X-Relayd-Original-Date"),
    ("message-id", "X-Relayd-Original-Message-ID"),
)
"""What SES overwrites, or relayd replaces, under a name of our own."""

_LONGEST_LABEL = 70
"""Characters of the name in From. Longer ones were seen to break clients."""
_LONGEST_WHO = 60
_LONGEST_FIELD = 8000
_MOST_REFERENCES = 50
_ID = re.compile(r"[!-;=?-~]{1,900}")
_HTTPS = re.compile(r"<\s*(https://[!-;=?-~]{1,900})\s*>", re.IGNORECASE)
_REPLY = re.compile(r"[!-;=?A-Z\[\]^-~]{1,64}@[A-Za-z0-9.-]{1,255}")


@dataclass(frozen=True, slots=True)
class ForwardPlan:
    """What was decided about a mail, as far as its look depends on it."""

    mask: Address = field(repr=False)
    tag: str = field(repr=False)
    """The `+tag` that the mail was addressed with; empty when there was none."""
    reply_address: str = field(repr=False)
    """`token@maskdomain`: the new From, to which the owner answers."""
    envelope_source: str = field(repr=False)
    """MAIL FROM: shown where the mail's own From cannot be read. Empty for a bounce."""
    hops: str = field(repr=False)
    """The finished X-Relayd-Hops value."""
    warnings: tuple[str, ...] = ()
    """Words for the owner: `spam`, `dmarc`."""
    threads: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Original message ids, and SES's full ids for the same mails."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A mail ready for SES."""

    data: bytes = field(repr=False)
    repaired_parts: int
    """Leaves whose encoding or lines had to change."""
    unsendable_parts: int = 0
    """Signed or encrypted parts that SES may refuse as they are, and that nobody may change."""


def forward(letter: Letter, plan: ForwardPlan) -> Rewritten:
    """The mail for a mask's owner. Raises PermanentError for a plan that no header can carry, never for a mail."""
    repaired = repair(letter.body, letter.fields)
    header = [_from(letter, plan)]
    header += _kept(letter, plan, repaired.fields)
    if repaired.fields is not letter.fields and not any(f.key == "mime-version" for f in letter.fields):
        # Without it, an encoding that was put in may be ignored.
        header.append(b"MIME-Version: 1.0\r\n")
    header += _added(letter, plan)
    data = b"".join((*header, CRLF, repaired.body))
    return Rewritten(data, repaired.parts, repaired.unsendable)


def _from(letter: Letter, plan: ForwardPlan) -> bytes:
    if _REPLY.fullmatch(plan.reply_address) is None:
        raise PermanentError("reply_address", "not an address that a header can carry")
    name, who = _who(letter, plan)
    label = f"{name} ({who})" if name and name.lower() != who.lower() else who
    return f"From: {phrase(label)} <{plan.reply_address}>\r\n".encode("ascii")


def _who(letter: Letter, plan: ForwardPlan) -> tuple[str, str]:
    """Display name and `user at dom`. An @ in a name makes clients and filters take it for an address."""
    sender = letter.sender
    name = visible(sender.name).replace("@", " at ") if sender is not None else ""
    source = sender.address.full if sender is not None and sender.address is not None else plan.envelope_source
    local, at, domain = visible(source).rpartition("@")
    # The domain is what tells a forgery: a long local part must not push it out.
    domain = _cut(domain, _LONGEST_WHO - 8) or "unknown sender"
    local = _cut(local.replace("@", " at "), _LONGEST_WHO - len(domain) - 4)
    who = f"{local} at {domain}" if at else domain
    return _cut(name, max(_LONGEST_LABEL - len(who) - 3, 16)), who


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 3].rstrip() + "..."


def _kept(letter: Letter, plan: ForwardPlan, fields: tuple[Field, ...]) -> list[bytes]:
    seen: set[str] = set()
    lines: dict[str, bytes] = {}
    for item in fields:
        key = item.key
        if key in _KEPT and key not in seen:
            seen.add(key)
            line = _kept_field(item, letter, plan)
            if line:
                lines[key] = line
    if "list-unsubscribe" not in lines:
        # One-click is a promise about the link beside it.
        lines.pop("list-unsubscribe-post", None)
    return list(lines.values())


def _kept_field(item: Field, letter: Letter, plan: ForwardPlan) -> bytes:
    match item.key:
        case "references" | "in-reply-to":
            return _threaded(item, plan.threads)
        case "to" | "cc":
            raw = normal(item.raw)
            return raw if is_clean(raw) and is_plain_list(item.value) else display_list(item, letter.charset)
        case "list-unsubscribe":
            links = [f"<{link}>" for link in _HTTPS.findall(item.value[:20_000].decode("latin-1"))[:5]]
            return folded("List-Unsubscribe", ", ".join(links).split(" ")) if links else b""
        case "list-unsubscribe-post":
            valid = item.value.lower() == b"list-unsubscribe=one-click"
            return b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" if valid else b""
        case "mime-version":
            return b"MIME-Version: 1.0\r\n"
        case _:
            return _bounded(item, letter.charset) if item.value else b""


def _threaded(item: Field, threads: Mapping[str, str]) -> bytes:
    """Message ids with those of relayd's own mails put in, matched by local part: SES's domain differs by region."""
    known = {original.partition("@")[0]: ours for original, ours in threads.items()}
    found = (known.get(found.partition("@")[0], found).strip("<>") for found in ids(item, _MOST_REFERENCES))
    words = [f"<{found}>" for found in dict.fromkeys(found) if _ID.fullmatch(found)]
    return folded(item.name, words) if words else b""


def _bounded(item: Field, hint: str | None) -> bytes:
    line = wire_field(item, hint)
    if len(line) <= _LONGEST_FIELD:
        return line
    if item.key in ("content-type", "content-disposition"):
        return rebuilt(item, hint)
    return unstructured(item.name, text_of(item.value, hint))


def _added(letter: Letter, plan: ForwardPlan) -> list[bytes]:
    """Headers of our own. Every value is foreign text to them: one line, ASCII, bounded."""
    mask = Address(plan.mask.local, plan.mask.domain, plan.tag or plan.mask.tag)
    added = [unstructured("X-Relayd-Mask", mask.full, 400), unstructured("X-Relayd-Tag", plan.tag, 100)]
    for key, name in _TOLD:
        item = first(letter.fields, key)
        if item is not None:
            added.append(unstructured(name, text_of(item.value[:_LONGEST_FIELD], letter.charset), 1000))
    added.append(unstructured("X-Relayd-Warning", ", ".join(plan.warnings), 200))
    # In one line: another relayd, or SES's JSON, may show it with or without its folds.
    added.append(f"{hops.HEADER}: {visible(plan.hops)}\r\n".encode("ascii", "replace"))
    return added
