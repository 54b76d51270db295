"""The SES account of a region: identities, configuration sets, the suppression list."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from relayd.sandbox.cloud.calls import ACCOUNT, Answer, Call, Refusal, json_answer
from relayd.sandbox.cloud.clock import Now
from relayd.sandbox.cloud.ses_quota import Quota
from relayd.sandbox.cloud.settings import Settings

SUPPRESSION_REASONS = ("BOUNCE", "COMPLAINT")
_EVENT_TYPES = "SEND REJECT BOUNCE COMPLAINT DELIVERY OPEN CLICK RENDERING_FAILURE DELIVERY_DELAY SUBSCRIPTION"
EVENT_TYPES = frozenset(_EVENT_TYPES.split())

Validate = Callable[[str], None]
"""Called with a topic's ARN when events are to go there; raises Refusal when they cannot."""


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
    destinations: dict[str, Destination] = field(default_factory=dict)


class Account:
    """One region's state, and the operations that change or tell it."""

    def __init__(self, now: Now, settings: Settings, validate: Validate) -> None:
        self._settings = settings
        self._validate = validate
        self._now = now
        self.quota = Quota(now, settings)
        self.identities: set[str] = set()
        self.sets: dict[str, ConfigurationSet] = {}
        self.suppressed: dict[str, tuple[str, float]] = {}
        self.suppressed_reasons: tuple[str, ...] = SUPPRESSION_REASONS
        self.sending_enabled = True

    def verified(self, address: str) -> bool:
        """Whether the address, its domain or a domain above that is an identity."""
        lower = address.lower()
        labels = lower.rpartition("@")[2].split(".")
        return lower in self.identities or any(".".join(labels[at:]) in self.identities for at in range(len(labels)))

    def suppresses(self, address: str, configuration: ConfigurationSet | None) -> bool:
        reasons = self.suppressed_reasons
        if configuration is not None and configuration.suppressed_reasons is not None:
            reasons = configuration.suppressed_reasons
        found = self.suppressed.get(address.lower())
        return found is not None and found[0] in reasons

    def configuration(self, name: str) -> ConfigurationSet:
        found = self.sets.get(name)
        if found is None:
            raise Refusal("NotFoundException", f"Configuration set <{name}> does not exist.", 404)
        return found

    # The account itself.

    def get_account(self, call: Call) -> Answer:  # noqa: ARG002
        settings = self._settings
        quota = {
            "Max24HourSend": float(settings.daily_quota),
            "MaxSendRate": settings.max_send_rate,
            "SentLast24Hours": float(self.quota.look()),
        }
        told = {
            "DedicatedIpAutoWarmupEnabled": False,
            "EnforcementStatus": "SHUTDOWN" if settings.suspended else "HEALTHY",
            "ProductionAccessEnabled": not settings.sandbox,
            "SendQuota": quota,
            "SendingEnabled": self.sending_enabled and not settings.suspended,
            "SuppressionAttributes": {"SuppressedReasons": list(self.suppressed_reasons)},
        }
        return json_answer(told)

    def put_sending(self, call: Call) -> Answer:
        self.sending_enabled = bool(call.fields.get("SendingEnabled", False))
        return json_answer({})

    def put_suppression(self, call: Call) -> Answer:
        self.suppressed_reasons = _reasons(call.fields.get("SuppressedReasons"))
        return json_answer({})

    # Identities.

    def create_identity(self, call: Call) -> Answer:
        name = _required(call, "EmailIdentity").lower()
        if name in self.identities:
            raise Refusal("AlreadyExistsException", f"Email identity {name} already exist.")
        self.identities.add(name)
        return json_answer(self._identity(name))

    def get_identity(self, call: Call) -> Answer:
        return json_answer(self._identity(self._known_identity(call)))

    def delete_identity(self, call: Call) -> Answer:
        self.identities.remove(self._known_identity(call))
        return json_answer({})

    def list_identities(self, call: Call) -> Answer:  # noqa: ARG002
        listed = [
            {
                "IdentityType": _identity_type(name),
                "IdentityName": name,
                "SendingEnabled": True,
                "VerificationStatus": "SUCCESS",
            }
            for name in sorted(self.identities)
        ]
        return json_answer({"EmailIdentities": listed})

    def _known_identity(self, call: Call) -> str:
        name = call.parts[0].lower()
        if name not in self.identities:
            raise Refusal("NotFoundException", f"Email identity {name} does not exist.", 404)
        return name

    def _identity(self, name: str) -> dict[str, Any]:
        # Verified at once: there is no DNS here that could say otherwise.
        return {
            "IdentityType": _identity_type(name),
            "VerifiedForSendingStatus": True,
            "VerificationStatus": "SUCCESS",
            "FeedbackForwardingStatus": True,
            "DkimAttributes": {"SigningEnabled": True, "Status": "SUCCESS"},
        }

    # The suppression list.

    def put_suppressed(self, call: Call) -> Answer:
        [reason] = _reasons([_required(call, "Reason")])
        self.suppressed[_required(call, "EmailAddress").lower()] = (reason, self._now())
        return json_answer({})

    def get_suppressed(self, call: Call) -> Answer:
        address = self._known_suppressed(call)
        return json_answer({"SuppressedDestination": self._suppressed(address)})

    def delete_suppressed(self, call: Call) -> Answer:
        del self.suppressed[self._known_suppressed(call)]
        return json_answer({})

    def list_suppressed(self, call: Call) -> Answer:  # noqa: ARG002
        return json_answer({"SuppressedDestinationSummaries": [self._suppressed(one) for one in self.suppressed]})

    def _known_suppressed(self, call: Call) -> str:
        address = call.parts[0].lower()
        if address not in self.suppressed:
            raise Refusal("NotFoundException", f"Email address {address} does not exist on your suppression list.", 404)
        return address

    def _suppressed(self, address: str) -> dict[str, Any]:
        reason, since = self.suppressed[address]
        return {"EmailAddress": address, "Reason": reason, "LastUpdateTime": since}

    # Configuration sets.

    def create_set(self, call: Call) -> Answer:
        name = _required(call, "ConfigurationSetName")
        if name in self.sets:
            raise Refusal("AlreadyExistsException", f"Configuration set <{name}> already exists.")
        made = ConfigurationSet(name)
        sending, suppression = call.fields.get("SendingOptions"), call.fields.get("SuppressionOptions")
        if sending:
            made.sending_enabled = bool(sending.get("SendingEnabled", True))
        if suppression is not None:
            made.suppressed_reasons = _reasons(suppression.get("SuppressedReasons"))
        self.sets[name] = made
        return json_answer({})

    def get_set(self, call: Call) -> Answer:
        found = self.configuration(call.parts[0])
        told: dict[str, Any] = {
            "ConfigurationSetName": found.name,
            "SendingOptions": {"SendingEnabled": found.sending_enabled},
        }
        if found.suppressed_reasons is not None:
            told["SuppressionOptions"] = {"SuppressedReasons": list(found.suppressed_reasons)}
        return json_answer(told)

    def list_sets(self, call: Call) -> Answer:  # noqa: ARG002
        return json_answer({"ConfigurationSets": sorted(self.sets)})

    def delete_set(self, call: Call) -> Answer:
        del self.sets[self.configuration(call.parts[0]).name]
        return json_answer({})

    def put_set_sending(self, call: Call) -> Answer:
        self.configuration(call.parts[0]).sending_enabled = bool(call.fields.get("SendingEnabled", False))
        return json_answer({})

    def put_set_suppression(self, call: Call) -> Answer:
        self.configuration(call.parts[0]).suppressed_reasons = _reasons(call.fields.get("SuppressedReasons"))
        return json_answer({})

    def create_destination(self, call: Call) -> Answer:
        found, name = self.configuration(call.parts[0]), _required(call, "EventDestinationName")
        if name in found.destinations:
            raise Refusal("AlreadyExistsException", f"Event destination {name} already exists.")
        return self._put_destination(found, name, call)

    def update_destination(self, call: Call) -> Answer:
        found = self.configuration(call.parts[0])
        return self._put_destination(found, self._known_destination(found, call.parts[1]).name, call)

    def get_destinations(self, call: Call) -> Answer:
        listed = [
            {
                "Name": one.name,
                "Enabled": one.enabled,
                "MatchingEventTypes": sorted(one.types),
                "SnsDestination": {"TopicArn": one.topic_arn},
            }
            for one in self.configuration(call.parts[0]).destinations.values()
        ]
        return json_answer({"EventDestinations": listed})

    def delete_destination(self, call: Call) -> Answer:
        found = self.configuration(call.parts[0])
        del found.destinations[self._known_destination(found, call.parts[1]).name]
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
            self._validate(topic_arn)
        found.destinations[name] = Destination(name, topic_arn, types, bool(wanted.get("Enabled", False)))
        return json_answer({})

    def _known_destination(self, found: ConfigurationSet, name: str) -> Destination:
        if name not in found.destinations:
            raise Refusal("NotFoundException", f"Event destination {name} does not exist.", 404)
        return found.destinations[name]


def identity_arn(region: str, identity: str) -> str:
    return f"arn:aws:ses:{region}:{ACCOUNT}:identity/{identity}"


def _identity_type(name: str) -> str:
    return "EMAIL_ADDRESS" if "@" in name else "DOMAIN"


def _required(call: Call, name: str) -> str:
    value = call.fields.get(name)
    if not isinstance(value, str) or not value:
        raise Refusal("BadRequestException", f"1 validation error detected: Value at '{name}' must not be null")
    return value


def _reasons(value: Any) -> tuple[str, ...]:
    reasons = tuple(value or ())
    if not set(reasons) <= set(SUPPRESSION_REASONS):
        raise Refusal("BadRequestException", "Suppressed reasons are BOUNCE and COMPLAINT.")
    return reasons
