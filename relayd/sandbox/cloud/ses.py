"""SES v2 as clients see it: its REST paths, and which room knows which operation."""

import json
from collections.abc import Callable, Mapping

from relayd.sandbox.cloud.calls import Answer, Call, Refusal, json_answer
from relayd.sandbox.cloud.clock import Now
from relayd.sandbox.cloud.records import Sends
from relayd.sandbox.cloud.ses_account import Account
from relayd.sandbox.cloud.ses_sending import Sending
from relayd.sandbox.cloud.settings import Settings
from relayd.sandbox.cloud.sns import Sns

PREFIX = "/v2/email/"
TOPIC_VALIDATED = "Successfully validated SNS topic for Amazon SES event publishing."

_SET = "configuration-sets/*"
_ROUTES: Mapping[tuple[str, str], tuple[str, Callable[[Account, Call], Answer]]] = {
    ("GET", "account"): ("GetAccount", Account.get_account),
    ("PUT", "account/sending"): ("PutAccountSendingAttributes", Account.put_sending),
    ("PUT", "account/suppression"): ("PutAccountSuppressionAttributes", Account.put_suppression),
    ("POST", "identities"): ("CreateEmailIdentity", Account.create_identity),
    ("GET", "identities"): ("ListEmailIdentities", Account.list_identities),
    ("POST", "list-identities"): ("ListEmailIdentities", Account.list_identities),
    ("GET", "identities/*"): ("GetEmailIdentity", Account.get_identity),
    ("DELETE", "identities/*"): ("DeleteEmailIdentity", Account.delete_identity),
    ("PUT", "suppression/addresses"): ("PutSuppressedDestination", Account.put_suppressed),
    ("GET", "suppression/addresses"): ("ListSuppressedDestinations", Account.list_suppressed),
    ("GET", "suppression/addresses/*"): ("GetSuppressedDestination", Account.get_suppressed),
    ("DELETE", "suppression/addresses/*"): ("DeleteSuppressedDestination", Account.delete_suppressed),
    ("POST", "configuration-sets"): ("CreateConfigurationSet", Account.create_set),
    ("GET", "configuration-sets"): ("ListConfigurationSets", Account.list_sets),
    ("POST", "list-configuration-sets"): ("ListConfigurationSets", Account.list_sets),
    ("GET", _SET): ("GetConfigurationSet", Account.get_set),
    ("DELETE", _SET): ("DeleteConfigurationSet", Account.delete_set),
    ("PUT", f"{_SET}/sending"): ("PutConfigurationSetSendingOptions", Account.put_set_sending),
    ("PUT", f"{_SET}/suppression-options"): ("PutConfigurationSetSuppressionOptions", Account.put_set_suppression),
    ("POST", f"{_SET}/event-destinations"): ("CreateConfigurationSetEventDestination", Account.create_destination),
    ("GET", f"{_SET}/event-destinations"): ("GetConfigurationSetEventDestinations", Account.get_destinations),
    ("PUT", f"{_SET}/event-destinations/*"): (
        "UpdateConfigurationSetEventDestination",
        Account.update_destination,
    ),
    ("DELETE", f"{_SET}/event-destinations/*"): (
        "DeleteConfigurationSetEventDestination",
        Account.delete_destination,
    ),
}
_SEND = ("POST", "outbound-emails")
_VARIABLE = {"identities": (1,), "suppression": (2,), "configuration-sets": (1, 3)}
"""Which parts of a path are names, by its first part."""


class Ses:
    """SES, with an account in each region."""

    def __init__(self, now: Now, settings: Settings, sends: Sends, sns: Sns) -> None:
        self._now = now
        self._settings = settings
        self._sns = sns
        self._accounts: dict[str, Account] = {}
        self._sending = Sending(now, settings, sends, self._publish)
        self._operations = dict(_ROUTES.values())

    def recognise(self, call: Call) -> None:
        route = self._route(call)
        if route == _SEND:
            call.operation = "SendEmail"
        elif route in _ROUTES:
            call.operation = _ROUTES[route][0]
        else:
            raise Refusal(
                "UnknownOperationException", "This operation is not known, or not part of this emulator.", 404
            )
        try:
            call.fields = json.loads(call.body) if call.body else {}
        except ValueError:
            raise Refusal("SerializationException", "The body is not JSON.") from None
        if not isinstance(call.fields, dict):
            raise Refusal("SerializationException", "The body is not a JSON object.")
        if call.operation == "SendEmail":
            to = (call.fields.get("Destination") or {}).get("ToAddresses") or [""]
            call.resource = str(to[0])
        elif call.parts:
            call.resource = call.parts[0]

    def answer(self, call: Call) -> Answer:
        account = self._account(call)
        if call.operation == "SendEmail":
            return self._sending.send(call, account)
        return self._operations[call.operation](account, call)

    def refuse(self, refusal: Refusal) -> Answer:
        answer = json_answer({"message": refusal.text}, status=refusal.status, code=refusal.code)
        answer.headers.append((b"x-amzn-errortype", refusal.code.encode("latin-1", "replace")))
        return answer

    def _route(self, call: Call) -> tuple[str, str]:
        parts = call.path.removeprefix(PREFIX).strip("/").split("/")
        variable = _VARIABLE.get(parts[0], ())
        call.parts = tuple(part for at, part in enumerate(parts) if at in variable)
        return call.method, "/".join("*" if at in variable else part for at, part in enumerate(parts))

    def _account(self, call: Call) -> Account:
        found = self._accounts.get(call.region)
        if found is None:
            host = call.host
            found = Account(self._now, self._settings, lambda arn: self._validate(arn, host))
            self._accounts[call.region] = found
        return found

    def _validate(self, topic_arn: str, host: str) -> None:
        try:
            self._sns.publish(topic_arn, TOPIC_VALIDATED, host=host)
        except Refusal as refusal:
            raise Refusal("BadRequestException", f"Could not publish to SNS topic: {refusal.text}") from None

    def _publish(self, topic_arn: str, text: str, host: str) -> None:
        try:
            self._sns.publish(topic_arn, text, host=host, subject="Amazon SES Email Event Notification")
        except Refusal:
            # The topic is gone; SES does not tell the sender either.
            self._sns.undeliverable += 1
