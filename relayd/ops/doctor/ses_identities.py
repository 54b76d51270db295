"""SES's identities: whether SES sends from each domain, signed, and where bounces go."""

from collections.abc import Mapping
from typing import Any

from relayd.ops.doctor.answers import missing
from relayd.ops.doctor.facts import Facts
from relayd.ops.doctor.findings import Verdict, aws, failure, ok, warning
from relayd.ops.doctor.ses_account import of


def identity(domain: str, facts: Facts) -> Verdict:
    """Whether SES lets the domain send."""
    ses = of(facts)
    asked = ses.identities.get(domain, ())
    if asked and all(missing(answer) for _, answer in asked):
        return failure(
            f"SES does not know {domain}, nor a domain above it: it refuses to send from there.",
            aws("sesv2", "create-email-identity", ses.region, email_identity=domain),
            hint="then publish the three DKIM records that it answers with, which verify the domain, too",
            evidence={name: answer.code for name, answer in asked},
        )
    name, found = ses.identity(domain)
    status = found.get("VerificationStatus", "?")
    evidence = {"identity": name, "VerificationStatus": status}
    if not found.get("VerifiedForSendingStatus"):
        return failure(
            f"{name} is not verified ({status}): SES refuses to send from it.",
            *_records(name, found),
            hint="publish these in the domain's DNS" if _records(name, found) else "verify it as SES says",
            evidence=evidence,
        )
    return ok(f"{name} is verified.", **evidence)


def _records(name: str, found: Mapping[str, Any]) -> list[str]:
    """The DKIM records, as a zone file has them: they are what verifies a domain."""
    attributes = found.get("DkimAttributes", {})
    if attributes.get("SigningAttributesOrigin", "AWS_SES") == "EXTERNAL":
        return []
    zone = attributes.get("SigningHostedZone") or "dkim.amazonses.com"
    return [f"{token}._domainkey.{name}. CNAME {token}.{zone}." for token in attributes.get("Tokens", ())]


def dkim(domain: str, facts: Facts) -> Verdict:
    """Whether mail is signed, which most receivers want by now."""
    ses = of(facts)
    name, found = ses.identity(domain)
    attributes = found.get("DkimAttributes", {})
    status, signs = attributes.get("Status", "NOT_STARTED"), bool(attributes.get("SigningEnabled"))
    evidence = {"identity": name, "Status": status, "SigningEnabled": signs}
    if not signs:
        return failure(
            f"Mail from {name} is not signed with DKIM: receivers refuse it, or call it spam.",
            aws(
                "sesv2",
                "put-email-identity-dkim-attributes",
                ses.region,
                email_identity=name,
                signing_enabled=True,
            ),
            evidence=evidence,
        )
    records = _records(name, found)
    hint = "publish these in the domain's DNS" if records else "publish the domain's DKIM key as SES says"
    if status in {"PENDING", "TEMPORARY_FAILURE"}:
        says = f"SES does not see the DKIM records of {name} now ({status})."
        return warning(says, *records, hint=hint, evidence=evidence)
    if status != "SUCCESS":
        return failure(f"{name} has no DKIM records ({status}).", *records, hint=hint, evidence=evidence)
    return ok(f"Mail from {name} is signed with DKIM.", **evidence)


def mail_from(domain: str, facts: Facts) -> Verdict:
    """Whether the domain that bounces go to is set up, where there is one of our own."""
    ses = of(facts)
    name, found = ses.identity(domain)
    attributes = found.get("MailFromAttributes", {})
    own, status = attributes.get("MailFromDomain"), attributes.get("MailFromDomainStatus")
    behaviour = attributes.get("BehaviorOnMxFailure", "USE_DEFAULT_VALUE")
    evidence = {"identity": name, "MailFromDomain": own, "MailFromDomainStatus": status}
    evidence |= {"BehaviorOnMxFailure": behaviour}
    if not own:
        return ok("Bounces go to SES's own domain; DKIM alone stands for yours.", **evidence)
    if status == "SUCCESS":
        return ok(f"Bounces go to {own}.", **evidence)
    region = ses.region or "REGION"
    records = (
        f"{own}. MX 10 feedback-smtp.{region}.amazonses.com.",
        f'{own}. TXT "v=spf1 include:amazonses.com ~all"',
    )
    hint = "publish these in the domain's DNS"
    if behaviour == "REJECT_MESSAGE":
        return failure(
            f"{own} has no MX record ({status}), and SES refuses to send without it.",
            *records,
            aws(
                "sesv2",
                "put-email-identity-mail-from-attributes",
                ses.region,
                email_identity=name,
                mail_from_domain=own,
                behavior_on_mx_failure="USE_DEFAULT_VALUE",
            ),
            hint=f"{hint}; the last command has SES's own domain used meanwhile",
            evidence=evidence,
        )
    return warning(
        f"{own} has no MX record ({status}): SES uses its own domain instead.", *records, hint=hint, evidence=evidence
    )


def feedback_forwarding(domain: str, facts: Facts) -> Verdict:
    """Whether bounces come as mail as well, to masks' reply tokens, where nobody reads them."""
    ses = of(facts)
    name, found = ses.identity(domain)
    forwards = bool(found.get("FeedbackForwardingStatus"))
    evidence = {"identity": name, "FeedbackForwardingStatus": forwards}
    if forwards:
        return warning(
            f"SES also mails bounces of {name} to the addresses that sent: they come back to relayd as mail.",
            aws(
                "sesv2",
                "put-email-identity-feedback-attributes",
                ses.region,
                email_identity=name,
                email_forwarding_enabled=False,
            ),
            evidence=evidence,
        )
    return ok("Bounces come as events only.", **evidence)
