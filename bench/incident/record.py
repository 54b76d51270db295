"""What a replay has seen, and the figures in it: pure, so that the counting can be tested without an incident."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from bench.incident.prober import Probe
from bench.incident.story import OUTAGE, S3_SECONDS, Story

BUCKET = 30.0
"""Seconds of the story in one row of what is told over time."""


@dataclass(frozen=True, slots=True)
class Record:
    """One design's replay. Times are seconds on this machine since the beginning."""

    story: Story
    load: float
    slots: int
    """Of all replicas together."""
    capacity: float
    """Mails a second."""
    rate: float
    """Arrivals a second."""
    arrived: Mapping[str, float]
    sent: Mapping[str, Sequence[float]]
    """When SES accepted each mail: once, it is hoped."""
    fetches: int
    dead_letters: int
    left: int
    """Mails that were not sent by the end and are not lost."""
    most_handed_out: int
    backlog: Sequence[tuple[float, int]]
    probes: Sequence[Probe]
    restarts: Sequence[float]
    facts: Mapping[str, object]

    def first_sent(self) -> dict[str, float]:
        return {name: min(self.sent[name]) for name in self.arrived if self.sent.get(name)}

    def usual_backlog(self) -> int:
        """The most that there was before S3 turned slow; one mail is always on its way."""
        return max((depth for at, depth in self.backlog if at < self.story.starts), default=1) or 1

    def backlog_at_end(self) -> int:
        """What had piled up when S3 was well again."""
        return next((depth for at, depth in self.backlog if at >= self.story.ends), 0)

    def recovered_at(self) -> float | None:
        """When all that came before the outage's end was sent and no more was waiting than usual; None if never."""
        first = self.first_sent()
        until_end = [name for name, at in self.arrived.items() if at < self.story.ends]
        if not all(name in first for name in until_end):
            return None
        caught_up = max((first[name] for name in until_end), default=self.story.ends)
        usual = self.usual_backlog()
        calm = (at for at, depth in self.backlog if at >= self.story.ends and depth <= usual)
        quiet = next(calm, None)
        return None if quiet is None else max(quiet, caught_up)

    def during(self, times: Sequence[float]) -> int:
        """How many of these fell into the outage."""
        return sum(self.story.starts <= at < self.story.ends for at in times)


def figures(record: Record) -> dict[str, object]:
    """Everything that is told of one design. Names end in the unit; seconds are the story's but where it says real."""
    story, first = record.story, record.first_sent()
    sends = sum(len(record.sent.get(name, ())) for name in record.arrived)
    unsent = len(record.arrived) - len(first)
    recovered = record.recovered_at()
    waits = [story.told(at - record.arrived[name]) for name, at in first.items()]
    slow = [story.told(at - record.arrived[name]) for name, at in first.items() if _in_outage(record, name)]
    return {
        "probe_failures": sum(not probe.well for probe in record.probes),
        "restarts": len(record.restarts),
        "livez_p99_ms": _ms(percentile([probe.seconds for probe in record.probes], 0.99)),
        "lost": unsent - record.dead_letters - record.left,
        "duplicates": sends - len(first),
        # A fetch has a use if the first send of its mail came of it. All others were for nothing.
        "wasted_fetches": record.fetches - len(first),
        "max_receive_count": record.most_handed_out,
        "recovery_seconds": None if recovered is None else round(story.told(recovered - story.ends), 1),
        "recovery_real_seconds": None if recovered is None else round(recovered - story.ends, 2),
        "scale": story.scale,
        "load": record.load,
        "capacity_per_real_second": round(record.capacity, 1),
        "arrivals_per_real_second": round(record.rate, 2),
        "arrived": len(record.arrived),
        "forwarded": len(first),
        "mails_doubled": sum(len(record.sent.get(name, ())) > 1 for name in record.arrived),
        "dead_lettered": record.dead_letters,
        "left": record.left,
        "fetches": record.fetches,
        "arrived_in_outage": record.during(list(record.arrived.values())),
        "forwarded_in_outage": record.during(list(first.values())),
        "forwardable_in_outage": forwardable(record),
        "backlog_before": record.usual_backlog(),
        "backlog_at_end": record.backlog_at_end(),
        "probes": len(record.probes),
        "prober_late_p99_ms": _ms(percentile([probe.late for probe in record.probes], 0.99)),
        "livez_max_ms": _ms(max((probe.seconds for probe in record.probes), default=0.0)),
        "latency_p50_seconds": round(percentile(waits, 0.5), 1),
        "latency_p99_seconds": round(percentile(waits, 0.99), 1),
        "latency_in_outage_p50_seconds": round(percentile(slow, 0.5), 1),
        "latency_in_outage_max_seconds": round(max(slow, default=0.0), 1),
        **record.facts,
        "over_time": over_time(record),
    }


def forwardable(record: Record) -> int:
    """The most that slots waiting 20 s for each mail can forward in the outage, or all that arrive in it."""
    return min(int(record.slots * OUTAGE / S3_SECONDS), record.during(list(record.arrived.values())))


def drain_limit(record: Record) -> float:
    """Seconds of the story in which a backlog must be gone: 1.5 x backlog / (capacity - arrivals), when the calls have
    ended that were slow already as S3 became well.
    """
    spare = record.capacity - record.rate
    return S3_SECONDS + record.story.told(1.5 * record.backlog_at_end() / spare)


def over_time(record: Record) -> list[dict[str, object]]:
    """Latency of the mails that arrived in each half a minute, and the most that waited then."""
    first, story = record.first_sent(), record.story
    last = max((*record.arrived.values(), *first.values()), default=0.0)
    rows: list[dict[str, object]] = []
    for number in range(math.ceil(story.told(last) / BUCKET)):
        start, end = story.real(number * BUCKET), story.real((number + 1) * BUCKET)
        names = [name for name, at in record.arrived.items() if start <= at < end]
        waits = [story.told(first[name] - record.arrived[name]) for name in names if name in first]
        rows.append(
            {
                "at_seconds": number * BUCKET,
                "arrived": len(names),
                "forwarded": sum(start <= at < end for at in first.values()),
                "latency_p50_seconds": round(median(waits), 1) if waits else None,
                "latency_max_seconds": round(max(waits), 1) if waits else None,
                "backlog": max((depth for at, depth in record.backlog if start <= at < end), default=0),
            }
        )
    return rows


def percentile(values: Sequence[float], share: float) -> float:
    """The least value that so many are not above; 0 of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def _in_outage(record: Record, name: str) -> bool:
    return record.story.starts <= record.arrived[name] < record.story.ends


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
