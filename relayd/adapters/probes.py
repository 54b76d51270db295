"""Asking S3, SES and the database whether they work, without any mail."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from relayd.adapters import aws
from relayd.adapters.ses import QUOTA_HOLD
from relayd.errors import HoldError, RelaydError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sesv2 import SESV2Client


@dataclass(frozen=True, slots=True)
class Account:
    """What SES lets the account do."""

    rate: float
    """Mails a second."""
    quota: float
    """Mails in 24 hours; -1 for any number."""
    sent: float
    """Mails in the last 24 hours."""
    enabled: bool


def s3_probe(client: "S3Client", buckets: Sequence[str]) -> Callable[[], None]:
    """Looks for each bucket. `buckets` are named, not `*`."""

    def probe() -> None:
        for bucket in buckets:
            try:
                client.head_bucket(Bucket=bucket)
            except ClientError as error:
                found = aws.service_error("s3", error)
                # HeadBucket needs other rights than a get, and one bucket that is missing must not hold the others.
                if aws.status(error) < 500 and found.reason != "credentials_refused":
                    continue
                raise found from None
            except aws.CALL_FAILED as error:
                raise aws.call_error("s3", error) from None

    return probe


def account(client: "SESV2Client") -> Account | None:
    """What the account may send; None where the role may not ask. Raises RelaydError when SES does not answer."""
    try:
        answer = client.get_account()
    except ClientError as error:
        found = aws.service_error("ses", error)
        if isinstance(found, HoldError) and found.reason == "access_denied":
            return None
        raise found from None
    except aws.CALL_FAILED as error:
        raise aws.call_error("ses", error) from None
    quota = answer.get("SendQuota", {})
    return Account(
        rate=float(quota.get("MaxSendRate", 0.0)),
        quota=float(quota.get("Max24HourSend", -1.0)),
        sent=float(quota.get("SentLast24Hours", 0.0)),
        enabled=bool(answer.get("SendingEnabled", True)),
    )


def ses_probe(ask: Callable[[], Account | None]) -> Callable[[], None]:
    """Looks whether the account may send: not paused, and within its quota."""

    def probe() -> None:
        found = ask()
        if found is not None:
            refuse(found)

    return probe


def refuse(found: Account) -> None:
    """Raises HoldError for an account that may not send now."""
    if not found.enabled:
        raise HoldError("ses", "ses_sending_paused")
    if 0 <= found.quota <= found.sent:
        # A sliding window, of which SES does not tell when it frees up.
        raise HoldError("ses", "ses_daily_quota", retry_after=QUOTA_HOLD)


__all__ = ["Account", "RelaydError", "account", "refuse", "s3_probe", "ses_probe"]
