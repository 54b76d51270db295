"""The AWS clients, each built once with one attempt per call, and the words for what all of their calls may meet.

An error's text never leaves this floor: AWS writes addresses and names into it. A code and an HTTP status do.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, overload

import botocore.exceptions as boto
from botocore.config import Config
from botocore.parsers import DEFAULT_TIMESTAMP_PARSER, ResponseParserError
from botocore.session import Session

import relayd
from relayd.errors import ConfigurationError, Dependency, HoldError, Problem, RelaydError, TransientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sesv2 import SESV2Client
    from mypy_boto3_sqs import SQSClient

Service = Literal["sqs", "s3", "sesv2", "sns", "ses", "sts", "iam", "kms", "cloudwatch"]
"""The last six only answer questions: see `relayd.adapters.questions` and `queue_age`."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. For SES, `read` bounds the sending of the request and the wait for its answer together: see
    `relayd.adapters.sending`.
    """

    connect: float
    read: float


def new_session(default_region: str | None = None, environ: Mapping[str, str] = os.environ) -> Session:
    """A botocore session on the standard AWS settings, to build all clients from: they share its credentials.

    `default_region` counts where nothing else names one. Not thread-safe, unlike the clients: build them in one
    thread.
    """
    made = Session()
    if made.get_config_variable("region") is None:
        # botocore reads AWS_DEFAULT_REGION alone; every other SDK, and EKS, say AWS_REGION.
        made.set_config_variable("region", environ.get("AWS_REGION") or default_region)
    # dateutil on Last-Modified, which nobody reads, is a tenth of what a get costs.
    made.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=parse_timestamp)
    return made


@overload
def client(
    service: Literal["sqs"],
    *,
    pool: int,
    timeouts: Timeouts,
    region: str | None = ...,
    session: Session | None = ...,
    endpoint: str | None = ...,
) -> "SQSClient": ...
@overload
def client(
    service: Literal["s3"],
    *,
    pool: int,
    timeouts: Timeouts,
    region: str | None = ...,
    session: Session | None = ...,
    endpoint: str | None = ...,
) -> "S3Client": ...
@overload
def client(
    service: Literal["sesv2"],
    *,
    pool: int,
    timeouts: Timeouts,
    region: str | None = ...,
    session: Session | None = ...,
    endpoint: str | None = ...,
) -> "SESV2Client": ...
@overload
def client(
    service: Service,
    *,
    pool: int,
    timeouts: Timeouts,
    region: str | None = ...,
    session: Session | None = ...,
    endpoint: str | None = ...,
) -> Any: ...
def client(
    service: Service,
    *,
    pool: int,
    timeouts: Timeouts,
    region: str | None = None,
    session: Session | None = None,
    endpoint: str | None = None,
) -> Any:
    """A client whose calls are one attempt each. `pool`: at least as many connections as threads that share it.

    `endpoint` is for tests and the sandbox; otherwise AWS_ENDPOINT_URL and its per-service forms count, as always.
    """
    try:
        made: Any = (session or new_session()).create_client(
            service, region_name=region, endpoint_url=endpoint, config=_config(pool, timeouts)
        )
    except boto.NoRegionError:
        hint = "Set AWS_REGION to the region of the queue, for example AWS_REGION=eu-west-1."
        raise ConfigurationError([Problem("AWS_REGION", "No AWS region is configured.", hint)]) from None
    except (boto.InvalidRegionError, boto.ProfileNotFound, boto.ConfigParseError, ValueError) as error:
        hint = "Check AWS_REGION, AWS_PROFILE, AWS_CONFIG_FILE and AWS_ENDPOINT_URL."
        problem = f"No client can be built from the AWS settings ({type(error).__name__})."
        raise ConfigurationError([Problem("AWS_*", problem, hint)]) from None

    made.meta.events.register("before-parse", _refuse_half)
    return made


def _refuse_half(response_dict: Mapping[str, Any], operation_model: Any, **_: Any) -> None:
    """A success whose connection ended early. botocore does not look, and takes half of a JSON text for an empty one:
    a receive that lost its messages would mean that there were none.
    """
    body, told = response_dict["body"], response_dict["headers"].get("content-length", "")
    if response_dict["status_code"] >= 300 or operation_model.http.get("method") == "HEAD":
        return
    # Bodies that are streamed are counted by who reads them.
    if isinstance(body, bytes) and told.isdecimal() and int(told) != len(body):
        raise boto.IncompleteReadError(actual_bytes=len(body), expected_bytes=int(told))


def _config(pool: int, timeouts: Timeouts) -> Config:
    return Config(
        # Not max_attempts: its 1 means two tries.
        retries={"mode": "standard", "total_max_attempts": 1},
        connect_timeout=timeouts.connect,
        read_timeout=timeouts.read,
        max_pool_connections=pool,
        tcp_keepalive=True,
        # Fixed: botocore otherwise composes it anew for each call.
        user_agent=f"relayd/{relayd.__version__}",
        # The adapters build all parameters themselves; what they take from outside they check.
        parameter_validation=False,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def parse_timestamp(value: Any) -> datetime:
    """An HTTP date by its fixed columns; anything else (credentials' expiry, JSON numbers) as botocore reads it."""
    if isinstance(value, str) and len(value) == 29 and value.endswith(" GMT"):
        try:
            day, month, year = int(value[5:7]), 1 + _MONTHS.index(value[8:11]), int(value[12:16])
            return datetime(year, month, day, int(value[17:19]), int(value[20:22]), int(value[23:25]), tzinfo=UTC)
        except ValueError:
            pass
    parsed: datetime = DEFAULT_TIMESTAMP_PARSER(value)
    return parsed


# What every service may answer. Codes differ by protocol and age of the service, so the table holds all spellings.

CREDENTIALS_REFUSED = frozenset(
    {
        "AccountProblem",
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSecurity",
        "InvalidSignatureException",
        "InvalidToken",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "NotSignedUp",
        "OptInRequired",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnrecognizedClientException",
    }
)
ACCESS_DENIED = frozenset(
    {"AccessDenied", "AccessDeniedException", "AllAccessDisabled", "AuthorizationError", "NotAuthorized"}
)
THROTTLED = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "PriorRequestNotComplete",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequests",
        "TooManyRequestsException",
    }
)

