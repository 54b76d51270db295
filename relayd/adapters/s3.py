"""The mail store, for real: S3 gets with a body read that is bounded in size and time, as botocore's is not."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError, ParamValidationError
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError, ReadTimeoutError

from relayd.adapters import aws
from relayd.errors import HoldError, PermanentError, Problem, RelaydError, TransientError
from relayd.model.notification import S3Content
from relayd.ports import Clock
from relayd.telemetry import names, spans

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MAX_BYTES = 41 * 1024 * 1024
"""SES receives mail of up to 40 MB; what is larger was not put there by SES."""
_CHUNK = 256 * 1024

_ENCRYPTED_BY_CLIENT = {"x-amz-key", "x-amz-key-v2"}
"""Metadata of Amazon's encryption clients; SES writes them when the receipt rule names a KMS key."""

_BUCKET_MISSING = {"NoSuchBucket", "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint"}
_KEY_MISSING = {"NoSuchKey", "NoSuchVersion", "HTTP404"}
_NEVER_READABLE = {
    "InvalidObjectState": "archived",
    "InvalidBucketName": "s3_impossible_name",
    "InvalidURI": "s3_impossible_name",
    "KeyTooLongError": "s3_impossible_name",
}


class S3MailStore:
    """Implements `relayd.ports.MailStore`. `read_deadline`: seconds for the whole body, once its headers are here."""

    def __init__(
        self, client: "S3Client", *, clock: Clock, read_deadline: float = 30.0, max_bytes: int = MAX_BYTES
    ) -> None:
        self._client = client
        self._clock = clock
        self._read_deadline = read_deadline
        self._max_bytes = max_bytes

    def fetch(self, content: S3Content, admit: Callable[[int], None]) -> bytes:
        if not content.bucket or not content.key:
            # Without a key the request would list the bucket.
            raise PermanentError("s3_impossible_name")
        try:
            answer = self._client.get_object(Bucket=content.bucket, Key=content.key)
        except ClientError as error:
            raise store_error(error) from None
        except ParamValidationError:
            raise PermanentError("s3_impossible_name") from None
        except aws.CALL_FAILED as error:
            raise aws.call_error("s3", error) from None
        except HTTPError as error:
            # The text of an answer that says no, which botocore reads without translating what goes wrong then.
            raise _body_error(error) from None
        # Leaving this block closes the connection, unless the body was read to its end: then it is in the pool again.
        with cast("BaseHTTPResponse", answer["Body"].__enter__()) as raw:
            size = self._size(answer)
            refuse_encrypted(answer.get("Metadata", {}))
            admit(size)
            with spans.step(names.BODY):
                return self._read(raw, answer["Body"], size)

    def _size(self, answer: Mapping[str, Any]) -> int:
        size = answer.get("ContentLength")
        if size is None:
            raise TransientError("s3_unreadable", "no Content-Length", dependency="s3")
        if size > self._max_bytes:
            raise PermanentError("too_large", f"{size} bytes")
        return int(size)

    def _read(self, raw: BaseHTTPResponse, body: Any, size: int) -> bytes:
        deadline = self._clock.monotonic() + self._read_deadline
        patience: float = self._client.meta.config.read_timeout  # type: ignore[attr-defined]
        data = bytearray()
        try:
            while len(data) < size:
                left = deadline - self._clock.monotonic()
                if left <= 0:
                    raise TransientError("s3_timeout", "body", dependency="s3")
                if left < patience:
                    body.set_socket_timeout(left)
                # One read of the socket: `read` would go on until the chunk is full, however slowly it trickles.
                chunk = raw.read1(min(_CHUNK, size - len(data)))
                if not chunk:
                    raise TransientError("s3_truncated", f"{len(data)} of {size} bytes", dependency="s3")
                data += chunk
            # Gives the connection back to the pool.
            raw.drain_conn()
        except (HTTPError, OSError) as error:
            raise _body_error(error) from None
        return bytes(data)


def _body_error(error: HTTPError | OSError) -> TransientError:
    if isinstance(error, ReadTimeoutError):
        return TransientError("s3_timeout", "body", dependency="s3")
    return TransientError("s3_unreachable", f"body, {type(error).__name__}", dependency="s3")


def refuse_encrypted(metadata: Mapping[str, str]) -> None:
    """Raise PermanentError for an object whose metadata say that its client encrypted it."""
    if not _ENCRYPTED_BY_CLIENT.isdisjoint(name.lower() for name in metadata):
        remedy = "the receipt rule's S3 action names a KMS key: remove it there, and give the bucket SSE-KMS instead"
        raise PermanentError("client_side_encrypted", remedy)


def store_error(error: ClientError) -> RelaydError:
    """What an error of a get means."""
    code = aws.code(error)
    if code in _KEY_MISSING:
        return TransientError("content_missing", aws.fact(error))
    if code in _NEVER_READABLE:
        return PermanentError(_NEVER_READABLE[code], aws.fact(error))
    # What follows may belong to one bucket or one object, so it holds only after three of them.
    if code in _BUCKET_MISSING:
        return HoldError("s3", "bucket_missing", aws.fact(error), wide=False)
    if code.startswith("KMS.") and "Throttling" not in code:
        return HoldError("s3", "key_unusable", aws.fact(error), wide=False)
    return aws.service_error("s3", error, denied_wide=False)


_BUCKET_PROBLEMS = {
    301: ("is in another region", "Set AWS_REGION to the bucket's region."),
    400: ("is in another region, or its name is not possible", "Check RELAYD_BUCKETS and AWS_REGION."),
    403: ("may not be read by relayd", "Allow s3:GetObject on its objects and s3:ListBucket on the bucket itself."),
    404: ("does not exist", "Check RELAYD_BUCKETS, AWS_REGION, and AWS_ENDPOINT_URL if an emulator is meant."),
}


def check_bucket(client: "S3Client", bucket: str) -> Problem | None:
    """What is wrong with a bucket at start-up. An outage is not: the mail waits, and pods must not crash-loop."""
    try:
        client.head_bucket(Bucket=bucket)
    except ClientError as error:
        # A HEAD has no body, hence no code: the status is all there is.
        found = _BUCKET_PROBLEMS.get(aws.status(error))
        return Problem(f"bucket {bucket}", f"The bucket {found[0]}.", found[1]) if found else None
    except ParamValidationError:
        return Problem(
            "RELAYD_BUCKETS", f"{bucket} is not a possible bucket name.", "Name the bucket, without s3:// or a path."
        )
    except aws.CALL_FAILED as error:
        return aws.credentials_problem(aws.call_error("s3", error))
    return None
