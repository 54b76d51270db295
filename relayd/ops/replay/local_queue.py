"""A queue in memory, with leases as SQS has them: what the engine works on when mail is put through in place."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from relayd.adapters.queue_depth import QueueDepth
from relayd.model.message import Message
from relayd.ports import Clock, EntryError

_GONE = EntryError("ReceiptHandleIsInvalid", gone=True)
_LAPSED = EntryError("MessageNotInflight", gone=True)


@dataclass(slots=True)
class _Kept:
    """One message."""

    message_id: str
    body: str = field(repr=False)
    attributes: Mapping[str, str] = field(repr=False)
    trace_header: str | None
    sent_at: float
    visible_at: float
    """By the monotonic clock: a lease ends then, or what it was put off for."""
    receives: int = 0
    first_received_at: float = 0.0


class LocalQueue:
    """Implements `relayd.ports.Queue`. It loses everything with its process: whoever fills it keeps what is in it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = clock.condition()
        self._kept: dict[str, _Kept] = {}

    @property
    def name(self) -> str:
        """See `relayd.ports.Queue`."""
        return "replay"

    def put(self, body: str, attributes: Mapping[str, str], trace_header: str | None = None) -> str:
        """Add a message. Answers its id."""
        message_id = f"replay-{secrets.token_hex(10)}"
        with self._changed:
            now, moment = self._clock.time(), self._clock.monotonic()
            self._kept[message_id] = _Kept(message_id, body, attributes, trace_header, now, moment)
            self._changed.notify_all()
        return message_id

    def depth(self) -> QueueDepth:
        """What is in it, exactly."""
        with self._changed:
            now = self._clock.monotonic()
            visible = sum(kept.visible_at <= now for kept in self._kept.values())
            return QueueDepth(visible, 0, len(self._kept) - visible)

    def receive(self, limit: int, wait: float, visibility: float) -> list[Message]:
        """See `relayd.ports.Queue`. What may be received first comes first."""
        ends_at = self._clock.monotonic() + wait
        with self._changed:
            while True:
                now = self._clock.monotonic()
                ready = sorted(
                    (kept for kept in self._kept.values() if kept.visible_at <= now), key=lambda kept: kept.visible_at
                )
                if ready:
                    return [self._leased(kept, now + visibility) for kept in ready[:limit]]
                if now >= ends_at:
                    return []
                due = min((kept.visible_at for kept in self._kept.values()), default=ends_at)
                self._changed.wait(min(due, ends_at) - now)

    def delete(self, handles: Sequence[str]) -> list[EntryError | None]:
        """See `relayd.ports.Queue`. As with SQS, an old handle deletes nothing and says nothing."""
        with self._changed:
            return [self._deleted(handle) for handle in handles]

    def change_visibility(self, changes: Sequence[tuple[str, float]]) -> list[EntryError | None]:
        """See `relayd.ports.Queue`."""
        with self._changed:
            answers = [self._put_off(handle, seconds) for handle, seconds in changes]
            self._changed.notify_all()
        return answers

    def dead_letter(self, message: Message, reason: str, detail: str) -> None:
        """See `relayd.ports.Queue`. There is nothing to copy: it is still where it came from, and stays there."""

    def _leased(self, kept: _Kept, ends_at: float) -> Message:
        kept.visible_at = ends_at
        kept.receives += 1
        kept.first_received_at = kept.first_received_at or self._clock.time()
        return Message(
            kept.message_id,
            f"{kept.message_id}.{kept.receives}",
            kept.body,
            receive_count=kept.receives,
            sent_at=kept.sent_at,
            first_received_at=kept.first_received_at,
            attributes=kept.attributes,
            trace_header=kept.trace_header,
        )

    def _deleted(self, handle: str) -> EntryError | None:
        message_id, dot, count = handle.rpartition(".")
        kept = self._kept.get(message_id)
        if not dot:
            return _GONE
        if kept is not None and count == str(kept.receives):
            del self._kept[message_id]
        return None

    def _put_off(self, handle: str, seconds: float) -> EntryError | None:
        message_id, _, count = handle.rpartition(".")
        kept = self._kept.get(message_id)
        if kept is None or count != str(kept.receives):
            return _GONE
        now = self._clock.monotonic()
        if kept.visible_at <= now:
            return _LAPSED
        kept.visible_at = now + seconds
        return None
