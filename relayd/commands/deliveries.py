"""`relayd deliveries`: what became of a mail, attempt by attempt."""

import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from relayd.commands.arguments import ADDRESS, MOMENT, RefusingGroup, directory, json_option
from relayd.commands.showing import moment, plain, print_facts, print_json, print_table

if TYPE_CHECKING:
    from relayd.ops.deliveries import Delivery
    from relayd.ops.delivery_hints import Hint
    from relayd.ops.delivery_stories import Attempt, Story

USUAL_LIMIT = 50
SHOWN_FIRST, SHOWN_LAST = 3, 7
"""Of more attempts than these together, only the first and the last ones are printed: the rest says the same."""
_LONGEST_CELL = 32
_WIDEST = 100


class _TraceType(click.ParamType[str]):
    name = "trace"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from relayd.ops.deliveries import trace_id_of

        found = trace_id_of(value)
        if found is None:
            self.fail(f"{value!r}: a trace's id is 32 hex digits, as in trace_id of a log line", param, ctx)
        return found


@click.group(cls=RefusingGroup, short_help="What became of a mail, attempt by attempt.")
def command() -> None:
    """What became of a mail: was it sent, discarded, given up, or is it still being tried, and what can be done.

    A delivery is one mail, for one of our addresses, to one mailbox. The ledger remembers it for RELAYD_LEDGER_DAYS.
    This shows addresses, on purpose; logs and traces never do (see `relayd hash`). Times are UTC.

    \b
    A customer misses a mail:
      relayd deliveries list --mask shop@mask.example --since 2d
      relayd deliveries show 5f3a9c0d7e21b4486ac0
    """


@command.command("list", short_help="Find deliveries: by mask, time, outcome, reason, id or trace.")
@click.option("--mask", type=ADDRESS, help="Only this mask's, replies included.")
@click.option("--since", type=MOMENT, help="Only what came since: 12h, 7d, or 2026-01-31T08:00 (UTC).")
@click.option("--until", type=MOMENT, help="Only what came before.")
@click.option(
    "--state",
    "states",
    type=click.Choice(["sent", "discarded", "failed", "open", "in-doubt"]),
    multiple=True,
    help="Only what is so now; repeatable. `open`: not ended yet. `in-doubt`: SES may have it, or not.",
)
@click.option(
    "--reason", metavar="WORD", help="Only what ended, or is still being tried, for it: spam, s3_timeout, ..."
)
@click.option("--mail-id", metavar="ID", help="Only of this mail, by SES's id of it as it was received.")
@click.option("--ses-id", metavar="ID", help="Only what was sent as this, by SES's id (its Message-ID begins so).")
@click.option("--trace", "trace_id", type=_TraceType(), metavar="ID", help="Only what this trace is about.")
@click.option(
    "--limit", type=click.IntRange(1, 10**6), default=USUAL_LIMIT, show_default=True, help="The newest so many."
)
@json_option
def list_(*, as_json: bool, limit: int, **chosen: Any) -> None:
    """List deliveries, newest first: those that fit everything that is said.

    The time is when the mail came. In a ledger of many millions, a trace is found sooner with --since.

    \b
    relayd deliveries list --mask shop@mask.example --since 2d
    relayd deliveries list --state failed --state in-doubt --since 1d
    relayd deliveries list --reason ses_throttled      what is still tried, too
    relayd deliveries list --trace 4bf92f3577b34da6a3ce929d0e0e4736
    relayd deliveries list --state failed --limit 10000 --json |
        jq -r '.[].reason' | sort | uniq -c
    """
    from relayd.ops.deliveries import Choice, choose

    with directory() as database:
        found = choose(database, Choice(**chosen, limit=limit + 1))
    if as_json:
        print_json([asdict(one) for one in found[:limit]])
    elif found:
        print_list(found[:limit], narrow=sys.stdout.isatty() and shutil.get_terminal_size().columns < _WIDEST)
    else:
        click.echo("No delivery matches.", err=True)
    if len(found) > limit:
        click.echo(f"There are more than these {limit}: --limit shows more, --since and --until others.", err=True)


