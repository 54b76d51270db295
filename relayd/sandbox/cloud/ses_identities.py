"""The identities of an account: who may send, and whom SES tells what became of their mail, the older way."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from relayd.sandbox.cloud.calls import ACCOUNT, Answer, Call, Refusal, json_answer
from relayd.sandbox.cloud.ses_calls import Operation, required


@dataclass(slots=True)
class Identity:
    """A verified domain or address."""

    name: str
    configuration_set: str = ""
    """The one that counts where neither the call nor the mail names one."""
    forwards_feedback: bool = True
    """Bounces and complaints come by mail, too. Nobody receives that mail here."""
    topics: dict[str, str] = field(default_factory=dict)
    """By `Bounce`, `Complaint` and `Delivery`: the topic that is told of them."""
    with_headers: set[str] = field(default_factory=set)
    """For which of those the mail's header fields are told, too."""


class Identities:
    """All identities. They are verified at once: there is no DNS here that could say otherwise."""

    def __init__(self) -> None:
        self._by_name: dict[str, Identity] = {}
        self.operations: Mapping[str, Operation] = {
            "CreateEmailIdentity": self._create,
            "GetEmailIdentity": self._get,
            "DeleteEmailIdentity": self._delete,
            "ListEmailIdentities": self._list,
            "PutEmailIdentityFeedbackAttributes": self._put_feedback,
            "PutEmailIdentityConfigurationSetAttributes": self._put_configuration_set,
        }

    def named(self, name: str) -> Identity | None:
        return self._by_name.get(name.lower())

    def covering(self, address: str) -> Identity | None:
        """The identity that lets the address send: itself, its domain, or the next domain above that is one."""
        lower = address.lower()
        labels = lower.rpartition("@")[2].split(".")
        candidates = [lower, *(".".join(labels[at:]) for at in range(len(labels)))]
        return next((self._by_name[one] for one in candidates if one in self._by_name), None)

    def _create(self, call: Call) -> Answer:
        name = required(call, "EmailIdentity").lower()
        if name in self._by_name:
            raise Refusal("AlreadyExistsException", f"Email identity {name} already exist.")
        made = self._by_name[name] = Identity(name, str(call.fields.get("ConfigurationSetName") or ""))
        return json_answer(_told(made))

    def _get(self, call: Call) -> Answer:
        return json_answer(_told(self._known(call)))

    def _delete(self, call: Call) -> Answer:
        del self._by_name[self._known(call).name]
        return json_answer({})

    def _list(self, call: Call) -> Answer:  # noqa: ARG002
        listed = [
            {
                "IdentityType": _type(name),
                "IdentityName": name,
                "SendingEnabled": True,
                "VerificationStatus": "SUCCESS",
            }
            for name in sorted(self._by_name)
        ]
        return json_answer({"EmailIdentities": listed})

    def _put_feedback(self, call: Call) -> Answer:
        self._known(call).forwards_feedback = bool(call.fields.get("EmailForwardingEnabled", False))
        return json_answer({})

    def _put_configuration_set(self, call: Call) -> Answer:
        self._known(call).configuration_set = str(call.fields.get("ConfigurationSetName") or "")
        return json_answer({})

    def _known(self, call: Call) -> Identity:
        found = self.named(call.parts[0])
        if found is None:
            raise Refusal("NotFoundException", f"Email identity {call.parts[0]} does not exist.", 404)
        return found


def identity_arn(region: str, identity: str) -> str:
    return f"arn:aws:ses:{region}:{ACCOUNT}:identity/{identity}"


def _told(identity: Identity) -> dict[str, Any]:
    told = {
        "IdentityType": _type(identity.name),
        "VerifiedForSendingStatus": True,
        "VerificationStatus": "SUCCESS",
        "FeedbackForwardingStatus": identity.forwards_feedback,
        "DkimAttributes": {"SigningEnabled": True, "Status": "SUCCESS"},
    }
    if identity.configuration_set:
        told["ConfigurationSetName"] = identity.configuration_set
    return told


def _type(name: str) -> str:
    return "EMAIL_ADDRESS" if "@" in name else "DOMAIN"
