"""IAM: the one user's own policies, and the simulation of what they allow.

The policies decide over IAM's own operations alone. The other services do not look at them: what they refuse is a fault
that somebody sets. Conditions are not part of this: a policy that has any is refused rather than read by half.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from fnmatch import translate
from typing import Any

from relayd.sandbox.cloud.calls import ACCOUNT, Answer, Call, Refusal, element, query_answer, query_refusal

NAMESPACE = "https://iam.amazonaws.com/doc/2010-05-08/"
USER = "relayd"
USER_ARN = f"arn:aws:iam::{ACCOUNT}:user/{USER}"
MAX_POLICY = 2048
"""Characters of a user's inline policies together, white space aside."""

_NAME = re.compile(r"[\w+=,.@-]{1,128}", re.ASCII)
_ACTION = re.compile(r"[A-Za-z0-9-]{1,64}:[A-Za-z0-9*?]{1,128}|\*")


class Iam:
    """The user `relayd`, as whom everybody calls."""

    def __init__(self) -> None:
        self._policies: dict[str, str] = {}
        self._operations: Mapping[str, Callable[[Call], Answer]] = {
            "PutUserPolicy": self._put,
            "GetUserPolicy": self._get,
            "DeleteUserPolicy": self._delete,
            "ListUserPolicies": self._list,
            "SimulatePrincipalPolicy": self._simulate,
        }

    def recognise(self, call: Call) -> None:
        if call.operation not in self._operations:
            raise Refusal("InvalidAction", f"Could not find operation {call.operation} for version 2010-05-08")
        call.resource = call.fields.get("UserName", call.fields.get("PolicySourceArn", ""))

    def answer(self, call: Call) -> Answer:
        return self._operations[call.operation](call)

    def refuse(self, refusal: Refusal) -> Answer:
        return query_refusal(refusal, NAMESPACE)

    def _put(self, call: Call) -> Answer:
        name, text = self._name(call), call.fields.get("PolicyDocument", "")
        _statements(text)
        others = sum(_length(one) for known, one in self._policies.items() if known != name)
        if _length(text) + others > MAX_POLICY:
            raise Refusal("LimitExceeded", f"Maximum policy size of {MAX_POLICY} bytes exceeded for user {USER}", 409)
        self._policies[name] = text
        return query_answer("PutUserPolicy", NAMESPACE)

    def _get(self, call: Call) -> Answer:
        name = self._name(call)
        if name not in self._policies:
            raise _missing(f"The user policy with name {name} cannot be found.")
        told = element("UserName", USER) + element("PolicyName", name) + element("PolicyDocument", self._policies[name])
        return query_answer("GetUserPolicy", NAMESPACE, told)

    def _delete(self, call: Call) -> Answer:
        if self._policies.pop(self._name(call), None) is None:
            raise _missing(f"The user policy with name {call.fields.get('PolicyName')} cannot be found.")
        return query_answer("DeleteUserPolicy", NAMESPACE)

    def _list(self, call: Call) -> Answer:
        self._user(call)
        names = "".join(element("member", name) for name in sorted(self._policies))
        told = f"<PolicyNames>{names}</PolicyNames>{element('IsTruncated', 'false')}"
        return query_answer("ListUserPolicies", NAMESPACE, told)

    def _simulate(self, call: Call) -> Answer:
        source = call.fields.get("PolicySourceArn", "")
        if self._decision("iam:SimulatePrincipalPolicy", source) != "allowed":
            text = f"User: {USER_ARN} is not authorized to perform: iam:SimulatePrincipalPolicy on resource: {source}"
            raise Refusal("AccessDenied", text, 403)
        if source != USER_ARN:
            raise _missing(f"The entity {source} cannot be found.")
        actions, resources = _members(call.fields, "ActionNames"), _members(call.fields, "ResourceArns") or ["*"]
        for action in actions:
            if not _ACTION.fullmatch(action) or "*" in action:
                raise Refusal("InvalidInput", f"Invalid Entity Arn: {action}")
        results = "".join(
            f"<member>{_result(action, resource, self._decision(action, resource))}</member>"
            for action in actions
            for resource in resources
        )
        told = f"<EvaluationResults>{results}</EvaluationResults>{element('IsTruncated', 'false')}"
        return query_answer("SimulatePrincipalPolicy", NAMESPACE, told)

    def _decision(self, action: str, resource: str) -> str:
        effects = {
            statement["Effect"]
            for text in self._policies.values()
            for statement in _statements(text)
            if _covers(statement, "Action", action.lower()) and _covers(statement, "Resource", resource)
        }
        if "Deny" in effects:
            return "explicitDeny"
        return "allowed" if "Allow" in effects else "implicitDeny"

    def _user(self, call: Call) -> None:
        if call.fields.get("UserName") != USER:
            raise _missing(f"The user with name {call.fields.get('UserName')} cannot be found.")

    def _name(self, call: Call) -> str:
        self._user(call)
        name: str = call.fields.get("PolicyName", "")
        if not _NAME.fullmatch(name):
            raise Refusal("ValidationError", "The specified value for policyName is invalid.")
        return name


def _length(text: str) -> int:
    return len("".join(text.split()))


def _members(fields: Mapping[str, str], name: str) -> list[str]:
    """A list of the form."""
    found: list[str] = []
    while (value := fields.get(f"{name}.member.{len(found) + 1}")) is not None:
        found.append(value)
    return found


def _result(action: str, resource: str, decision: str) -> str:
    told = element("EvalActionName", action) + element("EvalResourceName", resource) + element("EvalDecision", decision)
    return told + "<MatchedStatements/><MissingContextValues/>"


def _statements(text: str) -> Iterator[dict[str, Any]]:
    try:
        policy = json.loads(text)
    except ValueError:
        raise _malformed("Syntax errors in policy.") from None
    found = policy.get("Statement") if isinstance(policy, dict) else None
    listed: list[Any] = found if isinstance(found, list) else [found]
    for statement in listed:
        if not isinstance(statement, dict) or statement.get("Effect") not in {"Allow", "Deny"}:
            raise _malformed("Syntax errors in policy.")
        if "Condition" in statement:
            raise _malformed("This emulator evaluates no conditions.")
        if "Principal" in statement or "NotPrincipal" in statement:
            raise _malformed("Policy document should not specify a principal.")
        for name in ("Action", "Resource"):
            if (name in statement) == (f"Not{name}" in statement):
                raise _malformed(f"Policy statement must contain {name.lower()}s.")
        if not all(_ACTION.fullmatch(one) for one in _texts(statement.get("Action", []))):
            raise _malformed("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
    return iter(listed)


def _covers(statement: Mapping[str, Any], name: str, value: str) -> bool:
    lower = name == "Action"
    if name in statement:
        return _any(statement[name], value, lower=lower)
    return not _any(statement[f"Not{name}"], value, lower=lower)


def _any(patterns: Any, value: str, *, lower: bool) -> bool:
    # Of fnmatch's own signs, [ has no meaning in a policy.
    listed = [(one.lower() if lower else one).replace("[", "[[]") for one in _texts(patterns)]
    return any(re.fullmatch(translate(one), value) for one in listed)


def _texts(value: Any) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]


def _missing(text: str) -> Refusal:
    return Refusal("NoSuchEntity", text, 404)


def _malformed(text: str) -> Refusal:
    return Refusal("MalformedPolicyDocument", text)
