"""The engine's rules, each held by a test that would see it broken. Fakes, virtual time, no sleeping."""

import json

from relayd.errors import HoldError, InDoubtError, PermanentError, TransientError
from tests.engine.world import TOPIC, World, notification
from tests.wire import samples


def test_every_mail_is_forwarded_once_and_its_message_deleted() -> None:
    """The ordinary case, a few hundred times, under load."""
    world = World(concurrency=16)
    world.mails(300)
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert len(world.mailer.sent) == 300
    assert all(world.queue.receive_count(p.message_id) == 1 for p in world.queue.published)
    assert not world.queue.dead_letters


def test_polls_ask_for_no_more_than_free_slots() -> None:
    """Nothing waits in memory with its lease running: with four slots, never more than four leases."""
    world = World(concurrency=4)
    world.store.latency = 5.0
    world.mails(40)
    daemon = world.daemon()
    daemon.start()
    most = 0
    while world.queue.left:
        most = max(most, world.queue.in_flight, len(daemon.keeper.in_hand()))
        assert len(daemon.keeper.in_hand()) <= 4 + 4, "in hand: working, or waiting a moment to be deleted"
        world.clock.sleep(0.5)
    assert daemon.stop()
    assert all(poll.limit <= 4 for poll in world.queue.polls)
    assert most >= 4


def test_polls_gather_slots_under_load() -> None:
    """Under load a receive brings several messages, so receives stay far below one a mail."""
    world = World(concurrency=16)
    world.mails(800)
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.queue.left)
    busy = [poll for poll in world.queue.polls if poll.handles]
    assert daemon.stop()
    assert len(busy) / 800 < 0.3


def test_deletes_go_in_batches() -> None:
    """Ten deletes in one call: far fewer calls than messages."""
    world = World(concurrency=16)
    world.mailer.latency = 0.0
    world.store.latency = 0.0
    calls = 0
    delete = world.queue.delete

    def counted(handles):  # type: ignore[no-untyped-def]
        nonlocal calls
        calls += 1
        return delete(handles)

    world.queue.delete = counted  # type: ignore[method-assign]
    world.mails(400)
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert calls < 200


def test_a_slow_fetch_keeps_its_lease() -> None:
    """S3 takes longer than a visibility timeout: the Keeper renews, and nobody else gets the message."""
    world = World(visibility=60, deadline=300)
    world.store.latency = 100.0
    message_id = world.mail("slow")
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert world.queue.receive_count(message_id) == 1
    assert len(world.mailer.sent) == 1
    assert all(change.seconds == 60 for change in world.queue.changes)


def test_extensions_begin_at_the_receive_and_at_half_life() -> None:
    """The first extension comes at half of the visibility timeout, counted from the receive."""
    world = World(visibility=60, deadline=300)
    world.store.latency = 50.0
    world.mail("slow")
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    received = world.queue.receives[0].at
    assert abs(world.queue.changes[0].at - received - 30) < 1


def test_a_failing_extension_is_retried_inside_the_lease() -> None:
    """Extensions that fail for a while cost nothing as long as one gets through before the lease ends."""
    world = World(visibility=60, deadline=300)
    world.store.latency = 70.0
    message_id = world.mail("slow")
    world.queue.fail_calls("change_visibility", TransientError("queue_throttled"), times=2)
    world.queue.fail_entries("change_visibility", times=2)
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert world.queue.receive_count(message_id) == 1


def test_no_extension_after_the_deadline() -> None:
    """A message that takes forever is given up: its lease runs out and it is never sent by the old worker."""
    world = World(visibility=60, deadline=120, concurrency=2)
    world.store.latency = 1000.0
    message_id = world.mail("stuck")
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: world.queue.receive_count(message_id) >= 2, within=400)
    first = world.queue.receives[0]
    of_first = [change for change in world.queue.changes if change.handle == first.handle]
    assert of_first
    assert all(change.at - first.at <= 120 for change in of_first)


