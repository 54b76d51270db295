"""An hour-long outage of any dependency costs a message two receives at most, and nothing is lost. Virtual time."""

from collections import Counter

import pytest

from relayd.errors import Dependency, HoldError, TransientError
from relayd.runtime.breaker import PAUSE_CAP
from relayd.runtime.governor import BEHIND, GOVERNED, LONGEST_POLL
from tests.engine.faults import before, failing
from tests.engine.outage import HOUR, TIMEOUT_SECONDS, Away, Kind, arrive, course, drain
from tests.engine.world import World

SEEN: list[tuple[Dependency, Kind]] = [
    ("s3", "wide"),
    ("s3", "transient"),
    ("s3", "timeout"),
    ("ses", "wide"),
    ("ses", "transient"),
    ("ses", "timeout"),
    ("database", "wide"),
    ("database", "timeout"),
]
"""Outages that a probe sees as well as mail does."""
NEXT_TRY = PAUSE_CAP + TIMEOUT_SECONDS + BEHIND + 3
"""Seconds after an outage until it is found to be over: a probe may just have begun, and must fail first."""
FEW_PROBES = 30
"""An hour of pauses that grow to five minutes, and some luck with their spread."""


@pytest.mark.parametrize(("dependency", "kind"), SEEN)
def test_an_hour_over_a_full_queue(dependency: Dependency, kind: Kind) -> None:
    """Over a daemon at work: two more receives at most, few calls, alive throughout, and all is forwarded once."""
    seen = course(dependency, kind, mails=500, running=40)
    assert seen.most_receives <= 3
    assert seen.receives <= 540 + 2 * 20, "what was in hand, not the queue"
    assert (seen.forwarded, seen.doubled, seen.dead_letters) == (540, 0, 0)
    assert seen.deaths == 0
    assert 10 <= seen.probes <= FEW_PROBES
    # The database is asked again and again to record what was sent, until the messages' deadline.
    assert seen.calls <= (20 if dependency != "database" else 600)
    assert seen.drained_seconds <= NEXT_TRY + 540 / 16
    if kind == "wide":
        assert seen.charges == 0


@pytest.mark.parametrize("dependency", ["s3", "ses", "database"])
@pytest.mark.parametrize("seed", [1, 2])
def test_any_order_of_threads_and_messages(dependency: Dependency, seed: int) -> None:
    """The queue gives its messages in no order, and threads run in no order, as they do."""
    seen = course(dependency, "wide", mails=100, running=20, seed=seed)
    assert seen.most_receives <= 3
    assert (seen.forwarded, seen.doubled, seen.dead_letters, seen.deaths) == (120, 0, 0, 0)


@pytest.mark.parametrize(("dependency", "kind"), SEEN)
def test_a_lone_message_in_a_quiet_hour(dependency: Dependency, kind: Kind) -> None:
    """One receive while it is away, and one after. A passing failure is tried once more before the probe can tell."""
    seen = course(dependency, kind, mails=1)
    # The database's timeouts are no passing failures.
    assert seen.most_receives <= (2 if kind == "wide" or dependency == "database" else 3)
    assert (seen.forwarded, seen.dead_letters) == (1, 0)
    assert seen.drained_seconds <= NEXT_TRY


@pytest.mark.parametrize("dependency", ["s3", "ses", "database", "certificates"])
def test_without_a_probe_messages_share_the_tries(dependency: Dependency) -> None:
    """Certificates, and S3 where no bucket is named: each try costs a receive, but not always the same message's."""
    seen = course(dependency, "wide", mails=300, running=0, probed=False, seed=3)
    assert seen.receives <= 300 + 16 + FEW_PROBES
    assert seen.most_receives <= 4
    assert (seen.forwarded, seen.doubled, seen.dead_letters, seen.deaths, seen.charges) == (300, 0, 0, 0, 0)


@pytest.mark.parametrize("dependency", ["s3", "ses"])
def test_errors_that_may_be_one_object_s_own(dependency: Dependency) -> None:
    """Everything is refused, each for itself, and no probe sees it: slow tries, nothing lost, well soon after."""
    seen = course(dependency, "narrow", mails=60, running=20)
    assert seen.calls <= HOUR
    assert seen.most_receives <= 15, "the delays of one object's trouble grow"
    assert (seen.forwarded, seen.doubled, seen.dead_letters, seen.deaths) == (80, 0, 0, 0)


