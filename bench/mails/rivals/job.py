"""What the rivals in Python have in common: where the mail of a message lies, and what is forwarded of it."""

import email
import email.policy
import json
import os
from dataclasses import dataclass
from email.header import decode_header, make_header
from email.headerregistry import Address
from email.utils import formataddr
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sesv2 import SESV2Client

BATCH = 10
"""Messages that SQS hands out, or deletes, in one call at most."""
LINGER_SECONDS = 0.1
"""How long a done message waits for others to be deleted with."""
WAIT_SECONDS = 20
DROPPED = frozenset({"dkim-signature", "return-path", "received", "sender", "bcc"})
DROPPED_PREFIXES = ("x-ses-", "x-relayd-")

POLICIES: dict[str, Any] = {
    "compat32": email.policy.compat32.clone(linesep="\r\n"),
    "smtp": email.policy.SMTP,
}
"""`compat32`, the one that a parser has unless told otherwise, keeps header fields as they came and is several times
faster; `smtp` is what the manual recommends for new programs.
"""


@dataclass(frozen=True, slots=True)
class Job:
    """What the benchmark asks for."""

    queue_url: str
    concurrency: int
    sender: str
    mailbox: str
    region: str
    policy: str = "compat32"

    @classmethod
    def of_environment(cls, policy: str = "compat32") -> "Job":
        told = os.environ
        return cls(
            told["BENCH_QUEUE_URL"],
            int(told["BENCH_CONCURRENCY"]),
            told["BENCH_FROM"],
            told["BENCH_TO"],
            told["AWS_REGION"],
            policy,
        )

    def rewrite(self, data: bytes) -> bytes:
        """The mail as it goes to the mailbox."""
        mail = email.message_from_bytes(data, policy=POLICIES[self.policy])
        shown = str(make_header(decode_header(mail["From"] or "")))
        for name in set(mail.keys()):
            lowered = name.lower()
            if lowered in DROPPED or lowered.startswith(DROPPED_PREFIXES):
                del mail[name]
        for name, value in (
            ("From", self._author(f"{shown} [via relayd]")),
            ("Reply-To", self.sender),
            ("To", self.mailbox),
        ):
            del mail[name]
            mail[name] = value
        written: bytes = mail.as_bytes()
        return written

    def _author(self, name: str) -> str:
        if self.policy == "smtp":
            # This policy encodes words itself, and would decode those that came encoded.
            return str(Address(name, addr_spec=self.sender))
        return formataddr((name, self.sender))


def stored(body: str) -> tuple[str, str]:
    """Bucket and key of the mail that a message tells of: SES's notification, in the envelope of SNS."""
    action = json.loads(json.loads(body)["Message"])["receipt"]["action"]
    return action["bucketName"], action["objectKey"]


class Forwarder:
    """The middle of the job, with clients of its own: get, rewrite, send. Threads may share it."""

    def __init__(self, job: Job, *, connections: int = 10, session: boto3.session.Session | None = None) -> None:
        """`connections`: how many botocore keeps open to a service; 10 is its own default. `session`: one to make the
        clients with, which knows the services already; None makes one.
        """
        self._job = job
        session = session or boto3.session.Session(region_name=job.region)
        config = Config(max_pool_connections=connections)
        self._s3: S3Client = session.client("s3", config=config)
        self._ses: SESV2Client = session.client("sesv2", config=config)

    def forward(self, body: str) -> None:
        """Raises what went wrong."""
        bucket, key = stored(body)
        data = self._s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        self._ses.send_email(
            FromEmailAddress=self._job.sender,
            Destination={"ToAddresses": [self._job.mailbox]},
            Content={"Raw": {"Data": self._job.rewrite(data)}},
        )
