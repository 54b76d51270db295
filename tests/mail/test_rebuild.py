"""The rungs below forwarding: what SES refused goes out once more, in the plainest form that carries everything."""

import dataclasses
import email
import email.policy
import re
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from relayd.errors import PermanentError
from relayd.mail import rebuild
from relayd.mail.letter import parse
from relayd.model.address import Address
from relayd.sandbox.cloud import raw_mail
from tests.mail.judge import PLAN, flaws, leaves, rewritten
from tests.mail.test_corpora import CORPORA, files_of, variants_of
from tests.mail.test_defects import DEFECTS, EIGHT, HEAD, MIXED
from tests.mail.test_linear import CASES
from tests.mail.test_properties import broken_mails

_ALLOWED = {
    "from", "to", "subject", "mime-version", "content-type", "content-transfer-encoding", "content-disposition",
    "content-id", "x-relayd-mask", "x-relayd-tag", "x-relayd-hops", "x-relayd-warning", "x-relayd-original-from",
    "x-relayd-original-to", "x-relayd-original-date", "x-relayd-original-message-id",
}  # fmt: skip


def _oddly_labelled(raw: bytes) -> bool:
    """Whether a label is one that readers understand, and that the judge, who takes it to the letter, does not."""
    labels = [str(part.get("content-transfer-encoding", "")) for part in _parts(raw)]
    return any(label != label.strip() or "(" in label for label in labels)


def _strict(raw: bytes) -> bytes:
    result = rebuild.strict(parse(raw), PLAN, raw)
    assert result.unsendable_parts == 0
    _accepted(result.data)
    return result.data


def _accepted(data: bytes) -> None:
    """Whatever SES looks at, the embedded AWS's SES finds nothing wrong with."""
    assert flaws(data) == []
    raw_mail.read(data)
    names = Counter(name.lower() for name, _ in email.message_from_bytes(data, policy=email.policy.compat32).items())
    assert set(names) <= _ALLOWED
    assert max(names.values()) == 1
    assert {"from", "mime-version", "content-type", "x-relayd-mask", "x-relayd-hops"} <= set(names)


def _parts(data: bytes) -> list[email.message.Message]:
    return list(email.message_from_bytes(data, policy=email.policy.compat32).walk())


@pytest.mark.parametrize("raw", DEFECTS.values(), ids=DEFECTS.keys())
def test_a_defect_changes_no_content(raw: bytes) -> None:
    """Each leaf of a broken mail decodes to what it was, whatever was broken about it."""
    found = leaves(_strict(raw))
    assert found == ([b"ABC"] if _oddly_labelled(raw) else leaves(raw))


@pytest.mark.parametrize("folder", CORPORA, ids=["mikel-mail", "cpython"])
def test_the_corpora_lose_nothing(folder: Path) -> None:
    """Real mails as they are, with other line ends, and damaged: same leaves, and SES takes both rungs."""
    seen = 0
    for path in files_of(folder):
        for raw in variants_of(path.read_bytes()):
            seen += 1
            assert leaves(_strict(raw)) == leaves(raw), path.name
            attached = rebuild.as_attachment(parse(raw), PLAN, raw).data
            _accepted(attached)
            assert leaves(attached)[1] == raw, path.name
    if not seen:
        pytest.skip("the mails are not on this machine")


@given(st.binary(max_size=2000))
def test_any_bytes_make_both_rungs(raw: bytes) -> None:
    """Never an exception, never anything that SES refuses, and the bytes themselves are in the attachment."""
    _strict(raw)
    attached = rebuild.as_attachment(parse(raw), PLAN, raw).data
    _accepted(attached)
    assert leaves(attached)[1] == raw


@given(broken_mails())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_broken_mails_keep_their_leaves(raw: bytes) -> None:
    """Mails out of the pieces that real ones are made of, in any order."""
    data = _strict(raw)
    # What is a message and encoded, against the rules, is decoded by readers and not by this judge.
    assume(not (b"message/" in raw and re.search(rb"(?i)base64|quoted-printable|uuencode", raw)))
    assume(not _oddly_labelled(raw))
    assert leaves(data) == leaves(raw)


