"""A conversation through a mask, by the real daemon: one thread on both sides, and nobody learns who the owner is."""

import base64
import quopri

import pytest

from relayd.sandbox.child import Sent
from tests.process.cloud import Cloud, eventually
from tests.process.correspondents import Letter, Mailbox, answer, quoted, readings

pytestmark = pytest.mark.process

FIRST, SECOND = "ada.lovelace@real-home.example", "a.byron@real-home.example"
NEVER = ("ada.lovelace", "a.byron", "real-home.example", "lovelace@", "byron@")
"""What no byte of the stranger's mail may hold, in any reading."""


class Conversation:
    """The two sides, and what the daemon brought from one to the other."""

    def __init__(self, cloud: Cloud, mask: str, *owners: str) -> None:
        self.cloud = cloud
        self.mask = mask
        self.stranger = Mailbox("seller@market.example")
        self.owners = {address: Mailbox(address) for address in owners}
        self.seen = len(cloud.sent())

    def first(self) -> dict[str, Letter]:
        """The stranger writes to the mask."""
        return self.from_stranger(
            f"From: The Seller <seller@market.example>\r\nTo: {self.mask}\r\nSubject: Your order\r\n"
            "Message-ID: <seller-1@market.example>\r\nMIME-Version: 1.0\r\n"
            'Content-Type: multipart/alternative; boundary="s"\r\n\r\n'
            "--s\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nWhere shall it go?\r\n"
            "--s\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Where shall it go?</p>\r\n--s--\r\n"
        )

    def from_stranger(self, mail: str) -> dict[str, Letter]:
        """A mail of the stranger's arrives in every mailbox of the owner's."""
        self.cloud.accept(self.stranger.address, self.mask, self.stranger.writes(mail.encode()))
        sent = self._sent(len(self.owners))
        return {one.recipients[0]: self.owners[one.recipients[0]].receives(one) for one in sent}

    def stranger_answers(self, letter: Letter, number: int) -> dict[str, Letter]:
        assert letter.sender == self.mask
        head = answer(letter, "The Seller <seller@market.example>", f"<seller-{number}@market.example>")
        return self.from_stranger("\r\n".join([*head, "", quoted(letter.text) + "\r\nUnderstood.\r\n"]))

    def owner_answers(self, letter: Letter, sender: str, number: int) -> Letter:
        """The owner's mail program does what they do: quotes everything, signs, and repeats addresses all over."""
        mail = owners_answer(letter, self.mask, sender, number)
        self.cloud.accept(sender, letter.sender, self.owners[sender].writes(mail))
        [sent] = self._sent(1)
        return self.stranger.receives(sent)

    def _sent(self, count: int) -> list[Sent]:
        assert eventually(lambda: len(self.cloud.sent()) >= self.seen + count, 20), self.cloud.daemons[-1].output()
        new = self.cloud.sent()[self.seen :]
        assert len(new) == count
        self.seen += count
        return new

    def leaks(self) -> list[str]:
        """What of the owner's stands in what the stranger received."""
        got = [one for one in self.stranger.letters if one.message_id.endswith("amazonses.com>")]
        return [word for one in got for word in NEVER if any(word in text for text in readings(one.data))]

    def tell(self, name: str) -> None:
        got = [one for one in self.stranger.letters if one.message_id.endswith("amazonses.com>")]
        sides = {"stranger": self.stranger, **self.owners}
        threads = ", ".join(f"{len(side.letters)} mails in {side.threads()} thread" for side in sides.values())
        print(
            f"\n{name}: {threads}; {len(got)} mails with {sum(len(one.data) for one in got)} bytes reached the "
            f"stranger, {sum(len(readings(one.data)) for one in got)} readings searched, {len(self.leaks())} leaks"
        )


