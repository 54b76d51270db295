"""Which AWS the sandbox runs on: the embedded one, moto's server, or one that already runs somewhere."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from relayd.sandbox.child import Sent
from relayd.sandbox.moto_server import MotoServer
from relayd.sandbox.page.switch import Switch, rules

Which = Literal["embedded", "moto"]

SLOW_QUEUE = 16
"""Sample mails that are on their way at once, with an emulator whose receive slows with the queue's depth, as moto's
does: as many as the daemon has slots."""
FAST_QUEUE = 32
"""And with ours: enough that the daemon never waits for the next one."""


class Emulator(Protocol):
    """An emulated AWS in a process of its own."""

    @property
    def endpoint(self) -> str: ...
    @property
    def alive(self) -> bool: ...
    def sent(self, since: int = 0, *, raw: bool = True) -> list[Sent]: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Emulation:
    """What the sandbox runs on, and what it can do with it."""

    emulator: Emulator | None
    """None: one that is not ours."""
    switch: Switch
    in_flight: int
    """Sample mails that are on their way at once."""
    certificate: Callable[[], bytes] | None = None
    """What its SNS signs with, as PEM; None where that cannot be known."""
    fates: Callable[[Mapping[str, str]], object] | None = None
    """Sets what becomes of mail to these addresses; None where SES tells nobody what became of mail."""
    receive: Callable[..., Mapping[str, Any]] | None = None
    """Takes mail in through receipt rules; None where there are none, and the door does what one would say."""


def start(which: Which, log: Path) -> Emulation:
    """Begin to start one; its `endpoint` waits until it is there."""
    if which == "moto":
        return Emulation(MotoServer(log), Switch(None, "moto's server has no faults: leave out --moto."), SLOW_QUEUE)
    from relayd.sandbox.cloud.client import EmbeddedAws

    aws = EmbeddedAws(log)
    switch = Switch(lambda modes: aws.faults(rules(modes)))
    return Emulation(
        aws, switch, FAST_QUEUE, aws.certificate, lambda fates: aws.settings(fates=dict(fates)), aws.receive
    )


def foreign() -> Emulation:
    """One that already runs somewhere."""
    return Emulation(None, Switch(None, "The emulator is not the sandbox's own: leave out --endpoint."), SLOW_QUEUE)
