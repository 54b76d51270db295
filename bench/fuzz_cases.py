"""Cases for `bench.fuzz`: real mails damaged, MIME trees made by a grammar, noise, and SNS and SES JSON damaged.

A case is made from its number and the seed alone, so that one line of a report is enough to make it again.
"""

import copy
import json
import random
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bench.fuzz_words import (
    BOUNDARIES,
    ENCODINGS,
    HEADERS,
    JSON_PIECES,
    JSON_VALUES,
    LINES,
    MULTIPARTS,
    SEEDS,
    TOKENS,
    TYPES,
    VALUES,
)
from tests.wire.samples import confirmation, envelope, received

SHARED = Path(__file__).resolve().parents[2] / "shared" / "corpora"
FOLDERS = (SHARED / "mikel-mail", Path(sysconfig.get_paths()["stdlib"]) / "test" / "test_email" / "data")
LARGEST_SEED = 60_000
LARGEST = 200_000
"""Bytes of a case, about."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is fed in: a mail, or the body of an SQS message."""

    kind: str
    data: bytes


def case(seed: int, number: int) -> Case:
    chance = random.Random(f"{seed}/{number}")
    kind = chance.choice(sorted(_MAKERS))
    return Case(kind, _MAKERS[kind](chance)[: 2 * LARGEST])


@cache
def mails() -> tuple[bytes, ...]:
    """Hand-made mails, and those of the corpora that are here."""
    paths = [path for folder in FOLDERS if folder.is_dir() for path in sorted(folder.rglob("*")) if path.is_file()]
    found = [path.read_bytes() for path in paths if path.stat().st_size <= LARGEST_SEED]
    return (*SEEDS, *found)


@cache
def documents() -> tuple[Any, ...]:
    """JSON that SNS or SES would write."""
    folder = SHARED / "ses-json"
    found = [json.loads(path.read_bytes()) for path in sorted(folder.glob("*.json"))] if folder.is_dir() else []
    mail = received()["mail"]
    about = [
        {"eventType": "Bounce", "mail": mail, "bounce": {"bounceType": "Permanent", "bounceSubType": "NoEmail"}},
        {
            "eventType": "Complaint",
            "mail": mail,
            "complaint": {"complainedRecipients": [{"emailAddress": "a@b.example"}]},
        },
        {
            "eventType": "DeliveryDelay",
            "mail": mail,
            "deliveryDelay": {"delayedRecipients": [], "delayType": "MailboxFull"},
        },
        {"notificationType": "Delivery", "mail": mail, "delivery": {"recipients": ["a@b.example"]}},
        *({"eventType": kind, "mail": mail} for kind in ("Send", "Reject", "Rendering Failure", "Open", "News")),
        {"Event": "s3:TestEvent"},
    ]
    inline = received(content="RnJvbTogYUBiCgo=", receipt={"action": {"type": "SNS", "encoding": "BASE64"}})
    bare = [*found, *about, received(), inline]
    return (*bare, *(envelope(json.dumps(one)) for one in bare), confirmation(), envelope("text"))


def _mutated(chance: random.Random) -> bytes:
    data = bytearray(chance.choice(mails()))
    for _ in range(chance.choice((1, 1, 2, 3, 5, 8, 20))):
        chance.choice(_MUTATIONS)(chance, data)
    return bytes(data)


def _place(chance: random.Random, data: bytearray) -> int:
    # Damage to the header and to line starts is what changes the meaning of a mail.
    place = chance.randrange(len(data) + 1)
    return place if chance.random() < 0.5 else data.find(b"\n", place) + 1


def _insert(chance: random.Random, data: bytearray) -> None:
    place = _place(chance, data)
    data[place:place] = chance.choice(TOKENS) * chance.choice((1, 1, 1, 2, 50))


def _flip(chance: random.Random, data: bytearray) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.randrange(256)


def _cut(chance: random.Random, data: bytearray) -> None:
    place = _place(chance, data)
    del data[place : place + chance.choice((1, 2, 10, 200, LARGEST))]


def _double(chance: random.Random, data: bytearray) -> None:
    place = _place(chance, data)
    piece = bytes(data[place : place + chance.choice((5, 80, 2000))])
    if len(data) < LARGEST:
        data[place:place] = piece * chance.choice((1, 1, 3, 20))


def _splice(chance: random.Random, data: bytearray) -> None:
    other = chance.choice(mails())
    data[_place(chance, data) :] = other[chance.randrange(len(other) + 1) :]


def _line_ends(chance: random.Random, data: bytearray) -> None:
    data[:] = data.replace(b"\r\n", b"\n").replace(b"\n", chance.choice((b"\n", b"\r\n", b"\r")))


def _eight_bit(chance: random.Random, data: bytearray) -> None:
    data[:] = data.replace(
        chance.choice((b"e", b" ", b"a")), chance.choice((b"\xc3\xa9", b"\xe9", b"\0")), chance.choice((3, -1))
    )


