"""Defects that real mail has: none of them is an exception, and none changes what a reader decodes."""

import email
import email.policy
from email.header import decode_header, make_header
from email.utils import parseaddr

import pytest

from relayd.sandbox.cloud import raw_mail
from tests.mail.judge import PLAN, flaws, leaves, rewritten

HEAD = b"From: Bob <bob@example.org>\r\nSubject: x\r\n"
MIXED = HEAD + b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'
EIGHT = b"caf\xc3\xa9 \xff\r\n"


def _part(header: bytes, body: bytes) -> bytes:
    return MIXED + b"--b\r\n" + header + b"\r\n" + body + b"\r\n--b--\r\n"


def _nested(depth: int) -> bytes:
    opened = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level) for level in range(depth)
    )
    return HEAD + opened + b"\r\n" + EIGHT + b"".join(b"--b%d--\r\n" % level for level in reversed(range(depth)))


DEFECTS = {
    "nothing": b"",
    "only a line end": b"\r\n",
    "only a body": b"hello\r\n",
    "no blank line": HEAD + b"then the body \xe9 comes\r\n",
    "header without end": b"From: Bob <bob@example.org>",
    "a byte order mark first": b"\xef\xbb\xbf" + HEAD + b"\r\n" + EIGHT,
    "blank lines first": b"\r\n\r\n" + HEAD + b"\r\n" + EIGHT,
    "a space before the colon": HEAD + b"X-Odd : y\r\nContent-Type: text/html\r\n\r\n" + EIGHT,
    "a header of nothing but folds": b" x\r\n\ty\r\n" + HEAD + b"\r\n" + EIGHT,
    "words that end in colons": b"From: " + b"mailto: " * 300 + b"\r\nTo: " + b"to: " * 300 + b"\r\n\r\nbody\r\n",
    "a header line of 100 KB": HEAD + b"X-Y: " + b"z" * 100_000 + b"\r\nCc: " + b"c" * 100_000 + b"\r\n\r\nbody\r\n",
    "a type of 100 KB": HEAD + b"Content-Type: text/plain; x=" + b"z" * 100_000 + b"; charset=utf-8\r\n\r\n" + EIGHT,
    "a name of 100 KB in a part": _part(
        b"Content-Disposition: attachment; filename=" + b"n" * 100_000 + b"\r\n", EIGHT
    ),
    "a body read as header": HEAD + b"Note: this was meant as text\r\nand this \xe9 shows it\r\n",
    "mbox From first": b"From bob@example.org Mon Jan  1 00:00:00 2024\r\n" + HEAD + b"\r\n" + EIGHT,
    "mbox From last": HEAD + b"From bob@example.org Mon\r\n\r\n" + EIGHT,
    "LF only": (HEAD + b"\r\n" + b"one\r\ntwo\r\n").replace(b"\r\n", b"\n"),
    "CR only": (HEAD + b"\r\n" + b"one\r\ntwo\r\n").replace(b"\r\n", b"\r"),
    "lone CR": HEAD + b"\r\none\rtwo\r\n",
    "CR CR LF": HEAD + b"\r\none\r\r\ntwo\r\n",
    "NUL in the body": HEAD + b"\r\na\0b\r\n",
    "NUL in the header": HEAD + b"X-Y: a\0b\r\nTo: a\0b@example.org\r\n\r\nbody\r\n",
    "UTF-16 unlabelled": HEAD + b"Content-Type: text/plain; charset=utf-16\r\n\r\n" + "hé\r\n".encode("utf-16"),
    "unknown charset": HEAD + b"Content-Type: text/plain; charset=uft-8\r\n\r\n" + EIGHT,
    "charset DEFAULT": HEAD + b"Content-Type: text/plain; charset=DEFAULT\r\n\r\n" + EIGHT,
    "charset unknown-8bit": HEAD + b"Content-Type: text/plain; charset=unknown-8bit\r\n\r\n" + EIGHT,
    "mostly 8-bit": HEAD + b"Content-Type: text/plain; charset=koi8-r\r\n\r\n" + b"\xd0\xd2\xc9\xd7\xc5\xd4\r\n" * 20,
    "long line": HEAD + b"\r\n" + b"x" * 5000 + b"\r\nend\r\n",
    "line of 998": HEAD + b"\r\n" + b"x" * 998 + b"\r\n",
    "line of 999": HEAD + b"\r\n" + b"x" * 999 + b"\r\n",
    "base64 in one line": _part(
        b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n", b"iVBORw0KGgoAAAAN" * 200
    ),
    "base64 with 8-bit garbage": _part(b"Content-Transfer-Encoding: base64\r\n", b"QUJD\r\n\xe9\r\nREVG"),
    "base64 with a footer": _part(b"Content-Transfer-Encoding: base64\r\n", b"QQ==\r\n_____\r\ncaf\xe9 list\r\n"),
    "base64 that is none": _part(b"Content-Transfer-Encoding: base64\r\n", b"\xe9QUJDR\r\n"),
    "QP with 8-bit": _part(b"Content-Transfer-Encoding: quoted-printable\r\n", b"a=E9=\r\nb \xe9 =ZZ == \t\r\n"),
    "QP with long lines": _part(b"Content-Transfer-Encoding: quoted-printable\r\n", b"=E9" * 800),
    "a delimiter in a line that is cut": MIXED
    + b"--b\r\n\r\n"
    + b"".join(b"\xe9" + b"x" * n + b"--b\r\n" for n in range(60, 90))
    + b"--b\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + b"".join(b"A" * n + b"--b" for n in range(60, 90))
    + b"\r\n--b--",
    "uuencode": _part(b"Content-Transfer-Encoding: x-uuencode\r\n", b"begin 644 f\r\n#86)C\r\n`\r\nend \xe9\r\n"),
    "uuencode that is none": _part(
        b"Content-Type: application/x-y\r\nContent-Transfer-Encoding: uue\r\n", b"nothing\n here"
    ),
    "binary with LF": _part(b"Content-Type: application/octet-stream\r\n", b"\x00\x01\n\xff\r\r\n"),
    "7-bit data with LF": _part(b"Content-Type: application/x-key\r\n", b"line\nline\n"),
    "raw 8-bit file name": _part(b'Content-Disposition: attachment; filename="r\xe9sum\xe9.pdf"\r\n', b"x"),
    "base64 in one line, in a multipart without parts": MIXED
    + b"--b\r\nContent-Type: multipart/mixed; boundary=zz\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + b"QUJD" * 400
    + b"\r\n--b\r\n\r\nnext \xe9\r\n--b--\r\n",
    "a NUL before a type": HEAD
    + b"Content-Type:\0multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n"
    + EIGHT
    + b"--b--\r\n",
    "no boundary": HEAD + b"Content-Type: multipart/mixed\r\n\r\n" + EIGHT,
    "boundary that never comes": HEAD + b"Content-Type: multipart/mixed; boundary=zz\r\n\r\n" + EIGHT,
    "a no-break space before the type": HEAD
    + b"Content-Type:\xa0multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n"
    + EIGHT
    + b"--b--\r\n",
    "a NUL in a boundary that never comes": HEAD
    + b"Content-Type: multipart/mixed; boundary=a\0b\r\n\r\n--ab\r\n\r\nhello\r\n",
    "only the last delimiter": MIXED + EIGHT + b"--b--\r\nepilogue \xe9\r\n",
    "no last delimiter": MIXED + b"--b\r\n\r\n" + EIGHT + b"--b\r\n\r\nend \xe9",
    "doubled delimiters": MIXED + b"--b\r\n--b\r\n--b--\r\n\r\n" + EIGHT + b"--b \t\r\n\r\n" + EIGHT,
    "8-bit preamble and epilogue": MIXED + EIGHT + b"--b\r\n\r\nhello\r\n--b--\r\n" + EIGHT,
    "a NUL away from a delimiter": MIXED + b"--b\0\r\n\r\nx\r\n--b\r\n\r\nhello\r\n--b--\r\n--b--\0",
    "long epilogue line": MIXED + b"--b\r\n\r\nhello\r\n--b--\r\n" + b"y" * 3000,
    "quoted and folded boundary": HEAD
    + b'Content-Type: multipart/mixed;\r\n\tBOUNDARY = "a b:c" ; x=y\r\n\r\n--a b:c\r\n\r\n'
    + EIGHT,
    "boundary of RFC 2231": HEAD
    + b"Content-Type: multipart/mixed; boundary*0=a; boundary*1=b\r\n\r\n--ab\r\n\r\n"
    + EIGHT,
    "boundary with 8-bit": HEAD + b"Content-Type: multipart/mixed; boundary=\xe9\r\n\r\n--\xe9\r\n\r\n" + EIGHT,
    "boundary too long": HEAD
    + b"Content-Type: multipart/mixed; boundary="
    + b"z" * 2000
    + b"\r\n\r\n--"
    + b"z" * 2000
    + b"\r\n\r\n"
    + EIGHT,
    "empty boundary": HEAD + b'Content-Type: multipart/mixed; boundary=""\r\n\r\n--\r\n\r\n' + EIGHT + b"----\r\n",
    "boundary inside a boundary": HEAD
    + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
    + b"Content-Type: multipart/alternative; boundary=bb\r\n\r\n"
    + b"--bb\r\n\r\n"
    + EIGHT
    + b"--bb--\r\n--b\r\n\r\n"
    + EIGHT
    + b"--b--\r\n",
    "the same boundary inside": HEAD
    + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n"
    + b"--b\r\n\r\n"
    + EIGHT
    + b"--b--\r\n",
    "a boundary that ends in --": HEAD
    + b"Content-Type: multipart/mixed; boundary=b--\r\n\r\n--b--\r\n\r\n"
    + EIGHT
    + b"--b----\r\n",
    "digest": HEAD
    + b"Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: \xe9\r\n\r\n"
    + EIGHT
    + b"--b--\r\n",
    "a message inside": _part(
        b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n",
        b"Subject: caf\xc3\xa9\r\nTo: \xe9 <a@b.example>\r\n\r\n" + EIGHT,
    ),
    "a message without header inside": _part(b"Content-Type: message/rfc822\r\n", b"\r\n" + EIGHT),
    "8-bit delivery status": _part(
        b"Content-Type: message/delivery-status\r\n",
        b"Reporting-MTA: dns; x\r\n\r\nDiagnostic-Code: smtp; caf\xe9\r\nStatus: 5.1.1\r\n",
    ),
    "8-bit text in a delivery status": _part(
        b"Content-Type: message/delivery-status\r\n",
        b"Reporting-MTA: dns; x\r\ncaf\xe9 is no field\r\nX-\xe9: nor this\r\n\r\nStatus: 5.1.1\r\n\r\nlast \xe9",
    ),
    "8-bit text that ends a delivery status": _part(
        b"Content-Type: message/delivery-status\r\n", b"Status: 5.1.1\r\ncaf\xe9\r\n"
    ),
    "a delivery status without blank line": MIXED
    + b"--b\r\nContent-Type: message/delivery-status\r\ncaf\xe9\r\n\r\nStatus: 5.1.1\r\n\r\n--b--\r\n",
    "an mbox From in a delivery status": _part(
        b"Content-Type: message/delivery-status\r\n", b" \t\r\nFrom x\r\nca\0f\xe9\r\n\r\nStatus: 5.1.1\r\n"
    ),
    "an mbox From that ends a block of a delivery status": _part(
        b"Content-Type: message/delivery-status\r\n", b"A: b\r\nFrom x \xe9\r\n\r\nStatus: 5.1.1\r\n"
    ),
    "an mbox From that a delimiter follows": MIXED
    + b"--b\r\nContent-Type: image/png; name=\xe9\r\nFrom x\r\n--b--\r\n",
    "a delivery status without blank line in a broken message": HEAD
    + b"Content-Type: message/rfc822\r\n\r\nSubject: \xe9\r\nContent-Type: message/delivery-status\r\n"
    + b"----BEGIN \xe9\r\n\r\nlast",
    "only a delivery status": HEAD + b"Content-Type: message/delivery-status\r\n\r\nStatus: 5\r\ncaf\xe9\r\n",
    "encoded text in a delivery status": _part(
        b"Content-Type: message/delivery-status\r\n",
        b"Reporting-MTA: dns; x\r\nContent-Transfer-Encoding: base64\r\nX-\xe9: y\r\nQUJD\r\n",
    ),
    "a fold of nothing after the encoding": HEAD + b"Content-Transfer-Encoding: base64\r\n \r\n\r\nQUJD\r\n",
    "signed, without parts": HEAD + b"Content-Type: multipart/signed; boundary=s\r\n\r\n" + EIGHT,
    "part without blank line": MIXED + b"--b\r\ncaf\xe9 without a header\r\n--b--\r\n",
    "part with nothing": MIXED + b"--b\r\n--b--\r\n\xe9",
    "second Content-Type": _part(b"Content-Type: text/plain\r\nContent-Type: multipart/mixed; boundary=c\r\n", EIGHT),
    "two levels": _nested(2),
    "two hundred levels": _nested(200),
    **{
        f"CTE {cte!r}": _part(b"Content-Transfer-Encoding: " + cte + b"\r\n", b"QUJD=E9\r\n" + EIGHT)
        for cte in (b"8bits", b"7-bit", b"utf-8", b'"quoted-printable"', b"base64;", b"", b"7bit", b"binary", b"BASE64")
    },
    **{
        f"CTE {cte!r} on a multipart": HEAD
        + b"Content-Transfer-Encoding: "
        + cte
        + b"\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n"
        + EIGHT
        + b"--b--\r\n"
        for cte in (b"base64", b"quoted-printable", b"8bit")
    },
    "CTE base64 on a multipart without parts": HEAD
    + b"Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: base64\r\n\r\nQUJD\xe9REVG\r\n",
}


