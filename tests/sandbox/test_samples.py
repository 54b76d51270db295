"""The sandbox's own mails: the same each time, all kinds among them, and expectations that fit the masks."""

import json

import pytest

from relayd.rules.inbound import REASONS
from relayd.sandbox.receiving import HEADERS_KEPT, Verdicts, header_fields
from relayd.sandbox.samples import FORGED, KINDS, ODD, ODD_EVERY, Expected, Sample, samples
from relayd.sandbox.world import DOMAIN, MASKS, World

TOPIC = "arn:aws:sns:us-east-1:123456789012:topic"
WORLD = World("http://127.0.0.1:1", "bucket", TOPIC, f"{TOPIC}-foreign", "queue", "dead")
ENOUGH = ODD_EVERY * len(ODD) + len(KINDS)


def by_kind() -> dict[str, Sample]:
    return {sample.kind: sample for sample in samples(ENOUGH, WORLD)}


def test_the_same_seed_gives_the_same_mails() -> None:
    """A failure can be run again; another seed gives other mails."""
    first = [sample.data for sample in samples(30, WORLD, seed=7) if sample.route == "door"]
    again = [sample.data for sample in samples(30, WORLD, seed=7) if sample.route == "door"]
    other = [sample.data for sample in samples(30, WORLD, seed=8) if sample.route == "door"]
    assert first == again
    assert all(mine != theirs for mine, theirs in zip(first, other, strict=True))


def test_every_kind_comes_up_and_numbers_count() -> None:
    """A run of moderate length has all kinds of mails and of odd messages."""
    run = list(samples(ENOUGH, WORLD))
    assert [sample.number for sample in run] == list(range(1, ENOUGH + 1))
    assert {sample.kind for sample in run if sample.route == "door"} == {kind.name for kind in KINDS}
    assert {sample.kind for sample in run if sample.route != "door"} == {name for name, _, _ in ODD}


def test_signatures_bring_forgeries() -> None:
    """Where relayd verifies, it is also shown what it has to refuse: forged, unsigned, a certificate of somebody's."""
    run = list(samples(ODD_EVERY * len(ODD + FORGED), WORLD, signed=True))
    assert {sample.kind for sample in run if sample.route != "door"} == {name for name, _, _ in ODD + FORGED}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_recipient_has_one_end(kind: object) -> None:
    """Each envelope recipient is ours and is either forwarded or discarded for a reason that the rules know."""
    sample = by_kind()[kind.name]  # type: ignore[attr-defined]
    forwarded = {recipient for recipient, _ in sample.expected.forwards}
    discarded = {recipient for recipient, _ in sample.expected.discards}
    assert forwarded | discarded == {recipient.lower() for recipient in sample.recipients}
    assert not forwarded & discarded
    assert all(recipient.endswith(f"@{DOMAIN}") for recipient in forwarded | discarded)
    assert {reason for _, reason in sample.expected.discards} <= set(REASONS)


def test_forwards_go_to_all_mailboxes_of_a_mask() -> None:
    """The expectation is made from the masks that are really added."""
    mailboxes = {mask.address: set(mask.mailboxes) for mask in MASKS}
    for sample in by_kind().values():
        for recipient in {recipient for recipient, _ in sample.expected.forwards}:
            mask = recipient.partition("+")[0].partition("@")[0] + f"@{DOMAIN}"
            assert {box for whom, box in sample.expected.forwards if whom == recipient} == mailboxes[mask]


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
    odd = [sample for sample in samples(ENOUGH, WORLD) if sample.route != "door"]
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
