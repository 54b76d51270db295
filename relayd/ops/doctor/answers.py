"""What an answer of AWS tells, or why it tells nothing."""

import json
from collections.abc import Mapping
from typing import Any

from relayd.adapters.questions import OUT_OF_TIME, SETTINGS_WRONG, Answer
from relayd.ops.doctor.findings import UnknownError

_MISSING = frozenset(
    {
        "AWS.SimpleQueueService.NonExistentQueue",
        "QueueDoesNotExist",
        "NotFound",
        "NotFoundException",
        "NoSuchBucket",
        "NoSuchEntity",
        "HTTP404",
    }
)
"""How AWS says that a thing is not there."""

_SILENCE = {
    OUT_OF_TIME: "there was no time left to ask AWS for it",
    "aws_timeout": "AWS did not answer in time",
    "aws_unreachable": "AWS cannot be reached",
    "aws_unreadable": "what answers in AWS's place is not AWS",
    "credentials_missing": "there are no AWS credentials",
    SETTINGS_WRONG: "the AWS settings cannot be read (AWS_PROFILE, AWS_REGION, AWS_CONFIG_FILE)",
}


def told(answer: Answer) -> Mapping[str, Any]:
    """What AWS told. Raises UnknownError with the reason where it told nothing."""
    if answer.told is None:
        raise unknown(answer)
    return answer.told


def unknown(answer: Answer) -> UnknownError:
    """Why nothing is known, and what to do about it."""
    if answer.denied:
        return UnknownError(
            f"AWS does not allow {answer.permission}",
            f"allow {answer.permission} to whoever runs `relayd doctor`; the daemon may do without",
        )
    if answer.credentials_refused:
        return UnknownError(f"AWS refuses the credentials ({answer.code})", "see what is said of the credentials")
    if missing(answer):
        return UnknownError("it is not there", "see above")
    if answer.refused:
        return UnknownError(f"AWS answers {answer.permission} with {answer.code}")
    return UnknownError(_SILENCE.get(answer.code, answer.code))


def missing(answer: Answer) -> bool:
    """Whether AWS says that the thing is not there."""
    return answer.refused and answer.code in _MISSING


def none_set(answer: Answer, code: str) -> bool:
    """Whether the thing is there and has nothing of the kind, which S3 calls an error of its own."""
    return answer.refused and answer.code == code


def parsed(text: str | None) -> dict[str, Any]:
    """An attribute that is JSON; empty where there is none, or where it is no object."""
    try:
        value = json.loads(text) if text else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
