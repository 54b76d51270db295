"""`relayd drain`: works the queue down and stops."""

import dataclasses
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO, cast

import click
from click.core import ParameterSource

from relayd.commands.arguments import COUNT, DURATION, RATE, json_option
from relayd.commands.exits import FAILED
from relayd.commands.showing import print_facts, print_json, print_problems
from relayd.commands.standard_error import StandardError
from relayd.errors import Problem

if TYPE_CHECKING:
    from relayd.app import Daemon
    from relayd.commands.draining import Result
    from relayd.ops.tally import Tally
    from relayd.ports import Clock
    from relayd.runtime.gates import Ration
    from relayd.runtime.signals import StopSignals
    from relayd.runtime.watching import Ended
    from relayd.settings import Settings

POLL_SECONDS = 2.0
"""The longest poll of a drain: nobody wants to wait twenty seconds for the last one, which is never cut off. Any wait
makes SQS ask all of its servers."""


@click.command("drain")
@click.option("--timeout", type=DURATION, help="Stop after so long, finished or not: 90s, 10m, 2h.")
@click.option("--max-messages", type=COUNT, help="Take at most so many messages.")
@click.option("--rate", type=RATE, help="Take at most so many messages a second.")
@click.option("--concurrency", type=click.IntRange(1, 1000), help="Work on so many at once.  [RELAYD_CONCURRENCY]")
@click.option("--patience", type=DURATION, default="60s", show_default=True, help="Wait for mail that is put off.")
@click.option("--dead-letters", is_flag=True, help="Empty the dead-letter queue into an archive instead.")
@click.option("--to", metavar="ARCHIVE", help="With --dead-letters: a folder, or s3://bucket/prefix.")
@click.option("--with-mail", is_flag=True, help="With --dead-letters: keep a copy of each raw mail, too.")
@json_option
def command(*, dead_letters: bool, to: str | None, with_mail: bool, **options: Any) -> None:
    """Work the queue down with the daemon's own engine, and stop when it is empty.

    Empty means: nothing visible, delayed or in flight, found so five times in a row. Mail that is put off and comes
    back within --patience is waited for, and so is mail that a breaker holds, or that somebody else has in hand. Mail
    that stays away longer (a late retry, a daily limit, an owner who is paused) is reported by reason and left where it
    is: it comes back by itself.

    It may run beside daemons, and it may be killed: leases and claims lapse, and the next drain goes on. The first
    Ctrl-C stops in order: what is in hand is finished or handed back, within RELAYD_GRACE_SECONDS, and the summary is
    printed. The second one stops at once.

    It needs all settings of `relayd run`, and opens no port. Logs go to standard error, warnings and worse unless
    RELAYD_LOG_LEVEL says otherwise; the summary goes to standard output.

    With --dead-letters, the dead-letter queue is emptied into an archive instead, which `relayd replay --from` reads:
    one JSON document a message, with --with-mail its raw mail beside it. A message leaves the queue only once its
    record is on the disk, or S3 has it: killed and run again, each message is in the archive once. Files are for their
    owner alone; who may read a bucket is its own affair.

    That needs RELAYD_QUEUE_URL or RELAYD_DEAD_LETTER_URL, and --with-mail RELAYD_BUCKETS; where RELAYD_DATABASE_URL can
    be reached, the ledger adds the first failure and the traces of earlier attempts. AWS must allow sqs:ReceiveMessage,
    DeleteMessage, ChangeMessageVisibility and GetQueueAttributes on the dead-letter queue (GetQueueUrl, and
    GetQueueAttributes on the queue, where its redrive policy is to name it); s3:GetObject and PutObject in the archive,
    s3:GetObject on the mails, and s3:ListBucket on the bucket of either.

    \b
    relayd drain                                  until the queue is empty
    relayd drain --timeout 10m --json             in a Kubernetes Job
    relayd drain --max-messages 1                 one mail, to see if all is well
    relayd drain --rate 5 --concurrency 2         gently
    relayd drain --dead-letters --to s3://kept/dead-letters
    relayd drain --dead-letters --to ./dead-letters --with-mail

    \b
    Exit codes:  0    done; also when mail was put off on purpose, which is said
                 1    refused: all mail is paused
                 2    wrong usage, or the configuration cannot work
                 3    --timeout ended first, or not all in hand could be finished
                 4    messages were dead-lettered; with --dead-letters: some could
                      not be archived
                 130  Ctrl-C
    """
    if dead_letters:
        from relayd.commands.emptying import empty_dead_letters

        source = click.get_current_context().get_parameter_source
        for name in ("rate", "concurrency", "patience"):
            if source(name) is ParameterSource.COMMANDLINE:
                raise click.UsageError(f"--{name} is not for --dead-letters: nothing is forwarded.")
            options.pop(name)
        sys.exit(empty_dead_letters(to=to, with_mail=with_mail, **options))
    if to is not None or with_mail:
        raise click.UsageError("--to and --with-mail go with --dead-letters.")
    sys.exit(_drain(**options))


