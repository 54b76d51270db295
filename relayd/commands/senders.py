"""Block and allow lists as arguments and in print: of a mask, or of an owner."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from relayd.commands.arguments import directory
from relayd.commands.showing import moment, print_json, print_table, tell

if TYPE_CHECKING:
    from relayd.model.address import Address
    from relayd.rules.senders import SenderRule

    Scope = Address | str


def put_on_list(scope: "Scope", patterns: tuple[str, ...], kind: "SenderRule", as_json: bool) -> None:
    """Block, or allow, and tell."""
    from relayd.ops.sender_lists import list_senders

    with directory() as database:
        result = list_senders(database, scope, patterns, kind)
    name = {"block": "blocked", "allow": "allowed"}[kind]
    texts = {"added": name, "moved": f"{name}, instead of the contrary", "unchanged": f"was {name} already"}
    for pattern, outcome in result.items():
        tell({"pattern": pattern, "kind": kind, "result": outcome}, f"{pattern}: {texts[outcome]}", as_json)


def take_off_lists(scope: "Scope", patterns: tuple[str, ...], as_json: bool) -> None:
    """Neither block nor allow, and tell."""
    from relayd.ops.sender_lists import unlist_senders

    with directory() as database:
        unlist_senders(database, scope, patterns)
    for pattern in dict.fromkeys(patterns):
        tell({"pattern": pattern, "result": "unlisted"}, f"{pattern}: taken off", as_json)


def print_senders(scope: "Scope", as_json: bool) -> None:
    """Both lists."""
    from relayd.ops.sender_lists import senders_of

    with directory() as database:
        entries = senders_of(database, scope)
    if as_json:
        print_json([asdict(entry) for entry in entries])
        return
    rows: list[tuple[Any, ...]] = [(entry.pattern, entry.kind, moment(entry.created_at)) for entry in entries]
    if rows:
        print_table(("SENDER", "LIST", "SINCE"), rows)
    else:
        tell({}, "Everybody may write: nobody is on a list here.", False)
