"""Reads what happened: sends from SES, messages from the queues, rows from the ledger, complaints from the logs."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bench.chaos.books import Row, Send
from relayd.adapters.database import connect
from relayd.adapters.dead_letters import REASON
from relayd.adapters.schema import deliveries
from relayd.model.delivery import DELIVERY_TAG
from relayd.sandbox.child import Sent
from relayd.sandbox.cloud.client import EmbeddedAws
from relayd.sandbox.outcomes import DeadLetter

NO_REASON = "receive_count"
"""Of a dead letter that no daemon put there: the queue's own net caught it."""
_ORIGINAL = re.compile(rb"(?im)^x-relayd-original-message-id:\s*<sandbox-\d+-(\d+)@")
_HEAD = 65_536


class Sends:
    """Everything that SES accepted. Read now and then: SES's record lets go of old mails' bytes."""

    def __init__(self, aws: EmbeddedAws) -> None:
        self._aws = aws
        self.found: list[Send] = []

    def read(self) -> None:
        while page := self._aws.sent(len(self.found)):
            self.found += [_send(sent) for sent in page]


def _send(sent: Sent) -> Send:
    delivery_id, _, attempt = sent.tags.get(DELIVERY_TAG, "").rpartition("-")
    original = _ORIGINAL.search(sent.data[:_HEAD].partition(b"\r\n\r\n")[0])
    return Send(delivery_id, attempt, sent.recipients, int(original[1]) if original else None)


def rows(database_url: str) -> list[Row]:
    """The ledger."""
    d = deliveries.c
    query = sa.select(d.delivery_id, d.mail_id, d.recipient, d.mailbox, d.state, d.reason, d.kind, d.resends)
    database = connect(database_url, pool_size=1)
    try:
        with database.reading() as connection:
            return [Row(**{**row._mapping, "reason": row.reason or ""}) for row in connection.execute(query)]
    finally:
        database.close()


def queued(messages: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Every mail id and marker in these messages."""
    return frozenset(name for message in messages for name in _letter(message).ids)


def dead(messages: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The reasons of dead letters, by every mail id and marker in them."""
    found: dict[str, list[str]] = defaultdict(list)
    for message in messages:
        letter = _letter(message)
        for name in letter.ids:
            found[name].append(letter.reason)
    return dict(found)


def reasons(messages: Iterable[Mapping[str, Any]]) -> Counter[str]:
    return Counter(_letter(message).reason for message in messages)


def _letter(message: Mapping[str, Any]) -> DeadLetter:
    reason = message["attributes"].get(REASON, {}).get("StringValue", NO_REASON)
    return DeadLetter(message["message_id"], reason, message["body"])


def complaints(logs: Iterable[Path]) -> Counter[str]:
    """What daemons logged as errors, by event. Lines that are no JSON count as `unreadable`: none should be, but for
    the last one of a daemon that was killed.
    """
    found: Counter[str] = Counter()
    for log in logs:
        lines = log.read_bytes().splitlines()
        for position, line in enumerate(lines):
            try:
                told = json.loads(line)
            except ValueError:
                found["unreadable"] += position < len(lines) - 1
                continue
            if told.get("level") in ("error", "critical"):
                found[told["event"]] += 1
    return +found
