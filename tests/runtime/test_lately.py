"""Figures that are asked for now and then: told while fresh, asked for seldom where nobody tells. Virtual time."""

from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from relayd.errors import HoldError, RelaydError, TransientError
from relayd.runtime.lately import REFUSED_SECONDS, Depths, Lately
from tests.fakes.clock import VirtualClock


class Asked:
    """Somebody who answers, or raises."""

    def __init__(self) -> None:
        self.times = 0
        self.error: RelaydError | None = None

    def __call__(self) -> dict[str, float]:
        self.times += 1
        if self.error is not None:
            raise self.error
        return {"visible": float(self.times)}


def test_figures_are_told_while_they_are_fresh() -> None:
    """An old figure that stands still would look like a queue that is well."""
    clock, asked = VirtualClock(), Asked()
    lately = Lately(clock, asked, fresh=60)
    assert lately.told() == {}
    lately.look()
    clock.sleep(60)
    assert lately.told() == {"visible": 1.0}
    asked.error = TransientError("queue_timeout")
    with pytest.raises(TransientError):
        lately.look()
    clock.sleep(1)
    assert lately.told() == {}


@pytest.fixture
def queues() -> tuple[VirtualClock, Asked, Asked, Depths]:
    clock, mail, dead = VirtualClock(), Asked(), Asked()
    return clock, mail, dead, Depths(clock, {"mail": mail, "dead_letters": dead}, fresh=60)


def told(depths: Depths) -> dict[str, dict[str, float]]:
    found: dict[str, Callable[[], object]] = dict(depths.told())
    return {name: dict(figures()) for name, figures in found.items()}  # type: ignore[call-overload]


def test_one_queue_that_does_not_tell_keeps_no_other_from_it(queues: tuple[VirtualClock, Asked, Asked, Depths]) -> None:
    """A role may be let at one of them and not at the other."""
    _, mail, dead, depths = queues
    mail.error = TransientError("queue_timeout")
    depths.look()
    assert told(depths) == {"mail": {}, "dead_letters": {"visible": 1.0}}
    mail.error = None
    depths.look()
    assert told(depths) == {"mail": {"visible": 2.0}, "dead_letters": {"visible": 2.0}}
    assert dead.times == 2


def test_a_missing_right_is_told_and_asked_for_seldom(queues: tuple[VirtualClock, Asked, Asked, Depths]) -> None:
    """It takes a person to mend, who must not be shouted at four times a minute; afterwards it works by itself."""
    clock, mail, dead, depths = queues
    dead.error = HoldError("queue", "access_denied", "AccessDenied, HTTP 403")
    with capture_logs() as lines:
        for _ in range(8):
            depths.look()
            clock.sleep(15)
    assert (mail.times, dead.times) == (8, 1)
    assert [(line["event"], line["log_level"], line["queue"], line["reason"]) for line in lines] == [
        ("depth_unknown", "warning", "dead_letters", "access_denied")
    ]
    dead.error = None
    clock.sleep(REFUSED_SECONDS)
    depths.look()
    assert told(depths)["dead_letters"] == {"visible": 2.0}
