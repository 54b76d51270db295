"""SendEmail: what SES looks at, in order, before it takes a mail; and what it does with one that it took."""

import base64
import binascii
import itertools
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from relayd.sandbox.cloud import raw_mail
from relayd.sandbox.cloud.addresses import AddressError, check_address, domain_of, parse_list
from relayd.sandbox.cloud.calls import Answer, Call, Refusal, json_answer
from relayd.sandbox.cloud.clock import Now
from relayd.sandbox.cloud.records import Sends
from relayd.sandbox.cloud.ses_account import Account
from relayd.sandbox.cloud.ses_configuration import ConfigurationSet
from relayd.sandbox.cloud.ses_events import Event, Taken
from relayd.sandbox.cloud.ses_fates import (
    REJECT,
    SIMULATOR_DOMAIN,
    SUCCESS,
    SUPPRESSED,
    carries_virus,
    events,
    fate,
    suppression,
)
from relayd.sandbox.cloud.ses_identities import identity_arn
from relayd.sandbox.cloud.ses_publishing import Publishing
from relayd.sandbox.cloud.settings import Settings

MAX_RECIPIENTS = 50

_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")

Publish = Callable[[str, str, str, str], None]
"""Publishes a text to a topic, with a subject; the last argument is the host by which the caller knows this server."""


class Sending:
    """The one operation that all of this is about."""

    def __init__(self, now: Now, settings: Settings, sends: Sends, publish: Publish) -> None:
        self._now = now
        self._settings = settings
        self._sends = sends
        self._publish = publish
        self._publishing = Publishing(settings)
        # The time in it keeps the ids of two runs apart.
        self._numbers = itertools.count(int(time.time() * 1000) << 16)

    def send(self, call: Call, account: Account) -> Answer:
        self._refuse_paused(account)
        data = _data(call.fields)
        recipients = _recipients(call.fields)
        tags = _tags(call.fields)
        mail = self._read(data)
        wanted = str(call.fields.get("FromEmailAddress") or "")
        sender = _bare(wanted) if wanted else mail.addresses["from"][0]
        configuration = self._configuration(account, call.fields, mail, sender)
        recipients = recipients or _header_recipients(mail)
        self._refuse_recipients(recipients)
        self._refuse_senders(call, account, sender, mail)
        self._refuse_unverified_recipients(call, account, recipients)
        account.quota.take(len(recipients))
        return self._accept(call, account, configuration, sender, recipients, tags or _header_tags(mail), mail, data)

    def _refuse_paused(self, account: Account) -> None:
        if self._settings.suspended:
            text = (
                "The message can't be sent because the account's ability to send email has been permanently restricted."
            )
            raise Refusal("AccountSuspendedException", text)
        if not account.sending_enabled:
            raise Refusal("SendingPausedException", "Email sending is disabled for this account.")

    def _configuration(
        self, account: Account, fields: Mapping[str, Any], mail: raw_mail.RawMail, sender: str
    ) -> ConfigurationSet | None:
        # A header of the mail chooses where the call does not: why such headers must not be passed on.
        name = str(fields.get("ConfigurationSetName") or mail.first("x-ses-configuration-set"))
        if not name and (identity := account.identities.covering(sender)) is not None:
            name = identity.configuration_set
        if not name:
            return None
        found = account.sets.named(name)
        if not found.sending_enabled:
            raise Refusal("SendingPausedException", f"Email sending is disabled for the configuration set <{name}>.")
        return found

    def _read(self, data: bytes) -> raw_mail.RawMail:
        try:
            return raw_mail.read(
                data,
                strict=self._settings.strict,
                refuse_attachments=self._settings.refuse_attachments,
                whole_parts=self._settings.whole_parts,
            )
        except raw_mail.RawMailError as error:
            raise Refusal("BadRequestException", str(error)) from None

    def _refuse_recipients(self, recipients: list[str]) -> None:
        if not recipients:
            raise Refusal("BadRequestException", "Missing required recipients.")
        if len(recipients) > MAX_RECIPIENTS:
            raise Refusal("BadRequestException", f"Recipient count exceeds {MAX_RECIPIENTS}.")

    def _refuse_senders(self, call: Call, account: Account, sender: str, mail: raw_mail.RawMail) -> None:
        senders = [sender, *mail.addresses["from"], *mail.addresses.get("sender", [])]
        senders += mail.addresses.get("return-path", [])
        _refuse_unverified(call, [one for one in senders if not account.verified(one)])
        if domain_of(sender) in self._settings.mail_from_failed:
            text = "Mail-From domain is not verified."
            raise Refusal("MailFromDomainNotVerifiedException", text)

    def _refuse_unverified_recipients(self, call: Call, account: Account, recipients: list[str]) -> None:
        if self._settings.sandbox:
            others = [one for one in recipients if domain_of(one) != SIMULATOR_DOMAIN]
            _refuse_unverified(call, [one for one in others if not account.verified(one)])

    def _accept(
        self,
        call: Call,
        account: Account,
        configuration: ConfigurationSet | None,
        sender: str,
        recipients: list[str],
        tags: Mapping[str, str],
        mail: raw_mail.RawMail,
        data: bytes,
    ) -> Answer:
        number = f"{next(self._numbers):016x}"
        message_id = f"{number}-5e1f0000-0000-4000-a000-{number[4:]}-000000"
        now = self._now()
        own_reasons = configuration.suppressed_reasons if configuration else None
        by_recipient = self._fates(account, recipients, own_reasons, data)
        name = configuration.name if configuration else ""
        self._sends.add(
            message_id,
            sender,
            recipients,
            tags,
            configuration_set=name,
            at=now,
            fates={one: found for one, found in by_recipient.items() if found != SUCCESS},
            data=data,
        )
        identity = account.identities.covering(sender)
        arn = identity_arn(call.region, identity.name if identity else "")
        taken = Taken(message_id, now, sender, arn, recipients, mail.fields, tags, name)
        happened = events(taken, by_recipient)
        for event in happened:
            _learn(account, event, own_reasons)
        host = call.host
        self._publishing.tell(
            taken,
            happened,
            configuration,
            identity,
            call.effects,
            lambda topic_arn, text, subject: self._publish(topic_arn, text, subject, host),
        )
        return json_answer({"MessageId": message_id})

    def _fates(
        self, account: Account, recipients: list[str], own_reasons: tuple[str, ...] | None, data: bytes
    ) -> dict[str, str]:
        if carries_virus(data):
            return dict.fromkeys(recipients, REJECT)
        return {
            one: SUPPRESSED if account.suppression.suppresses(one, own_reasons) else fate(one, self._settings.fates)
            for one in recipients
        }


