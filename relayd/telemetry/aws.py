"""What a botocore call's span tells beside the call's name: which object, which mail, how many messages."""

from collections.abc import Callable
from typing import Any

import structlog
from opentelemetry.trace import Span

from relayd.model.delivery import DELIVERY_TAG
from relayd.telemetry import batches, names
from relayd.telemetry.words import label

_SETTLING = ("DeleteMessage", "DeleteMessageBatch", "ChangeMessageVisibility", "ChangeMessageVisibilityBatch")

_log = structlog.get_logger()


def guarded(hook: Callable[..., None]) -> Callable[..., None]:
    """The hook, unable to raise: the instrumentation calls it unprotected, so an error in it would turn a send that
    succeeded into one that failed.
    """

    def call(span: Span, service: str, operation: str, data: Any) -> None:
        try:
            if span.is_recording():
                hook(span, service, operation, data)
        except Exception:
            _log.warning("telemetry_hook_failed", service=service, operation=operation, exc_info=True)

    return call


def before_call(span: Span, service: str, operation: str, params: dict[str, Any]) -> None:
    """Attributes from a call's parameters."""
    match service:
        case "s3":
            _set(span, {names.BUCKET: params.get("Bucket"), names.KEY: params.get("Key")})
        case "sesv2":
            raw = params.get("Content", {}).get("Raw", {}).get("Data")
            tags = {tag.get("Name"): tag.get("Value") for tag in params.get("EmailTags", ())}
            delivery, attempt = _tagged(tags.get(DELIVERY_TAG))
            size = None if raw is None else len(raw)
            _set(span, {names.REQUEST_SIZE: size, names.DELIVERY: delivery, names.ATTEMPT: attempt})
        case "sqs":
            url = params.get("QueueUrl")
            entries = params.get("Entries")
            _set(
                span,
                {
                    names.MESSAGING_SYSTEM: "aws_sqs",
                    names.MESSAGING_OPERATION: operation,
                    names.MESSAGING_OPERATION_TYPE: _operation_type(operation),
                    names.QUEUE_URL: url,
                    names.MESSAGING_DESTINATION: None if url is None else url.rpartition("/")[2],
                    names.MESSAGING_BATCH_COUNT: None if entries is None else len(entries),
                },
            )
            batches.called(span)


def after_call(span: Span, service: str, operation: str, answer: dict[str, Any] | None) -> None:
    """Attributes from a call's answer; None after a transport error, the error's answer after an AWS error."""
    if answer is None:
        return
    if (error := answer.get("Error")) is not None:
        # The code alone: SES's error texts repeat the addresses.
        span.set_attribute(names.ERROR_TYPE, label(str(error.get("Code", "unknown"))))
        return
    match service, operation:
        case "s3", "GetObject":
            _set(span, {names.BODY_SIZE: answer.get("ContentLength")})
        case "sesv2", "SendEmail":
            _set(span, {names.SES_MESSAGE_ID: answer.get("MessageId")})
        case "sqs", "ReceiveMessage":
            messages = answer.get("Messages", ())
            only = messages[0].get("MessageId") if len(messages) == 1 else None
            _set(span, {names.MESSAGING_BATCH_COUNT: len(messages), names.MESSAGING_MESSAGE_ID: only})


def _tagged(tag: str | None) -> tuple[str | None, int | None]:
    """The tag's two parts, the delivery's id and the attempt's number: events and log lines have the id alone."""
    delivery, _, number = (tag or "").rpartition("-")
    return (delivery, int(number)) if delivery and number.isdecimal() else (tag, None)


def _operation_type(operation: str) -> str | None:
    if operation == "ReceiveMessage":
        return "receive"
    return "settle" if operation in _SETTLING else None


def _set(span: Span, attributes: dict[str, Any]) -> None:
    span.set_attributes({name: value for name, value in attributes.items() if value is not None})
