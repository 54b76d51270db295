"""What another mail server's own words say about a mail that it refused. They are read here and go no further."""

import re

MAX_DIAGNOSTIC = 2000
"""Characters that are read. RFC 5321, 4.5.3.1.5 gives a reply line 512, and verdicts come first."""

_LETTERS = re.compile(r"[a-z]++")
# Addresses, links and host names: `spam` in a name says nothing.
_NAME = re.compile(r"@|://|[a-z0-9-]\.[a-z]")

_LINK = r"(?:url|uri|link)s?"
_LISTED = r"(?:black|block) ?listed"
_FILLER = (
    r"(?:a|an|as|be|because|been|being|bulk|by|commercial|contain(?:s|ing)|content|due|for|high|is|it|likely|of|our|"
    r"possible|possibly|potential|potentially|probable|probably|recipients?|suspected|the|to|users?|was)"
)
_VERDICT = (
    r"(?:blocked|believed|categori[sz]ed|classified|considered|declined|deemed|denied|detected|determined|filtered|"
    r"flagged|identified|judged|marked|recogni[sz]ed|refused|rejected|suspected|tagged)"
)
_SPAM = (
    r"(?:spam(?:my)?"
    r"(?! (?:gateway|host|ip|list|network|policy|prevention|protect(?:ed|ion)|relay|sender|server|source|trap))|"
    r"junk(?: e?mail)?|unsolicited (?:bulk |commercial )?(?:e )?(?:content|e?mail|messages?))\b"
)
_CALLS_IT_SPAM = re.compile(
    rf"\b(?:{_VERDICT}|als|as|comme|como|consider|contains|is|likely|like|probability of|probably)"
    rf"(?: {_FILLER}){{0,4}} {_SPAM}"
    rf"|(?<!anti )\b{_SPAM}(?: (?:e )?(?:content|mail|message|score))?(?: (?:is|was))? (?:found|too high|{_VERDICT})\b"
    rf"|\b{_LINK} (?:is |are |was )?(?:on |in )?(?:the |a |our )?{_LISTED}\b|\b{_LISTED} {_LINK}\b|\b(?:surbl|uribl)\b"
)
_BLAMES_ANOTHER = re.compile(
    # Who sent it: the address, the host, how much of it, or that it cannot be known.
    r"\b(?:your (?:ip|server|host|network|mail server)|ip address|client host|sending (?:ip|host|server)|dnsbl|rbl"
    r"|blocked using|reputation|(?:un)?authenticat(?:ed|ion)|rate limit(?:ed)?|gr[ae]y ?list(?:ed|ing)"
    # Whom it was sent to.
    r"|(?:no such|unknown|invalid) (?:user|recipient|mailbox|address)"
    r"|(?:user|recipient|mailbox|address) (?:is )?(?:unknown|not found|does not exist|disabled|unavailable))\b"
)


def says_spam(diagnostic: str, status: str) -> bool:
    """Whether a bounce's diagnostic text calls the *mail* spam, rather than blame its sender's host or its recipient.

    `status` is the enhanced status code: 5.1.x is about the address (RFC 3463, 3.2), whatever the gateway that
    answered is called. In doubt it is not spam.
    """
    if status.startswith("5.1."):
        return False
    words = " ".join(
        word
        for token in diagnostic[:MAX_DIAGNOSTIC].lower().split()
        if not _NAME.search(token)
        for word in _LETTERS.findall(token)
    )
    return _CALLS_IT_SPAM.search(words) is not None and _BLAMES_ANOTHER.search(words) is None
