"""The sets of measurements: each changes one thing, and tells what relayd and its rivals make of it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bench.mails.ceiling import ceiling
from bench.mails.comparing import Entry, Say, Standing, Turns, ratio, ratios, side_by_side, spread
from bench.mails.measuring import Case, Door, started
from bench.mails.programs import MORE_RIVALS, PROGRAMS, RELAYD, VARIANTS, Program

DEFAULT = "rivals"
LEVELS = (1, 8, 32, 64)
SIZES = (3_000, 30_000, 300_000, 3_000_000, 30_000_000)
LARGE, FEW_SLOTS = 10_000_000, 4
"""Mails from this size on are measured with so many slots: 32 of them at once would fill a small machine's memory."""
BACKLOGS = (1_000, 10_000, 100_000)
BACKLOG_WARM_UP = 2_000
LOOKS = 20
"""At the memory, in the course of a backlog."""
LATENT = Case(latencies="real", concurrency=64)
PEERS = ("bare_boto3", "node_sqs_consumer")
"""Those that do many mails at once, as relayd does."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much of it."""

    quick: bool
    until: float | None
    more_rivals: bool
    say: Say

    @property
    def turns(self) -> Turns:
        """Of the comparison that everything is about."""
        return Turns(12, 0.9, self.until) if self.quick else Turns(7, 5.0)

    @property
    def short_turns(self) -> Turns:
        """Where there are many cases."""
        return Turns(2, 0.8) if self.quick else Turns(3, 3.0)


@dataclass(frozen=True, slots=True)
class Set:
    title: str
    measure: Callable[[Door, Effort], dict[str, Any]]


def _there(programs: Mapping[str, Program], say: Say) -> dict[str, Program]:
    """Those that can be started here."""
    for program in programs.values():
        if program.missing is not None:
            say(f"without {program.name}: {program.missing}")
    return {name: program for name, program in programs.items() if program.missing is None}


def _compared(fake: Door, programs: Mapping[str, Program], case: Case, turns: Turns, say: Say) -> dict[str, Standing]:
    return side_by_side(fake, [Entry(name, program, case) for name, program in programs.items()], turns, say)


def _told(standings: Mapping[str, Standing], programs: Mapping[str, Program]) -> dict[str, Any]:
    """Of relayd and of each rival, null for one that is not there."""
    ours = standings[RELAYD.name]
    others = {name: standing for name, standing in standings.items() if name != RELAYD.name}
    rivals = [name for name in programs if name != RELAYD.name]
    by_cpu = ratios(ours, others, "mails_per_cpu_second")
    by_time = ratios(ours, others, "mails_per_second")
    ranges = spread(ours, others, "mails_per_cpu_second")
    return {
        "relayd": ours.told(),
        "rivals": {name: others[name].told() if name in others else None for name in rivals},
        "ratios": {name: by_cpu.get(name) for name in rivals},
        "ratios_spread": {name: ranges.get(name) for name in rivals},
        "ratios_of_mails_per_second": {name: by_time.get(name) for name in rivals},
    }


def _rivals(fake: Door, effort: Effort) -> dict[str, Any]:
    programs = {**PROGRAMS, **(MORE_RIVALS if effort.more_rivals else {})}
    case = Case()
    limit = ceiling(fake, case.size, seconds=0.3 if effort.quick else 2.0)
    effort.say(f"the fake AWS answers {limit['requests_per_second']} requests a second")
    standings = _compared(fake, _there(programs, effort.say), case, effort.turns, effort.say)
    return _told(standings, programs) | {
        "case": {"size": case.size, "concurrency": case.concurrency, "latencies": case.latencies, "traces": 0.1},
        "fake": limit,
    }


def _peers(effort: Effort) -> tuple[dict[str, Program], dict[str, Program]]:
    """Those that are compared in many cases; and those of them that are there."""
    wanted = {name: PROGRAMS[name] for name in (RELAYD.name, *PEERS)}
    return wanted, _there(wanted, effort.say)


def _latency(fake: Door, effort: Effort) -> dict[str, Any]:
    wanted = {name: program for name, program in PROGRAMS.items() if name != "floor"}
    there = _there(wanted, effort.say)
    turns = effort.short_turns
    found = _told(_compared(fake, there, LATENT, turns, effort.say), wanted)
    found["half_load"] = {
        name: _half_load(fake, there[name], found["relayd"] if name == RELAYD.name else found["rivals"][name], effort)
        for name in (RELAYD.name, *PEERS)
        if name in there
    }
    return found


