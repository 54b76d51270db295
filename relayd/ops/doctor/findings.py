"""What a check comes to: a level, what was read, and what to do about it."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """How it stands, worst last."""

    OK = "ok"
    UNCHECKED = "unchecked"
    """It could not be checked; what it says is why."""
    WARNING = "warning"
    """It works, and will not one day, or costs something meanwhile."""
    FAILURE = "failure"
    """Mail is lost, held up or open to strangers because of it, or will be."""


class Area(StrEnum):
    """What `--only` and `--skip` choose by."""

    SETTINGS = "settings"
    IDENTITY = "identity"
    QUEUES = "queues"
    TOPICS = "topics"
    BUCKETS = "buckets"
    RECEIPT = "receipt"
    SES = "ses"
    PERMISSIONS = "permissions"
    DATABASE = "database"
    CLOCK = "clock"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge says of one subject."""

    level: Level
    says: str
    """One sentence, or two."""
    evidence: Mapping[str, str] = field(default_factory=dict)
    """What was read, by the name that AWS, or the settings, have for it."""
    hint: str = ""
    """What to do, where that is no command, or more than one."""
    commands: tuple[str, ...] = ()
    """What mends it, to be run as it stands."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict, and what it is about."""

    check: str
    area: Area
    subject: str
    verdict: Verdict

    def as_json(self) -> dict[str, Any]:
        """For programs. The keys are stable."""
        verdict = self.verdict
        return {
            "check": self.check,
            "area": self.area.value,
            "subject": self.subject,
            "result": verdict.level.value,
            "says": verdict.says,
            "evidence": dict(verdict.evidence),
            "hint": verdict.hint,
            "commands": list(verdict.commands),
        }


class UnknownError(Exception):
    """A judge cannot say: a fact that it needs is not there. The text is why; `hint` how to get at it."""

    def __init__(self, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.hint = hint


def ok(says: str, **evidence: object) -> Verdict:
    return Verdict(Level.OK, says, _texts(evidence))


def warning(says: str, *commands: str, hint: str = "", evidence: Mapping[str, object] | None = None) -> Verdict:
    return Verdict(Level.WARNING, says, _texts(evidence or {}), hint, commands)


def failure(says: str, *commands: str, hint: str = "", evidence: Mapping[str, object] | None = None) -> Verdict:
    return Verdict(Level.FAILURE, says, _texts(evidence or {}), hint, commands)


def aws(service: str, operation: str, /, region: str | None = None, **parameters: Any) -> str:
    """A command of the AWS CLI. Parameters are named as Python names them; structures and lists become JSON."""
    words = ["aws", service, operation]
    if region:
        words += ["--region", region]
    for name, value in parameters.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words += [f"--{option}", value if isinstance(value, str) else compact(value)]
    return shlex.join(words)


def compact(value: object) -> str:
    """JSON in one line, as attributes of AWS want it."""
    return json.dumps(value, separators=(",", ":"))


def listed(items: Any, most: int = 5) -> str:
    """A few of them, and how many more there are."""
    texts = [str(item) for item in items]
    more = len(texts) - most
    return ", ".join(texts[:most]) + (f" and {more} more" if more > 0 else "")


def duration(seconds: float) -> str:
    """For people: `4 days`, `90 s`."""
    for unit, size in (("day", 86_400), ("hour", 3600), ("min", 60)):
        if seconds >= size:
            number = round(seconds / size, 1)
            plural = "s" if number != 1 and unit != "min" else ""
            return f"{number:g} {unit}{plural}"
    return f"{seconds:g} s"


def _texts(evidence: Mapping[str, object]) -> dict[str, str]:
    return {name: _text(value) for name, value in evidence.items()}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "not set"
    return value if isinstance(value, str) else json.dumps(value, default=str)
