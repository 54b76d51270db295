"""Conservation: whatever fails, and however often we are stopped, every mail ends, and ends once.

`RELAYD_CHAOS_SEEDS=300 pytest tests/engine/test_chaos.py` runs more seeds than the suite does; a seed alone decides
a run, so `-k "[137]"` repeats one.
"""

import os
import random
import re

import pytest
import structlog

from tests.engine.storm import Running, Storm

SEEDS = int(os.environ.get("RELAYD_CHAOS_SEEDS", "25"))
BUGS_OF_OURS = {"turn_failed", "extend_failed", "settle_failed", "chore_failed", "debt_forgotten"}
"""Events that say that an exception came where none may come."""
FORESEEN = {"in_doubt", "ses_rejected"}
"""Reasons of dead letters that the trouble of a storm may lead to."""
DEATHS = 3
"""So many claims that nobody heard of are taken for as many processes that died."""


@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
def test_every_mail_ends_once(seed: int) -> None:
    """Faults, twins, outages, stops and second daemons: nothing lost, doubled, leaked or dead."""
    random.seed(seed)  # the poller's jitter
    storm = Storm(seed)
    world = storm.world
    with structlog.testing.capture_logs() as logs:
        running, stopped = come_and_go(storm)
        world.clock.sleep(200)
        storm.calm()
        running = running or [storm.daemon()]
        drained = within(storm, 12 * 3600)
        assert drained, (world.queue.left, [daemon.supervisor.status() for daemon in running])
        storm.more_mail(8)
        assert within(storm, 900), "a hold may still be on, with a pause of five minutes; it ends with the first mail"
        world.clock.sleep(300)
        assert problems_with_mails(storm) == []
        assert problems_with_daemons(storm, running) == []
        for daemon in running:
            stop(storm, daemon)
        world.clock.sleep(300)
        assert problems_after_stops([*stopped, *running]) == []
    assert not [event for event in logs if event["event"] in BUGS_OF_OURS]


def come_and_go(storm: Storm) -> tuple[list[Running], list[Running]]:
    """Start daemons and stop some. Answers those that run and those that do not."""
    running, stopped = [storm.daemon()], []
    for _ in range(storm.dice.choice([0, 2, 4])):
        storm.world.clock.sleep(storm.dice.random() * 60)
        if not running or storm.dice.random() < 0.6:
            running.append(storm.daemon())
        if storm.dice.random() < 0.7:
            stopped.append(running.pop(0))
            stop(storm, stopped[-1])
    return running, stopped


def stop(storm: Storm, daemon: Running) -> None:
    began = storm.world.clock.monotonic()
    daemon.clean = daemon.supervisor.stop()
    assert storm.world.clock.monotonic() - began <= storm.world.grace + 0.5, "the stop outlasted its grace"


def within(storm: Storm, seconds: float) -> bool:
    """Whether the queue is empty within so many seconds. (Looked at seldom, for hours may pass.)"""
    deadline = storm.world.clock.monotonic() + seconds
    while storm.world.queue.left and storm.world.clock.monotonic() < deadline:
        storm.world.clock.sleep(1)
    return not storm.world.queue.left


def problems_with_mails(storm: Storm) -> list[object]:
    """Mails that did not end as they should have, each with what the ledger knows of it."""
    sends: dict[tuple[str, str], int] = {}
    for send in storm.world.mailer.sent:
        found = re.search(rb"this is (\S+)\.", send.mail.data)
        assert found
        delivery = (found[1].decode(), send.mail.recipient)
        sends[delivery] = sends.get(delivery, 0) + 1
    letters: dict[str, list[str]] = {}
    for letter in storm.world.queue.dead_letters:
        letters.setdefault(storm.mail_of.get(letter.message_id, letter.message_id), []).append(letter.reason)
    rows = {(key.mail_id, key.mailbox): row for key, row in storm.world.ledger.rows.items()}
    wanted = {(mail_id, mailbox) for mail_id, mailboxes in storm.expected.items() for mailbox in mailboxes}
    problems: list[object] = [("sent to a stranger", delivery) for delivery in sends if delivery not in wanted]
    for delivery in sorted(wanted):
        count, row, reasons = sends.get(delivery, 0), rows.get(delivery), letters.get(delivery[0], [])
        if row is None:
            problems.append(("never begun", delivery, reasons))
            continue
        # A message is dead-lettered once, for one of its deliveries that failed.
        failed = {one.reason for (mail_id, _), one in rows.items() if mail_id == delivery[0] and one.state == "failed"}
        if count == 0 and not (row.state == "failed" and failed.intersection(reasons)):
            problems.append(("lost", delivery, row, reasons))
        if count > 1 + row.resends:
            problems.append(("sent again without being counted", delivery, count, row, reasons))
        if row.state not in ("sent", "failed") and not (row.state == "sending" and count):
            problems.append(("not ended", delivery, count, row, reasons))
    for subject, reasons in letters.items():
        foreseen = {"not_json"} if subject in storm.poison else FORESEEN
        if storm.unheard[subject] >= DEATHS:
            foreseen = foreseen | {"killed"}
        if not set(reasons) <= foreseen:
            problems.append(("dead-lettered", subject, reasons))
    problems += [("poison lost", message_id) for message_id in storm.poison if message_id not in letters]
    return problems


def problems_with_daemons(storm: Storm, running: list[Running]) -> list[object]:
    """What daemons that have nothing to do any more still hold, or have lost."""
    problems: list[object] = []
    for daemon in running:
        supervisor = daemon.supervisor
        if supervisor.in_flight() or supervisor.settler.pending():
            problems.append(("a lease leaked", supervisor.status()))
        live, reason = daemon.health.live(storm.world.clock.monotonic())
        if not live:
            problems.append(("not live", reason))
        problems += [("thread dead", thread.name) for thread in daemon.threads if not thread.is_alive()]
    return problems


def problems_after_stops(stopped: list[Running]) -> list[object]:
    """What daemons left behind that have been stopped."""
    problems: list[object] = []
    for daemon in stopped:
        if daemon.supervisor.slots.busy:
            problems.append(("a slot leaked", daemon.supervisor.status()))
        if daemon.clean and daemon.supervisor.in_flight():
            problems.append(("a clean stop that was none", daemon.supervisor.status()))
        problems += [("thread left", thread.name) for thread in daemon.threads if thread.is_alive()]
    return problems
