"""A CloudFormation template as CloudFormation sees it with some parameters: conditions decided, references resolved.

moto's CloudFormation passes over half of the template's resources without a word; this one resolves all of them, and
knows nothing that it does not need: an intrinsic function or an attribute that is not here is an error.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ACCOUNT = "123456789012"
REGION = "us-east-1"
PARTITION = "aws"

_ABSENT = object()
"""What `AWS::NoValue` stands for: whatever has it as its value is not there."""


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # the library has no types
    """YAML with CloudFormation's tags, and without what CloudFormation does not read."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("CloudFormation knows no aliases")
        return super().compose_node(parent, index)


def _tagged(loader: _Loader, suffix: str, node: yaml.Node) -> Any:
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
        return {name: value.split(".", 1) if suffix == "GetAtt" else value}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    raise yaml.YAMLError(f"no such form of !{suffix}")


_Loader.add_multi_constructor("!", _tagged)


@cache
def load(path: Path) -> Mapping[str, Any]:
    """The template with its functions in their long form: `!Ref X` is `{"Ref": "X"}`."""
    template: Mapping[str, Any] = yaml.load(path.read_text("utf-8"), _Loader)
    return template


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource that there will be."""

    logical_id: str
    kind: str
    """`AWS::SQS::Queue`."""
    properties: Mapping[str, Any]
    ref: str
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Stack:
    """What a template comes to."""

    name: str
    resources: Mapping[str, Resource]
    outputs: Mapping[str, str]
    settings: Mapping[str, str] = field(default_factory=dict)
    """The outputs whose description is the name of a setting of relayd's, by it."""

    def of_kind(self, kind: str) -> list[Resource]:
        return [one for one in self.resources.values() if one.kind == kind]

    def __getitem__(self, logical_id: str) -> Resource:
        return self.resources[logical_id]


def resolve(
    template: Mapping[str, Any], parameters: Mapping[str, str], *, name: str = "relayd", imports: Mapping[str, str] = {}
) -> Stack:
    """What the template comes to. `imports` are exports of other stacks."""
    return _Resolving(template, parameters, name, imports).stack()


class _Resolving:
    def __init__(
        self, template: Mapping[str, Any], parameters: Mapping[str, str], name: str, imports: Mapping[str, str]
    ) -> None:
        self._template = template
        self._name = name
        self._imports = imports
        self._resources: dict[str, Resource] = {}
        self._known = {
            "AWS::AccountId": ACCOUNT,
            "AWS::NoValue": _ABSENT,
            "AWS::Partition": PARTITION,
            "AWS::Region": REGION,
            "AWS::StackName": name,
        } | self._checked(parameters)

    def stack(self) -> Stack:
        for logical_id, resource in self._template["Resources"].items():
            if self._is_there(resource):
                self._resource(logical_id)
        there = {name: one for name, one in self._template["Outputs"].items() if self._is_there(one)}
        outputs = {name: self.value(one["Value"]) for name, one in there.items()}
        settings = {
            one["Description"]: outputs[name]
            for name, one in there.items()
            if re.fullmatch("RELAYD_[A-Z_]+", one["Description"])
        }
        return Stack(self._name, self._resources, outputs, settings)

    def value(self, found: Any) -> Any:
        """The value with everything in it resolved."""
        if isinstance(found, list):
            return [one for each in found if (one := self.value(each)) is not _ABSENT]
        if not isinstance(found, dict):
            return found
        if len(found) == 1:
            [(function, argument)] = found.items()
            if function in _FUNCTIONS:
                return _FUNCTIONS[function](self, argument)
            assert not function.startswith("Fn::"), f"{function} is not known here"
        return {key: one for key, each in found.items() if (one := self.value(each)) is not _ABSENT}

    def holds(self, condition: Any) -> bool:
        """Whether a condition, by its name or as it is written, is true."""
        if isinstance(condition, str):
            return self.holds(self._template["Conditions"][condition])
        [(function, argument)] = condition.items()
        match function:
            case "Condition":
                return self.holds(argument)
            case "Fn::Not":
                return not self.holds(argument[0])
            case "Fn::And":
                return all(self.holds(one) for one in argument)
            case "Fn::Or":
                return any(self.holds(one) for one in argument)
            case "Fn::Equals":
                left, right = (str(self.value(one)) for one in argument)
                return left == right
        raise AssertionError(f"{function} is no condition that is known here")

    def _is_there(self, declared: Mapping[str, Any]) -> bool:
        return "Condition" not in declared or self.holds(declared["Condition"])

    def _checked(self, given: Mapping[str, str]) -> dict[str, Any]:
        declared: Mapping[str, Any] = self._template["Parameters"]
        assert set(given) <= set(declared), f"no such parameters: {set(given) - set(declared)}"
        values = {}
        for name, one in declared.items():
            value = str(given[name] if name in given else one["Default"])
            assert "AllowedPattern" not in one or re.fullmatch(one["AllowedPattern"], value), (name, value)
            assert "AllowedValues" not in one or value in one["AllowedValues"], (name, value)
            assert one["Type"] != "Number" or float(value) >= one.get("MinValue", 0), (name, value)
            values[name] = value
        return values

    def _resource(self, logical_id: str) -> Resource:
        if logical_id not in self._resources:
            declared = self._template["Resources"][logical_id]
            assert self._is_there(declared), f"{logical_id} is referred to and not there"
            properties = self.value(declared.get("Properties", {}))
            ref, attributes = _IDENTITIES[declared["Type"]](self._name, logical_id, properties)
            self._resources[logical_id] = Resource(logical_id, declared["Type"], properties, ref, attributes)
        return self._resources[logical_id]

    def ref(self, name: str) -> Any:
        return self._known[name] if name in self._known else self._resource(name).ref

    def attribute(self, argument: list[str]) -> str:
        logical_id, attribute = argument
        return self._resource(logical_id).attributes[attribute]

    def sub(self, text: Any) -> str:
        assert isinstance(text, str), "the form with a map is not known here"

        def replaced(found: re.Match[str]) -> str:
            name = found[1]
            return str(self.attribute(name.split(".", 1)) if "." in name else self.ref(name))

        return re.sub(r"\$\{([^!}]+)\}", replaced, text)

    def chosen(self, argument: list[Any]) -> Any:
        condition, then, otherwise = argument
        return self.value(then if self.holds(condition) else otherwise)

    def joined(self, argument: list[Any]) -> str:
        separator, parts = argument
        return str(separator).join(self.value(parts))

    def imported(self, argument: Any) -> str:
        return self._imports[self.value(argument)]


