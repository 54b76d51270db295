"""What an operator can do about a delivery: tables of words, so that nobody has to think of it at night."""

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from relayd.model.delivery import CLAIM_EXPIRED
from relayd.ops.delivery_stories import UNDER_WAY, Story


@dataclass(frozen=True, slots=True)
class Hint:
    """Something to know, and the command that does something about it, where there is one."""

    text: str
    command: str = ""


def hints(story: Story) -> list[Hint]:
    """What to know and to do, in order."""
    return list(_STATES[story.delivery.state](story))


def _sent(story: Story) -> Iterator[Hint]:
    one = story.delivery
    if one.resends:
        yield Hint("An earlier send was in doubt, and it was sent once more: it may have arrived twice.")
    until = story.around.mailbox_paused_until
    if until is not None:
        text = f"Mail to this mailbox bounces: it is paused until {_moment(until)}. When it works again:"
        yield Hint(text, _command("owners", "mailbox", "unpause", one.owner, one.to))
    yield Hint(
        f"SES took it, as {one.ses_id}. Where it does not show: the spam folder; then the mailbox's provider, who "
        "finds it by the Message-ID that begins so."
    )
    if one.kind != "notice":
        yield Hint(
            "To send it once more, to all mailboxes of the mask:",
            _replay(story, "--deliveries", "--state", "sent", "--again"),
        )


def _discarded(story: Story) -> Iterator[Hint]:
    one, held = story.delivery, story.around.held
    if held is not None:
        if held.released_at is not None:
            yield Hint(f"It was released from quarantine on {_moment(held.released_at)}.")
        yield Hint(
            "It is in quarantine, with its sender and subject:", _command("quarantine", "show", held.quarantine_id)
        )
        if held.released_at is None:
            yield Hint("To let it go:", _command("quarantine", "release", held.quarantine_id))
        return
    why = DISCARDED.get(one.reason or "")
    if why is None:
        yield Hint(f"docs/decisions.md says when mail is discarded for {one.reason}.")
    else:
        yield Hint(why.text, why.command(story))
    if why is None or why.may_change:
        yield Hint(
            "To have it decided again, as things are now:", _replay(story, "--deliveries", "--state", "discarded")
        )


def _failed(story: Story) -> Iterator[Hint]:
    one = story.delivery
    why = FAILED.get(one.reason or "", FAILED[""])
    yield Hint(why.text, why.command(story))
    if story.around.held is not None:
        quarantine_id = story.around.held.quarantine_id
        yield Hint("It is in quarantine, with its sender and subject:", _command("quarantine", "show", quarantine_id))
    if why.may_change and one.kind != "notice":
        yield Hint("Once what was wrong is mended:", _replay(story, "--dead-letters"))


def _open(story: Story) -> Iterator[Hint]:
    last = story.attempts[-1] if story.attempts else None
    until = story.delivery.held_until
    if last is not None and last.outcome == UNDER_WAY and until is not None:
        yield Hint(f"A replica has it in hand, until {_moment(until)} at most.")
        return
    if last is not None and last.outcome == CLAIM_EXPIRED:
        yield Hint(
            "The process that had it is gone. The next one to receive it takes it over; if nothing happens, look "
            "whether any replica is running:",
            _command("status"),
        )
        return
    if story.delivery.reason == "paused":
        yield Hint("An operator holds it back. What is paused, and why:", _command("pause"))
        return
    why = f" The last one ended with {last.outcome}." if last is not None else ""
    yield Hint(
        f"It waits in the queue for its next try.{why} If nothing happens, look at the queue and the replicas:",
        _command("status"),
    )


def _in_doubt(story: Story) -> Iterator[Hint]:
    one = story.delivery
    yield Hint(
        "Nobody knows whether SES has it. SES's event settles that; where none comes, it is sent once more, marked. "
        f"Its events carry the tag relayd-delivery={one.delivery_id}-{one.attempt}"
    )
    if story.attempts and story.attempts[-1].outcome == UNDER_WAY:
        yield from _open(story)
    else:
        yield Hint("If nothing happens in half an hour, look at the queue and the replicas:", _command("status"))


_STATES: Mapping[str, Callable[[Story], Iterator[Hint]]] = {
    "sent": _sent,
    "discarded": _discarded,
    "failed": _failed,
    "open": _open,
    "in-doubt": _in_doubt,
}


@dataclass(frozen=True, slots=True)
class Why:
    """What a reason means to an operator."""

    text: str
    command: Callable[[Story], str] = lambda _: ""
    may_change: bool = True
    """It might go otherwise another time."""


def _of_owner(*words: str) -> Callable[[Story], str]:
    return lambda story: _command("owners", words[0], story.delivery.owner, *words[1:])