def owners_answer(letter: Letter, mask: str, owner: str, number: int) -> bytes:
    """With the owner's address in quote, signature, HTML, calendar and an enclosed mail, spelt in many ways."""
    sender = owner.title()
    local, _, domain = sender.partition("@")
    head = answer(
        letter,
        f"Ada <{sender}>",
        f"<owner-{number}@mx.{domain.lower()}>",
        # Somebody's program puts the mask, and the token once more, into Cc, with the address for a name.
        cc=f'"{sender.upper()}" <{mask.upper()}>, "{local}+notes@{domain}" <{letter.sender.upper()}>',
    )
    text = (
        f"To the old place, please. Write to {local}+shop@{domain.upper()} otherwise.\r\n\r\n-- \r\nAda\r\n{sender}\r\n"
        f"\r\nOn Monday, {letter.header('from')} wrote to {sender.lower()}:\r\n{quoted(letter.text)}"
    )
    page = (
        f'<p>See <a href="mailto:{local}%40{domain}?cc={local.lower()}%2540{domain}">me</a>, '
        f"{''.join(f'&#{ord(c)};' for c in sender)}</p><blockquote>{letter.html}</blockquote>"
    )
    calendar = (
        "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n"
        f"ORGANIZER;CN=Ada:mailto:{sender[:7]}\r\n {sender[7:]}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
    enclosed = f"From: Ada <{sender}>\r\nTo: somebody@market.example\r\nSubject: {sender}\r\n\r\nI am {sender}.\r\n"
    parts = [
        ("text/plain; charset=utf-8", "8bit", text.encode()),
        ("text/html; charset=utf-8", "quoted-printable", quopri.encodestring(page.encode()).replace(b"\n", b"\r\n")),
        ("text/calendar; charset=utf-8", "base64", base64.encodebytes(calendar.encode()).replace(b"\n", b"\r\n")),
        (f'text/plain; name="{sender}.txt"', "7bit", f"{sender}\r\n".encode()),
        ("message/rfc822", "7bit", enclosed.encode()),
    ]
    body = b"".join(
        b"--o\r\nContent-Type: %b\r\nContent-Transfer-Encoding: %b\r\n\r\n%b\r\n" % (kind.encode(), how.encode(), data)
        for kind, how, data in parts
    )
    head.append('Content-Type: multipart/mixed; boundary="o"')
    return "\r\n".join([*head, "", ""]).encode() + body + b"--o--\r\n"


def test_a_conversation_is_one_thread_on_all_sides(cloud: Cloud) -> None:
    """Stranger, owner, stranger, owner, through a mask with one mailbox and one with two: each mail answers what its
    reader knows, every mail program shows one thread, and no byte that the stranger gets tells who the owner is.
    """
    cloud.add_mask("shop@mask.example", FIRST, banner=True, display_name="A. Shopper")
    cloud.add_mask("team@mask.example", FIRST, SECOND, banner=True)
    daemon = cloud.daemon(**cloud.with_events)
    one = Conversation(cloud, "shop@mask.example", FIRST)
    talk_to_one(one)
    one.tell("one mailbox")
    two = Conversation(cloud, "team@mask.example", FIRST, SECOND)
    talk_to_two(two)
    # Written to the owner themself as well, it would tell the stranger: it goes to nobody.
    came = two.owners[SECOND].letters[0]
    leaking = answer(came, SECOND, "<owner-9@mx.real-home.example>", cc=FIRST)
    cloud.accept(SECOND, came.sender, "\r\n".join([*leaking, "", "hello\r\n"]).encode())
    assert eventually(lambda: any(line["reason"] == "reply_leak" for line in daemon.events("message_settled")), 10)
    two.tell("two mailboxes")
    assert daemon.stop() == 0
    # The notice about the refusal, to the owner, may be out by now as well.
    assert len([sent for sent in cloud.sent() if not sent.sender.startswith("noreply@")]) == two.seen
    assert one.leaks() + two.leaks() == []
    assert [side.threads() for talk in (one, two) for side in (talk.stranger, *talk.owners.values())] == [1] * 5


def talk_to_one(talk: Conversation) -> None:
    came = talk.first()[FIRST]
    assert "was forwarded by relayd" in came.text
    reply = talk.owner_answers(came, FIRST, 1)
    assert reply.header("from") == f'"A. Shopper" <{talk.mask}>'
    assert reply.header("in-reply-to") == "<seller-1@market.example>"
    assert "To the old place" in reply.text
    assert "Where shall it go?" in reply.text
    assert "was forwarded by relayd" not in reply.text + reply.html
    back = talk.stranger_answers(reply, 2)[FIRST]
    assert back.header("in-reply-to") == "<owner-1@mx.real-home.example>"
    assert back.sender == came.sender, "one contact, one token"
    last = talk.owner_answers(back, FIRST, 2)
    assert last.header("in-reply-to") == "<seller-2@market.example>"


def talk_to_two(talk: Conversation) -> None:
    """Both mailboxes get the stranger's mails, and either may answer."""
    came = talk.first()
    reply = talk.owner_answers(came[FIRST], FIRST, 1)
    back = talk.stranger_answers(reply, 2)
    last = talk.owner_answers(back[SECOND], SECOND, 2)
    again = talk.stranger_answers(last, 3)
    talk.owner_answers(again[FIRST], FIRST, 3)
