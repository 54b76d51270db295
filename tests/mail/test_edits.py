"""Changes to a mail's text: made where they are asked for, and nowhere else."""

import base64
import dataclasses
import email
import email.message
import email.policy
import json

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from relayd.mail.banner import Banner
from relayd.mail.edits import Edited, Edits, Wish, edited
from relayd.mail.letter import parse
from relayd.mail.plans import Rewritten
from relayd.mail.repair import repair
from relayd.mail.structure import Part
from relayd.mail.trackers import TrackerList
from tests.mail.judge import PLAN, flaws, leaves, rewritten
from tests.mail.test_properties import broken_mails

TRACKERS = TrackerList.parse(json.dumps({"categories": {"Email": [{"T": {"t": ["tracker.example"]}}]}}).encode())
PIXEL = '<img src="https://a.tracker.example/p.gif">'
LINK = "https://tracker.example/l"


class _Adding(Edits):
    """Puts a mark after each text, and drops what is asked for."""

    def __init__(self, mark: str, dropped: str = "") -> None:
        self._mark = mark
        self._dropped = dropped

    def wish(self, part: Part, _content: bytes, /) -> Wish:
        if part.type.kind == self._dropped:
            return "drop"
        return "edit" if part.type.main == "text" else "keep"

    def edit(self, part: Part, content: bytes, /) -> Edited | None:
        return edited(content, part.type.charset, lambda text: text + self._mark)


def _edited(raw: bytes, edits: Edits) -> email.message.Message:
    letter = parse(raw)
    done = repair(letter.body, letter.fields, edits)
    body = bytes(done.body)
    assert flaws(body) == []
    header = b"".join(field.raw for field in done.fields)
    return email.message_from_bytes(header + b"\r\n" + body, policy=email.policy.compat32)


def _text(part: email.message.Message | str) -> str:
    assert not isinstance(part, str)
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content.decode(part.get_content_charset() or "ascii", "surrogateescape")


@pytest.mark.parametrize(
    ("charset", "content", "mark", "shown"),
    [
        ("utf-8", "né".encode(), "é", "utf-8"),
        ("iso-8859-1", b"n\xe9", "é", "iso-8859-1"),
        ("iso-8859-1", b"n\xe9", "ы", "utf-8"),
        ("us-ascii", b"ne", "é", "utf-8"),
        ("us-ascii", "né".encode(), "ы", "utf-8"),
        ("uft-8", b"n\xe9", "é", "utf-8"),
        ("utf-16", "né".encode("utf-16"), "é", "utf-16"),
        ("koi8-r", "ы".encode("koi8-r"), "ы", "koi8-r"),
        ("iso-2022-jp", "日".encode("iso-2022-jp"), "本", "iso-2022-jp"),
        ("shift_jis", "日".encode("shift_jis"), "é", "utf-8"),
    ],
)
def test_a_changed_text_keeps_its_charset_where_it_can(charset: str, content: bytes, mark: str, shown: str) -> None:
    """UTF-8 is declared where the old charset, or what it was taken for, does not hold the new text."""
    raw = f"Content-Type: text/plain; format=flowed; charset={charset}\r\n\r\n".encode() + content
    if charset == "utf-16":
        raw = f"Content-Type: text/plain; charset={charset}\r\n\r\n".encode() + content
    message = _edited(raw, _Adding(mark))
    assert message.get_content_charset() == shown
    before = next(text for text in ("né", "ne", "ы", "日") if text in _text(message))
    assert _text(message) == before + mark
    assert message.get_param("format") == ("flowed" if charset != "utf-16" else None)


def test_bytes_that_no_charset_knows_stay() -> None:
    """What cannot be read is not what was asked to be changed."""
    raw = b"Content-Type: text/plain; charset=x-odd\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xff\x81 text"
    message = _edited(raw, _Adding("!"))
    assert message.get_payload(decode=True) == b"\xff\x81 text!"
    assert message.get_content_charset() == "x-odd"


