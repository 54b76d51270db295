"""Who gets in by a policy, and who does not: what must be let in is, and strangers are not."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from relayd.ops.doctor.conditions import Truth
from relayd.ops.doctor.findings import UnknownError, Verdict, failure, listed, ok, warning
from relayd.ops.doctor.policies import STRANGER, Caller, Policy, service, stranger

Asked = tuple[tuple[str, str], ...]
"""Actions with the resources that they are about."""

SNS = "sns.amazonaws.com"
SES = "ses.amazonaws.com"


@dataclass(frozen=True, slots=True)
class Guest:
    """Somebody who should get in, or should not."""

    caller: Caller
    asks: Asked


@dataclass(frozen=True, slots=True)
class Door:
    """A resource with its policy."""

    noun: str
    """`queue`."""
    policy: Policy
    statements: Sequence[Mapping[str, Any]]
    """What lets in who must get in, as it should stand in the policy."""
    put: Callable[[Mapping[str, Any]], str]
    """The command that sets another policy."""


def judge(
    door: Door, *, wanted: Sequence[Guest] = (), strangers: Sequence[Guest] = (), neighbours: Sequence[Guest] = ()
) -> Verdict:
    """`wanted` must all get in. No stranger may, and a neighbour (of this account, or named) had better not."""
    evidence = {"Policy": door.policy.document if door.policy.statements else None}
    kept_out, unsure = _kept_out(door.policy, wanted)
    inside, perhaps = _inside(door.policy, strangers)
    near, _ = _inside(door.policy, neighbours)
    commands = (door.put(_mended(door, wanted, [*strangers, *neighbours])),)
    if kept_out:
        return failure(f"The {door.noun}'s policy keeps {listed(kept_out)} out.", *commands, evidence=evidence)
    if inside:
        return failure(f"The {door.noun}'s policy lets {listed(inside)} in.", *commands, evidence=evidence)
    if unsure:
        raise UnknownError(f"the {door.noun}'s policy has conditions that only AWS can judge ({listed(unsure)})")
    if near:
        return warning(f"The {door.noun}'s policy lets {listed(near)} in as well.", *commands, evidence=evidence)
    if perhaps:
        return warning(
            f"The {door.noun}'s policy lets {listed(perhaps)} in under conditions that only AWS can judge.",
            *commands,
            evidence=evidence,
        )
    told = f"admits {listed(guest.caller.name for guest in wanted)} and nobody else" if wanted else "admits no stranger"
    return ok(f"The {door.noun}'s policy {told}.", statements=len(door.policy.statements))


def _kept_out(policy: Policy, guests: Sequence[Guest]) -> tuple[list[str], list[str]]:
    """The names of those who do not get in, and of those of whom it cannot be said."""
    out: dict[str, Truth] = {}
    for guest in guests:
        for action, resource in guest.asks:
            truth = policy.admits(guest.caller, action, resource)
            if truth is not Truth.YES:
                out[guest.caller.name] = min(truth, out.get(guest.caller.name, truth), key=lambda one: one.value)
    return [name for name, one in out.items() if one is Truth.NO], [n for n, one in out.items() if one is not Truth.NO]


def _inside(policy: Policy, guests: Sequence[Guest]) -> tuple[list[str], list[str]]:
    """The names of those who get in, and of those who may."""
    inside: dict[str, Truth] = {}
    for guest in guests:
        for action, resource in guest.asks:
            truth = policy.admits(guest.caller, action, resource)
            if truth is not Truth.NO:
                name = f"{guest.caller.name} ({action})"
                inside[name] = max(truth, inside.get(name, truth), key=lambda one: one.value)
    return (
        [name for name, one in inside.items() if one is Truth.YES],
        [name for name, one in inside.items() if one is Truth.PERHAPS],
    )


def _mended(door: Door, wanted: Sequence[Guest], unwanted: Sequence[Guest]) -> dict[str, Any]:
    """The policy without what lets in the wrong ones or keeps out the right ones, and with what lets those in."""
    policy = door.policy
    without = {
        at
        for guest in unwanted
        for action, resource in guest.asks
        for at in policy.letting_in(guest.caller, action, resource)
    }
    without |= {
        at
        for guest in wanted
        for action, resource in guest.asks
        for at in policy.keeping_out(guest.caller, action, resource)
    }
    return policy.changed(without=sorted(without), more=door.statements if wanted else [])


def people(asks: Asked) -> list[Guest]:
    """Anybody, and somebody with an account."""
    return [Guest(Caller("anybody"), asks), Guest(Caller("any other account", account=STRANGER), asks)]


def named_accounts(policy: Policy, own: Sequence[str], asks: Asked) -> list[Guest]:
    """The other accounts that the policy names."""
    accounts = [one for one in policy.accounts() if one not in own]
    return [Guest(Caller(f"account {one}", account=one), asks) for one in accounts]


def foreign_service(name: str, host: str, arn: str, asks: Asked) -> Guest:
    """A service of AWS on behalf of another account."""
    return Guest(service(name, host, STRANGER, stranger(arn)), asks)
