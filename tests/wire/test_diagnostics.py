"""Which bounces' texts call the mail spam. In doubt they do not: an owner's setting hangs on it."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.wire.diagnostics import MAX_DIAGNOSTIC, says_spam


@pytest.mark.parametrize(
    "text",
    [
        "smtp; 550-5.7.1 [192.0.2.1 12] This message is 550-5.7.1 likely unsolicited mail. To reduce the spam",
        "smtp; 552 5.2.0 abc This message has been rejected due to content judged to be spam by the community",
        "smtp; 550 5.7.1 Message rejected as spam by Content Filtering.",
        "smtp; 551 Denied for Spam",
        "smtp; 554 5.7.1 [P4] Message blocked due to spam content in the message.",
        "smtp; 550 High probability of spam",
        "smtp; 554 5.7.1 SPAM detected",
        "smtp; 550 Spam message rejected",
        "smtp; 554 5.7.1 The message matches a profile that some may consider spam.",
        "smtp; 550 This message was classified as SPAM and may not be delivered",
        "smtp; 554 Suspected spam",
        "smtp; 552 spam score (12.3) too high",
        "smtp; 550 5.7.1 Diese Nachricht wurde als Spam eingestuft",
        "smtp; 550 5.7.1 This message looks like spam",
        "smtp; 554 5.7.1 Blacklisted URL in message",
        "smtp; 554 5.7.1 Message contains URL listed in SURBL",
        "smtp; 550 5.7.1 Unsolicited bulk e-mail rejected",
        "smtp; 554 rejected by our spam filter",
        "smtp; 550 5.7.1 Message identified as junk mail",
    ],
)
def test_the_mail_is_called_spam(text: str) -> None:
    """Large providers' ways to say so, and their cousins."""
    assert says_spam(text, "5.7.1")
    assert says_spam(text.upper(), "")
    assert not says_spam(text, "5.1.1")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "smtp; 550 5.1.1 user unknown",
        "smtp; 550 user unknown (rejected by spam filter)",
        "smtp; 550 No such user. Blocked by anti-spam gateway",
        "smtp; 550 <spam@is.spam.example>: mailbox full at spam.example, see https://spam.example/is-spam",
        "smtp; 554 5.7.1 Client host [192.0.2.1] blocked using zen.spamhaus.org",
        "smtp; 554 your IP was identified as spam source",
        "smtp; 554 Your IP has been blocked for spam",
        "smtp; 450 4.7.1 Greylisted as possible spam",
        "smtp; 421 4.7.28 unusual rate of unsolicited mail originating from your domain. To protect users from spam",
        "smtp; 550 5.7.26 This mail is unauthenticated. To best protect our users from spam, it has been blocked",
        "smtp; 550 5.7.1 very low reputation of the sending domain. To best protect our users from spam, was blocked",
        "smtp; 550 5.7.1 Message content rejected",
        "smtp; 550 5.7.1 rejected by anti-spam policy",
        "smtp; 550 5.7.1 anti-spam rejected the sender",
        "smtp; 550 this is a spam-protected mailbox",
        "smtp; 550 rejected. If this is not spam, write to the postmaster",
        "smtp; 552 5.2.2 mailbox full",
    ],
)
def test_something_else_is_meant(text: str) -> None:
    """The word alone says nothing: hosts, gateways, policies and recipients are named after it."""
    assert not says_spam(text, "5.7.1")


def test_what_comes_late_is_not_read() -> None:
    """A text has a bound, and a verdict stands at its beginning."""
    assert says_spam("x " * (MAX_DIAGNOSTIC // 2 - 20) + "spam detected", "")
    assert not says_spam("x " * MAX_DIAGNOSTIC + "spam detected", "")


@given(
    st.lists(st.sampled_from(["spam", "is", "as", "rejected", "a", "the", "anti", "unsolicited", "url"]), max_size=600)
    | st.lists(st.text(max_size=8), max_size=200)
)
def test_any_text_is_read_at_once(words: list[str]) -> None:
    """The pattern's own words in any order cost it nothing."""
    text = " ".join(words)
    start = time.perf_counter()
    assert says_spam(text, "") in (True, False)
    assert time.perf_counter() - start < 0.2