@pytest.mark.parametrize("raw", DEFECTS.values(), ids=DEFECTS.keys())
def test_a_defect_changes_no_content(raw: bytes) -> None:
    """SES could take the result, and each leaf decodes to what it was."""
    result = rewritten(raw)
    assert flaws(result.data) == []
    assert leaves(result.data) == leaves(raw)


@pytest.mark.parametrize("raw", DEFECTS.values(), ids=DEFECTS.keys())
def test_a_second_passage_changes_nothing_more(raw: bytes) -> None:
    """What was repaired once needs no repair again: mail may pass several masks."""
    once = rewritten(raw).data
    twice = rewritten(once)
    assert twice.repaired_parts == 0
    assert twice.data.partition(b"\r\n\r\n")[2] == once.partition(b"\r\n\r\n")[2]


def test_two_thousand_levels_of_nesting() -> None:
    """Far deeper than a recursive parser goes; the one leaf is repaired all the same."""
    result = rewritten(_nested(2000))
    assert flaws(result.data) == []
    assert result.repaired_parts == 1
    assert b"\r\n\r\ncaf=C3=A9 =FF\r\n--b1999--" in result.data


@pytest.mark.parametrize("kind", [b"signed", b"encrypted"])
@pytest.mark.parametrize("content", [EIGHT, b"x" * 2000 + b"\r\n", b"a lone\rCR\r\n"])
def test_sealed_parts_stay_to_the_byte(kind: bytes, content: bytes) -> None:
    """A signature breaks with one changed byte; the part beside it is repaired."""
    sealed = (
        b"Content-Type: multipart/"
        + kind
        + b"; boundary=s\r\n\r\n--s\r\n\r\n"
        + content
        + b"--s\r\n\r\nsig\r\n--s--\r\n"
    )
    raw = MIXED + b"--b\r\n\r\n" + EIGHT + b"--b\r\n" + sealed + b"--b--\r\n"
    result = rewritten(raw)
    assert sealed in result.data
    assert result.repaired_parts == 1
    assert result.unsendable_parts == 1


