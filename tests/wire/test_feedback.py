"""SES's events about mail that was sent: every documented type in both shapes, real ones, and hostile ones."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from relayd.errors import PermanentError
from relayd.model.address import Address
from relayd.model.feedback import Affected, Feedback, FeedbackKind
from relayd.wire.feedback import MAX_AFFECTED, knows
from relayd.wire.ses import read, read_notification
from relayd.wire.sns import open_envelope
from tests.wire.events import (
    ADDRESS,
    BOUNCED_AT,
    DELIVERY,
    FEEDBACK_ID,
    SENT_AT,
    SES_ID,
    bounce,
    event,
    feedback_of,
)

SES_JSON = Path(__file__).parents[2].parent / "shared" / "corpora" / "ses-json"


def only(fields: Any) -> Affected:
    (affected,) = feedback_of(fields).affected
    return affected


def test_bounce() -> None:
    """A bounce tells which mail and delivery, who, why and when."""
    assert feedback_of(bounce(diagnosticCode="smtp; 550 5.1.1 user unknown")) == Feedback(
        "bounce",
        feedback_id=FEEDBACK_ID,
        ses_id=SES_ID,
        delivery_id=DELIVERY,
        attempt=2,
        affected=(Affected(Address("me", "home.example"), "5.1.1", says_spam=False),),
        bounce_type="Permanent",
        bounce_subtype="General",
        at=BOUNCED_AT,
    )


@pytest.mark.parametrize(
    ("name", "part", "said", "kind", "at"),
    [
        ("Send", "send", {"timestamp": None}, "send", SENT_AT),
        ("Delivery", "delivery", {"recipients": [ADDRESS], "smtpResponse": "250 ok"}, "delivery", BOUNCED_AT),
        (
            "DeliveryDelay",
            "deliveryDelay",
            {"delayType": "MailboxFull", "delayedRecipients": [{"emailAddress": ADDRESS, "status": "4.2.2"}]},
            "delay",
            BOUNCED_AT,
        ),
        ("Bounce", "bounce", {"bouncedRecipients": [{"emailAddress": ADDRESS}]}, "bounce", BOUNCED_AT),
        ("Complaint", "complaint", {"complainedRecipients": [{"emailAddress": ADDRESS}]}, "complaint", BOUNCED_AT),
        ("Reject", "reject", {"timestamp": None, "reason": "Bad content"}, "reject", SENT_AT),
        ("Rendering Failure", "failure", {"timestamp": None, "templateName": "T"}, "rendering_failure", SENT_AT),
        ("RenderingFailure", "failure", {"timestamp": None}, "rendering_failure", SENT_AT),
        ("Open", "open", {"ipAddress": "192.0.2.1", "userAgent": "Mozilla"}, "other", BOUNCED_AT),
        ("Click", "click", {"link": "https://example.com", "linkTags": None}, "other", BOUNCED_AT),
        ("Subscription", "subscription", {"contactList": "list", "source": "UnsubscribeHeader"}, "other", BOUNCED_AT),
        ("A Type Of Tomorrow", "anything", {"deep": [[{}]]}, "other", SENT_AT),
    ],
)
def test_every_type(name: str, part: str, said: dict[str, Any], kind: FeedbackKind, at: float) -> None:
    """All types of event publishing are read, each from its own place; one without a time has the mail's."""
    feedback = feedback_of(event(name, part, said))
    assert (feedback.kind, feedback.at) == (kind, at)
    assert (feedback.ses_id, feedback.delivery_id, feedback.attempt) == (SES_ID, DELIVERY, 2)
    assert [one.address for one in feedback.affected] == [Address("me", "home.example")]


def test_every_kind_is_known_by_name() -> None:
    """No kind of the model is left without a type of SES's that makes it."""
    names = ["Send", "Delivery", "DeliveryDelay", "Bounce", "Complaint", "Reject", "Rendering Failure", "Open"]
    assert {feedback_of(event(name, "part")).kind for name in names} == set(get_args(FeedbackKind))
    assert [knows(name) for name in names] == [True] * 7 + [False]