def _half_load(fake: Door, program: Program, told: Mapping[str, Any], effort: Effort) -> dict[str, Any]:
    """Half as many mails a second as it has just shown that it can do, evenly."""
    rate = round(told["mails_per_second"] / 2, 1)
    seconds = 3.0 if effort.quick else 30.0
    effort.say(f"half load: {program.name}, {rate} mails a second for {seconds:g} s")
    case = replace(LATENT, rate=rate)
    standing = side_by_side(fake, [Entry(program.name, program, case)], Turns(1, seconds), effort.say)[program.name]
    return {"rate": rate} | standing.told()


def _concurrency(fake: Door, effort: Effort) -> dict[str, Any]:
    wanted, there = _peers(effort)
    cases = {str(level): Case(concurrency=level) for level in LEVELS}
    return {
        name: _told(_compared(fake, there, case, effort.short_turns, effort.say), wanted)
        for name, case in _each(cases, effort)
    }


def _sizes(fake: Door, effort: Effort) -> dict[str, Any]:
    wanted, there = _peers(effort)
    cases = {
        str(size): Case(
            size=size, concurrency=32 if size < LARGE else FEW_SLOTS, warm_up=None if size <= 30_000 else 20
        )
        for size in SIZES
    }
    return {
        name: _told(_compared(fake, there, case, effort.short_turns, effort.say), wanted)
        | {"concurrency": case.concurrency}
        for name, case in _each(cases, effort)
    }


def _each(cases: Mapping[str, Case], effort: Effort) -> Iterator[tuple[str, Case]]:
    for name, case in cases.items():
        effort.say(f"-- {name}")
        yield name, case


def _backlog(fake: Door, effort: Effort) -> dict[str, Any]:
    sizes = (1_000, 3_000) if effort.quick else BACKLOGS
    found = {}
    for size in sizes:
        warm_up = min(size, BACKLOG_WARM_UP)
        fake.sign(size + warm_up, lambda done, most=size: effort.say(f"signed {done} of {most} messages"))  # type: ignore[misc]
        effort.say(f"a backlog of {size}")
        with started(fake, RELAYD, Case(mails=size)) as course:
            course.put(warm_up)
            course.wait()
            memory: list[tuple[int, float]] = []

            def look(done: int, memory: list[tuple[int, float]] = memory, most: int = size) -> None:
                if done * LOOKS >= len(memory) * most:
                    memory.append((done, course.memory()))
                    effort.say(f"{done} of {most} mails, {memory[-1][1]:.1f} MB")

            standing = Standing([course.round(size, look)])
        found[str(size)] = standing.told() | {
            "rss_growth_mb": standing.rounds[0].rss_growth_mb,
            "rss_mb": [[done, round(megabytes, 1)] for done, megabytes in memory],
        }
    return found


def _options(fake: Door, effort: Effort) -> dict[str, Any]:
    entries = [Entry("default (traces 0.1, SQLite)", RELAYD, Case())]
    entries += [Entry(name, program, Case()) for name, program in VARIANTS.items()]
    entries += [Entry("PostgreSQL", RELAYD, Case(database="postgres"))]
    standings = side_by_side(fake, entries, effort.short_turns, effort.say)
    ours = standings[entries[0].name]
    return {
        name: standing.told() | {"of_default": ratios(standing, {name: ours}, "mails_per_cpu_second")[name]}
        for name, standing in standings.items()
    }


def _replicas(fake: Door, effort: Effort) -> dict[str, Any]:
    entries = [
        # 16 each: four times more would be too many connections for a PostgreSQL that takes 100.
        Entry(
            f"{replicas} on {cores}, {database}",
            RELAYD,
            Case(concurrency=16, replicas=replicas, cores=cores, database=database),
        )
        for database in ("sqlite", "postgres")
        for replicas, cores in ((1, 1), (2, 2), (4, 2))
    ]
    standings = side_by_side(fake, entries, effort.short_turns, effort.say)
    found: dict[str, Any] = {name: standing.told() for name, standing in standings.items()}
    for database in ("sqlite", "postgres"):
        one, two = (found[f"{number} on {number}, {database}"]["mails_per_second"] for number in (1, 2))
        found[f"two_on_two_over_one_on_one, {database}"] = ratio(two, one)
    return found


SETS: Mapping[str, Set] = {
    DEFAULT: Set("relayd and all rivals, mails of 30 KB, 32 at a time", _rivals),
    "latency": Set("S3 takes 20 ms, SES 60 ms, SQS 10 ms; 64 at a time; then half of that load", _latency),
    "concurrency": Set("so many mails at a time", _concurrency),
    "sizes": Set("mails of so many bytes", _sizes),
    "backlog": Set("relayd alone, so many mails waiting", _backlog),
    "options": Set("relayd alone, with and without traces, on both databases", _options),
    "replicas": Set("relayd alone, several of it, each held to one core", _replicas),
}
