"""A mail that an owner wrote to a contact's token, made into one from the mask: nothing in it says who the owner is."""

from relayd.errors import PermanentError
from relayd.mail import hops
from relayd.mail.addresses import addresses_of, is_plain, phrase
from relayd.mail.disguise import Disguise
from relayd.mail.fields import Field
from relayd.mail.forward_header import bounded
from relayd.mail.letter import Letter
from relayd.mail.lines import CRLF
from relayd.mail.plans import ReplyPlan, Rewritten
from relayd.mail.repair import Repaired, repair
from relayd.mail.reply_edits import CONTENT_FIELDS, ReplyEdits, ReplyLeakError
from relayd.mail.threads import mapped
from relayd.mail.words import folded, visible
from relayd.model.address import Address

__all__ = ["ReplyLeakError", "ReplyPlan", "addressed", "reply"]

_RECIPIENTS = ("to", "cc")
_MOST_RECIPIENTS = 100
"""Addresses in To and Cc. SES takes 50 recipients; a mail with more than these was not written to contacts."""
_LONGEST_FIELD = 20_000
"""Bytes of a To or Cc."""
_LONGEST_NAME = 70


def addressed(letter: Letter) -> tuple[Address, ...]:
    """All addresses in all To and Cc fields, each once. Raises ReplyLeakError for too many to read."""
    named = [item for item in letter.fields if item.key in _RECIPIENTS]
    entries = sum(item.raw.count(mark) for item in named for mark in (b",", b";", b":"))
    if entries > 2 * _MOST_RECIPIENTS or sum(len(item.raw) for item in named) > _LONGEST_FIELD:
        raise ReplyLeakError("too long a list of recipients")
    found = dict.fromkeys(address for item in named for address in addresses_of(item, letter.charset))
    if len(found) > _MOST_RECIPIENTS:
        raise ReplyLeakError("too many recipients")
    return tuple(found)


def reply(letter: Letter, plan: ReplyPlan) -> Rewritten:
    """The mail for the plan's contact. Raises ReplyLeakError rather than to tell who the owner is, and PermanentError
    for a plan that no header can carry.
    """
    disguise = Disguise(plan.owned, plan.mask.bare)
    recipients = _recipients(letter, plan)
    repaired = repair(letter.body, letter.fields, ReplyEdits(disguise))
    kept = b"".join((_from(plan, disguise), *_kept(letter, plan, repaired, disguise)))
    _refuse_leaks(kept, repaired, disguise)
    counted = f"{hops.HEADER}: {visible(plan.hops)}\r\n".encode("ascii", "replace")
    data = b"".join((kept, *recipients, counted, CRLF, repaired.body))
    return Rewritten(data, repaired.parts, repaired.unsendable)


def _from(plan: ReplyPlan, disguise: Disguise) -> bytes:
    address = _sendable(plan.mask.bare)
    # An @ in a name makes clients and filters take it for an address.
    name = visible(disguise.text(plan.display_name).replace("@", " at "))
    name = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 3].rstrip() + "..."
    return (f"From: {phrase(name)} <{address}>\r\n" if name else f"From: {address}\r\n").encode("ascii")


def _sendable(address: str) -> str:
    if not is_plain(address):
        raise PermanentError("reply_address", "not an address that a header can carry")
    return address


def _recipients(letter: Letter, plan: ReplyPlan) -> list[bytes]:
    """To and Cc with contacts in place of tokens. Names in them may be what relayd made of an address: they go."""
    known = {token.lower(): contact for token, contact in plan.recipients.items()}
    strangers = [one for one in addressed(letter) if one.bare not in known and one.bare != plan.mask.bare]
    if strangers:
        raise ReplyLeakError("it was also written to somebody else")
    lines: list[bytes] = []
    seen: set[str] = set()
    for key, name in zip(_RECIPIENTS, ("To", "Cc"), strict=True):
        named = (item for item in letter.fields if item.key == key)
        tokens = (one.bare for item in named for one in addresses_of(item, letter.charset))
        contacts = [one for one in dict.fromkeys(known[token] for token in tokens if token in known) if one not in seen]
        seen.update(contacts)
        if contacts:
            lines.append(_list(name, contacts))
    # Without any, the token was in Bcc.
    return lines or [_list("To", [plan.contact])]


def _list(name: str, addresses: list[str]) -> bytes:
    plain = [_sendable(address) for address in addresses]
    return folded(name, [*(f"{address}," for address in plain[:-1]), plain[-1]])


def _kept(letter: Letter, plan: ReplyPlan, repaired: Repaired, disguise: Disguise) -> list[bytes]:
    firsts = {item.key: item for item in reversed(repaired.fields)}
    lines = {key: line for key, item in firsts.items() if (line := _kept_field(item, letter, plan, disguise))}
    if any(key in CONTENT_FIELDS for key in lines):
        # Without it, some of them may be ignored.
        lines["mime-version"] = b"MIME-Version: 1.0\r\n"
    return list(lines.values())


def _kept_field(item: Field, letter: Letter, plan: ReplyPlan, disguise: Disguise) -> bytes:
    match item.key:
        case "references" | "in-reply-to":
            # An id that is not mapped was made by the owner's own mail system, and names it.
            return mapped(item, plan.threads, keep_unknown=False)
        case "subject" | "auto-submitted":
            clean = disguise.field(item, letter.charset)
            return bounded(clean, letter.charset) if clean is not None and clean.value else b""
        case key if key in CONTENT_FIELDS and item.value:
            return bounded(item, letter.charset)
        case _:
            return b""


def _refuse_leaks(header: bytes, repaired: Repaired, disguise: Disguise) -> None:
    """Look through what would be sent with the eyes of a reader. What was there to be found was replaced; this is for
    what the replacing itself, or a structure that reads differently afterwards, brought about. To and Cc are not
    looked at: an owner who tries a mask from another mailbox is a contact too.
    """
    again = ReplyEdits(disguise)
    repair(bytes(repaired.body), repaired.fields, again)
    if again.found or disguise.finds(header.decode("ascii")):
        raise ReplyLeakError("an address of the owner is left")
