"""Faults by rules: which calls a fault strikes, when, how often, and by whose random numbers."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from fnmatch import translate
from random import Random
from re import compile as pattern
from typing import Any, get_args

from relayd.sandbox.cloud.calls import NO_EFFECTS, Call, Effects
from relayd.sandbox.cloud.clock import Now
from relayd.sandbox.cloud.fault_kinds import FAILED, KINDS, Fault


@dataclass(slots=True)
class Conditions:
    """Which calls a rule strikes. `from` and `until` are seconds since it was set."""

    operation: str
    """`s3:GetObject`, `sqs:*`, `*`."""
    resource: str = "*"
    """`<bucket>/<key>`, a queue's or topic's name, a recipient: a pattern, too."""
    probability: float = 1.0
    starts: float = 0.0
    until: float = math.inf
    times: int = 0
    """It strikes this often at most; 0 is without end."""
    seed: int = 0


_RENAMED = {"from": "starts"}
"""Not a name that Python lets a field have."""


class Rule:
    """A fault with its conditions, its own random numbers, and when it was set."""

    def __init__(self, told: Mapping[str, Any], position: int, now: float) -> None:
        self.told = dict(told)
        given = {_RENAMED.get(name, name): value for name, value in told.items()}
        kind = KINDS.get(given.pop("fault", ""))
        if kind is None:
            raise ValueError(f"`fault` is one of {', '.join(KINDS)}")
        ours = {one.name for one in fields(Conditions)}
        self.conditions = _made(Conditions, {name: value for name, value in given.items() if name in ours})
        self.fault: Fault = _made(kind, {name: value for name, value in given.items() if name not in ours})
        service = self.conditions.operation.partition(":")[0]
        if service != "*" and service not in FAILED:
            raise ValueError(f"`operation` begins with *, or one of {', '.join(FAILED)}")
        self.struck = 0
        self._operation = pattern(translate(self.conditions.operation))
        self._resource = pattern(translate(self.conditions.resource))
        self._random = Random(f"{self.conditions.seed}/{position}")  # noqa: S311 - repeatable, not secret
        self._set_at = now

    def strikes(self, name: str, resource: str, now: float) -> bool:
        conditions, age = self.conditions, now - self._set_at
        if not conditions.starts <= age < conditions.until or (conditions.times and self.struck >= conditions.times):
            return False
        if not self._operation.match(name) or not self._resource.match(resource):
            return False
        if conditions.probability < 1 and self._random.random() >= conditions.probability:
            return False
        self.struck += 1
        return True

    def strike(self, effects: Effects, call: Call, now: float) -> None:
        self.fault.strike(effects, call, self._random, now)


class Faults:
    """The rules that are set now; all of them that fit strike, in order."""

    def __init__(self, now: Now) -> None:
        self._now = now
        self._rules: list[Rule] = []
        self._changed = asyncio.Event()

    def replace(self, rules: Sequence[Mapping[str, Any]]) -> None:
        """Raises ValueError, and changes nothing, when a rule cannot be understood."""
        now = self._now()
        self._rules = [Rule(told, position, now) for position, told in enumerate(rules)]
        self._changed.set()
        self._changed = asyncio.Event()

    def told(self) -> list[dict[str, Any]]:
        return [{**rule.told, "struck": rule.struck} for rule in self._rules]

    def effects(self, call: Call) -> Effects:
        if not self._rules:
            return NO_EFFECTS
        now, name = self._now(), f"{call.service}:{call.operation}"
        effects: Effects | None = None
        for rule in self._rules:
            if rule.strikes(name, call.resource, now):
                effects = effects or Effects(changed=self._changed.wait)
                rule.strike(effects, call, now)
        return effects or NO_EFFECTS

    async def changed(self) -> None:
        """Wait until other rules are set."""
        await self._changed.wait()


def _made(kind: type[Any], given: Mapping[str, Any]) -> Any:
    """A dataclass from JSON, whose names and types are checked."""
    known = {one.name: one for one in fields(kind) if not one.name.startswith("_")}
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"there is no `{name}` in a rule of this kind")
        allowed = get_args(known[name].type)
        wanted = (int, float) if known[name].type is float else known[name].type
        if allowed and value not in allowed:
            raise ValueError(f"`{name}` is one of {', '.join(allowed)}")
        if not allowed and (not isinstance(value, wanted) or isinstance(value, bool)):  # type: ignore[arg-type]
            raise ValueError(f"`{name}` is a {known[name].type.__name__}")  # type: ignore[union-attr]
    missing = [name for name, one in known.items() if one.default is MISSING and name not in given]
    if missing:
        raise ValueError(f"a rule of this kind needs `{missing[0]}`")
    return kind(**given)
