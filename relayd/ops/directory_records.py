"""The directory as a document: what a record of each kind holds, in JSON and in the tables alike.

The names are the tables' columns. A record is read into a plain dictionary with those of its fields that were there,
each checked; what is left out stays as it is, or is as a new one is made.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from relayd.adapters.directory import TOKEN_LENGTH
from relayd.errors import Problem
from relayd.model.address import Address
from relayd.model.mask import DmarcHandling, SpamHandling
from relayd.ops import typed
from relayd.ops.refusals import WrongEntryError
from relayd.rules.senders import SenderRule

FORMAT = "relayd-directory"
VERSION = 1

_ID = re.compile(r"[a-z0-9]{1,32}")
_TOKEN = re.compile(rf"[a-z2-7]{{{TOKEN_LENGTH}}}")
_MOST_INTEGER = 2**31 - 1
"""Of the databases' INTEGER."""
_LATEST = 253_402_300_799.0
"""The end of the year 9999: a later time is milliseconds, or a mistake."""

Check = Callable[[Any], Any]
"""From JSON to what the table holds. Raises WrongEntryError."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a record holds."""

    fields: Mapping[str, Check]
    needs: tuple[str, ...]
    """Fields that may not be left out."""
    lists: Mapping[str, "Shape"] = field(default_factory=dict)
    """Fields that hold records of another shape."""
    name: str = ""
    """The field that a person knows a record by."""


def _text(read: Callable[[str], Any]) -> Check:
    def check(value: Any) -> Any:
        if not isinstance(value, str) or "\0" in value or len(value) > 2000:
            raise WrongEntryError("is no text", "write it in quotes.")
        return read(value)

    return check


def _matching(pattern: re.Pattern[str], what: str, hint: str) -> Check:
    def read(value: str) -> str:
        if not pattern.fullmatch(value):
            raise WrongEntryError(f"is no {what}", hint)
        return value

    return _text(read)


def _one_of(*words: str) -> Check:
    def read(value: str) -> str:
        if value not in words:
            raise WrongEntryError("is a word that means nothing here", f"write one of {', '.join(words)}.")
        return value

    return _text(read)


