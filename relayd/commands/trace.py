"""`relayd trace`: have all mail of a mask traced for a while."""

from dataclasses import asdict

import click

from relayd.commands.arguments import ADDRESS, DURATION, RefusingCommand, directory, json_option
from relayd.commands.showing import moment, print_json, print_table
from relayd.model.address import Address

DAY = 86_400.0
LONGEST = 7 * DAY
"""Seconds. While any mask is traced, the spans of all mail are recorded until it is known whose it is."""
USUAL = 3600.0


@click.command("trace", cls=RefusingCommand)
@click.argument("masks", nargs=-1, type=ADDRESS, metavar="[MASK]...")
@click.option(
    "--for", "seconds", type=DURATION, help="How long: 30m, 1h, 2d, up to 7d. An hour, where nothing is said."
)
@click.option("--off", is_flag=True, help="No longer.")
@json_option
def command(*, masks: tuple[Address, ...], seconds: float | None, off: bool, as_json: bool) -> None:
    """Have all mail of a mask traced for a while. Without a mask, show which ones are.

    It is for a daemon whose traces are sampled (OTEL_TRACES_SAMPLER=parentbased_traceidratio, say): whatever the
    sampler says, a trace of a mail for this mask is exported whole, with relayd.kept=traced on its `process` span.
    While any mask is traced, traces of rejected mail and of mail that takes 5 seconds or more are exported as well.
    Replies to the mask's correspondents count as its mail. Every replica obeys within 5 seconds, and traces go where
    the daemon's OTEL_EXPORTER_OTLP_ENDPOINT points to. No address is in them.

    \b
    relayd trace shop@mask.example --for 1h
    relayd trace shop@mask.example --off
    relayd trace
    """
    from relayd.ops import tracing

    if not masks and (off or seconds is not None):
        raise click.UsageError("Name the mask. `relayd trace` alone shows which ones are traced.")
    if off and seconds is not None:
        raise click.UsageError("Give --for or --off, not both.")
    if seconds is not None and seconds > LONGEST:
        raise click.UsageError("A mask is traced for 7 days at most: run it again then.")
    ended: list[str] = []
    with directory() as database:
        if off:
            ended = tracing.untrace(database, masks)
        elif masks:
            tracing.trace(database, masks, seconds or USUAL)
        now = tracing.traced(database)
    if as_json:
        print_json({"ended": ended, "traced": [asdict(one) for one in now]})
        return
    for mask in dict.fromkeys(mask.bare for mask in masks) if off else ():
        click.echo(f"{mask}: {'no longer traced' if mask in ended else 'was not traced'}")
    if now:
        print_table(("MASK", "UNTIL"), [(one.mask, moment(one.until)) for one in now])
    else:
        click.echo("No mask is traced.", err=True)
