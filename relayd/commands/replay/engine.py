"""`--here`: the daemon's engine in this process, on a queue in memory."""

import dataclasses
from typing import TYPE_CHECKING

from relayd.commands.showing import print_problems
from relayd.errors import Problem

if TYPE_CHECKING:
    from relayd.commands.replay.job import Job
    from relayd.ops.replay.reading import Ending, Reading
    from relayd.ops.replay.sending import Act

POLL_SECONDS = 1.0
"""The longest poll of the queue in memory: what is put there wakes it."""
PATIENCE = 60.0
"""Seconds that a mail may be put off and still be waited for; what stays away longer is left where it came from."""
_ROOM = 2
"""Messages in memory for each worker: one to work on, and one to begin with."""


def work_here(job: "Job", reading: "Reading", act: "Act") -> "Ending":
    """Run the engine until the reading is done. Raises ConfigurationError for what the engine needs and has not."""
    from relayd.app import build
    from relayd.ops.replay.in_place import InPlace
    from relayd.ops.replay.local_queue import LocalQueue
    from relayd.ops.tally import Tally
    from relayd.runtime import allocator
    from relayd.runtime.gates import Ration
    from relayd.telemetry import otel

    asked, clock = job.asked, job.clock
    settings = dataclasses.replace(job.settings, wait_seconds=POLL_SECONDS)
    allocator.keep_small()
    queue = LocalQueue(clock)
    tally = Tally(clock, patience=PATIENCE, outage=lambda: bool(daemon.supervisor.governor.held()))
    in_place = InPlace(
        reading,
        queue,
        act,
        clock,
        room=_ROOM * settings.concurrency,
        put_off=lambda: tally.away()[1],
        ends_at=None if asked.timeout is None else clock.monotonic() + asked.timeout,
    )
    daemon = build(
        settings,
        clock,
        otel.configure(),
        gates=(tally, Ration(clock, rate=asked.rate)),
        watchers=(tally.ended, in_place.ended),
        serve=False,
        queue=queue,
    )
    daemon.start()
    try:
        return in_place.run()
    finally:
        try:
            # Also after an error: what is in hand is finished or handed back before the source gets back the rest.
            daemon.stop()
        finally:
            in_place.close()


def is_paused(job: "Job") -> bool:
    """Whether there is no use in beginning, which is told then."""
    from relayd.adapters.orders import SqlOrders

    if not SqlOrders(job.database).read().everything:
        return False
    hint = "`relayd status` shows why; `relayd resume` lets it go on. Then run this again."
    print_problems([Problem("replay", "all mail is paused, so nothing would be forwarded", hint)])
    return True
