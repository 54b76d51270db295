"""What SES's events lead to, in memory. It keeps the promises of `tests/contract/test_feedbacks.py`."""

from collections.abc import Sequence
from typing import assert_never

from relayd.model.feedback import (
    Alert,
    Confirm,
    DisableMask,
    Effect,
    EndPause,
    Fail,
    Feedback,
    FlagOwner,
    MailboxStanding,
    Match,
    NoteComplaint,
    PauseMailbox,
    QuarantineSpam,
    SentMail,
    Tell,
)
from relayd.model.mask import Pause
from relayd.ports import Clock
from tests.fakes.directory import FakeDirectory
from tests.fakes.ledger import FakeLedger
from tests.fakes.ledger_rows import Row
from tests.fakes.notices import FakeNotices


class FakeFeedbacks:
    """`relayd.ports.Feedbacks` over what the other fakes hold. `fail_with` is raised by every call, while it is set."""

    def __init__(self, clock: Clock, ledger: FakeLedger, directory: FakeDirectory, notices: FakeNotices) -> None:
        self._clock = clock
        self._ledger = ledger
        self._directory = directory
        self._notices = notices
        self.fail_with: Exception | None = None
        self.seen: set[str] = set()

    def match(self, feedback: Feedback) -> Match:
        self._enter()
        named = {form for one in feedback.affected if one.address for form in (one.address.full, one.address.bare)}
        row = self._row(feedback)
        if row is not None and row.concern.kind != "reply":
            named.add(row.key.mailbox)
        now = self._clock.time()
        standings = tuple(
            MailboxStanding(
                mailbox_id,
                box.owner_id,
                box.mailbox.address.full,
                box.bounces,
                box.mailbox.pause is not None and box.mailbox.pause.until > now,
            )
            for mailbox_id, box in self._directory.boxes.items()
            if box.mailbox.address.full in named
        )
        if row is None:
            return Match(mailboxes=standings)
        mask = self._directory.by_id(row.mask_id)
        owner = self._directory.people.get(row.concern.owner_id or "")
        sent = SentMail(
            row.delivery_id,
            row.concern.kind,
            row.concern.owner_id,
            row.mask_id,
            mask.address.bare if mask else "",
            row.key.mailbox,
        )
        return Match(sent, standings, owner.complained_at if owner else None)

    def apply(self, feedback: Feedback, effects: Sequence[Effect]) -> bool:
        self._enter()
        once = any(not isinstance(effect, Confirm | EndPause) for effect in effects)
        if once and feedback.feedback_id in self.seen:
            return False
        if once:
            self.seen.add(feedback.feedback_id)
        for effect in effects:
            self._apply(effect, feedback.attempt or 0)
        return True

    def _row(self, feedback: Feedback) -> Row | None:
        row = self._ledger.by_id(feedback.delivery_id) if feedback.delivery_id is not None else None
        return row or next((row for row in self._ledger.rows.values() if row.ses_id == feedback.ses_id), None)

    def _apply(self, effect: Effect, attempt: int) -> None:
        directory = self._directory
        match effect:
            case Confirm():
                self._ledger.confirm(effect.delivery_id, effect.ses_id, attempt)
            case Fail():
                self._ledger.reject(effect.delivery_id, effect.reason, attempt)
            case PauseMailbox():
                directory.change_mailbox(effect.mailbox_id, pause=Pause(effect.kind, effect.until))
                directory.boxes[effect.mailbox_id].bounces = effect.bounces
            case EndPause():
                directory.change_mailbox(effect.mailbox_id, pause=None)
                directory.boxes[effect.mailbox_id].bounces = 0
            case QuarantineSpam():
                directory.set_owner(effect.owner_id, spam_handling="quarantine")
            case NoteComplaint():
                directory.people[effect.owner_id].complained_at = effect.at
            case DisableMask():
                if mask := directory.by_id(effect.mask_id):
                    directory.set_mask(mask.address.bare, enabled=False)
            case FlagOwner():
                directory.set_owner(effect.owner_id, flagged=True)
                directory.people[effect.owner_id].flag_reason = effect.reason
            case Tell():
                self._notices.tell(effect.notice)
            case Alert():
                pass
            case _:
                assert_never(effect)

    def _enter(self) -> None:
        if self.fail_with is not None:
            raise self.fail_with