def test_complaint_keeps_its_words() -> None:
    """Whether a person complained, and of what, stands in the words that a bounce has, too."""
    said = {"complaintFeedbackType": "not-spam", "complaintSubType": "OnAccountSuppressionList"}
    feedback = feedback_of(event("Complaint", "complaint", said))
    assert (feedback.bounce_type, feedback.bounce_subtype) == ("not-spam", "OnAccountSuppressionList")
    feedback = feedback_of(event("Complaint", "complaint", {"complaintSubType": None}))
    assert (feedback.bounce_type, feedback.bounce_subtype) == ("", "")


@pytest.mark.skipif(not SES_JSON.is_dir(), reason="the shared corpora are not here")
def test_feedback_as_ses_sent_it() -> None:
    """Real notifications, in SNS envelopes and without, say what they say."""
    found = {}
    for file in sorted(SES_JSON.glob("*.json")):
        feedback = read(open_envelope(file.read_text(), {}))
        assert isinstance(feedback, Feedback)
        (affected,) = feedback.affected
        assert affected.address is not None
        found[file.stem[-2:]] = (feedback.kind, affected.address.local, affected.status, feedback.bounce_type)
        assert feedback.ses_id
        assert feedback.at > 1.4e9
    assert found == {
        "01": ("bounce", "bounce", "5.1.1", "Permanent"),
        "02": ("bounce", "bounce", "5.1.1", "Permanent"),
        "03": ("complaint", "complaint", "", "abuse"),
        "04": ("delivery", "success", "", ""),
        "05": ("delivery", "complaint", "", ""),
        "06": ("bounce", "bounce", "5.1.1", "Permanent"),
    }


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("ME@Home.Example", "me@home.example"),
        ("Me <me@home.example>", "me@home.example"),
        ('"<x@y.example>" <me+tag@home.example>', "me+tag@home.example"),
        ("<<me@home.example>>", "me@home.example"),
        ("rfc822;me@home.example", "me@home.example"),
        (" RFC822; me@home.example ", "me@home.example"),
        ("me@bücher.example", "me@xn--bcher-kva.example"),
        ("me", None),
        ("", None),
        ("<>", None),
        ("me @home.example", None),
        ("me@home.example\x00", None),
        ("m\ud800e@home.example", None),
        ("me@" + "ü" * 10_000, None),
        ("me <" * 100_000, None),
        (7, None),
        ({"local": "me"}, None),
    ],
)
def test_addresses(written: Any, address: str | None) -> None:
    """Whatever a strange server's report calls the recipient: an address of ours, or none, never an error."""
    affected = only(bounce(emailAddress=written))
    assert (affected.address and affected.address.full) == address
    assert affected.status == "5.1.1"


@pytest.mark.parametrize(
    ("written", "status"),
    [
        ("5.1.10", "5.1.10"),
        (" 5.1.1 (no such mailbox)", "5.1.1"),
        ("4.4.7", "4.4.7"),
        ("5.1.1.1", ""),
        ("5.1.1000", ""),
        ("15.1.1", ""),
        ("3.1.1", ""),
        ("me@home.example", ""),
        ("５.1.1", ""),
        ("5.１.1", ""),
        (5.1, ""),
        (None, ""),
    ],
)
def test_status(written: Any, status: str) -> None:
    """An enhanced status code of RFC 3463 or nothing: it stands where logs may show it."""
    assert only(bounce(status=written)).status == status


def test_diagnostic_says_spam() -> None:
    """The text is weighed with the status beside it, and then forgotten."""
    assert only(bounce(diagnosticCode="smtp; 554 spam detected", status="5.7.1")).says_spam
    assert not only(bounce(diagnosticCode="smtp; 554 spam detected", status="5.1.1")).says_spam
    assert not only(bounce(diagnosticCode=["smtp; 554 spam detected"], status="5.7.1")).says_spam


@pytest.mark.parametrize("word", ["me@home.example", "a b", "", "x" * 65, 7, None, ["General"]])
def test_odd_words_of_ses_are_dropped(word: Any) -> None:
    """What is no single word cannot be SES's, and must not reach a log."""
    feedback = feedback_of(bounce(word, word))
    assert (feedback.kind, feedback.bounce_type, feedback.bounce_subtype) == ("bounce", "", "")


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ([f"{DELIVERY}-1"], (DELIVERY, 1)),
        (f"{DELIVERY}-12", (DELIVERY, 12)),
        (["x", f"{DELIVERY}-3"], (DELIVERY, 3)),
        ([], (None, None)),
        ([DELIVERY], (None, None)),
        ([f"{DELIVERY}-0"], (None, None)),
        ([f"{DELIVERY}--1"], (None, None)),
        ([f"{DELIVERY}-{'9' * 5000}"], (None, None)),
        ([f"{DELIVERY}-1\n"], (None, None)),
        ([f"{DELIVERY}-１"], (None, None)),
        (["me@home.example-1"], (None, None)),
        ([7], (None, None)),
        ({"a": 1}, (None, None)),
        (None, (None, None)),
    ],
)
def test_tag(tag: Any, expected: tuple[str | None, int | None]) -> None:
    """The delivery's tag, if it is one that relayd wrote."""
    feedback = feedback_of(event("Send", "send", tags={"relayd-delivery": tag}))
    assert (feedback.delivery_id, feedback.attempt) == expected


