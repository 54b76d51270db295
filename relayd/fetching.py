"""The mail's own bytes, once there is memory for them."""

from contextlib import ExitStack
from typing import assert_never

from relayd.errors import TransientError
from relayd.mail import letter
from relayd.model.notification import InlineContent, S3Content
from relayd.ports import Lease, MailStore, Memory
from relayd.sending import about
from relayd.stages import Claimed, Fetched
from relayd.telemetry import names, spans

MEMORY_FULL = "memory_full"


class Fetcher:
    """Fetches mail. It holds nothing."""

    def __init__(self, store: MailStore, memory: Memory, send_seconds: float) -> None:
        self._store = store
        self._memory = memory
        self._send_seconds = send_seconds

    def fetch(self, claimed: Claimed, lease: Lease, reserved: ExitStack) -> Fetched:
        """The mail. `reserved` keeps its memory for as long as it is in hand."""
        content = claimed.decided.decoded.received.content
        match content:
            case InlineContent():
                data = content.data
            case S3Content():
                with spans.step(names.FETCH, {names.BUCKET: content.bucket, names.KEY: content.key}) as span:
                    with about(f"{content.bucket}/{content.key}"):
                        data = self._get(content, lease, reserved)
                    span.set_attribute(names.MAIL_BYTES, len(data))
            case _:
                assert_never(content)
        return Fetched(claimed, letter.parse(data))

    def _get(self, content: S3Content, lease: Lease, reserved: ExitStack) -> bytes:
        """The object. Where there is no memory for it the connection is closed, not kept waiting, and opened again once
        there is.
        """
        wanted = 0

        def admit(size: int) -> None:
            nonlocal wanted
            wanted = size
            reserved.enter_context(self._memory.reserve(size, at_once))

        try:
            with spans.measure("s3", "fetch"):
                return self._store.fetch(content, admit)
        except TransientError as error:
            if error.reason != MEMORY_FULL:
                raise
        try:
            # Its turn must leave time for the fetch and the send.
            with spans.step(names.MEMORY_WAIT):
                reserved.enter_context(self._memory.reserve(wanted, lambda: lease.left() - 2 * self._send_seconds))
        except TransientError:
            # A lease that was lost, or a stop, is the reason then, and not the memory.
            lease.fence(self._send_seconds)
            raise
        with spans.measure("s3", "fetch"):
            return self._store.fetch(content, admit_any)


def at_once() -> float:
    """No patience."""
    return 0.0


def admit_any(size: int) -> None:
    """Every size: memory for it is reserved already."""
