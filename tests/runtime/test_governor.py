"""The governor: whose trouble costs what, who probes when, and that nothing stays shut for ever. Virtual time."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
import structlog
from structlog.testing import capture_logs

from relayd.errors import Dependency, HoldError, RelaydError, TransientError
from relayd.runtime.breaker import PAUSE_CAP, PAUSE_FIRST
from relayd.runtime.governor import (
    BEHIND,
    GOVERNED,
    LONGEST_POLL,
    PROBE_SECONDS,
    SUSPICION_SECONDS,
    Governor,
    Probe,
    Trouble,
)
from tests.fakes.clock import VirtualClock

WIDE = HoldError("s3", "credentials_refused")
NARROW = HoldError("s3", "access_denied", wide=False)
TIMEOUT = TransientError("s3_timeout", dependency="s3")
THROTTLED = TransientError("ses_throttled", dependency="ses", charged=False)


class Fixture:
    """A governor whose prober runs, with probes that fail while `away` says so."""

    def __init__(self, *probed: Dependency, most: int = 16, governed: tuple[Dependency, ...] = GOVERNED) -> None:
        self.clock = VirtualClock()
        self.away: dict[str, Exception] = {}
        self.takes: dict[str, float] = {}
        self.probes: list[tuple[str, float]] = []
        self.health: list[tuple[str, str | None]] = []
        probes: dict[Dependency, Probe] = {name: self._probe(name) for name in probed}
        self.governor = Governor(
            self.clock,
            most,
            probes,
            lambda name, reason: self.health.append((name, reason)),
            dependencies=governed,
            spread=lambda _least, whole: whole,
        )
        self.thread = self.clock.spawn("prober", self.governor.run)

    def _probe(self, name: str) -> Callable[[], None]:
        def probe() -> None:
            self.probes.append((name, self.clock.monotonic()))
            self.clock.sleep(self.takes.get(name, 0.0))
            if name in self.away:
                raise self.away[name]

        return probe

    def failed(self, trouble: Trouble, subject: str = "message", began: float | None = None) -> float:
        now = self.clock.monotonic()
        return self.governor.heard((), [trouble], subject, now if began is None else began)

    def worked(self, *names: Dependency, began: float | None = None) -> None:
        now = self.clock.monotonic()
        self.governor.heard(names, (), "message", now if began is None else began)

    def state(self, name: str) -> object:
        return self.governor.states()[name]["breaker"]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """These tests are not about the log's text; what they say of it they capture themselves."""
    with capture_logs():
        yield


def test_the_least_of_all_allowances_counts() -> None:
    """What is in hand is taken off it, and it is never negative."""
    world = Fixture()
    assert world.governor.allowance(0) == 16
    assert world.governor.allowance(10) == 6
    world.failed(THROTTLED)
    assert world.governor.allowance(0) == 8
    assert world.governor.allowance(12) == 0
    world.failed(WIDE)
    assert world.governor.allowance(0) == 0
    assert world.governor.pause_left() == PAUSE_FIRST


def test_two_outages_at_once_end_one_by_one() -> None:
    """S3 is well again, and the database is not: nothing is received yet."""
    world = Fixture("s3", "database")
    world.away = {"database": HoldError("database", "database_unavailable")}
    world.failed(WIDE)
    world.failed(HoldError("database", "database_unavailable"))
    world.clock.sleep(60)
    assert world.state("s3") == "half_open"
    assert world.governor.allowance(0) == 0
    world.away.clear()
    world.clock.sleep(PAUSE_CAP)
    assert world.governor.allowance(0) == 1


def test_one_failure_is_a_suspicion_and_a_probe_tells() -> None:
    """A lone message in a quiet hour: the probe fails, and the breaker opens with what the probe met."""
    world = Fixture("s3")
    world.away["s3"] = TransientError("s3_unavailable", dependency="s3")
    assert world.failed(TIMEOUT) == 0.0
    assert world.state("s3") == "closed"
    world.clock.sleep(1.1)
    assert world.governor.held() == {"s3": "s3_unavailable"}
    assert len(world.probes) == 1


def test_a_suspicion_that_the_probe_does_not_share_is_dropped() -> None:
    """The failure was one object's: the breaker stays closed, nobody probes on, and the next failure asks again."""
    world = Fixture("s3")
    world.failed(TIMEOUT)
    world.clock.sleep(100)
    assert (world.state("s3"), len(world.probes)) == ("closed", 1)
    world.failed(TIMEOUT)
    world.clock.sleep(100)
    assert len(world.probes) == 2


