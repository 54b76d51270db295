"""What owners are told: once, by one of several daemons, whenever SES will take it. Fakes, virtual time."""

import pytest

from relayd.errors import HoldError, PermanentError, RelaydError, TransientError
from relayd.model.notice import NoticeKind, OwnerNotice
from tests.engine.faults import DATABASE_AWAY, before, failing
from tests.engine.mailing import answer, later, letter, received, rows, running, sent_mail, sent_to, token_of, told
from tests.engine.world import World

HOUR = 3600.0
DAY = 86_400.0
AWAY = HoldError("ses", "ses_sending_paused")


def tell(world: World, kind: NoticeKind = "mail_refused", owner: str | None = None, **facts: str) -> None:
    world.notices.tell(OwnerNotice(owner or world.mask.owner.owner_id, kind, {"mask": "shop@mask.example", **facts}))


def outcomes(world: World) -> list[str | None]:
    return [one.outcome for one in world.notices.told]


def test_a_notice_is_sent() -> None:
    """From relayd itself to the owner's mailbox, marked as automatic, with a hop header, and forgotten then."""
    world = World()
    tell(world, subject="a subject of twelve")
    with running(world, tells=True):
        assert later(world, lambda: outcomes(world) == ["sent"], 120)
        world.clock.sleep(HOUR)
    assert sent_to(world) == ["me@owner.example"]
    assert world.mailer.sent[0].mail.sender == "relayd@mask.example"
    assert sent_mail(world)["Auto-Submitted"] == "auto-generated"
    assert sent_mail(world)["X-Relayd-Hops"].startswith("v1; n=1;")
    assert world.notices.told[0].notice.facts == {}
    (row,) = rows(world)
    assert (row.concern.kind, row.concern.mask_id, row.state) == ("notice", None, "sent")
    assert world.directory.usage is not None
    assert world.directory.usage.today(world.mask.owner.owner_id).mails == 0


def test_one_of_a_kind_a_day_from_two_daemons() -> None:
    """Thirty refused replies, worked on by two daemons that both send notices: one notice. Tomorrow another one."""
    world = World()
    token = token_of(world)
    with running(world, tells=True), running(world, tells=True):
        for day in range(2):
            for number in range(30):
                answer(world, token, mail_id=f"answer-{day}-{number}", dmarc="FAIL", spf="FAIL")
            tell(world)
            world.clock.sleep(DAY)
    assert not world.queue.left
    assert told(world).count("reply_not_allowed") == 2
    assert told(world).count("mail_refused") == 2
    assert outcomes(world) == ["sent"] * 4
    assert len(world.mailer.sent) == 4


@pytest.mark.parametrize("error", [AWAY, TransientError("ses_timeout"), TransientError("ses_throttled", charged=False)])
def test_while_ses_is_away_notices_wait(error: RelaydError) -> None:
    """For an hour; then they go out, each once. None of the tries is held against them."""
    world = World()
    trouble = [error]
    before(world.mailer, "send", lambda: failing(trouble[0])() if trouble else None)
    tell(world)
    tell(world, "mail_too_large")
    with running(world, tells=True):
        world.clock.sleep(HOUR)
        assert not world.mailer.sent
        assert outcomes(world) == [None, None]
        trouble.clear()
        assert later(world, lambda: outcomes(world) == ["sent", "sent"], 300)
    assert len(world.mailer.sent) == 2
    assert {row.resends for row in rows(world)} == {0}


def test_while_the_database_is_away_notices_wait() -> None:
    """The chore fails quietly, and is there the next time."""
    world = World()
    tell(world)
    world.notices.fail_with = DATABASE_AWAY
    with running(world, tells=True):
        world.clock.sleep(HOUR)
        world.notices.fail_with = None
        assert later(world, lambda: outcomes(world) == ["sent"], 120)
    assert len(world.mailer.sent) == 1


