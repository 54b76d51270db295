"""Objects below a prefix of an S3 bucket: S3 writes each whole or not at all, and has it safe when it answers."""

import base64
import hashlib
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import ClientError

from relayd.adapters import aws
from relayd.adapters.s3 import S3MailStore, store_error
from relayd.errors import ConfigurationError, HoldError, Problem, TransientError
from relayd.model.notification import S3Content
from relayd.ports import Clock

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SCHEME = "s3://"
PERMISSIONS = "s3:GetObject and s3:PutObject on its objects, and s3:ListBucket on the bucket"
"""What writing an archive takes. Without ListBucket, S3 says of an object that is not there that it may not be read."""
PAGE = 1000
"""S3's limit for one answer."""
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_TIMEOUTS = aws.Timeouts(connect=3.0, read=30.0)
_PROBLEMS = {
    301: ("is in another region", "Set AWS_REGION to the bucket's region."),
    400: ("is in another region, or its name is not possible", "Check the name and AWS_REGION."),
    403: ("may not be used", f"Allow {PERMISSIONS}."),
    404: ("does not exist", "Check the name, AWS_REGION, and AWS_ENDPOINT_URL if an emulator is meant."),
}

_Answer = TypeVar("_Answer")


class S3Shelf:
    """Implements `relayd.ops.archive.Shelf`."""

    def __init__(self, client: "S3Client", clock: Clock, bucket: str, prefix: str, *, page: int = PAGE) -> None:
        """`prefix` ends in a slash, or is empty. `page`: names that are asked for at a time."""
        self._client = client
        self._clock = clock
        self._bucket = bucket
        self._prefix = prefix
        self._page = page

    @property
    def place(self) -> str:
        return f"{SCHEME}{self._bucket}/{self._prefix}"

    def make(self) -> None:
        """A prefix needs no making."""
        self.check()

    def check(self) -> None:
        """Raises ConfigurationError where the bucket is not there or not for us, TransientError for an outage."""
        try:
            self._client.head_bucket(Bucket=self._bucket)
        except ClientError as error:
            # A HEAD has no body, hence no code: the status is all there is.
            if found := _PROBLEMS.get(aws.status(error)):
                raise self._problem(*found) from None
            raise store_error(error) from None
        except aws.CALL_FAILED as error:
            told = aws.call_error("s3", error)
            if problem := aws.credentials_problem(told):
                raise ConfigurationError([problem]) from None
            raise told from None

    def put(self, name: str, data: bytes, kind: str) -> None:
        """Durable when it returns: S3 has answered."""
        # The digest is also what a bucket with an object lock asks for.
        md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        self._call(
            lambda: self._client.put_object(
                Bucket=self._bucket, Key=self._prefix + name, Body=data, ContentType=kind, ContentMD5=md5
            )
        )

    def read(self, name: str, most: int) -> bytes | None:
        """The object's bytes; None where there is none. Raises PermanentError for one of more than `most` bytes."""
        store = S3MailStore(self._client, clock=self._clock, max_bytes=most)
        try:
            return self._call(lambda: store.fetch(S3Content(self._bucket, self._prefix + name), _any_size))
        except TransientError as error:
            if error.reason == "content_missing":
                return None
            raise

    def names(self) -> Iterator[str]:
        """The names of all objects below the prefix, in order. No more than a page of them is in memory."""
        asked: dict[str, Any] = {"Bucket": self._bucket, "Prefix": self._prefix, "MaxKeys": self._page}
        while True:
            page = self._call(lambda: self._client.list_objects_v2(**asked))
            for one in page.get("Contents", ()):
                if name := one["Key"].removeprefix(self._prefix):
                    yield name
            if not page.get("IsTruncated"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]

    def _call(self, call: Callable[[], _Answer]) -> _Answer:
        try:
            return call()
        except ClientError as error:
            told = store_error(error)
        except aws.CALL_FAILED as error:
            told = aws.call_error("s3", error)
        except HoldError as error:
            told = error
        if isinstance(told, HoldError):
            if problem := aws.credentials_problem(told):
                raise ConfigurationError([problem]) from None
            raise self._problem(f"may not be used ({told.detail})", f"Allow {PERMISSIONS}.") from None
        raise told from None

    def _problem(self, problem: str, hint: str) -> ConfigurationError:
        return ConfigurationError([Problem(f"the bucket {self._bucket}", f"it {problem}", hint)])


def s3_shelf(location: str, clock: Clock, *, threads: int, default_region: str | None = None) -> S3Shelf:
    """What `s3://bucket/prefix` names. Raises ConfigurationError where that is no such place."""
    bucket, _, prefix = location.removeprefix(SCHEME).partition("/")
    if not _BUCKET.fullmatch(bucket):
        hint = "Write s3://bucket/prefix: a bucket's name has 3 to 63 small letters, digits, dots and dashes."
        raise ConfigurationError([Problem(location, "this names no bucket.", hint)])
    prefix = prefix.strip("/")
    session = aws.new_session(default_region=default_region)
    client = aws.client("s3", pool=threads, timeouts=_TIMEOUTS, session=session)
    return S3Shelf(client, clock, bucket, f"{prefix}/" if prefix else "")


def _any_size(size: int) -> None:
    """The store's own limit is enough."""
