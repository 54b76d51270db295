"""The daemon as a real process: signals, kills, lost answers, hanging dependencies, odd messages."""

import json
import signal
import threading
import time

import pytest

from tests.process.cloud import Cloud, eventually

pytestmark = pytest.mark.process


def test_mail_is_forwarded_and_the_daemon_stops_cleanly(cloud: Cloud) -> None:
    """The main job, and everything it says about it."""
    cloud.add_mask("shop@mask.example", "me@owner.example")
    daemon = cloud.daemon()
    cloud.mails(10)
    assert eventually(lambda: len(cloud.sent()) == 10, 20)
    assert eventually(lambda: cloud.queued() == (0, 0), 10)
    status, body = daemon.get("/status")
    assert status == 200
    assert json.loads(body)["slots"] == 8
    assert "relayd_deliveries_total" in daemon.get("/metrics")[1]
    assert daemon.get("/livez")[0] == 200
    assert daemon.stop() == 0
    assert all(sent.recipients == ("me@owner.example",) for sent in cloud.sent())
    lines = daemon.events("message_settled")
    assert len(lines) == 10
    for line in lines:
        assert line["outcome"] == "accepted"
        assert line["reason"] == "forwarded"
        assert line["settle_problem"] is None
        assert line["trace_id"]


def test_the_main_job_on_moto(moto_cloud: Cloud) -> None:
    """The second implementation of AWS agrees: unsigned notifications, trusted by the queue's policy."""
    moto_cloud.add_mask("shop@mask.example", "me@owner.example", "too@owner.example")
    daemon = moto_cloud.daemon()
    moto_cloud.mails(5)
    assert eventually(lambda: len(moto_cloud.sent()) == 10, 20)
    assert eventually(lambda: moto_cloud.queued() == (0, 0), 10)
    assert daemon.stop() == 0
    assert set(moto_cloud.sends_of_each_mail().values()) == {2}


def test_sigterm_with_work_in_flight_loses_and_doubles_nothing(cloud: Cloud) -> None:
    """What was begun is finished, what was not is back in the queue, exit 0 within the grace; the next one goes on."""
    cloud.add_mask()
    cloud.ses.delay = 0.4
    cloud.mails(40)
    daemon = cloud.daemon()
    assert eventually(lambda: cloud.ses.open >= 4, 20)
    began = time.monotonic()
    assert daemon.stop(15) == 0
    assert time.monotonic() - began < 1 + 5
    done = len(cloud.sent())
    assert 0 < done < 40
    assert cloud.queued() == (40 - done, 0), "handed back at once, not left to time out"
    cloud.ses.delay = 0.0
    second = cloud.daemon()
    assert eventually(lambda: len(cloud.sent()) == 40, 30)
    assert eventually(lambda: cloud.queued() == (0, 0), 10)
    assert second.stop() == 0
    assert set(cloud.sends_of_each_mail().values()) == {1}


def test_sigkill_loses_nothing_and_every_double_is_a_counted_resend(cloud: Cloud) -> None:
    """Killed while SES has mails and nobody knows: only those go out again, each said and counted."""
    cloud.add_mask()
    # SES accepts at once and answers late: the kill falls between its acceptance and our record.
    cloud.ses.delay_answer = 0.5
    cloud.mails(40)
    daemon = cloud.daemon()
    assert eventually(lambda: cloud.ses.passed >= 10, 20)
    daemon.kill()
    cloud.ses.delay_answer = 0.0
    second = cloud.daemon()
    assert eventually(lambda: cloud.queued() == (0, 0), 60)
    assert second.stop() == 0
    sends = cloud.sends_of_each_mail()
    resends = second.events("in_doubt_resend")
    assert len(sends) == 40
    assert sum(sends.values()) - 40 == len([count for count in sends.values() if count > 1])
    assert sum(sends.values()) - 40 <= len(resends)
    assert 0 < len(resends) <= 8
    assert cloud.dead_letters() == []


def test_a_lost_answer_is_sent_once_more(cloud: Cloud) -> None:
    """The connection breaks after SES has the mail: one resend, after the claim has expired, and no dead letter."""
    cloud.add_mask()
    cloud.ses.drop_answers = 1
    daemon = cloud.daemon()
    cloud.mail()
    assert eventually(lambda: len(cloud.sent()) == 2, 40)
    assert eventually(lambda: cloud.queued() == (0, 0), 10)
    assert daemon.stop() == 0
    assert len(daemon.events("in_doubt_resend")) == 1


def test_two_daemons_on_one_sqlite_file(cloud: Cloud) -> None:
    """They share the queue and the ledger: each mail is sent once."""
    cloud.add_mask()
    first, second = cloud.daemon(), cloud.daemon()
    cloud.mails(60)
    assert eventually(lambda: len(cloud.sent()) == 60, 40)
    assert eventually(lambda: cloud.queued() == (0, 0), 10)
    assert first.stop() == 0
    assert second.stop() == 0
    assert set(cloud.sends_of_each_mail().values()) == {1}
    assert first.events("message_settled")
    assert second.events("message_settled")


