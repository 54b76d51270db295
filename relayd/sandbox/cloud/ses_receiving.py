"""What SES does with a mail that comes in: it goes through the rules of the active set, one after the other."""

import base64
import hashlib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from relayd.sandbox.cloud import receipt_rules
from relayd.sandbox.cloud.calls import DEFAULT_REGION, Refusal
from relayd.sandbox.cloud.clock import Now
from relayd.sandbox.cloud.objects import StoredObject
from relayd.sandbox.cloud.receipt_rules import Action, Rule
from relayd.sandbox.cloud.s3 import S3
from relayd.sandbox.cloud.ses_events import subscribed_json
from relayd.sandbox.cloud.ses_receipts import Receipts
from relayd.sandbox.cloud.settings import Settings
from relayd.sandbox.cloud.sns import Sns
from relayd.sandbox.receiving import Verdicts, header_fields, new_mail_id, notification, received_headers, stored_action

SUBJECT = "Amazon SES Email Receipt Notification"
SETUP_OBJECT = "AMAZON_SES_SETUP_NOTIFICATION"
MAX_TOLD = 150 * 1024
"""Bytes of a mail that an SNS action carries; SES bounces larger ones."""

Covered = Callable[[str, str], bool]
"""Whether a region's account has an identity that covers an address."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A mail as its sender's server gives it to SES."""

    source: str
    recipients: tuple[str, ...]
    data: bytes = field(repr=False)
    peer: str = "127.0.0.1"
    region: str = DEFAULT_REGION
    host: str = "127.0.0.1"
    """This server, as whoever follows a notification's certificate URL knows it."""
    traceparent: str = ""
    """Goes along with notifications, as SES itself does not: so that the sandbox can follow a mail."""


@dataclass(slots=True)
class _Passage:
    """One mail on its way through the rules."""

    mail: Incoming
    mail_id: str
    began: float
    verdicts: Verdicts
    data: bytes
    """With the header fields that actions have added."""
    left: list[str]
    """Recipients that no rule has stopped for."""
    head: bytes = b""
    """What SES has put above the mail where it was stored first."""
    handled: list[dict[str, Any]] = field(default_factory=list)


