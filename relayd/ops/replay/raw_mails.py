"""Offers made from raw mails in a bucket: the notification is lost, and what SES wrote on top of the mail is not."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from threading import Lock
from typing import Protocol, TypeVar

from relayd.adapters.bucket_listing import Beginning, Listed
from relayd.errors import HoldError, PermanentError, RelaydError, TransientError
from relayd.mail.letter import parse
from relayd.model.notification import Received
from relayd.ops.patience import patiently
from relayd.ops.replay.offers import Offer, Standing
from relayd.ports import Clock
from relayd.wire.rebuilt import NOT_MAIL, mail_id_of, rebuilt
from relayd.wire.ses import read_notification

RECEIVED = "received"
"""The reason of what merely lies in the bucket."""
READERS = 8
"""Objects that are read at a time: each waits for S3 some ten milliseconds, and the answers are small."""
_STEPS = (32 * 1024, 256 * 1024, 1024 * 1024)
"""Bytes of an object that are read, until all of its header is there. Of a longer one the daemon looks at the rest."""
_PORTION = 4 * READERS
_MOST_OUTAGES = 3
"""Objects in a row that S3 did not give out, each after some tries: then it is S3, and not the objects."""

_Item = TypeVar("_Item")


class BucketView(Protocol):
    """What `relayd.adapters.bucket_listing.Bucket` is here."""

    @property
    def name(self) -> str: ...
    def pages(self, prefix: str) -> Iterator[list[Listed]]: ...
    def beginning(self, key: str, size: int) -> Beginning: ...


class RawMails:
    """Reads the beginnings of raw mails, several at a time, and makes notifications of them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = Lock()
        self._outages = 0

    def notification(self, bucket: BucketView, key: str, recipients: Sequence[str] | None = None) -> str:
        """SES's notification, made anew. `recipients`: where they are known.

        Raises PermanentError for what is no mail of SES's, HoldError where it may not be read, TransientError for an
        outage that outlasts some tries.
        """
        headers, complete = self._header(bucket, key)
        return rebuilt(headers, complete=complete, bucket=bucket.name, key=key, recipients=recipients)

    def in_parallel(self, items: Sequence[_Item], offer: Callable[[_Item], Offer]) -> Iterator[list[Offer]]:
        """An offer of each item, in portions, in their order. Raises TransientError when S3 is away."""
        remaining = iter(items)
        with ThreadPoolExecutor(READERS, thread_name_prefix="reader") as pool:
            while some := list(islice(remaining, _PORTION)):
                yield list(pool.map(offer, some))

    def problem_of(self, error: RelaydError) -> str:
        """Why an object makes no offer. Raises the error where it seems to be about all of them."""
        with self._lock:
            self._outages = self._outages + 1 if isinstance(error, TransientError) else 0
            if self._outages >= _MOST_OUTAGES:
                raise error
        return error.reason

    def _header(self, bucket: BucketView, key: str) -> tuple[tuple[tuple[str, str], ...], bool]:
        for size in _STEPS:
            beginning = patiently(self._clock, lambda: bucket.beginning(key, size))  # noqa: B023 - called at once
            letter = parse(beginning.data)
            complete = beginning.whole or len(letter.head) < len(beginning.data)
            if complete:
                break
        with self._lock:
            self._outages = 0
        # The last field may be cut in two.
        return (letter if complete else replace(letter, fields=letter.fields[:-1])).header_items(), complete


class BucketSource(Standing):
    """Everything that lies below a prefix and was written in a span of time."""

    def __init__(
        self,
        bucket: BucketView,
        prefix: str,
        mails: RawMails,
        *,
        since: float | None,
        until: float | None,
        mail_id: str | None = None,
    ) -> None:
        """`since` and `until`: when it was written, seconds since the epoch. `mail_id`: of the only one wanted."""
        self._bucket = bucket
        self._prefix = prefix
        self._mails = mails
        self._since = since
        self._until = until
        self._mail_id = mail_id

    def offers(self) -> Iterator[list[Offer]]:
        """See `Source`. What was written at another time, or is not wanted, is not offered at all."""
        for page in self._bucket.pages(self._prefix):
            yield []
            yield from self._mails.in_parallel([one for one in page if self._fits(one)], self._offer)

    def _fits(self, listed: Listed) -> bool:
        return (
            (self._since is None or listed.modified >= self._since)
            and (self._until is None or listed.modified < self._until)
            and (self._mail_id is None or mail_id_of(listed.key) == self._mail_id)
        )

    def _offer(self, listed: Listed) -> Offer:
        offer = Offer(RECEIVED, listed.modified, frozenset({listed.key.rpartition("/")[2]}), problem=NOT_MAIL)
        if mail_id_of(listed.key) is None or listed.size == 0:
            return offer
        try:
            text = self._mails.notification(self._bucket, listed.key)
        except (PermanentError, TransientError, HoldError) as error:
            return replace(offer, problem=self._mails.problem_of(error))
        return replace(offer, text=text, received=mail_in(text), problem="")


def mail_in(text: str) -> Received:
    """The mail in a notification that we made."""
    received = read_notification(text)
    assert isinstance(received, Received)  # what `rebuilt` and `compact` promise
    return received
