"""The status as text, in as many columns as there are: the most important first, so that whatever does not fit is what
matters least. Colours only repeat what a word says.
"""

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from rich.text import Text

from relayd.adapters.queue_depth import QueueDepth
from relayd.commands.showing import plain
from relayd.commands.status_replicas import FAINT, HEAD, cut, replica_rows
from relayd.ops.status.asking import Answer
from relayd.ops.status.figures import Deliveries
from relayd.ops.status.flow import Level
from relayd.ops.status.snapshot import Snapshot
from relayd.ops.status.spoken import clock, count, lasting, short
from relayd.ops.status.words import findings

LEAST_WIDTH = 60
"""Columns. A narrower terminal cuts lines off."""

Section = list[Text]

_LOOKS: Mapping[Level, tuple[str, str]] = {
    Level.TROUBLE: ("TROUBLE", "bold red"),
    Level.LOOK: ("LOOK", "yellow"),
    Level.UNKNOWN: ("UNKNOWN", "yellow"),
    Level.WELL: ("OK", "green"),
}
_INDENT = 9
_MOST_PAUSES = 5
_MOST_FAILED = 5
_ALL_IDS = 115


def sections(snapshot: Snapshot, width: int) -> Iterator[Section]:
    """All there is to show, the most important first."""
    width = max(LEAST_WIDTH, width)
    yield [_title(snapshot, width)]
    yield list(_findings(snapshot, width))
    yield list(_queues(snapshot))
    yield list(replica_rows(snapshot, width))
    yield list(_calls(snapshot))
    yield list(_deliveries(snapshot, width))
    yield list(_rest(snapshot, width))
    yield list(_unknown(snapshot, width))
    yield list(_failed(snapshot, width))


def fitted(parts: Sequence[Section], height: int) -> list[Text]:
    """The lines that fit: with a line between the sections where there is room, and a word about what does not."""
    shown = [part for part in parts if part]
    lines = [line for part in shown for line in (*part, Text())][:-1]
    if len(lines) > height:
        lines = [line for part in shown for line in part]
    if len(lines) > height:
        left = len(lines) - height + 1
        lines = [*lines[: height - 1], Text(f"... {left} more lines in a taller terminal", style=FAINT)]
    return [_safe(line) for line in lines]


def _safe(line: Text) -> Text:
    """One line, and no more than that, whatever is in it: replicas are asked by address, and may say what they like."""
    safe = line if line.plain.isprintable() else Text(plain(line.plain))
    # What a narrow terminal cannot show is cut off: a line that took two would push out what stands below.
    safe.no_wrap, safe.overflow = True, "crop"
    return safe


def _title(snapshot: Snapshot, width: int) -> Text:
    left = Text.assemble(("relayd", "bold"), f"  {snapshot.queue_name}")
    moment = datetime.fromtimestamp(snapshot.at, UTC).strftime("%H:%M:%S UTC")
    return left.append(moment.rjust(max(len(moment) + 2, width - len(left))), style=FAINT)


def _findings(snapshot: Snapshot, width: int) -> Iterator[Text]:
    for place, finding in enumerate(findings(snapshot)):
        word, style = _LOOKS[finding.level]
        text = textwrap.wrap(finding.text, width - _INDENT)
        for number, line in enumerate(text):
            lead = (word if not number else "").ljust(_INDENT)
            yield Text.assemble((lead, style), (line, "bold" if place == 0 else ""))
        for number, line in enumerate(textwrap.wrap(finding.todo, width - _INDENT - 3)):
            yield Text(f"{' ' * _INDENT}{'-> ' if not number else '   '}{line}", style=FAINT)


def _queues(snapshot: Snapshot) -> Iterator[Text]:
    yield Text(f"{'QUEUE':<14}{'WAITING':>9}{'DELAYED':>9}{'IN HAND':>9}{'PUT OFF':>9}  OLDEST", style=HEAD)
    oldest = snapshot.oldest
    age = "-" if oldest.seconds is None else f"{lasting(oldest.seconds)} ({_WHO[oldest.source]})"
    yield _queue("mail", snapshot.queue, age, snapshot.in_hand, snapshot.put_off)
    yield _queue("dead letters", snapshot.dead_letters)
    if snapshot.events is not None:
        yield _queue("events", snapshot.events)


_WHO = {"cloudwatch": "CloudWatch", "replicas": "as replicas saw"}


def _queue(
    name: str, answer: Answer[QueueDepth], oldest: str = "", in_hand: int | None = None, put_off: int | None = None
) -> Text:
    found = answer.value
    if found is None:
        return Text.assemble(f"{name:<14}", ("not known, see below" if answer.why else "asking ...", "yellow"))
    # SQS itself does not tell apart what is in hand and what is put off.
    parts = [found.visible, found.delayed, found.in_flight if in_hand is None else in_hand]
    cells = [*(count(part) for part in parts), "" if put_off is None else count(put_off)]
    line = f"{name:<14}" + "".join(f"{cell:>9}" for cell in cells)
    return Text(f"{line}  {oldest}".rstrip())


def _calls(snapshot: Snapshot) -> Iterator[Text]:
    calls = snapshot.calls()
    if not calls:
        return
    yield Text(f"{'LAST MINUTE':<14}{'CALLS':>9}{'ERRORS':>9}{'P50':>9}{'P99':>9}", style=HEAD)
    for name, one in calls.items():
        cells = (count(one.count), count(one.errors), short(one.p50), short(one.p99))
        style = "red" if one.errors else ""
        yield Text(f"{name:<14}" + "".join(f"{cell:>9}" for cell in cells), style=style)