@given(st.lists(st.tuples(st.sampled_from(["From", "To", "Subject", "Date", "Content-ID"]), st.binary(max_size=99))))
def test_any_header_value_stays_in_its_line(fields: list[tuple[str, bytes]]) -> None:
    """Values of any bytes: nothing but the essential fields comes out, and SES reads each address."""
    lines = [name.encode() + b": " + value.replace(b"\r", b"").replace(b"\n", b"") for name, value in fields]
    assert leaves(_strict(b"\r\n".join([*lines, b"", b"body"]))) == [b"body"]


@pytest.mark.parametrize(
    ("lines", "to"),
    [
        (b"To: Al <al@example.org>, b@example.org", "al@example.org"),
        (b"To: Team: a..b@example.org, <c@example.org>;", "c@example.org"),
        (b"To: nobody", "shop@mask.example"),
        (b"Cc: al@example.org", "shop@mask.example"),
    ],
)
def test_to_is_one_plain_address(lines: bytes, to: str) -> None:
    """The first recipient that nobody could misread, else the mask."""
    assert email.message_from_bytes(_strict(HEAD + lines + b"\r\n\r\nbody"))["To"] == to


def test_there_is_no_to_where_no_address_is_plain() -> None:
    """A mask whose own name SES would refuse is not shown."""
    plan = dataclasses.replace(PLAN, mask=Address("a b", "x.example"))
    data = rebuild.strict(parse(HEAD + b"\r\nbody"), plan, b"").data
    _accepted(data)
    assert email.message_from_bytes(data)["To"] is None


def test_the_subject_is_written_anew() -> None:
    """Encoded words of any charset and 8-bit bytes come out as UTF-8 in encoded words, with the same meaning."""
    raw = b"Subject: =?iso-8859-1?q?caf=E9?= =?koi8-r?b?8NLJ18XU?=\r\n and \xfc\r\n\r\nbody"
    subject = email.message_from_bytes(_strict(raw), policy=email.policy.default)["Subject"]
    assert str(subject) == "caféПривет and ü"
    assert b"koi8" not in _strict(raw)


def test_part_headers_are_fresh() -> None:
    """Type, charset, file name, id and disposition, each once and clean; nothing else of a part's header."""
    head = b"Content-Type: IMAGE/Png ; NAME=\"=?utf-8?q?caf=C3=A9.png?=\"; name=second; x='\xe9'\r\nX-Other: y\r\n"
    head += b"Content-ID: junk <one@two> (x)\r\nContent-Disposition: InLine; FileName*=utf-8''caf%C3%A9.png\r\n"
    data = _strict(MIXED + b"--b\r\n" + head + b"\r\n\x89PNG\r\n--b--\r\n")
    part = _parts(data)[1]
    assert part.get_content_type() == "image/png"
    assert part.get_filename() == "café.png"
    assert part["Content-ID"] == "<one@two>"
    assert part.get_content_disposition() == "inline"
    assert set(part.keys()) == {"Content-Type", "Content-Transfer-Encoding", "Content-Disposition", "Content-ID"}
    assert part.get_payload(decode=True) == b"\x89PNG"


@pytest.mark.parametrize("kind", [b"", b"text", b"text/pl ain", b"a/b/c", b"\xe9/\xe9", b"text/<x>"])
def test_what_is_no_type_is_text_where_readers_take_it_for_text(kind: bytes) -> None:
    """A type that nobody knows is written as one that everybody knows."""
    data = _strict(HEAD + b"Content-Type: " + kind + b"; charset=utf-8\r\n\r\none\ntwo\n")
    assert _parts(data)[0]["Content-Type"].partition(";")[0] in ("text/plain", "application/octet-stream")
    assert b"one" in leaves(data)[0]


