"""SES v2 as clients see it: its REST paths, and whose account a call is about."""

import json
from collections.abc import Mapping

from relayd.sandbox.cloud.calls import Answer, Call, Refusal, json_answer
from relayd.sandbox.cloud.clock import Now
from relayd.sandbox.cloud.records import Sends
from relayd.sandbox.cloud.ses_account import Account
from relayd.sandbox.cloud.ses_calls import Validate
from relayd.sandbox.cloud.ses_sending import Sending
from relayd.sandbox.cloud.settings import Settings
from relayd.sandbox.cloud.sns import Sns

PREFIX = "/v2/email/"

_IDENTITY = "identities/*"
_LISTED = "suppression/addresses"
_SET = "configuration-sets/*"
_DESTINATIONS = f"{_SET}/event-destinations"
_ROUTES: Mapping[tuple[str, str], str] = {
    ("POST", "outbound-emails"): "SendEmail",
    ("GET", "account"): "GetAccount",
    ("PUT", "account/sending"): "PutAccountSendingAttributes",
    ("PUT", "account/suppression"): "PutAccountSuppressionAttributes",
    ("POST", "identities"): "CreateEmailIdentity",
    ("GET", "identities"): "ListEmailIdentities",
    ("POST", "list-identities"): "ListEmailIdentities",
    ("GET", _IDENTITY): "GetEmailIdentity",
    ("DELETE", _IDENTITY): "DeleteEmailIdentity",
    ("PUT", f"{_IDENTITY}/dkim"): "PutEmailIdentityDkimAttributes",
    ("PUT", f"{_IDENTITY}/feedback"): "PutEmailIdentityFeedbackAttributes",
    ("PUT", f"{_IDENTITY}/mail-from"): "PutEmailIdentityMailFromAttributes",
    ("PUT", f"{_IDENTITY}/configuration-set"): "PutEmailIdentityConfigurationSetAttributes",
    ("PUT", _LISTED): "PutSuppressedDestination",
    ("GET", _LISTED): "ListSuppressedDestinations",
    ("GET", f"{_LISTED}/*"): "GetSuppressedDestination",
    ("DELETE", f"{_LISTED}/*"): "DeleteSuppressedDestination",
    ("POST", "configuration-sets"): "CreateConfigurationSet",
    ("GET", "configuration-sets"): "ListConfigurationSets",
    ("POST", "list-configuration-sets"): "ListConfigurationSets",
    ("GET", _SET): "GetConfigurationSet",
    ("DELETE", _SET): "DeleteConfigurationSet",
    ("PUT", f"{_SET}/delivery-options"): "PutConfigurationSetDeliveryOptions",
    ("PUT", f"{_SET}/reputation-options"): "PutConfigurationSetReputationOptions",
    ("PUT", f"{_SET}/sending"): "PutConfigurationSetSendingOptions",
    ("PUT", f"{_SET}/suppression-options"): "PutConfigurationSetSuppressionOptions",
    ("POST", _DESTINATIONS): "CreateConfigurationSetEventDestination",
    ("GET", _DESTINATIONS): "GetConfigurationSetEventDestinations",
    ("PUT", f"{_DESTINATIONS}/*"): "UpdateConfigurationSetEventDestination",
    ("DELETE", f"{_DESTINATIONS}/*"): "DeleteConfigurationSetEventDestination",
}
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

    def recognise(self, call: Call) -> None:
        operation = _ROUTES.get(_route(call))
        if operation is None:
            raise Refusal(
                "UnknownOperationException", "This operation is not known, or not part of this emulator.", 404
            )
        call.operation = operation
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
        account = self.account(call)
        if call.operation == "SendEmail":
            return self._sending.send(call, account)
        return account.operations[call.operation](call)

    def refuse(self, refusal: Refusal) -> Answer:
        answer = json_answer({"message": refusal.text}, status=refusal.status, code=refusal.code)
        answer.headers.append((b"x-amzn-errortype", refusal.code.encode("latin-1", "replace")))
        return answer

    def account(self, call: Call) -> Account:
        """The account of the region that the call was signed for."""
        found = self._accounts.get(call.region)
        if found is None:
            found = self._accounts[call.region] = Account(self._now, self._settings, self.validate(call))
        return found

    def covers(self, region: str, address: str) -> bool:
        """Whether that region's account takes in mail for the address."""
        found = self._accounts.get(region)
        return found is not None and found.verified(address)

    def validate(self, call: Call) -> Validate:
        """Tries topics, which will know this server by the name that the caller used."""
        host = call.host

        def publish(topic_arn: str, text: str) -> None:
            try:
                self._sns.publish(topic_arn, text, host=host)
            except Refusal as refusal:
                raise Refusal("BadRequestException", f"Could not publish to SNS topic: {refusal.text}") from None

        return publish

    def _publish(self, topic_arn: str, text: str, subject: str, host: str) -> None:
        try:
            self._sns.publish(topic_arn, text, host=host, subject=subject)
        except Refusal:
            # The topic is gone; SES does not tell the sender either.
            self._sns.undeliverable += 1


def _route(call: Call) -> tuple[str, str]:
    parts = call.path.removeprefix(PREFIX).strip("/").split("/")
    variable = _VARIABLE.get(parts[0], ())
    call.parts = tuple(part for at, part in enumerate(parts) if at in variable)
    return call.method, "/".join("*" if at in variable else part for at, part in enumerate(parts))
