"""What `relayd replay` says at its end: a table by reason, a line that adds up, and what to do about the rest."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from relayd.commands.exits import DONE, FAILURES, INTERRUPTED, NOT_FINISHED
from relayd.commands.showing import moment, print_json, print_table

if TYPE_CHECKING:
    from relayd.commands.replay.asked import Asked
    from relayd.ops.replay.outcomes import Outcomes, What

_WHAT: "Mapping[What, str]" = {
    "would_send": "would be sent",
    "sent": "sent to the queue",
    "forwarded": "forwarded",
    "discarded": "discarded",
    "failed": "failed",
    "skipped": "skipped",
    "left": "left",
}
_WHY: Mapping[str, str] = {
    "sent_before": "was sent already",
    "discarded_before": "policy refused it before",
    "no_recipient": "not for us",
    "not_mail": "not a mail",
    "not_from_ses": "not as SES writes it",
    "recipient_unknown": "SES names no recipient",
    "mail_not_found": "no such mail in the bucket",
    "record_damaged": "no record, or damaged",
    "interrupted": "stopped first",
    "timeout": "--timeout ended first",
}
_UNTRUSTED = frozenset({"forged_signature", "foreign_topic", "foreign_bucket", "foreign_certificate", "unsigned"})
_HINTS: Mapping[str, str] = {
    "sent_before": "What was sent already is sent once more with --again only.",
    "discarded_before": "Policy is asked again with: relayd replay --deliveries --state discarded",
    "forged_signature": "Nobody whom the settings trust signed these. After a change of RELAYD_SECRET, put the old one "
    "behind the new one: RELAYD_SECRET=new,old.",
    "foreign_topic": "Their topic is not in RELAYD_TOPIC_ARNS.",
    "foreign_bucket": "Their bucket is not in RELAYD_BUCKETS.",
    "foreign_certificate": "They name a certificate that is not SNS's.",
    "unsigned": "Raw delivery has no signature: with RELAYD_SIGNATURES=trust-queue-policy it is taken.",
    "recipient_unknown": "If the ledger knows the mail, try: relayd replay --deliveries --message-id ID --bucket ...",
    "not_from_ses": "The topmost Received field is not SES's, or names another object: a copy, or not SES's at all.",
    "mail_not_found": "Name the place with --bucket s3://bucket/prefix; the bucket's lifecycle may have taken it.",
    "access_denied": "Allow s3:GetObject on the mails, and s3:ListBucket on their bucket.",
    "client_side_encrypted": "The receipt rule's S3 action names a KMS key: relayd cannot read such mail.",
    "certificate_unavailable": "SNS's certificate cannot be fetched from here: leave out --here, and the daemons look.",
    "record_damaged": "Somebody changed the file, or it is no record of an archive.",
}


def tell(asked: "Asked", outcomes: "Outcomes", ending: str, replay_id: str, error: str | None) -> None:
    """Print it all: for people, or as JSON."""
    if asked.as_json:
        print_json(document(asked, outcomes, ending, replay_id, error))
        return
    show(outcomes)
    for line in (total(outcomes), *_notes(asked, outcomes, ending)):
        click.echo(line)
    for hint in _hints(asked, outcomes):
        click.echo(f"hint: {hint}", err=True)


def show(outcomes: "Outcomes") -> None:
    """The table."""
    if outcomes.groups:
        print_table(("REASON", "MAILS", "OLDEST (UTC)", "NEWEST (UTC)", "WHAT"), list(_rows(outcomes)))


def exit_code(asked: "Asked", outcomes: "Outcomes", ending: str) -> int:
    """What scripts go by."""
    if ending == "interrupted":
        return INTERRUPTED
    if ending == "timeout":
        return NOT_FINISHED
    return DONE if asked.dry_run or outcomes.complete else FAILURES


def total(outcomes: "Outcomes") -> str:
    """The line that adds up."""
    counts = ((outcomes.count(what), words) for what, words in _WHAT.items())
    parts = [f"{count} {words}" for count, words in counts if count]
    others = f" ({outcomes.passed_over} others passed over)" if outcomes.passed_over else ""
    return f"{outcomes.count()} chosen = {' + '.join(parts)}{others}" if parts else f"Nothing chosen{others}."


def document(asked: "Asked", outcomes: "Outcomes", ending: str, replay_id: str, error: str | None) -> dict[str, Any]:
    """For programs. Times are seconds since the epoch."""
    return {
        "source": asked.source,
        "dry_run": asked.dry_run,
        "here": asked.here,
        "again": asked.again,
        "replay": replay_id,
        "ended": ending,
        "error": error,
        "chosen": outcomes.count(),
        "would_send": outcomes.count("would_send"),
        "sent": outcomes.count("sent"),
        "forwarded": outcomes.count("forwarded"),
        "discarded": outcomes.by_why("discarded"),
        "skipped": outcomes.by_why("skipped"),
        "failed": outcomes.by_why("failed"),
        "left": outcomes.by_why("left"),
        "passed_over": outcomes.passed_over,
        "sent_unverified": outcomes.unverified,
        "came_back": outcomes.came_back,
        "removed": outcomes.removed,
        "not_deleted": outcomes.undeleted,
        "groups": [
            {
                "reason": reason,
                "what": what,
                "why": why,
                "count": group.count,
                "oldest": group.oldest or None,
                "newest": group.newest or None,
            }
            for (reason, what, why), group in sorted(outcomes.groups.items())
        ],
    }


def _rows(outcomes: "Outcomes") -> Iterator[tuple[str, str, str, str, str]]:
    order = list(_WHAT)
    for (reason, what, why), group in sorted(
        outcomes.groups.items(), key=lambda item: (item[0][0], order.index(item[0][1]), item[0][2])
    ):
        told = f"{_WHAT[what]}: {_in_words(what, why)}" if why else _WHAT[what]
        yield reason, str(group.count), _time(group.oldest), _time(group.newest), told


def _in_words(what: str, why: str) -> str:
    if why in _WHY or what != "skipped":
        return _WHY.get(why, why)
    return f"{'not trusted' if why in _UNTRUSTED else 'cannot be read'} ({why})"


def _time(at: float) -> str:
    # To the minute, so that a row fits into 80 columns; the JSON has it all.
    return moment(at)[: len("2026-01-31 08:00")] if at else ""


def _notes(asked: "Asked", outcomes: "Outcomes", ending: str) -> Iterator[str]:
    if asked.dry_run:
        yield "Dry run: nothing was sent, and everything is where it was."
    if ending == "interrupted":
        yield "Stopped. What was not put through is where it was: run the same command again."
    if ending == "timeout":
        yield "Not finished: --timeout was over first. What is left is where it was: run the same command again."
    if ending == "error":
        yield "Ended by an error. What was not put through is where it was: run the same command again."
    if ending == "limit":
        yield "As many as --limit allows."
    if outcomes.remark and ending == "finished":
        yield f"There are more: {outcomes.remark}. Run the same command again in a minute."
    if outcomes.unverified:
        yield f"{outcomes.unverified} went as they came, unverified: SNS's certificate is not to be had here."
    if outcomes.came_back:
        yield f"{outcomes.came_back} failed again while this went on: what was wrong still is."
    if outcomes.removed and asked.dead_letters:
        yield f"{outcomes.removed} were sent already, and are no dead letters any more."
    if outcomes.undeleted:
        yield f"{outcomes.undeleted} could not be taken out of the source; the next replay finds them sent."


def _hints(asked: "Asked", outcomes: "Outcomes") -> Iterator[str]:
    whys = [*outcomes.by_why("skipped"), *outcomes.by_why("failed")]
    yield from dict.fromkeys(_HINTS[why] for why in whys if why in _HINTS)
    if asked.dead_letters and any(why not in _WHY for why in outcomes.by_why("skipped")):
        yield "What cannot be read stays where it is: `relayd drain --dead-letters --to ARCHIVE` puts it aside."