def test_a_text_without_type_is_given_one_when_it_needs_it() -> None:
    """The default is US-ASCII."""
    message = _edited(b"Subject: x\r\n\r\nhello", _Adding("é"))
    assert (message.get_content_type(), message.get_content_charset()) == ("text/plain", "utf-8")
    assert _text(message) == "helloé"


@given(broken_mails())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_edits_that_change_nothing_cost_nothing(raw: bytes) -> None:
    """Each byte is what it would have been without them."""
    assume(b"z" * 300 not in raw)  # a boundary that is replaced whenever there is a reason to look at it
    letter = parse(raw)
    assert repair(letter.body, letter.fields, _Adding("")) == repair(letter.body, letter.fields)


@given(broken_mails(), st.sampled_from(["", "image/png", "text/html", "message/partial"]))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_mail_can_be_edited(raw: bytes, dropped: str) -> None:
    """Whatever it is made of: what comes out can be sent, and the marks are where texts are."""
    letter = parse(raw)
    done = repair(letter.body, letter.fields, _Adding(" mark", dropped))
    if done.unsendable:
        return
    assert flaws(bytes(done.body)) == []
    again = repair(bytes(done.body), done.fields)
    assert bytes(again.body) == bytes(done.body)


def _multipart(*parts: str, end: str = "--b--\r\n", kind: str = "mixed") -> bytes:
    body = "".join(f"--b\r\nContent-Type: {part}\r\n" for part in parts)
    return f"Content-Type: multipart/{kind}; boundary=b\r\n\r\n{body}{end}".encode()


@pytest.mark.parametrize("end", ["--b--\r\n", ""])
@pytest.mark.parametrize(
    ("parts", "left"),
    [
        (("text/plain\r\n\r\na", "image/png\r\n\r\nx"), ["a!"]),
        (("text/plain\r\n\r\na", "image/png\r\n\r\nx", "text/plain\r\n\r\nb"), ["a!", "b!"]),
        (("image/png\r\n\r\nx", "text/plain\r\n\r\nb"), ["", "b!"]),
        (("image/png\r\n\r\nx", "image/png\r\n\r\ny"), [""]),
        (("text/plain\r\n\r\na\r\n--b\r\n--b", "image/png\r\n\r\nx"), ["a!"]),
        (("message/rfc822\r\n\r\nContent-Type: image/png\r\n\r\nx", "text/plain\r\n\r\nb"), ["", "b!"]),
        (("text/plain\r\n\r\na", "message/rfc822\r\n\r\nContent-Type: image/png\r\n\r\nx"), ["a!", ""]),
    ],
)
def test_a_dropped_part_leaves_a_multipart(parts: tuple[str, ...], left: list[str], end: str) -> None:
    """It goes with its delimiter. The first one leaves an empty text, so that there always is one."""
    message = _edited(_multipart(*parts, end=end), _Adding("!", "image/png"))
    texts = [_text(part) for part in message.walk() if not part.is_multipart()]
    assert [text.rstrip("\n") for text in texts] == left


def test_a_dropped_body_leaves_an_empty_text() -> None:
    """A mail's own content has no delimiter."""
    message = _edited(b"Content-Type: image/png; name=x\r\nContent-ID: <x@y>\r\n\r\ndata", _Adding("", "image/png"))
    assert message.items() == [("Content-Type", "text/plain")]
    assert message.get_payload() == ""


def _forwarded(raw: bytes, **changes: object) -> tuple[Rewritten, email.message.Message]:
    done = rewritten(raw, dataclasses.replace(PLAN, **changes))  # type: ignore[arg-type]
    assert flaws(done.data) == []
    return done, email.message_from_bytes(done.data, policy=email.policy.compat32)


BANNER = Banner("shop@mask.example", "bob@example.org", "de")
ALTERNATIVE = _multipart(
    "text/plain\r\n\r\nhello\r\n",
    f"text/html\r\n\r\n<body class=x><p>hello</p>{PIXEL}\r\n",
    "text/plain\r\nContent-Disposition: attachment\r\n\r\nattached\r\n",
    "text/html\r\n\r\n<p>second</p>\r\n",
    "message/rfc822\r\n\r\nContent-Type: text/plain\r\n\r\nnested\r\n",
)