def _learn(account: Account, event: Event, own_reasons: tuple[str, ...] | None) -> None:
    reason, addresses = suppression(event)
    for address in addresses:
        # The simulator's never get onto the list.
        if reason and domain_of(address) != SIMULATOR_DOMAIN:
            account.suppression.learn(address, reason, own_reasons)


def _data(fields: Mapping[str, Any]) -> bytes:
    content = fields.get("Content") or {}
    if "Raw" not in content:
        raise Refusal("BadRequestException", "This emulator takes raw mail only: Content.Raw is missing.")
    try:
        return base64.b64decode(str((content["Raw"] or {}).get("Data") or ""), validate=True)
    except (binascii.Error, ValueError):
        raise Refusal("SerializationException", "Content.Raw.Data is not base64.") from None


def _recipients(fields: Mapping[str, Any]) -> list[str]:
    destination = fields.get("Destination") or {}
    found: list[str] = []
    for name in ("ToAddresses", "CcAddresses", "BccAddresses"):
        found += [_bare(str(text)) for text in destination.get(name) or ()]
    return found


def _header_recipients(mail: raw_mail.RawMail) -> list[str]:
    return [address for name in ("to", "cc", "bcc") for address in mail.addresses.get(name, ())]


def _bare(text: str) -> str:
    """The one address of an API parameter, which may have a display name."""
    try:
        if "<" not in text:
            check_address(text)
            return text
        [address] = parse_list(text)
    except AddressError as error:
        raise Refusal("BadRequestException", str(error)) from None
    except ValueError:
        raise Refusal("BadRequestException", "Illegal address") from None
    return address


def _tags(fields: Mapping[str, Any]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for tag in fields.get("EmailTags") or ():
        name, value = str(tag.get("Name") or ""), str(tag.get("Value") or "")
        for what, text in (("name", name), ("value", value)):
            if not _TAG.fullmatch(text):
                allowed = "It must have 1 to 256 characters of: ASCII letters, digits, underscores, dashes."
                raise Refusal("BadRequestException", f"Invalid tag {what} <{text[:80]}>. {allowed}")
        if name in tags:
            raise Refusal("BadRequestException", f"Duplicate tag name <{name}>.")
        tags[name] = value
    return tags


def _header_tags(mail: raw_mail.RawMail) -> dict[str, str]:
    """What X-SES-MESSAGE-TAGS says. It counts only where the call has no tags at all: SES does not join them."""
    pairs = (part.partition("=") for part in mail.first("x-ses-message-tags").split(","))
    return {name.strip(): value.strip() for name, _, value in pairs if name.strip()}


def _refuse_unverified(call: Call, addresses: list[str]) -> None:
    if addresses:
        listed = ", ".join(dict.fromkeys(addresses))
        which = f"The following identities failed the check in region {call.region.upper()}: {listed}"
        raise Refusal("MessageRejected", f"Email address is not verified. {which}")
