"""The mailer, for real: SES v2 SendEmail with a raw mail, one attempt a call, and the table of what its errors mean."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, ParamValidationError

from relayd.adapters import aws
from relayd.adapters.sending import begin_request, note_sending, request_sent
from relayd.errors import HoldError, InDoubtError, PermanentError, RelaydError, TransientError
from relayd.ports import Outgoing

if TYPE_CHECKING:
    from mypy_boto3_sesv2 import SESV2Client

QUOTA_HOLD = 600.0
"""Seconds to hold when the day's quota is used up; it is a sliding window, so it frees up bit by bit."""


class SesMailer:
    """Implements `relayd.ports.Mailer`. The client must be new: its connections are made to note what was sent.

    A call takes at most the connect timeout (twice, with TLS) and the read timeout, name resolution aside.
    """

    def __init__(self, client: "SESV2Client", *, configuration_set: str | None) -> None:
        note_sending(client)
        self._client = client
        self._fixed: dict[str, Any] = {"ConfigurationSetName": configuration_set} if configuration_set else {}

    def send(self, mail: Outgoing) -> str:
        begin_request()
        try:
            answer = self._client.send_email(
                FromEmailAddress=mail.sender,
                Destination={"ToAddresses": [mail.recipient]},
                Content={"Raw": {"Data": mail.data}},
                EmailTags=[{"Name": name, "Value": value} for name, value in mail.tags.items()],
                **self._fixed,
            )
        except ClientError as error:
            raise send_error(error) from None
        except ParamValidationError as error:
            raise PermanentError("ses_refused_malformed", type(error).__name__) from None
        except aws.CALL_FAILED as error:
            raise _no_answer(error) from None
        except Exception as error:
            # A bug, perhaps of a telemetry hook; but one that came after the mail was out is doubt first of all.
            if request_sent():
                raise InDoubtError("ses_unreadable", type(error).__name__) from None
            raise
        ses_id = answer.get("MessageId")
        if not ses_id:
            raise InDoubtError("ses_unreadable", f"HTTP {answer['ResponseMetadata']['HTTPStatusCode']}, no MessageId")
        return ses_id


def _no_answer(error: Exception) -> RelaydError:
    failed = aws.call_error("ses", error)
    return InDoubtError(failed.reason, failed.detail) if request_sent() else failed


Meaning = Callable[[str], RelaydError]
"""Makes the error, given what may be told of the answer."""


@dataclass(frozen=True, slots=True)
class _Row:
    """The row applies when the code (or `HTTP<status>`) is in `codes`, if any, and `text` is found, if any."""

    codes: frozenset[str]
    text: re.Pattern[str] | None
    meaning: Meaning

    def applies(self, names: set[str], text: str) -> bool:
        return (not self.codes or not self.codes.isdisjoint(names)) and (
            self.text is None or self.text.search(text) is not None
        )


def _hold(reason: str, *, wide: bool = True, retry_after: float | None = None) -> Meaning:
    return lambda fact: HoldError("ses", reason, fact, wide=wide, retry_after=retry_after)


def _permanent(reason: str) -> Meaning:
    return lambda fact: PermanentError(reason, fact)


def _row(codes: str, text: str | None, meaning: Meaning) -> _Row:
    """`codes` are given without the suffix `Exception`, which SES v2 adds and other forms of the API do not."""
    names = {name + suffix for name in codes.split() for suffix in ("", "Exception")}
    return _Row(frozenset(names), re.compile(text, re.IGNORECASE) if text else None, meaning)


_LIMITS = "TooManyRequests Throttling LimitExceeded HTTP429"
_MALFORMED = "BadRequest InvalidParameterValue InvalidParameter ValidationError Validation Serialization"

_TABLE = (
    # The order matters where texts decide: a code means different things.
    _row(_LIMITS, "daily message quota exceeded", _hold("ses_daily_quota", retry_after=QUOTA_HOLD)),
    _row(_LIMITS, None, lambda fact: TransientError("ses_throttled", fact, dependency="ses", charged=False)),
    _row(
        "SendingPaused AccountSendingPaused ConfigurationSetSendingPaused AccountSuspended",
        None,
        _hold("ses_sending_paused"),
    ),
    # The older API's words for the same, under codes that otherwise mean one mail.
    _row(f"MessageRejected {_MALFORMED}", r"sending (is )?(paused|suspended)", _hold("ses_sending_paused")),
    _row("MailFromDomainNotVerified", None, _hold("ses_mail_from_not_verified")),
    _row("NotFound ConfigurationSetDoesNotExist", None, _hold("ses_configuration_set_missing")),
    _row("", "email address is not verified", _hold("ses_address_not_verified", wide=False)),
    _row("HTTP413 RequestEntityTooLarge RequestTooLarge", None, _permanent("too_large")),
    _row(
        f"MessageRejected {_MALFORMED}",
        r"(message|request|content|e-?mail|raw).{0,40}\b(too large|too long|length is more than|size (exceeds|is))"
        r"|exceeds? .{0,30}\b(maximum|allowed|message) (message )?(size|length)",
        _permanent("too_large"),
    ),
    _row("MessageRejected", None, _permanent("ses_rejected")),
    _row(_MALFORMED, None, _permanent("ses_refused_malformed")),
)


_DEFECTS = (
    ("duplicate header", "duplicate_header"),
    ("illegal header", "illegal_header"),
    ("empty header", "empty_header_name"),
    ("missing start boundary", "start_boundary"),
    ("header section too long", "header_size"),
    ("extra route-addr", "route_address"),
    ("missing final '@domain'", "no_domain"),
    ("local address contains", "local_part"),
    ("domain contains", "domain"),
    ("invalid email address", "address"),
)
"""What SES calls malformed, as words that may be told: the texts themselves name headers and addresses."""


def send_error(error: ClientError) -> RelaydError:
    """What SES's answer to a send means; it has an answer, so the mail was not accepted."""
    code, status = aws.code(error), aws.status(error)
    general = aws.service_error("ses", error)
    if isinstance(general, HoldError) or status >= 500 or status == 408:
        # Credentials come with status 400 too, and a 5xx may carry any code.
        return general
    names, text = {code, f"HTTP{status}"} if status == 413 else {code}, aws.text(error)
    for row in _TABLE:
        if row.applies(names, text):
            defect = next((f", {word}" for part, word in _DEFECTS if part in text.lower()), "")
            return row.meaning(aws.fact(error) + defect)
    return general
