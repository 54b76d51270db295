"""Receipt rules: whether SES takes in the mail of each domain, puts it where relayd looks, and tells it."""

from collections.abc import Mapping
from typing import Any

from relayd.ops.doctor.answers import told
from relayd.ops.doctor.facts import Facts, RulesFacts
from relayd.ops.doctor.findings import UnknownError, Verdict, aws, failure, listed, ok, warning

Rule = Mapping[str, Any]
Action = Mapping[str, Any]

NEW_SET = "relayd"
_ENDINGS = {"BounceAction": "bounced", "StopAction": "dropped", "WorkmailAction": "taken by WorkMail"}
"""Actions that end a mail's way, and what becomes of it."""
MAX_IN_SNS = "150 KB"
"""Of a mail that an SNS action carries."""


def of(facts: Facts) -> RulesFacts:
    if facts.rules is None:
        raise UnknownError("nobody asked")
    return facts.rules


def _active(facts: Facts) -> RulesFacts:
    rules = of(facts)
    if not rules.set_name:
        raise UnknownError("no rule set is active", "see above")
    return rules


def active(facts: Facts) -> Verdict:
    """Whether a rule set counts at all."""
    rules = of(facts)
    if not rules.set_name:
        evidence = {"region": rules.region, "rule sets": rules.idle}
        says = "No receipt rule set is active: SES takes in no mail."
        if len(rules.idle) == 1:
            activate = aws("ses", "set-active-receipt-rule-set", rules.region, rule_set_name=rules.idle[0])
            return failure(says, activate, evidence=evidence)
        return failure(
            says,
            *([] if rules.idle else [aws("ses", "create-receipt-rule-set", rules.region, rule_set_name=NEW_SET)]),
            aws("ses", "set-active-receipt-rule-set", rules.region, rule_set_name=NEW_SET),
            hint=f"put one of these into the command: {listed(rules.idle)}" if rules.idle else "then add rules to it",
            evidence=evidence,
        )
    return ok(f"The rule set {rules.set_name} is active.", rules=[one["Name"] for one in rules.rules])


def domain(name: str, facts: Facts) -> Verdict:
    """Whether a rule is for all of the domain."""
    rules = _active(facts)
    found = _ours(name, rules)
    evidence = {"rule set": rules.set_name, "rules": {one["Name"]: one.get("Recipients", []) for one in rules.rules}}
    if not found:
        narrow = [one["Name"] for one in rules.rules if any(r.endswith(f"@{name}") for r in one.get("Recipients", ()))]
        off = [one["Name"] for one in rules.rules if not one.get("Enabled") and _matches(one, name)]
        says = f"No enabled receipt rule is for {name}: SES refuses its mail."
        if narrow:
            says += f" ({listed(narrow)}: some addresses only)"
        if off:
            return failure(
                f"The receipt rule {off[0]} for {name} is switched off: SES refuses its mail.",
                _mend(next(one for one in rules.rules if one["Name"] == off[0]), facts),
                evidence=evidence,
            )
        return failure(says, _create(rules, name, facts), evidence=evidence)
    return ok(f"The rule {listed(one['Name'] for one in found)} takes in mail for {name}.", **evidence)