@pytest.mark.parametrize(
    "protocol", [b"signed; protocol=application/pgp-signature", b"encrypted; protocol=application/pgp-encrypted"]
)
def test_a_sealed_mail_that_was_stored_with_lf_gets_crlf(protocol: bytes) -> None:
    """Signatures are made over CRLF, so what a Unix tool stored is put back as it was signed."""
    inner = b"Content-Type: text/plain\n\n-- \nBob  \n"
    raw = HEAD.replace(b"\r", b"") + b"Content-Type: multipart/" + protocol + b"; boundary=s\n\n--s\n" + inner
    result = rewritten(raw + b"\n--s\nContent-Type: text/plain\n\nsignature\n--s--\n")
    assert flaws(result.data) == []
    assert b"\r\n--s\r\n" + inner.replace(b"\n", b"\r\n") + b"\r\n--s\r\n" in result.data
    assert result.unsendable_parts == 0


def test_only_the_signed_part_of_a_signed_mail_is_sealed() -> None:
    """A list's footer and the signature itself are not covered by the signature: they are repaired."""
    signed = b"Content-Type: text/plain\r\n\r\nhello\r\n"
    raw = HEAD + b"Content-Type: multipart/signed; boundary=s\r\n\r\n--s\r\n" + signed
    raw += b"--s\r\nContent-Type: application/x-sig\r\n\r\na\nb\xff\r\n--s--\r\nlist footer \xe9\r\n"
    result = rewritten(raw)
    assert flaws(result.data) == []
    assert signed + b"--s\r\n" in result.data
    assert leaves(result.data) == leaves(raw)
    assert (result.repaired_parts, result.unsendable_parts) == (1, 0)


