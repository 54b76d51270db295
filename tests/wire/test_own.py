"""The envelope of relayd's own notifications: only who has a secret can make one, and any change is seen."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from relayd.errors import PermanentError
from relayd.wire.own import Own, is_own, open_own, seal
from relayd.wire.sns import open_envelope
from tests.wire.samples import envelope, received_text
from tests.wire.test_fuzz import any_json, any_text

OLD, NEW, FOREIGN = b"an old secret", b"a new secret", b"somebody else's secret"
NOW = 1_714_611_245.123456


def sealed(**changes: Any) -> str:
    """A good envelope, with some of its fields changed afterwards; None removes one."""
    fields = json.loads(seal(received_text(), released=["spam"], secrets=[NEW], now=NOW)) | changes
    return json.dumps({name: value for name, value in fields.items() if value is not None})


def failure(body: str, *secrets: bytes) -> str:
    with pytest.raises(PermanentError) as caught:
        open_own(body, secrets or (NEW, OLD))
    assert received_text()[:20] not in str(caught.value)
    return caught.value.reason


unicode_text = st.text(max_size=50)


@given(unicode_text, st.sets(st.sampled_from(["spam", "bounce_pause", "over_limit"])), st.floats(0, 1e11))
@settings(max_examples=100, deadline=None)
def test_what_was_sealed_is_opened(text: str, released: set[str], now: float) -> None:
    """Text, reasons and time come out as they went in, and the body is fit for SQS, whatever the text."""
    body = seal(text, released=released, secrets=[NEW], now=now)
    assert body.isascii()
    assert body.isprintable()
    assert is_own(body)
    assert open_own(body, [NEW]) == Own(text, frozenset(released), now)


def test_a_rotation_of_secrets_goes_through() -> None:
    """The first secret signs; what an older one signed still opens; what none of ours signed does not."""
    assert open_own(seal("{}", released=(), secrets=[OLD], now=NOW), [NEW, OLD]).text == "{}"
    body = seal("{}", released=(), secrets=[NEW, OLD], now=NOW)
    assert failure(body, OLD) == "forged_signature"
    assert failure(body, FOREIGN) == "forged_signature"


@pytest.mark.parametrize(
    "changes",
    [
        {"Message": received_text(mail={"source": "other@sender.example"})},
        {"Released": []},
        {"Released": ["virus"]},
        {"Released": ["spam", "spam"]},
        {"SentAt": NOW + 1},
        {"Mac": "0" * 64},
    ],
)
def test_any_change_is_a_forgery(changes: dict[str, Any]) -> None:
    """Every field that is read is signed."""
    assert failure(sealed(**changes)) == "forged_signature"
    assert open_own(sealed(), [NEW]).released == {"spam"}


def test_parts_cannot_be_moved_into_one_another() -> None:
    """Two envelopes whose texts and reasons read the same in one run are signed differently."""
    body = json.loads(seal("{}", released=["ab", "c"], secrets=[NEW], now=NOW))
    assert failure(json.dumps(body | {"Released": ["a", "bc"]}), NEW) == "forged_signature"
    assert failure(json.dumps(body | {"Released": ["abc"]}), NEW) == "forged_signature"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Type": "Notification"}, "unknown_type"),
        ({"Version": 2}, "unknown_version"),
        ({"Version": True}, "unknown_version"),
        ({"Version": None}, "unknown_version"),
        ({"Message": None}, "envelope_incomplete"),
        ({"Message": "\ud800"}, "envelope_malformed"),
        ({"Released": None}, "envelope_incomplete"),
        ({"Released": "spam"}, "envelope_incomplete"),
        ({"Released": [1]}, "envelope_malformed"),
        ({"Released": ["a b"]}, "envelope_malformed"),
        ({"Released": ["spam"] * 21}, "envelope_malformed"),
        ({"SentAt": None}, "envelope_incomplete"),
        ({"SentAt": "now"}, "envelope_incomplete"),
        ({"SentAt": float("1e308") * 10}, "not_json"),
        ({"Mac": None}, "envelope_incomplete"),
        ({"Mac": "no hex"}, "envelope_malformed"),
        ({"Mac": "\u0660" * 64}, "envelope_malformed"),
    ],
)
def test_a_wrong_form_is_named(changes: dict[str, Any], reason: str) -> None:
    """What is missing or impossible is a permanent error with the place, and never an exception of another kind."""
    assert failure(sealed(**changes)) == reason


def test_a_time_beyond_all_numbers_is_malformed() -> None:
    """1e999 is JSON, and no time."""
    assert failure(sealed().replace(str(NOW), "1e999")) == "envelope_malformed"


@given(st.dictionaries(st.sampled_from(["Type", "Version", "Message", "Released", "SentAt", "Mac"]), any_json))
@example({"Released": [[]]})
@settings(max_examples=150, deadline=None)
def test_anything_else_is_a_permanent_error(changes: dict[str, Any]) -> None:
    """For any JSON in any field: a result or a PermanentError."""
    try:
        opened = open_own(json.dumps(json.loads(sealed()) | changes), [NEW])
    except PermanentError:
        return
    assert opened.text == received_text()


@given(any_text)
@settings(max_examples=100, deadline=None)
def test_any_text_at_all_is_a_permanent_error(text: str) -> None:
    """For any bytes that SQS may bring."""
    with pytest.raises(PermanentError):
        open_own(text, [NEW])


def test_other_envelopes_are_not_taken_for_ours() -> None:
    """Neither SNS's, whatever it quotes, nor SES's; and SNS's reader refuses ours."""
    quoting = envelope(sealed(), MessageAttributes={"Type": {"Type": "String", "Value": "RelaydNotification"}})
    assert not is_own(json.dumps(quoting))
    assert not is_own(received_text())
    assert not is_own("")
    with pytest.raises(PermanentError, match="unknown_type"):
        open_envelope(sealed(), {})
