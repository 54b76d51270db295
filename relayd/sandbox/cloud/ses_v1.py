"""SES's older API, as far as it is still wanted: whom an identity's notifications go to, and receipt rules."""

from collections.abc import Callable, Mapping

from relayd.sandbox.cloud.calls import Answer, Call, Refusal, element, query_answer, query_refusal
from relayd.sandbox.cloud.ses_account import Account
from relayd.sandbox.cloud.ses_calls import Validate
from relayd.sandbox.cloud.ses_events import NOTIFIED, subscribed_json
from relayd.sandbox.cloud.ses_identities import Identity
from relayd.sandbox.cloud.ses_receipts import Receipts

NAMESPACE = "http://ses.amazonaws.com/doc/2010-12-01/"


class SesV1:
    """The older door to the same accounts."""

    def __init__(
        self, account: Callable[[Call], Account], validate: Callable[[Call], Validate], receipts: Receipts
    ) -> None:
        self._account = account
        self._validate = validate
        self._operations: Mapping[str, Callable[[Call], Answer]] = {
            "SetIdentityNotificationTopic": self._set_topic,
            "SetIdentityHeadersInNotificationsEnabled": self._set_headers,
            "SetIdentityFeedbackForwardingEnabled": self._set_forwarding,
            "GetIdentityNotificationAttributes": self._get,
            **dict.fromkeys(receipts.operations, receipts.answer),
        }

    def recognise(self, call: Call) -> None:
        if call.operation not in self._operations:
            raise Refusal("InvalidAction", f"Could not find operation {call.operation} for version 2010-12-01")
        call.resource = call.fields.get("Identity") or call.fields.get("RuleSetName", "")

    def answer(self, call: Call) -> Answer:
        return self._operations[call.operation](call)

    def refuse(self, refusal: Refusal) -> Answer:
        return query_refusal(refusal, NAMESPACE)

    def _set_topic(self, call: Call) -> Answer:
        identity, kind = self._identity(call), _kind(call)
        topic_arn = call.fields.get("SnsTopic", "")
        if topic_arn:
            try:
                self._validate(call)(topic_arn, subscribed_json(kind, identity.name, topic_arn))
            except Refusal as refusal:
                raise Refusal("InvalidParameterValue", refusal.text) from None
            identity.topics[kind] = topic_arn
        else:
            identity.topics.pop(kind, None)
        return query_answer(call.operation, NAMESPACE, "")

    def _set_headers(self, call: Call) -> Answer:
        with_headers = self._identity(call).with_headers
        (with_headers.add if call.fields.get("Enabled") == "true" else with_headers.discard)(_kind(call))
        return query_answer(call.operation, NAMESPACE, "")

    def _set_forwarding(self, call: Call) -> Answer:
        self._identity(call).forwards_feedback = call.fields.get("ForwardingEnabled") == "true"
        return query_answer(call.operation, NAMESPACE, "")

    def _get(self, call: Call) -> Answer:
        identities, number, entries = self._account(call).identities, 1, ""
        while (name := call.fields.get(f"Identities.member.{number}")) is not None:
            number += 1
            if found := identities.named(name):
                entries += f"<entry>{element('key', name)}<value>{_told(found)}</value></entry>"
        attributes = f"<NotificationAttributes>{entries}</NotificationAttributes>"
        return query_answer(call.operation, NAMESPACE, attributes)

    def _identity(self, call: Call) -> Identity:
        name = call.fields.get("Identity", "")
        found = self._account(call).identities.named(name)
        if found is None:
            raise Refusal("InvalidParameterValue", f"Identity '{name}' does not exist.")
        return found


def _kind(call: Call) -> str:
    kind: str = call.fields.get("NotificationType", "")
    if kind not in NOTIFIED:
        raise Refusal("ValidationError", f"Value at 'notificationType' must be one of {', '.join(NOTIFIED)}")
    return kind


def _told(identity: Identity) -> str:
    flag = {True: "true", False: "false"}
    told = "".join(element(f"{kind}Topic", topic_arn) for kind, topic_arn in identity.topics.items())
    told += element("ForwardingEnabled", flag[identity.forwards_feedback])
    for kind in NOTIFIED:
        told += element(f"HeadersIn{kind}NotificationsEnabled", flag[kind in identity.with_headers])
    return told
