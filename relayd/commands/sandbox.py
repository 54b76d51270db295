"""`relayd sandbox`: the whole of relayd on one machine."""

import importlib.util
import sys
from pathlib import Path

import click

NEEDED = ("aiosmtpd", "moto", "flask", "flask_cors", "rich")
"""What the extra `sandbox` brings."""


@click.command("sandbox")
@click.option("--mails", type=click.IntRange(min=0), default=0, metavar="N", help="Send N varied mails of our own.")
@click.option("--exit", "leave", is_flag=True, help="End after the mails; 0 only if every one ended as it should.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the summary as JSON, and nothing else, on standard output."
)
@click.option(
    "--smtp-port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="0: any free one.  [default: 2525; with --exit any free one]",
)
@click.option("--endpoint", metavar="URL", help="Use an AWS emulator that already runs, instead of starting one.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the database and relayd's log in this folder.  [default: a temporary one]",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of the mails: the same seed, the same mails.")
@click.option("--verbose", is_flag=True, help="Show relayd's log, on standard error.")
def command(
    *,
    mails: int,
    leave: bool,
    as_json: bool,
    smtp_port: int | None,
    endpoint: str | None,
    data: Path | None,
    seed: int,
    verbose: bool,
) -> None:
    """Try relayd on this machine: an emulated AWS, an SMTP door, and `relayd run` between them.

    Mail that you send to the door goes the way that SES receiving would send it: into S3, over SNS into SQS. relayd
    takes it from there, and what becomes of it is shown as it happens. Nothing leaves this machine. Ctrl-C ends it all.

    \b
    Play with it:                   relayd sandbox
    Send it something:              swaks --server 127.0.0.1:2525 --to shop@mask.example
    A hundred mails and a verdict:  relayd sandbox --mails 100 --exit
    For a script:                   relayd sandbox --mails 100 --exit --json
    With a moto server of yours:    relayd sandbox --endpoint http://127.0.0.1:5000

    The JSON counts mails, each once: sent = forwarded + discarded (by reason) + dead_lettered + lost. `duplicates`
    are sends beyond one for each mailbox. p50_ms and p99_ms count from the notification's publishing to SES's
    acceptance of the forward.
    """
    if not mails and (leave or as_json):
        raise click.UsageError("--exit and --json need --mails N: they are about its end and its summary.")

    from relayd.errors import ConfigurationError, Problem

    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        problem = f"needs {', '.join(missing)}, which is not installed"
        raise ConfigurationError([Problem("relayd sandbox", problem, "pip install 'relayd[sandbox]'")])

    from relayd.sandbox.sandbox import Options, run

    options = Options(
        # Nobody else sends to a sandbox that ends by itself, and another one may be running.
        smtp_port=(0 if leave else 2525) if smtp_port is None else smtp_port,
        endpoint=endpoint,
        data=data,
        mails=mails,
        leave=leave,
        as_json=as_json,
        verbose=verbose,
        seed=seed,
    )
    sys.exit(run(options))