def test_sends_that_were_slow_before_the_outage_do_not_end_it() -> None:
    """SES takes its time with mail that S3 gave in time: when it is done, S3 is still away, and stays unasked."""
    world = World(concurrency=16)
    away = Away(world, "s3", "wide")
    world.probes["s3"] = away.probe
    world.mailer.latency = 28.0
    arrive(world, 15)
    daemon = world.daemon()
    daemon.start()
    world.clock.sleep(20)
    away.is_away = True
    world.mail("late")
    world.clock.sleep(1)
    assert daemon.governor.held() == {"s3": "s3_away"}
    calls = away.calls
    for number in range(20):
        world.mail(f"later-{number}")
    for _ in range(60):
        world.clock.sleep(1)
        assert daemon.governor.states()["s3"]["breaker"] == "open"
    assert len(world.mailer.sent) == 15
    assert away.calls == calls
    away.is_away = False
    assert drain(world, 600)
    assert daemon.stop()


def test_slow_s3_is_no_reason() -> None:
    """Twenty seconds a call for an hour: all slots forward, as much as they can, and no breaker knows of it."""
    world = World(concurrency=16, memory_budget=1_000_000_000)
    world.store.latency = 20.0
    arrive(world, 900)
    daemon = world.daemon()
    daemon.start()
    latency = 20.0 + 0.06
    for _ in range(60):
        world.clock.sleep(12)
        assert daemon.governor.held() == {}
        assert daemon.governor.limits() == dict.fromkeys(GOVERNED, 16.0)
    # Received in batches, so slots wait for one another a little.
    assert len(world.mailer.sent) >= 0.9 * 16 * 720 / latency
    assert daemon.stop()
    assert all(count == 1 for count in Counter(receive.message_id for receive in world.queue.receives).values())


def test_what_is_in_hand_comes_back_behind_the_next_try() -> None:
    """All sixteen meet the outage: each is Released, uncharged, until just after the breaker's next try."""
    world = World(concurrency=16)
    away = Away(world, "ses", "wide")
    world.probes["ses"] = away.probe
    away.is_away = True
    ids = arrive(world, 16)
    daemon = world.daemon()
    daemon.start()
    world.clock.sleep(1)
    for message_id in ids:
        # SQS counts in whole seconds, up.
        assert world.queue.visible_at(message_id) == pytest.approx(LONGEST_POLL + BEHIND, abs=1.5)
    assert world.ledger.calls.count("charge") == 0
    assert world.ledger.calls.count("give_back") == 16
    world.clock.sleep(30)
    assert len(world.queue.receives) == 16


def test_a_stuck_trial_does_not_keep_all_other_mail_out() -> None:
    """The one message that a half-open breaker lets through hangs for hours: past its deadline the next one may go."""
    world = World(concurrency=4, deadline=120, wait=1)
    world.probes["s3"] = lambda: None
    before(world.store, "fetch", failing(HoldError("s3", "credentials_refused"), times=1))
    world.mail("first")
    daemon = world.daemon()
    daemon.start()
    world.clock.sleep(2)
    assert daemon.governor.held()
    world.store.latency = lambda content: 1e5 if content.key == "in/stuck" else 0.02
    world.mail("stuck")
    arrive(world, 10)
    began = world.clock.monotonic()
    assert world.until(lambda: len(world.mailer.sent) == 11, within=300)
    # It hung until its deadline, and was given a margin.
    assert world.clock.monotonic() - began > 125
    assert world.store.open_fetches == 1


def test_a_breaker_that_opens_while_no_slot_is_free_stops_the_next_poll() -> None:
    """The poller was waiting for a slot when all was well; the one that comes free has met the outage."""
    world = World(concurrency=1, wait=2)
    world.mails(5)
    before(world.store, "fetch", lambda: world.clock.sleep(0.5))
    before(world.store, "fetch", failing(HoldError("s3", "credentials_refused")))
    daemon = world.daemon()
    daemon.start()
    world.clock.sleep(2)
    assert daemon.governor.held() == {"s3": "credentials_refused"}
    assert len(world.queue.receives) == 1