def _deliveries(snapshot: Snapshot, width: int) -> Iterator[Text]:
    if snapshot.hour.value is None and snapshot.day.value is None:
        return
    yield Text(f"{'DELIVERIES':<14}{'HOUR':>9}{'DAY':>9}  REASONS OF THE DAY", style=HEAD)
    known = snapshot.day.value or snapshot.hour.value or Deliveries()
    yield _deliveries_line(snapshot, "sent", lambda one: sum(one.sent.values()), _counted(known.sent), width)
    for name in ("discarded", "failed"):
        yield _deliveries_line(snapshot, name, _total(name), _counted(getattr(known, name)), width)
    yield _deliveries_line(snapshot, "still open", lambda one: one.open, [], width)
    spans = [answer.value for answer in (snapshot.hour, snapshot.day) if answer.value is not None]
    if any(one.in_doubt for one in spans):
        doubtful = ["nobody knows whether SES has them"]
        yield _deliveries_line(snapshot, "in doubt", lambda one: one.in_doubt, doubtful, width)
    if any(one.resent for one in spans):
        twice = ["they may have arrived twice"]
        yield _deliveries_line(snapshot, "sent again", lambda one: one.resent, twice, width)


def _deliveries_line(
    snapshot: Snapshot, name: str, number: Callable[[Deliveries], int], notes: Sequence[str], width: int
) -> Text:
    cells = ["?" if one.value is None else count(number(one.value)) for one in (snapshot.hour, snapshot.day)]
    line = f"{name:<14}{cells[0]:>9}{cells[1]:>9}"
    return Text(f"{line}  {_as_many(notes, width - len(line) - 2)}".rstrip())


def _as_many(items: Sequence[str], width: int) -> str:
    """As many of them as fit, whole."""
    text = ""
    for number, item in enumerate(items):
        longer = f"{text}, {item}" if text else item
        left = number < len(items) - 1
        if len(longer) + (5 if left else 0) > width:
            return f"{text}, ..." if text else cut(item, width)
        text = longer
    return text


def _total(name: str) -> Callable[[Deliveries], int]:
    def total(one: Deliveries) -> int:
        counted: Mapping[str, int] = getattr(one, name)
        return sum(counted.values())

    return total


def _counted(found: Mapping[str, int]) -> list[str]:
    return [f"{name} {count(number)}" for name, number in found.items()]


def _rest(snapshot: Snapshot, width: int) -> Iterator[Text]:
    if (account := snapshot.account.value) is not None:
        quota = "any number" if account.quota < 0 else f"{account.quota:,.0f}"
        paused = "" if account.enabled else "PAUSED, "
        told = f"{paused}{account.sent:,.0f} of {quota} sent in 24 hours, {account.rate:,g}/s at most"
        yield Text.assemble(("SES           ", HEAD), (told, "" if account.enabled else "red"))
    if (boxes := snapshot.mailboxes.value) is not None:
        told = f"{count(boxes.hard)} bounced, {count(boxes.soft)} full" if boxes.hard or boxes.soft else "none"
        yield Text.assemble(("MAILBOXES     ", HEAD), f"paused: {told}")
    pauses = snapshot.pauses.value or []
    for one in pauses[:_MOST_PAUSES]:
        told = f"{one.scope} {one.subject}".strip() + f" since {clock(one.since, snapshot.at)}: {one.reason}"
        yield Text.assemble(("PAUSED        ", HEAD), cut(told, width - 14))
    if len(pauses) > _MOST_PAUSES:
        yield Text(f"{' ' * 14}and {len(pauses) - _MOST_PAUSES} more: relayd pause", style=FAINT)


def _unknown(snapshot: Snapshot, width: int) -> Iterator[Text]:
    missing = [(name, answer) for name, answer in snapshot.answers() if answer.value is None and answer.why]
    by_why: dict[str, list[str]] = {}
    for name, answer in missing:
        by_why.setdefault(answer.why, []).append(_WHAT.get(name, name))
    for number, (why, names) in enumerate(by_why.items()):
        lead = "NOT KNOWN     " if not number else " " * 14
        for part, line in enumerate(textwrap.wrap(f"{', '.join(names)}: {why}", width - 14)):
            yield Text.assemble((lead if not part else " " * 14, HEAD), (line, "yellow"))


_WHAT = {
    "queue": "the queue",
    "oldest": "CloudWatch's age of the oldest message",
    "dead_letters": "dead letters",
    "account": "SES's account",
    "replicas": "replicas",
    "hour": "deliveries of the hour",
    "day": "deliveries of the day",
    "mailboxes": "paused mailboxes",
    "pauses": "operators' pauses",
}


def _failed(snapshot: Snapshot, width: int) -> Iterator[Text]:
    found = snapshot.failed()[:_MOST_FAILED]
    if not found:
        return
    # Half of an id is of no use: the mail's is shown where it fits.
    wide = width >= _ALL_IDS
    yield Text(f"{'FAILED AT':<10}{'AFTER':>7}  {'REASON':<20}{'TRACE':<34}{'MAIL' if wide else ''}", style=HEAD)
    for _, one in found:
        moment = datetime.fromtimestamp(one.at, UTC).strftime("%H:%M:%S")
        line = f"{moment:<10}{short(one.seconds):>7}  {cut(one.reason, 19):<20}{one.trace_id:<34}"
        yield Text(f"{line}{one.mail_id if wide else ''}".rstrip())