def test_a_fence_extends_a_lease_that_is_too_short_for_the_send() -> None:
    """A send may take as long as a whole lease: the fence renews it before the call, and the mail goes out."""
    world = World(visibility=10, send_seconds=10)
    world.queue.faults.latency = 0.2
    world.mails(3)
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.queue.left, within=60)
    assert daemon.stop()
    assert len(world.mailer.sent) == 3
    assert all(change.seconds > 10 for change in world.queue.changes)


def test_a_lost_lease_stops_the_send() -> None:
    """The lease cannot be renewed: the worker must not send, and does not settle what is not its own."""
    world = World(visibility=60, deadline=600)
    world.store.latency = 100.0
    message_id = world.mail("slow")
    world.queue.fail_entries("change_visibility", times=1, code="ReceiptHandleIsInvalid", gone=True)
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: world.queue.receive_count(message_id) == 2)
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert len(world.mailer.sent) == 1
    first = world.queue.receives[0]
    assert not [delete for delete in world.queue.deletes if delete.handle == first.handle]


def test_no_extension_after_settlement() -> None:
    """A visibility change that landed after a message was handed back would hide it for a minute."""
    world = World(visibility=60, deadline=300)
    world.queue.faults.latency = lambda operation: 3.0 if operation == "change_visibility" else 0.0
    world.store.latency = 29.9
    world.store.fail_with(TransientError("s3_slow_down"), times=1)
    message_id = world.mail("flaky")
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    by_handle: dict[str, list[float]] = {}
    for change in world.queue.changes:
        if change.message_id == message_id:
            by_handle.setdefault(change.handle, []).append(change.seconds)
    # In each receive, what was set last is what the settlement asked for, not an extension's 60 s.
    assert by_handle[world.queue.receives[0].handle][-1] < 60


def test_the_same_message_twice_in_one_receive_is_sent_once() -> None:
    """SQS may do that. One copy claims the delivery, the other comes back and finds it done."""
    world = World()
    world.queue.twin_next()
    world.mail("twin")
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert len(world.mailer.sent) == 1


def test_one_notification_delivered_twice_is_sent_once() -> None:
    """SNS is at-least-once too: two SQS messages of one mail, different ids."""
    world = World()
    world.mail("once")
    world.queue.publish(notification("once"))
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert len(world.mailer.sent) == 1


def test_a_failed_delete_is_tried_again() -> None:
    """A partial batch failure concerns its entry alone, and is retried within the lease."""
    world = World()
    message_id = world.mail("sticky")
    world.queue.fail_entries("delete", times=3)
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert world.queue.receive_count(message_id) == 1


def test_a_delete_that_never_worked_is_remembered() -> None:
    """All deletes fail until the lease ends: the redelivery is deleted without another fetch or send."""
    world = World(visibility=60)
    message_id = world.mail("sticky")
    world.queue.fail_calls("delete", TransientError("queue_throttled"), times=25)
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert world.queue.receive_count(message_id) >= 2
    assert len(world.mailer.sent) == 1
    assert len(world.store.fetches) == 1


def test_a_stale_delete_that_deletes_nothing_is_harmless() -> None:
    """A delete with an old handle answers success and deletes nothing; the ledger makes the next receive harmless."""
    world = World(visibility=60)
    world.mail("stale")
    world.queue.lose_answers("delete", times=1)
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert len(world.mailer.sent) == 1


def test_poison_goes_to_the_dead_letter_queue_at_once() -> None:
    """What cannot be decoded is copied with its reason, then deleted; the mail beside it is forwarded."""
    world = World()
    world.queue.publish("not json")
    world.queue.publish('{"some": "thing"}')
    world.mail("foreign", body=notification("foreign", bucket="other"))
    world.mail("good")
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert {letter.reason for letter in world.queue.dead_letters} >= {"not_json", "foreign_bucket"}
    assert len(world.queue.dead_letters) == 3
    assert len(world.mailer.sent) == 1
    assert len(world.store.fetches) == 1, "nothing of a foreign bucket is fetched"


def test_a_message_is_deleted_only_after_its_dead_letter_is_safe() -> None:
    """The dead-letter queue fails: the message stays where it is and is tried again."""
    world = World()
    world.queue.publish("not json")
    world.queue.fail_calls("dead_letter", TransientError("queue_throttled"), times=2)
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert [letter.reason for letter in world.queue.dead_letters] == ["not_json"]
    assert len(world.queue.receives) == 3


