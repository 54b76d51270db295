"""The forwarded mail's header: made anew from an allow list, because everything else tells too much or steers SES."""

import re

from relayd.errors import PermanentError
from relayd.mail import hops
from relayd.mail.addresses import display_list, is_plain_list, phrase
from relayd.mail.fields import Field, first
from relayd.mail.headers import is_clean, normal, wire_field
from relayd.mail.letter import Letter
from relayd.mail.parameters import rebuilt
from relayd.mail.plans import ForwardPlan
from relayd.mail.threads import mapped
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
_HTTPS = re.compile(r"<\s*(https://[!-;=?-~]{1,900})\s*>", re.IGNORECASE)
_REPLY = re.compile(r"[!-;=?A-Z\[\]^-~]{1,64}@[A-Za-z0-9.-]{1,255}")


def header(letter: Letter, plan: ForwardPlan, fields: tuple[Field, ...]) -> list[bytes]:
    """The header's lines, each whole and ended by CRLF, without the blank line.

    `fields` are the letter's own, with the MIME fields of the body that will stand below: `Repaired.fields`.
    Raises PermanentError for a plan that no header can carry, never for a mail.
    """
    lines = [_from(letter, plan)]
    lines += _kept(letter, plan, fields)
    if fields is not letter.fields and not any(item.key == "mime-version" for item in letter.fields):
        # Without it, an encoding that was put in may be ignored.
        lines.append(b"MIME-Version: 1.0\r\n")
    lines += _added(letter, plan)
    return lines


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
            return mapped(item, plan.threads, keep_unknown=True)
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
            return bounded(item, letter.charset) if item.value else b""


def bounded(item: Field, hint: str | None) -> bytes:
    """The field as it can be sent, and not absurdly long."""
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
