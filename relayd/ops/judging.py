"""What the daemon would decide and write, with assumptions in place of a directory and a ledger."""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import assert_never

from relayd.deciding import parsed, tell
from relayd.mail import hops, rebuild
from relayd.mail.letter import Letter
from relayd.mail.replies import ReplyLeakError, ReplyPlan, addressed, reply
from relayd.mail.rewrite import ForwardPlan, Rewritten, forward
from relayd.model.address import Address
from relayd.model.decision import Decision, Discard, Forward, Quarantine, Reply
from relayd.model.mask import Contact, Mailbox, Mask, Owner, TokenRecipient
from relayd.model.notification import Received, Verdicts
from relayd.rules.evidence import Case, Evidence
from relayd.rules.inbound import decide

_SECRETS = (b"relayd inspect signs with no secret",)
_REPLY_LOCAL = "mzxw6ytboi2gk3tdnrxw"
"""Stands where the contact's reply token would: nothing is stored, so there is none."""
_CLEAN = Verdicts(spam="PASS", virus="PASS", spf="PASS", dkim="PASS", dmarc="PASS")
_OWNER_ID = "inspect"


@dataclass(frozen=True, slots=True)
class Assumed:
    """What a notification and a directory would have told."""

    mask: Address
    """As it was written to: with its tag, if it has one."""
    owner: Address
    write: Path | None = None
    """Where rewritten mails go."""
    contact: Address | None = None
    """Set: the mail is the owner's answer to this correspondent. Each address on the mask's domain that it is written
    to counts as their token.
    """
    notification: Received | None = None
    """What SES told about the mail. None: clean verdicts, and the mail's own header."""
    released: frozenset[str] = frozenset()
    secrets: tuple[bytes, ...] = field(repr=False, default=())
    """What the hop headers of relayd's own mail are verified with."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What would become of a mail, and what that was decided from."""

    case: Case
    decision: Decision
    rewritten: Rewritten | None = None
    rebuilt: bool = False
    """SES is known to refuse the first form, so the second would be sent."""
    leak: str | None = None
    """What a reply would have told its contact about the owner."""


def judge(data: bytes, letter: Letter, assumed: Assumed) -> Judged:
    """Decide, and write what would be sent. Raises PermanentError for a mail that cannot be."""
    case = _case(letter, assumed)
    decision = decide(case)
    try:
        return _judged(data, letter, Judged(case, decision), assumed)
    except ReplyLeakError as error:
        return Judged(case, Discard(error.reason, case.mask), leak=error.detail)


def _case(letter: Letter, assumed: Assumed) -> Case:
    mailbox = Mailbox("inspect", assumed.owner)
    mask = Mask("inspect", Address(assumed.mask.local, assumed.mask.domain), Owner(_OWNER_ID), (mailbox,))
    evidence = _evidence(letter, assumed)
    if assumed.contact is None:
        return Case(assumed.mask, mask, evidence)
    contact = Contact("inspect", mask.mask_id, _REPLY_LOCAL, assumed.contact)
    return Case(_token(assumed), TokenRecipient(contact, mask, (mailbox,)), evidence)


def _evidence(letter: Letter, assumed: Assumed) -> Evidence:
    """What the daemon would have had before it, at last: it looks into the mail where SES had cut its header off."""
    told = assumed.notification
    headers = letter.header_items() if told is None or told.headers_truncated else told.headers
    source = _envelope_source(letter) if told is None else told.source
    sender = parsed(source)
    facts = tell(headers, assumed.secrets or _SECRETS)
    return Evidence(
        verdicts=_CLEAN if told is None else told.verdicts,
        source=source,
        headers=headers,
        hops=facts.hops,
        sender_owner=_OWNER_ID if sender is not None and sender.bare == assumed.mask.bare else None,
        complete=True,
        authors=facts.authors,
        sole_author=facts.sole_author,
        now=time.time(),
        received_at=0.0 if told is None else told.received_at,
        released=assumed.released,
    )


def _envelope_source(letter: Letter) -> str:
    """MAIL FROM as a delivered mail shows it, else its From."""
    for item in letter.fields:
        if item.key == "return-path":
            return item.value.decode("ascii", "replace").strip("<> ")
    return letter.sender.address.full if letter.sender is not None and letter.sender.address is not None else ""


def _token(assumed: Assumed) -> Address:
    return Address(_REPLY_LOCAL, assumed.mask.domain)


def _judged(data: bytes, letter: Letter, judged: Judged, assumed: Assumed) -> Judged:
    decision = judged.decision
    match decision:
        case Forward():
            plan = _forward_plan(letter, decision, assumed)
            rewritten = forward(letter, plan)
            if rebuild.would_be_refused(letter, rewritten):
                return replace(judged, rewritten=rebuild.strict(letter, plan, data), rebuilt=True)
            return replace(judged, rewritten=rewritten)
        case Reply():
            return replace(judged, rewritten=reply(letter, _reply_plan(letter, decision)))
        case Quarantine() | Discard():
            return judged
        case _:
            assert_never(decision)


def _forward_plan(letter: Letter, decision: Forward, assumed: Assumed) -> ForwardPlan:
    told = assumed.notification
    return ForwardPlan(
        mask=decision.mask.address,
        tag=assumed.mask.tag,
        reply_address=_token(assumed).full,
        envelope_source=_envelope_source(letter) if told is None else told.source,
        hops=hops.sign(decision.hops + 1, _SECRETS),
        warnings=decision.warnings,
    )


def _reply_plan(letter: Letter, decision: Reply) -> ReplyPlan:
    assert decision.contact.address is not None
    contact = decision.contact.address.full
    mask = decision.mask
    tokens = (one.bare for one in addressed(letter) if one.domain == mask.address.domain)
    return ReplyPlan(
        mask=mask.address,
        display_name=mask.display_name,
        contact=contact,
        recipients={token: contact for token in tokens if token != mask.address.bare},
        owned=tuple(mailbox.address for mailbox in decision.owned),
        hops=hops.sign(decision.hops + 1, _SECRETS),
    )
