"""Why a mail is sent on as it is, or is not: what each rule said and looked at, and what changed, line by line."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, assert_never

from relayd.mail.letter import MAX_SIZE, Letter, parse
from relayd.mail.rewrite import Rewritten
from relayd.model.decision import Discard, Quarantine, Reply
from relayd.ops.fates import difference, fields_told, parts_told
from relayd.ops.judging import Assumed, Judged
from relayd.ops.watching import looked_at
from relayd.rules.evidence import Case
from relayd.rules.inbound import TABLE, Rule, Ruling, Warn

View = Literal["headers", "full", "diff"]
"""How much is shown of the mail before and after."""
Step = Literal["passed", "decides", "not asked"]


@dataclass(frozen=True, slots=True)
class RuleSaid:
    """One row of the decision table, asked about one mail."""

    reasons: tuple[str, ...]
    step: Step
    words: str
    """What it said; for a rule that was not asked, what else it would have had against the mail. May be empty."""
    looked_at: tuple[str, ...] = ()


def rules_said(case: Case) -> Iterator[RuleSaid]:
    """All rows of the table in their order, those below the deciding one too."""
    decided: Ruling = None
    for rule in TABLE:
        if decided is not None:
            yield RuleSaid(rule.reasons, "not asked", _otherwise(rule, case, decided))
            continue
        ruling = rule.look(case)
        against = not (ruling is None or isinstance(ruling, Warn))
        decided = ruling if against else None
        yield RuleSaid(rule.reasons, "decides" if against else "passed", _words(ruling), looked_at(rule.look, case))


def _otherwise(rule: Rule, case: Case, decided: Ruling) -> str:
    # Below a rule that takes the mail as its own, and without a mask, the others have no meaning.
    if isinstance(decided, Reply) or getattr(decided, "mask", None) is None:
        return ""
    words = _words(rule.look(case))
    return f"would have said: {words}" if words else ""


def _words(ruling: Ruling) -> str:
    match ruling:
        case None:
            return ""
        case Warn():
            return f"goes on, with the warning {ruling.word}"
        case Discard():
            told = f", and tells the owner ({ruling.tell})" if ruling.tell else ""
            return f"discard {ruling.reason}{told}"
        case Quarantine():
            return f"quarantine {ruling.reason}"
        case Reply():
            return "an answer of the owner's: goes to the contact"
        case _:
            assert_never(ruling)


def explanation(data: bytes, letter: Letter, judged: Judged, assumed: Assumed, view: View) -> Iterator[str]:
    """The lines, without anything done about what foreign text may do to a terminal."""
    yield from _grounds(judged.case, assumed)
    yield from ("", "rules, in their order:")
    for said in rules_said(judged.case):
        words = "; ".join(part for part in (said.words, ", ".join(said.looked_at)) if part)
        yield f"  {said.step:<9}  {', '.join(said.reasons):<34}  {words}".rstrip()
    if judged.leak:
        yield f"  decides    reply_leak                          discard: {judged.leak}"
    rewritten = judged.rewritten
    if rewritten is not None and len(rewritten.data) > MAX_SIZE:
        yield from ("", "It would be too large to be told of field by field, and for SES.")
    elif rewritten is not None:
        after = parse(rewritten.data)
        yield from ("", "header fields:")
        for told in fields_told(letter, after, is_reply=assumed.contact is not None):
            yield f"  {told.fate:<7}  {told.name:<28}  {told.why}".rstrip()
        yield from ("", "parts:", *(f"  {line}" for line in parts_told(letter, after)))
        if judged.rebuilt:
            yield "  SES would refuse the usual form (for a sealed part, or a file name), so this one is rebuilt."
    yield from _views(data, letter, rewritten, view)


def _grounds(case: Case, assumed: Assumed) -> Iterator[str]:
    told, evidence = assumed.notification, case.evidence
    if told is None:
        yield f"assumed: a mail to {case.recipient}, for {assumed.owner}, clean verdicts"
    else:
        header = "the mail's header, since SES cut its own off" if told.headers_truncated else "SES's header"
        yield f"told: a mail to {', '.join(told.recipients)}, received by SES as {told.mail_id}; decided on {header}"
        yield f"assumed: {case.recipient} is a mask or token of {assumed.owner}'s"
    if assumed.contact is not None:
        yield f"assumed: it is for the token of {assumed.contact}"
    if assumed.released:
        yield f"released from quarantine: {', '.join(sorted(assumed.released))}"
    verdicts = evidence.verdicts
    policy = f" (policy {verdicts.dmarc_policy})" if verdicts.dmarc_policy else ""
    named = {name: getattr(verdicts, name) for name in ("spam", "virus", "spf", "dkim", "dmarc")}
    yield f"verdicts: {', '.join(f'{name} {verdict}' for name, verdict in named.items())}{policy}"
    yield f"envelope sender: {evidence.source or 'none (<>)'}"


def _views(data: bytes, letter: Letter, rewritten: Rewritten | None, view: View) -> Iterator[str]:
    after = rewritten.data if rewritten is not None else None
    if view == "diff":
        yield ""
        lines = difference(data, after) if after is not None else iter(())
        yield from ("Too much differs for a diff; --full shows it.",) if lines is None else lines
        return
    whole = view == "full"
    name = "mail" if whole else "header"
    yield from ("", f"{name} before:", *_text(data if whole else b"".join(field.raw for field in letter.fields)))
    if after is not None:
        yield from ("", f"{name} after:", *_text(after if whole else after.partition(b"\r\n\r\n")[0]))


def _text(data: bytes) -> Iterator[str]:
    return (f"  {line}" for line in data.decode("utf-8", "replace").splitlines())
