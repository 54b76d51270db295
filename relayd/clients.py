"""The AWS clients of the daemon: how many, with which time-outs, in which region."""

from functools import cached_property
from typing import TYPE_CHECKING

from relayd.adapters import aws
from relayd.adapters.queue_facts import region_of
from relayd.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

SETTLE_TIMEOUTS = aws.Timeouts(connect=3.0, read=5.0)
"""For deletes, visibility changes and dead letters: all answer in milliseconds, and the lease is running."""
POLL_MARGIN = 5.0
"""Seconds beyond the long poll's own wait before a poll counts as hung."""
EVENTS_THREADS = 8
"""Workers for SES's events: each is a few milliseconds of database, and nothing else. A mail has two events or more, so
they must be quicker than the mail; and a poll never brings more than there are of these.
"""
BESIDE = 3
"""Threads that share a client with the workers: the probe, the look at the account, and who sends notices."""


class Clients:
    """Each built once. Polling has a client of its own, so that a long poll never starves a delete."""

    def __init__(self, settings: Settings) -> None:
        threads = settings.concurrency
        # A queue's URL names its region, and SQS in another one says that the queue does not exist. The rest is in
        # the same region unless AWS_REGION, or RELAYD_SES_REGION, say otherwise.
        region = region_of(settings.queue_url)
        session = self._session = aws.new_session(default_region=region)
        self._settings = settings
        self.poll = aws.client(
            "sqs",
            region=region,
            pool=2,
            timeouts=aws.Timeouts(3.0, settings.wait_seconds + POLL_MARGIN),
            session=session,
        )
        # Workers send dead letters and fence; Keeper and Settler batch; a chore asks how much is in the queues.
        self.settle = aws.client("sqs", region=region, pool=threads + 3, timeouts=SETTLE_TIMEOUTS, session=session)
        self.s3 = aws.client(
            "s3",
            pool=threads + BESIDE,
            timeouts=aws.Timeouts(settings.s3_connect_seconds, settings.s3_read_seconds),
            session=session,
        )
        self.ses = aws.client(
            "sesv2",
            region=settings.ses_region,
            pool=threads + BESIDE,
            timeouts=aws.Timeouts(settings.ses_connect_seconds, settings.ses_read_seconds),
            session=session,
        )
        self.ses_region: str = self.ses.meta.region_name

    # Without a queue of events nobody needs them. The session must not be used by two threads at once: ask for them
    # while the daemon is put together.

    @cached_property
    def poll_events(self) -> "SQSClient":
        """Asks for events."""
        timeouts = aws.Timeouts(3.0, self._settings.wait_seconds + POLL_MARGIN)
        return aws.client("sqs", region=self._events_region, pool=2, timeouts=timeouts, session=self._session)

    @cached_property
    def settle_events(self) -> "SQSClient":
        """For all else that the events' queue is asked."""
        threads = EVENTS_THREADS + 3
        return aws.client(
            "sqs", region=self._events_region, pool=threads, timeouts=SETTLE_TIMEOUTS, session=self._session
        )

    @property
    def _events_region(self) -> str | None:
        return region_of(self._settings.events_queue_url or self._settings.queue_url)
