"""KMS: keys, their states, and who may use them. Nothing is encrypted: nobody looks at a disk here."""

import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from relayd.sandbox.cloud.calls import ACCOUNT, Answer, Call, Refusal, json_answer
from relayd.sandbox.cloud.clock import Now

TARGET_PREFIX = "TrentService."
MAX_POLICY = 32 * 1024

_JSON_11 = b"application/x-amz-json-1.1"
_AWS_ALIAS = "alias/aws/"
"""Of keys that AWS keeps for the account, one a service, made when they are first named."""
_ALIAS = re.compile(r"alias/(?!aws/)[A-Za-z0-9/_-]{1,250}")
_DAY = 86_400.0
_MOST_KEYS = 1000


@dataclass(slots=True)
class Key:
    key_id: str
    region: str
    policy: str
    created: float
    manager: str = "CUSTOMER"
    state: str = "Enabled"
    deletion: float = 0.0

    @property
    def arn(self) -> str:
        return f"arn:aws:kms:{self.region}:{ACCOUNT}:key/{self.key_id}"


class Kms:
    """All keys of all regions."""

    def __init__(self, now: Now) -> None:
        self._now = now
        self._keys: dict[tuple[str, str], Key] = {}
        self._aliases: dict[tuple[str, str], Key] = {}
        self._operations: Mapping[str, Callable[[Call], Answer]] = {
            "CreateKey": self._create,
            "CreateAlias": self._create_alias,
            "DescribeKey": lambda call: _ok({"KeyMetadata": self._metadata(self._key(call))}),
            "GetKeyPolicy": self._get_policy,
            "PutKeyPolicy": self._put_policy,
            "EnableKey": lambda call: self._turn(call, "Enabled"),
            "DisableKey": lambda call: self._turn(call, "Disabled"),
            "ScheduleKeyDeletion": self._delete,
            "CancelKeyDeletion": self._keep,
        }

    def recognise(self, call: Call) -> None:
        call.operation = call.headers[b"x-amz-target"].decode("latin-1").removeprefix(TARGET_PREFIX)
        if call.operation not in self._operations:
            text = f"The operation {call.operation} is not known, or not part of this emulator."
            raise Refusal("UnknownOperationException", text)
        try:
            call.fields = json.loads(call.body or b"{}")
        except ValueError:
            raise Refusal("SerializationException", "The body is not JSON.") from None
        if not isinstance(call.fields, dict):
            raise Refusal("SerializationException", "The body is not a JSON object.")
        call.resource = str(call.fields.get("KeyId", ""))

    def answer(self, call: Call) -> Answer:
        return self._operations[call.operation](call)

    def refuse(self, refusal: Refusal) -> Answer:
        told = {"__type": refusal.code, "message": refusal.text}
        return json_answer(told, status=refusal.status, kind=_JSON_11, code=refusal.code)

    def _create(self, call: Call) -> Answer:
        if len(self._keys) >= _MOST_KEYS:
            raise Refusal("LimitExceededException", "There are too many keys.")
        key_id = str(uuid.uuid4())
        policy = call.fields.get("Policy") or _default_policy()
        made = self._keys[call.region, key_id] = Key(key_id, call.region, _checked_policy(policy), self._now())
        return _ok({"KeyMetadata": self._metadata(made)})

    def _create_alias(self, call: Call) -> Answer:
        name, target = str(call.fields.get("AliasName", "")), str(call.fields.get("TargetKeyId", ""))
        if not _ALIAS.fullmatch(name):
            raise Refusal("InvalidAliasNameException", "An alias begins with alias/, and not with alias/aws/.")
        if (call.region, name) in self._aliases:
            raise Refusal("AlreadyExistsException", f"An alias with the name {name} already exists")
        self._aliases[call.region, name] = self._named(call.region, target)
        return _ok({})

    def _get_policy(self, call: Call) -> Answer:
        if call.fields.get("PolicyName", "default") != "default":
            raise Refusal("NotFoundException", "No such policy exists")
        return _ok({"Policy": self._key(call).policy, "PolicyName": "default"})

    def _put_policy(self, call: Call) -> Answer:
        self._customers(call).policy = _checked_policy(call.fields.get("Policy"))
        return _ok({})

    def _turn(self, call: Call, state: str) -> Answer:
        found = self._customers(call)
        if found.state == "PendingDeletion":
            raise Refusal("KMSInvalidStateException", f"{found.arn} is pending deletion.")
        found.state = state
        return _ok({})

    def _delete(self, call: Call) -> Answer:
        found, days = self._customers(call), call.fields.get("PendingWindowInDays", 30)
        if not isinstance(days, int) or not 7 <= days <= 30:
            raise Refusal("ValidationException", "PendingWindowInDays is from 7 to 30")
        found.state, found.deletion = "PendingDeletion", self._now() + days * _DAY
        told = {"KeyId": found.arn, "DeletionDate": found.deletion, "KeyState": found.state}
        return _ok({**told, "PendingWindowInDays": days})

    def _keep(self, call: Call) -> Answer:
        found = self._customers(call)
        if found.state != "PendingDeletion":
            raise Refusal("KMSInvalidStateException", f"{found.arn} is not pending deletion.")
        found.state = "Disabled"
        return _ok({"KeyId": found.arn})

    def _customers(self, call: Call) -> Key:
        found = self._key(call)
        if found.manager == "AWS":
            raise Refusal("AccessDeniedException", "Keys that AWS manages cannot be changed.")
        return found

    def _key(self, call: Call) -> Key:
        return self._named(call.region, str(call.fields.get("KeyId", "")))

    def _named(self, region: str, name: str) -> Key:
        """By id, ARN, alias or ARN of an alias."""
        if name.startswith("arn:"):
            region, name = name.split(":")[3], name.rpartition(":")[2].removeprefix("key/")
        found = self._aliases.get((region, name)) if name.startswith("alias/") else self._keys.get((region, name))
        if found is None and name.startswith(_AWS_ALIAS):
            found = Key(str(uuid.uuid4()), region, _aws_policy(name), self._now(), manager="AWS")
            self._aliases[region, name] = self._keys[region, found.key_id] = found
        if found is None:
            what = "Alias" if name.startswith("alias/") else "Key"
            raise Refusal("NotFoundException", f"{what} '{name}' does not exist")
        return found

    def _metadata(self, key: Key) -> dict[str, Any]:
        told = {
            "AWSAccountId": ACCOUNT,
            "KeyId": key.key_id,
            "Arn": key.arn,
            "CreationDate": key.created,
            "Enabled": key.state == "Enabled",
            "Description": "",
            "KeyUsage": "ENCRYPT_DECRYPT",
            "KeyState": key.state,
            "Origin": "AWS_KMS",
            "KeyManager": key.manager,
            "KeySpec": "SYMMETRIC_DEFAULT",
            "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
            "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
            "MultiRegion": False,
        }
        return told | ({"DeletionDate": key.deletion} if key.deletion and key.state == "PendingDeletion" else {})


def _ok(value: Mapping[str, Any]) -> Answer:
    return json_answer(value, kind=_JSON_11)


def _checked_policy(policy: Any) -> str:
    text = str(policy or "")
    try:
        parsed = json.loads(text)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict) or not parsed.get("Statement") or len(text) > MAX_POLICY:
        raise Refusal("MalformedPolicyDocumentException", "The policy is not a policy.")
    return text


def _default_policy() -> str:
    """What a key has that is made without one: the account's own policies decide."""
    return _policy({"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, {})


def _aws_policy(alias: str) -> str:
    """The account may use it through its service, and another service may not."""
    service = alias.removeprefix(_AWS_ALIAS)
    condition = {"StringEquals": {"kms:CallerAccount": ACCOUNT, "kms:ViaService": f"{service}.us-east-1.amazonaws.com"}}
    return _policy({"AWS": "*"}, {"Condition": condition})


def _policy(principal: Mapping[str, str], more: Mapping[str, Any]) -> str:
    statement = {"Effect": "Allow", "Principal": principal, "Action": "kms:*", "Resource": "*", **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})