def test_odd_messages_are_dead_lettered_beside_good_mail(cloud: Cloud) -> None:
    """Not JSON, another shape, foreign topic, foreign bucket: each with its reason, and nothing fetched for them."""
    cloud.add_mask()
    daemon = cloud.daemon()
    envelope = {"Type": "Notification", "MessageId": "x", "TopicArn": "arn:aws:sns:eu-west-1:1:other", "Message": "{}"}
    odd = ["not json", "[]", "{}", json.dumps(envelope), "\N{PILE OF POO}", '{"Type": "Notification"}', "1e999999"]
    for body in odd:
        cloud.clients.sqs.send_message(QueueUrl=cloud.world.queue_url, MessageBody=body)
    cloud.mails(5)
    assert eventually(lambda: len(cloud.sent()) == 5, 20)
    assert eventually(lambda: cloud.queued() == (0, 0), 10)
    assert daemon.get("/livez")[0] == 200
    assert daemon.stop() == 0
    letters = cloud.dead_letters()
    assert len(letters) == len(odd)
    assert all(letter["MessageAttributes"]["relayd-reason"]["StringValue"] for letter in letters)
    assert cloud.s3.passed == 5 + 1, "five fetches, and the look at the bucket when the daemon started"


def test_livez_answers_while_every_slot_hangs_on_s3(cloud: Cloud) -> None:
    """Sixteen workers wait for an S3 that never answers: the probe is quick, because it shares nothing with them."""
    cloud.add_mask()
    daemon = cloud.daemon(RELAYD_CONCURRENCY="16")
    cloud.s3.hang()
    cloud.mails(30)
    assert eventually(lambda: cloud.s3.open >= 16, 20)
    times = []
    for _ in range(200):
        began = time.perf_counter()
        status, _ = daemon.get("/livez")
        times.append(time.perf_counter() - began)
        assert status == 200
    times.sort()
    # The goal is 50 ms at p99 (bench and docs say so); a shared machine may pause any process, so only the median is
    # held tightly here.
    assert times[len(times) // 2] < 0.05
    cloud.s3.release()
    assert eventually(lambda: len(cloud.sent()) == 30, 60)
    assert daemon.stop() == 0


def test_a_slow_s3_does_not_stop_the_probes_or_lose_leases(cloud: Cloud) -> None:
    """A fetch that takes longer than the visibility timeout keeps its lease: one receive, one send."""
    cloud.add_mask()
    daemon = cloud.daemon()
    cloud.s3.delay = 12.0
    cloud.mails(3)
    assert eventually(lambda: len(cloud.sent()) == 3, 60)
    assert eventually(lambda: cloud.queued() == (0, 0), 10)
    assert daemon.stop() == 0
    assert [line["receive_count"] for line in daemon.events("message_settled")] == [1, 1, 1]


def test_a_second_signal_ends_at_once(cloud: Cloud) -> None:
    """The operator insists: exit 130, without waiting for the grace."""
    cloud.add_mask()
    daemon = cloud.daemon()
    cloud.s3.hang()
    cloud.mails(2)
    assert eventually(lambda: cloud.s3.open >= 2, 20)
    daemon.signal(signal.SIGTERM)
    assert eventually(lambda: bool(daemon.events("stopping")), 5)
    began = time.monotonic()
    daemon.signal(signal.SIGINT)
    assert daemon.process.wait(5) == 130
    assert time.monotonic() - began < 2


def test_ses_down_holds_the_mail(cloud: Cloud) -> None:
    """SES answers 500 to everything, then recovers: receiving stops, nothing is dead-lettered, nothing is lost."""
    cloud.add_mask()
    daemon = cloud.daemon()
    cloud.ses.status = 500
    cloud.mails(10)
    assert eventually(lambda: bool(daemon.events("breaker_opened")), 20)
    assert cloud.sent() == []
    cloud.ses.status = None
    assert eventually(lambda: len(cloud.sent()) == 10, 60)
    assert eventually(lambda: cloud.queued() == (0, 0), 20)
    assert daemon.stop() == 0
    assert cloud.dead_letters() == []


def test_masks_count_within_seconds(cloud: Cloud) -> None:
    """A mask that is added while the daemon runs receives mail at once."""
    cloud.add_mask()
    daemon = cloud.daemon()
    cloud.add_mask("new@mask.example", "new@owner.example")
    cloud.mail(1, ("new@mask.example",))
    assert eventually(lambda: len(cloud.sent()) == 1, 10)
    assert cloud.sent()[0].recipients == ("new@owner.example",)
    assert daemon.stop() == 0


def test_a_stop_during_a_long_poll_is_quick_and_quiet(cloud: Cloud) -> None:
    """An idle daemon ends within wait + 5 s and leaves no thread's traceback behind."""
    cloud.add_mask()
    daemon = cloud.daemon()
    waited = threading.Event()
    waited.wait(0.5)
    assert daemon.stop(1 + 5) == 0
    assert "Traceback" not in daemon.output()
    assert [line["clean"] for line in daemon.events("stopped")] == [True]
