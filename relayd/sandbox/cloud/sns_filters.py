"""Filter policies of subscriptions: which of a topic's messages a queue is sent.

What is here is the part that can be understood at a glance: values as they are, `prefix`, `anything-but`, `exists`.
A policy with more is refused rather than ignored.
"""

import json
from collections.abc import Mapping
from typing import Any

from relayd.sandbox.cloud.calls import Refusal

SCOPES = ("MessageAttributes", "MessageBody")
MAX_KEYS = 5

_OPERATORS = frozenset({"prefix", "anything-but", "exists"})


def check(text: str) -> None:
    """Raises Refusal for what SNS, or this emulator, cannot read. An empty policy is none."""
    if text:
        _check_level(_parsed(text))


def passes(text: str, scope: str, message: str, attributes: Mapping[str, Any] | None) -> bool:
    """Whether a message is delivered under this policy."""
    if not text or not (policy := _parsed(text)):
        return True
    if scope == "MessageBody":
        try:
            body = json.loads(message)
        except ValueError:
            return False
        return isinstance(body, dict) and _fits(policy, body)
    return _fits(policy, {name: _value(one) for name, one in (attributes or {}).items()})


def _parsed(text: str) -> dict[str, Any]:
    try:
        policy = json.loads(text)
    except ValueError:
        policy = None
    if not isinstance(policy, dict):
        raise _invalid("FilterPolicy: failed to parse JSON.")
    return policy


def _check_level(policy: Mapping[str, Any]) -> None:
    if len(policy) > MAX_KEYS:
        raise _invalid("FilterPolicy: Filter policy can not have more than 5 keys")
    for name, wanted in policy.items():
        if isinstance(wanted, dict):
            _check_level(wanted)
        elif not isinstance(wanted, list):
            raise _invalid(f'FilterPolicy: "{name}" must be an object or an array')
        else:
            for one in wanted:
                if isinstance(one, dict) and (len(one) != 1 or not one.keys() <= _OPERATORS):
                    raise _invalid(f"FilterPolicy: Unrecognized match type {next(iter(one), '')}")


def _fits(policy: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
    for name, wanted in policy.items():
        value = facts.get(name)
        if isinstance(wanted, dict):
            if not isinstance(value, dict) or not _fits(wanted, value):
                return False
        elif not any(_matches(one, value, here=name in facts) for one in wanted):
            return False
    return True


def _matches(wanted: Any, value: Any, *, here: bool) -> bool:
    values = value if isinstance(value, list) else [value]
    if not isinstance(wanted, dict):
        return here and wanted in values
    [(operator, operand)] = wanted.items()
    if operator == "exists":
        return here is bool(operand)
    if operator == "prefix":
        return here and any(isinstance(one, str) and one.startswith(str(operand)) for one in values)
    others = operand if isinstance(operand, list) else [operand]
    return here and all(one not in others for one in values)


def _value(attribute: Mapping[str, Any]) -> Any:
    text = str(attribute.get("StringValue", ""))
    kind = str(attribute.get("DataType", ""))
    if kind == "Number":
        return float(text)
    return json.loads(text) if kind == "String.Array" else text


def _invalid(reason: str) -> Refusal:
    return Refusal("InvalidParameter", f"Invalid parameter: {reason}")
