"""`relayd run`: the daemon, and the observer that only says what a daemon would do."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from relayd.commands.exits import DONE, NOT_FINISHED

if TYPE_CHECKING:
    from relayd.settings import Settings
    from relayd.telemetry.otel import Telemetry

Stop = Callable[[], bool]
"""Ends what was started. True when nothing was left unfinished."""


@click.command("run")
@click.option("--observe", is_flag=True, help="Send nothing and change nothing: say what would become of the mail.")
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="With --observe: write what was seen to FILE as JSON, each minute and at the end.",
)
def command(observe: bool, report: Path | None) -> None:
    """Forward mail until told to stop (SIGTERM or Ctrl-C; a second one stops at once).

    relayd polls the queue, fetches each mail from S3, decides, rewrites, sends it on with SES and settles the
    message. It refuses to start when a setting cannot work, and says everything that is wrong at once.

    \b
    Probes and figures:  http://RELAYD_HTTP_ADDRESS/livez /readyz /metrics /status
    A page for people:   http://RELAYD_HTTP_ADDRESS/
    Exit codes:          0 stopped cleanly
                         2 the configuration cannot work
                         3 RELAYD_GRACE_SECONDS ended before the work did

    \b
    Example:
      sqs=https://sqs.eu-west-1.amazonaws.com/123456789012
      export RELAYD_QUEUE_URL=$sqs/mail
      export RELAYD_DATABASE_URL=sqlite:////var/lib/relayd/relayd.db
      export RELAYD_MAIL_DOMAINS=mask.example
      export RELAYD_TOPIC_ARNS=arn:aws:sns:eu-west-1:123456789012:mail
      export RELAYD_BUCKETS=received-mail
      export RELAYD_SECRET=$(openssl rand -hex 32)
      relayd run

    With --observe relayd looks at the mail and says what it would do: nothing is sent, and nothing written, not even a
    dead letter. It needs A QUEUE OF ITS OWN, a second one subscribed to the topic, for it takes the messages away that
    it has looked at. A queue that a daemon of the same database works on is refused.

    Mails are really fetched and rewritten, so what fails there is seen. What SES alone would refuse is not, because SES
    is never asked. The database is opened for reading only, RELAYD_EVENTS_QUEUE_URL is not read, and operators' pauses
    are not heeded. What was seen is at /status, under "observed", and in a summary at the end. Every log line says
    `observed`, and metrics are called relayd_observed_*. docs/migrate.md shows how to move in with it.

    \b
    Example: look for an hour, then read what was seen
      export RELAYD_QUEUE_URL=$sqs/seen
      timeout 1h relayd run --observe --report observed.json
      jq .would observed.json
    """
    if report is not None and not observe:
        raise click.UsageError("--report is for --observe: a daemon has /metrics and /status")

    from relayd.runtime.signals import stop_signals

    # Before anything slow: the first process of a container never gets a SIGTERM that it does not catch, and elsewhere
    # a stop during the start would look like a crash.
    with stop_signals() as signals:
        stop = _start(observe, report)
        signals.wait()
        clean = stop()
    sys.exit(DONE if clean else NOT_FINISHED)


def _start(observe: bool, report: Path | None) -> Stop:
    from relayd.runtime import allocator
    from relayd.settings import Settings
    from relayd.telemetry import logs, otel

    settings = Settings.load(os.environ, tty=sys.stdout.isatty())
    allocator.keep_small()
    logs.configure(settings.log_format, settings.log_level, sys.stdout, {"observed": True} if observe else None)
    logs.install_excepthooks()
    telemetry = otel.configure(observing=observe)
    return _observe(settings, telemetry, report) if observe else _forward(settings, telemetry)


def _forward(settings: "Settings", telemetry: "Telemetry") -> Stop:
    from relayd.app import build
    from relayd.runtime import allocator
    from relayd.runtime.clock import SystemClock
    from relayd.runtime.systemd import Notifier

    clock = SystemClock()
    systemd = Notifier.of(os.environ, os.getpid())
    daemon = build(settings, clock, telemetry)
    allocator.begin_small()
    daemon.start()
    systemd.ready()
    systemd.feed(clock, daemon.live)

    def stop() -> bool:
        systemd.stopping()
        return daemon.stop()

    return stop


def _observe(settings: "Settings", telemetry: "Telemetry", report: Path | None) -> Stop:
    from relayd.commands.observed import print_summary, report_to
    from relayd.observing import observer
    from relayd.runtime.clock import SystemClock

    write = None if report is None else report_to(report)
    observing = observer(settings, SystemClock(), telemetry, write)
    observing.start()

    def stop() -> bool:
        clean = observing.stop()
        told = observing.told()
        if write is not None:
            write(told)
        print_summary(told)
        return clean

    return stop
