"""What all rooms of SES need to read a call."""

from collections.abc import Callable

from relayd.sandbox.cloud.calls import Answer, Call, Refusal

Operation = Callable[[Call], Answer]

Validate = Callable[[str, str], None]
"""Publishes a first text to a topic to which something is to be told from now on; raises Refusal when it cannot."""


def required(call: Call, name: str) -> str:
    """A parameter that must be there and not be empty."""
    value = call.fields.get(name)
    if not isinstance(value, str) or not value:
        raise Refusal("BadRequestException", f"1 validation error detected: Value at '{name}' must not be null")
    return value
