"""The identities of an account: who may send, and whom SES tells what became of their mail, the older way."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from relayd.sandbox.cloud.calls import ACCOUNT, Answer, Call, Refusal, json_answer
from relayd.sandbox.cloud.ses_calls import Operation, required
from relayd.sandbox.cloud.settings import Settings

_ON_MX_FAILURE = ("USE_DEFAULT_VALUE", "REJECT_MESSAGE")


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
    signs: bool = True
    """Mail is signed with DKIM. What it would be signed with is nowhere to be seen here."""
    mail_from: str = ""
    """The domain that bounces go to; empty for SES's own."""
    on_mx_failure: str = "USE_DEFAULT_VALUE"


class Identities:
    """All identities. They are verified at once: there is no DNS here to say otherwise; the settings may."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._by_name: dict[str, Identity] = {}
        self.operations: Mapping[str, Operation] = {
            "CreateEmailIdentity": self._create,
            "GetEmailIdentity": self._get,
            "DeleteEmailIdentity": self._delete,
            "ListEmailIdentities": self._list,
            "PutEmailIdentityDkimAttributes": self._put_dkim,
            "PutEmailIdentityFeedbackAttributes": self._put_feedback,
            "PutEmailIdentityMailFromAttributes": self._put_mail_from,
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
        return json_answer(self._told(made))

    def _get(self, call: Call) -> Answer:
        return json_answer(self._told(self._known(call)))

    def _delete(self, call: Call) -> Answer:
        del self._by_name[self._known(call).name]
        return json_answer({})

    def _list(self, call: Call) -> Answer:  # noqa: ARG002
        listed = [
            {
                "IdentityType": _type(name),
                "IdentityName": name,
                "SendingEnabled": name not in self._settings.unverified,
                "VerificationStatus": self._status(name, self._settings.unverified),
            }
            for name in sorted(self._by_name)
        ]
        return json_answer({"EmailIdentities": listed})

    def _put_dkim(self, call: Call) -> Answer:
        self._known(call).signs = bool(call.fields.get("SigningEnabled", False))
        return json_answer({})

    def _put_mail_from(self, call: Call) -> Answer:
        found = self._known(call)
        domain = str(call.fields.get("MailFromDomain") or "").lower()
        behaviour = str(call.fields.get("BehaviorOnMxFailure") or _ON_MX_FAILURE[0])
        if domain and not domain.endswith(f".{found.name.rpartition('@')[2]}"):
            text = (
                f"Provided MAIL-FROM domain <{domain}> is not subdomain of the domain of the identity <{found.name}>."
            )
            raise Refusal("BadRequestException", text)
        if behaviour not in _ON_MX_FAILURE:
            raise Refusal("BadRequestException", f"Behavior on MX failure is one of {', '.join(_ON_MX_FAILURE)}.")
        found.mail_from, found.on_mx_failure = domain, behaviour
        return json_answer({})

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

    def _told(self, identity: Identity) -> dict[str, Any]:
        settings, name = self._settings, identity.name
        told = {
            "IdentityType": _type(name),
            "VerifiedForSendingStatus": name not in settings.unverified,
            "VerificationStatus": self._status(name, settings.unverified),
            "FeedbackForwardingStatus": identity.forwards_feedback,
            "DkimAttributes": {
                "SigningEnabled": identity.signs,
                "Status": self._status(name, settings.dkim_failed, "FAILED"),
                "Tokens": _tokens(name),
                "SigningAttributesOrigin": "AWS_SES",
                "CurrentSigningKeyLength": "RSA_2048_BIT",
                "NextSigningKeyLength": "RSA_2048_BIT",
            },
            "MailFromAttributes": self._mail_from(identity),
            "Policies": {},
            "Tags": [],
        }
        if identity.configuration_set:
            told["ConfigurationSetName"] = identity.configuration_set
        return told

    def _mail_from(self, identity: Identity) -> dict[str, str]:
        told = {"BehaviorOnMxFailure": identity.on_mx_failure}
        if identity.mail_from:
            status = self._status(identity.name, self._settings.mail_from_failed, "FAILED")
            told |= {"MailFromDomain": identity.mail_from, "MailFromDomainStatus": status}
        return told

    def _status(self, name: str, wrong: Sequence[str], word: str = "PENDING") -> str:
        return word if name in wrong else "SUCCESS"


def identity_arn(region: str, identity: str) -> str:
    return f"arn:aws:ses:{region}:{ACCOUNT}:identity/{identity}"


def _tokens(name: str) -> list[str]:
    """What Easy DKIM asks to be published, the same for each domain at all times; an address has none of its own."""
    if "@" in name:
        return []
    return [base64.b32encode(hashlib.sha256(f"{name}/{at}".encode()).digest()[:20]).decode().lower() for at in range(3)]


def _type(name: str) -> str:
    return "EMAIL_ADDRESS" if "@" in name else "DOMAIN"
