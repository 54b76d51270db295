"""A notification out of a file: what SES told about a mail, as somebody saved it from a queue, a log or a listing."""

from relayd.errors import PermanentError
from relayd.model.notification import Received
from relayd.ops.refusals import WrongEntryError
from relayd.wire import own, ses, sns
from relayd.wire.shape import parse_object

MAX_FILE = 4 * 1024 * 1024
"""Bytes: four times what SQS carries."""

_FORM = (
    "give one SES notification as JSON: the body of the SQS message (SNS's envelope), the Message in it, or the "
    "`notification` of `relayd quarantine show ID --json`."
)


def read_told(data: bytes) -> tuple[Received, frozenset[str]]:
    """The mail's notification, in an envelope or bare, and what it was released for. No signature is looked at.

    Raises WrongEntryError.
    """
    if len(data) > MAX_FILE:
        raise WrongEntryError(f"it has more than {MAX_FILE} bytes, and no notification has", _FORM)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise WrongEntryError("it is no UTF-8 text", _FORM) from None
    released: frozenset[str] = frozenset()
    try:
        if own.is_own(text):
            root = parse_object(text, "envelope")
            released = frozenset(reason for reason in root.array("Released") if isinstance(reason, str))
            notification = ses.read_notification(root.text("Message"))
        else:
            notification = ses.read(sns.open_envelope(text, {}))
    except PermanentError as error:
        raise WrongEntryError(_problem(error), _FORM) from None
    if not isinstance(notification, Received):
        raise WrongEntryError("it tells of no mail that was received", "give one whose notificationType is Received.")
    return notification, released


def _problem(error: PermanentError) -> str:
    words = {"not_json": "it is no JSON", "unknown_shape": "it is JSON, but no notification"}
    return words.get(error.reason, f"it cannot be read ({error})")