@pytest.mark.parametrize(
    ("mail", "reason", "place"),
    [
        (None, "notification_incomplete", "mail"),
        ([], "notification_incomplete", "mail"),
        ({}, "notification_incomplete", "mail.messageId"),
        ({"messageId": 7}, "notification_incomplete", "mail.messageId"),
        ({"messageId": ""}, "notification_malformed", "mail.messageId"),
        ({"messageId": "me@home.example"}, "notification_malformed", "mail.messageId"),
        ({"messageId": "x" * 129}, "notification_malformed", "mail.messageId"),
    ],
)
@pytest.mark.parametrize("shape", ["eventType", "notificationType"])
def test_event_about_no_mail_is_refused(shape: str, mail: Any, reason: str, place: str) -> None:
    """An event that must act on a mail has to name it; one of a type that does nothing need not."""
    with pytest.raises(PermanentError) as caught:
        read_notification(json.dumps({shape: "Bounce", "mail": mail, "bounce": {}}))
    assert (caught.value.reason, caught.value.detail) == (reason, place)
    assert feedback_of({"eventType": "Tomorrow", "mail": mail}).ses_id == ""


def test_unknown_notification_type_is_refused() -> None:
    """`notificationType` also brings mail: what is not understood there is kept for a person to see."""
    with pytest.raises(PermanentError) as caught:
        read_notification(json.dumps(event("Tomorrow", "tomorrow", shape="notificationType")))
    assert (caught.value.reason, caught.value.detail) == ("unknown_type", "notificationType")


def test_id_without_ses_own() -> None:
    """Equal events have equal ids, others have others; no address can be read in one."""
    base = feedback_of(event("Delivery", "delivery", {"recipients": [ADDRESS]}))
    assert base == feedback_of(event("Delivery", "delivery", {"recipients": [ADDRESS], "reportingMTA": "x"}))
    others = [
        event("Delivery", "delivery", {"recipients": ["you@home.example"]}),
        event("Delivery", "delivery", {"recipients": [ADDRESS, "you@home.example"]}),
        event("Delivery", "delivery", {"recipients": [ADDRESS], "timestamp": "2024-05-02T00:54:11.000Z"}),
        event("Delivery", "delivery", {"recipients": [ADDRESS]}, messageId="another"),
        event("Send", "send"),
        event("Open", "open"),
        event("Click", "click"),
        event("Click", "click", {"timestamp": "2024-05-02T00:54:11.000Z"}),
    ]
    ids = {base.feedback_id, *(feedback_of(other).feedback_id for other in others)}
    assert len(ids) == len(others) + 1
    assert all(len(one) == 64 and "@" not in one for one in ids)


@pytest.mark.parametrize("feedback_id", [7, "", "me@home.example", "x" * 129, None])
def test_odd_id_is_replaced(feedback_id: Any) -> None:
    """An id that could not be stored, or that shows an address, is none."""
    fields = bounce()
    fields["bounce"]["feedbackId"] = feedback_id
    assert len(feedback_of(fields).feedback_id) == 64


def test_recipients_are_bounded() -> None:
    """SES names 50 at most; more are not ours to work through."""
    fields = event("Delivery", "delivery", {"recipients": [ADDRESS] * (MAX_AFFECTED + 1)})
    assert len(feedback_of(fields).affected) == MAX_AFFECTED


def test_no_address_shows_in_a_representation() -> None:
    """An event in a traceback or a log tells nobody's address."""
    fields = bounce(emailAddress="Secret Person <secret-person@home.example>", diagnosticCode="<secret-person> is full")
    assert "secret" not in repr(feedback_of(fields)).lower()