def test_one_owner_s_mailbox_does_not_hold_up_the_others() -> None:
    """SES says of one address alone that it may not be written to: the other owner's notice goes out."""
    world = World()
    world.directory.add("other@mask.example", "you@elsewhere.example")
    narrow = HoldError("ses", "ses_address_not_verified", wide=False)
    world.mailer.fail_with(narrow, recipient="me@owner.example", times=10_000)
    tell(world)
    tell(world, owner=world.directory.masks["other@mask.example"].owner.owner_id)
    with running(world, tells=True):
        assert later(world, lambda: outcomes(world) == [None, "sent"], 120)
    assert sent_to(world) == ["you@elsewhere.example"]


def test_a_notice_that_ses_refuses_has_ended() -> None:
    """Nobody tells of what could not be told."""
    world = World()
    world.mailer.fail_with(PermanentError("ses_rejected"))
    tell(world)
    with running(world, tells=True):
        assert later(world, lambda: outcomes(world) == ["ses_rejected"], 120)
        world.clock.sleep(HOUR)
    assert world.mailer.calls == 1
    assert told(world) == ["mail_refused"]


def test_a_notice_that_nobody_can_write_has_ended() -> None:
    """A mailbox that no header can carry costs its own notice, and no other one."""
    world = World()
    world.directory.add("other@mask.example", "a(b@elsewhere.example")
    tell(world, owner=world.directory.masks["other@mask.example"].owner.owner_id)
    tell(world)
    with running(world, tells=True):
        assert later(world, lambda: outcomes(world) == ["notice_address", "sent"], 60)


def test_a_stop_in_the_middle_begins_no_other() -> None:
    """The send under way ends within the grace; what waits is for the next daemon, and nothing is told twice."""
    world = World(grace=50)
    world.mailer.latency = 20.0
    tell(world)
    tell(world, "mail_too_large")
    tell(world, "reply_leak")
    daemon = world.daemon(chores=[world.notices_chore()])
    daemon.start()
    assert world.until(lambda: world.mailer.open_sends == 1, within=120)
    assert daemon.stop()
    assert world.mailer.calls == 1
    assert outcomes(world) == ["sent", None, None]
    with running(world, tells=True):
        assert later(world, lambda: outcomes(world) == ["sent"] * 3, 300)
    assert len(world.mailer.sent) == 3


def test_a_lost_answer_is_a_doubt_and_sent_again_marked() -> None:
    """Not before its claim has ended; the others do not wait for it."""
    world = World()
    world.mailer.lose_answers(1)
    tell(world)
    tell(world, "mail_too_large")
    with running(world, tells=True):
        assert later(world, lambda: outcomes(world) == ["sent", "sent"], 600)
    assert len(world.mailer.sent) == 3
    first, again = world.mailer.sent[0], world.mailer.sent[2]
    assert first.mail.tags != again.mail.tags
    assert again.at - first.at >= world.send_seconds
    assert sorted(row.resends for row in rows(world)) == [0, 1]


def test_a_second_doubt_ends_it() -> None:
    """An owner may have got it twice by then."""
    world = World()
    world.mailer.lose_answers(2)
    tell(world)
    with running(world, tells=True):
        assert later(world, lambda: outcomes(world) == ["in_doubt"], 600)
    assert len(world.mailer.sent) == 2


def test_a_daemon_that_died_after_the_send_does_not_send_twice() -> None:
    """SES took it, the ledger knows, and only the end of the notice was not written down."""
    world = World()
    tell(world)
    before(world.notices, "ended", failing(DATABASE_AWAY, times=3))
    with running(world, tells=True):
        assert later(world, lambda: outcomes(world) == ["sent"], 300)
    assert len(world.mailer.sent) == 1


