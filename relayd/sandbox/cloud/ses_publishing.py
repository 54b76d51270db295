"""To whom events are told, in which shape, and when: late, twice, or not before somebody lets them go."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from relayd.sandbox.cloud.calls import Effects
from relayd.sandbox.cloud.ses_configuration import ConfigurationSet
from relayd.sandbox.cloud.ses_events import TYPES, Event, Taken, event_json, notification_json
from relayd.sandbox.cloud.ses_identities import Identity
from relayd.sandbox.cloud.settings import Settings

EVENT_SECONDS = 0.05
"""From the answer to the events that follow the Send event, each after the one before."""
EVENT_SUBJECT = "Amazon SES Email Event Notification"

Publish = Callable[[str, str, str], None]
"""Publishes a text to a topic, with a subject unless that is empty."""
Notice = tuple[str, str, str]
"""What is published: topic, text, subject."""


class Publishing:
    """Everything that SES tells topics about sent mail."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # The loop itself holds on to no task.
        self._withheld: set[asyncio.Task[None]] = set()

    def tell(
        self,
        taken: Taken,
        events: Sequence[Event],
        configuration: ConfigurationSet | None,
        identity: Identity | None,
        effects: Effects,
        publish: Publish,
    ) -> None:
        """Publish a mail's events, in order, after the answer to its sender."""
        loop, settings = asyncio.get_running_loop(), self._settings
        for position, event in enumerate(events):
            notices = [*_for_destinations(taken, event, configuration), *_for_identity(taken, event, identity)]
            notices *= max(0, settings.event_copies)
            if not notices:
                continue
            seconds = effects.withhold.get(event[0], effects.withhold.get("*"))
            if seconds is not None:
                task = loop.create_task(_let_go(effects, seconds, notices, publish))
                self._withheld.add(task)
                task.add_done_callback(self._withheld.discard)
            else:
                delay = max(0.0, settings.event_delay_seconds) + EVENT_SECONDS * position
                loop.call_later(delay, _publish_all, notices, publish)


def _for_destinations(taken: Taken, event: Event, configuration: ConfigurationSet | None) -> Iterator[Notice]:
    wanted, text = TYPES[event[0]], ""
    for one in configuration.destinations.values() if configuration else ():
        if one.enabled and wanted in one.types:
            text = text or event_json(taken, event)
            yield one.topic_arn, text, EVENT_SUBJECT


def _for_identity(taken: Taken, event: Event, identity: Identity | None) -> Iterator[Notice]:
    kind = event[0]
    if identity is not None and kind in identity.topics:
        text = notification_json(taken, event, with_headers=kind in identity.with_headers)
        yield identity.topics[kind], text, ""


async def _let_go(effects: Effects, seconds: float, notices: Sequence[Notice], publish: Publish) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(effects.changed(), seconds or None)
    _publish_all(notices, publish)


def _publish_all(notices: Sequence[Notice], publish: Publish) -> None:
    for topic_arn, text, subject in notices:
        publish(topic_arn, text, subject)
