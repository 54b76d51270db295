"""SQS as clients see it: its JSON protocol, the names of its errors, and which room knows which operation."""

import json
from collections.abc import Awaitable, Callable, Mapping

from relayd.sandbox.cloud.calls import AMZ_JSON, Answer, Call, Refusal, json_answer
from relayd.sandbox.cloud.clock import Now
from relayd.sandbox.cloud.sqs_messages import SqsMessages
from relayd.sandbox.cloud.sqs_moves import SqsMoves
from relayd.sandbox.cloud.sqs_queues import SqsQueues, queue_name

TARGET_PREFIX = "AmazonSQS."

Operation = Callable[[Call], Answer | Awaitable[Answer]]

_OLD_NAMESPACE = "AWS.SimpleQueueService."
_OLD_CODES = {
    "QueueDoesNotExist": _OLD_NAMESPACE + "NonExistentQueue",
    "QueueNameExists": "QueueAlreadyExists",
    "QueueDeletedRecently": _OLD_NAMESPACE + "QueueDeletedRecently",
    "PurgeQueueInProgress": _OLD_NAMESPACE + "PurgeQueueInProgress",
    "MessageNotInflight": _OLD_NAMESPACE + "MessageNotInflight",
    "EmptyBatchRequest": _OLD_NAMESPACE + "EmptyBatchRequest",
    "TooManyEntriesInBatchRequest": _OLD_NAMESPACE + "TooManyEntriesInBatchRequest",
    "BatchEntryIdsNotDistinct": _OLD_NAMESPACE + "BatchEntryIdsNotDistinct",
    "BatchRequestTooLong": _OLD_NAMESPACE + "BatchRequestTooLong",
    "InvalidBatchEntryId": _OLD_NAMESPACE + "InvalidBatchEntryId",
    "UnsupportedOperation": _OLD_NAMESPACE + "UnsupportedOperation",
    "AccessDeniedException": "AccessDenied",
    "MissingAuthenticationTokenException": "MissingAuthenticationToken",
}
"""The codes of the query protocol, which SQS still sends in a header and SDKs still show."""


class Sqs:
    """One SQS for all regions."""

    def __init__(self, now: Now) -> None:
        self.queues = SqsQueues(now)
        self.messages = SqsMessages(self.queues, now)
        self.moves = SqsMoves(self.queues, now)
        self._operations: Mapping[str, Operation] = {
            **self.queues.operations,
            **self.messages.operations,
            **self.moves.operations,
        }

    def recognise(self, call: Call) -> None:
        call.operation = call.headers[b"x-amz-target"].decode("latin-1").removeprefix(TARGET_PREFIX)
        if call.operation not in self._operations:
            text = f"The operation {call.operation} is not known, or not part of this emulator."
            raise Refusal("UnknownOperationException", text)
        try:
            call.fields = json.loads(call.body or b"{}")
        except ValueError:
            raise Refusal("SerializationException", "The body is not JSON.") from None
        if not isinstance(call.fields, dict):
            raise Refusal("SerializationException", "The body is not a JSON object.")
        call.resource = queue_name(str(call.fields.get("QueueUrl") or call.fields.get("QueueName") or ""))

    def answer(self, call: Call) -> Answer | Awaitable[Answer]:
        return self._operations[call.operation](call)

    def refuse(self, refusal: Refusal) -> Answer:
        shape = f"com.amazonaws.sqs#{refusal.code}"
        answer = json_answer(
            {"__type": shape, "message": refusal.text}, status=refusal.status, kind=AMZ_JSON, code=refusal.code
        )
        blame = "Receiver" if refusal.status >= 500 else "Sender"
        old = f"{_OLD_CODES.get(refusal.code, refusal.code)};{blame}"
        answer.headers.append((b"x-amzn-query-error", old.encode("latin-1", "replace")))
        return answer
