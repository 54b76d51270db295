"""The switch: how S3 and SES behave from now on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, Literal, get_args

Service = Literal["s3", "ses"]
Mode = Literal["normal", "slow-5", "slow-20", "hang", "fail"]
SERVICES: tuple[Service, ...] = get_args(Service)
MODES: tuple[Mode, ...] = get_args(Mode)

Rule = dict[str, Any]


_CALLS: Mapping[Service, tuple[str, ...]] = {
    # What relayd asks of them. The sandbox's own SES goes on storing mail: the incident was in the reading.
    "s3": ("s3:GetObject", "s3:HeadBucket"),
    "ses": ("ses:SendEmail", "ses:GetAccount"),
}
_FAULTS: Mapping[Mode, Rule | None] = {
    "normal": None,
    "slow-5": {"fault": "latency", "seconds": 5.0},
    "slow-20": {"fault": "latency", "seconds": 20.0},
    "hang": {"fault": "hang"},
    "fail": {"fault": "error", "status": 503, "code": "ServiceUnavailable"},
}


def rules(modes: Mapping[Service, Mode]) -> list[Rule]:
    """The embedded AWS's fault rules for where the switch stands."""
    return [
        {"operation": call, **fault}
        for service, mode in modes.items()
        if (fault := _FAULTS[mode]) is not None
        for call in _CALLS[service]
    ]


@dataclass(frozen=True, slots=True)
class Position:
    """Where the switch stands, and why it cannot be moved if it cannot."""

    modes: Mapping[Service, Mode]
    locked: str
    """Empty when it can be moved."""


class Switch:
    """Where it stands for each service. `apply` makes the emulator behave so."""

    def __init__(self, apply: Callable[[Mapping[Service, Mode]], None] | None, locked: str = "") -> None:
        self._apply = apply
        self._locked = locked
        self._lock = Lock()
        self._modes: dict[Service, Mode] = dict.fromkeys(SERVICES, "normal")

    def move(self, service: Service, mode: Mode) -> None:
        """Set one service. Raises LookupError when the emulator has no faults; whatever it raises goes through."""
        if self._apply is None:
            raise LookupError(self._locked)
        with self._lock:
            wanted = {**self._modes, service: mode}
            self._apply(wanted)
            self._modes = wanted

    def position(self) -> Position:
        with self._lock:
            return Position(dict(self._modes), self._locked)
