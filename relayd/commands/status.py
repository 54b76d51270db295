"""`relayd status`: how things are, once or all the time."""

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from relayd.commands import exits
from relayd.commands.arguments import json_option
from relayd.commands.showing import print_json

if TYPE_CHECKING:
    from relayd.ops.status.snapshot import Snapshot


class _ReplicaType(click.ParamType[str]):
    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from relayd.ops.status.sources import status_url

        try:
            return status_url(value)
        except ValueError as error:
            self.fail(f"{error}", param, ctx)


@click.command("status")
@click.option("--watch", is_flag=True, help="Show it all the time, as top does; q or Ctrl-C ends.")
@click.option(
    "--replica",
    "replicas",
    type=_ReplicaType(),
    multiple=True,
    metavar="URL",
    help="Ask this replica itself, at its RELAYD_HTTP_ADDRESS; repeatable.",
)
@json_option
def command(*, watch: bool, replicas: tuple[str, ...], as_json: bool) -> None:
    """Show the queues, the replicas and what becomes of the mail; first of all, in words, how things are.

    Everybody is asked at once and waited for three seconds at most: SQS for the queues, CloudWatch for the age of the
    oldest message, SES for the account, the database for heartbeats, deliveries and pauses, and each --replica. What
    hangs, is denied or is not configured is told as not known, and keeps nothing else from being shown. Nothing is
    changed, and no message is received.

    \b
    relayd status
    relayd status --watch
    relayd status --replica http://10.1.2.3:8080 --replica http://10.1.2.4:8080
    relayd status --json | jq -r .summary
    relayd status --json | jq '.queue.waiting, .queue.oldest_seconds'

    Every replica writes a heartbeat into the database each 5 seconds; without one for 15 it is shown as silent, until
    a day has passed. While the database is away, ask the replicas themselves (--replica).

    \b
    What it takes, all of it optional:
      RELAYD_QUEUE_URL         sqs:GetQueueAttributes on the queue and its
                               dead-letter queue, sqs:GetQueueUrl,
                               cloudwatch:GetMetricStatistics
      RELAYD_EVENTS_QUEUE_URL  sqs:GetQueueAttributes
      RELAYD_DATABASE_URL      reading
      RELAYD_SES_REGION        ses:GetAccount

    \b
    The words:
      waiting      to be received now; `delayed`: sent with a delay; `in hand`:
                   being worked on by a replica
      put off      handed back for a while, after a failure or an outage; it comes
                   back by itself
      done         messages finished a second in the last minute: forwarded,
                   discarded or dead-lettered
      S3, SES ...  messages that may be in hand for that dependency's sake; OPEN:
                   it does not work, and nothing is received; `try N`: it answers
                   again
      sent         of the deliveries that began in the hour or day; `failed`,
                   `discarded`: of all that ended so in it

    \b
    The keys of --json:
      at, level (trouble, look, unknown, well), summary
      findings       level, text, todo
      queue          name, waiting, delayed, in_flight, put_off, oldest_seconds,
                     oldest_source, growth_per_second, drained_in_seconds
      dead_letters, events
                     waiting, delayed, in_flight
      rates          minute, quarter_hour: finished_per_second, sent_per_second,
                     by_outcome_per_second
      calls          by dependency, in the last minute: count, errors, p50, p99
                     (seconds)
      replicas       replica, source, silent, seen_seconds_ago, ready, against,
                     since, slots, in_flight, wedged, dependencies (limit,
                     breaker, reason, probe_in_seconds, since), minute,
                     quarter_hour, ...
      deliveries     hour, day: sent by kind, discarded and failed by reason,
                     open, in_doubt, resent
      mailboxes_paused
                     hard, soft
      pauses         scope, subject, reason, since
      ses            rate, quota, sent, enabled
      slowest, failed
                     messages of the last 15 minutes: replica, at, seconds,
                     reason, mail_id, trace_id, ...
      unknown        by name: why it is null
    Times are seconds since the epoch, durations seconds. New keys may come.

    Exit code 0, however bad things are; 1 where nothing at all could be had.
    """
    if watch:
        _check_watch(as_json)
    try:
        sys.exit(_show(replicas, watch=watch, as_json=as_json))
    except KeyboardInterrupt:
        sys.exit(exits.INTERRUPTED)


def _show(replicas: tuple[str, ...], *, watch: bool, as_json: bool) -> int:
    from relayd.ops.status.looking import Observer
    from relayd.runtime.clock import SystemClock

    observer = Observer(os.environ, replicas, SystemClock())
    try:
        if watch:
            from relayd.commands.status_watch import show

            return show(observer.look)
        snapshot = observer.look()
    finally:
        observer.close()
    _print(snapshot, as_json)
    return exits.DONE if snapshot.knows_anything else exits.FAILED


def _check_watch(as_json: bool) -> None:
    if as_json:
        raise click.UsageError("--json prints one document: leave --watch out, and run it as often as you like.")
    if not sys.stdout.isatty() or not sys.stdin.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        raise click.UsageError("--watch needs a terminal: leave it out, or use --json for a program.")


def _print(snapshot: "Snapshot", as_json: bool) -> None:
    if as_json:
        from relayd.ops.status.document import document

        print_json(document(snapshot))
        return
    from rich.console import Console

    from relayd.commands.status_screen import fitted, sections

    console = Console(highlight=False)
    for line in fitted(list(sections(snapshot, console.width)), height=10_000):
        console.print(line, soft_wrap=True)