@command.command(short_help="Show all of one mail, attempt by attempt, and what can be done.")
@click.argument("id_", metavar="ID")
@json_option
def show(id_: str, as_json: bool) -> None:
    """Show one delivery, or all of one mail: each attempt, how it ended, and what can be done about it.

    \b
    ID is one of:
      a delivery's id, from `list`, a log line or the SES tag relayd-delivery
      SES's id of the mail as received, which is the object's name in the bucket
      SES's id of the mail as sent, or the Message-ID that the recipient sees
      the Message-ID that the sender gave it (quote it for the shell)

    \b
    relayd deliveries show 5f3a9c0d7e21b4486ac0
    relayd deliveries show 0102018f2b7c4d5e-1a2b3c4d-0000-000000
    relayd deliveries show '<20260131.4711@stranger.example>'
    relayd deliveries show 5f3a9c0d7e21b4486ac0 --json |
        jq '.[].attempts[].trace_id'
    """
    from relayd.ops.deliveries import find, siblings
    from relayd.ops.delivery_hints import hints
    from relayd.ops.delivery_stories import stories

    with directory() as database:
        deliveries = find(database, id_)
        told = [(story, hints(story)) for story in stories(database, deliveries)]
        others = siblings(database, deliveries[0]) + 1 - len(deliveries)
    if as_json:
        print_json([_json_of(story, some) for story, some in told])
        return
    for index, (story, some) in enumerate(told):
        if index:
            click.echo()
        _print_story(story, some)
    if others:
        click.echo(f"\nThe mail has {others} more: relayd deliveries show {plain(deliveries[0].mail_id)}", err=True)


def print_list(found: Sequence["Delivery"], *, narrow: bool) -> None:
    """A table; where that is too wide for the terminal, two lines each."""
    rows = [
        (
            moment(one.came_at).removesuffix(" UTC"),
            f"{one.state} {one.reason or ''}".strip(),
            one.delivery_id,
            _whose(one) if narrow else _cell(_for(one)),
            _cell(one.to or "-"),
        )
        for one in found
    ]
    if not narrow:
        print_table(("CAME (UTC)", "STATE", "ID", "FOR", "TO"), rows)
        return
    width = max(len(plain(state)) for _, state, *_ in rows)
    click.echo(f"{'CAME (UTC)':<19}  {'STATE':<{width}}  ID")
    for came, state, delivery_id, whose, _ in rows:
        click.echo(f"{came}  {plain(state):<{width}}  {delivery_id}\n  {plain(whose)}")


def _for(one: "Delivery") -> str:
    return one.recipient or ("(notice)" if one.kind == "notice" else "(nobody)")


def _whose(one: "Delivery") -> str:
    return f"{_for(one)} -> {one.to}" if one.to else _for(one)


def _print_story(story: "Story", hints: Sequence["Hint"]) -> None:
    one = story.delivery
    click.echo(plain(_whose(one)))
    click.secho(f"  {_headline(story)}\n", bold=True)
    print_facts([(f"  {name}", value) for name, value in _facts(story)])
    click.echo("\n  attempts")
    _print_attempts(story)
    click.echo("\n  what to do")
    for hint in hints:
        _print_hint(hint)


def _print_attempts(story: "Story") -> None:
    left_out = len(story.attempts) - SHOWN_FIRST - SHOWN_LAST
    message_id = None
    for index, attempt in enumerate(story.attempts):
        if left_out > 0 and SHOWN_FIRST <= index < SHOWN_FIRST + left_out:
            if index == SHOWN_FIRST:
                click.echo(f"       ... {left_out} more (--json has all of them)")
            continue
        # What was told before need not be told again.
        news = (
            ("SES id", None if attempt.ses_id == story.delivery.ses_id else attempt.ses_id),
            ("replay", attempt.replay_id),
            ("message", None if attempt.message_id == message_id else attempt.message_id),
            ("trace", attempt.trace_id),
        )
        _print_attempt(attempt)
        for name, value in news:
            if value:
                click.echo(f"       {name:<8}{plain(value)}")
        message_id = attempt.message_id
    if not story.attempts:
        click.echo("    none")