def test_a_sealed_mail_keeps_its_body() -> None:
    """The whole mail is signed, or is S/MIME: nothing below its header changes."""
    for kind in (b"multipart/signed; boundary=s", b"application/pkcs7-mime; smime-type=enveloped-data"):
        body = b"--s\r\n\r\n" + EIGHT + b"--s\r\n\r\nsig\r\n--s--\r\n"
        result = rewritten(HEAD + b"Content-Type: " + kind + b"\r\n\r\n" + body)
        assert result.data.endswith(b"\r\n\r\n" + body)
        assert result.unsendable_parts == 1


def test_what_needs_no_repair_is_copied() -> None:
    """One bad part: every other byte of the body is where it was."""
    good = b"Content-Type: text/html\r\nContent-Transfer-Encoding: Quoted-printable\r\nX-Odd : y\r\n\r\n=e9 = \r\n"
    raw = MIXED + b"This is MIME.\r\n--b\r\n" + good + b"--b \r\n\r\n" + EIGHT + b"--b--\r\nthe end"
    data = rewritten(raw).data
    assert b"This is MIME.\r\n--b\r\n" + good + b"--b \r\n" in data
    assert data.endswith(b"--b--\r\nthe end")


def test_an_encoded_text_without_mime_version_gets_one() -> None:
    """Without MIME-Version a reader may show the encoding instead of the text."""
    data = rewritten(HEAD + b"\r\nA caf\xc3\xa9 in a mostly plain text\r\n", PLAN).data
    assert data.count(b"MIME-Version: 1.0\r\n") == 1
    assert b"Content-Transfer-Encoding: quoted-printable\r\n" in data
    assert b"MIME-Version" not in rewritten(HEAD + b"\r\nhello\r\n", PLAN).data


