"""What SES tells about mail that was sent, and what the real daemon makes of it."""

import json
import time
from collections import Counter
from typing import Any

import pytest

from relayd.adapters.database import connect
from relayd.adapters.directory import SqlDirectory
from relayd.adapters.notices import SqlNotices
from relayd.model.address import Address
from relayd.model.mask import Mask
from relayd.model.notice import NOTICE_KINDS, OwnerNotice
from tests.process.cloud import Cloud, DaemonProcess, eventually

pytestmark = pytest.mark.process

MASK, MAILBOX = "shop@mask.example", "me@owner.example"


def mask_of(cloud: Cloud) -> Mask:
    database = connect(cloud.database_url, pool_size=1)
    try:
        found = SqlDirectory(database).lookup(Address.parse(MASK))
        assert isinstance(found, Mask)
        return found
    finally:
        database.close()


def test_a_bounce_pauses_the_mailbox_and_its_mail_waits(cloud: Cloud) -> None:
    """The first mail bounces, the next one is held back and listed, and a release brings it."""
    cloud.setting(fates={MAILBOX: "no_email"})
    cloud.add_mask(MASK, MAILBOX)
    daemon = cloud.daemon(**cloud.with_events)
    cloud.mail(1)
    assert eventually(lambda: bool(daemon.events("mailbox_paused")), 10)
    cloud.mail(2)
    assert eventually(lambda: [one["reason"] for one in daemon.events("message_settled")][-1] == "bounce_pause", 10)
    assert len(cloud.sent()) == 1
    done = cloud.relayd("quarantine", "list", "--json")
    assert done.returncode == 0, done.stderr
    [entry] = json.loads(done.stdout)
    assert (entry["reason"], entry["mask"], entry["subject"]) == ("bounce_pause", MASK, "hello")
    cloud.setting(fates={})
    done = cloud.relayd("quarantine", "release", entry["id"], "--json")
    assert done.returncode == 0, done.stderr
    assert eventually(lambda: len(cloud.sent()) == 2, 10)
    # It was delivered, so that the pause is over: the next mail needs nobody's help.
    assert eventually(lambda: mask_of(cloud).mailboxes[0].pause is None, 10)
    cloud.mail(3)
    assert eventually(lambda: len(cloud.sent()) == 3, 10)
    assert daemon.stop() == 0
    assert json.loads(cloud.relayd("quarantine", "list", "--json").stdout) == []
    assert set(cloud.sends_of_each_mail().values()) == {1}


def test_complaints_disable_the_mask_and_two_daemons_tell_its_owner_once(cloud: Cloud) -> None:
    """One complaint is a warning, the second costs the mask; the owner gets each notice once, whoever sends it."""
    cloud.setting(fates={MAILBOX: "complaint"})
    cloud.add_mask(MASK, MAILBOX)
    first = cloud.daemon(**cloud.with_events)
    second = cloud.daemon(**cloud.with_events)
    daemons = (first, second)
    cloud.mail(1)
    assert eventually(lambda: any(one.events("feedback_applied") for one in daemons), 10)
    assert mask_of(cloud).enabled
    cloud.mail(2)
    assert eventually(lambda: any(one.events("mask_disabled") for one in daemons), 10)
    assert not mask_of(cloud).enabled
    cloud.mail(3)
    assert eventually(lambda: any(line["reason"] == "mask_disabled" for line in settled(*daemons)), 10)
    # More to tell, and a slow SES: the two come upon each other's notices.
    tell_everything(cloud)
    cloud.ses.delay = 0.3
    assert eventually(lambda: len(cloud.sent()) == 2 + len(NOTICE_KINDS), 20)
    assert eventually(lambda: sum(len(one.events("notice_ended")) for one in daemons) >= len(NOTICE_KINDS), 10)
    assert [one.stop() for one in daemons] == [0, 0]
    notices = cloud.sent()[2:]
    assert {(one.sender, one.recipients) for one in notices} == {("noreply@mask.example", (MAILBOX,))}
    subjects = Counter(line for one in notices for line in one.data.split(b"\r\n") if line.startswith(b"Subject:"))
    assert set(subjects.values()) == {1}
    assert len(subjects) == len(NOTICE_KINDS)
    assert b"Subject: Your mask was turned off: shop@mask.example" in subjects
    assert all(b"Auto-Submitted: auto-generated" in one.data for one in notices)


def settled(*daemons: DaemonProcess) -> list[dict[str, Any]]:
    return [line for one in daemons for line in one.events("message_settled")]


def tell_everything(cloud: Cloud) -> None:
    """One notice of each kind; of a kind that was put down today, nothing more."""
    database = connect(cloud.database_url, pool_size=1)
    try:
        owner = mask_of(cloud).owner.owner_id
        for kind in NOTICE_KINDS:
            SqlNotices(database).tell(OwnerNotice(owner, kind, {"mask": MASK}))
    finally:
        database.close()


def test_a_send_event_settles_a_doubt(cloud: Cloud) -> None:
    """SES took the mail and its answer was lost: its event says so, and nothing is sent again. And it all stops in
    time, with two engines and two open polls.
    """
    cloud.add_mask(MASK, MAILBOX)
    cloud.fault("ses:SendEmail", "reset", when="after", times=1)
    quick = {"RELAYD_SES_READ_SECONDS": "1", "RELAYD_SES_CONNECT_SECONDS": "0.1"}
    daemon = cloud.daemon(**cloud.with_events, **quick)
    cloud.mail()
    assert eventually(lambda: any(line["reason"].startswith("ses_") for line in settled(daemon)), 10)
    assert eventually(lambda: [row.state for row in cloud.deliveries()] == ["sent"], 5)
    # The message comes back once its claim has expired, and finds the delivery done.
    assert eventually(lambda: cloud.queued() == (0, 0), 20)
    began = time.monotonic()
    assert daemon.stop() == 0
    assert time.monotonic() - began < 1 + 5
    assert len(cloud.sent()) == 1
    assert daemon.events("in_doubt_resend") == []
    assert [row.resends for row in cloud.deliveries()] == [0]
    assert cloud.dead_letters() == []
    told = [line["reason"] for line in settled(daemon) if line["queue"].endswith("-events")]
    assert sorted(told) == ["event_delivery", "event_send", "setup_notification"]


def test_a_refused_mail_is_sent_in_another_form(cloud: Cloud) -> None:
    """SES refuses a multipart in which no part begins: what can be read of it arrives all the same."""
    cloud.setting(whole_parts=True)
    cloud.add_mask(MASK, MAILBOX)
    daemon = cloud.daemon(**cloud.with_events)
    broken = b'Content-Type: multipart/mixed; boundary="nowhere"\r\n\r\nThe one line that matters.\r\n'
    cloud.accept(
        "a@stranger.example", MASK, b"From: a@stranger.example\r\nSubject: broken\r\nMIME-Version: 1.0\r\n" + broken
    )
    assert eventually(lambda: len(cloud.sent()) == 1, 10)
    assert daemon.stop() == 0
    assert [line["rung"] for line in daemon.events("mail_rebuilt")] == ["rebuilt"]
    assert b"The one line that matters." in cloud.sent()[0].data
    assert cloud.dead_letters() == []