def test_file_names_that_ses_refuses_are_changed() -> None:
    """SES refuses a mail for the extension of a file: it gets another one, and its bytes stay."""
    names = (b"a.EXE", b'"b.js "', b"=?utf-8?q?c.ba?= =?utf-8?q?t?=", b"*=utf-8''d%2evbs", b"good.pdf")
    lines = [b"Content-Disposition: attachment; filename" + (b"" if n[:1] == b"*" else b"=") + n for n in names]
    lines.append(b"Content-Type: application/x-msdownload; name=e.scr")
    raw = MIXED + b"".join(b"--b\r\n" + line + b"\r\n\r\nMZ\xff\r\n" for line in lines) + b"--b--\r\n"
    with pytest.raises(raw_mail.RawMailError):
        raw_mail.read(rewritten(raw).data)
    parts = _parts(_strict(raw))[1:]
    assert [part.get_filename() for part in parts] == [
        "a.EXE.bin", "b.js.bin", "c.bat.bin", "d.vbs.bin", "good.pdf", "e.scr.bin",
    ]  # fmt: skip
    assert all(part.get_payload(decode=True) == b"MZ\xff" for part in parts)


@pytest.mark.parametrize(
    ("header", "refused"),
    [
        (b"Content-Disposition: attachment; filename=a.exe", True),
        (b"Content-Type: application/x; NAME*0=a.e; NAME*1=xe", True),
        (b"Content-Disposition: attachment; FileName*=utf-8''b%2eJS", True),
        (b"Content-Type: application/x; name==?utf-8?b?YS5leGU=?=", True),
        (b"Content-Disposition: attachment; filename=exe", False),
        (b"Content-Disposition: attachment; filename=a.exe.txt", False),
        (b"X-Other: y; name=a.exe", False),
    ],
)
def test_a_name_that_ses_refuses_is_known_beforehand(header: bytes, refused: bool) -> None:
    """In the mail's own header, in a part's and in a part of a message inside, however it is spelled."""
    part = MIXED + b"--b\r\n" + header + b"\r\n\r\nMZ\r\n--b--\r\n"
    for raw in (HEAD + header + b"\r\n\r\nMZ", part, HEAD + b"Content-Type: message/rfc822\r\n\r\n" + part):
        assert rebuild.would_be_refused(parse(raw), rewritten(raw)) is refused


def test_a_name_in_a_text_is_no_file() -> None:
    """What a bounce quotes of another mail is not attached to this one."""
    raw = HEAD + b"\r\nContent-Disposition: attachment; filename=a.exe\r\n"
    assert not rebuild.would_be_refused(parse(raw), rewritten(raw))


def test_a_part_that_cannot_be_sent_is_known_beforehand() -> None:
    """A signed part with 8-bit data: SES is not even asked."""
    raw = HEAD + SIGNED + b"\r\n--s\r\n\r\n" + EIGHT + SIGNATURE
    assert rebuild.would_be_refused(parse(raw), rewritten(raw))


def test_a_message_inside_keeps_its_header() -> None:
    """What a forwarded message says of itself is content; its encoding is its own."""
    inner = b"From: caf\xe9 <a@b.example>\r\nSubject: inner\r\nDate: then\r\nReceived: x\r\n\r\n" + EIGHT
    data = _strict(MIXED + b"--b\r\nContent-Type: message/rfc822\r\n\r\n" + inner + b"\r\n--b--\r\n")
    message = _parts(data)[2]
    assert (message["Subject"], message["Date"], message["Received"]) == ("inner", "then", "x")
    assert leaves(data) == [EIGHT.replace(b"\r", b"")]


def test_a_delivery_status_stays_readable() -> None:
    """RFC 3464 allows no encoding there: bounce readers look for its fields in plain text."""
    status = b"Reporting-MTA: dns; x\r\n\r\nStatus: 5.1.1\r\nDiagnostic-Code: caf\xe9\r\n"
    data = _strict(MIXED + b"--b\r\nContent-Type: message/delivery-status\r\n\r\n" + status + b"\r\n--b--\r\n")
    assert b"\r\n\r\nReporting-MTA: dns; x\r\n\r\nStatus: 5.1.1\r\n" in data


