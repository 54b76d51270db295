"""Rights: those that relayd needs and has not, and those that it has and does not need."""

from collections.abc import Sequence
from typing import Any

from relayd.ops.doctor.answers import unknown
from relayd.ops.doctor.asking.permissions import TOO_MUCH, principal
from relayd.ops.doctor.facts import Facts, RightsFacts, Trial
from relayd.ops.doctor.findings import UnknownError, Verdict, aws, compact, failure, listed, ok, warning

WISHED = frozenset({"ses:GetAccount", "sqs:SendMessage"})
"""Without these the daemon runs: it does not know its rate; an operator cannot put mail into the queue again."""
PURPOSES = {
    "sqs:ReceiveMessage": "no mail is received",
    "sqs:DeleteMessage": "mail that is done comes back, again and again",
    "sqs:ChangeMessageVisibility": "leases end while mail is being worked on",
    "sqs:GetQueueAttributes": "relayd does not start",
    "sqs:GetQueueUrl": "relayd does not start, for it cannot look up the dead-letter queue",
    "sqs:SendMessage": "mail cannot be dead-lettered, nor put into the queue again",
    "s3:ListBucket": "a mail that is missing looks like one that may not be read: relayd holds all mail for it",
    "s3:GetObject": "no mail can be read",
    "ses:SendRawEmail": "no mail can be sent",
    "ses:GetAccount": "relayd does not know how fast it may send, and notices a pause only by a mail",
}


def of(facts: Facts) -> RightsFacts:
    if facts.rights is None:
        raise UnknownError("nobody asked")
    return facts.rights


def needed(trial: Trial, facts: Facts) -> Verdict:
    """One right that relayd needs. Who says no decides; a resource's own policy may grant what IAM does not."""
    simulated, dry = of(facts).simulated.get((trial.action, trial.arn)), trial.dry
    evidence = {"resource": trial.arn, "dry call": dry.code or "answered" if dry else None, "simulated": simulated}
    if _is_missing(trial, facts):
        says = f"relayd may not {trial.action} on {trial.resource}: {PURPOSES[trial.action]}."
        lacking = [one for one in of(facts).trials if _is_missing(one, facts)]
        commands, hint = _put(facts, "relayd-needs", [_statement("Allow", [one.action], [one.arn]) for one in lacking])
        optional = trial.action in WISHED and not _is_dead_letters(trial, facts)
        return (warning if optional else failure)(says, *commands, hint=hint, evidence=evidence)
    if dry is None or not dry.status:
        if simulated == "allowed":
            return ok(f"{trial.action} on {trial.resource} is allowed, by IAM's simulation.", **evidence)
        if dry is None:
            raise UnknownError("nothing that could be tried would tell", "allow iam:SimulatePrincipalPolicy")
        raise unknown(dry)
    if dry.credentials_refused:
        raise unknown(dry)
    return ok(f"relayd may {trial.action} on {trial.resource}.", **evidence)


def _is_missing(trial: Trial, facts: Facts) -> bool:
    simulated, dry = of(facts).simulated.get((trial.action, trial.arn)), trial.dry
    if (dry is not None and dry.denied) or simulated == "explicitDeny":
        return True
    return simulated == "implicitDeny" and (dry is None or not dry.status)


def _is_dead_letters(trial: Trial, facts: Facts) -> bool:
    names = [one.dead_letters.name for one in facts.queues if one.dead_letters is not None]
    return trial.action == "sqs:SendMessage" and trial.resource in names


def excess(facts: Facts) -> Verdict:
    """Rights that relayd has no use for. Only the simulation tells: nothing of the kind is ever tried."""
    rights = of(facts)
    if rights.simulation is None:
        raise UnknownError("IAM cannot simulate whoever this is", "a user or a role without a path can be simulated")
    if not rights.simulated:
        raise unknown(rights.simulation)
    unwanted = {action for actions in TOO_MUCH.values() for action in actions}
    found = [
        (action, arn)
        for (action, arn), decision in rights.simulated.items()
        if action in unwanted and decision == "allowed"
    ]
    evidence = dict(found) | {"simulated": len(rights.simulated)}
    if found:
        actions, arns = sorted({action for action, _ in found}), sorted({arn for _, arn in found})
        commands, hint = _put(facts, "relayd-needs-not", [_statement("Deny", actions, arns)])
        return warning(
            f"relayd may also {listed(actions, 8)}, and has no use for it: whoever takes it over could.",
            *commands,
            hint=f"grant only what is needed; or deny the rest{': ' + hint if hint else ''}",
            evidence=evidence,
        )
    return ok(f"Of {len(unwanted)} rights that relayd has no use for, it has none.", **evidence)


def _statement(effect: str, actions: Sequence[str], resources: Sequence[str]) -> dict[str, Any]:
    return {"Effect": effect, "Action": list(actions), "Resource": list(resources)}


def _put(facts: Facts, name: str, statements: Sequence[dict[str, Any]]) -> tuple[tuple[str, ...], str]:
    """The command that gives relayd a policy with these, or else the policy as a hint."""
    document = {"Version": "2012-10-17", "Statement": list(statements)}
    caller = facts.identity.caller.told if facts.identity is not None else None
    source = principal(str((caller or {}).get("Arn", "")))
    if source is None:
        return (), f"add this to relayd's policy: {compact(document)}"
    who, called = ("user", "user_name") if ":user/" in source else ("role", "role_name")
    named = {called: source.rpartition("/")[2]}
    return (aws("iam", f"put-{who}-policy", **named, policy_name=name, policy_document=compact(document)),), ""
