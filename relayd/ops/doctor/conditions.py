"""The conditions of a policy's statement: whether they hold for a request, as far as its context is known."""

import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any


class Truth(Enum):
    """Whether something is so. What depends on things that nobody told us is so perhaps."""

    NO = 0
    PERHAPS = 1
    YES = 2

    def __invert__(self) -> "Truth":
        return Truth(2 - self.value)


def every(truths: Sequence[Truth]) -> Truth:
    """Whether all of them are; nothing at all is."""
    return min(truths, key=lambda one: one.value, default=Truth.YES)


def some(truths: Sequence[Truth]) -> Truth:
    """Whether one of them is; of nothing at all none is."""
    return max(truths, key=lambda one: one.value, default=Truth.NO)


Context = Mapping[str, str | None]
"""By condition key, in lower case. None: the request has no such key. A key that is not in here is unknown."""

Compare = Callable[[str, str], bool]
"""Whether what the policy wants (first) fits what the request has."""


def hold(condition: Any, context: Context) -> Truth:
    """Whether a `Condition` holds: all operators, all keys, one of each key's values."""
    if not isinstance(condition, Mapping):
        return Truth.YES if condition is None else Truth.PERHAPS
    return every(
        [
            _holds(str(operator), str(key).lower(), values_of(wanted), context)
            for operator, keys in condition.items()
            for key, wanted in (keys.items() if isinstance(keys, Mapping) else ())
        ]
    )


def values_of(value: Any) -> list[str]:
    """A text, or a list of them. JSON's true and false count as the words."""
    listed = value if isinstance(value, list) else [value]
    return [str(one).lower() if isinstance(one, bool) else str(one) for one in listed]


def wild(pattern: str, text: str) -> bool:
    """`*` is any run of characters, `?` any one."""
    escaped = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(escaped, text, re.DOTALL) is not None


def _holds(operator: str, key: str, wanted: list[str], context: Context) -> Truth:
    name = operator.lower()
    over_all = name.startswith("forallvalues:")
    name = name.removeprefix("foranyvalue:").removeprefix("forallvalues:")
    optional = name.endswith("ifexists")
    name = name.removesuffix("ifexists")
    if key not in context:
        return Truth.PERHAPS
    has = context[key]
    if name == "null":
        return _truth((has is None) is (wanted[:1] == ["true"]))
    negative = name in _NEGATIVE
    compare = _COMPARE.get(_NEGATIVE.get(name, name))
    if has is None:
        # What is not there fits nothing: good enough where it must not fit, or need not be there.
        return _truth(negative or optional or over_all)
    if compare is None:
        return Truth.PERHAPS
    return _truth(any(compare(one, has) for one in wanted) is not negative)


def _truth(value: bool) -> Truth:
    return Truth.YES if value else Truth.NO


def _arn(pattern: str, arn: str) -> bool:
    """Part by part: a wildcard in the region does not reach into the account."""
    wanted, found = pattern.split(":", 5), arn.split(":", 5)
    return len(wanted) == len(found) and all(map(wild, wanted, found))


_COMPARE: Mapping[str, Compare] = {
    # A star in StringEquals is a star: such a statement admits nobody.
    "stringequals": lambda wanted, has: wanted == has,
    "stringequalsignorecase": lambda wanted, has: wanted.lower() == has.lower(),
    "stringlike": wild,
    "arnequals": _arn,
    "arnlike": _arn,
    "bool": lambda wanted, has: wanted.lower() == has.lower(),
}
_NEGATIVE: Mapping[str, str] = {
    "stringnotequals": "stringequals",
    "stringnotequalsignorecase": "stringequalsignorecase",
    "stringnotlike": "stringlike",
    "arnnotequals": "arnequals",
    "arnnotlike": "arnlike",
}