def test_discards_are_recorded_and_deleted_without_a_fetch() -> None:
    """Decide before fetching: refused mail is never downloaded."""
    world = World()
    world.mail("virus", body=notification("virus", virus="FAIL"))
    world.mail("unknown", body=notification("unknown", ["nobody@mask.example"]))
    world.mail("elsewhere", body=notification("elsewhere", ["someone@else.example"]))
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert world.store.fetches == []
    assert world.mailer.sent == []
    assert not world.queue.dead_letters


def test_two_recipients_and_two_mailboxes_are_three_deliveries() -> None:
    """Each pair of recipient and mailbox is sent once, whatever the headers say."""
    world = World()
    world.directory.add("team@mask.example", "a@owner.example", "b@owner.example")
    world.mail("many", body=notification("many", ["shop@mask.example", "Team@Mask.example", "x@other.example"]))
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert sorted(world.sent_mail_ids()) == ["a@owner.example", "b@owner.example", "me@owner.example"]


def test_a_delivery_that_is_done_stays_done_while_another_is_retried() -> None:
    """One mailbox fails for a while: only that one is tried again."""
    world = World()
    world.directory.add("team@mask.example", "a@owner.example", "b@owner.example")
    world.mailer.fail_with(TransientError("ses_throttled"), recipient="b@owner.example", times=3)
    world.mail("many", body=notification("many", ["team@mask.example"]))
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert sorted(world.sent_mail_ids()) == ["a@owner.example", "b@owner.example"]


def test_one_failed_delivery_makes_one_dead_letter_after_the_others_are_done() -> None:
    """Rejected only when nothing is open any more, with the reason of what failed."""
    world = World()
    world.directory.add("team@mask.example", "a@owner.example", "b@owner.example", "c@owner.example")
    world.mailer.fail_with(PermanentError("ses_rejected"), recipient="b@owner.example", times=1)
    world.mailer.fail_with(TransientError("ses_unavailable"), recipient="c@owner.example", times=2)
    world.mail("many", body=notification("many", ["team@mask.example"]))
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert [letter.reason for letter in world.queue.dead_letters] == ["ses_rejected"]
    assert sorted(world.sent_mail_ids()) == ["a@owner.example", "c@owner.example"]


def test_retries_end_by_age() -> None:
    """A mail that always fails transiently ends in the dead-letter queue after the retry hours, not before."""
    world = World(retry_hours=1)
    world.store.fail_with(TransientError("s3_slow_down"), times=10_000)
    world.mail("never")
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.queue.left, within=3 * 3600)
    assert daemon.stop()
    assert [letter.reason for letter in world.queue.dead_letters] == ["retries_exhausted"]
    assert world.queue.dead_letters[0].at >= 3600


def test_a_bug_never_stops_the_others() -> None:
    """An unforeseen exception is one message's: ten tries, then a dead letter; the others go on."""
    world = World()
    fetch = world.store.fetch

    def broken(content, admit):  # type: ignore[no-untyped-def]
        if content.key == "in/bad":
            raise ZeroDivisionError
        return fetch(content, admit)

    world.store.fetch = broken  # type: ignore[method-assign]
    bad = world.mail("bad")
    world.mails(20)
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: len(world.mailer.sent) == 20, within=60)
    assert world.until(lambda: not world.queue.left, within=6 * 3600)
    assert daemon.stop()
    assert [letter.reason for letter in world.queue.dead_letters] == ["bug"]
    assert world.queue.receive_count(bad) == 10


