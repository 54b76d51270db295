"""Questions to AWS that change nothing: one call each, and an answer whichever way it went.

For `relayd doctor`, which wants to know what AWS says rather than what that means for a mail: a refusal is an answer.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import botocore.exceptions as boto
from botocore.session import Session

from relayd.adapters import aws
from relayd.errors import ConfigurationError

TIMEOUTS = aws.Timeouts(connect=3.0, read=8.0)
"""All of these answer in milliseconds; a person waits."""
POOL = 16
OUT_OF_TIME = "out_of_time"
"""The code of a question that was not asked any more."""
SETTINGS_WRONG = "aws_settings_wrong"
"""The code of a question that could not be asked, because the standard AWS settings are wrong or name no region."""

Service = Literal["sqs", "s3", "sesv2", "sns", "ses", "sts", "iam", "kms"]

_PERMISSIONS: Mapping[str, str] = {
    # Where a right is not called as the operation is.
    "s3:HeadBucket": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3:GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one question."""

    permission: str
    """The right that it takes: `sqs:GetQueueAttributes`."""
    told: Mapping[str, Any] | None = field(repr=False, default=None)
    """The answer; None where there is none."""
    code: str = ""
    """AWS's code where it said no; else what kept the answer away: `queue_timeout`, `credentials_missing`, ..."""
    status: int = 0
    """HTTP's; 0 where nothing answered."""
    skew: float | None = None
    """Seconds by which our clock is ahead of AWS's: by the answer's date, which knows whole seconds only."""

    @property
    def refused(self) -> bool:
        """AWS answered, and said no."""
        return self.told is None and self.status > 0

    @property
    def denied(self) -> bool:
        """AWS said no because this identity may not ask."""
        known = self.code in aws.ACCESS_DENIED or self.code.startswith("KMS.AccessDenied")
        return self.refused and (known or self.code == "HTTP403")

    @property
    def credentials_refused(self) -> bool:
        """AWS does not know, or no longer knows, who asks."""
        return self.code in aws.CREDENTIALS_REFUSED


@dataclass(frozen=True, slots=True)
class Question:
    """One call, as botocore names it."""

    service: Service
    operation: str
    """`get_queue_attributes`."""
    region: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def permission(self) -> str:
        prefix = {"sesv2": "ses"}.get(self.service, self.service)
        name = "".join(word.capitalize() for word in self.operation.split("_"))
        return _PERMISSIONS.get(f"{prefix}:{name}", f"{prefix}:{name}")


class QuestionClients:
    """The clients that ask, each made when it is first wanted; many gatherings may share them."""

    def __init__(
        self, session: Session | None, *, endpoint: str | None = None, timeouts: aws.Timeouts = TIMEOUTS
    ) -> None:
        """`session`: None where the standard AWS settings make none. `endpoint` is for tests."""
        self._session = session
        self._timeouts = timeouts
        self._endpoint = endpoint
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, str | None], Any] = {}

    @classmethod
    def standard(cls, default_region: str | None) -> "QuestionClients":
        """By the standard AWS settings."""
        try:
            return cls(aws.new_session(default_region))
        except boto.BotoCoreError:
            # A profile that does not exist, a file that cannot be read.
            return cls(None)

    @property
    def region(self) -> str | None:
        """The region that counts where a question names none."""
        if self._session is None:
            return None
        found: str | None = self._session.get_config_variable("region")
        return found

    def credentials(self) -> tuple[str, bool]:
        """Where the credentials come from (`env`, `assume-role`, ...; empty for nowhere), and whether they are
        temporary ones that nobody renews.
        """
        with self._lock:
            found = _credentials(self._session) if self._session is not None else None
        if found is None:
            return "", False
        renewed = hasattr(found, "refresh_needed")
        return str(found.method), bool(found.token) and not renewed

    def client(self, service: Service, region: str | None) -> Any:
        """Raises ConfigurationError where none can be made."""
        if self._session is None:
            raise ConfigurationError([])
        place = (service, region)
        # Made one at a time: a session is not thread-safe.
        with self._lock:
            if place not in self._clients:
                self._clients[place] = aws.client(
                    service,
                    pool=POOL,
                    timeouts=self._timeouts,
                    region=region,
                    session=self._session,
                    endpoint=self._endpoint,
                )
            return self._clients[place]


class Questions:
    """Asks AWS. Any number of threads may do so at once; nothing is asked after the deadline."""

    def __init__(
        self,
        clients: QuestionClients,
        *,
        seconds: float,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        asked: Callable[[], object] = lambda: None,
    ) -> None:
        """`asked` is told of each answer."""
        self._clients = clients
        self._now = now
        self._monotonic = monotonic
        self._deadline = monotonic() + seconds
        self._asked = asked
        self._silent: dict[tuple[str, str | None], Answer] = {}

    def ask(self, question: Question) -> Answer:
        """Ask once. A place that did not answer is not asked again: nobody waits for it twice."""
        place = (question.service, question.region)
        permission = question.permission
        if self._monotonic() >= self._deadline:
            return Answer(permission, code=OUT_OF_TIME)
        if (silent := self._silent.get(place)) is not None:
            return Answer(permission, code=silent.code)
        answer = self._ask(question, permission)
        if answer.told is None and not answer.status:
            self._silent[place] = answer
        self._asked()
        return answer

    def _ask(self, question: Question, permission: str) -> Answer:
        try:
            call = getattr(self._clients.client(question.service, question.region), question.operation)
            before = self._now()
            told = call(**question.parameters)
        except boto.ClientError as error:
            skew = self._skew(error.response, before)
            return Answer(permission, code=aws.code(error), status=aws.status(error), skew=skew)
        except aws.CALL_FAILED as error:
            return Answer(permission, code=aws.call_error("queue", error).reason.replace("queue_", "aws_"))
        except ConfigurationError:
            return Answer(permission, code=SETTINGS_WRONG)
        if question.operation == "get_object":
            # The connection goes: a byte or a whole mail, nobody reads it.
            told["Body"].close()
        return Answer(permission, told, status=200, skew=self._skew(told, before))

    def _skew(self, response: Mapping[str, Any], before: float) -> float | None:
        headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        try:
            date = parsedate_to_datetime(headers["date"]).timestamp()
        except (KeyError, ValueError, TypeError):
            return None
        # The answer was dated between our two looks, in a second that was cut off.
        return (before + self._now()) / 2 - (date + 0.5)


def _credentials(session: Session) -> Any:
    try:
        return session.get_credentials()
    except boto.BotoCoreError:
        return None