def test_suspicions_are_probed_seldom() -> None:
    """Failures every tenth of a second, of which the probe knows nothing, cost it a call every five seconds."""
    world = Fixture("s3")
    for _ in range(300):
        world.worked("s3")
        world.worked("s3")
        world.failed(TIMEOUT)
        world.clock.sleep(0.1)
    gaps = [later - earlier for (_, earlier), (_, later) in pairwise(world.probes)]
    assert min(gaps) >= SUSPICION_SECONDS
    assert len(world.probes) >= 5
    assert world.state("s3") == "closed"


def test_a_message_that_gets_through_ends_the_suspicion() -> None:
    """Then nobody needs to ask."""
    world = Fixture("s3")
    world.clock.sleep(0.5)
    world.takes["s3"] = 1.0
    world.failed(TIMEOUT)
    world.worked("s3")
    world.clock.sleep(10)
    assert world.probes == []


@pytest.mark.parametrize("trouble", [THROTTLED, NARROW, HoldError("ses", "ses_address_not_verified", wide=False)])
def test_what_is_no_outage_is_not_suspected(trouble: Trouble) -> None:
    """Throttling is an answer, and one mailbox is one mailbox: no probe, no breaker."""
    world = Fixture("s3", "ses")
    for _ in range(100):
        world.failed(trouble, "the same")
        world.clock.sleep(1)
    assert world.probes == []
    assert world.governor.held() == {}


def test_while_it_is_open_suspicion_probes_nothing() -> None:
    """Messages still in hand go on failing: the pauses between probes grow all the same."""
    world = Fixture("s3")
    world.away["s3"] = WIDE
    world.failed(WIDE)
    for _ in range(200):
        world.failed(TIMEOUT, began=0.0)
        world.clock.sleep(1)
    times = [at for _, at in world.probes]
    assert [round(later - earlier) for earlier, later in pairwise([0.0, *times])] == [5, 10, 20, 40, 80]


def test_throttling_lowers_the_limit_and_opens_nothing() -> None:
    """A hundred throttles, and not one of them an outage; successes raise it again."""
    world = Fixture()
    for _ in range(100):
        world.clock.sleep(0.1)
        world.failed(THROTTLED)
    assert world.governor.limits()["ses"] == 1
    assert world.state("ses") == "closed"
    for _ in range(200):
        world.worked("ses")
    assert world.governor.limits()["ses"] == 16


def test_one_bad_mailbox_does_not_lower_the_limit() -> None:
    """Its mail fails as often as it likes: the others keep all slots."""
    world = Fixture()
    for _ in range(50):
        world.clock.sleep(1)
        world.failed(HoldError("ses", "ses_address_not_verified", wide=False), "the same")
    assert world.governor.allowance(0) == 16


def test_slow_successes_lower_nothing() -> None:
    """Twenty seconds a call for an hour."""
    world = Fixture()
    for _ in range(180):
        world.clock.sleep(20)
        world.worked("s3", "ses", "database", began=world.clock.monotonic() - 20)
        assert world.governor.allowance(0) == 16


def test_a_probe_lets_one_message_through_then_more() -> None:
    """And health hears at the probe that all is well, though the steps take their time."""
    world = Fixture("s3")
    world.failed(WIDE)
    assert world.health == [("s3", "credentials_refused")]
    world.clock.sleep(PAUSE_FIRST + 1.1)
    assert world.health == [("s3", "credentials_refused"), ("s3", None)]
    steps = []
    while world.governor.held():
        steps.append(world.governor.allowance(0))
        world.worked("s3")
    assert steps == [1, 2, 4, 8]
    assert world.governor.allowance(0) == 16
    assert len(world.health) == 2


def test_the_limit_does_not_stay_low_after_an_outage() -> None:
    """Failures had brought it down to one; once the probe succeeded, only the steps hold it back."""
    world = Fixture("s3")
    for _ in range(8):
        world.clock.sleep(0.01)
        world.failed(TIMEOUT)
    assert world.governor.limits()["s3"] == 1
    world.failed(WIDE)
    world.clock.sleep(PAUSE_FIRST + 1.1)
    for _ in range(4):
        world.worked("s3")
    assert world.governor.allowance(0) == 16


def test_without_a_probe_the_first_message_is_one() -> None:
    """It is let through when the pause ends; health hears of it only when it got through."""
    world = Fixture()
    world.failed(HoldError("certificates", "certificate_unavailable"))
    assert world.governor.allowance(0) == 0
    world.clock.sleep(PAUSE_FIRST + 1.1)
    assert world.governor.allowance(0) == 1
    assert world.health == [("certificates", "certificate_unavailable")]
    world.worked("certificates")
    assert world.health[-1] == ("certificates", None)
    assert world.governor.allowance(0) == 2


