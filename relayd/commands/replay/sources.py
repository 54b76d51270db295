"""Opens the source that was asked for."""

from typing import TYPE_CHECKING

from relayd.commands.replay.asked import location
from relayd.decoding import ANY, admits
from relayd.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from relayd.adapters.bucket_listing import Bucket
    from relayd.commands.replay.job import Job
    from relayd.ops.replay.deliveries import DeliverySource
    from relayd.ops.replay.letters import Opener
    from relayd.ops.replay.offers import Source
    from relayd.settings import Settings


def open_source(job: "Job") -> "Source":
    """Raises ConfigurationError where there is no such source, or it is not for us; TransientError for an outage."""
    from relayd.ops.replay.letters import ArchiveSource, LetterSource
    from relayd.ops.replay.raw_mails import BucketSource, RawMails

    asked, settings = job.asked, job.settings
    match asked.source:
        case "dead_letters":
            from relayd.ops.dead_letters import DeadLetters

            return LetterSource(DeadLetters.at(dead_letters_of(settings)), _opener(job))
        case "archive":
            from relayd.adapters.queue_facts import region_of
            from relayd.ops.archive import archive_at

            archive = archive_at(asked.archive or "", default_region=region_of(settings.queue_url))
            return ArchiveSource(archive, _opener(job))
        case "deliveries":
            return _deliveries(job)
        case "bucket":
            name, prefix = location(asked.bucket or "")
            bucket = _Buckets(settings).named(name)
            mails = RawMails(job.clock)
            return BucketSource(bucket, prefix, mails, since=asked.since, until=asked.until, mail_id=asked.name)


def dead_letters_of(settings: "Settings") -> str:
    """The URL of the dead-letter queue."""
    from relayd.adapters.dead_letter_queue import dead_letter_url

    return settings.dead_letter_url or dead_letter_url(settings.queue_url)


def _opener(job: "Job") -> "Opener":
    """What opens a message exactly as the daemon would."""
    from relayd.app import route_settings, sns_certificates
    from relayd.decoding import Decoder
    from relayd.ops.replay.letters import Opener

    decoder = Decoder(route_settings(job.settings, ses_region=""), sns_certificates(job.settings))
    return Opener(decoder, job.clock)


def _deliveries(job: "Job") -> "DeliverySource":
    from relayd.ops.replay.deliveries import DeliverySource, Place, Wanted
    from relayd.ops.replay.raw_mails import RawMails

    asked, buckets = job.asked, _Buckets(job.settings)
    if asked.bucket is not None:
        name, prefix = location(asked.bucket)
        places = [Place(buckets.named(name), prefix)]
    else:
        places = [Place(buckets.named(name), "") for name in job.settings.buckets if name != ANY]
    if not places:
        problem = "it admits any bucket, so nobody knows where the mails lie"
        raise ConfigurationError([Problem("RELAYD_BUCKETS", problem, "Say where: --bucket s3://bucket/prefix")])
    state = asked.state or "failed"
    wanted = Wanted(
        # With --again, what was sent is meant too, unless something else is said.
        ("failed", "sent") if asked.again and asked.state is None else (state,),
        frozenset(asked.reasons),
        asked.since,
        asked.until,
        asked.mask,
        asked.name,
    )
    return DeliverySource(job.database, wanted, places, RawMails(job.clock))


class _Buckets:
    """Buckets that the daemon would read from, on one client."""

    def __init__(self, settings: "Settings") -> None:
        from relayd.adapters import aws
        from relayd.adapters.queue_facts import region_of
        from relayd.ops.replay.raw_mails import READERS

        self._allowed = frozenset(settings.buckets)
        self._client = aws.client(
            "s3",
            pool=READERS,
            timeouts=aws.Timeouts(settings.s3_connect_seconds, settings.s3_read_seconds),
            session=aws.new_session(default_region=region_of(settings.queue_url)),
        )

    def named(self, name: str) -> "Bucket":
        """Raises ConfigurationError for one that the daemon would refuse, or that cannot be read."""
        from relayd.adapters.bucket_listing import Bucket
        from relayd.adapters.s3 import check_bucket

        if not admits(self._allowed, name):
            hint = "Add it to RELAYD_BUCKETS, of the daemons too, or name one that is there."
            raise ConfigurationError([Problem("--bucket", f"{name} is not in RELAYD_BUCKETS.", hint)])
        if problem := check_bucket(self._client, name):
            raise ConfigurationError([problem])
        return Bucket(self._client, name)
