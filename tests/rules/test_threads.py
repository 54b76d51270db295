"""A conversation is one thread on both sides, though SES names every mail anew."""

from relayd.model.delivery import ThreadLink
from relayd.rules.threads import mapped

SES = "eu-west-1.amazonses.com"
# A stranger wrote, the owner answered, the stranger answered again.
FIRST = ThreadLink("forward", "one@stranger.example", "0101")
ANSWER = ThreadLink("reply", "two@home.example", "0102")
SECOND = ThreadLink("forward", "three@stranger.example", "0103")


def test_an_answer_names_what_the_stranger_wrote() -> None:
    """The owner's mail program knows it by SES's id."""
    found = mapped([FIRST], "reply", SES)
    assert found["0101"] == ("one@stranger.example",)


def test_the_owner_s_program_may_name_it_by_its_own_id() -> None:
    """X-Relayd-Original-Message-ID stands in what it got, and some programs know it."""
    assert mapped([FIRST], "reply", SES)["one@stranger.example"] == ("one@stranger.example",)


def test_a_second_answer_names_the_first_as_the_stranger_got_it() -> None:
    """Mail that went the same way is known to its reader by SES's id; the owner knows it by the id it wrote."""
    found = mapped([FIRST, ANSWER], "reply", SES)
    assert found["two@home.example"] == (f"0102@{SES}",)
    assert "0102" not in found


def test_what_the_stranger_answers_names_the_owner_s_own_mail() -> None:
    """The stranger knows the answer by SES's id, the owner by the id it left with."""
    found = mapped([FIRST, ANSWER], "forward", SES)
    assert found["0102"] == ("two@home.example",)
    assert found["one@stranger.example"] == (f"0101@{SES}",)


def test_no_id_of_the_owner_s_system_reaches_the_stranger() -> None:
    """Whatever the thread holds: those ids end in the owner's own domain."""
    found = mapped([FIRST, ANSWER, SECOND], "reply", SES)
    assert not any("home.example" in one for ids in found.values() for one in ids)


def test_a_forward_to_two_mailboxes_is_named_by_both_ids() -> None:
    """The next mail may be read in either of them."""
    twin = ThreadLink("forward", "one@stranger.example", "0104")
    assert mapped([FIRST, twin, FIRST], "forward", SES)["one@stranger.example"] == (f"0101@{SES}", f"0104@{SES}")
    answers = mapped([FIRST, twin], "reply", SES)
    assert answers["0101"] == answers["0104"] == ("one@stranger.example",)


def test_an_unknown_thread_maps_nothing() -> None:
    """What then happens to its ids is for whoever writes the mail."""
    assert mapped([], "reply", SES) == {}
