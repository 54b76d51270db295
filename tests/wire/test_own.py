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
FIRST = NOW - 86_400.5
ACT = "0123456789abcdef0123"
BEFORE = (
    r'{"Type": "RelaydNotification", "Version": 1, "Message": "{\"a\": \"\u00fc\"}", '
    r'"Released": ["bounce_pause", "spam"], "SentAt": 1714611245.123456, '
    r'"Mac": "dbfdace5148d46c36da945c62d230dd86f7ffba96495826019ce35f715e6264b"}'
)
"""What the version before put into the queue, with NEW."""
AS_EVER = (
    r'{"Type": "RelaydNotification", "Version": 2, "Message": "{\"a\": \"\u00fc\"}", '
    r'"Released": ["bounce_pause", "spam"], "SentAt": 1714611245.123456, "Replay": "0123456789abcdef0123", '
    r'"Again": true, "FirstReceivedAt": 1714524844.623456, '
    r'"Mac": "29aeee422a9c81a7cbf34573a625232d3553f2ecce3f114de2abd2573e321d8f"}'
)
"""What this version puts into it."""


def sealed(**changes: Any) -> str:
    """A good envelope, with some of its fields changed afterwards; None removes one."""
    good = seal(
        received_text(), released=["spam"], secrets=[NEW], now=NOW, replay=ACT, again=True, first_received_at=FIRST
    )
    fields = json.loads(good) | changes
    return json.dumps({name: value for name, value in fields.items() if value is not None})


def failure(body: str, *secrets: bytes) -> str:
    with pytest.raises(PermanentError) as caught:
        open_own(body, secrets or (NEW, OLD))
    assert received_text()[:20] not in str(caught.value)
    return caught.value.reason


unicode_text = st.text(max_size=50)


acts = st.none() | st.from_regex(r"[A-Za-z0-9_-]{1,32}", fullmatch=True)


@given(
    unicode_text,
    st.sets(st.sampled_from(["spam", "bounce_pause", "over_limit"])),
    st.floats(0, 1e11),
    acts,
    st.booleans(),
    st.none() | st.floats(0, 1e11),
)
@settings(max_examples=150, deadline=None)
def test_what_was_sealed_is_opened(
    text: str, released: set[str], now: float, replay: str | None, again: bool, first: float | None
) -> None:
    """All parts come out as they went in, and the body is fit for SQS, whatever the text."""
    again = again and replay is not None
    body = seal(text, released=released, secrets=[NEW], now=now, replay=replay, again=again, first_received_at=first)
    assert body.isascii()
    assert body.isprintable()
    assert is_own(body)
    assert open_own(body, [NEW]) == Own(text, frozenset(released), now, replay, again, first)


@pytest.mark.parametrize("replay", ["", "a b", "x" * 33, "\u0660", "a\n", None])
def test_no_replay_is_sealed_that_would_not_be_opened(replay: str | None) -> None:
    """An id that the ledger cannot keep, and `again` of no replay."""
    with pytest.raises(ValueError, match="id"):
        seal("{}", secrets=[NEW], now=NOW, replay=replay, again=True)


def test_the_version_before_is_opened() -> None:
    """Its messages may be in the queue when replicas are exchanged. It knows no replays, whatever is added to it."""
    opened = Own('{"a": "\u00fc"}', frozenset({"spam", "bounce_pause"}), NOW)
    assert open_own(BEFORE, [OLD, NEW]) == opened
    added = json.loads(BEFORE) | {"Replay": ACT, "Again": True, "FirstReceivedAt": 1.0}
    assert open_own(json.dumps(added), [NEW]) == opened
    assert failure(BEFORE, OLD) == "forged_signature"
    assert failure(BEFORE.replace("spam", "spem"), NEW) == "forged_signature"


def test_this_version_stays_as_it_is() -> None:
    """What lies in a queue, or in an archive, must be opened by every relayd that calls it version 2."""
    reasons = frozenset({"spam", "bounce_pause"})
    own = Own('{"a": "\u00fc"}', reasons, NOW, ACT, again=True, first_received_at=FIRST)
    assert open_own(AS_EVER, [NEW]) == own
    sealed_now = seal(
        own.text, released=reasons, secrets=[NEW], now=NOW, replay=ACT, again=True, first_received_at=FIRST
    )
    assert sealed_now == AS_EVER


def test_no_version_passes_for_another() -> None:
    """Neither may lose what it was signed with, nor gain what it was not."""
    assert failure(json.dumps(json.loads(BEFORE) | {"Version": 2, "Again": False})) == "forged_signature"
    assert failure(sealed(Version=1)) == "forged_signature"
    assert failure(seal("{}", secrets=[NEW], now=NOW).replace('"Version": 2', '"Version": 1')) == "forged_signature"


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
        {"Replay": "0123456789abcdef0124"},
        {"Replay": None, "Again": False},
        {"Again": False},
        {"FirstReceivedAt": FIRST - 1},
        {"FirstReceivedAt": None},
        {"FirstReceivedAt": NOW, "SentAt": FIRST},
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
    # A reason and a replay's id look alike.
    assert failure(json.dumps(body | {"Released": ["c"], "Replay": "ab"}), NEW) == "forged_signature"
    released = json.loads(seal("{}", secrets=[NEW], now=NOW, replay="ab")) | {"Released": ["ab"], "Replay": None}
    assert failure(json.dumps(released), NEW) == "forged_signature"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Type": "Notification"}, "unknown_type"),
        ({"Version": 3}, "unknown_version"),
        ({"Version": 0}, "unknown_version"),
        ({"Version": 1.5}, "unknown_version"),
        ({"Version": "2"}, "unknown_version"),
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
        ({"Replay": 1}, "envelope_incomplete"),
        ({"Replay": ""}, "envelope_malformed"),
        ({"Replay": "x" * 33}, "envelope_malformed"),
        ({"Replay": "a b"}, "envelope_malformed"),
        ({"Replay": "\u0660"}, "envelope_malformed"),
        ({"Replay": None}, "envelope_malformed"),
        ({"Again": None}, "envelope_incomplete"),
        ({"Again": 1}, "envelope_incomplete"),
        ({"Again": "true"}, "envelope_incomplete"),
        ({"FirstReceivedAt": "now"}, "envelope_incomplete"),
        ({"FirstReceivedAt": True}, "envelope_incomplete"),
        ({"FirstReceivedAt": -1}, "envelope_malformed"),
        ({"FirstReceivedAt": 1e300}, "envelope_malformed"),
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
    assert failure(sealed().replace(str(FIRST), "1e999")) == "envelope_malformed"


FIELDS = ["Type", "Version", "Message", "Released", "SentAt", "Replay", "Again", "FirstReceivedAt", "Mac"]


@pytest.mark.parametrize("good", [sealed(), BEFORE], ids=["now", "before"])
@given(changes=st.dictionaries(st.sampled_from(FIELDS), any_json))
@example(changes={"Released": [[]]})
@settings(max_examples=150, deadline=None)
def test_anything_else_is_a_permanent_error(good: str, changes: dict[str, Any]) -> None:
    """For any JSON in any field: what was sealed, or a PermanentError."""
    try:
        opened = open_own(json.dumps(json.loads(good) | changes), [NEW])
    except PermanentError:
        return
    assert opened == open_own(good, [NEW])


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
