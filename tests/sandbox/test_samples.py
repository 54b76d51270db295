"""The sandbox's own mails: the same each time, all kinds among them, and expectations that fit the masks."""

import json
from dataclasses import replace

import pytest

from relayd.mail.trackers import TrackerList
from relayd.rules.inbound import REASONS
from relayd.sandbox.masks import LOST, MASKS, PIXEL_HOST, RULE, TRACKERS
from relayd.sandbox.receiving import HEADERS_KEPT, Verdicts, header_fields
from relayd.sandbox.samples import FORGED, KINDS, ODD, ODD_EVERY, Expected, Sample, samples
from relayd.sandbox.world import DOMAIN, MAIL_DOMAINS, EventsPath, World

TOPIC = "arn:aws:sns:us-east-1:123456789012:topic"
EVENTS = EventsPath("set", f"{TOPIC}-events", "events")
WORLD = World("http://127.0.0.1:1", "bucket", TOPIC, f"{TOPIC}-foreign", "queue", "dead", EVENTS)
TOKEN = "abcdefghijklmnopqrst@mask.example"
ENOUGH = ODD_EVERY * len(ODD) + len(KINDS)


def by_kind() -> dict[str, Sample]:
    return {sample.kind: sample for sample in samples(ENOUGH, WORLD, token=TOKEN)}


def test_the_same_seed_gives_the_same_mails() -> None:
    """A failure can be run again; another seed gives other mails."""
    first = [sample.data for sample in samples(30, WORLD, seed=7, token=TOKEN) if sample.route == "door"]
    again = [sample.data for sample in samples(30, WORLD, seed=7, token=TOKEN) if sample.route == "door"]
    other = [sample.data for sample in samples(30, WORLD, seed=8, token=TOKEN) if sample.route == "door"]
    assert first == again
    assert all(mine != theirs for mine, theirs in zip(first, other, strict=True))


def test_every_kind_comes_up_and_numbers_count() -> None:
    """A run of moderate length has all kinds of mails and of odd messages."""
    run = list(samples(ENOUGH, WORLD, token=TOKEN))
    assert [sample.number for sample in run] == list(range(1, ENOUGH + 1))
    assert {sample.kind for sample in run if sample.route == "door"} == {kind.name for kind in KINDS}
    assert {sample.kind for sample in run if sample.route != "door"} == {name for name, _, _ in ODD}


def test_signatures_bring_forgeries() -> None:
    """Where relayd verifies, it is also shown what it has to refuse: forged, unsigned, a certificate of somebody's."""
    run = list(samples(ODD_EVERY * len(ODD + FORGED), WORLD, token=TOKEN, signed=True))
    assert {sample.kind for sample in run if sample.route != "door"} == {name for name, _, _ in ODD + FORGED}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_recipient_has_one_end(kind: object) -> None:
    """Each envelope recipient is ours and is either sent on or discarded for a reason that the rules know; both only
    where one of a mask's mailboxes is paused.
    """
    sample = by_kind()[kind.name]  # type: ignore[attr-defined]
    forwarded = {recipient for recipient, _ in sample.expected.forwards}
    discarded = {recipient for recipient, _ in sample.expected.discards}
    assert forwarded | discarded == {recipient.lower() for recipient in sample.recipients}
    assert not forwarded & discarded or sample.paused
    assert {recipient.partition("@")[2] for recipient in forwarded | discarded} <= set(MAIL_DOMAINS)
    assert {reason for _, reason in sample.expected.discards} <= set(REASONS)


def test_forwards_go_to_all_mailboxes_of_a_mask() -> None:
    """The expectation is made from the masks that are really added."""
    mailboxes = {mask.address: set(mask.reached) for mask in MASKS}
    for sample in by_kind().values():
        for recipient in {recipient for recipient, _ in sample.expected.forwards} - {TOKEN}:
            mask = recipient.partition("+")[0].partition("@")[0] + f"@{DOMAIN}"
            reached = set(RULE.mailboxes) if recipient.endswith(f"@{RULE.domain}") else mailboxes[mask]
            wanted = {box for whom, box in sample.expected.forwards if whom == recipient}
            assert wanted == reached - {sample.paused}


