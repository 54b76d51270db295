"""Receipt rule sets: their operations in SES's older API, and which set counts for the mail that comes in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from relayd.sandbox.cloud import receipt_rules
from relayd.sandbox.cloud.calls import Answer, Call, Refusal, query_answer
from relayd.sandbox.cloud.clock import Now
from relayd.sandbox.cloud.receipt_rules import Action, Rule

NAMESPACE = "http://ses.amazonaws.com/doc/2010-12-01/"
MAX_SETS = 40
MAX_RULES = 200
"""SES: quotas of email receiving."""


class Target(Protocol):
    """Where the actions of rules lead."""

    def try_action(self, action: Action, host: str) -> None:
        """Write to its bucket and tell its topic that it was set up. Raises Refusal where that cannot be."""
        ...


@dataclass(slots=True)
class RuleSet:
    """Rules in the order in which they are looked at."""

    name: str
    created: float
    rules: list[Rule] = field(default_factory=list)

    def position(self, name: str) -> int:
        """Where the rule of that name stands. Raises Refusal where there is none."""
        for at, rule in enumerate(self.rules):
            if rule.name == name:
                return at
        raise Refusal("RuleDoesNotExist", f"Rule does not exist: {name}")


class RuleSets:
    """All of one region's."""

    def __init__(self, now: Now, target: Target) -> None:
        self._now = now
        self._target = target
        self._by_name: dict[str, RuleSet] = {}
        self.active: RuleSet | None = None
        """The one that counts. Without it SES takes in no mail."""
        self.operations: Mapping[str, Callable[[Call], str]] = {
            "CreateReceiptRuleSet": self._create_set,
            "CloneReceiptRuleSet": self._clone_set,
            "DeleteReceiptRuleSet": self._delete_set,
            "ListReceiptRuleSets": self._list_sets,
            "DescribeReceiptRuleSet": self._describe_set,
            "DescribeActiveReceiptRuleSet": self._describe_active,
            "SetActiveReceiptRuleSet": self._set_active,
            "ReorderReceiptRuleSet": self._reorder,
            "CreateReceiptRule": self._create_rule,
            "UpdateReceiptRule": self._update_rule,
            "DeleteReceiptRule": self._delete_rule,
            "DescribeReceiptRule": self._describe_rule,
            "SetReceiptRulePosition": self._set_position,
        }

    def _create_set(self, call: Call) -> str:
        self._new_set(_set_name(call), [])
        return ""

    def _clone_set(self, call: Call) -> str:
        original = call.fields.get("OriginalRuleSetName", "")
        name = _set_name(call)
        self._refuse_known(name)
        self._new_set(name, list(self._named(original).rules))
        return ""

    def _new_set(self, name: str, rules: list[Rule]) -> None:
        self._refuse_known(name)
        if len(self._by_name) >= MAX_SETS:
            raise Refusal("LimitExceeded", "Too many rule sets")
        self._by_name[name] = RuleSet(name, self._now(), rules)

    def _refuse_known(self, name: str) -> None:
        if name in self._by_name:
            raise Refusal("AlreadyExists", f"Rule set already exists: {name}")

    def _delete_set(self, call: Call) -> str:
        name = _set_name(call)
        if self.active is not None and self.active.name == name:
            raise Refusal("CannotDelete", f"Cannot delete active rule set: {name}")
        # One that is not there is deleted as well.
        self._by_name.pop(name, None)
        return ""

    def _list_sets(self, call: Call) -> str:  # noqa: ARG002
        listed = sorted(self._by_name.values(), key=lambda one: (one.created, one.name))
        sets = "".join(f"<member>{receipt_rules.metadata_xml(one.name, one.created)}</member>" for one in listed)
        return f"<RuleSets>{sets}</RuleSets>"

    def _describe_set(self, call: Call) -> str:
        return _described(self._called(call))

    def _describe_active(self, call: Call) -> str:  # noqa: ARG002
        return "" if self.active is None else _described(self.active)

    def _set_active(self, call: Call) -> str:
        self.active = self._called(call) if call.fields.get("RuleSetName") else None
        return ""

    def _reorder(self, call: Call) -> str:
        found = self._called(call)
        wanted = receipt_rules.members(call.fields, "RuleNames")
        rules = [found.rules[found.position(name)] for name in wanted]
        if len(set(wanted)) != len(wanted) or len(wanted) != len(found.rules):
            raise Refusal("InvalidParameterValue", "The rules of the rule set must each be named once")
        found.rules = rules
        return ""

    def _create_rule(self, call: Call) -> str:
        after = call.fields.get("After")
        if after is not None:
            receipt_rules.check_name("after", after)
        _set_name(call)
        rule = receipt_rules.read_rule(call.fields)
        found = self._called(call)
        if any(one.name == rule.name for one in found.rules):
            raise Refusal("AlreadyExists", f"Rule already exists: {rule.name}")
        if len(found.rules) >= MAX_RULES:
            raise Refusal("LimitExceeded", "Too many rules")
        # Before all others, unless it is said after which.
        position = 0 if after is None else found.position(after) + 1
        self._try(rule.actions, call.host)
        found.rules.insert(position, rule)
        return ""

    def _update_rule(self, call: Call) -> str:
        _set_name(call)
        rule = receipt_rules.read_rule(call.fields)
        found = self._called(call)
        position = found.position(rule.name)
        known = found.rules[position].actions
        self._try([action for action in rule.actions if action not in known], call.host)
        found.rules[position] = rule
        return ""

    def _try(self, actions: "list[Action] | tuple[Action, ...]", host: str) -> None:
        for action in actions:
            self._target.try_action(action, host)

    def _delete_rule(self, call: Call) -> str:
        found, name = self._called(call), _rule_name(call)
        # One that is not there is deleted as well.
        found.rules = [rule for rule in found.rules if rule.name != name]
        return ""

    def _describe_rule(self, call: Call) -> str:
        found, name = self._called(call), _rule_name(call)
        return f"<Rule>{found.rules[found.position(name)].xml()}</Rule>"

    def _set_position(self, call: Call) -> str:
        found, name, after = self._called(call), _rule_name(call), call.fields.get("After")
        moved = found.rules[found.position(name)]
        if after == name:
            return ""
        if after is not None:
            found.position(after)
        rest = RuleSet("", 0.0, [rule for rule in found.rules if rule is not moved])
        rest.rules.insert(0 if after is None else rest.position(after) + 1, moved)
        found.rules = rest.rules
        return ""

    def _called(self, call: Call) -> RuleSet:
        return self._named(_set_name(call))

    def _named(self, name: str) -> RuleSet:
        found = self._by_name.get(name)
        if found is None:
            raise Refusal("RuleSetDoesNotExist", f"Rule set does not exist: {name}")
        return found