def _of_mask(*words: str) -> Callable[[Story], str]:
    return lambda story: _command("masks", words[0], story.delivery.mask, *words[1:])


def _enable(story: Story) -> str:
    return "" if story.around.mask_enabled else _command("masks", "enable", story.delivery.mask)


def _activate(story: Story) -> str:
    return "" if story.around.owner_active else _command("owners", "activate", story.delivery.owner)


def _unflag(story: Story) -> str:
    return _command("owners", "unflag", story.delivery.owner) if story.around.owner_flagged else ""


def _add(story: Story) -> str:
    return _command("masks", "add", story.delivery.recipient, "--to", "MAILBOX")


DISCARDED: Mapping[str, Why] = {
    "no_recipient": Why("None of its recipients is on a domain of ours.", may_change=False),
    "noreply": Why("Mail to noreply is always discarded.", may_change=False),
    "unknown_mask": Why("There was no such mask when it came. If there should be one, make it first:", _add),
    "rule_limit": Why(
        "The domain's rule had made as many masks as it may.", lambda _: _command("masks", "rule", "list")
    ),
    "virus": Why("SES found a virus in it. Nothing puts it through.", may_change=False),
    "reply_not_allowed": Why(
        "It was for a reply address, and not proven to come from a verified mailbox of the mask's owner; or the owner "
        "may not reply: inactive, held for review, or over the replies of the day.",
        _of_owner("show"),
    ),
    "reply_leak": Why(
        "The reply would have shown an address of the owner's, or goes to others as well. The owner was told, and has "
        "to write it anew.",
        may_change=False,
    ),
    "spam": Why("SES calls it spam, and the owner has spam dropped.", _of_owner("show")),
    "dmarc_reject": Why(
        "It is not proven to come from its sender's domain, and that domain asks for such mail to be refused.",
        may_change=False,
    ),
    "dmarc_quarantine": Why(
        "It is not proven to come from its sender's domain, and the owner has such mail discarded.", _of_owner("show")
    ),
    "loop": Why("It went in a circle: through us before, or from a mask of the same owner.", may_change=False),
    "owner_inactive": Why("The owner was inactive.", _activate),
    "owner_flagged": Why("The owner was held for review.", _unflag),
    "over_limit": Why(
        "The owner's mail of that day (UTC) was used up: RELAYD_DAILY_MAILS, RELAYD_DAILY_MEGABYTES.", _of_owner("show")
    ),
    "mask_disabled": Why("The mask was switched off.", _enable),
    "sender_blocked": Why("The mask's or the owner's lists keep this sender out.", _of_mask("senders")),
    "list_mail": Why("The mask takes no mail of lists.", _of_mask("show")),
    "released": Why(
        "It was released from quarantine. What became of it then stands with its mailboxes' deliveries.",
        may_change=False,
    ),
}
"""By reason. What goes to quarantine (bounce_pause, mailbox_unverified, mostly spam) is told of there."""

_DEAD = "Its message is in the dead-letter queue, or in the archive that this was drained to (--from ARCHIVE)."
FAILED: Mapping[str, Why] = {
    "": Why(_DEAD),
    "in_doubt": Why(
        "Twice nobody could learn whether SES had taken it. Look into the mailbox, or at SES's events, before you send "
        f"it again: it may be there. {_DEAD}"
    ),
    "killed": Why(
        f"Three processes died while they had it in hand: for want of memory, or of a bug. {_DEAD} Look into the logs "
        "of its traces before you try it again."
    ),
    "bug": Why(f"Ten tries met the same bug: the line message_bug says where. {_DEAD}"),
    "retries_exhausted": Why(
        f"It was tried for RELAYD_RETRY_HOURS, and its attempts say what stood in the way. {_DEAD}"
    ),
    "content_missing": Why(
        f"The mail was not in the bucket: the lifecycle has taken it, or SES never wrote it. {_DEAD}"
    ),
    "too_large": Why("It is larger than SES sends. The owner was told.", may_change=False),
    "ses_refused_malformed": Why(f"SES calls it malformed in every form. The owner was told. {_DEAD}"),
    "ses_rejected": Why(f"SES refused it. The owner was told. {_DEAD}"),
    "ses_rejected_virus": Why("SES took it, and then found a virus in it. Nobody has it.", may_change=False),
}
"""By reason; the empty one for all others."""


def _replay(story: Story, source: str, *options: str) -> str:
    return _command("replay", source, "--message-id", story.delivery.mail_id, *options)


def _command(*words: str | None) -> str:
    """As it is typed; empty where a word is missing because nobody knows it any more."""
    return "" if None in words else shlex.join(["relayd", *(word for word in words if word is not None)])


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