SIGNED = b'Content-Type: multipart/signed; micalg=x; protocol="application/pgp-signature"; boundary=s\r\n'
SIGNATURE = b"--s\r\nContent-Type: application/pgp-signature\r\n\r\nsig\r\n--s--\r\n"


def test_a_signed_part_is_copied() -> None:
    """To the byte, in a mail whose other parts are written anew; the type goes on saying that it is signed."""
    signed = b"Content-Type: text/plain\r\nX-Odd : yes\r\n\r\nhello =E9  \r\n"
    data = _strict(HEAD + SIGNED + b"\r\n--s\r\n" + signed + SIGNATURE)
    assert b"\r\n" + signed + b"--=_relayd-" in data
    top = _parts(data)[0]
    assert (top.get_content_type(), top.get_param("micalg")) == ("multipart/signed", "x")


@pytest.mark.parametrize("content", [EIGHT, b"x" * 2000 + b"\r\n", b"a lone\rCR\r\n", b"NUL\0\r\n"])
def test_a_signed_part_that_cannot_be_sent_is_read_and_attached(content: bytes) -> None:
    """The text can be read, and the original that was signed is attached to the byte."""
    raw = HEAD + SIGNED + b"\r\n--s\r\nContent-Type: text/plain\r\n\r\n" + content + SIGNATURE
    assert rewritten(raw).unsendable_parts == 1
    data = _strict(raw)
    assert leaves(data) == [*leaves(raw), raw]
    assert _parts(data)[-1].get_filename() == "original.eml"
    assert b"multipart/signed" not in data


def test_signed_inside_signed_is_attached_once() -> None:
    """However deep signatures stand in one another, the mail is not multiplied by their number."""
    levels = range(300)
    opened = b"".join(b"Content-Type: multipart/signed; boundary=s%d\r\n\r\n--s%d\r\n" % (n, n) for n in levels)
    raw = HEAD + opened + b"\r\n" + EIGHT + b"".join(b"--s%d--\r\n" % n for n in reversed(levels))
    data = _strict(raw)
    assert len(data) < 6 * len(raw)
    assert leaves(data) == [EIGHT[:-2], raw]


def test_an_encrypted_part_is_copied_or_encoded() -> None:
    """Encryption does not cover its own encoding: what cannot be sent as it is decrypts all the same when encoded."""
    kind = HEAD + b"Content-Type: multipart/encrypted; protocol=application/pgp-encrypted; boundary=s\r\n\r\n"
    body = b"--s\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n--s\r\n"
    body += b"Content-Type: application/octet-stream\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n%s--s--\r\n"
    assert _strict(kind + body % b"x\r\n").endswith(b"\r\n\r\n" + body % b"x\r\n")
    data = _strict(kind + body % (b"x" * 1200 + b"\r\n"))
    assert leaves(data) == leaves(kind + body % (b"x" * 1200 + b"\r\n"))
    assert _parts(data)[0].get_content_type() == "multipart/encrypted"


def test_s_mime_is_copied_or_encoded() -> None:
    """The outer encoding of S/MIME is nothing that its signature or encryption covers."""
    head = HEAD + b'Content-Type: application/pkcs7-mime; smime-type=signed-data; name="smime.p7m"\r\n'
    assert _strict(head + b"Content-Transfer-Encoding: base64\r\n\r\nQUJD\r\n").endswith(b"\r\n\r\nQUJD\r\n")
    data = _strict(head + b"\r\n\x30\x82\n\xff")
    assert leaves(data) == [b"\x30\x82\n\xff"]
    assert _parts(data)[0].get_param("smime-type") == "signed-data"