def test_an_outage_is_held_and_charges_nothing() -> None:
    """SES is paused for an hour: nothing is received meanwhile, and everything is forwarded afterwards."""
    world = World(concurrency=8, retry_hours=1)
    world.mails(100)
    until = world.clock.monotonic() + 3600

    send = world.mailer.send

    def paused(mail):  # type: ignore[no-untyped-def]
        if world.clock.monotonic() < until:
            raise HoldError("ses", "ses_paused")
        return send(mail)

    world.mailer.send = paused  # type: ignore[method-assign]
    daemon = world.daemon()
    daemon.start()
    world.clock.sleep(600)
    assert daemon.governor.held() == {"ses": "ses_paused"}
    assert world.health.ready()[0] is False
    assert world.until(lambda: not world.queue.left, within=2 * 3600)
    assert world.health.ready()[0] is True
    assert daemon.stop()
    assert len(world.mailer.sent) == 100
    assert not world.queue.dead_letters
    receives = [world.queue.receive_count(p.message_id) for p in world.queue.published]
    # The pause doubles to five minutes and lets one message try each time.
    assert sum(receives) - 100 < 40


def test_an_error_of_one_address_does_not_hold_the_others() -> None:
    """One mailbox that SES refuses is deferred; only three distinct messages without a success make a hold."""
    world = World()
    world.directory.add("bad@mask.example", "bad@owner.example")
    world.mailer.fail_with(HoldError("ses", "address_not_verified", wide=False), recipient="bad@owner.example", times=2)
    world.mail("bad", body=notification("bad", ["bad@mask.example"]))
    world.mails(20)
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: len(world.mailer.sent) >= 20, within=30)
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert len(world.mailer.sent) == 21


def test_an_empty_directory_discards_nothing() -> None:
    """A wrong or restored database must not turn all mail into unknown masks."""
    world = World()
    world.mails(5)
    world.directory.masks.clear()
    daemon = world.daemon()
    daemon.start()
    world.clock.sleep(1800)
    assert len(world.queue.left) == 5
    world.directory.add("shop@mask.example", "me@owner.example")
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert len(world.mailer.sent) == 5


def test_a_lost_answer_is_in_doubt_and_sent_once_more_at_most() -> None:
    """The read timed out and nobody knows: at claim expiry it is sent once more, marked; a second doubt is the end."""
    world = World()
    world.mailer.lose_answers(times=1)
    world.mail("doubt")
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.queue.left)
    assert len(world.mailer.sent) == 2
    world.mailer.lose_answers(times=2)
    world.mail("twice")
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert len(world.mailer.sent) == 4
    assert [letter.reason for letter in world.queue.dead_letters] == ["in_doubt"]


def test_a_bug_in_the_send_is_in_doubt() -> None:
    """An exception that nobody foresaw, after the call began, must not lead to a plain retry."""
    world = World()
    send = world.mailer.send
    broken = [True]

    def buggy(mail):  # type: ignore[no-untyped-def]
        ses_id = send(mail)
        if broken.pop() if broken else False:
            raise RuntimeError("after the mail was out")
        return ses_id

    world.mailer.send = buggy  # type: ignore[method-assign]
    world.mail("odd")
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: len(world.mailer.sent) == 1)
    world.clock.sleep(30)
    assert len(world.mailer.sent) == 1, "not before the claim has expired"
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert len(world.mailer.sent) == 2


def test_a_known_send_is_recorded_even_if_the_ledger_fails_for_a_while() -> None:
    """SES took the mail and then the database went away: it is recorded when it is back, and not sent again."""
    world = World(deadline=120)
    world.mail("known")
    sent = world.ledger.sent
    fails = [HoldError("database", "database_unavailable")] * 4

    def flaky(claim, what):  # type: ignore[no-untyped-def]
        if fails:
            raise fails.pop()
        sent(claim, what)

    world.ledger.sent = flaky  # type: ignore[method-assign]
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert len(world.mailer.sent) == 1


def test_truncated_headers_are_decided_again_after_the_fetch() -> None:
    """The notification shows only some headers; the mail itself shows a loop."""
    world = World()
    looping = b"".join(b"Received: from a by b; Fri, 2 Jan 2026 03:04:05 +0000\r\n" for _ in range(40))
    world.mail("loop", looping + b"From: a@b.example\r\n\r\nx\r\n", notification("loop", truncated=True))
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert len(world.store.fetches) == 1
    assert world.mailer.sent == []


