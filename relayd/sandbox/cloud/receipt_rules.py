"""Receipt rules: what one says, whom it is for, and how SES's older API writes it down and reads it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from relayd.sandbox.cloud.calls import Refusal, element
from relayd.sandbox.cloud.clock import iso

MAX_ACTIONS = 10
S3, SNS, STOP, ADD_HEADER, BOUNCE = "S3Action", "SNSAction", "StopAction", "AddHeaderAction", "BounceAction"

_CHARACTERS = "^[a-zA-Z0-9_.-]+$"
_NAME = re.compile(_CHARACTERS)
_ENDS = re.compile(r"[A-Za-z0-9](.{0,62}[A-Za-z0-9])?")
_HEADER_NAME = re.compile(r"[\x21-\x39\x3b-\x7e]+")
_TOPIC = re.compile(r"arn:aws[a-zA-Z-]*:sns:[a-z0-9-]+:\d{12}:.+")
_TRUE = "true"


@dataclass(frozen=True, slots=True)
class Form:
    """What an action's parameters are called, in the order in which SES complains of them."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    values: Mapping[str, tuple[str, ...]] | None = None
    """Parameters that have a few possible values."""


_FORMS: Mapping[str, Form] = {
    S3: Form(("BucketName",), ("ObjectKeyPrefix", "TopicArn", "KmsKeyArn", "IamRoleArn")),
    SNS: Form(("TopicArn",), ("Encoding",), {"Encoding": ("Base64", "UTF-8")}),
    STOP: Form(("Scope",), ("TopicArn",), {"Scope": ("RuleSet",)}),
    ADD_HEADER: Form(("HeaderName", "HeaderValue")),
    BOUNCE: Form(("SmtpReplyCode", "Sender", "Message"), ("TopicArn", "StatusCode")),
    # Kept and told; nobody here does what they ask for.
    "LambdaAction": Form(
        ("FunctionArn",), ("TopicArn", "InvocationType"), {"InvocationType": ("RequestResponse", "Event")}
    ),
    "WorkmailAction": Form(("OrganizationArn",), ("TopicArn",)),
}


@dataclass(frozen=True, slots=True)
class Action:
    """One action with its parameters by their names in the API."""

    kind: str
    parameters: Mapping[str, str]

    def get(self, name: str) -> str:
        """A parameter; empty where it is not given."""
        return self.parameters.get(name, "")


@dataclass(frozen=True, slots=True)
class Rule:
    """A receipt rule."""

    name: str
    enabled: bool
    tls_policy: str
    scans: bool
    recipients: tuple[str, ...]
    actions: tuple[Action, ...]

    def matches(self, address: str) -> bool:
        """Whether the rule is for this recipient. One without conditions is for all of them."""
        return not self.recipients or any(covers(condition, address) for condition in self.recipients)

    def xml(self) -> str:
        """As DescribeReceiptRule tells it, without the element around."""
        flag = {True: _TRUE, False: "false"}
        actions = "".join(f"<member>{_action_xml(action)}</member>" for action in self.actions)
        recipients = "".join(element("member", one) for one in self.recipients)
        return (
            element("Name", self.name)
            + element("Enabled", flag[self.enabled])
            + element("TlsPolicy", self.tls_policy)
            + (f"<Recipients>{recipients}</Recipients>" if recipients else "<Recipients/>")
            + (f"<Actions>{actions}</Actions>" if actions else "<Actions/>")
            + element("ScanEnabled", flag[self.scans])
        )


def covers(condition: str, address: str) -> bool:
    """Whether a recipient condition holds for an address: `user@domain` also with any label behind a plus,
    `user+label@domain` with that one alone, `domain` without what is below it, `.domain` only what is below it.
    """
    wanted, found = condition.lower(), address.lower()
    local, _, domain = found.rpartition("@")
    if "@" in wanted:
        wanted_local, _, wanted_domain = wanted.rpartition("@")
        compared = local if "+" in wanted_local else local.partition("+")[0]
        return (wanted_local, wanted_domain) == (compared, domain)
    return domain.endswith(wanted) if wanted.startswith(".") else domain == wanted


def read_rule(fields: Mapping[str, str]) -> Rule:
    """The rule in a call's form. Raises Refusal with everything that is wrong with its shape, as SES does."""
    name, policy = fields.get("Rule.Name", ""), fields.get("Rule.TlsPolicy", "Optional")
    wrong = [*_wrong_characters("rule.name", name)]
    if policy not in ("Optional", "Require"):
        wrong.append(_constraint("rule.tlsPolicy", "satisfy enum value set: [Optional, Require]"))
    actions = [_read_action(fields, number, wrong) for number in _numbers(fields, "Rule.Actions.member")]
    _refuse(wrong)
    check_ends("ruleName", name)
    for action in actions:
        _check_values(action.parameters)
    if len(actions) > MAX_ACTIONS:
        raise Refusal("LimitExceeded", "Too many actions")
    return Rule(
        name,
        enabled=fields.get("Rule.Enabled") == _TRUE,
        tls_policy=policy,
        scans=fields.get("Rule.ScanEnabled") == _TRUE,
        recipients=tuple(members(fields, "Rule.Recipients")),
        actions=tuple(actions),
    )