def test_what_failed_for_all_is_well_again_for_all() -> None:
    """After an outage of errors, limits and breakers are where they were: nothing stays slow."""
    world = World(concurrency=16)
    away = Away(world, "s3", "transient")
    world.probes["s3"] = away.probe
    arrive(world, 200)
    away.is_away = True
    daemon = world.daemon()
    daemon.start()
    world.clock.sleep(600)
    away.is_away = False
    assert drain(world, 600)
    assert daemon.governor.held() == {}
    assert daemon.governor.limits() == dict.fromkeys(GOVERNED, 16.0)
    assert world.health.ready() == (True, {})
    assert daemon.stop()


def test_the_dependency_is_not_stormed_when_it_is_back() -> None:
    """The first calls come one, two, four, eight at a time."""
    world = World(concurrency=16)
    away = Away(world, "s3", "wide")
    world.probes["s3"] = away.probe
    world.store.latency = 1.0
    arrive(world, 200)
    away.is_away = True
    daemon = world.daemon()
    daemon.start()
    world.clock.sleep(600)
    away.is_away = False
    assert world.until(lambda: bool(world.store.open_fetches), within=PAUSE_CAP + 5)
    open_at_once = []
    for _ in range(40):
        open_at_once.append(world.store.open_fetches)
        world.clock.sleep(0.1)
    assert open_at_once[0] == 1
    # A second after the first: two; and only then more.
    assert max(open_at_once[:10]) == 1
    assert max(open_at_once[:20]) <= 2
    assert drain(world, 300)
    assert daemon.stop()


def test_events_are_held_by_the_database_alone() -> None:
    """The engine of SES's events has no breaker of S3 or SES that could delay what they have to say."""
    world = World()
    listener = world.listener()
    assert set(listener.governor.states()) == {"database", "certificates"}
    listener.governor.heard((), [HoldError("ses", "ses_sending_paused")], "x", 0.0)
    assert listener.governor.allowance(0) == 2
    listener.governor.heard((), [HoldError("database", "database_unavailable")], "x", 0.0)
    assert listener.governor.allowance(0) == 0


def test_a_claim_that_cannot_be_given_back_is_the_database_s_failure() -> None:
    """SES holds while the database has gone away: the message's earlier success with it says nothing any more."""
    world = World(concurrency=1, wait=1)

    def away() -> None:
        world.ledger.fail_with = HoldError("database", "database_unavailable")
        raise HoldError("ses", "ses_sending_paused")

    before(world.mailer, "send", away)
    world.mail("one")
    daemon = world.daemon()
    daemon.start()
    world.clock.sleep(2)
    assert set(daemon.governor.held()) == {"ses", "database"}


@pytest.mark.parametrize("latency", [0.02, 45.0])
def test_a_flapping_dependency_loses_nothing(latency: float) -> None:
    """Away and back every half a minute, for an hour: everything is forwarded once, the daemon is alive."""
    world = World(concurrency=8)
    away = Away(world, "s3", "transient")
    world.probes["s3"] = away.probe
    world.store.latency = latency
    arrive(world, 60)
    daemon = world.daemon()
    daemon.start()
    for turn in range(120):
        away.is_away = turn % 2 == 0
        world.clock.sleep(30)
        assert world.health.live(world.clock.monotonic())[0]
    away.is_away = False
    assert drain(world, 3600)
    assert daemon.stop()
    assert len(world.mailer.sent) == 60
    assert not world.queue.dead_letters


def test_a_share_of_errors_is_no_outage() -> None:
    """Every fifth call fails: the rest goes on, limits give way a little, and the queue is drained."""
    world = World(concurrency=16)
    world.probes["s3"] = lambda: None
    count = [0]

    def every_fifth() -> None:
        count[0] += 1
        if count[0] % 5 == 0:
            raise TransientError("s3_unavailable", dependency="s3")

    before(world.store, "fetch", every_fifth)
    arrive(world, 500)
    daemon = world.daemon()
    daemon.start()
    assert drain(world, 300)
    assert daemon.stop()
    assert len(world.mailer.sent) == 500
    assert not world.queue.dead_letters