def action(name: str, facts: Facts) -> Verdict:
    """Whether the first rule of the domain puts mail into a bucket of ours and tells a topic of ours."""
    rules = _active(facts)
    rule, stored = _storing(name, rules)
    if rule is None:
        raise UnknownError(f"there is no rule for {name}", "see above")
    evidence = {"rule": rule["Name"], "actions": rule.get("Actions", [])}
    if stored is None:
        return _without_bucket(name, rule, facts, evidence)
    topic, bucket = stored.get("TopicArn", ""), stored["BucketName"]
    topics, buckets = facts.setup.topic_arns, facts.setup.buckets
    if not facts.setup.any_bucket and bucket not in buckets:
        return failure(
            f"The rule puts mail into the bucket {bucket}, which is not in RELAYD_BUCKETS: relayd refuses it.",
            f"export RELAYD_BUCKETS={','.join((*buckets, bucket))}",
            evidence=evidence,
        )
    if not topic:
        return failure(
            "The rule stores mail and tells nobody: it never reaches relayd.",
            _mend(rule, facts),
            evidence=evidence,
        )
    if not facts.setup.any_topic and topic not in topics:
        return failure(
            f"The rule tells the topic {topic}, which is not in RELAYD_TOPIC_ARNS: relayd refuses what it says.",
            f"export RELAYD_TOPIC_ARNS={','.join((*topics, topic))}",
            evidence=evidence,
        )
    if _goes_astray(topic, facts):
        return failure(
            "The rule's topic reaches the events' queue and not the mail's.",
            hint="subscribe the mail's queue to it, and the events' queue to the topic of the configuration set",
            evidence=evidence,
        )
    return ok(f"The rule {rule['Name']} stores mail in {bucket} and tells {topic.rpartition(':')[2]}.", **evidence)


def _without_bucket(name: str, rule: Rule, facts: Facts, evidence: Mapping[str, Any]) -> Verdict:
    inline = [one["SNSAction"] for one in rule.get("Actions", ()) if "SNSAction" in one]
    telling = [one for one in inline if facts.setup.any_topic or one.get("TopicArn") in facts.setup.topic_arns]
    if telling:
        return warning(
            f"Mail for {name} comes inside of notifications: SES bounces what is larger than {MAX_IN_SNS}.",
            _mend(rule, facts),
            evidence=evidence,
        )
    return failure(
        f"The rule for {name} puts mail into no bucket, and tells no topic of relayd's.",
        _mend(rule, facts),
        evidence=evidence,
    )


def _goes_astray(topic: str, facts: Facts) -> bool:
    """Whether a topic reaches the events' queue alone."""
    mail, events = facts.queue("mail"), facts.queue("events")
    found = next((one for one in facts.topics if one.arn == topic), None)
    if found is None or found.listed.told is None or mail is None or events is None:
        return False
    if mail.answer.told is None or events.answer.told is None:
        return False
    endpoints = [one.endpoint for one in found.subscriptions]
    return events.arn in endpoints and mail.arn not in endpoints


def order(name: str, facts: Facts) -> Verdict:
    """Whether something ends a mail's way before it is stored."""
    rules = _active(facts)
    for rule in _ours(name, rules):
        for one in rule.get("Actions", ()):
            kind = next(iter(one), "")
            evidence = {"rule": rule["Name"], "actions": rule.get("Actions", [])}
            if kind == "S3Action":
                return ok("Nothing stands before the action that stores the mail.", **evidence)
            if kind in _ENDINGS:
                word = _ENDINGS[kind]
                return failure(
                    f"Mail for {name} is {word} by the rule {rule['Name']} before it is stored.",
                    _mend(rule, facts) if _stores(rule) else _update(rules, {**rule, "Enabled": False}),
                    evidence=evidence,
                )
            if kind == "LambdaAction" and one[kind].get("InvocationType") == "RequestResponse":
                return warning(
                    f"A function decides in the rule {rule['Name']} whether mail for {name} goes on to be stored.",
                    hint="if that is meant, all is well; what it stops never reaches relayd, nor its records",
                    evidence=evidence,
                )
    raise UnknownError(f"no rule stores mail for {name}", "see above")


def client_encryption(name: str, facts: Facts) -> Verdict:
    """Whether SES encrypts the mail itself, with a key that relayd cannot use."""
    rules = _active(facts)
    rule, stored = _storing(name, rules)
    if rule is None or stored is None:
        raise UnknownError(f"no rule stores mail for {name}", "see above")
    key = stored.get("KmsKeyArn")
    if key:
        return failure(
            "SES encrypts the mail before it stores it, and relayd cannot read it: every mail becomes a dead letter.",
            _mend(rule, facts),
            hint="to have mail encrypted at rest, give the bucket a key of KMS",
            evidence={"rule": rule["Name"], "KmsKeyArn": key},
        )
    return ok("SES stores mail as it came.", rule=rule["Name"])