NOT_CONNECTED = (
    boto.EndpointConnectionError,
    boto.ConnectTimeoutError,
    boto.ProxyConnectionError,
    boto.SSLError,
)
"""No request was made, or none that could be understood. (SES has a better source: `relayd.adapters.sending`.)"""

CALL_FAILED = (boto.BotoCoreError, ResponseParserError)
"""What a call raises that got no answer, or none that can be read; an answer of AWS that says no is a ClientError."""

_NO_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.NoAuthTokenError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.TokenRetrievalError,
    boto.MetadataRetrievalError,
    boto.RefreshWithMFAUnsupportedError,
    boto.SSOError,
)


def code(error: boto.ClientError) -> str:
    """The error's code without a namespace; `HTTP<status>` for an answer that had none (or not one of AWS's)."""
    found = str(error.response.get("Error", {}).get("Code", "")).rpartition("#")[2]
    if found and not found.isdigit() and found != "Unknown" and len(found) <= 80 and found.isascii():
        return found
    return f"HTTP{status(error)}"


def status(error: boto.ClientError) -> int:
    """The HTTP status of the answer, 0 when unknown."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def fact(error: boto.ClientError) -> str:
    """What may be told about an error: its code and status, never its text."""
    return f"{code(error)}, HTTP {status(error)}"


def text(error: boto.ClientError) -> str:
    """The error's text, to match against and never to pass on."""
    return str(error.response.get("Error", {}).get("Message", ""))


def service_error(dependency: Dependency, error: boto.ClientError, *, denied_wide: bool = True) -> RelaydError:
    """What an answer means that the service's own table does not know. Unknown codes are transient: to try again
    is safe, to give a mail up because of a code that AWS has invented since is not.
    """
    found = code(error)
    if found in CREDENTIALS_REFUSED:
        return HoldError(dependency, "credentials_refused", fact(error))
    if found in ACCESS_DENIED or found.startswith("KMS.AccessDenied"):
        return HoldError(dependency, "access_denied", fact(error), wide=denied_wide)
    if found in THROTTLED or status(error) == 429:
        return TransientError(f"{dependency}_throttled", fact(error), dependency=dependency, charged=False)
    if status(error) in {401, 403}:
        return HoldError(dependency, "access_denied", fact(error), wide=denied_wide)
    return TransientError(f"{dependency}_unavailable", fact(error), dependency=dependency)


def call_error(dependency: Dependency, error: Exception) -> RelaydError:
    """What it means that a call got no answer at all."""
    name = type(error).__name__
    if isinstance(error, _NO_CREDENTIALS):
        return HoldError(dependency, "credentials_missing", name)
    if isinstance(error, (boto.ReadTimeoutError, boto.ConnectTimeoutError)):
        return TransientError(f"{dependency}_timeout", name, dependency=dependency)
    if isinstance(error, (*NOT_CONNECTED, boto.HTTPClientError)):
        return TransientError(f"{dependency}_unreachable", name, dependency=dependency)
    return TransientError(f"{dependency}_unreadable", name, dependency=dependency)


CREDENTIALS_HINT = (
    "Give relayd credentials by the standard AWS settings: a role of the pod or instance, or AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY (with AWS_SESSION_TOKEN if they are temporary)."
)


def credentials_problem(error: RelaydError) -> Problem | None:
    """The problem to report at start-up, where the error says that our credentials do not work."""
    if error.reason not in {"credentials_missing", "credentials_refused"}:
        return None
    known = "There are no AWS credentials" if error.reason == "credentials_missing" else "AWS refuses the credentials"
    return Problem("AWS credentials", f"{known} ({error.detail}).", CREDENTIALS_HINT)
