"""The fakes' knobs do what they say: tests of the engine trust them blindly."""

import pytest

from relayd.errors import InDoubtError, PermanentError, TransientError
from relayd.model.notification import S3Content
from relayd.ports import EntryError, Outgoing
from tests.fakes.clock import VirtualClock
from tests.fakes.mailer import FakeMailer
from tests.fakes.queue import FakeQueue, Faults
from tests.fakes.store import FakeStore

MAIL = Outgoing("token@mask.example", "owner@home.example", b"mail")


class TestQueue:
    def test_a_twin_comes_in_one_batch(self) -> None:
        """The same message twice in one receive: two handles, of which the newer one counts."""
        queue = FakeQueue(VirtualClock())
        queue.twin_next()
        queue.publish("once")
        first, second = queue.receive(10, 0, 30)
        assert first.message_id == second.message_id
        assert queue.delete([first.receipt_handle]) == [None]
        assert queue.left == {first.message_id}
        assert queue.delete([second.receipt_handle]) == [None]
        assert queue.left == set()

    def test_a_twin_needs_room(self) -> None:
        """A receive of one message holds one message."""
        queue = FakeQueue(VirtualClock(), faults=Faults(twins=1.0))
        queue.publish("once")
        assert len(queue.receive(1, 0, 30)) == 1

    def test_a_late_poll_keeps_its_message_to_the_end(self) -> None:
        """What arrives during such a poll is leased and handed out when its wait ends."""
        clock = VirtualClock()
        queue = FakeQueue(clock, faults=Faults(late_polls=True))

        def publish() -> None:
            queue.publish("late")

        clock.at(3, publish)
        [message] = queue.receive(1, 20, 30)
        assert clock.monotonic() == 20
        assert queue.visible_at(message.message_id) == 50

    def test_a_poll_wakes_for_a_lease_that_ends(self) -> None:
        """An expired lease satisfies an open poll the moment it expires."""
        clock = VirtualClock()
        queue = FakeQueue(clock)
        queue.publish("once")
        queue.receive(1, 0, 7)
        assert queue.receive(1, 20, 30)[0].receive_count == 2
        assert clock.monotonic() == 7

    def test_an_open_poll_takes_a_release_of_another_thread(self) -> None:
        """A visibility of zero may hand the message to our own open poll."""
        clock = VirtualClock()
        queue = FakeQueue(clock)
        queue.publish("once")
        [lease] = queue.receive(1, 0, 30)
        got: list[int] = []
        poller = clock.spawn("poller", lambda: got.extend(m.receive_count for m in queue.receive(1, 20, 30)))
        clock.sleep(2)
        assert queue.open_polls == 1
        queue.change_visibility([(lease.receipt_handle, 0)])
        poller.join()
        assert (got, clock.monotonic()) == ([2], 2)

    def test_a_delay_hides_a_new_message(self) -> None:
        """A delayed message is neither visible nor in flight, and then comes."""
        clock = VirtualClock()
        queue = FakeQueue(clock)
        queue.publish("later", delay=5)
        assert (queue.visible, queue.in_flight) == (0, 0)
        assert len(queue.receive(1, 20, 30)) == 1
        assert clock.monotonic() == 5
        assert (queue.visible, queue.in_flight) == (0, 1)

    def test_scripted_failures_have_no_effect(self) -> None:
        """A call that fails by script leaves the queue alone; then the script is used up."""
        queue = FakeQueue(VirtualClock())
        queue.publish("once")
        queue.fail_calls("receive", TransientError("queue_unavailable"))
        with pytest.raises(TransientError, match="queue_unavailable"):
            queue.receive(1, 0, 30)
        assert queue.visible == 1
        [lease] = queue.receive(1, 0, 30)
        queue.fail_entries("delete")
        answers = queue.delete([lease.receipt_handle, lease.receipt_handle])
        assert answers == [EntryError("InternalError", gone=False), None]

    def test_a_lost_answer_has_its_effect(self) -> None:
        """The call raises, and yet the message is leased: only its lease's end brings it back."""
        queue = FakeQueue(VirtualClock())
        queue.publish("once")
        queue.lose_answers("receive")
        with pytest.raises(TransientError):
            queue.receive(1, 0, 30)
        assert queue.in_flight == 1

    @pytest.mark.parametrize("knob", ["call_errors", "entry_errors", "lost_answers"])
    def test_chances_repeat_with_the_seed(self, knob: str) -> None:
        """The same seed fails the same calls; another one others."""

        def story(seed: int) -> list[bool]:
            queue = FakeQueue(VirtualClock(), seed=seed)
            setattr(queue.faults, knob, {"delete": 0.5})
            outcomes = []
            for _ in range(40):
                try:
                    # An unknown handle: the entry's own error is another one than the injected one.
                    outcomes.append(queue.delete(["unknown"]) == [EntryError("InternalError", gone=False)])
                except TransientError:
                    outcomes.append(True)
            return outcomes

        assert story(1) == story(1) != story(2)
        assert 5 < sum(story(1)) < 35

    def test_a_lease_runs_while_its_answer_travels(self) -> None:
        """Latency lies on both sides of the effect."""
        clock = VirtualClock()
        queue = FakeQueue(clock, faults=Faults(latency=lambda operation: 4.0 if operation == "receive" else 0.0))
        message_id = queue.publish("once")
        queue.receive(1, 0, 30)
        assert clock.monotonic() == 4
        assert queue.visible_at(message_id) == 32

    def test_the_truth_is_kept(self) -> None:
        """Everything that happened is there to be checked, with its time."""
        clock = VirtualClock()
        queue = FakeQueue(clock)
        message_id = queue.publish("once")
        [lease] = queue.receive(10, 20, 30)
        clock.sleep(1)
        queue.change_visibility([(lease.receipt_handle, 60)])
        queue.delete([lease.receipt_handle])
        assert [(p.message_id, p.at) for p in queue.published] == [(message_id, 0)]
        assert [(r.message_id, r.at, r.visibility, r.count) for r in queue.receives] == [(message_id, 0, 30, 1)]
        assert [(c.handle, c.at, c.seconds, c.error) for c in queue.changes] == [(lease.receipt_handle, 1, 60, None)]
        assert [(d.message_id, d.at, d.effective) for d in queue.deletes] == [(message_id, 1, True)]
        assert [(p.limit, p.wait, p.handles) for p in queue.polls] == [(10, 20, (lease.receipt_handle,))]
        assert queue.receive_count(message_id) == 1


