"""Message move tasks: what sends the contents of a dead-letter queue back, in the background and at a rate."""

import asyncio
import base64
import itertools
import json
from dataclasses import dataclass
from typing import Any

from relayd.sandbox.cloud import sqs_checks as checks
from relayd.sandbox.cloud.calls import Answer, Call, Refusal
from relayd.sandbox.cloud.clock import Now
from relayd.sandbox.cloud.sqs_queues import SqsQueue, SqsQueues, ok

MAX_RATE = 500
"""Messages a second."""
KEPT_TASKS = 10
"""Of a queue; ListMessageMoveTasks tells of no more."""
_TURN = 0.02
"""Seconds between two portions."""


@dataclass(slots=True, eq=False)
class Move:
    """One task."""

    handle: str
    source: SqsQueue
    target_arn: str
    rate: int
    to_move: int
    started: float
    status: str = "RUNNING"
    moved: int = 0
    failure: str = ""
    cancelled: bool = False


class SqsMoves:
    """The operations on move tasks, and the tasks themselves."""

    def __init__(self, queues: SqsQueues, now: Now) -> None:
        self._queues = queues
        self._now = now
        self._numbers = itertools.count(1)
        self._moves: dict[str, list[Move]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self.operations = {
            "StartMessageMoveTask": self.start,
            "ListMessageMoveTasks": self.list,
            "CancelMessageMoveTask": self.cancel,
        }

    def start(self, call: Call) -> Answer:
        source = self._source(call)
        target_arn = str(call.fields.get("DestinationArn") or "")
        if target_arn and self._queues.by_arn(target_arn) is None:
            raise _missing("DestinationArn")
        if not self._queues.sources_of(source):
            text = "Source queue must be configured as a Dead Letter Queue."
            raise Refusal("InvalidParameterValue", text)
        moves = self._moves.setdefault(source.arn, [])
        if any(move.status in {"RUNNING", "CANCELLING"} for move in moves):
            text = "Only one active task is allowed for a source queue arn at a given time."
            raise Refusal("UnsupportedOperation", f"There is already a task running. {text}")
        rate = checks.number(call.fields, "MaxNumberOfMessagesPerSecond", 1, MAX_RATE, MAX_RATE)
        source.queue.tick(self._now())
        facts = {"taskId": f"5e1f0000-0000-4000-9000-{next(self._numbers):012x}", "sourceArn": source.arn}
        handle = base64.b64encode(json.dumps(facts).encode()).decode()
        move = Move(handle, source, target_arn, rate, source.queue.visible, self._now())
        moves.insert(0, move)
        del moves[KEPT_TASKS:]
        task = asyncio.ensure_future(self._run(move))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return ok({"TaskHandle": handle})

    def list(self, call: Call) -> Answer:
        source = self._source(call)
        limit = checks.number(call.fields, "MaxResults", 1, KEPT_TASKS, 1)
        return ok({"Results": [_told(move) for move in self._moves.get(source.arn, [])[:limit]]})

    def cancel(self, call: Call) -> Answer:
        handle = checks.required(call.fields, "TaskHandle")
        found = [move for moves in self._moves.values() for move in moves if move.handle == handle]
        if not found or found[0].status != "RUNNING":
            raise Refusal("ResourceNotFoundException", "Task does not exist.", 404)
        found[0].cancelled = True
        found[0].status = "CANCELLING"
        return ok({"ApproximateNumberOfMessagesMoved": found[0].moved})

    def _source(self, call: Call) -> SqsQueue:
        found = self._queues.by_arn(checks.required(call.fields, "SourceArn"))
        if found is None:
            raise _missing("SourceArn")
        return found

    async def _run(self, move: Move) -> None:
        began = self._now()
        while not move.cancelled:
            # At once one portion, then as many as the rate has allowed by now.
            allowed = 1 + int((self._now() - began) * move.rate)
            while move.moved < min(allowed, move.to_move):
                if not self._move_one(move):
                    move.status = "FAILED" if move.failure else "COMPLETED"
                    return
            if move.moved >= move.to_move:
                move.status = "COMPLETED"
                return
            await asyncio.sleep(_TURN)
        move.status = "CANCELLED"

    def _move_one(self, move: Move) -> bool:
        now = self._now()
        stored = move.source.queue.take(now)
        if stored is None:
            return False
        arn = move.target_arn or stored.source_arn
        target = self._queues.by_arn(arn)
        if target is None:
            move.failure = "AWS.SimpleQueueService.NonExistentQueue" if arn else "CouldNotDetermineMessageSource"
            move.source.queue.put(stored, now)
            return False
        # A new life: another id, another time of sending, no receives.
        stored.message_id = stored.source_arn = ""
        stored.sent_ms = int(now * 1000)
        stored.count = stored.first_received_ms = 0
        target.queue.put(stored, now)
        move.moved += 1
        return True


def _missing(parameter: str) -> Refusal:
    text = f"The resource that you specified for the {parameter} parameter doesn't exist."
    return Refusal("ResourceNotFoundException", text, 404)


def _told(move: Move) -> dict[str, Any]:
    told: dict[str, Any] = {
        "Status": move.status,
        "SourceArn": move.source.arn,
        "MaxNumberOfMessagesPerSecond": move.rate,
        "ApproximateNumberOfMessagesMoved": move.moved,
        "ApproximateNumberOfMessagesToMove": move.to_move,
        "StartedTimestamp": int(move.started * 1000),
    }
    if move.status == "RUNNING":
        # A task that has ended cannot be named any more.
        told["TaskHandle"] = move.handle
    if move.target_arn:
        told["DestinationArn"] = move.target_arn
    if move.failure:
        told["FailureReason"] = move.failure
    return told
