"""What SES refuses for reasons that lie in no mail, one fault rule each: codes, statuses and words as SES has them."""

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from tests.cloud.mailing import MAIL, send, verify
from tests.cloud.server import EmbeddedServer


@pytest.fixture
def ready(server: EmbeddedServer) -> Iterator[EmbeddedServer]:
    verify(server)
    yield server
    server.aws.clear_faults()


RATE, QUOTA = "Maximum sending rate exceeded.", "Daily message quota exceeded."
PAUSED = "Email sending has been disabled."
TOKEN = "The security token included in the request is"

ROWS = [
    ("TooManyRequestsException", RATE, 429),
    ("Throttling", RATE, 400),
    ("ThrottlingException", "Rate exceeded", 400),
    ("Throttling", QUOTA, 400),
    ("LimitExceededException", QUOTA, 400),
    ("SendingPausedException", PAUSED, 400),
    ("AccountSendingPausedException", PAUSED, 400),
    ("ConfigurationSetSendingPausedException", PAUSED, 400),
    ("AccountSuspendedException", "The account is suspended.", 400),
    ("MailFromDomainNotVerifiedException", "Mail-From domain is not verified.", 400),
    ("NotFoundException", "Configuration set <x> does not exist.", 404),
    ("ConfigurationSetDoesNotExistException", "Configuration set <x> does not exist.", 400),
    ("UnauthorizedException", "Unauthorized", 401),
    ("AccessDeniedException", "User is not authorized to perform: ses:SendEmail", 403),
    ("ExpiredTokenException", f"{TOKEN} expired", 403),
    ("UnrecognizedClientException", f"{TOKEN} invalid.", 403),
    ("InvalidSignatureException", "The request signature we calculated does not match.", 403),
    ("MessageRejected", "Email address is not verified.", 400),
    ("MessageRejected", "Transaction failed: the content was not accepted.", 400),
    ("InvalidParameterValue", "Duplicate header 'Subject'.", 400),
    ("RequestEntityTooLargeException", "Request entity too large", 413),
    ("RequestTimeout", "Request timed out", 408),
    ("InternalServiceErrorException", "The service failed internally.", 500),
    ("BadGateway", "Bad gateway", 502),
    ("ServiceUnavailable", "Service unavailable", 503),
    ("GatewayTimeout", "Gateway timeout", 504),
]


@pytest.mark.parametrize(("code", "text", "status"), ROWS, ids=[f"{row[2]}-{row[0]}" for row in ROWS])
def test_any_row_of_the_table(ready: EmbeddedServer, code: str, text: str, status: int) -> None:
    """A rule makes SES answer one recipient's mail so, and sends nothing; others' mail goes on."""
    before = ready.aws.counts()["sent"]
    rule = {"operation": "ses:SendEmail", "fault": "error", "code": code, "message": text, "status": status}
    ready.aws.faults([{**rule, "resource": "struck@home.example"}])
    with pytest.raises(ClientError) as caught:
        send(ready, "struck@home.example")
    response = caught.value.response
    assert response["Error"]["Code"] == code
    assert response["Error"]["Message"] == text
    assert response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert ready.aws.counts()["sent"] == before
    send(ready)
    assert ready.aws.counts()["sent"] == before + 1


@pytest.mark.parametrize(("when", "sent"), [("before", 0), ("after", 1)])
def test_answers_that_are_lost(ready: EmbeddedServer, when: str, sent: int) -> None:
    """A reset or a hang before SES has taken the mail, or after: only the truth tells the difference."""
    before = ready.aws.counts()["sent"]
    ready.aws.faults([{"operation": "ses:SendEmail", "fault": "reset", "when": when}])
    with pytest.raises(ConnectionClosedError):
        send(ready)
    assert ready.aws.counts()["sent"] == before + sent
    ready.aws.faults([{"operation": "ses:SendEmail", "fault": "hang", "when": when}])
    config = Config(retries={"total_max_attempts": 1}, read_timeout=0.3)
    hasty: Any = ready.session.create_client("sesv2", endpoint_url=ready.endpoint, config=config)
    with pytest.raises(ReadTimeoutError):
        hasty.send_email(Destination={"ToAddresses": ["owner@home.example"]}, Content={"Raw": {"Data": MAIL}})
    assert ready.aws.counts()["sent"] == before + 2 * sent
