"""An account's suppression list: addresses that SES no longer sends to, how they get there, and when that counts."""

from collections.abc import Mapping
from typing import Any

from relayd.sandbox.cloud.calls import Answer, Call, Refusal, json_answer
from relayd.sandbox.cloud.clock import Now
from relayd.sandbox.cloud.ses_calls import Operation, required

BOUNCE, COMPLAINT = "BOUNCE", "COMPLAINT"
REASONS = (BOUNCE, COMPLAINT)


class Suppression:
    """The list, and the reasons that count where a configuration set names none of its own."""

    def __init__(self, now: Now) -> None:
        self._now = now
        self._listed: dict[str, tuple[str, float]] = {}
        self.reasons: tuple[str, ...] = REASONS
        self.operations: Mapping[str, Operation] = {
            "PutAccountSuppressionAttributes": self._put_reasons,
            "PutSuppressedDestination": self._put,
            "GetSuppressedDestination": self._get,
            "DeleteSuppressedDestination": self._delete,
            "ListSuppressedDestinations": self._list,
        }

    def suppresses(self, address: str, own_reasons: tuple[str, ...] | None) -> bool:
        """Whether mail to the address is dropped. `own_reasons` are the configuration set's; None: it has none."""
        found = self._listed.get(address.lower())
        return found is not None and found[0] in self._counting(own_reasons)

    def learn(self, address: str, reason: str, own_reasons: tuple[str, ...] | None) -> None:
        """List an address that bounced or complained, if that is a reason for this mail."""
        if reason in self._counting(own_reasons):
            self._listed[address.lower()] = (reason, self._now())

    def _counting(self, own_reasons: tuple[str, ...] | None) -> tuple[str, ...]:
        return self.reasons if own_reasons is None else own_reasons

    def _put_reasons(self, call: Call) -> Answer:
        self.reasons = checked_reasons(call.fields.get("SuppressedReasons"))
        return json_answer({})

    def _put(self, call: Call) -> Answer:
        [reason] = checked_reasons([required(call, "Reason")])
        self._listed[required(call, "EmailAddress").lower()] = (reason, self._now())
        return json_answer({})

    def _get(self, call: Call) -> Answer:
        return json_answer({"SuppressedDestination": self._told(self._known(call))})

    def _delete(self, call: Call) -> Answer:
        del self._listed[self._known(call)]
        return json_answer({})

    def _list(self, call: Call) -> Answer:  # noqa: ARG002
        return json_answer({"SuppressedDestinationSummaries": [self._told(one) for one in self._listed]})

    def _known(self, call: Call) -> str:
        address = call.parts[0].lower()
        if address not in self._listed:
            raise Refusal("NotFoundException", f"Email address {address} does not exist on your suppression list.", 404)
        return address

    def _told(self, address: str) -> dict[str, Any]:
        reason, since = self._listed[address]
        return {"EmailAddress": address, "Reason": reason, "LastUpdateTime": since}


def checked_reasons(value: Any) -> tuple[str, ...]:
    """The reasons of a call. Raises Refusal for one that does not exist."""
    reasons = tuple(value or ())
    if not set(reasons) <= set(REASONS):
        raise Refusal("BadRequestException", "Suppressed reasons are BOUNCE and COMPLAINT.")
    return reasons