def _drain(
    *,
    timeout: float | None,
    max_messages: int | None,
    rate: float | None,
    concurrency: int | None,
    patience: float,
    as_json: bool,
) -> int:
    from relayd.runtime.signals import stop_signals

    # Caught from here on: a Ctrl-C during a slow start must not look like a crash.
    with stop_signals() as signals:
        from relayd.app import build
        from relayd.ops.tally import Tally
        from relayd.runtime import allocator
        from relayd.runtime.clock import SystemClock
        from relayd.runtime.gates import Ration
        from relayd.telemetry import logs, otel

        clock = SystemClock()
        ends_at = None if timeout is None else clock.monotonic() + timeout
        settings = _settings(concurrency)
        logs.configure(settings.log_format, settings.log_level, cast("TextIO", StandardError()))
        logs.install_excepthooks()
        allocator.keep_small()
        ration = Ration(clock, most=max_messages, rate=rate)
        tally = Tally(clock, patience=patience, outage=lambda: bool(daemon.supervisor.governor.held()))

        def handed_back(ended: "Ended") -> None:
            if ended.outcome == "released":
                # It was not tried: another message may have its place.
                ration.gave_back(1)

        daemon = build(
            settings,
            clock,
            otel.configure(),
            gates=(tally, ration),
            watchers=(tally.ended, handed_back),
            serve=False,
        )
        if _refused(daemon):
            return FAILED
        result = _work(daemon, tally, ration, settings, clock, ends_at, signals)
    for line in result.verdict():
        click.echo(line, err=as_json)
    if as_json:
        print_json(result.document())
    else:
        print_facts(result.facts())
    return result.exit_code


def _work(
    daemon: "Daemon",
    tally: "Tally",
    ration: "Ration",
    settings: "Settings",
    clock: "Clock",
    ends_at: float | None,
    signals: "StopSignals",
) -> "Result":
    """Start, watch and stop the engine."""
    from relayd.adapters.queue_depth import depth, depth_client
    from relayd.commands.draining import Narrator, Result
    from relayd.commands.progress import progress
    from relayd.ops.drain import Drain

    began = clock.monotonic()
    client = depth_client(settings.queue_url)
    drain = Drain(
        daemon.supervisor,
        tally,
        lambda: depth(client, settings.queue_url),
        clock,
        limit=ration,
        ends_at=ends_at,
        lease_seconds=settings.deadline_seconds + settings.visibility_seconds,
        paused=daemon.paused,
    )
    clean = False
    daemon.start()
    try:
        with progress("drain") as bar:
            narrator = Narrator(bar, _say, clock.monotonic, lines=not sys.stderr.isatty())
            ending = drain.run(signals.wait, narrator)
        # Without the bar: a second signal ends the process, and must not leave a terminal without its cursor.
        if ending in ("interrupted", "timeout"):
            _say("Stopping: finishing what is in hand. Ctrl-C stops at once.")
    finally:
        # Also after a bug of ours: what is in hand is finished or handed back.
        clean = daemon.stop()
    last = drain.look()
    leases = daemon.supervisor.keeper.in_hand()
    return Result(
        ending,
        tally.sums([lease.message.message_id for lease in leases]),
        tally.receives,
        last.depth,
        last.stays,
        clock.monotonic() - began,
        tally.seconds,
        clean,
    )


def _settings(concurrency: int | None) -> "Settings":
    from relayd.settings import Settings

    environ = {"RELAYD_LOG_LEVEL": "warning", **os.environ}
    if concurrency is not None:
        # Checked together with all the others, as if it stood there.
        environ["RELAYD_CONCURRENCY"] = str(concurrency)
    settings = Settings.load(environ, tty=sys.stderr.isatty())
    return dataclasses.replace(settings, wait_seconds=min(settings.wait_seconds, POLL_SECONDS))


def _refused(daemon: "Daemon") -> bool:
    """Whether there is no use in beginning, which is told then."""
    from relayd.adapters.orders import SqlOrders

    if not SqlOrders(daemon.database).read().everything:
        return False
    hint = "`relayd status` shows why; `relayd resume` lets it go on. Then run this again."
    print_problems([Problem("drain", "all mail is paused, so nothing would be forwarded", hint)])
    return True


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
