"""How clients are built, and the words for what all of their calls may meet."""

from datetime import UTC, datetime

import botocore.exceptions as boto
import pytest

from relayd.adapters import aws
from relayd.adapters.aws import Timeouts
from relayd.errors import ConfigurationError
from tests.contract.moto_server import REGION, fake_session


def test_one_attempt_and_our_timeouts() -> None:
    """What would hide a dead socket for minutes is switched off."""
    made = aws.client("s3", pool=7, timeouts=Timeouts(connect=3, read=30), session=fake_session())
    config = made.meta.config
    assert config.retries == {"mode": "standard", "total_max_attempts": 1}  # type: ignore[attr-defined]
    assert (config.connect_timeout, config.read_timeout) == (3, 30)  # type: ignore[attr-defined]
    assert config.max_pool_connections == 7  # type: ignore[attr-defined]
    assert made.meta.region_name == REGION


def test_no_region_is_a_configuration_error() -> None:
    """A missing region is told with the variable that sets it."""
    bare = aws.new_session()
    bare.set_config_variable("region", None)
    with pytest.raises(ConfigurationError) as caught:
        aws.client("sqs", pool=1, timeouts=Timeouts(1, 1), session=bare)
    assert caught.value.problems[0].subject == "AWS_REGION"


def test_a_region_that_cannot_be_is_a_configuration_error() -> None:
    """So is one that is no region."""
    with pytest.raises(ConfigurationError):
        aws.client("sqs", pool=1, timeouts=Timeouts(1, 1), region="not a region", session=fake_session())


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)),
        ("2026-11-23T08:59:46Z", datetime(2026, 11, 23, 8, 59, 46, tzinfo=UTC)),
        (1_700_000_000, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
    ],
)
def test_timestamps(value: object, parsed: datetime) -> None:
    """HTTP dates take the short way; every other form still means what botocore says."""
    assert aws.parse_timestamp(value) == parsed


@pytest.mark.parametrize("value", ["Sun, 06 Xxx 1994 08:49:37 GMT", "Sun, 99 Nov 1994 08:49:37 GMT"])
def test_impossible_timestamps(value: str) -> None:
    """What only looks like an HTTP date is refused as botocore refuses it."""
    with pytest.raises(ValueError):
        aws.parse_timestamp(value)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ("NoSuchKey", "NoSuchKey"),
        ("com.amazonaws.sqs#QueueDoesNotExist", "QueueDoesNotExist"),
        ("404", "HTTP404"),
        ("", "HTTP404"),
        ("someone's name was here: " * 9, "HTTP404"),
    ],
)
def test_codes(found: str, told: str) -> None:
    """A code without its namespace; where there is none, the status."""
    error = boto.ClientError({"Error": {"Code": found}, "ResponseMetadata": {"HTTPStatusCode": 404}}, "Op")  # type: ignore[typeddict-item]
    assert aws.code(error) == told