def test_a_send_that_could_not_be_recorded_is_recorded_later() -> None:
    """It is known to have been sent: it never becomes a doubt."""
    world = World()
    tell(world)
    before(world.ledger, "sent", failing(DATABASE_AWAY, times=4))
    with running(world, tells=True):
        assert later(world, lambda: outcomes(world) == ["sent"], 300)
    assert len(world.mailer.sent) == 1
    assert [row.resends for row in rows(world)] == [0]


def test_none_is_sent_to_a_mailbox_that_is_not_verified_or_is_paused() -> None:
    """It waits for one that may be written to; the owner's other one, if there is one."""
    world = World()
    world.directory.set_verified("me@owner.example", False)
    tell(world)
    with running(world, tells=True):
        world.clock.sleep(HOUR)
        assert not world.mailer.sent
        world.directory.add("other@mask.example", "work@owner.example", owner="me@owner.example")
        world.directory.pause("work@owner.example", "hard", world.clock.time() + HOUR)
        world.clock.sleep(HOUR - 60)
        assert not world.mailer.sent
        assert later(world, lambda: outcomes(world) == ["sent"], 120)
    assert sent_to(world) == ["work@owner.example"]


def test_a_pause_is_told_through_another_mailbox() -> None:
    """Never to the one that it is about, not even once it may be written to again."""
    world = World()
    world.directory.add("other@mask.example", "work@owner.example", owner="me@owner.example")
    tell(world, "mailbox_paused", mailbox="me@owner.example", days="1")
    with running(world, tells=True):
        assert later(world, lambda: outcomes(world) == ["sent"], 120)
    assert sent_to(world) == ["work@owner.example"]


def test_a_pause_of_the_only_mailbox_is_told_to_nobody() -> None:
    """And does not wait for somebody: once the mailbox may be written to again, it is no news."""
    world = World()
    tell(world, "mailbox_paused", mailbox="me@owner.example")
    with running(world, tells=True):
        assert later(world, lambda: outcomes(world) == ["no_mailbox"], 60)
    assert not world.mailer.sent


def test_what_nobody_could_be_told_is_no_news_after_three_days() -> None:
    """It ends, and says so."""
    world = World()
    world.directory.set_verified("me@owner.example", False)
    tell(world)
    with running(world, tells=True):
        world.clock.sleep(3 * DAY - HOUR)
        assert outcomes(world) == [None]
        assert later(world, lambda: outcomes(world) == ["no_mailbox"], 2 * HOUR, step=60)
    assert not world.mailer.sent


def test_an_old_notice_is_not_sent() -> None:
    """SES was away for three days: what happened then is no news."""
    world = World()
    tell(world)
    world.clock.sleep(3 * DAY + 1)
    with running(world, tells=True):
        assert later(world, lambda: outcomes(world) == ["too_late"], 120)
    assert not world.mailer.sent


def test_owners_without_a_mailbox_do_not_starve_the_others() -> None:
    """A hundred owners whose only mailbox bounced: whoever can be told is told at once."""
    world = World()
    for number in range(100):
        mask = world.directory.add(f"mask{number}@mask.example", f"gone{number}@elsewhere.example")
        world.directory.pause(f"gone{number}@elsewhere.example", "hard", world.clock.time() + DAY)
        kind: NoticeKind = "mailbox_paused" if number % 2 else "mail_refused"
        tell(world, kind, mask.owner.owner_id, mailbox=f"gone{number}@elsewhere.example")
    tell(world)
    with running(world, tells=True):
        assert later(world, lambda: outcomes(world)[-1] == "sent", 300)


def test_notices_do_not_hold_up_mail() -> None:
    """They go out beside it, on a thread of their own."""
    world = World()
    world.mailer.latency = lambda mail: 30.0 if mail.sender == "relayd@mask.example" else 0.06
    tell(world)
    with running(world, tells=True):
        assert world.until(lambda: world.mailer.open_sends == 1, within=60)
        received(world, letter(), mail_id="mail")
        assert world.until(lambda: not world.queue.left, within=10)
        assert outcomes(world) == [None]