_MUTATIONS: tuple[Callable[[random.Random, bytearray], None], ...] = (
    _insert, _insert, _flip, _cut, _double, _splice, _line_ends, _eight_bit,
)  # fmt: skip


def _grown(chance: random.Random) -> bytes:
    """A mail by a grammar of headers, nesting, boundaries, encodings and charsets, most of them a little wrong."""
    eol = chance.choice((b"\r\n", b"\r\n", b"\n", b"\r"))
    head = [f"{chance.choice(HEADERS)}: ".encode() + chance.choice(VALUES) for _ in range(chance.randrange(8))]
    if chance.random() < 0.03:
        return eol.join([*head, *_chain(chance, chance.choice((60, 400, 3000)))])
    return eol.join([*head, *_entity(chance, chance.randrange(5))]) + chance.choice((b"", eol))


def _entity(chance: random.Random, depth: int) -> Iterator[bytes]:
    if chance.random() < 0.8:
        yield b"Content-Transfer-Encoding: " + chance.choice(ENCODINGS)
    if depth == 0 or chance.random() < 0.2:
        yield b"Content-Type: " + chance.choice(TYPES)
        yield from () if chance.random() < 0.05 else (b"",)
        yield from chance.choices(LINES, k=chance.randrange(6))
        return
    if chance.random() < 0.15:
        yield from (b"Content-Type: message/rfc822", b"", b"Subject: " + chance.choice(VALUES))
        yield from _entity(chance, depth - 1)
        return
    boundary = chance.choice(BOUNDARIES)
    quote = chance.choice((b"", b'"'))
    yield b"Content-Type: multipart/" + chance.choice(MULTIPARTS) + b"; boundary=" + quote + boundary + quote
    yield b""
    yield from chance.choices(LINES, k=chance.randrange(2))
    for _ in range(chance.randrange(4)):
        yield b"--" + boundary + chance.choice((b"", b"", b"", b" ", b"x", b"--"))
        yield from _entity(chance, depth - 1)
    if chance.random() < 0.8:
        yield b"--" + boundary + b"--"
        yield from chance.choices(LINES, k=chance.randrange(2))


def _chain(chance: random.Random, depth: int) -> Iterator[bytes]:
    kind = chance.choice(MULTIPARTS)
    for level in range(depth):
        yield from (b"Content-Type: multipart/%s; boundary=b%d" % (kind, level), b"", b"--b%d" % level)
    yield from (b"", chance.choice(LINES))


def _noise(chance: random.Random) -> bytes:
    match chance.randrange(4):
        case 0:
            return chance.randbytes(chance.choice((10, 300, 3000)))
        case 1:
            return b"".join(chance.choices(TOKENS, k=chance.choice((5, 50, 500))))
        case 2:
            pieces = chance.choices(TOKENS, k=chance.randint(1, 3))
            start = chance.choice(
                (b"", b"From: ", b"Subject: ", b"Content-Type: multipart/mixed; boundary=b1\r\n\r\n\xff")
            )
            return start + b"".join(pieces) * chance.choice((10, 100, 3000))
        case _:
            lines = chance.choices(LINES, k=chance.randrange(30))
            return b"\n".join(lines) + chance.randbytes(20)


def _spoilt_json(chance: random.Random) -> bytes:
    document = json.loads(json.dumps(chance.choice(documents())))
    for _ in range(chance.randrange(4)):
        document = _spoilt(chance, document)
    text = json.dumps(document, ensure_ascii=chance.random() < 0.5)
    if chance.random() < 0.4:
        place = chance.randrange(len(text) + 1)
        text = (
            text[:place]
            + chance.choice(JSON_PIECES) * chance.choice((1, 1, 5000))
            + text[place + chance.randrange(9) :]
        )
    return text.encode("utf-8", "surrogatepass")


def _spoilt(chance: random.Random, document: Any) -> Any:
    """The document with one place changed: another value, a name gone, a name added, JSON inside JSON opened."""
    if isinstance(document, dict) and document and chance.random() < 0.85:
        name = chance.choice(sorted(document))
        if chance.random() < 0.15:
            del document[name]
        elif chance.random() < 0.1:
            document[chance.choice(("extra", "", "Type", "eventType", "mail"))] = copy.deepcopy(
                chance.choice(JSON_VALUES)
            )
        elif name == "Message" and isinstance(document[name], str) and document[name].startswith("{"):
            document[name] = json.dumps(_spoilt(chance, json.loads(document[name])))
        else:
            document[name] = _spoilt(chance, document[name])
        return document
    if isinstance(document, list) and document and chance.random() < 0.85:
        place = chance.randrange(len(document))
        document[place] = _spoilt(chance, document[place])
        return document
    return copy.deepcopy(chance.choice(JSON_VALUES))


_MAKERS: dict[str, Callable[[random.Random], bytes]] = {
    "mutated mail": _mutated,
    "grown mail": _grown,
    "noise": _noise,
    "json": _spoilt_json,
}
