"""One dependency is away for an hour while mail waits: what it costs, and how it ends. Fakes, virtual time."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from relayd.errors import Dependency, HoldError, RelaydError, TransientError
from relayd.rules.evidence import Limits
from relayd.runtime.governor import Probe
from tests.engine.faults import before
from tests.engine.world import MAIL, TOPIC, World, notification
from tests.wire import samples

Kind = Literal["wide", "transient", "timeout", "narrow"]

HOUR = 3600.0
TIMEOUT_SECONDS = 30.0


class Away:
    """A dependency that does not work between two moments. `calls`: made of it meanwhile, for mail and by probes."""

    def __init__(self, world: World, dependency: Dependency, kind: Kind) -> None:
        self.world = world
        self.dependency = dependency
        self.kind = kind
        self.is_away = False
        self.calls = 0
        self.probes = 0
        if dependency == "database":
            # Everything that is asked of it comes this way.
            for port in (world.ledger, world.directory):
                before(port, "_enter", self.call)
        elif dependency == "certificates":
            world.certificates = self
        else:
            before(*{"s3": (world.store, "fetch"), "ses": (world.mailer, "send")}[dependency], self.call)

    def fetch(self, url: str) -> bytes:
        """As SNS's certificates."""
        self.call()
        return samples.certificate(samples.key())

    def call(self) -> None:
        """A call for mail."""
        if self.is_away:
            self.calls += 1
            self._fail()

    def probe(self) -> None:
        """A call without mail. What it is denied says nothing, so of narrow errors it sees none."""
        if self.is_away and self.kind != "narrow":
            self.probes += 1
            self._fail()

    def _fail(self) -> None:
        if self.kind == "timeout":
            self.world.clock.sleep(TIMEOUT_SECONDS)
        raise self._error()

    def _error(self) -> RelaydError:
        name = self.dependency
        match self.kind:
            case "wide":
                return HoldError(name, f"{name}_away")
            case "narrow":
                return HoldError(name, f"{name}_denied", wide=False)
            case "transient" | "timeout":
                # The database's adapter knows no passing failures but busy ones: what times out is away.
                if name in ("database", "certificates"):
                    return HoldError(name, f"{name}_away")
                return TransientError(f"{name}_{self.kind}", dependency=name)


@dataclass(frozen=True)
class Course:
    """What an outage came to."""

    most_receives: int
    """Of any message, the first one included."""
    receives: int
    forwarded: int
    doubled: int
    dead_letters: int
    charges: int
    calls: int
    """Made of the dependency for mail while it was away."""
    probes: int
    drained_seconds: float
    """After the end of the outage; infinite when it was never drained."""
    deaths: int
    """Seconds in which the daemon was not alive."""


def course(
    dependency: Dependency,
    kind: Kind = "wide",
    *,
    mails: int,
    probed: bool = True,
    seed: int = 0,
    seconds: float = HOUR,
    running: int = 0,
    concurrency: int = 16,
    within: float = HOUR,
) -> Course:
    """Let a dependency be away for so many seconds, with that many mails queued. `running`: mails that were forwarded
    before, so that the outage comes over a daemon at work.
    """
    probes: dict[Dependency, Probe] = {}
    world = World(
        seed=seed,
        concurrency=concurrency,
        verify=dependency == "certificates",
        probes=probes,
        # One owner gets it all, and more than a day's worth.
        limits=Limits(mails=1_000_000),
    )
    away = Away(world, dependency, kind)
    if probed:
        probes[dependency] = away.probe
    arrive(world, mails + running)
    daemon = world.daemon()
    away.is_away = running == 0
    daemon.start()
    if running:
        world.until(lambda: len(world.mailer.sent) >= running)
        away.is_away = True
    deaths = 0
    ends = world.clock.monotonic() + seconds
    while world.clock.monotonic() < ends:
        world.clock.sleep(1.0)
        deaths += not world.health.live(world.clock.monotonic())[0]
    away.is_away = False
    began = world.clock.monotonic()
    drained = drain(world, within)
    # Before the stop, which waits for the open poll to end.
    drained_seconds = world.clock.monotonic() - began if drained else float("inf")
    deaths += not world.health.live(world.clock.monotonic())[0]
    assert daemon.stop()
    receives = Counter(receive.message_id for receive in world.queue.receives)
    sent = Counter(send.mail.tags["relayd-delivery"].partition("-")[0] for send in world.mailer.sent)
    return Course(
        most_receives=max(receives.values(), default=0),
        receives=sum(receives.values()),
        forwarded=len(sent),
        doubled=sum(count > 1 for count in sent.values()),
        dead_letters=len(world.queue.dead_letters),
        charges=world.ledger.calls.count("charge"),
        calls=away.calls,
        probes=away.probes,
        drained_seconds=drained_seconds,
        deaths=deaths,
    )


def arrive(world: World, mails: int, data: Callable[[int], bytes] = lambda _: MAIL) -> list[str]:
    """Let mails arrive, signed where signatures are asked for."""
    ids = []
    for number in range(mails):
        body = notification(f"mail-{number}")
        if world.verify:
            body = json.dumps(samples.envelope(json.loads(body)["Message"], TopicArn=TOPIC))
        ids.append(world.mail(f"mail-{number}", data(number), body))
    return ids


def drain(world: World, within: float) -> bool:
    """Let time pass until the queue is empty, looking seldom enough that thousands of mails are no burden."""
    deadline = world.clock.monotonic() + within
    while world.queue.left:
        if world.clock.monotonic() >= deadline:
            return False
        world.clock.sleep(1.0)
    return True
