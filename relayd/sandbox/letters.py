"""Writes the sandbox's mails, byte by byte: a mail library would repair what has to arrive broken."""

import base64
import quopri
import random
from collections.abc import Callable
from email.header import Header

from relayd.sandbox.masks import ADA, CLICK_HOST, PIXEL_HOST, PUSHY, SHOP

_WORDS = (
    "amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "harbor", "iris", "juniper", "kelp", "lantern",
    "meadow", "north", "orchard", "pebble", "quartz", "river", "sage", "thistle", "umber", "violet", "willow", "yarrow",
)  # fmt: skip


class Pen:
    """Writes one mail: made-up words and people from the seed, header fields and bodies."""

    def __init__(self, seed: int, number: int, to: str = SHOP.address) -> None:
        """`to` is what stands in the To field."""
        self.number = number
        self.to = to
        self._random = random.Random(f"{seed}/{number}")  # noqa: S311 - made-up mail
        self.sender = f"{self.word()}.{self.word()}@{self.word()}.example.net"
        self.subject = f"{self.word().capitalize()} {self.word()} {number}"
        self._seed = seed

    def word(self) -> str:
        return self._random.choice(_WORDS)

    def words(self, count: int) -> str:
        return " ".join(self.word() for _ in range(count))

    def random_bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)

    def mail(
        self,
        body: bytes,
        content_type: str | None = "text/plain; charset=utf-8",
        *extra: tuple[str, str],
        subject: str | None = None,
        sender: str | None = None,
        encoding: str | None = None,
        first: tuple[tuple[str, str], ...] = (),
    ) -> bytes:
        """A whole mail; `first` stands before all other fields, `extra` after them."""
        fields = [
            *first,
            ("From", sender or f"{self.word().capitalize()} {self.word().capitalize()} <{self.sender}>"),
            ("To", self.to),
            ("Subject", self.subject if subject is None else subject),
            ("Date", "Mon, 06 Jul 2026 09:10:11 +0200"),
            ("Message-ID", f"<sandbox-{self._seed}-{self.number}@example.net>"),
            ("MIME-Version", "1.0"),
        ]
        if content_type is not None:
            fields.append(("Content-Type", content_type))
        if encoding is not None:
            fields.append(("Content-Transfer-Encoding", encoding))
        head = "".join(f"{name}: {value}\r\n" for name, value in [*fields, *extra])
        return head.encode("utf-8") + b"\r\n" + body

    def text(self, lines: int = 4) -> bytes:
        return "".join(f"{self.words(9)}.\r\n" for _ in range(lines)).encode()

    def parts(
        self, kind: str, *parts: bytes, extra: tuple[tuple[str, str], ...] = (), sender: str | None = None
    ) -> bytes:
        """A multipart mail."""
        boundary = f"=_{self._random.getrandbits(64):016x}"
        body = b"".join(b"--" + boundary.encode() + b"\r\n" + part + b"\r\n" for part in parts)
        body += b"--" + boundary.encode() + b"--\r\n"
        return self.mail(body, f'multipart/{kind}; boundary="{boundary}"', *extra, sender=sender)


def part(content_type: str, body: bytes, encoding: str = "7bit", disposition: str = "") -> bytes:
    """A body part with its header."""
    head = f"Content-Type: {content_type}\r\nContent-Transfer-Encoding: {encoding}\r\n"
    if disposition:
        head += f"Content-Disposition: {disposition}\r\n"
    return head.encode() + b"\r\n" + body


def plain(pen: Pen) -> bytes:
    return pen.mail(pen.text())