def test_health_is_told_once_and_once_again() -> None:
    """However many messages meet the outage, and however many probes fail."""
    world = Fixture("s3")
    world.away["s3"] = WIDE
    for number in range(16):
        world.failed(WIDE, str(number))
    world.clock.sleep(1000)
    assert world.health == [("s3", "credentials_refused")]
    world.away.clear()
    world.clock.sleep(PAUSE_CAP + 2)
    for _ in range(10):
        world.worked("s3")
    assert world.health == [("s3", "credentials_refused"), ("s3", None)]


def test_what_began_before_the_outage_does_not_end_it() -> None:
    """S3 gave the mail half a minute ago, SES took its time, and S3 is away meanwhile: that success is old."""
    world = Fixture("s3")
    world.away["s3"] = WIDE
    world.clock.sleep(30)
    world.failed(WIDE)
    for _ in range(16):
        world.worked("s3", began=10.0)
    assert world.governor.held() == {"s3": "credentials_refused"}
    assert world.governor.allowance(0) == 0
    assert world.health == [("s3", "credentials_refused")]


def test_old_results_neither_help_nor_hinder_the_trial() -> None:
    """Calls that hung since before the outage end during the trial: only what was begun since counts."""
    world = Fixture("s3")
    world.clock.sleep(30)
    world.failed(WIDE)
    world.clock.sleep(PAUSE_FIRST + 1.1)
    world.failed(TIMEOUT, began=1.0)
    assert world.state("s3") == "half_open"
    world.worked("s3", began=1.0)
    assert world.governor.allowance(0) == 1
    world.failed(TIMEOUT)
    assert world.state("s3") == "open"


def test_what_is_handed_back_comes_behind_the_next_try() -> None:
    """The delay fits the breaker's, and leaves its one turn to another message; one object's trouble has its own."""
    world = Fixture("s3")
    world.away["s3"] = WIDE
    world.failed(WIDE)
    assert world.failed(NARROW) == 0.0
    while world.governor.pause_left() < 100:
        world.clock.sleep(1)
    left = world.governor.pause_left()
    assert world.failed(WIDE, began=0.0) == left + BEHIND
    assert world.failed(TIMEOUT, began=0.0) == left + BEHIND


def test_what_is_handed_back_comes_after_the_open_poll() -> None:
    """That poll would have it at once, and cost it a receive; a probe that is under way changes nothing of it."""
    world = Fixture("s3")
    world.takes["s3"] = 30.0
    assert world.failed(WIDE) == LONGEST_POLL + BEHIND
    world.clock.sleep(PAUSE_FIRST + 10)
    assert world.governor.pause_left() == 0.0
    assert world.failed(WIDE) == LONGEST_POLL + BEHIND


def test_a_quota_is_held_for_its_time() -> None:
    """No probe before it, and messages do not come back before it."""
    world = Fixture("ses")
    assert world.failed(HoldError("ses", "ses_daily_quota", retry_after=600.0)) == 600.0 + BEHIND
    world.clock.sleep(599)
    assert world.probes == []
    world.clock.sleep(3)
    assert world.state("ses") == "half_open"


def test_a_probe_that_hangs_stops_nothing_else() -> None:
    """S3's hangs for an hour: asking for allowances takes no time, and the database's breaker heals meanwhile."""
    world = Fixture("s3", "database")
    world.takes["s3"] = 3600.0
    world.failed(WIDE)
    world.failed(HoldError("database", "database_unavailable"))
    world.clock.sleep(PAUSE_FIRST + 2.5)
    before = world.clock.monotonic()
    assert world.governor.allowance(0) == 0
    assert world.clock.monotonic() == before
    assert world.state("database") == "half_open"


def test_a_probe_that_hangs_is_given_up() -> None:
    """It counts as failed, and later ones find out that all is well; what the hung one says at last is not heard."""
    world = Fixture("s3")
    world.takes["s3"] = 3600.0
    world.away["s3"] = WIDE
    world.failed(WIDE)
    world.clock.sleep(PAUSE_FIRST + PROBE_SECONDS + 2)
    assert world.governor.held() == {"s3": "probe_hung"}
    world.takes.clear()
    world.away.clear()
    world.clock.sleep(PAUSE_FIRST * 2 + 2)
    assert world.state("s3") == "half_open"
    world.away["s3"] = WIDE
    world.clock.sleep(4000)
    assert world.state("s3") == "half_open"


def test_hung_probes_do_not_pile_up() -> None:
    """An hour of a dependency that only hangs: a probe every few minutes, not one a second."""
    world = Fixture("s3")
    world.takes["s3"] = 1e6
    world.failed(WIDE)
    world.clock.sleep(3600)
    assert 5 <= len(world.probes) <= 20
    assert world.state("s3") == "open"


