"""A world in which everything that may go wrong does, drawn from one seed: what `test_chaos` holds the engine in."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from relayd.errors import HoldError, InDoubtError, PermanentError, TransientError
from relayd.model.delivery import Claim
from relayd.runtime.health import HealthState
from relayd.runtime.supervisor import Supervisor
from tests.engine.world import World, notification
from tests.fakes.clock import VirtualThread

LEDGER_CALLS = ("claim", "begin_send", "sent", "failed", "refused", "give_back", "discarded", "charge", "threads")
DATABASE_ERRORS: tuple[Callable[[], Exception], ...] = (
    lambda: HoldError("database", "database_unavailable"),
    lambda: TransientError("database_busy", charged=False),
)
STORE_ERRORS: tuple[Callable[[], Exception], ...] = (
    lambda: TransientError("s3_slow_down"),
    lambda: HoldError("s3", "access_denied", wide=False),
    lambda: HoldError("s3", "credentials_refused"),
    ZeroDivisionError,
)
MAILER_ERRORS: tuple[Callable[[], Exception], ...] = (
    lambda: TransientError("ses_throttled", charged=False),
    lambda: TransientError("ses_unavailable"),
    lambda: HoldError("ses", "ses_sending_paused"),
    lambda: HoldError("ses", "ses_address_not_verified", wide=False),
    lambda: InDoubtError("ses_timeout"),
    lambda: PermanentError("ses_rejected"),
)


@dataclass
class Running:
    """One daemon, what its own health says, and its threads."""

    supervisor: Supervisor
    health: HealthState
    threads: list[VirtualThread]
    clean: bool = True


class Storm:
    """Mail and trouble to come. `daemon` starts one; `calm` ends what fails."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        pick = self.dice.choice
        self.world = World(
            seed=seed,
            concurrency=pick([1, 2, 4, 8]),
            wait=pick([1, 2, 5, 20]),
            visibility=pick([45, 60]),
            deadline=pick([60, 120]),
            grace=pick([30, 50]),
        )
        self.expected: dict[str, set[str]] = {}
        """For each mail the mailboxes that it should reach."""
        self.mail_of: dict[str, str] = {}
        """For each SQS message the mail that it tells of."""
        self.poison: list[str] = []
        self.unheard: Counter[str] = Counter()
        """For each mail, how many claims were taken whose answer was lost: each looks like a process that died."""
        self._calm = False
        self._arrivals()
        self._trouble_with_the_queue()
        self._trouble_with_the_ports()
        self._outages()

    def daemon(self) -> Running:
        """Start another daemon in the same world."""
        threads: list[VirtualThread] = []
        spawn = self.world.clock.spawn

        def noted(name: str, target: Callable[[], None]) -> VirtualThread:
            threads.append(spawn(name, target))
            return threads[-1]

        self.world.clock.spawn = noted  # type: ignore[method-assign]
        self.world.health = HealthState(turn_limit=self.world.wait + 35)
        started = Running(self.world.daemon(), self.world.health, threads)
        started.supervisor.start()
        self.world.clock.spawn = spawn  # type: ignore[method-assign]
        return started

    def calm(self) -> None:
        """From now on nothing fails any more."""
        self._calm = True
        faults = self.world.queue.faults
        faults.call_errors, faults.entry_errors, faults.lost_answers = {}, {}, {}
        self.world.ledger.fail_with = None
        self.world.directory.fail_with = None

    def more_mail(self, count: int) -> None:
        """Let ordinary mails arrive now."""
        for number in range(count):
            self._arrive(f"late-{number}", notification(f"late-{number}"), {"me@owner.example"})

    def _arrivals(self) -> None:
        """Mails of every kind, some told of twice by SNS, and a few messages that are none."""
        for team in range(3):
            self.world.directory.add(
                f"team{team}@mask.example", *(f"box{box}@team{team}.example" for box in range(team + 1))
            )
        kinds: list[tuple[float, list[str], set[str]]] = [
            (0.5, ["shop@mask.example"], {"me@owner.example"}),
            (
                0.3,
                ["team1@mask.example", "team2@mask.example"],
                {f"box{box}@team{team}.example" for team in (1, 2) for box in range(team + 1)},
            ),
            (0.1, ["nobody@mask.example"], set()),
            (0.1, ["shop@mask.example", "nobody@mask.example", "x@other.example"], {"me@owner.example"}),
        ]
        for number in range(self.dice.choice([20, 40, 60])):
            mail_id = f"mail-{number}"
            [(_, recipients, mailboxes)] = self.dice.choices(kinds, [kind[0] for kind in kinds])
            body = notification(mail_id, recipients, truncated=self.dice.random() < 0.1)
            delay = self.dice.random() * 100
            self._arrive(mail_id, body, mailboxes, delay)
            if self.dice.random() < 0.3:
                self._arrive(mail_id, body, mailboxes, delay * self.dice.random() * 2)
        for _ in range(self.dice.choice([0, 3])):
            self.poison.append(self.world.queue.publish("garbage", delay=self.dice.random() * 60))

    def _arrive(self, mail_id: str, body: str, mailboxes: set[str], delay: float = 0.0) -> None:
        text = f"From: a@b.example\r\nTo: shop@mask.example\r\nSubject: x\r\n\r\nthis is {mail_id}.\r\n"
        self.world.store.put(f"in/{mail_id}", text.encode())
        self.expected[mail_id] = mailboxes
        self.mail_of[self.world.queue.publish(body, delay=delay)] = mail_id

    def _trouble_with_the_queue(self) -> None:
        dice, faults = self.dice, self.world.queue.faults
        latencies = dice.choice([[0, 0.01, 0.05, 0.5], [0, 0.01, 0.05, 0.5], [0, 0.01, 3.0]])
        faults.latency = lambda _operation: dice.choice(latencies)
        faults.twins = dice.choice([0, 0.1, 0.3])
        faults.stale_delete = dice.choice(["ignore", "error"])
        faults.late_polls = dice.random() < 0.3
        chance = dice.choice([0, 0.05, 0.2])
        calls = ("receive", "delete", "change_visibility", "dead_letter")
        faults.call_errors = {call: chance * dice.random() * 2 for call in calls}
        faults.entry_errors = {call: chance * dice.random() * 2 for call in ("delete", "change_visibility")}
        faults.lost_answers = {call: chance * dice.random() for call in calls}

    def _trouble_with_the_ports(self) -> None:
        dice, world = self.dice, self.world
        world.ledger.latency = dice.choice([0, 0.005, 0.2])
        slowest = dice.choice([0.02, 1, 10, 40, 80])
        world.store.latency = lambda _content: dice.random() * slowest
        world.mailer.latency = lambda _mail: dice.random() * dice.choice([0.05, 0.5, 5])
        world.mailer.timeout = dice.choice([None, None, 4.5])
        world.mailer.lose_answers(dice.choice([1, 5, 10]))
        chance = dice.choice([0, 0.05, 0.15])
        for call in LEDGER_CALLS:
            self._flaky(world.ledger, call, chance, DATABASE_ERRORS, lost_answers=True)
        self._flaky(world.directory, "lookup", chance / 2, DATABASE_ERRORS)
        self._flaky(world.store, "fetch", dice.choice([0, 0.02, 0.1]), STORE_ERRORS)
        self._flaky(world.mailer, "send", dice.choice([0, 0.02, 0.1]), MAILER_ERRORS)

    def _flaky(
        self,
        port: object,
        call: str,
        chance: float,
        errors: tuple[Callable[[], Exception], ...],
        *,
        lost_answers: bool = False,
    ) -> None:
        """Let this call fail now and then without effect, and half as often with it, its answer lost."""
        real = getattr(port, call)

        def wrapped(*args: Any, **named: Any) -> Any:
            drawn = 1.0 if self._calm else self.dice.random()
            if drawn < chance:
                raise self.dice.choice(errors)()
            answer = real(*args, **named)
            if lost_answers and drawn < chance * 1.5:
                if isinstance(answer, Claim):
                    self.unheard[answer.key.mail_id] += 1
                raise self.dice.choice(errors)()
            return answer

        setattr(port, call, wrapped)

    def _outages(self) -> None:
        """The database goes away altogether, a few times, and comes back."""
        world = self.world
        for _ in range(self.dice.choice([0, 2, 4])):
            at, seconds = self.dice.random() * 150, self.dice.choice([1, 10, 60, 200])
            world.clock.at(at, lambda: self._database(HoldError("database", "database_unavailable")))
            world.clock.at(at + seconds, lambda: self._database(None))

    def _database(self, error: HoldError | None) -> None:
        self.world.ledger.fail_with = self.world.directory.fail_with = None if self._calm else error
