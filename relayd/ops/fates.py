"""What became of each header field and each part of a mail, and why."""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from relayd.mail.fields import Field
from relayd.mail.letter import Letter
from relayd.mail.lines import all_to_crlf
from relayd.mail.structure import Part, scan

MOST_PARTS = 200
"""Parts that are told of; a mail may have a million."""
LONGEST_DIFF = 20_000
"""Lines that differ at all, before and after together; the comparison takes the square of them at worst."""

Fate = Literal["kept", "changed", "dropped", "added"]

_SECOND = "only the first copy counts: SES refuses two, and readers disagree on which one to show"
_UNLISTED = "not on the list of what may pass"
_FOR_SES = "in a form that SES takes"
_NO_ID = "no message id that the reader knows in it"
_OURS = "x-relayd-"
_WHY_CHANGED = {
    "from": "an answer must come back through the mask",
    "references": "names the mails as their reader knows them",
    "in-reply-to": "names the mails as their reader knows them",
    "list-unsubscribe": "without what would reveal the owner",
    "mime-version": "there is only one",
}
_WHY_CHANGED_IN_REPLY = {
    "from": "the contact knows the owner by the mask",
    "to": "the contacts' own addresses in place of their tokens",
    "cc": "the contacts' own addresses in place of their tokens",
    "references": "names the mails as their reader knows them",
    "in-reply-to": "names the mails as their reader knows them",
    "subject": "without the owner's addresses, and in a form that SES takes",
    "mime-version": "there is only one",
}
_WHY = {
    "reply-to": "an answer must come back through the mask",
    "sender": "names a sender that is not the mask",
    "date": "SES writes its own",
    "message-id": "SES writes its own",
    "references": _NO_ID,
    "in-reply-to": _NO_ID,
    "list-unsubscribe": "has no https link, and a mail to unsubscribe would reveal the owner",
    "list-unsubscribe-post": "promises one click, and there is no https link beside it",
    "disposition-notification-to": "an answer to it would reveal the owner",
    "return-receipt-to": "an answer to it would reveal the owner",
    "bcc": "names hidden recipients",
    "delivered-to": "names a recipient",
    "errors-to": "bounces come back to relayd",
    "bounces-to": "bounces come back to relayd",
    "return-path": "bounces come back to relayd",
    "feedback-id": "the sender's own book-keeping with mailbox providers",
    "dkim-signature": "signs what has changed",
    "domainkey-signature": "signs what has changed",
    "authentication-results": "only SES's own verdicts count",
    "received-spf": "only SES's own verdicts count",
}
"""Why a field of this name is not in what is sent."""
_WHY_PREFIX = {
    "arc-": "signs what has changed",
    "resent-": "tells of an earlier way",
    "received": "tells of an earlier way",
    "x-ses-": "a stranger could steer what relayd asks of SES",
    _OURS: "only relayd writes these",
}
_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class FieldTold:
    """What became of one header field."""

    name: str
    fate: Fate
    why: str = ""


def fields_told(before: Letter, after: Letter, *, is_reply: bool = False) -> Iterator[FieldTold]:
    """Each field of the mail in its order, then what was added."""
    why_changed = _WHY_CHANGED_IN_REPLY if is_reply else _WHY_CHANGED
    new: dict[str, list[Field]] = {}
    for field in after.fields:
        new.setdefault(field.key, []).append(field)
    passed: set[str] = set()
    for field in before.fields:
        if field.key in passed:
            yield FieldTold(field.name, "dropped", _SECOND)
        elif field.key in new and not field.key.startswith(_OURS):
            passed.add(field.key)
            same = new.pop(field.key)[0].value == field.value
            why = "" if same else why_changed.get(field.key, _FOR_SES)
            yield FieldTold(field.name, "kept" if same else "changed", why)
        else:
            yield FieldTold(field.name, "dropped", _dropped(field.key))
    for added in new.values():
        yield from (FieldTold(field.name, "added") for field in added)


def _dropped(key: str) -> str:
    prefixed = (why for prefix, why in _WHY_PREFIX.items() if key.startswith(prefix))
    return _WHY.get(key) or next(prefixed, _UNLISTED)


def parts_told(before: Letter, after: Letter) -> list[str]:
    """What became of each part; of a mail whose parts are other ones now, the two lists."""
    old, new = _leaves(before), _leaves(after)
    if len(old) != len(new):
        return [*(f"before        {_part(*leaf)}" for leaf in old), *(f"after         {_part(*leaf)}" for leaf in new)]
    return [f"{_part_fate(before_, after_):<12}  {_part(*after_)}" for before_, after_ in zip(old, new, strict=True)]


def _leaves(letter: Letter) -> list[tuple[Part, bytes]]:
    parts = (piece for piece in scan(letter.body, letter.fields) if isinstance(piece, Part))
    leaves = (part for part in parts if part.kind != "container")
    return [(part, letter.body[part.start : part.end]) for part in islice(leaves, MOST_PARTS)]


def _part_fate(before: tuple[Part, bytes], after: tuple[Part, bytes]) -> str:
    if before[1] == after[1]:
        return "as it was"
    return "line ends" if all_to_crlf(before[1]) == all_to_crlf(after[1]) else "written anew"


def _part(part: Part, content: bytes) -> str:
    sealed = ", signed or encrypted" if part.kind == "sealed" else ""
    return f"{part.type.kind}, {part.encoding}, {len(content)} bytes{sealed}"


def difference(before: bytes, after: bytes) -> Iterator[str] | None:
    """A unified diff, line ends left out of it; None where too many lines differ."""
    old, new = _lines(before), _lines(after)
    same = _common(reversed(old), reversed(new))
    # Three lines of context after the last difference.
    keep = max(same - 3, 0)
    old, new = old[: len(old) - keep], new[: len(new) - keep]
    if len(old) + len(new) > LONGEST_DIFF:
        return None
    return difflib.unified_diff(old, new, "before", "after", lineterm="")


def _lines(data: bytes) -> Sequence[str]:
    return _LINE_END.split(data.decode("utf-8", "backslashreplace"))


def _common(first: Iterable[str], second: Iterable[str]) -> int:
    count = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        count += 1
    return count
