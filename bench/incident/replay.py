"""One design's incident: mail comes in, S3 turns slow and well again, and everything is written down."""

import time
from collections.abc import Callable

from bench.incident.ground import Arrivals, times
from bench.incident.prober import Prober
from bench.incident.record import Record
from bench.incident.side import Side
from bench.incident.story import AFTER, ARRIVALS_END, BEFORE, OUTAGE, PATIENCE, Story

SAMPLE_SECONDS = 0.05
"""On this machine, between two looks at the backlog."""
READ_SECONDS = 10.0
"""On this machine, between two readings of what was sent."""

Progress = Callable[[str], None]


def replay(
    side: Side, story: Story, *, load: float, slots: int, capacity: float, rate: float, progress: Progress
) -> Record:
    """The pods run already. `slots`: of all pods; `rate`: arrivals a second on this machine."""
    probers = [Prober(pod, side.live_path, story) for pod in side.pods]
    arrivals = Arrivals(side.accept, times(rate, story.real(BEFORE + OUTAGE + ARRIVALS_END)))
    side.ground.turn_slow_later(story)
    began, epoch = time.monotonic(), time.time()
    backlog: list[tuple[float, int]] = []
    for prober in probers:
        prober.watch(began)
    try:
        arrivals.start(began)
        _watch(side, story, arrivals, probers, backlog, began, progress)
    finally:
        for prober in probers:
            prober.close()
        arrivals.stop()
    sent = {name: [at - epoch for at in ats] for name, ats in side.ground.sends().items() if name in arrivals.arrived}
    return Record(
        story=story,
        load=load,
        slots=slots,
        capacity=capacity,
        rate=rate,
        arrived=dict(arrivals.arrived),
        sent=sent,
        fetches=side.ground.fetches(),
        dead_letters=side.dead_letters(),
        left=side.left(frozenset(arrivals.arrived.keys() - sent.keys())),
        most_handed_out=side.most_handed_out(),
        backlog=backlog,
        probes=[probe for prober in probers for probe in prober.probes],
        restarts=[at for prober in probers for at in prober.restarts],
        facts=side.facts(),
    )


def _watch(
    side: Side,
    story: Story,
    arrivals: Arrivals,
    probers: list[Prober],
    backlog: list[tuple[float, int]],
    began: float,
    progress: Progress,
) -> None:
    """Until all is forwarded, or patience ends. Mail stops coming in once the backlog is what it was before."""
    usual, calm, stopped, read_at = 1, False, False, began
    while True:
        if time.monotonic() - read_at > READ_SECONDS:
            read_at = time.monotonic()
            side.ground.sends()
        now, depth = time.monotonic() - began, side.backlog()
        backlog.append((now, depth))
        if now < story.starts:
            usual = max(usual, depth)
        calm = calm or (now >= story.ends and depth <= usual)
        after = story.told(now - story.ends)
        # Before the stop below: during that, one more mail may come in.
        if (stopped and depth == 0) or after >= PATIENCE:
            return
        if not stopped and ((calm and after >= AFTER) or after >= ARRIVALS_END):
            arrivals.stop()
            stopped = True
        failures = sum(not probe.well for prober in probers for probe in prober.probes)
        restarts = sum(len(prober.restarts) for prober in probers)
        minutes = story.told(now) / 60
        progress(
            f"{minutes:5.1f} min, S3 {'slow' if story.starts <= now < story.ends else 'well'}: {len(arrivals.arrived)} "
            f"arrived, {depth} waiting, {failures} probes failed, {restarts} restarts"
        )
        time.sleep(SAMPLE_SECONDS)