class TestStore:
    def test_latency_and_a_timeout(self) -> None:
        """A fetch costs its latency; one over the timeout costs the timeout and fails."""
        clock = VirtualClock()
        store = FakeStore(clock, latency=lambda content: 60.0 if content.key == "slow" else 2.0, timeout=30)
        store.put("slow", b"mail")
        quick = store.put("quick", b"mail")
        assert store.fetch(quick, lambda size: None) == b"mail"
        assert clock.monotonic() == 2
        with pytest.raises(TransientError, match="s3_timeout"):
            store.fetch(S3Content("mail", "slow"), lambda size: None)
        assert clock.monotonic() == 32
        assert [(fetch.content.key, fetch.error) for fetch in store.fetches] == [
            ("quick", None),
            ("slow", "s3_timeout"),
        ]

    def test_scripted_failures(self) -> None:
        """A failure for one key leaves the others alone, and is used up."""
        store = FakeStore(VirtualClock())
        one, two = store.put("1", b"one"), store.put("2", b"two")
        store.fail_with(PermanentError("archived"), key="2")
        assert store.fetch(one, lambda size: None) == b"one"
        with pytest.raises(PermanentError):
            store.fetch(two, lambda size: None)
        assert store.fetch(two, lambda size: None) == b"two"


class TestMailer:
    def test_refused_and_lost(self) -> None:
        """A refused mail is not sent; one whose answer is lost is, and says so."""
        mailer = FakeMailer(VirtualClock())
        mailer.fail_with(PermanentError("ses_rejected"))
        with pytest.raises(PermanentError):
            mailer.send(MAIL)
        assert mailer.sent == []
        mailer.lose_answers()
        with pytest.raises(InDoubtError):
            mailer.send(MAIL)
        assert mailer.send(MAIL) == "ses-2"
        assert [send.answered for send in mailer.sent] == [False, True]
        assert mailer.calls == 3

    @pytest.mark.parametrize(("latency", "accepted"), [(40.0, 1), (100.0, 0)])
    def test_a_timeout_is_doubt(self, latency: float, accepted: int) -> None:
        """The caller cannot tell a slow SES that took the mail from one that never came to it."""
        clock = VirtualClock()
        mailer = FakeMailer(clock, latency=latency, timeout=30)
        with pytest.raises(InDoubtError, match="ses_timeout"):
            mailer.send(MAIL)
        assert clock.monotonic() == 30
        assert len(mailer.sent) == accepted