def test_no_boundary_can_be_foreseen() -> None:
    """A sender who writes the new boundary into a mail does not end a part with it."""
    raw = HEAD + SIGNED + b"\r\n--s\r\n\r\n" + b"".join(b"--=_relayd-%06d\r\n" % n for n in range(3)) + SIGNATURE
    assert leaves(_strict(raw)) == leaves(raw)
    attached = rebuild.as_attachment(parse(raw), PLAN, raw).data
    assert leaves(attached)[1] == raw


def test_two_thousand_levels_of_nesting() -> None:
    """Far deeper than a recursive writer goes; the leaf is at the bottom still."""
    levels = range(2000)
    opened = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in levels)
    data = _strict_flat(HEAD + opened + b"\r\n" + EIGHT)
    assert data.count(b"Content-Type: multipart/mixed") == 2000
    assert b"caf=C3=A9 =FF\r\n" in data
    assert data.endswith(b"--=_relayd-000001--\r\n--=_relayd-000000--\r\n")


def _strict_flat(raw: bytes) -> bytes:
    """Without a judge, who recurses."""
    data = rebuild.strict(parse(raw), PLAN, raw).data
    assert flaws(data) == []
    raw_mail.read(data)
    return data


@pytest.mark.timeout(20)
@pytest.mark.parametrize("raw", CASES.values(), ids=CASES.keys())
def test_hostile_input_takes_linear_time(raw: bytes) -> None:
    """What was made to be slow is not slow here either."""
    _strict_flat(raw)
    assert not rebuild.would_be_refused(parse(raw), rewritten(raw))


@pytest.mark.parametrize("name", ["folds", "one line", "CRs"])
def test_a_rebuilt_mail_takes_a_few_times_its_memory(name: str) -> None:
    """Nor is there a list of the lines or parts of a mail here."""
    raw = CASES[name]
    letter = parse(raw)
    tracemalloc.start()
    try:
        rebuild.strict(letter, PLAN, raw)
        rebuild.as_attachment(letter, PLAN, raw)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * len(raw) + 1_000_000


@pytest.mark.parametrize("size", [0, 1, 56, 57, 58, 10_000, 1_000_000])
def test_fits_tells_the_size_of_the_attachment(size: int) -> None:
    """The estimate is an upper bound, and no more than the header's reserve above the truth."""
    raw = HEAD + b"\r\n" + b"x" * size
    actual = len(rebuild.as_attachment(parse(raw), PLAN, raw).data)
    estimate = -(-len(raw) // 57) * 78 + rebuild.HEADER_RESERVE
    assert estimate - rebuild.HEADER_RESERVE - 78 <= actual <= estimate


def test_fits_draws_the_line_at_ses_s_limit() -> None:
    """Thirty megabytes still fit as base64, thirty-one do not."""
    assert rebuild.fits(30_000_000)
    assert not rebuild.fits(31_000_000)
    assert rebuild.MAX_MESSAGE == raw_mail.MAX_MESSAGE


def test_the_reserve_covers_the_longest_header() -> None:
    """Every foreign value at its cap: the header and the text still fit into what `fits` sets aside."""
    words = "\N{PARTY POPPER}".encode() * 20_000
    lines = b"".join(b"%s: %s\r\n" % (n, words) for n in (b"From", b"To", b"Subject", b"Date", b"Message-ID"))
    raw = lines + b"\r\n"
    data = rebuild.as_attachment(parse(raw), dataclasses.replace(PLAN, tag="t" * 60, warnings=("spam",) * 99), b"").data
    assert len(data) < rebuild.HEADER_RESERVE


def test_a_plan_that_no_header_can_carry_is_refused() -> None:
    """As in a forward: an address of ours that is none is our mistake, and no mail's."""
    plan = dataclasses.replace(PLAN, reply_address="not an address")
    for rung in (rebuild.strict, rebuild.as_attachment):
        with pytest.raises(PermanentError):
            rung(parse(b""), plan, b"")
