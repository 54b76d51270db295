"""What a rule looked at: a case that notes what is read from it, so that each rule explains itself."""

from dataclasses import is_dataclass
from typing import Any

from relayd.model.address import Address
from relayd.rules.evidence import Case

_LONGEST = 60
"""Characters shown of a value."""


class Watched:
    """Stands for a noun, and notes each value that is read from it under the way that led there.

    Nouns within are watched in turn. It passes for what it stands for in `isinstance` and `match`.
    """

    def __init__(self, noun: Any, seen: dict[str, str], path: str = "") -> None:
        self._noun = noun
        self._seen = seen
        self._path = path

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self._noun)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._noun, name)
        path = f"{self._path}.{name}" if self._path else name
        if is_dataclass(value) and not isinstance(value, Address | type):
            if type(value).__name__.lower() != name:
                self._seen.setdefault(path, type(value).__name__)
            return Watched(value, self._seen, path)
        self._seen[path] = _shown(name, value)
        return value


def looked_at(look: Any, case: Case) -> tuple[str, ...]:
    """What the rule reads of the case, in its order. Empty where it cannot be watched."""
    seen: dict[str, str] = {}
    try:
        look(Watched(case, seen))
    except Exception:  # a rule may do with a noun what only the noun can; then it goes unexplained
        return ()
    # Of a noun whose fields were read, the fields tell more.
    leaves = {path: text for path, text in seen.items() if not any(other.startswith(f"{path}.") for other in seen)}
    return tuple(f"{path.removeprefix('evidence.')} {text}" for path, text in leaves.items())


def _shown(name: str, value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case tuple() if name == "headers":
            keys = [key.lower() for key, _ in value]
            return f"{len(keys)} fields, {keys.count('received')} Received"
        case tuple() | frozenset():
            shown = ", ".join(_item(item) for item in value) or "none"
        case str():
            shown = value or "empty"
        case _:
            shown = str(value)
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 3]}..."


def _item(item: Any) -> str:
    """Mailboxes by their address, everything else as it is."""
    return str(getattr(item, "address", item))