@pytest.mark.parametrize("error", [ZeroDivisionError(), RelaydError("odd")], ids=["bug", "other"])
def test_a_bug_in_a_probe_is_a_probe_that_failed(error: Exception) -> None:
    """The next one is tried all the same."""
    world = Fixture("s3")
    world.away["s3"] = error
    world.failed(WIDE)
    world.clock.sleep(100)
    assert world.state("s3") == "open"
    assert len(world.probes) > 2
    world.away.clear()
    world.clock.sleep(PAUSE_CAP)
    assert world.state("s3") == "half_open"


@pytest.mark.parametrize("name", ["s3", "ses", "database"])
def test_a_probe_that_is_throttled_works(name: Dependency) -> None:
    """Who says that there is too much of us, or that it is busy, is there: such a probe opens nothing, and heals."""
    world = Fixture(name)
    world.away[name] = TransientError("busy", charged=False)
    world.failed(TransientError("timeout", dependency=name))
    world.clock.sleep(10)
    assert world.state(name) == "closed"
    world.failed(HoldError(name, "away"))
    world.clock.sleep(PAUSE_FIRST + 1.1)
    assert world.state(name) == "half_open"


def test_what_is_not_governed_is_not_heard() -> None:
    """The queue has the poller's backoff; and of SES's outage the engine of its events knows nothing."""
    world = Fixture(governed=("database",))
    assert world.failed(WIDE) == 0.0
    world.worked("ses", "s3")
    world.failed(HoldError("queue", "queue_missing"))
    assert world.governor.allowance(0) == 16
    assert set(world.governor.states()) == {"database"}
    world.failed(HoldError("database", "database_unavailable"))
    assert world.governor.allowance(0) == 0


def test_it_stops_at_once() -> None:
    """The prober ends without its wait, and begins no other probe, whatever is due."""
    world = Fixture("s3")
    world.failed(WIDE)
    began = world.clock.monotonic()
    world.governor.stop()
    world.thread.join(60)
    assert world.clock.monotonic() == began
    world.clock.sleep(60)
    assert world.probes == []
    assert world.governor.allowance(0) == 0


def test_a_prober_that_cannot_spawn_tries_again() -> None:
    """No thread can be started for a while: the breaker still gets its probe later."""
    world = Fixture("s3")
    spawn = world.clock.spawn

    def none_left(name: str, target: Callable[[], None]) -> object:
        raise RuntimeError("can't start new thread")

    world.clock.spawn = none_left  # type: ignore[assignment, method-assign]
    world.failed(WIDE)
    world.clock.sleep(60)
    assert world.state("s3") == "open"
    world.clock.spawn = spawn  # type: ignore[method-assign]
    world.clock.sleep(PROBE_SECONDS + PAUSE_CAP)
    assert world.state("s3") == "half_open"


def test_every_change_is_a_line_in_the_log() -> None:
    """With the dependency and the reason; what changes nothing says nothing."""
    world = Fixture("s3")
    with capture_logs() as lines:
        world.failed(WIDE)
        world.failed(WIDE, began=0.0)
        world.clock.sleep(PAUSE_FIRST + 1.1)
        for _ in range(6):
            world.worked("s3")
        world.failed(THROTTLED)
    told = [(line["event"], line["dependency"], line.get("reason")) for line in lines]
    assert told == [
        ("limit_lowered", "s3", "credentials_refused"),
        ("breaker_opened", "s3", "credentials_refused"),
        ("breaker_trying", "s3", None),
        ("breaker_closed", "s3", None),
        ("limit_lowered", "ses", "ses_throttled"),
    ]


def test_the_log_is_written_without_the_lock() -> None:
    """A log that blocks must not block whoever asks for an allowance: health and the poller do."""
    world = Fixture("s3")
    asked: list[int] = []

    class Blocking:
        def __call__(self, _logger: object, _method: str, event: dict[str, object]) -> dict[str, object]:
            thread = world.clock.spawn("health", lambda: asked.append(world.governor.allowance(0)))
            thread.join(5)
            return event

    processors = structlog.get_config()["processors"]
    blocking = Blocking()
    processors.insert(0, blocking)
    try:
        world.failed(WIDE)
    finally:
        processors.remove(blocking)
    assert world.clock.monotonic() == 0.0
    assert len(asked) == 2


def test_it_is_visible() -> None:
    """For /status and the metrics: limit, breaker, reason, and the time of the next probe."""
    world = Fixture("s3")
    world.failed(WIDE)
    assert world.governor.states()["s3"] == {
        "limit": 0,
        "breaker": "open",
        "reason": "credentials_refused",
        "probe_in_seconds": 5.0,
    }
    assert world.governor.breakers() == {"s3": 2.0, "ses": 0.0, "database": 0.0, "certificates": 0.0}
    assert world.governor.limits()["s3"] == 0
    world.clock.sleep(PAUSE_FIRST + 1.1)
    assert world.governor.breakers()["s3"] == 1.0
    assert world.governor.limits()["s3"] == 1
