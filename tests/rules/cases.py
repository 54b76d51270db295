"""Mails to masks and tokens, for the tests of the rules: a clean one, and what may be wrong with it."""

from dataclasses import replace
from typing import Any

from relayd.model.address import Address
from relayd.model.decision import Decision
from relayd.model.mask import Contact, Mailbox, Mask, Owner, Pause, Screening, Target, TokenRecipient, Usage
from relayd.model.notification import Verdicts
from relayd.rules.evidence import Case, Evidence
from relayd.rules.inbound import decide

NOW = 1.7e9
SHOP = Address.parse("shop@mask.example")
TOKEN = Address.parse("abcdefghijklmnopqrst@mask.example")
STRANGER = Address.parse("stranger@sender.example")
HOME = Address.parse("me@home.example")
WORK = Address.parse("me@work.example")
CLEAN = Verdicts(spam="PASS", virus="PASS", spf="PASS", dkim="PASS", dmarc="PASS")
MAILBOX = Mailbox("mailbox-1", HOME)
SECOND = Mailbox("mailbox-2", WORK)
FULL_DAY = Usage(1000, 1_000_000_000, 100)
EVIDENCE = Evidence(
    CLEAN,
    "bounce@sender.example",
    (("From", "stranger@sender.example"),),
    0,
    None,
    complete=True,
    authors=(STRANGER,),
    sole_author=STRANGER,
    now=NOW,
    received_at=NOW - 5,
)
FROM_OWNER = replace(
    EVIDENCE, source="me@home.example", headers=(("From", "me@home.example"),), authors=(HOME,), sole_author=HOME
)


def mask(*mailboxes: Mailbox, owner: Owner | None = None, **changes: Any) -> Mask:
    return replace(Mask("mask-1", SHOP, owner or Owner("owner-1"), mailboxes or (MAILBOX,)), **changes)


def owned_by(**owner: Any) -> Mask:
    return mask(owner=Owner("owner-1", **owner))


def token(target: Mask, *owned: Mailbox, address: Address | None = STRANGER) -> TokenRecipient:
    contact = Contact("contact-1", target.mask_id, TOKEN.local, address)
    return TokenRecipient(contact, target, owned or target.mailboxes)


def paused(mailbox: Mailbox, kind: Any, seconds: float) -> Mailbox:
    return replace(mailbox, pause=Pause(kind, NOW + seconds))


def verdict(evidence: Evidence = EVIDENCE, **changes: Any) -> Evidence:
    return replace(evidence, verdicts=replace(evidence.verdicts, **changes))


def ruled(
    target: Target,
    evidence: Evidence = EVIDENCE,
    recipient: Address = SHOP,
    screening: Screening | None = None,
) -> Decision:
    return decide(Case(recipient, target, evidence, screening or Screening()))
