"""SQS messages: send, receive, delete, change visibility, one at a time and in batches."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from relayd.sandbox.cloud import sqs_checks as checks
from relayd.sandbox.cloud.calls import AMZ_JSON, Answer, Call, Refusal, json_answer
from relayd.sandbox.cloud.clock import Now
from relayd.sandbox.cloud.handles import BadHandleError
from relayd.sandbox.cloud.queues import IN_FLIGHT_LIMIT, MAX_LEASE, LeaseError, Received, Stored
from relayd.sandbox.cloud.sqs_queues import SqsQueue, SqsQueues, ok

SENDER = "AIDAEXAMPLESENDERID00"
_NOT_AVAILABLE = "Message does not exist or is not available for visibility timeout change."

Entry = dict[str, Any]

_SYSTEM_ATTRIBUTES: Mapping[str, Callable[[Received], str]] = {
    "SenderId": lambda _: SENDER,
    "SentTimestamp": lambda received: str(received.stored.sent_ms),
    "ApproximateReceiveCount": lambda received: str(received.count),
    "ApproximateFirstReceiveTimestamp": lambda received: str(received.stored.first_received_ms),
    "AWSTraceHeader": lambda received: received.stored.trace_header,
    "DeadLetterQueueSourceArn": lambda received: received.stored.source_arn,
    "MessageGroupId": lambda received: received.stored.group,
}
"""What a receive may tell; an empty text is left out."""
_FIFO_ATTRIBUTES = frozenset({"MessageDeduplicationId", "SequenceNumber"})


class SqsMessages:
    """The operations on messages."""

    def __init__(self, queues: SqsQueues, now: Now) -> None:
        self._queues = queues
        self._now = now
        self.operations: dict[str, Callable[[Call], Answer | Awaitable[Answer]]] = {
            "SendMessage": self.send,
            "SendMessageBatch": self.send_batch,
            "ReceiveMessage": self.receive,
            "DeleteMessage": self.delete,
            "DeleteMessageBatch": self.delete_batch,
            "ChangeMessageVisibility": self.change,
            "ChangeMessageVisibilityBatch": self.change_batch,
        }

    def enqueue(self, arn: str, body: str, attributes: Mapping[str, Any] | None = None) -> bool:
        """What another service of this emulator sends. False where there is no such queue."""
        found = self._queues.by_arn(arn)
        if found is None:
            return False
        entry = {"MessageBody": body, "MessageAttributes": attributes or {}}
        self._put(found, entry)
        return True

    def send(self, call: Call) -> Answer:
        return ok(self._send(self._queues.of(call), call.fields))

    def send_batch(self, call: Call) -> Answer:
        found = self._queues.of(call)
        entries = checks.batch(call.fields, "SendMessageBatchRequestEntry")
        total = sum(
            checks.size(str(entry.get("MessageBody") or ""), entry.get("MessageAttributes") or {}) for entry in entries
        )
        if total > checks.MAX_MESSAGE:
            text = f"Batch requests cannot be longer than {checks.MAX_MESSAGE} bytes. You have sent {total} bytes."
            raise Refusal("BatchRequestTooLong", text)
        return _each(call, entries, lambda entry: self._send(found, entry))

    def receive(self, call: Call) -> Answer | Awaitable[Answer]:
        found, fields = self._queues.of(call), call.fields
        limit = checks.number(fields, "MaxNumberOfMessages", 1, 10, 1)
        visibility = checks.number(fields, "VisibilityTimeout", 0, MAX_LEASE, found.numbers["VisibilityTimeout"])
        wait = checks.number(fields, "WaitTimeSeconds", 0, 20, found.numbers["ReceiveMessageWaitTimeSeconds"])
        system = _system_names(fields)
        if wait == 0 or not len(found.polls):
            batch = found.polls.take(limit, visibility, call.effects)
            if not batch and wait == 0 and found.queue.in_flight >= IN_FLIGHT_LIMIT:
                raise Refusal("OverLimit", "Too many messages are in flight.", 403)
            if batch or wait == 0:
                return _received(batch, system, fields)
        # Behind those that wait already; at the in-flight limit a long poll is simply empty.
        return self._long_poll(call, found, limit, visibility, wait, system)

    async def _long_poll(
        self, call: Call, found: SqsQueue, limit: int, visibility: int, wait: int, system: list[str]
    ) -> Answer:
        batch = await found.polls.wait(limit, visibility, wait, call.effects, call.disconnected)
        return _received(batch, system, call.fields)

    def delete(self, call: Call) -> Answer:
        self._delete(call, self._queues.of(call), call.fields)
        return ok()

    def delete_batch(self, call: Call) -> Answer:
        found = self._queues.of(call)
        entries = checks.batch(call.fields, "DeleteMessageBatchRequestEntry")
        return _each(call, entries, lambda entry: self._delete(call, found, entry))

    def change(self, call: Call) -> Answer:
        self._change(self._queues.of(call), call.fields)
        return ok()

    def change_batch(self, call: Call) -> Answer:
        found = self._queues.of(call)
        entries = checks.batch(call.fields, "ChangeMessageVisibilityBatchRequestEntry")
        return _each(call, entries, lambda entry: self._change(found, entry))

    def _send(self, found: SqsQueue, entry: Mapping[str, Any]) -> Entry:
        body = checks.required(entry, "MessageBody")
        attributes: dict[str, Any] = entry.get("MessageAttributes") or {}
        checks.check_body(body)
        checks.check_attributes(attributes)
        checks.check_size(checks.size(body, attributes), found.numbers["MaximumMessageSize"])
        for name in entry.get("MessageSystemAttributes") or {}:
            if name != "AWSTraceHeader":
                raise Refusal("InvalidParameterValue", f"Message system attribute name '{name}' is invalid.")
        if entry.get("MessageDeduplicationId"):
            reason = "The request includes a parameter that is not valid for this queue type."
            raise checks.invalid_value("MessageDeduplicationId", entry["MessageDeduplicationId"], reason)
        stored = self._put(found, entry)
        answer = {"MessageId": stored.message_id, "MD5OfMessageBody": stored.md5}
        if stored.attributes_md5:
            answer["MD5OfMessageAttributes"] = stored.attributes_md5
        return answer

    def _put(self, found: SqsQueue, entry: Mapping[str, Any]) -> Stored:
        body: str = entry["MessageBody"]
        attributes = entry.get("MessageAttributes")
        delay = checks.number(entry, "DelaySeconds", 0, 900, found.numbers["DelaySeconds"])
        system = entry.get("MessageSystemAttributes")
        now = self._now()
        stored = Stored(
            body,
            checks.body_md5(body),
            int(now * 1000),
            attributes or None,
            checks.attributes_md5(attributes) if attributes else "",
            str(system["AWSTraceHeader"].get("StringValue", "")) if system else "",
            str(entry.get("MessageGroupId") or ""),
        )
        found.queue.put(stored, now, delay)
        return stored

    def _delete(self, call: Call, found: SqsQueue, entry: Mapping[str, Any]) -> None:
        handle = checks.required(entry, "ReceiptHandle")
        if call.effects.forget_delete:
            return
        again = call.effects.redeliver
        try:
            deleted = found.queue.delete(handle) if again is None else found.queue.redeliver(handle, again, self._now())
        except BadHandleError:
            raise _bad_handle(handle) from None
        if not deleted and call.effects.stale_delete == "error":
            reason = "The receipt handle has expired."
            raise Refusal(
                "ReceiptHandleIsInvalid",
                f"Value {handle} for parameter ReceiptHandle is invalid. Reason: {reason}",
                404,
            )

    def _change(self, found: SqsQueue, entry: Mapping[str, Any]) -> None:
        handle = checks.required(entry, "ReceiptHandle")
        if entry.get("VisibilityTimeout") is None:
            raise Refusal("MissingParameter", "The request must contain the parameter VisibilityTimeout.")
        seconds = checks.number(entry, "VisibilityTimeout", 0, MAX_LEASE, 0)
        try:
            found.queue.change(handle, seconds, self._now())
        except BadHandleError:
            raise _bad_handle(handle) from None
        except LeaseError as error:
            if error.why == "not_in_flight":
                raise Refusal("MessageNotInflight", "The specified message isn't in flight.") from None
            if error.why == "too_long":
                reason = f"Total VisibilityTimeout for the message is beyond the limit [{MAX_LEASE} seconds]."
                raise checks.invalid_value("VisibilityTimeout", seconds, reason) from None
            raise checks.invalid_value("ReceiptHandle", handle, _NOT_AVAILABLE) from None


def _bad_handle(handle: str) -> Refusal:
    return Refusal("ReceiptHandleIsInvalid", f'The input receipt handle "{handle}" is not a valid receipt handle.', 404)


def _each(call: Call, entries: list[Entry], one: Callable[[Entry], Entry | None]) -> Answer:
    """Entry by entry: one that is refused fails alone."""
    fails = call.effects.fails_entry or (lambda: False)
    successful: list[Entry] = []
    failed: list[Entry] = []
    for entry in entries:
        try:
            if fails():
                raise Refusal("InternalError", "We are currently unable to process this entry.", 500)
            successful.append({"Id": entry["Id"], **(one(entry) or {})})
        except Refusal as refusal:
            blame = {"SenderFault": refusal.status < 500, "Code": refusal.code}
            failed.append({"Id": entry["Id"], **blame, "Message": refusal.text})
    return ok({name: value for name, value in (("Successful", successful), ("Failed", failed)) if value})


def _system_names(fields: Mapping[str, Any]) -> list[str]:
    # The older parameter is discontinued and still works.
    asked: list[str] = (fields.get("MessageSystemAttributeNames") or []) + (fields.get("AttributeNames") or [])
    if "All" in asked:
        return list(_SYSTEM_ATTRIBUTES)
    for name in asked:
        if name not in _SYSTEM_ATTRIBUTES and name not in _FIFO_ATTRIBUTES:
            raise Refusal("InvalidAttributeName", f"Unknown Attribute {name}.")
    return [name for name in asked if name in _SYSTEM_ATTRIBUTES]


def _received(batch: list[Received], system: list[str], fields: Mapping[str, Any]) -> Answer:
    if not batch:
        # No key at all, where one might expect an empty list.
        return ok()
    names: list[str] = fields.get("MessageAttributeNames") or []
    return json_answer({"Messages": [_message(one, system, names) for one in batch]}, kind=AMZ_JSON)


def _message(received: Received, system: list[str], names: list[str]) -> Entry:
    stored = received.stored
    message: Entry = {
        "MessageId": stored.message_id,
        "ReceiptHandle": received.handle,
        "MD5OfBody": stored.md5,
        "Body": stored.body,
    }
    if system:
        told = ((name, _SYSTEM_ATTRIBUTES[name](received)) for name in system)
        message["Attributes"] = {name: value for name, value in told if value}
    if names and stored.attributes and (chosen := checks.chosen(stored.attributes, names)):
        message["MessageAttributes"] = chosen
        message["MD5OfMessageAttributes"] = checks.attributes_md5(chosen)
    return message
