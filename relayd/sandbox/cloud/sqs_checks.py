"""What SQS takes: sizes, characters, attributes, batches. And the digests by which clients check its answers."""

import base64
import hashlib
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from relayd.sandbox.cloud.calls import Refusal

MAX_MESSAGE = 1_048_576
MAX_ATTRIBUTES = 10
MAX_BATCH = 10

_ENTRY_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")
_FORBIDDEN = re.compile("[^\x09\x0a\x0d\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ATTRIBUTE_NAME = re.compile(r"(?!\.)(?!.*\.\.)[A-Za-z0-9_.-]{1,256}(?<!\.)")
_DATA_TYPE = re.compile(r"(String|Number|Binary)(\.[A-Za-z0-9_.-]{1,250})?")


def number(fields: Mapping[str, Any], name: str, low: int, high: int, default: int) -> int:
    """An optional integer parameter within its bounds."""
    value = fields.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        reason = f"Must be between {low} and {high}, if provided."
        raise invalid_value(name, value, reason)
    return value


def invalid_value(name: str, value: object, reason: str) -> Refusal:
    return Refusal("InvalidParameterValue", f"Value {value} for parameter {name} is invalid. Reason: {reason}")


def required(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise Refusal("MissingParameter", f"The request must contain the parameter {name}.")
    return value


def batch(fields: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    """The entries of a batch, whose number and Ids concern all of them."""
    entries: list[dict[str, Any]] = fields.get("Entries") or []
    if not entries:
        raise Refusal("EmptyBatchRequest", f"There should be at least one {kind} in the request.")
    if len(entries) > MAX_BATCH:
        text = f"Maximum number of entries per request are {MAX_BATCH}. You have sent {len(entries)}."
        raise Refusal("TooManyEntriesInBatchRequest", text)
    seen: set[str] = set()
    for entry in entries:
        name = str(entry.get("Id", ""))
        if not _ENTRY_ID.fullmatch(name):
            text = (
                "A batch entry id can only contain alphanumeric characters, hyphens and underscores. "
                "It can be at most 80 letters long."
            )
            raise Refusal("InvalidBatchEntryId", text)
        if name in seen:
            raise Refusal("BatchEntryIdsNotDistinct", f"Id {name} repeated.")
        seen.add(name)
    return entries


def check_body(body: str) -> None:
    """Any character of XML 1.0."""
    found = _FORBIDDEN.search(body)
    if found:
        text = (
            f"Invalid binary character '#x{ord(found[0]):x}' was found in the message body, the set of allowed "
            "characters is #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF"
        )
        raise Refusal("InvalidMessageContents", text)


def check_attributes(attributes: Mapping[str, Any]) -> None:
    if len(attributes) > MAX_ATTRIBUTES:
        text = f"Number of message attributes [{len(attributes)}] exceeds the allowed maximum [{MAX_ATTRIBUTES}]."
        raise Refusal("InvalidParameterValue", text)
    for name, attribute in attributes.items():
        if not _ATTRIBUTE_NAME.fullmatch(name) or name.lower().startswith(("aws.", "amazon.")):
            raise Refusal("InvalidParameterValue", f"The message attribute name '{name}' is invalid.")
        if not _DATA_TYPE.fullmatch(str(attribute.get("DataType", ""))):
            text = "has an invalid message attribute type, the supported type prefixes are Binary, Number and String."
            raise Refusal("InvalidParameterValue", f"The message attribute '{name}' {text}")
        if not attribute.get(_value_name(attribute)):
            kind = f"message attribute type '{attribute['DataType']}'"
            text = f"must contain a non-empty message attribute value for {kind}."
            raise Refusal("InvalidParameterValue", f"The message attribute '{name}' {text}")
        if "StringValue" in attribute:
            check_body(attribute["StringValue"])


def size(body: str, attributes: Mapping[str, Any]) -> int:
    """Bytes that count against the limit: the body, and each attribute's name, type and value."""
    total = len(body) if body.isascii() else len(body.encode())
    for name, attribute in attributes.items():
        total += len(name) + len(attribute["DataType"].encode()) + len(_value(attribute))
    return total


def check_size(total: int, limit: int) -> None:
    if total > limit:
        text = f"One or more parameters are invalid. Reason: Message must be shorter than {limit} bytes."
        raise Refusal("InvalidParameterValue", text)


def body_md5(body: str) -> str:
    return hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()


def attributes_md5(attributes: Mapping[str, Any]) -> str:
    """The digest that clients compute over name, type, kind and value of each attribute, by name."""
    digest = hashlib.md5(usedforsecurity=False)
    for name in sorted(attributes):
        attribute = attributes[name]
        for part in (name.encode(), attribute["DataType"].encode()):
            digest.update(struct.pack(">I", len(part)) + part)
        value = _value(attribute)
        kind = b"\x02" if attribute["DataType"].startswith("Binary") else b"\x01"
        digest.update(kind + struct.pack(">I", len(value)) + value)
    return digest.hexdigest()


def chosen(attributes: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The message attributes that were asked for: by name, by `prefix.*`, or all of them."""
    if not names:
        return {}
    if "All" in names or ".*" in names:
        return dict(attributes)
    return {name: value for name, value in attributes.items() if _asked_for(name, names)}


def _asked_for(name: str, names: Iterable[str]) -> bool:
    return any(name == asked or (asked.endswith(".*") and name.startswith(asked[:-2])) for asked in names)


def _value_name(attribute: Mapping[str, Any]) -> str:
    return "BinaryValue" if str(attribute["DataType"]).startswith("Binary") else "StringValue"


def _value(attribute: Mapping[str, Any]) -> bytes:
    value = str(attribute[_value_name(attribute)])
    return base64.b64decode(value) if _value_name(attribute) == "BinaryValue" else value.encode()