def test_what_lasts_comes_up_once() -> None:
    """A mailbox bounces once and is paused from then on; without events nobody would hear of it."""
    run = [sample.kind for sample in samples(3 * ENOUGH, WORLD, token=TOKEN)]
    assert run.count("mailbox_bounces") == 1
    assert run.count("mailbox_paused") >= 3
    assert run.index("mailbox_bounces") < run.index("mailbox_paused")
    silent = [sample.kind for sample in samples(ENOUGH, replace(WORLD, events=None), token=TOKEN)]
    assert not {"mailbox_bounces", "mailbox_paused"} & set(silent)
    assert by_kind()["mailbox_paused"].paused == LOST


def test_replies_go_to_the_token() -> None:
    """In the envelope and in the To field; one by a stranger, one that would tell too much."""
    kinds = by_kind()
    for kind in ("reply", "reply_by_a_stranger", "reply_to_all"):
        assert kinds[kind].recipients == (TOKEN,)
        assert f"To: {TOKEN}\r\n".encode() in kinds[kind].data
    assert kinds["reply"].source == kinds["reply_to_all"].source != kinds["reply_by_a_stranger"].source


def test_what_is_looked_for_is_not_there_before() -> None:
    """A check for a banner that the mail brought along would pass without relayd; one for what it never had, too."""
    for sample in by_kind().values():
        if sample.contents is not None:
            found = list(sample.contents.complaints(sample.data))
            own = [text for text in sample.contents.has if text.startswith("Thank you")]
            assert len(found) == len(sample.contents.has) - len(own) + len(sample.contents.lacks), sample.name


def test_the_sandboxes_list_of_trackers_is_one() -> None:
    """relayd reads it, and finds the hosts that the samples name."""
    trackers = TrackerList.parse(json.dumps(TRACKERS).encode())
    assert trackers.covers(f"https://{PIXEL_HOST}/open.gif")


def test_the_difficult_mails_are_what_they_claim() -> None:
    """A kind that lost its point would still pass from end to end."""
    kinds = by_kind()
    assert b"\r" not in kinds["lone_lf"].data
    assert max(map(len, kinds["long_lines"].data.split(b"\r\n"))) > 998
    for name in ("wrong_charset", "unlabelled_8bit"):
        assert not kinds[name].data.isascii()
    with pytest.raises(UnicodeDecodeError):
        kinds["wrong_charset"].data.decode("utf-8")
    assert kinds["bounce"].source == ""
    assert len(kinds["big"].data) > 2_000_000
    assert len(kinds["cut_headers"].data.partition(b"\r\n\r\n")[0]) > HEADERS_KEPT
    for name in ("loop", "loop_out_of_sight"):
        fields = header_fields(kinds[name].data)
        assert sum(field == "Received" for field, _ in fields) > 25
    assert header_fields(kinds["loop_out_of_sight"].data)[0][0] == "X-Filler"


@pytest.mark.parametrize(
    ("kind", "reason"), [("spam", "spam"), ("gtube", "spam"), ("virus", "virus"), ("eicar", "virus")]
)
def test_refused_by_verdict(kind: str, reason: str) -> None:
    """Samples that are to be refused really get the verdict that does it."""
    data = by_kind()[kind].data
    assert getattr(Verdicts.of(data, header_fields(data)), reason) == "FAIL"


def test_odd_messages_can_be_recognised_on_the_dead_letter_queue() -> None:
    """Each carries its marker in the text that will lie there."""
    odd = [sample for sample in samples(ENOUGH, WORLD, token=TOKEN) if sample.route != "door"]
    assert odd
    for sample in odd:
        assert sample.marker in sample.data.decode()
        assert sample.expected.dead_letter
    assert len({sample.marker for sample in odd}) == len(odd)
    with pytest.raises(json.JSONDecodeError):
        json.loads(next(sample for sample in odd if sample.kind == "not_json").data)


def test_an_expectation_reads_as_a_sentence() -> None:
    """It is printed when it was not met."""
    expected = Expected(frozenset({("a@mask.example", "x@home.example")}), frozenset({("b@mask.example", "spam")}))
    assert str(expected) == "a@mask.example forwarded to x@home.example, b@mask.example discarded (spam)"
