"""SES's account: whether it may send, to anybody, and as much as there is."""

import math

from relayd.ops.doctor.answers import told
from relayd.ops.doctor.facts import Facts, SesFacts
from relayd.ops.doctor.findings import UnknownError, Verdict, aws, failure, ok, warning

CLOSE = 0.8
"""Of a limit, from which on somebody should ask for more."""
DAILY, RATE = "L-804C8AE8", "L-CDEF9B6B"
"""What Service Quotas calls the mails in 24 hours, and those in a second."""


def of(facts: Facts) -> SesFacts:
    if facts.ses is None:
        raise UnknownError("nobody asked")
    return facts.ses


def sending(facts: Facts) -> Verdict:
    """Whether the account may send."""
    ses = of(facts)
    account = told(ses.account)
    status, enabled = account.get("EnforcementStatus", "HEALTHY"), account.get("SendingEnabled", True)
    evidence = {"SendingEnabled": enabled, "EnforcementStatus": status}
    if status == "SHUTDOWN":
        return failure(
            "AWS has shut down sending for the account.",
            aws("sesv2", "get-account", ses.region),
            hint="answer the case that AWS opened in its support center; mail waits in the queue meanwhile",
            evidence=evidence,
        )
    if not enabled:
        return failure(
            "Sending is paused for the account.",
            aws("sesv2", "put-account-sending-attributes", ses.region, sending_enabled=True),
            hint="find out first who paused it, and why: bounces and complaints, most likely",
            evidence=evidence,
        )
    if status != "HEALTHY":
        return warning(
            f"The account is under review by AWS ({status}): it may be shut down.",
            hint="answer the case that AWS opened in its support center, and look at bounces and complaints",
            evidence=evidence,
        )
    return ok("The account may send.", **evidence)


def production(facts: Facts) -> Verdict:
    """Whether SES sends to anybody, or to verified addresses only."""
    ses = of(facts)
    enabled = told(ses.account).get("ProductionAccessEnabled")
    if not enabled:
        return failure(
            "The account is in SES's sandbox: mail goes to verified addresses only.",
            aws(
                "sesv2",
                "put-account-details",
                ses.region,
                production_access_enabled=True,
                mail_type="TRANSACTIONAL",
                website_url="https://YOUR.SITE",
                use_case_description="Forwards mail to the owners of e-mail masks.",
            ),
            hint="put your site into the command; AWS answers within a day",
            evidence={"ProductionAccessEnabled": bool(enabled)},
        )
    return ok("SES sends to anybody.", ProductionAccessEnabled=True)


def daily_quota(facts: Facts) -> Verdict:
    """Whether a day's mail fits."""
    ses = of(facts)
    quota = told(ses.account).get("SendQuota", {})
    most, sent = float(quota.get("Max24HourSend", -1)), float(quota.get("SentLast24Hours", 0))
    ours = facts.database.sends.value if facts.database is not None else None
    evidence = {"Max24HourSend": most, "SentLast24Hours": sent, "ledger, 24 hours": ours.mails if ours else None}
    if most < 0:
        return ok("The account may send any number of mails.", **evidence)
    load = max(sent, float(ours.mails if ours else 0))
    command = _more(ses, DAILY, max(1000, 2 * load))
    if load >= most:
        return failure(
            f"The day's quota is used up: {load:,.0f} of {most:,.0f} mails in 24 hours.", command, evidence=evidence
        )
    if load >= CLOSE * most:
        return warning(f"{load:,.0f} of {most:,.0f} mails a day are used.", command, evidence=evidence)
    return ok(f"{load:,.0f} of {most:,.0f} mails a day are used.", **evidence)


def rate(facts: Facts) -> Verdict:
    """Whether the busiest minute of the day before fits."""
    ses = of(facts)
    most = float(told(ses.account).get("SendQuota", {}).get("MaxSendRate", 0))
    if facts.database is None:
        raise UnknownError("the ledger is not known, nor the load")
    busiest = facts.database.sends.known.busiest_minute
    needed = busiest / 60
    evidence = {"MaxSendRate": most, "busiest minute of 24 hours": busiest}
    if needed >= CLOSE * most:
        return warning(
            f"SES takes {most:,g} mails a second, and the busiest minute had {needed:.1f}: mail waits.",
            _more(ses, RATE, max(1, 2 * needed)),
            evidence=evidence,
        )
    return ok(f"SES takes {most:,g} mails a second; the busiest minute had {needed:.1f}.", **evidence)


def _more(ses: SesFacts, code: str, value: float) -> str:
    return aws(
        "service-quotas",
        "request-service-quota-increase",
        ses.region,
        service_code="ses",
        quota_code=code,
        desired_value=str(math.ceil(value)),
    )
