"""`relayd run`: the daemon."""

import os
import sys

import click

EXIT_NOT_FINISHED = 3
"""The grace ended before the work did. What was in hand comes back to the queue when its leases lapse."""

SWITCH_SECONDS = 0.0005
"""How long a thread may keep the interpreter while others wait for it."""


@click.command("run")
def command() -> None:
    """Forward mail until told to stop (SIGTERM or Ctrl-C; a second one stops at once).

    relayd polls the queue, fetches each mail from S3, decides, rewrites, sends it on with SES and settles the
    message. It refuses to start when a setting cannot work, and says everything that is wrong at once.

    \b
    Probes and figures:  http://RELAYD_HTTP_ADDRESS/livez /readyz /metrics /status
    Exit codes:          0 stopped cleanly
                         2 the configuration cannot work
                         3 the grace (RELAYD_GRACE_SECONDS) ended before the work did

    \b
    Example:
      export RELAYD_QUEUE_URL=https://sqs.eu-west-1.amazonaws.com/123456789012/mail
      export RELAYD_DATABASE_URL=sqlite:////var/lib/relayd/relayd.db
      export RELAYD_MAIL_DOMAINS=mask.example
      export RELAYD_TOPIC_ARNS=arn:aws:sns:eu-west-1:123456789012:mail
      export RELAYD_BUCKETS=received-mail
      export RELAYD_SECRET=$(python3 -c 'import secrets; print(secrets.token_hex(32))')
      relayd run
    """
    from relayd.app import build
    from relayd.runtime import allocator
    from relayd.runtime.clock import SystemClock
    from relayd.runtime.signals import stop_signals
    from relayd.settings import Settings
    from relayd.telemetry import logs, otel

    settings = Settings.load(os.environ, tty=sys.stdout.isatty())
    logs.configure(settings.log_format, settings.log_level, sys.stdout)
    logs.install_excepthooks()
    allocator.keep_small()
    telemetry = otel.configure()
    # Python's own 5 ms let sixteen busy workers keep a probe waiting for a quarter of a second: measured, at 0.5 ms
    # the slowest probes take half of that or less, and the workers get as much done.
    sys.setswitchinterval(SWITCH_SECONDS)
    # Caught from here on: a stop during a slow start must not look like a crash.
    with stop_signals() as signals:
        daemon = build(settings, SystemClock(), telemetry)
        daemon.start()
        signals.wait()
        clean = daemon.stop()
    sys.exit(0 if clean else EXIT_NOT_FINISHED)
