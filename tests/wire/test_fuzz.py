"""`wire`'s promise: for any text at all, a result or a PermanentError."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relayd.errors import HoldError, PermanentError
from relayd.model.notification import Notice, Notification, Received, S3Content, Signed
from relayd.wire.ses import read
from relayd.wire.sns import certificate_host_allowed, open_envelope, verify
from tests.wire.samples import TOPIC_ARN, certificate, envelope, key, received

# Surrogates included: JSON can spell them, and SQS clients decode them.
any_text = st.text(st.characters(exclude_categories=()), max_size=40)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=6,
)


def paths(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every place in a document."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way, *(path for name, child in children for path in paths(child, (*way, name)))]


def replaced(document: Any, way: tuple[Any, ...], value: Any) -> Any:
    if not way:
        return value
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[way[0]] = replaced(copy[way[0]], way[1:], value)
    return copy


def opened(body: str) -> Notification | None:
    """What the body says; None for a permanent error. Anything else is raised, and fails the test."""
    try:
        return read(open_envelope(body, {}))
    except PermanentError:
        return None


@given(any_text)
def test_any_text(body: str) -> None:
    """Text that nobody meant is refused, never crashed on."""
    assert opened(body) is None or isinstance(opened(body), Notice)


@given(any_json)
def test_any_json(value: Any) -> None:
    """JSON of any shape is refused or understood."""
    opened(json.dumps(value))


@settings(max_examples=400)
@given(st.sampled_from(paths(received())), any_json)
def test_mail_notification_with_any_value_anywhere(way: tuple[Any, ...], value: Any) -> None:
    """One place of a good notification holds anything: what is still read as mail can be stored and fetched."""
    mail = opened(json.dumps(replaced(received(), way, value)))
    if isinstance(mail, Received):
        parts = [mail.mail_id, mail.source, *mail.recipients, *(part for header in mail.headers for part in header)]
        assert all(part.encode() or not part for part in parts)
        assert mail.mail_id.isascii()
        assert isinstance(mail.content, S3Content)
        assert mail.content.key


@given(st.sampled_from(sorted(envelope("{}"))), any_json)
def test_envelope_with_any_value_anywhere(name: str, value: Any) -> None:
    """One field of a good envelope holds anything."""
    opened(json.dumps({**envelope(json.dumps(received())), name: value}))


@given(st.integers(min_value=0), any_text)
def test_good_body_cut_or_torn(place: int, rubbish: str) -> None:
    """A body with rubbish in the middle is refused or understood."""
    body = json.dumps(envelope(json.dumps(received())))
    place %= len(body)
    opened(body[:place] + rubbish + body[place:])
    opened(body[:place])


@given(st.sampled_from(["1", "2"]), st.binary(max_size=300), st.binary(max_size=64))
def test_no_bytes_pass_for_a_signature(version: str, signature: bytes, canonical: bytes) -> None:
    """Verification answers with an error of ours, whatever the bytes."""
    with pytest.raises(PermanentError) as caught:
        verify(Signed(version, signature, "", canonical), certificate(key()))
    assert caught.value.reason == "forged_signature"


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda data: certificate(key()).replace(b"A", data, 3)))
def test_no_bytes_crash_the_certificate_reader(pem: bytes) -> None:
    """A certificate of any bytes is a hold, or (where the damage spared the key) a key that did not sign."""
    with pytest.raises((HoldError, PermanentError)) as caught:
        verify(Signed("1", b"", "", b""), pem)
    assert caught.value.reason in ("certificate_unreadable", "forged_signature")


@given(st.text(max_size=60).map(lambda text: f"https://{text}.pem") | st.text(max_size=60))
def test_no_random_url_is_allowed(url: str) -> None:
    """Nobody stumbles into the host rule."""
    assert not certificate_host_allowed(url, TOPIC_ARN)
