"""Any address of the owner, in any encoding and place: no reader of a reply finds it."""

import base64
import email
import quopri
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relayd.mail.replies import ReplyLeakError
from tests.mail.contact import OWNER, PUNY, leaks, replied, reply_message
from tests.mail.judge import leaves
from tests.mail.test_properties import broken_mails

FORMS = [
    OWNER, PUNY, PUNY.upper(), "jd@post.example", "jane.doe+news@bücher.example", "jane.doe%40xn--bcher-kva.example",
    "mailto%3Ajd%40post.example", "%253Ajd%2540post.example", "jd&#64;post.example", "jd&#x40;post.example",
    "jd&commat;post&period;example", "&#106;&#100;&#64;post.example", "jd%2Bnews%40post.example",
    "jd@<wbr>post.example",
    "jd@post\r\n .example", "jd+ne\r\n ws@post.example", "jd@post.example.", "...jd@post.example", '"jd"@post.example',
    "\\njd@post.example", "&lt;jd@post.example&gt;", "\\u003cjd\\u0040post.example", "_jd@post.example_",
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["text/plain", "text/html", "text/calendar", "application/octet-stream"])
def test_every_way_of_writing_an_address(form: str, kind: str) -> None:
    """The mask's stands in its place, and the rest of the text stays."""
    text = f"before {form} after\r\n"
    head = f"To: token1@mask.example\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Transfer-Encoding: "
    for name, encoded in (
        ("8bit", text.encode()),
        ("base64", base64.encodebytes(text.encode())),
        ("quoted-printable", quopri.encodestring(text.encode())),
    ):
        result = replied(f"{head}{name}\r\n\r\n".encode() + encoded).data
        assert leaks(result) == []
        (content,) = leaves(result)
        assert re.fullmatch(rb"before .*shop@mask\.example.* after\s*", content, re.DOTALL), content


@pytest.mark.parametrize(
    "other", ["xjd@post.example", "my.jd@post.example", "jd@post.examples", "jd@compost.example", "jd"]
)
def test_other_addresses_stay(other: str) -> None:
    """On word boundaries: who is only called alike is somebody else."""
    raw = f"To: token1@mask.example\r\n\r\nsee {other} there\r\n".encode()
    assert replied(raw).data.endswith(f"\r\n\r\nsee {other} there\r\n".encode())


@pytest.mark.parametrize("charset", ["utf-16", "utf-16-le", "iso-2022-jp", "utf-7", "cp037", "shift_jis", "utf-32"])
def test_every_charset_is_read(charset: str) -> None:
    """An address is found in whatever bytes a reader would make it of."""
    text = "before jd@post.example after"
    head = f"To: token1@mask.example\r\nContent-Type: text/plain; charset={charset}\r\n"
    raw = f"{head}Content-Transfer-Encoding: base64\r\n\r\n".encode() + base64.encodebytes(text.encode(charset))
    (part,) = reply_message(raw).walk()
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    assert content.decode(part.get_content_charset() or "") == "before shop@mask.example after"


@pytest.mark.parametrize("charset", ["utf-8", "x-unknown", "utf-16"])
@pytest.mark.parametrize("codec", ["ascii", "utf-16", "utf-16-be"])
def test_a_charset_that_is_not_what_it_says(charset: str, codec: str) -> None:
    """Readers guess better than labels; so must this."""
    head = f"To: token1@mask.example\r\nContent-Type: text/plain; charset={charset}\r\n"
    body = base64.encodebytes("x jd@post.example y!".encode(codec))
    assert leaks(replied(f"{head}Content-Transfer-Encoding: base64\r\n\r\n".encode() + body).data) == []


