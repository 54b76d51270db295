"""`relayd sandbox`: the whole of relayd on one machine."""

import importlib.util
import sys
from pathlib import Path

import click

NEEDED = ("aiosmtpd", "httptools", "rich", "uvicorn")
MOTO = ("moto", "flask", "flask_cors")
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
@click.option(
    "--page-port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="0: any free one.  [default: 8025; with --exit there is no page]",
)
@click.option("--moto", is_flag=True, help="Start moto's server instead of the embedded AWS.")
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
    page_port: int | None,
    moto: bool,
    endpoint: str | None,
    data: Path | None,
    seed: int,
    verbose: bool,
) -> None:
    """Try relayd on this machine: an emulated AWS, an SMTP door, `relayd run` between them, and a page to look at.

    Mail that you send to the door goes the way that SES receiving would send it: into S3, over SNS into SQS. relayd
    takes it from there, and the page at http://127.0.0.1:8025 shows what becomes of it. There mail can be answered, as
    its owner and as the stranger, and S3 and SES can be made slow. Nothing leaves this machine. Ctrl-C ends it all.

    \b
    Look and play:
      relayd sandbox
    Send it something:
      swaks --server 127.0.0.1:2525 --to shop@mask.example
    A hundred mails and a verdict; the same for a script:
      relayd sandbox --mails 100 --exit
      relayd sandbox --mails 100 --exit --json
    With an emulator of yours:
      relayd sandbox --endpoint http://127.0.0.1:5000

    The JSON counts mails, each once: sent = forwarded + discarded (by reason) + dead_lettered + lost. Among those,
    `replied` were an owner's answers to a stranger, and `quarantined` wait to be released, for one mailbox at least.
    `duplicates` are sends beyond one for each mailbox. p50_ms and p99_ms count from the notification's publishing to
    SES's acceptance of the forward; mails_per_second, from the first mail's sending to the last one's end.
    """
    if not mails and (leave or as_json):
        raise click.UsageError("--exit and --json need --mails N: they are about its end and its summary.")
    if moto and endpoint:
        raise click.UsageError("--moto starts an emulator, --endpoint names one that runs: choose one of them.")
    if leave and page_port is not None:
        raise click.UsageError("--exit has no page: nobody could look at it in time.")

    from relayd.errors import ConfigurationError, Problem

    missing = [name for name in NEEDED + (MOTO if moto else ()) if importlib.util.find_spec(name) is None]
    if missing:
        problem = f"needs {', '.join(missing)}, which is not installed"
        extras = "sandbox,moto" if moto else "sandbox"
        raise ConfigurationError([Problem("relayd sandbox", problem, f"pip install 'relayd[{extras}]'")])

    from relayd.sandbox.sandbox import Options, run

    options = Options(
        # Nobody else sends to a sandbox that ends by itself, and another one may be running.
        smtp_port=(0 if leave else 2525) if smtp_port is None else smtp_port,
        page_port=None if leave else (8025 if page_port is None else page_port),
        aws="moto" if moto else "embedded",
        endpoint=endpoint,
        data=data,
        mails=mails,
        leave=leave,
        as_json=as_json,
        verbose=verbose,
        seed=seed,
    )
    sys.exit(run(options))