class Receipts:
    """The rule sets of all regions, as the older API's door asks for them."""

    def __init__(self, now: Now, target: Target) -> None:
        self._now = now
        self._target = target
        self._by_region: dict[str, RuleSets] = {}
        self.operations = frozenset(RuleSets(now, target).operations)

    def of(self, region: str) -> RuleSets:
        """A region's. They are made when they are first asked for."""
        return self._by_region.setdefault(region, RuleSets(self._now, self._target))

    def answer(self, call: Call) -> Answer:
        """Do one of the operations."""
        told = self.of(call.region).operations[call.operation](call)
        return query_answer(call.operation, NAMESPACE, told)


def _described(found: RuleSet) -> str:
    rules = "".join(f"<member>{rule.xml()}</member>" for rule in found.rules)
    return f"<Metadata>{receipt_rules.metadata_xml(found.name, found.created)}</Metadata><Rules>{rules}</Rules>"


def _set_name(call: Call) -> str:
    name: str = call.fields.get("RuleSetName", "")
    if not name:
        raise Refusal("InvalidParameterValue", "RuleSetName is required.")
    receipt_rules.check_name("ruleSetName", name)
    return name


def _rule_name(call: Call) -> str:
    name: str | None = call.fields.get("RuleName")
    if name is None:
        raise Refusal("InvalidParameterValue", "RuleName is required.")
    receipt_rules.check_name("ruleName", name)
    return name