_FUNCTIONS: Mapping[str, Callable[[_Resolving, Any], Any]] = {
    "Ref": _Resolving.ref,
    "Fn::GetAtt": _Resolving.attribute,
    "Fn::If": _Resolving.chosen,
    "Fn::ImportValue": _Resolving.imported,
    "Fn::Join": _Resolving.joined,
    "Fn::Sub": _Resolving.sub,
}

_Identity = tuple[str, Mapping[str, str]]


def _arn(service: str, name: str, *, region: str = REGION, account: str = ACCOUNT) -> str:
    return f"arn:{PARTITION}:{service}:{region}:{account}:{name}"


def _queue(_: str, __: str, properties: Mapping[str, Any]) -> _Identity:
    name = properties["QueueName"]
    url = f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{name}"
    return url, {"Arn": _arn("sqs", name), "QueueName": name}


def _topic(_: str, __: str, properties: Mapping[str, Any]) -> _Identity:
    return _arn("sns", properties["TopicName"]), {"TopicName": properties["TopicName"]}


def _bucket(_: str, __: str, properties: Mapping[str, Any]) -> _Identity:
    name = properties["BucketName"]
    return name, {"Arn": _arn("s3", name, region="", account="")}


def _identity(_: str, __: str, properties: Mapping[str, Any]) -> _Identity:
    domain = properties["EmailIdentity"]
    dkim = {f"DkimDNSTokenName{n}": f"token{n}._domainkey.{domain}" for n in (1, 2, 3)}
    return domain, dkim | {f"DkimDNSTokenValue{n}": f"token{n}.dkim.amazonses.com" for n in (1, 2, 3)}


def _policy(stack: str, logical_id: str, _: Mapping[str, Any]) -> _Identity:
    return _arn("iam", f"policy/{stack}-{logical_id}", region=""), {}


def _role(stack: str, logical_id: str, _: Mapping[str, Any]) -> _Identity:
    name = f"{stack}-{logical_id}"
    return name, {"Arn": _arn("iam", f"role/{name}", region="")}


def _named(key: str) -> Callable[[str, str, Mapping[str, Any]], _Identity]:
    return lambda _, __, properties: (properties[key], {})


def _nameless(stack: str, logical_id: str, _: Mapping[str, Any]) -> _Identity:
    return f"{stack}-{logical_id}", {}


_IDENTITIES: Mapping[str, Callable[[str, str, Mapping[str, Any]], _Identity]] = {
    "AWS::CloudWatch::Alarm": _nameless,
    "AWS::IAM::InstanceProfile": _nameless,
    "AWS::IAM::ManagedPolicy": _policy,
    "AWS::IAM::Role": _role,
    "AWS::IAM::RolePolicy": _nameless,
    "AWS::Route53::RecordSetGroup": _nameless,
    "AWS::S3::Bucket": _bucket,
    "AWS::S3::BucketPolicy": _nameless,
    "AWS::SES::ConfigurationSet": _named("Name"),
    "AWS::SES::ConfigurationSetEventDestination": _nameless,
    "AWS::SES::EmailIdentity": _identity,
    "AWS::SES::ReceiptRule": _nameless,
    "AWS::SES::ReceiptRuleSet": _named("RuleSetName"),
    "AWS::SNS::Subscription": _nameless,
    "AWS::SNS::Topic": _topic,
    "AWS::SNS::TopicPolicy": _nameless,
    "AWS::SQS::Queue": _queue,
    "AWS::SQS::QueuePolicy": _nameless,
}
"""What `Ref` and `GetAtt` come to for each type, given the stack's name, the logical id and the properties."""