class Receiving:
    """The active rules' way with mail."""

    def __init__(self, now: Now, settings: Settings, s3: S3, sns: Sns, covered: Covered) -> None:
        self._now = now
        self._settings = settings
        self._s3 = s3
        self._sns = sns
        self._covered = covered
        self.receipts = Receipts(now, self)

    def try_action(self, action: Action, host: str) -> None:
        """What SES does when a rule is set up: it writes to the bucket and tells the topic."""
        bucket, topic_arn = action.get("BucketName"), action.get("TopicArn")
        if bucket:
            if bucket not in self._s3.buckets:
                raise Refusal("InvalidS3Configuration", f"No such bucket: {bucket}")
            text = b"Amazon SES may store mail in this bucket.\n"
            self._put(bucket, action.get("ObjectKeyPrefix") + SETUP_OBJECT, text, {})
        if topic_arn:
            text_of_setup = subscribed_json("Received", topic_arn, topic_arn)
            try:
                self._sns.publish(topic_arn, text_of_setup, host=host, subject=SUBJECT)
            except Refusal:
                raise Refusal("InvalidSnsTopic", f"Could not publish to SNS topic: {topic_arn}") from None

    def receive(self, mail: Incoming) -> dict[str, Any]:
        """Take a mail in. Tells its id, the header fields that SES put above it where it was stored, what each rule did
        for whom, and the recipients that were refused: those that no rule is for, and those on domains that are
        nobody's.
        """
        active = self.receipts.of(mail.region).active
        rules = [rule for rule in active.rules if rule.enabled] if active is not None else []
        taken = [
            one
            for one in mail.recipients
            if self._covered(mail.region, one) and any(rule.matches(one) for rule in rules)
        ]
        refused = [one for one in mail.recipients if one not in taken]
        if not taken:
            return {"mail_id": None, "head": "", "handled": [], "refused": refused}
        fields = header_fields(mail.data)
        passage = _Passage(mail, new_mail_id(), self._now(), Verdicts.of(mail.data, fields), mail.data, taken)
        for rule in rules:
            matched = [one for one in passage.left if rule.matches(one)]
            if matched and self._apply(rule, matched, passage):
                break
        head = passage.head.decode("utf-8", "replace")
        return {"mail_id": passage.mail_id, "head": head, "handled": passage.handled, "refused": refused}

    def _apply(self, rule: Rule, matched: list[str], passage: _Passage) -> bool:
        """Do a rule's actions. True when none of the rules behind it is looked at any more."""
        done: list[dict[str, Any]] = []
        passage.handled.append({"rule": rule.name, "recipients": matched, "actions": done})
        for action in rule.actions:
            match action.kind:
                case receipt_rules.ADD_HEADER:
                    line = f"{action.get('HeaderName')}: {action.get('HeaderValue')}\r\n"
                    passage.data = line.encode() + passage.data
                    told: dict[str, Any] = {"type": "AddHeader"}
                case receipt_rules.S3:
                    told = self._store(rule, action, matched, passage)
                case receipt_rules.SNS:
                    told = self._tell(rule, action, matched, passage)
                case _:
                    # Of these the sender, or somebody's function, would hear; here a topic does, if there is one.
                    told = {"type": action.kind.removesuffix("Action"), "topicArn": action.get("TopicArn")}
                    self._publish(rule, told, matched, passage, {})
            done.append(told)
            if action.kind == receipt_rules.STOP:
                passage.left = [one for one in passage.left if one not in matched]
                return self._settings.stop_ends_all or not passage.left
        return False

    def _store(self, rule: Rule, action: Action, matched: list[str], passage: _Passage) -> dict[str, Any]:
        bucket, prefix = action.get("BucketName"), action.get("ObjectKeyPrefix")
        told = stored_action(bucket, prefix, passage.mail_id, action.get("TopicArn"))
        data, metadata = self._whole(rule, matched, passage), dict[str, str]()
        passage.head = passage.head or data[: len(data) - len(passage.mail.data)]
        if action.get("KmsKeyArn"):
            data, metadata = encrypted(data)
        self._put(bucket, told["objectKey"], data, metadata)
        self._publish(rule, told, matched, passage, {})
        return told

    def _tell(self, rule: Rule, action: Action, matched: list[str], passage: _Passage) -> dict[str, Any]:
        whole = self._whole(rule, matched, passage)
        encoding = {"UTF-8": "UTF8", "Base64": "BASE64"}[action.get("Encoding")]
        told: dict[str, Any] = {"type": "SNS", "topicArn": action.get("TopicArn"), "encoding": encoding}
        if len(whole) > MAX_TOLD:
            return told | {"bounced": True}
        content = base64.b64encode(whole).decode() if encoding == "BASE64" else whole.decode("utf-8", "replace")
        self._publish(rule, told, matched, passage, {"content": content})
        return told

    def _whole(self, rule: Rule, matched: Sequence[str], passage: _Passage) -> bytes:
        """The mail with SES's own header fields above it."""
        mail = passage.mail
        head = received_headers(
            passage.mail_id,
            mail.source,
            tuple(matched),
            scanned(rule, passage.verdicts),
            now=passage.began,
            peer=mail.peer,
        )
        return head + passage.data

    def _publish(
        self, rule: Rule, action: Mapping[str, Any], matched: list[str], passage: _Passage, more: Mapping[str, Any]
    ) -> None:
        topic_arn, mail = action["topicArn"], passage.mail
        if not topic_arn:
            return
        told = notification(
            mail_id=passage.mail_id,
            source=mail.source,
            recipients=tuple(matched),
            stored=self._whole(rule, matched, passage),
            verdicts=scanned(rule, passage.verdicts),
            now=passage.began,
            took_ms=int((self._now() - passage.began) * 1000),
            action=action,
        )
        trace = {"traceparent": {"DataType": "String", "StringValue": mail.traceparent}} if mail.traceparent else None
        try:
            text = json.dumps(told | dict(more))
            self._sns.publish(topic_arn, text, host=mail.host, subject=SUBJECT, attributes=trace)
        except Refusal:
            # The topic is gone. The sender was told that the mail was taken, and nobody else hears of it.
            self._sns.undeliverable += 1

    def _put(self, bucket: str, key: str, data: bytes, metadata: Mapping[str, str]) -> None:
        found = self._s3.buckets.get(bucket)
        if found is None:
            raise ValueError(f"the rule's bucket {bucket} is gone, and SES would bounce the mail")
        etag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
        found.put(key, StoredObject((data,), len(data), etag, self._now(), metadata=metadata))


def scanned(rule: Rule, verdicts: Verdicts) -> Verdicts:
    """What a rule knows of a mail: whether it is spam, or has a virus, only where it has that looked at."""
    return verdicts if rule.scans else replace(verdicts, spam="DISABLED", virus="DISABLED")


def encrypted(data: bytes) -> tuple[bytes, dict[str, str]]:
    """The mail as an S3 action with a KMS key leaves it: nobody reads it without that key. Here nobody does at all."""
    vector = secrets.token_bytes(12)
    sealed = AESGCM(secrets.token_bytes(32)).encrypt(vector, data, None)
    return sealed, {
        "x-amz-key-v2": base64.b64encode(secrets.token_bytes(60)).decode(),
        "x-amz-iv": base64.b64encode(vector).decode(),
        "x-amz-cek-alg": "AES/GCM/NoPadding",
        "x-amz-wrap-alg": "kms",
        "x-amz-tag-len": "128",
        "x-amz-unencrypted-content-length": str(len(data)),
    }
