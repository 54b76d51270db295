"""Events of any content: both shapes say the same, nothing but a nameless mail is refused, and time is linear."""

import json
import re
import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from relayd.errors import PermanentError
from relayd.model.feedback import Feedback
from relayd.wire.ses import read_notification
from tests.wire.events import ADDRESS, FEEDBACK_ID, bounce, event, feedback_of
from tests.wire.test_fuzz import any_json, paths, replaced

recipients = st.fixed_dictionaries(
    {"emailAddress": st.emails() | st.just("Me <me@home.example>")},
    optional={
        "status": st.sampled_from(["5.1.1", "5.7.1", "4.2.2", "nonsense"]),
        "diagnosticCode": st.sampled_from(["smtp; 554 5.7.1 spam detected", "smtp; 550 no such user"]) | st.text(),
        "action": st.just("failed"),
    },
)
moments = st.datetimes().map(lambda moment: moment.isoformat() + "Z")


@given(
    st.sampled_from(
        [
            ("Bounce", "bounce", "bouncedRecipients"),
            ("Complaint", "complaint", "complainedRecipients"),
            ("Delivery", "delivery", "recipients"),
        ]
    ),
    st.lists(recipients, max_size=4),
    st.fixed_dictionaries(
        {"timestamp": moments},
        optional={
            "feedbackId": st.from_regex(r"[0-9a-f-]{1,64}", fullmatch=True),
            "bounceType": st.sampled_from(["Permanent", "Transient", "Undetermined"]),
            "bounceSubType": st.sampled_from(["General", "NoEmail", "MailboxFull"]),
            "complaintFeedbackType": st.sampled_from(["abuse", "not-spam"]),
        },
    ),
)
def test_both_shapes_say_the_same(form: tuple[str, str, str], who: list[Any], said: dict[str, Any]) -> None:
    """An identity's notification and a configuration set's event of one happening are one event, but for the tag."""
    name, part, field = form
    named = [one["emailAddress"] for one in who] if name == "Delivery" else who
    shapes = [
        feedback_of(event(name, part, {**said, field: named}, shape=shape, tags=None))
        for shape in ("eventType", "notificationType")
    ]
    assert shapes[0] == shapes[1]
    assert len(shapes[0].affected) == len(who)


TEMPLATES = [
    bounce(diagnosticCode="smtp; 550 5.1.1 user unknown"),
    event("Complaint", "complaint", {"complainedRecipients": [{"emailAddress": ADDRESS}], "feedbackId": FEEDBACK_ID}),
    event("Delivery", "delivery", {"recipients": [ADDRESS]}),
    event("Send", "send"),
]
PLACES = [(template, way) for template in TEMPLATES for way in paths(template)]


@settings(max_examples=500)
@given(st.sampled_from(PLACES), any_json)
def test_any_value_anywhere(place: tuple[Any, tuple[Any, ...]], value: Any) -> None:
    """One place of a good event holds anything: what is still read can be stored and logged."""
    template, way = place
    try:
        feedback = read_notification(json.dumps(replaced(template, way, value)))
    except PermanentError as error:
        refused_for = "not JSON" if error.reason == "not_json" else way
    else:
        assert isinstance(feedback, Feedback)
        assert all(one.address is None or one.address.full.encode() for one in feedback.affected)
        assert re.fullmatch(r"[A-Za-z-]{0,64},[A-Za-z-]{0,64}", f"{feedback.bounce_type},{feedback.bounce_subtype}")
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", feedback.feedback_id)
        return
    assert refused_for in ("not JSON", (), ("eventType",), ("mail",), ("mail", "messageId"))


def test_time_is_linear_in_the_size() -> None:
    """What takes a moment at 250 KB takes no more than its share more at four times that."""

    def spent(size: int) -> float:
        hostile = bounce(
            emailAddress="<" * size, diagnosticCode="rejected as " * (size // 12), status="5." * (size // 2)
        )
        hostile["bounce"]["bouncedRecipients"] *= 2
        hostile["mail"]["destination"] = ["rfc822;" * (size // 7)]
        hostile["mail"]["tags"]["relayd-delivery"] = ["0" * size, *["-1"] * (size // 4)]
        text = json.dumps(hostile)
        best = float("inf")
        for _ in range(3):
            start = time.perf_counter()
            read_notification(text)
            best = min(best, time.perf_counter() - start)
        return best

    assert spent(1_000_000) < 12 * spent(250_000) + 0.05