def _headline(story: "Story") -> str:
    """How things stand, in one line."""
    one = story.delivery
    when, reason = moment(one.changed_at), plain(one.reason or "for no reason that is known")
    match one.state:
        case "sent":
            # A replay may come any time later, and says nothing about how quick we were.
            later = f", {_seconds(one.changed_at - one.came_at)} after it came" if one.replay_id is None else ""
            return f"SENT on {when}{later}"
        case "discarded":
            return f"DISCARDED on {when}: {reason}"
        case "failed":
            return f"FAILED on {when}: {reason}"
        case "open":
            return f"OPEN since {moment(one.came_at)}: not ended yet"
        case "in-doubt":
            return f"IN DOUBT since {when}: SES may have it, or not"


def _facts(story: "Story") -> Iterator[tuple[str, str]]:
    one, around = story.delivery, story.around
    yield "delivery", one.delivery_id
    yield "mail", one.mail_id
    yield "came", moment(one.came_at)
    if one.kind != "forward":
        yield (
            "kind",
            {"reply": "the owner's reply to a correspondent", "notice": "a mail of ours to the owner"}[one.kind],
        )
    if one.mask is not None:
        state = {True: "", False: " (disabled now)", None: " (removed since)"}[around.mask_enabled]
        yield "mask", f"{one.mask}{state}"
    if one.owner is not None:
        words = [(around.owner_active is False, "inactive"), (bool(around.owner_flagged), "held for review")]
        state = ", ".join(word for is_so, word in words if is_so)
        yield "owner", f"{one.owner}{f' ({state} now)' if state else ''}"
    if one.state == "sent":
        yield "SES id", one.ses_id or "not known"
        trackers = f", {one.trackers} trackers taken out" if one.trackers else ""
        yield "size", f"{one.size or 0} bytes{trackers}"
    if around.charged and one.state in ("open", "in-doubt"):
        yield "tries", f"{around.charged} that count, since {moment(around.charged_since or 0)}"


def _print_attempt(attempt: "Attempt") -> None:
    number = "-" if attempt.number is None else str(attempt.number)
    began = attempt.began_at if attempt.began_at is not None else attempt.ended_at
    when = moment(began) if began is not None else "(nobody knows when)"
    lasted = ""
    if attempt.number is not None and attempt.began_at is not None and attempt.ended_at is not None:
        lasted = f" for {_seconds(attempt.ended_at - attempt.began_at)}"
    click.echo(f"  {number:>3}  {when}{lasted}  " + click.style(plain(attempt.outcome), bold=True))


def _print_hint(hint: "Hint") -> None:
    width = min(_WIDEST, shutil.get_terminal_size().columns)
    # Ids stay whole, so that they can be copied.
    lines = textwrap.wrap(plain(hint.text), width - 4, break_long_words=False, break_on_hyphens=False)
    click.echo("\n".join(f"    {line}" for line in lines))
    if hint.command:
        click.secho(f"      {plain(hint.command)}", fg="cyan")


def _json_of(story: "Story", hints: Sequence["Hint"]) -> dict[str, Any]:
    return {
        **asdict(story.delivery),
        "attempts": [asdict(attempt) for attempt in story.attempts],
        "now": asdict(story.around),
        "hints": [asdict(hint) for hint in hints],
    }


def _seconds(seconds: float) -> str:
    """A length of time, for people."""
    seconds = max(0.0, seconds)
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours = round(seconds / 3600)
    return f"{hours} h" if hours < 48 else f"{round(seconds / 86_400)} days"


def _cell(text: str) -> str:
    text = plain(text)
    return text if len(text) <= _LONGEST_CELL else text[: _LONGEST_CELL - 3] + "..."
