"""`relayd replay`: puts mail through again."""

import sys
from typing import Any

import click

from relayd.commands.arguments import ADDRESS, COUNT, DURATION, MOMENT, RATE, json_option, yes_option
from relayd.commands.replay.asked import Asked, checked

__all__ = ["command"]


@click.command(short_help="Put mail through again: dead letters, an archive, the ledger, or the bucket.")
@click.option("--dead-letters", is_flag=True, help="From the dead-letter queue.")
@click.option(
    "--from", "archive", metavar="ARCHIVE", help="From an archive of dead letters: s3://bucket/prefix or DIR."
)
@click.option("--deliveries", is_flag=True, help="From the ledger: what failed, or ended as --state says.")
@click.option("--bucket", metavar="s3://BUCKET/PREFIX", help="From raw mails; with --deliveries: where those lie.")
@click.option("--reason", "reasons", multiple=True, help="Only what is there for this reason. May be repeated.")
@click.option("--since", type=MOMENT, help="Only what failed (was received) since: 12h, 7d, or 2026-01-31T08:00 (UTC).")
@click.option("--until", type=MOMENT, help="Only what failed (was received) before.")
@click.option("--mask", type=ADDRESS, metavar="ADDRESS", help="Only mail to this mask.")
@click.option(
    "--message-id", "name", metavar="ID", help="Only this one: SES's id of the mail, or SQS's of the message."
)
@click.option(
    "--state",
    type=click.Choice(["failed", "discarded", "sent"]),
    help="With --deliveries: how they ended. `sent` needs --again.  [default: failed]",
)
@click.option("--limit", type=COUNT, help="Put through at most so many.")
@click.option("--dry-run", is_flag=True, help="Tell what would be put through, by reason, and do nothing.")
@click.option("--again", is_flag=True, help="Also what was sent before: it arrives twice. Asks first.")
@click.option("--here", is_flag=True, help="In this process, with the daemon's own engine, instead of by the queue.")
@click.option("--rate", type=RATE, help="At most so many a second.")
@click.option("--timeout", type=DURATION, help="With --here: stop after so long, finished or not: 90s, 10m, 2h.")
@yes_option
@json_option
def command(**options: Any) -> None:
    """Put mail through again, from exactly one source. Each mail is sent once: the ledger knows what was sent before,
    and that is skipped unless you say --again.

    \b
    --dead-letters  What could not be done. A letter leaves the dead-letter queue
                    when it is in the mail queue. Without filters SQS moves them
                    all by itself (StartMessageMoveTask), where it can and may.
    --from          What `relayd drain --dead-letters` put aside. It stays there.
    --deliveries    What the ledger has as failed. The mail is looked for in the
                    bucket, and goes to those who have not got it.
    --bucket        Raw mails, when the queue was lost. The notification is made
                    anew from what SES wrote on top of each mail. That names one
                    recipient, and tells no DMARC policy: where a mail had more
                    recipients, only the ledger knows; and where DMARC failed,
                    the owner is warned.

    What nobody can verify is never sealed with relayd's own word: a dead letter that the daemon would not open
    (forged, of another topic or bucket, illegible) is skipped and told of, and stays where it is.

    By the mail queue, daemons do the work; --here does it in this process, and needs no daemon. Either way it may be
    interrupted or killed at any point and run again: nothing is lost, and nothing arrives twice. What fails again is a
    dead letter again. After a kill, its letters can be read again within a minute, which the next run waits for.

    It needs all settings of `relayd run`. AWS must allow sqs:SendMessage on the mail queue, unless --here. Dead letters
    take what `relayd drain --dead-letters` needs, and to be moved by SQS StartMessageMoveTask, ListMessageMoveTasks and
    CancelMessageMoveTask on their queue; all other sources s3:GetObject and s3:ListBucket on the bucket of either.
    Upgrade all daemons before you replay: an older one does not know the envelope.

    \b
    What is there, and why; then these, once what was wrong is mended; then all:
      relayd replay --dead-letters --dry-run
      relayd replay --dead-letters --reason ses_rejected
      relayd replay --dead-letters
    One mail, to see whether all is well again:
      relayd replay --dead-letters --mask shop@mask.example --limit 1 --here
    Others:
      relayd replay --from s3://kept/dead-letters --since 7d
      relayd replay --deliveries --reason ses_rejected --since 2026-01-31T08:00
      relayd replay --deliveries --state discarded --reason mask_disabled
      relayd replay --bucket s3://received-mail/in/ --since 2h --rate 20

    \b
    Exit codes:  0    done; also when there was nothing to do
                 1    refused (all mail is paused), or an outage ended it
                 2    wrong usage, or the configuration cannot work
                 3    --timeout ended first
                 4    some could not be put through: the table says why
                 130  Ctrl-C
    """
    asked = checked(Asked(**options))
    from relayd.commands.replay.acting import replay

    sys.exit(replay(asked))