def test_polling_survives_every_error() -> None:
    """Throttling, outages, denied access and bugs of the receive: it backs off, without a tight loop, and recovers."""
    world = World()
    world.queue.fail_calls("receive", TransientError("queue_throttled"), times=3)
    world.queue.fail_calls("receive", HoldError("queue", "queue_missing"), times=5)
    daemon = world.daemon()
    daemon.start()
    world.clock.sleep(20)
    ready, _ = world.health.ready()
    assert not ready
    world.mail("after")
    assert world.until(lambda: not world.queue.left, within=600)
    assert world.health.ready()[0]
    assert daemon.stop()
    assert len(world.mailer.sent) == 1


def test_liveness_holds_while_work_and_dependencies_hang() -> None:
    """S3 hangs for good and every slot waits: the poll loop turns, so the daemon is alive."""
    world = World(concurrency=4, deadline=120)
    world.store.latency = 100.0
    world.mails(50)
    daemon = world.daemon()
    daemon.start()
    for _ in range(30):
        world.clock.sleep(20)
        assert world.health.live(world.clock.monotonic())[0]


def test_in_doubt_error_keeps_its_claim() -> None:
    """An InDoubtError raised directly is treated like a lost answer: the delivery waits for its claim to expire."""
    world = World()
    world.mailer.fail_with(InDoubtError("ses_timeout"), times=1)
    message_id = world.mail("doubt")
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert len(world.mailer.sent) == 1
    first, second = [receive.at for receive in world.queue.receives if receive.message_id == message_id]
    assert second - first >= world.send_seconds


def test_a_certificate_that_cannot_be_fetched_is_a_hold() -> None:
    """It says nothing about the message: all mail waits, nothing is dead-lettered, and it goes on by itself."""
    world = World(verify=True)

    class Unfetchable:
        asked: list[str] = []  # noqa: RUF012 - one instance
        certificate: bytes | None = None

        def fetch(self, url: str) -> bytes:
            self.asked.append(url)
            if self.certificate is None:
                raise HoldError("certificates", "certificate_unavailable")
            return self.certificate

    unfetchable = Unfetchable()
    world.certificates = unfetchable
    for number in range(5):
        inner = json.loads(notification(f"mail-{number}"))["Message"]
        world.mail(f"mail-{number}", body=json.dumps(samples.envelope(inner, TopicArn=TOPIC)))
    daemon = world.daemon()
    daemon.start()
    world.clock.sleep(1800)
    assert daemon.governor.held() == {"certificates": "certificate_unavailable"}
    assert len(world.queue.left) == 5
    assert world.queue.dead_letters == []
    assert world.store.fetches == []
    assert len(unfetchable.asked) < 20
    unfetchable.certificate = samples.certificate(samples.key())
    assert world.until(lambda: not world.queue.left)
    assert daemon.governor.held() == {}
    assert daemon.stop()
    assert len(world.mailer.sent) == 5


def test_unsigned_and_foreign_certificates_are_rejected_without_a_fetch() -> None:
    """Where signatures count, an envelope without one, or with a certificate from elsewhere, is nobody's word."""
    world = World(verify=True)
    world.mail("unsigned")
    evil = {"Signature": "eA==", "SignatureVersion": "1", "SigningCertURL": "https://evil.example/x.pem"}
    world.mail("evil", body=json.dumps({**json.loads(notification("evil")), **evil}))
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert {letter.reason for letter in world.queue.dead_letters} == {"unsigned", "foreign_certificate"}


def test_a_forged_message_cannot_make_an_outage() -> None:
    """It names a certificate of a region that does not exist: rejected without a look, however plausible the host."""
    world = World(verify=True)
    for number, arn in enumerate([TOPIC, TOPIC.replace("eu-west-1", "zz-nowhere-1")]):
        forged = {
            "TopicArn": arn,
            "Signature": "eA==",
            "SignatureVersion": "1",
            "SigningCertURL": "https://sns.zz-nowhere-1.amazonaws.com/x.pem",
        }
        world.mail(f"forged-{number}", body=json.dumps({**json.loads(notification("forged")), **forged}))
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.queue.left)
    assert daemon.governor.held() == {}
    assert daemon.stop()
    assert {letter.reason for letter in world.queue.dead_letters} == {"foreign_certificate", "foreign_topic"}