FIRST_LINES = {
    "none": (b"Subject: x", "bounce at sender.example"),
    "empty": (b"From:", "bounce at sender.example"),
    "no address": (b"From: nobody at all", "bounce at sender.example"),
    "only a name in brackets": (b"From: <nobody>", "bounce at sender.example"),
    "a comma in a name": (b"From: a, b <x@y.example>", "a, b (x at y.example)"),
    "two brackets": (b"From: <<x@y.example>>", "x at y.example"),
    "two dots": (b"From: a..b@x.example", "a..b at x.example"),
    "8-bit local part": (b"From: j\xc3\xb6rg@x.example", "j\xf6rg at x.example"),
    "several From": (b"From: nobody\r\nFrom: a@x.example\r\nFrom: b@x.example", "a at x.example"),
    "several addresses": (b"From: a@x.example, b@x.example", "a at x.example"),
    "a group": (b"From: Team: a@x.example, b@x.example;", "a at x.example"),
    "CR LF in an encoded word": (b"From: =?utf-8?q?a=0D=0ABcc:_v@x.example?= <a@x.example>", "a Bcc: v at x.example"),
    "an unknown charset": (b"From: =?uft-8?q?J=C3=B6rg?= <a@x.example>", "J\xf6rg (a at x.example)"),
    "charset DEFAULT": (b"From: =?DEFAULT?b?SsO2cmc=?= <a@x.example>", "J\xf6rg (a at x.example)"),
    "half an encoded word": (b"From: =?utf-8?q?J=C3=B6rg <a@x.example>", "a at x.example)"),
    "an unquoted bracket": (b"From: Bob <bob <bob@x.example>", "bob at x.example)"),
    "100 KB": (b"From: " + b"n" * 100_000 + b" <a@x.example>", "sender.example"),
}