def _or_none(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise WrongEntryError("is neither true nor false", "write true or false, without quotes.")
    return value


def _count(least: int) -> Check:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _MOST_INTEGER:
            raise WrongEntryError("is no number that fits", f"write a whole number of {least} or more.")
        return value

    return check


def _moment(value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # Compared before it is converted: an integer may be too large for a float. NaN is between no two numbers.
    if not number or not 0 <= value <= _LATEST:
        raise WrongEntryError("is no time", "write seconds since 1970, UTC.")
    return float(value)


def _mask(text: str) -> str:
    """Laxer than what is typed: a domain rule makes masks of whatever strangers write to."""
    try:
        address = Address.parse(text)
    except ValueError as error:
        raise WrongEntryError(str(error), "write it like shop@mask.example.") from None
    if address.tag:
        raise WrongEntryError("a mask has no +tag", "leave it out: mail to any tag reaches the mask.")
    return typed.fit_to_store(address.bare)


def _mailboxes(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise WrongEntryError("is no list", 'write addresses in brackets: ["me@example.org"].')
    read = _text(lambda text: typed.mailbox_address(text).full)
    return tuple(dict.fromkeys(map(read, value)))


_AN_ID = _matching(_ID, "id", "leave it out: one will be made.")
_MOMENTS = {"created_at": _moment}
_SENDER = Shape(
    {"pattern": _text(typed.sender_pattern), "kind": _one_of(*get_args(SenderRule)), **_MOMENTS},
    needs=("pattern", "kind"),
    name="pattern",
)
_CONTACT = Shape(
    {
        "contact_id": _AN_ID,
        "address": _text(typed.stranger),
        "token": _matching(
            _TOKEN, "reply token", f"it has {TOKEN_LENGTH} characters of a-z and 2-7; without one there is no contact."
        ),
        **_MOMENTS,
    },
    needs=("address", "token"),
    name="address",
)
_MASK = Shape(
    {
        "mask_id": _AN_ID,
        "address": _text(_mask),
        "enabled": _switch,
        "removed_at": _or_none(_moment),
        "display_name": _text(typed.display_name),
        "block_lists": _switch,
        "banner": _switch,
        "remove_trackers": _switch,
        "rule_id": _or_none(_AN_ID),
        "mailboxes": _mailboxes,
        **_MOMENTS,
    },
    needs=("address",),
    lists={"contacts": _CONTACT, "senders": _SENDER},
    name="address",
)
_RULE = Shape(
    {
        "rule_id": _AN_ID,
        "domain": _text(typed.mail_domain),
        "pattern": _text(typed.rule_pattern),
        "most": _or_none(_count(1)),
        "enabled": _switch,
        "mailboxes": _mailboxes,
        **_MOMENTS,
    },
    needs=("domain", "pattern", "mailboxes"),
    name="pattern",
)
_MAILBOX = Shape(
    {
        "address": _text(lambda text: typed.mailbox_address(text).full),
        "verified": _switch,
        "pause": _or_none(_one_of("hard", "soft")),
        "paused_until": _or_none(_moment),
        "bounces": _count(0),
        **_MOMENTS,
    },
    needs=("address",),
    name="address",
)
OWNER = Shape(
    {
        "owner_id": _AN_ID,
        "name": _text(typed.owner_name),
        "active": _switch,
        "flagged": _switch,
        "flag_reason": _or_none(_text(typed.reason)),
        "spam_handling": _one_of(*get_args(SpamHandling)),
        "dmarc_handling": _one_of(*get_args(DmarcHandling)),
        "language": _text(typed.language),
        "complained_at": _or_none(_moment),
        **_MOMENTS,
    },
    needs=("name",),
    lists={"mailboxes": _MAILBOX, "senders": _SENDER, "rules": _RULE, "masks": _MASK},
    name="name",
)


def read_directory(document: Any) -> tuple[list[dict[str, Any]], list[Problem]]:
    """The owners of a directory document, and everything that is wrong with it, each thing with its place."""
    form, version = (document.get(key) if isinstance(document, dict) else None for key in ("format", "version"))
    if form != FORMAT:
        hint = f'it begins with {{"format": "{FORMAT}", "version": {VERSION}, "owners": [...]}}.'
        return [], [Problem("the file", "is no directory of relayd", hint)]
    if version != VERSION:
        return [], [Problem("the file", f"has another version than {VERSION}", "import it with the relayd it is from.")]
    problems: list[Problem] = []
    if unknown := sorted(set(document) - {"format", "version", "exported_at", "owners"}):
        problems.append(Problem("the file", f"holds {unknown[0]!r}, which means nothing here", "leave it out."))
    return _records(document.get("owners"), OWNER, "owners", problems), problems


def _records(value: Any, shape: Shape, place: str, problems: list[Problem]) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        problems.append(Problem(place, "is no list", "write [...], or leave it out."))
        return []
    return [_record(one, shape, f"{place}[{number}]", problems) for number, one in enumerate(value)]


def _record(value: Any, shape: Shape, place: str, problems: list[Problem]) -> dict[str, Any]:
    if not isinstance(value, dict):
        problems.append(Problem(place, "is no record", "write {...}."))
        return {}
    if isinstance(name := value.get(shape.name), str) and name.isprintable():
        place = f"{place} ({name[:100]})"
    record: dict[str, Any] = {"place": place}
    for key, one in value.items():
        if key in shape.lists:
            record[key] = _records(one, shape.lists[key], f"{place}.{key}", problems)
        elif key in shape.fields:
            try:
                record[key] = shape.fields[key](one)
            except WrongEntryError as error:
                problems.append(Problem(f"{place}.{key}", str(error), error.hint))
        else:
            problems.append(Problem(place, f"holds {key!r}, which means nothing here", _known(shape)))
    problems.extend(
        Problem(place, f"lacks {key!r}", "write it, as an export does.") for key in shape.needs if key not in value
    )
    return record


def _known(shape: Shape) -> str:
    return f"it may hold {', '.join([*shape.fields, *shape.lists])}."
