"""What `bench.fuzz` makes its cases of: mails of each common sort, and pieces that were trouble to somebody."""

from typing import Any

# Runs without any corpus too: one mail of each sort that the corpora are rich in.
_SEEDS = b"""\
From: Bob <bob@example.org>
To: shop@mask.example
Subject: hello
Message-ID: <1@x.example>

Hi, write to bob@example.org!
%%
From: =?utf-8?q?J=C3=B6rg?= <j@x.example>
Subject: =?iso-8859-1?B?Y2Fm6Q==?=
 =?koi8-r?q?=F0=D2?=
Content-Type: multipart/alternative; boundary="b1"

--b1
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

caf\xc3\xa9
--b1
Content-Type: text/html
Content-Transfer-Encoding: quoted-printable

<body><a href=3D"https://x.example/1"><img src=3D"https://x.example/p.gif">=E9</a> =

--b1--
%%
From: list@x.example
List-Id: <l.x.example>
List-Unsubscribe: <mailto:u@x.example>, <https://x.example/u>
List-Unsubscribe-Post: List-Unsubscribe=One-Click
References: <a@b> <c@d>
In-Reply-To: <c@d>
Content-Type: multipart/mixed; boundary==_x

--=_x

text
--=_x
Content-Type: image/png;
 name*0*=utf-8''%e2%82%ac; name*1=.png
Content-Disposition: attachment; filename="\xe9.png"
Content-Transfer-Encoding: base64

iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ
--=_x--
footer
%%
From: MAILER-DAEMON@x.example
Content-Type: multipart/report; report-type=delivery-status; boundary=r

--r

bounced
--r
Content-Type: message/delivery-status

Reporting-MTA: dns; x

Final-Recipient: rfc822; bob@example.org
Status: 5.1.1

--r
Content-Type: message/rfc822

From: bob@example.org
Subject: inner
Content-Type: text/plain; charset=iso-8859-1

\xe9
--r--
%%
From: Bob <bob@example.org>
Content-Type: multipart/signed; protocol=application/pgp-signature; boundary=s

--s
Content-Type: text/plain

signed by bob@example.org
--s
Content-Type: application/pgp-signature

xx
--s--
%%
From: e@x.example
Content-Type: multipart/encrypted; protocol=application/pgp-encrypted; boundary=s

--s
Content-Type: application/pgp-encrypted

Version: 1
--s

-----BEGIN PGP MESSAGE-----

--s--
%%
From bob Mon Jan  1 00:00:00 2024
From: a, b <x@y.example>
To: <<x@y.example>>, a..b@x.example, Team: q@x.example;
Content-Type: text/plain; charset=uft-8
Content-Transfer-Encoding: 8bits

begin 644 f
#86)C
`
end
"""
SEEDS = tuple(mail.replace(b"\n", b"\r\n") for mail in _SEEDS.split(b"\n%%\n"))

TOKENS = (
    b"\r\n", b"\n", b"\r", b"\r\r\n", b"\0", b"\xe9", b"\xff\xfe", b"\xe2\x80\xa8", b"--", b"--b1\r\n", b"--b1--\r\n",
    b"\r\n\r\n", b"\n\n", b" ", b"\t", b":", b";", b'"', b"\\", b"<", b">", b"(", b")", b",", b"@", b"=?utf-8?q?",
    b"=?x?b?", b"?=", b"=", b"=\r\n", b"=0D=0A", b"%0d%0a", b"From ", b"begin 644 x\n", b"\x1b$B", b"+ADw-",
    b"Content-Type: multipart/mixed; boundary=b1\r\n", b"Content-Type: message/rfc822\r\n\r\n", b"boundary=", b"\r\n ",
    b"Content-Transfer-Encoding: base64\r\n", b"Content-Type: multipart/signed; boundary=b1\r\n", b"x" * 999,
    b"From: a@b.example\r\n", b"To: ", b"Subject: ", b"X-SES-CONFIGURATION-SET: x\r\n", b"X-Relayd-Hops: v1\r\n",
    b"bob@example.org", b"<!--", b"<style>", b"<img src=https://x.example/", b"&#98;ob@", b"url(", b"-----BEGIN PGP ",
)  # fmt: skip

HEADERS = (
    "From", "To", "Cc", "Subject", "Date", "Message-ID", "References", "In-Reply-To", "Reply-To", "Sender", "List-Id",
    "List-Unsubscribe", "MIME-Version", "Content-ID", "Content-Language", "Auto-Submitted", "DKIM-Signature", "X-Odd ",
)  # fmt: skip
VALUES = (
    b"Bob <bob@example.org>", b"a, b <x@y.example>", b"<<x@y.example>>", b"a..b@x.example", b"=?utf-8?b?Y2Fmw6k=?=",
    b"=?utf-8?q?a=0D=0ABcc:_x?= <x@y.example>", b"caf\xc3\xa9", b"J\xf6rg <j\xf6rg@x.example>", b"", b"(one (two))",
    b"Team: a@x.example, b@x.example;", b"<a@b> <c@d>", b"1.0", b"\x1b$B%F%9%H\x1b(B", b"x" * 1200, b"caf\xe9 " * 300,
)  # fmt: skip
TYPES = (
    b"text/plain", b"text/html", b"text/plain; charset=utf-8", b"text/plain; charset=uft-8", b"text", b"", b"a/b/c",
    b"text/html; charset=utf-7", b"TEXT/PLAIN; charset=DEFAULT", b"text/html; charset=iso-2022-jp",
    b"text/plain; charset=utf-16", b"application/octet-stream", b"image/png; name=\xe9",
    b"message/delivery-status", b"message/rfc822",
    b"message/partial; id=x", b"application/pkcs7-mime", b"text/calendar; method=REQUEST",
    b'application/pdf; name*0*=utf-8\'\'%c3; name*1*=%a9; name="x"',
)  # fmt: skip
MULTIPARTS = (b"mixed", b"alternative", b"related", b"digest", b"report", b"signed", b"encrypted", b"parallel")
ENCODINGS = (
    b"7bit", b"8bit", b"binary", b"base64", b"quoted-printable", b"x-uuencode", b"8bits", b"7-bit", b"utf-8",
    b'"base64"', b"base64;", b"", b"BASE64", b"base64 (x)",
)  # fmt: skip
BOUNDARIES = (b"b", b"bb", b"b--", b"--b", b"x y", b"=_b", b"(a)=?:", b"z" * 300, b"\xe9", b"", b"b1")
LINES = (
    b"hello", b"", b"caf\xc3\xa9", b"caf\xe9", b"\xff" * 40, b"a\0b", b"x" * 999, b"y" * 2500, b"=E9=", b"a = ",
    b"QUJD", b"QQ==QQ==", b"begin 644 f", b"#86)C", b"`", b"end", b"From x", b".", b"--", b" \t", b"a\rb",
    b"<a href='https://x.example/'>b</a>", b"-----BEGIN PGP SIGNED MESSAGE-----", b"> quoted bob@example.org",
)  # fmt: skip

JSON_PIECES = ("", '"', "{", "[", "]", "}", ",", ":", "\\", "\\ud800", "1e999", "0", "NaN", "null", "\0", "é", '{"a":')
JSON_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1e308, 10**400, "", "x", "\ud800", "\0", "\r\nBcc: x", [], {}, [[]], ["x"] * 1200, {"": {}},
    "y" * 5000, "Received", "Bounce", "2024-13-45T99:99:99Z", "0001-01-01T00:00:00+23:59", "a@b.example", "../x",
)  # fmt: skip