@pytest.mark.parametrize(("line", "label"), FIRST_LINES.values(), ids=FIRST_LINES.keys())
def test_whoever_it_is_from_the_owner_is_told(line: bytes, label: str) -> None:
    """One From that SES takes, whatever the mail's own was like, with what could be read of it."""
    data = rewritten(line + b"\r\n\r\nbody\r\n").data
    assert flaws(data) == []
    raw_mail.read(data)
    names = email.message_from_bytes(data, policy=email.policy.compat32).get_all("From") or []
    assert len(names) == 1
    name, address = parseaddr(names[0])
    assert address == PLAN.reply_address
    assert label in str(make_header(decode_header(name)))


def test_a_mail_without_date_and_id_gets_none_made_up() -> None:
    """SES sets both; what the mail did not say is not told."""
    message = email.message_from_bytes(rewritten(HEAD + b"\r\nbody\r\n").data)
    assert [name for name in message if "Date" in name or "Message-ID" in name] == []


def test_a_long_header_is_cut_and_the_mail_goes_on() -> None:
    """A subject of 100 KB is shown as far as anybody reads, the rest of the mail is as it was."""
    data = rewritten(b"From: a@b.example\r\nSubject: " + b"word " * 20_000 + b"\r\n\r\nbody\r\n").data
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert message["Subject"].startswith("word word")
    assert 1000 < len(message["Subject"]) < 9000
    assert data.endswith(b"\r\n\r\nbody\r\n")


def test_a_body_that_was_read_as_header_is_not_lost() -> None:
    """Without a blank line the text begins at the first line that is no field, where every reader sees it."""
    data = rewritten(HEAD + b"Hello Bob,\r\nhow are you?\r\n").data
    assert data.endswith(b"\r\n\r\nHello Bob,\r\nhow are you?\r\n")
    assert b"Subject: x\r\n" in data


def test_mbox_first_line_is_no_header() -> None:
    """The line that mail files put between mails is dropped, and the header below it read."""
    data = rewritten(b"From bob@example.org Mon Jan  1 00:00:00 2024\n" + HEAD.replace(b"\r", b"") + b"\nbody\n").data
    assert b"2024" not in data
    assert b"\r\nSubject: x\r\n" in data
    assert data.endswith(b"\r\n\r\nbody\r\n")
