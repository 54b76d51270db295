"""Raw mails for an archive: fetched as the daemon would, from the buckets that it may read, within the same memory."""

from collections.abc import Collection
from contextlib import ExitStack
from functools import partial

from relayd.decoding import admits
from relayd.errors import PermanentError, TransientError
from relayd.fetching import MEMORY_FULL, admit_any, at_once
from relayd.model.notification import InlineContent, Received, S3Content
from relayd.ops.archive_record import ARCHIVED, GONE, NO_MAIL, RawMail
from relayd.ops.patience import patiently
from relayd.ports import Clock, MailStore, Memory

_MISSING = "content_missing"
_WAITING = 1.0
"""Seconds, always: memory is waited for until others are done with it."""


class MailCopies:
    """Gets the mail that a dead letter is about."""

    def __init__(self, store: MailStore, memory: Memory, buckets: Collection[str], clock: Clock) -> None:
        """`buckets`: those that mail may be read from. A dead letter may be forged, and name anybody's."""
        self._store = store
        self._memory = memory
        self._buckets = frozenset(buckets)
        self._clock = clock

    def fetch(self, received: Received | None, reserved: ExitStack) -> tuple[RawMail, bytes | None]:
        """What became of it, and its bytes where it could be had; `reserved` keeps the memory for them. Raises
        HoldError and TransientError where it may be had another time.
        """
        try:
            data = self._data(received, reserved)
        except PermanentError as error:
            return RawMail(error.reason), None
        return (RawMail(GONE), None) if data is None else (RawMail(ARCHIVED, len(data)), data)

    def _data(self, received: Received | None, reserved: ExitStack) -> bytes | None:
        match received.content if received is not None else None:
            case None:
                raise PermanentError(NO_MAIL)
            case InlineContent(data=data):
                return data
            case S3Content() as content if not admits(self._buckets, content.bucket):
                raise PermanentError("foreign_bucket")
            case S3Content() as content:
                return patiently(self._clock, partial(self._get, content, reserved))

    def _get(self, content: S3Content, reserved: ExitStack) -> bytes | None:
        """The object; None where it is not there. Where there is no memory for it the connection is closed, not kept
        waiting, and opened again once there is.
        """
        wanted = 0
        with ExitStack() as ours:

            def admit(size: int) -> None:
                nonlocal wanted
                wanted = size
                ours.enter_context(self._memory.reserve(size, at_once))

            try:
                data = self._store.fetch(content, admit)
            except TransientError as error:
                if error.reason == _MISSING:
                    return None
                if error.reason != MEMORY_FULL:
                    raise
                ours.enter_context(self._memory.reserve(wanted, lambda: _WAITING))
                data = self._store.fetch(content, admit_any)
            reserved.push(ours.pop_all())
            return data
