"""What a daemon asks for beside the mail, so that it can be measured: the depth of the queues, the number of masks."""

from collections.abc import Callable
from functools import partial

from relayd.adapters.census import SqlCensus
from relayd.adapters.database import Database
from relayd.adapters.queue_depth import depth_figures
from relayd.adapters.queue_facts import QueueFacts
from relayd.clients import Clients
from relayd.ports import Clock
from relayd.runtime import gauges
from relayd.runtime.lately import Depths, Figures, Lately
from relayd.runtime.supervisor import Chore
from relayd.settings import Settings

CENSUS_EVERY = 60.0
"""Seconds between counts of the masks."""
DEPTHS_EVERY = 15.0
"""Seconds between looks at how much is in the queues: as often as Prometheus looks here, and four calls a minute."""


class Measured:
    """The figures, and the chores that keep them fresh."""

    def __init__(
        self,
        settings: Settings,
        clients: Clients,
        database: Database,
        clock: Clock,
        *,
        mail: QueueFacts | None,
        events: QueueFacts | None,
    ) -> None:
        """`mail` and `events`: the queues; None for one that there is not."""
        self._database = database
        self._census = Lately(clock, SqlCensus(database).count, fresh=3 * CENSUS_EVERY)
        self._depths = Depths(clock, _asked(settings, clients, mail, events), fresh=4 * DEPTHS_EVERY)

    def chores(self) -> list[Chore]:
        """What is asked for, and how often."""
        return [
            Chore("census", CENSUS_EVERY, self._census.look, at_once=True),
            Chore("depths", DEPTHS_EVERY, self._depths.look, at_once=True),
        ]

    def watch(self) -> None:
        """Let the metrics have it."""
        gauges.watch_pool(self._database.connections, self._database.most, self._database.waiting)
        gauges.watch_directory(self._census.told)
        gauges.watch_depths(self._depths.told())


def _asked(
    settings: Settings, clients: Clients, mail: QueueFacts | None, events: QueueFacts | None
) -> dict[str, Callable[[], Figures]]:
    """What tells the depth of each queue that there is."""
    asked: dict[str, Callable[[], Figures]] = {}
    dead_letters = None if mail is None else mail.dead_letter_url
    if mail is not None:
        asked["mail"] = partial(depth_figures, clients.settle, settings.queue_url)
    if dead_letters is not None:
        asked["dead_letters"] = partial(depth_figures, clients.settle, dead_letters)
    if events is not None and settings.events_queue_url is not None:
        asked["events"] = partial(depth_figures, clients.settle_events, settings.events_queue_url)
        if events.dead_letter_url is not None and events.dead_letter_url != dead_letters:
            asked["events_dead_letters"] = partial(depth_figures, clients.settle_events, events.dead_letter_url)
    return asked