PARTS = {
    "a second part": b"Content-Type: text/html\r\n\r\n<a href='mailto:jd%40post.example'>jd@post.example</a>",
    "a file name": b'Content-Type: image/png; name="jd@post.example.png"\r\n\r\nx',
    "a split file name": b'Content-Disposition: attachment; filename*0="jd@po"; filename*1="st.example.png"\r\n\r\nx',
    "an encoded file name": b"Content-Disposition: attachment; filename*=utf-8''jd%40post.example.png\r\n\r\nx",
    "an encoded word as file name": b'Content-Type: a/b; name="=?utf-8?b?amRAcG9zdC5leGFtcGxl?="\r\n\r\nx',
    "a type": b"Content-Type: text/=?utf-8?b?amRAcG9zdC5leGFtcGxl?=; charset=utf-8\r\n\r\nx",
    "a description": b"Content-Description: =?utf-8?q?of_jd=40post.example?=\r\n\r\nx",
    "a hidden header": b"From: Jane Real <jd@post.example>\r\nContent-Type: text/plain\r\n\r\nx",
    "a message": b"Content-Type: message/rfc822\r\n\r\nFrom: <jd@post.example>\r\n"
    b"Subject: =?utf-8?b?amRAcG9zdC5leGFtcGxl?=\r\nReceived: for <jd@post.example>\r\n\r\njd@post.example",
    "a folded header in a message": b"Content-Type: message/rfc822\r\n\r\nX: a <jd@\r\n post.example>\r\n\r\nx",
    "a message in base64": b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + base64.encodebytes(b"Subject: x\r\nContent-Transfer-Encoding: base64\r\n\r\namRAcG9zdC5leGFtcGxl\r\n"),
    "a delivery status": b"Content-Type: message/delivery-status\r\n\r\n"
    b"X: y\r\n\r\nFinal-Recipient: rfc822;jd@post.example\r\n",
    "a disposition": b"Content-Type: message/disposition-notification\r\n\r\n"
    b"Final-Recipient: rfc822; jd@post.example\r\n\r\n",
    "quoted headers": b"Content-Type: text/rfc822-headers\r\n\r\nSubject: =?utf-8?b?amRAcG9zdC5leGFtcGxl?=\r\n",
    "an attached text": b"Content-Type: text/x-log\r\nContent-Disposition: attachment\r\n\r\njd@post.example",
    "a soft break": b"Content-Transfer-Encoding: quoted-printable\r\n\r\njd@po=\r\nst=2Eexample",
    "a part without header": b"\r\njd@post.example",
    "a part without body": b"X-Y: jd@post.example",
}  # fmt: skip


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS.keys())
@pytest.mark.parametrize("signed", [False, True])
def test_nothing_is_left_in_any_part(part: bytes, signed: bool) -> None:
    """Preamble, epilogue and boundary included; what is not about the owner stays as it was."""
    boundary = b"=_jd@post.example"
    kind = b"signed" if signed else b"mixed"
    lines = [
        b"To: token1@mask.example",
        b'Content-Type: multipart/%s; x="jd@post.example"; boundary="%s"' % (kind, boundary),
        b"",
        b"preamble of jd@post.example",
        b"--" + boundary,
        b"Content-Type: text/plain",
        b"",
        b"a text that stays  ",
        b"--" + boundary,
        part,
        b"--" + boundary + b"--",
        b"epilogue of jd@post.example",
    ]
    result = replied(b"\r\n".join(lines)).data
    assert leaks(result) == []
    message = email.message_from_bytes(result)
    assert message.get_content_type() == "multipart/mixed"
    texts = message.get_payload()
    assert isinstance(texts, list)
    assert len(texts) == 2
    assert not isinstance(texts[0], str)
    assert texts[0].as_bytes() == b"Content-Type: text/plain\n\na text that stays  "


def test_a_message_in_base64_is_opened() -> None:
    """However deep: its own base64 text is read too."""
    raw: bytes = b"Content-Type: text/plain\r\n\r\nabc jd@post.example"
    for _ in range(5):
        head = b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        raw = head + base64.encodebytes(raw)
    data = replied(b"To: token1@mask.example\r\n" + raw).data
    for _ in range(5):
        data = base64.b64decode(data.partition(b"\r\n\r\n")[2])
    assert data.endswith(b"abc shop@mask.example")


_forms = st.sampled_from(FORMS)
_around = st.sampled_from(["", " ", "\r\n", "<", ">", '"', "(", "é", "ы", "=", "?", "/", "--", "\0"])
_texts = st.lists(st.tuples(_around, _forms, _around), max_size=3).map(
    lambda found: ", x, ".join("".join(one) for one in found)
)


