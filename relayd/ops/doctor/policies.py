"""Policies of resources: who gets in. A request that is made up is held against the statements, as AWS would do it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from relayd.ops.doctor.conditions import Context, Truth, every, hold, some, values_of, wild

STRANGER = "999999999999"
"""An account that is nobody's here."""

_ABSENT = (
    "aws:principalorgid",
    "aws:principalorgpaths",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceidentity",
    "aws:sourceorgid",
    "aws:sourceorgpaths",
    "aws:sourceowner",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:userid",
    "aws:username",
    "kms:calleraccount",
    "kms:viaservice",
)
"""What the calls that are made up here do not carry, unless they say so. Of all other keys nobody knows."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who asks. `service` for a service of AWS, `account` for somebody in an account; neither: anybody."""

    name: str
    """For people: `anybody's topic`."""
    service: str = ""
    account: str = ""
    context: Mapping[str, str] = field(default_factory=dict)

    def facts(self) -> Context:
        """Everything that is known of the call."""
        known: dict[str, str | None] = dict.fromkeys(_ABSENT)
        known |= {"aws:securetransport": "true", "aws:principalisawsservice": "true" if self.service else "false"}
        known |= {"aws:principalaccount": self.account or None}
        known |= {"aws:principalarn": f"arn:aws:iam::{self.account}:root" if self.account else None}
        return known | {name.lower(): value for name, value in self.context.items()}


def service(name: str, host: str, account: str, arn: str) -> Caller:
    """A service of AWS on behalf of something that the account has."""
    context = {"aws:SourceAccount": account, "aws:SourceArn": arn, "AWS:SourceOwner": account}
    return Caller(name, service=host, context=context)


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy's statements; none where there is no policy."""

    document: Mapping[str, Any]

    @classmethod
    def parse(cls, text: str | None) -> "Policy":
        """Raises ValueError for what is no policy."""
        if not text:
            return cls({"Version": "2012-10-17", "Statement": []})
        document = json.loads(text)
        if not isinstance(document, dict):
            raise ValueError("a policy is a JSON object")  # noqa: TRY004 - what json.loads raises, too
        return cls(document)

    @property
    def statements(self) -> list[Mapping[str, Any]]:
        found = self.document.get("Statement", [])
        return [one for one in (found if isinstance(found, list) else [found]) if isinstance(one, Mapping)]

    def admits(self, caller: Caller, action: str, resource: str) -> Truth:
        """Whether the policy lets the caller do it: one statement allows it, and none denies it."""
        denied = some([_applies(one, caller, action, resource) for one in self._of("Deny")])
        allowed = some([_applies(one, caller, action, resource) for one in self._of("Allow")])
        return every([allowed, ~denied])

    def letting_in(self, caller: Caller, action: str, resource: str) -> list[int]:
        """Positions of the statements that allow it to the caller, perhaps."""
        return self._applying("Allow", caller, action, resource)

    def keeping_out(self, caller: Caller, action: str, resource: str) -> list[int]:
        """Positions of the statements that deny it to the caller, perhaps."""
        return self._applying("Deny", caller, action, resource)

    def _applying(self, effect: str, caller: Caller, action: str, resource: str) -> list[int]:
        return [
            at
            for at, one in enumerate(self.statements)
            if one.get("Effect") == effect and _applies(one, caller, action, resource) is not Truth.NO
        ]

    def mentioned(self, key: str) -> list[str]:
        """Every value that conditions of statements that allow compare with the key."""
        found: list[str] = []
        for one in self._of("Allow"):
            condition = one.get("Condition")
            for keys in condition.values() if isinstance(condition, Mapping) else ():
                for name, wanted in keys.items() if isinstance(keys, Mapping) else ():
                    if name.lower() == key.lower():
                        found += values_of(wanted)
        return list(dict.fromkeys(found))

    def accounts(self) -> list[str]:
        """Every account that is named in a Principal."""
        named: list[str] = []
        for one in self._of("Allow"):
            principal = one.get("Principal")
            for value in values_of(principal.get("AWS", [])) if isinstance(principal, Mapping) else ():
                account = value.split(":")[4] if value.startswith("arn:") and value.count(":") >= 5 else value
                if account.isdecimal() and len(account) == 12:
                    named.append(account)
        return list(dict.fromkeys(named))

    def changed(self, *, without: Sequence[int] = (), more: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
        """The document with some statements less and some more. One with the same Sid is replaced."""
        new = {one["Sid"] for one in more if "Sid" in one}
        kept = [one for at, one in enumerate(self.statements) if at not in without and one.get("Sid") not in new]
        return {"Version": "2012-10-17"} | dict(self.document) | {"Statement": [*kept, *more]}

    def _of(self, effect: str) -> Iterator[Mapping[str, Any]]:
        return (one for one in self.statements if one.get("Effect") == effect)


def stranger(arn: str) -> str:
    """The same ARN in an account that is nobody's here."""
    parts = arn.split(":", 5)
    return ":".join([*parts[:4], STRANGER, *parts[5:]])


def _applies(statement: Mapping[str, Any], caller: Caller, action: str, resource: str) -> Truth:
    if not (_principal(statement, caller) and _named(statement, "Action", action.lower())):
        return Truth.NO
    if not _named(statement, "Resource", resource):
        return Truth.NO
    return hold(statement.get("Condition"), caller.facts())


def _principal(statement: Mapping[str, Any], caller: Caller) -> bool:
    if "NotPrincipal" in statement:
        return not _is_one_of(statement["NotPrincipal"], caller)
    return _is_one_of(statement.get("Principal"), caller)


def _is_one_of(principal: Any, caller: Caller) -> bool:
    if principal == "*":
        return True
    if not isinstance(principal, Mapping):
        return False
    people = values_of(principal.get("AWS", []))
    if "*" in people:
        return True
    if caller.service:
        return any(wild(one, caller.service) for one in values_of(principal.get("Service", [])))
    # A role or user that is named stands for its account: who may become it is that account's affair.
    return bool(caller.account) and any(one == caller.account or f"::{caller.account}:" in one for one in people)


def _named(statement: Mapping[str, Any], name: str, value: str) -> bool:
    lower = name == "Action"
    negative = f"Not{name}" in statement
    if not negative and name not in statement:
        # A key's policy may be without: it is about the key itself.
        return name == "Resource"
    patterns = values_of(statement[f"Not{name}" if negative else name])
    return any(wild(one.lower() if lower else one, value) for one in patterns) is not negative
