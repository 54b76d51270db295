"""Looking through a bucket of raw mails: what lies there, and the beginning of each, for an operator's commands."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, ParamValidationError
from urllib3.exceptions import HTTPError

from relayd.adapters import aws
from relayd.adapters.s3 import refuse_encrypted, store_error
from relayd.errors import ConfigurationError, HoldError, PermanentError, Problem, RelaydError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


MAX_PAGE = 1000
"""Objects in one answer: S3's limit."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One object of a bucket."""

    key: str
    size: int
    modified: float
    """When it was written, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """The first bytes of an object."""

    data: bytes
    whole: bool
    """Whether that is all of it."""


class Bucket:
    """One bucket. One attempt a call, as everywhere."""

    def __init__(self, client: "S3Client", name: str) -> None:
        self._client = client
        self.name = name

    def pages(self, prefix: str, most: int = MAX_PAGE) -> Iterator[list[Listed]]:
        """What lies below the prefix, in the order of the keys, a page of at most `most` at a time.

        Raises ConfigurationError where that is not allowed, HoldError for a missing bucket, TransientError for an
        outage.
        """
        more: dict[str, Any] = {}
        while True:
            try:
                answer = _asked(
                    partial(self._client.list_objects_v2, Bucket=self.name, Prefix=prefix, MaxKeys=most, **more)
                )
            except HoldError as error:
                raise self._problem(error) from None
            yield [
                Listed(entry["Key"], entry["Size"], entry["LastModified"].timestamp())
                for entry in answer.get("Contents", ())
            ]
            if not answer.get("NextContinuationToken"):
                return
            more = {"ContinuationToken": answer["NextContinuationToken"]}

    def _problem(self, error: HoldError) -> RelaydError:
        if problem := aws.credentials_problem(error):
            return ConfigurationError([problem])
        if error.reason != "access_denied":
            return error
        told = f"Its objects may not be listed ({error.detail})."
        return ConfigurationError([Problem(f"bucket {self.name}", told, "Allow s3:ListBucket on the bucket.")])

    def beginning(self, key: str, size: int) -> Beginning:
        """The first `size` bytes of an object. Raises PermanentError for one that is missing, empty, archived, or
        encrypted by its client; HoldError and TransientError as `MailStore.fetch` does.
        """
        answer = _asked(partial(self._client.get_object, Bucket=self.name, Key=key, Range=f"bytes=0-{size - 1}"))
        refuse_encrypted(answer.get("Metadata", {}))
        try:
            with answer["Body"] as body:
                data: bytes = body.read()
        except (*aws.CALL_FAILED, HTTPError, OSError) as error:
            raise aws.call_error("s3", error) from None
        # `bytes 0-1023/4096`; without it the endpoint knows no ranges, and gave everything.
        total = str(answer.get("ContentRange", "")).rpartition("/")[2]
        return Beginning(data, not total.isdecimal() or int(total) <= len(data))


def _asked(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except ClientError as error:
        raise _translated(error) from None
    except ParamValidationError:
        raise PermanentError("s3_impossible_name") from None
    except (*aws.CALL_FAILED, HTTPError) as error:
        raise aws.call_error("s3", error) from None


def _translated(error: ClientError) -> RelaydError:
    if aws.code(error) == "InvalidRange":
        # No byte there: no mail either.
        return PermanentError("not_mail", "empty")
    found = store_error(error)
    # Of a mail that was just received this may change; here nobody waits for that.
    return PermanentError(found.reason, found.detail) if found.reason == "content_missing" else found