def html(pen: Pen) -> bytes:
    html = b"<html><body><p>" + pen.text() + b"</p></body></html>\r\n"
    coded = quopri.encodestring(html.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    return pen.parts(
        "alternative",
        part("text/plain; charset=utf-8", pen.text()),
        part("text/html; charset=utf-8", coded, "quoted-printable"),
    )


def attachment(pen: Pen) -> bytes:
    coded = base64.encodebytes(pen.random_bytes(20_000)).replace(b"\n", b"\r\n")
    disposition = 'attachment; filename="report.bin"'
    return pen.parts(
        "mixed",
        part("text/plain; charset=utf-8", pen.text()),
        part("application/octet-stream", coded, "base64", disposition),
    )


def wrong_charset(pen: Pen) -> bytes:
    return pen.mail("Grüße aus Köln, schöne Tage.\r\n".encode("latin-1"), "text/plain; charset=utf-8", encoding="8bit")


def unlabelled_8bit(pen: Pen) -> bytes:
    return pen.mail("No label says that this is UTF-8: ünï €\r\n".encode(), None)


def lone_lf(pen: Pen) -> bytes:
    return pen.mail(pen.text(6)).replace(b"\r\n", b"\n")


def long_lines(pen: Pen) -> bytes:
    return pen.mail((pen.words(400) + "\r\n" + pen.words(3) + "\r\n").encode())


def dots(pen: Pen) -> bytes:
    return pen.mail(b".\r\n..\r\n.leading dots have to survive the door\r\n" + pen.text(1))


def unicode_subject(pen: Pen) -> bytes:
    subject = Header(f"Żółw, 亀 and {pen.subject}", "utf-8").encode(linesep="\r\n")
    return pen.mail(pen.text(), subject=subject, sender=f"=?utf-8?q?Zo=C3=AB_=E2=80=AE?= <{pen.sender}>")


def list_mail(pen: Pen) -> bytes:
    host = pen.sender.rpartition("@")[2]
    return pen.mail(
        pen.text(),
        "text/plain; charset=us-ascii",
        ("List-Id", f"weekly <weekly.{host}>"),
        ("List-Unsubscribe", f"<mailto:leave@{host}>, <https://{host}/leave?id={pen.number}>"),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        ("Precedence", "bulk"),
        ("DKIM-Signature", f"v=1; a=rsa-sha256; d={host}; s=s1; h=from:to; bh=AAAA; b=BBBB"),
    )


def tracked(pen: Pen) -> bytes:
    page = (
        f'<html><body><p>{pen.words(5)} <a href="https://{CLICK_HOST}/c?id={pen.number}">Where is it?</a></p>'
        f'<img src="https://{PIXEL_HOST}/open.gif?id={pen.number}" width="1" height="1" alt=""></body></html>\r\n'
    )
    return pen.parts(
        "alternative",
        part("text/plain; charset=utf-8", pen.text(2)),
        part("text/html; charset=utf-8", page.encode()),
    )


def pushy(pen: Pen) -> bytes:
    return pen.mail(pen.text(), sender=f"Best Offers <offers{PUSHY}>")


def answer(pen: Pen, *extra: tuple[str, str]) -> bytes:
    """What an owner writes back, with their address all over it, as mail programs have it."""
    text = f"Thank you, it has come.\r\n\r\n-- \r\nAda\r\n{ADA}\r\n\r\n> To: {ADA.upper()}\r\n> {pen.words(7)}\r\n"
    page = f'<p>Thank you, it has come.</p><p><a href="mailto:{ADA.replace("@", "%40")}">Ada</a></p>\r\n'
    return pen.parts(
        "alternative",
        part("text/plain; charset=utf-8", text.encode()),
        part("text/html; charset=utf-8", page.encode()),
        extra=extra,
        sender=f"Ada <{ADA}>",
    )


def answer_to_all(pen: Pen) -> bytes:
    return answer(pen, ("Cc", f"a friend <{pen.sender}>"))


def bounce(pen: Pen) -> bytes:
    status = b"Reporting-MTA: dns; mx.example.net\r\n\r\nFinal-Recipient: rfc822; x@example.net\r\nAction: failed\r\n"
    return pen.parts(
        "report; report-type=delivery-status",
        part("text/plain; charset=us-ascii", pen.text(1)),
        part("message/delivery-status", status + b"Status: 5.1.1\r\n"),
        extra=(("Auto-Submitted", "auto-replied"),),
    )


def nested(pen: Pen) -> bytes:
    inner = pen.parts(
        "mixed", part("text/plain; charset=utf-8", pen.text(2)), part("text/plain", b"inner attachment\r\n")
    )
    return pen.parts("mixed", part("text/plain", pen.text(1)), part("message/rfc822", inner))


def cut_headers(pen: Pen) -> bytes:
    filler = "\r\n ".join(pen.words(12) for _ in range(200))
    return pen.mail(pen.text(), first=(("X-Filler", filler),))


def _received(count: int) -> tuple[tuple[str, str], ...]:
    stamp = "Mon, 06 Jul 2026 09:10:{:02} +0200"
    return tuple(
        ("Received", f"from h{hop}.example.net by h{hop + 1}.example.net with ESMTP; {stamp.format(hop)}")
        for hop in range(count)
    )


def loop(pen: Pen) -> bytes:
    return pen.mail(pen.text(), first=_received(30))


def loop_out_of_sight(pen: Pen) -> bytes:
    filler = "\r\n ".join(pen.words(12) for _ in range(200))
    return pen.mail(pen.text(), first=(("X-Filler", filler), *_received(30)))


def twice_the_same(pen: Pen) -> bytes:
    return pen.mail(pen.text(), "text/plain", ("Subject", "a second subject"), ("Content-Type", "text/html"))


def bare(pen: Pen) -> bytes:
    return b"Subject: " + pen.subject.encode() + b"\r\n\r\n" + pen.text(1)


def big(pen: Pen) -> bytes:
    coded = base64.encodebytes(pen.random_bytes(1_500_000)).replace(b"\n", b"\r\n")
    disposition = 'attachment; filename="holiday.jpg"'
    return pen.parts("mixed", part("text/plain", pen.text()), part("image/jpeg", coded, "base64", disposition))


def verdict(words: str) -> Callable[[Pen], bytes]:
    return lambda pen: pen.mail(pen.text(), "text/plain", ("X-Sandbox-Verdict", words))


def containing(scanned: bytes) -> Callable[[Pen], bytes]:
    return lambda pen: pen.mail(pen.text(1) + scanned + b"\r\n", "text/plain")