def test_the_banner_stands_above_the_first_text_and_html() -> None:
    """Not in attachments, not in messages inside, not twice; and nothing else changes."""
    before = leaves(ALTERNATIVE)
    done, message = _forwarded(ALTERNATIVE, banner=BANNER)
    after = leaves(done.data)
    text, page = (_text(part) for part in list(message.walk())[1:3])
    assert "shop@mask.example" in text
    assert text.endswith("\r\n\r\nhello\r\n")
    assert page.startswith("<body class=x><div")
    assert page.endswith(f"</div><p>hello</p>{PIXEL}\r\n")
    assert after[2:] == before[2:]


def test_the_banner_counts_what_is_below_it() -> None:
    """Trackers in the HTML are told of in the text above it, too."""
    done, message = _forwarded(ALTERNATIVE, banner=BANNER, trackers=TRACKERS)
    text, page = (_text(part) for part in list(message.walk())[1:3])
    assert done.trackers == 1
    assert PIXEL not in page
    assert "1" in text.partition("hello")[0]
    assert "1" not in _text(list(_forwarded(ALTERNATIVE, banner=BANNER)[1].walk())[1])


@pytest.mark.parametrize(
    "raw",
    [
        b"Subject: x\r\n\r\n",
        b"Content-Type: image/png\r\n\r\ndata",
        b"Content-Type: text/plain\r\nContent-Disposition: Attachment; filename=a.txt\r\n\r\ndata",
        b"Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\nnested",
        _multipart("text/plain\r\n\r\nsigned", "application/pgp-signature\r\n\r\nx", kind="signed"),
    ],
)
def test_a_mail_without_text_of_its_own_has_no_banner(raw: bytes) -> None:
    """Nothing to show, only files, or under a signature: each byte stays."""
    assert _forwarded(raw, banner=BANNER, trackers=TRACKERS)[0] == rewritten(raw)


def test_a_byte_order_mark_stays_in_front() -> None:
    """It says how to read what follows it."""
    raw = b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + "\ufeffhello".encode()
    text = _text(_forwarded(raw, banner=BANNER)[1])
    assert text.startswith("\ufeff")
    assert text.count("\ufeff") == 1


def test_trackers_go_from_every_text_that_is_shown() -> None:
    """Pictures by nothing, links to the warning; not in attachments, and not under a signature."""
    shown = f"{PIXEL}<a href='{LINK}'>x</a>"
    raw = _multipart(
        f"text/plain\r\n\r\nsee {LINK}\r\n",
        f"text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n{_base64(shown)}",
        f"text/html\r\nContent-Disposition: attachment\r\n\r\n{shown}\r\n",
        f"message/rfc822\r\n\r\nContent-Type: text/html\r\n\r\n{shown}\r\n",
        "image/png\r\n\r\ndata\r\n",
    )
    done, message = _forwarded(raw, trackers=TRACKERS, tracker_warning="https://warn.example/")
    assert done.trackers == 5
    text, page, attached, nested, _ = (_text(part) for part in message.walk() if not part.is_multipart())
    assert text.startswith("see https://warn.example/?url=https")
    assert "<img" not in page + nested
    assert "https://warn.example/?url=" in page
    assert attached == f"{shown}\r\n"
    quiet, _ = _forwarded(_multipart(f"text/html\r\n\r\n{shown}", "a/b\r\n\r\nx", kind="signed"), trackers=TRACKERS)
    assert quiet.trackers == 0
    assert PIXEL.encode() in quiet.data


def _base64(text: str) -> str:
    return base64.encodebytes(text.encode()).decode().replace("\n", "\r\n")


@given(broken_mails())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_mail_can_have_a_banner(raw: bytes) -> None:
    """It stands in two leaves at most; the others decode to what they were."""
    done = rewritten(raw, dataclasses.replace(PLAN, banner=BANNER, trackers=TRACKERS))
    if done.unsendable_parts:
        return
    assert flaws(done.data) == []
    before, after = leaves(rewritten(raw).data), leaves(done.data)
    assert len(before) == len(after)
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) <= 2
    assert all(b"shop@mask.example" in new for _, new in changed)