def _encoded(text: str, charset: str, name: str) -> bytes:
    data = text.encode(charset, "xmlcharrefreplace")
    if name == "base64":
        return base64.encodebytes(data)
    return quopri.encodestring(data) if name == "quoted-printable" else data


@st.composite
def _parts(draw: st.DrawFn, depth: int = 0) -> bytes:
    """A part with addresses of the owner in whatever place and encoding."""
    eol = "\r\n"
    choice = draw(st.integers(0, 5 if depth < 3 else 1))
    if choice <= 1:
        kind = draw(
            st.sampled_from(["text/plain", "text/html", "text/calendar", "application/json", "message/delivery-status"])
        )
        charset = draw(st.sampled_from(["utf-8", "utf-16", "iso-8859-1", "koi8-r", "iso-2022-jp"]))
        name = draw(st.sampled_from(["base64", "quoted-printable", "8bit"])) if charset != "utf-16" else "base64"
        extra = draw(st.sampled_from(["", f'; name="{PUNY}.x"', "; name*=utf-8''jd%40post.example"]))
        head = f"Content-Type: {kind}; charset={charset}{extra}{eol}Content-Transfer-Encoding: {name}{eol}{eol}"
        return head.encode() + _encoded(draw(_texts), charset, name)
    if choice == 2:
        word = base64.b64encode(draw(_texts).replace("\r\n ", "").encode()).decode()
        return (
            f"Content-Type: message/rfc822{eol}{eol}Subject: =?utf-8?b?{word}?={eol}From: {PUNY}{eol}".encode()
            + draw(_parts(depth + 1))
        )
    boundary = b"%d" % depth + draw(st.sampled_from([b"a", b"b", b"=_jd@post.example"]))
    form = draw(st.sampled_from([b"mixed", b"alternative", b"signed", b"digest"]))
    parts = draw(st.lists(_parts(depth + 1), max_size=3))
    body = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts)
    closing = draw(st.sampled_from([b"--" + boundary + b"--\r\njd@post.example\r\n", b""]))
    above = b'Content-Type: multipart/%s; boundary="%s"\r\n\r\njd@post.example\r\n' % (form, boundary)
    return above + body + closing


@given(_parts())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_reader_finds_the_owner(part: bytes) -> None:
    """Addresses in any encoding and place: neither a leaf, nor a header, nor a raw byte has one."""
    assert leaks(replied(b"To: token1@mask.example\r\n" + part).data) == []


@given(broken_mails(), _forms, st.sampled_from([b"hello", b"Subject: \xe9", b"x-uuencode", b"QUJD", b"a = "]))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_broken_mails_tell_nothing_either(raw: bytes, form: str, place: bytes) -> None:
    """Whatever their structure: an answer without the address, or a refusal."""
    try:
        result = replied(raw.replace(place, b"X-Y: " + form.encode()))
    except ReplyLeakError:
        return
    assert result.unsendable_parts or leaks(result.data) == []


HOSTILE = {
    "signs": b"@" * 200_000,
    "names": b"jd@" * 70_000,
    "tags": b"jd+" * 70_000,
    "addresses": b"jd@post.example " * 20_000,
    "numbers": b"&#0" * 70_000,
    "escapes": b"%25" * 70_000,
    "words": b"=?a?b?" * 40_000,
    "whole words": b"=?a?b?x?= " * 20_000,
    "keys": b"-----BEGIN PGP SIGNATURE-----\r\n" * 5_000 + b"-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: x\r\n" * 5_000,
    "quotes": b"> " * 100_000,
    "breaks": b"j\r\n \r\n " * 40_000,
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_takes_linear_time(body: bytes) -> None:
    """However often an address, a word or a key is begun and not ended."""
    head = b"To: token1@mask.example\r\nContent-Type: text/html\r\nSubject: "
    assert leaks(replied(head + body[:3000].replace(b"\r\n", b" ") + b"\r\n\r\n" + body).data) == []