def members(fields: Mapping[str, str], name: str) -> list[str]:
    """A list of the form, in order."""
    return [fields.get(f"{name}.member.{number}", "") for number in _numbers(fields, f"{name}.member")]


def check_name(path: str, name: str) -> None:
    """The name of a rule or a rule set, called `path` in the API."""
    _refuse(list(_wrong_characters(path, name)))
    check_ends(path, name)


def check_ends(path: str, name: str) -> None:
    """What SES looks at only when the characters are right."""
    if not _ENDS.fullmatch(name):
        raise Refusal("InvalidParameterValue", f"Not a valid {path}: {name}")


def metadata_xml(name: str, created: float) -> str:
    """A rule set, without its rules."""
    return element("Name", name) + element("CreatedTimestamp", iso(created))


def _action_xml(action: Action) -> str:
    return f"<{action.kind}>{''.join(element(*pair) for pair in action.parameters.items())}</{action.kind}>"


def _numbers(fields: Mapping[str, str], prefix: str) -> list[int]:
    found = {
        int(number)
        for name in fields
        if name.startswith(f"{prefix}.") and (number := name[len(prefix) + 1 :].partition(".")[0]).isdigit()
    }
    return sorted(found)


def _read_action(fields: Mapping[str, str], number: int, wrong: list[str]) -> Action:
    prefix = f"Rule.Actions.member.{number}."
    given: dict[str, dict[str, str]] = {}
    for name, value in fields.items():
        if name.startswith(prefix):
            kind, _, parameter = name[len(prefix) :].partition(".")
            given.setdefault(kind, {})[parameter] = value
    [(kind, parameters), *more] = given.items()
    if more:
        raise Refusal("InvalidParameterValue", "Each action of a rule must be of one kind")
    form = _FORMS.get(kind)
    if form is None:
        raise Refusal("InvalidParameterValue", f"{kind} is not part of this emulator")
    if unknown := sorted(parameters.keys() - {*form.required, *form.optional}):
        raise Refusal("MalformedInput", f"Unexpected list element or member: {unknown[0]}")
    wrong += _wrong_parameters(kind, form, parameters, f"rule.actions.{number}.member.")
    if kind == SNS:
        parameters.setdefault("Encoding", "UTF-8")
    return Action(kind, parameters)


def _wrong_parameters(kind: str, form: Form, parameters: Mapping[str, str], prefix: str) -> Iterator[str]:
    path = prefix + kind[0].lower() + kind[1:]
    for name, values in (form.values or {}).items():
        if name in parameters and parameters[name] not in values:
            yield _constraint(_member(path, name), f"satisfy enum value set: [{', '.join(values)}]")
    for name in form.required:
        if name not in parameters:
            yield _constraint(_member(path, name), "not be null")


def _check_values(parameters: Mapping[str, str]) -> None:
    """What SES looks at by itself: topics and buckets are tried later, when all is well-formed."""
    topic = parameters.get("TopicArn")
    if topic is not None and not _TOPIC.fullmatch(topic):
        raise Refusal("InvalidSnsTopic", f"Invalid SNS topic: {topic}")
    if parameters.get("BucketName") == "":
        raise Refusal("InvalidParameterValue", "Bucket name must not be empty")
    header = parameters.get("HeaderName")
    if header is not None and not _HEADER_NAME.fullmatch(header):
        raise Refusal("InvalidParameterValue", f"Invalid header name: {header}")


def _wrong_characters(path: str, name: str) -> Iterator[str]:
    if not name:
        yield _constraint(path, "have length greater than or equal to 1")
    if not _NAME.fullmatch(name):
        yield _constraint(path, f"satisfy regular expression pattern: {_CHARACTERS}")


def _member(path: str, name: str) -> str:
    return f"{path}.{name[0].lower()}{name[1:]}"


def _constraint(path: str, text: str) -> str:
    return f"Value at '{path}' failed to satisfy constraint: Member must {text}"


def _refuse(wrong: list[str]) -> None:
    if wrong:
        count = "1 validation error" if len(wrong) == 1 else f"{len(wrong)} validation errors"
        raise Refusal("ValidationError", f"{count} detected: {'; '.join(wrong)}")