def scanned(name: str, facts: Facts) -> Verdict:
    """Whether SES looks for viruses and spam, which is what relayd decides by."""
    rules = _active(facts)
    rule, _ = _storing(name, rules)
    if rule is None:
        raise UnknownError(f"there is no rule for {name}", "see above")
    evidence = {"rule": rule["Name"], "ScanEnabled": bool(rule.get("ScanEnabled")), "TlsPolicy": rule.get("TlsPolicy")}
    if not rule.get("ScanEnabled"):
        return warning(
            f"Mail for {name} is not looked at for viruses and spam: relayd forwards both.",
            _mend(rule, facts),
            evidence=evidence,
        )
    tls = "; only over TLS" if rule.get("TlsPolicy") == "Require" else ""
    return ok(f"Mail for {name} is scanned{tls}.", **evidence)


def _matches(rule: Rule, name: str) -> bool:
    """Whether a rule is for every address of the domain: without recipients, by its name, or as one below another."""
    recipients = [one.lower() for one in rule.get("Recipients", ())]
    return not recipients or any(one == name or (one.startswith(".") and name.endswith(one)) for one in recipients)


def _ours(name: str, rules: RulesFacts) -> list[Rule]:
    return [one for one in rules.rules if one.get("Enabled") and _matches(one, name)]


def _stores(rule: Rule) -> bool:
    return any("S3Action" in one for one in rule.get("Actions", ()))


def _storing(name: str, rules: RulesFacts) -> tuple[Rule | None, Mapping[str, str] | None]:
    """The rule that stores the domain's mail, with its S3 action; else the first one."""
    told(rules.answer)
    found = _ours(name, rules)
    for rule in found:
        for one in rule.get("Actions", ()):
            if "S3Action" in one:
                return rule, one["S3Action"]
    return (found[0], None) if found else (None, None)


def _mend(rule: Rule, facts: Facts) -> str:
    """The command that sets all of the rule right, so that no command here takes away what another has mended."""
    actions: list[Action] = [
        _stored(one["S3Action"], facts) if "S3Action" in one else one for one in rule.get("Actions", ())
    ]
    if not _stores(rule):
        # What came inside of the notification comes out of the bucket from now on.
        actions = [*(one for one in actions if not {"SNSAction", "StopAction"} & one.keys()), _action(facts)]
    first = next((at for at, one in enumerate(actions) if _ENDINGS.keys() & one.keys()), len(actions))
    late = [one for one in actions[first:] if "S3Action" in one]
    actions = [*actions[:first], *late, *(one for one in actions[first:] if one not in late)]
    return _update(_active(facts), {**rule, "Enabled": True, "ScanEnabled": True, "Actions": actions})


def _stored(action: Mapping[str, str], facts: Facts) -> Action:
    kept = {name: value for name, value in action.items() if name != "KmsKeyArn"}
    return {"S3Action": {**_action(facts)["S3Action"], **kept}}


def _action(facts: Facts) -> Action:
    topics, buckets = facts.setup.topic_arns, facts.setup.buckets
    bucket, topic = buckets[0] if buckets else "BUCKET", topics[0] if topics else "TOPIC"
    return {"S3Action": {"BucketName": bucket, "TopicArn": topic}}


def _create(rules: RulesFacts, name: str, facts: Facts) -> str:
    rule = {"Name": "relayd", "Enabled": True, "ScanEnabled": True, "Recipients": [name], "Actions": [_action(facts)]}
    taken = {one["Name"] for one in rules.rules}
    rule["Name"] = next(one for one in ("relayd", f"relayd-{name}"[:64], "relayd-doctor") if one not in taken)
    return aws("ses", "create-receipt-rule", rules.region, rule_set_name=rules.set_name, rule=rule)


def _update(rules: RulesFacts, rule: Rule) -> str:
    return aws("ses", "update-receipt-rule", rules.region, rule_set_name=rules.set_name, rule=rule)
