"""`relayd deliveries` and `relayd hash` as somebody at a terminal meets them."""

import json
import re
from pathlib import Path

import pytest

from relayd.adapters.directory import SqlDirectory
from relayd.adapters.ledger import SqlLedger
from relayd.commands.deliveries import SHOWN_FIRST, SHOWN_LAST, print_list
from relayd.errors import ConfigurationError
from relayd.model.address import Address
from relayd.model.delivery import Claim, Concern, DeliveryKey, Draft, Replay
from relayd.model.mask import Mask
from relayd.ops.deliveries import Choice, choose
from relayd.telemetry.pseudonyms import pseudonym
from tests.terminal import Operator

SHOP, BOX = "shop@mask.example", "me@example.org"
SECRET, OLDER = "0f3c5a7e9b1d2846c0a8e6f4927b5d31f0c2e4a69b8d7153", "1f3c5a7e9b1d2846c0a8e6f4927b5d31f0c2e4a69b8d7153"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Support(Operator):
    """Somebody whom a customer calls; and the daemon's ledger."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.ok("masks", "add", SHOP, "--to", BOX)
        mask = SqlDirectory(self.database()).lookup(Address.parse(SHOP))
        assert isinstance(mask, Mask)
        self.concern = Concern("forward", mask.mask_id, mask.owner.owner_id)
        self.ledger = SqlLedger(self.database())

    def take(self, mail_id: str, *, recipient: str = SHOP, to: str = BOX, replay: Replay | None = None) -> Claim:
        key, message_id = DeliveryKey(mail_id, recipient, to), f"message-of-{mail_id}"
        claim = self.ledger.claim(key, self.concern, message_id=message_id, ttl=60, trace=TRACE, replay=replay)
        assert isinstance(claim, Claim)
        return claim

    def send(self, mail_id: str, ses_id: str = "", *, replay: Replay | None = None) -> Claim:
        claim = self.take(mail_id, replay=replay)
        self.ledger.begin_send(claim, Draft(100), ttl=60)
        self.ledger.sent(claim, ses_id or f"ses-{mail_id}")
        return claim

    def listed(self, *args: str) -> list[str]:
        return [one["mail_id"] for one in self.json("deliveries", "list", *args)]


@pytest.fixture
def relayd(tmp_path: Path) -> Support:
    return Support(tmp_path)


def test_a_customer_misses_a_mail(relayd: Support) -> None:
    """From the mask to the mail, and from the mail to what can be done, by copying what was printed."""
    relayd.send("other")
    claim = relayd.take("missed")
    relayd.ledger.give_back(claim, "s3_timeout")
    relayd.ledger.failed(relayd.take("missed"), "ses_rejected", message_id="m1")
    text = relayd.ok("deliveries", "list", "--mask", SHOP, "--since", "2d", "--state", "failed")
    (line,) = [line for line in text.splitlines() if "failed" in line]
    assert "ses_rejected" in line
    assert BOX in line
    id_ = re.findall(r"[0-9a-f]{20}", line)[0]
    shown = relayd.ok("deliveries", "show", id_)
    parts = ("FAILED", "missed", "s3_timeout", "relayd replay --dead-letters --message-id missed")
    assert [shown.index(part) for part in parts] == sorted(shown.index(part) for part in parts)
    assert "4bf92f3577b34da6a3ce929d0e0e4736" in shown


def test_filters_narrow_the_list(relayd: Support) -> None:
    """Each alone, and all of them together; what nothing fits is said on standard error."""
    relayd.send("sent")
    relayd.ledger.give_back(relayd.take("waiting"), "s3_timeout")
    assert relayd.listed() == ["waiting", "sent"]
    assert relayd.listed("--state", "open") == relayd.listed("--reason", "s3_timeout") == ["waiting"]
    assert relayd.listed("--state", "open", "--state", "sent") == ["waiting", "sent"]
    assert relayd.listed("--mail-id", "sent") == relayd.listed("--ses-id", "ses-sent") == ["sent"]
    assert relayd.listed("--trace", TRACE) == relayd.listed("--trace", TRACE[3:35]) == ["waiting", "sent"]
    assert relayd.listed("--since", "1h", "--until", "2200-01-01", "--mask", SHOP, "--state", "sent") == ["sent"]
    assert relayd.listed("--until", "1h") == relayd.listed("--trace", "f" * 32) == []
    nothing = relayd("deliveries", "list", "--mail-id", "nothing")
    assert (nothing.exit_code, nothing.stdout) == (0, "")
    assert "No delivery matches" in nothing.stderr


def test_a_list_that_was_cut_says_so(relayd: Support) -> None:
    """On standard error, so that a program reads JSON alone."""
    for number in range(3):
        relayd.send(f"mail-{number}")
    cut = relayd("deliveries", "list", "--limit", "2", "--json")
    assert [one["mail_id"] for one in json.loads(cut.stdout)] == ["mail-2", "mail-1"]
    assert "--limit" in cut.stderr
    assert "--limit" not in relayd("deliveries", "list", "--limit", "3").stderr


def test_a_list_fits_a_narrow_terminal(relayd: Support, capsys: pytest.CaptureFixture[str]) -> None:
    """Two lines each, and nothing cut."""
    relayd.ledger.failed(relayd.take("mail"), "reply_not_allowed", message_id="m1")
    found = choose(relayd.database(), Choice())
    capsys.readouterr()
    print_list(found, narrow=True)
    head, first, second = capsys.readouterr().out.splitlines()
    assert [first.index(part) for part in ("20", "failed reply_not_allowed", found[0].delivery_id)] == [
        head.index(name) for name in ("CAME", "STATE", "ID")
    ]
    assert second.strip() == f"{SHOP} -> {BOX}"
    assert max(len(line) for line in (head, first, second)) <= 80


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("list", "--trace", "nonsense"), "32 hex digits"),
        (("list", "--state", "lost"), "in-doubt"),
        (("list", "--since", "soon"), "12h"),
        (("list", "--limit", "0"), "limit"),
        (("list", "--mask", "nobody"), "local@domain"),
        (("show",), "ID"),
    ],
)
def test_a_wrong_call_is_explained(relayd: Support, args: tuple[str, ...], said: str) -> None:
    """With code 2, and how it is written."""
    result = relayd("deliveries", *args)
    assert result.exit_code == 2
    assert said in result.stderr


def test_what_is_not_there_is_refused(relayd: Support) -> None:
    """With code 1 and a hint where to look."""
    result = relayd("deliveries", "show", "nothing")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "deliveries list --mask" in result.stderr


def test_all_of_a_mail_or_one_of_its_deliveries(relayd: Support) -> None:
    """By the mail's id all are shown, by a delivery's that one, and that there are more."""
    claims = [relayd.take("mail", to=to) for to in (BOX, "you@example.org")]
    assert len(relayd.json("deliveries", "show", "mail")) == 2
    one = relayd("deliveries", "show", claims[0].delivery_id)
    assert (one.stdout.count("attempts"), "1 more: relayd deliveries show mail" in one.stderr) == (1, True)
    assert "more: relayd" not in relayd("deliveries", "show", "mail").stderr


def test_a_mail_that_was_sent_twice_is_explained(relayd: Support) -> None:
    """Both sends, under which ids, and that the second one was asked for."""
    relayd.send("mail", "ses-1")
    relayd.send("mail", "ses-2", replay=Replay("act-4711", again=True))
    shown = relayd.ok("deliveries", "show", "ses-1")
    for part in ("ses-1", "ses-2", "act-4711"):
        assert part in shown
    (story,) = relayd.json("deliveries", "show", "<ses-2@eu-west-1.amazonses.com>")
    tries = [(one["number"], one["outcome"], one["ses_id"], one["replay_id"]) for one in story["attempts"]]
    assert tries == [(1, "sent", "ses-1", None), (2, "sent", "ses-2", "act-4711")]
    assert story["hints"][-1]["command"].endswith("--state sent --again")


def test_of_many_attempts_the_first_and_the_last_are_printed(relayd: Support) -> None:
    """And how many were left out; programs get all of them."""
    count = SHOWN_FIRST + SHOWN_LAST + 5
    for _ in range(count):
        relayd.ledger.give_back(relayd.take("mail"), "s3_timeout")
    shown = relayd.ok("deliveries", "show", "mail")
    assert "5 more" in shown
    numbers = [int(number) for number in re.findall(r"^ +(\d+)  20", shown, re.MULTILINE)]
    assert numbers == [*range(1, SHOWN_FIRST + 1), *range(SHOWN_FIRST + 6, count + 1)]
    assert shown.count("message-of-mail") == 1, "what is the same in each is told once"
    (story,) = relayd.json("deliveries", "show", "mail")
    assert len(story["attempts"]) == count


def test_strangers_cannot_move_the_cursor(relayd: Support) -> None:
    """Recipients and ids come from outside."""
    odd = "caf\u00e9\x1b[2J\r\n\u202e@mask.example"
    relayd.take("mail\x1b[31m", recipient=odd)
    listed = relayd.ok("deliveries", "list")
    shown = relayd.ok("deliveries", "show", relayd.json("deliveries", "list")[0]["delivery_id"])
    for text in (listed, shown):
        assert "caf\u00e9" in text
        assert all(character.isprintable() or character == "\n" for character in text)


def test_the_hash_that_logs_carry(relayd: Support) -> None:
    """Of the mask, whatever its case and tag; by each secret that is known, the newest first."""
    relayd.environ = {"RELAYD_SECRET": f"{SECRET},{OLDER}"}
    now, older = (pseudonym(SHOP, secret.encode()) for secret in (SECRET, OLDER))
    text = relayd.ok("hash", "Shop+tag@MASK.example")
    assert [line.split()[0] for line in text.splitlines()] == [now, older]
    told = relayd.json("hash", SHOP, "news@mask.example")
    assert told[0] == {"mask": SHOP, "hash": now, "older": [older]}
    assert told[1]["mask"] == "news@mask.example"
    assert re.fullmatch(r"[0-9a-f]{16}", now)
    assert len({now, older, told[1]["hash"]}) == 3


def test_no_hash_without_a_secret(relayd: Support) -> None:
    """A hash by another secret would be found nowhere."""
    relayd.environ = {"RELAYD_SECRET": None}
    assert isinstance(relayd("hash", SHOP).exception, ConfigurationError)
    relayd.environ = {"RELAYD_SECRET": SECRET}
    wrong = relayd("hash", "nobody")
    assert (wrong.exit_code, "local@domain" in wrong.stderr) == (2, True)
    assert relayd("hash").exit_code == 2
