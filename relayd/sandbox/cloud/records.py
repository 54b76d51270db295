"""The truth: what SES accepted, byte for byte, and what was called how often."""

import base64
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KEPT_BYTES = 64 * 1024 * 1024
"""Of raw mail. Older mails keep their envelope and lose their bytes, so that a long session does not fill memory."""
PAGE = 200
"""Sends in one answer, at most."""
PAGE_BYTES = 16 * 1024 * 1024
"""Of raw mail in one answer, at most; but always one mail."""


@dataclass(slots=True)
class SentRecord:
    """One SendEmail that was accepted."""

    number: int
    message_id: str
    sender: str
    recipients: list[str]
    tags: Mapping[str, str]
    configuration_set: str
    at: float
    fates: Mapping[str, str]
    """Recipients that were not simply delivered to, and why: `bounce`, `suppressed`, ..."""
    data: bytes
    size: int


class Sends:
    """Every accepted send since the start, or since `clear`."""

    def __init__(self) -> None:
        self._sent: list[SentRecord] = []
        self._with_bytes: deque[SentRecord] = deque()
        self._kept = 0

    def __len__(self) -> int:
        return len(self._sent)

    def add(
        self,
        message_id: str,
        sender: str,
        recipients: list[str],
        tags: Mapping[str, str],
        *,
        configuration_set: str,
        at: float,
        fates: Mapping[str, str],
        data: bytes,
    ) -> SentRecord:
        number = len(self._sent) + 1
        record = SentRecord(number, message_id, sender, recipients, tags, configuration_set, at, fates, data, len(data))
        self._sent.append(record)
        self._with_bytes.append(record)
        self._kept += record.size
        while self._kept > KEPT_BYTES:
            oldest = self._with_bytes.popleft()
            oldest.data = b""
            self._kept -= oldest.size
        return record

    def page(self, since: int, *, raw: bool) -> list[dict[str, Any]]:
        """The sends after the one of that number, oldest first."""
        page: list[dict[str, Any]] = []
        total = 0
        for record in self._sent[since : since + PAGE]:
            if raw and page and total + len(record.data) > PAGE_BYTES:
                break
            total += len(record.data)
            page.append(_told(record, raw=raw))
        return page

    def clear(self) -> None:
        self._sent.clear()
        self._with_bytes.clear()
        self._kept = 0


class Counts:
    """Calls and refusals by operation."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        """By `operation code`, such as `s3:GetObject NoSuchKey`."""

    def told(self) -> dict[str, Any]:
        return {"calls": dict(sorted(self.calls.items())), "errors": dict(sorted(self.errors.items()))}


def _told(record: SentRecord, *, raw: bool) -> dict[str, Any]:
    return {
        "number": record.number,
        "message_id": record.message_id,
        "sender": record.sender,
        "recipients": record.recipients,
        "tags": record.tags,
        "at": record.at,
        "raw": base64.b64encode(record.data).decode() if raw else "",
        "configuration_set": record.configuration_set,
        "fates": record.fates,
        "size": record.size,
    }
