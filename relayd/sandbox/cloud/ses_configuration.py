"""Configuration sets: what a mail is sent with, and where its events go."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from relayd.sandbox.cloud.calls import Answer, Call, Refusal, json_answer
from relayd.sandbox.cloud.ses_calls import Operation, Validate, required
from relayd.sandbox.cloud.ses_suppression import checked_reasons

TOPIC_VALIDATED = "Successfully validated SNS topic for Amazon SES event publishing."
"""What SES publishes to a topic, not as JSON, when events are to go there."""

_EVENT_TYPES = "SEND REJECT BOUNCE COMPLAINT DELIVERY OPEN CLICK RENDERING_FAILURE DELIVERY_DELAY SUBSCRIPTION"
EVENT_TYPES = frozenset(_EVENT_TYPES.split())

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(slots=True)
class Destination:
    """Where a configuration set's events go."""

    name: str
    topic_arn: str
    types: frozenset[str]
    enabled: bool


@dataclass(slots=True)
class ConfigurationSet:
    name: str
    sending_enabled: bool = True
    suppressed_reasons: tuple[str, ...] | None = None
    """None: as the account has it."""
    reputation_metrics: bool = False
    tls_policy: str = "OPTIONAL"
    """Whether mail goes to servers without TLS. Nobody receives mail here."""
    destinations: dict[str, Destination] = field(default_factory=dict)


class ConfigurationSets:
    """All of an account's."""

    def __init__(self, validate: Validate) -> None:
        self._validate = validate
        self._by_name: dict[str, ConfigurationSet] = {}
        self.operations: Mapping[str, Operation] = {
            "CreateConfigurationSet": self._create,
            "GetConfigurationSet": self._get,
            "ListConfigurationSets": self._list,
            "DeleteConfigurationSet": self._delete,
            "PutConfigurationSetDeliveryOptions": self._put_delivery,
            "PutConfigurationSetReputationOptions": self._put_reputation,
            "PutConfigurationSetSendingOptions": self._put_sending,
            "PutConfigurationSetSuppressionOptions": self._put_suppression,
            "CreateConfigurationSetEventDestination": self._create_destination,
            "GetConfigurationSetEventDestinations": self._get_destinations,
            "UpdateConfigurationSetEventDestination": self._update_destination,
            "DeleteConfigurationSetEventDestination": self._delete_destination,
        }

    def named(self, name: str) -> ConfigurationSet:
        """Raises Refusal for one that does not exist."""
        found = self._by_name.get(name)
        if found is None:
            raise Refusal("NotFoundException", f"Configuration set <{name}> does not exist.", 404)
        return found

    def _create(self, call: Call) -> Answer:
        name = _checked_name(required(call, "ConfigurationSetName"))
        if name in self._by_name:
            raise Refusal("AlreadyExistsException", f"Configuration set <{name}> already exists.")
        made = ConfigurationSet(name)
        sending, suppression = call.fields.get("SendingOptions"), call.fields.get("SuppressionOptions")
        if sending:
            made.sending_enabled = bool(sending.get("SendingEnabled", True))
        if suppression is not None:
            made.suppressed_reasons = checked_reasons(suppression.get("SuppressedReasons"))
        made.reputation_metrics = bool((call.fields.get("ReputationOptions") or {}).get("ReputationMetricsEnabled"))
        made.tls_policy = _checked_tls(call.fields.get("DeliveryOptions") or {})
        self._by_name[name] = made
        return json_answer({})

    def _get(self, call: Call) -> Answer:
        found = self._called(call)
        told: dict[str, Any] = {
            "ConfigurationSetName": found.name,
            "DeliveryOptions": {"TlsPolicy": found.tls_policy},
            "ReputationOptions": {"ReputationMetricsEnabled": found.reputation_metrics},
            "SendingOptions": {"SendingEnabled": found.sending_enabled},
        }
        if found.suppressed_reasons is not None:
            told["SuppressionOptions"] = {"SuppressedReasons": list(found.suppressed_reasons)}
        return json_answer(told)

    def _list(self, call: Call) -> Answer:  # noqa: ARG002
        return json_answer({"ConfigurationSets": sorted(self._by_name)})

    def _delete(self, call: Call) -> Answer:
        del self._by_name[self._called(call).name]
        return json_answer({})

    def _put_delivery(self, call: Call) -> Answer:
        self._called(call).tls_policy = _checked_tls(call.fields)
        return json_answer({})

    def _put_reputation(self, call: Call) -> Answer:
        self._called(call).reputation_metrics = bool(call.fields.get("ReputationMetricsEnabled", False))
        return json_answer({})

    def _put_sending(self, call: Call) -> Answer:
        self._called(call).sending_enabled = bool(call.fields.get("SendingEnabled", False))
        return json_answer({})

    def _put_suppression(self, call: Call) -> Answer:
        self._called(call).suppressed_reasons = checked_reasons(call.fields.get("SuppressedReasons"))
        return json_answer({})

    def _create_destination(self, call: Call) -> Answer:
        found, name = self._called(call), _checked_name(required(call, "EventDestinationName"))
        if name in found.destinations:
            raise Refusal("AlreadyExistsException", f"Event destination {name} already exists.")
        return self._put_destination(found, name, call)

    def _update_destination(self, call: Call) -> Answer:
        found = self._called(call)
        return self._put_destination(found, _destination(found, call).name, call)

    def _get_destinations(self, call: Call) -> Answer:
        listed = [
            {
                "Name": one.name,
                "Enabled": one.enabled,
                "MatchingEventTypes": sorted(one.types),
                "SnsDestination": {"TopicArn": one.topic_arn},
            }
            for one in self._called(call).destinations.values()
        ]
        return json_answer({"EventDestinations": listed})

    def _delete_destination(self, call: Call) -> Answer:
        found = self._called(call)
        del found.destinations[_destination(found, call).name]
        return json_answer({})

    def _put_destination(self, found: ConfigurationSet, name: str, call: Call) -> Answer:
        wanted = call.fields.get("EventDestination") or {}
        topic_arn = (wanted.get("SnsDestination") or {}).get("TopicArn")
        if not topic_arn:
            raise Refusal("BadRequestException", "This emulator publishes events to SNS only.")
        types = frozenset(wanted.get("MatchingEventTypes") or ())
        if not types or not types <= EVENT_TYPES:
            raise Refusal("BadRequestException", "Matching event types are missing or unknown.")
        if name not in found.destinations or found.destinations[name].topic_arn != topic_arn:
            self._validate(topic_arn, TOPIC_VALIDATED)
        found.destinations[name] = Destination(name, topic_arn, types, bool(wanted.get("Enabled", False)))
        return json_answer({})

    def _called(self, call: Call) -> ConfigurationSet:
        return self.named(call.parts[0])


def _destination(found: ConfigurationSet, call: Call) -> Destination:
    name = call.parts[1]
    if name not in found.destinations:
        raise Refusal("NotFoundException", f"Event destination {name} does not exist.", 404)
    return found.destinations[name]


def _checked_tls(options: Mapping[str, Any]) -> str:
    policy = str(options.get("TlsPolicy") or "OPTIONAL")
    if policy not in {"REQUIRE", "OPTIONAL"}:
        raise Refusal("BadRequestException", "The TLS policy is REQUIRE or OPTIONAL.")
    return policy


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        text = "1 to 64 characters of: ASCII letters, digits, underscores, dashes."
        raise Refusal("BadRequestException", f"Invalid name <{name[:80]}>. It must have {text}")
    return name
