"""Who relayd is to AWS, and whether that is who the queue belongs to."""

from relayd.adapters.questions import SETTINGS_WRONG
from relayd.ops.doctor.answers import told
from relayd.ops.doctor.facts import Facts, IdentityFacts, QueueFacts
from relayd.ops.doctor.findings import UnknownError, Verdict, failure, ok, warning

_GIVE = (
    "give relayd a role of its pod or instance, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (with AWS_SESSION_TOKEN "
    "if they are temporary)"
)
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"})
_CLOCK = frozenset({"RequestTimeTooSkewed", "InvalidSignatureException", "SignatureDoesNotMatch"})


def credentials(facts: Facts) -> Verdict:
    """Whether AWS knows who asks."""
    identity = of(facts)
    caller = identity.caller
    evidence = {"source": identity.source or None, "answer": caller.code or "GetCallerIdentity"}
    if caller.code == SETTINGS_WRONG:
        hint = "check AWS_PROFILE, AWS_REGION and AWS_CONFIG_FILE; `aws configure list` shows what they come to"
        return failure("The AWS settings cannot be read.", hint=hint, evidence=evidence)
    if caller.code == "credentials_missing" or (not identity.source and caller.told is None):
        return failure("There are no AWS credentials.", hint=_GIVE, evidence=evidence)
    if caller.code in _EXPIRED:
        return failure(f"The credentials have expired ({caller.code}).", hint=_renew(identity), evidence=evidence)
    if caller.credentials_refused:
        hint = _GIVE if caller.code not in _CLOCK else f"{_GIVE}; or see what is said of the clock"
        return failure(f"AWS refuses the credentials ({caller.code}).", hint=hint, evidence=evidence)
    who = told(caller)
    evidence = {"Arn": who["Arn"], "Account": who["Account"], "source": identity.source}
    if who["Arn"].endswith(":root"):
        return warning(
            "relayd runs as the root user of the account, who may do everything.",
            hint="make a role with the rights that the permissions' checks name, and run as that",
            evidence=evidence,
        )
    if identity.fading:
        return warning(
            "The credentials are temporary, and nobody renews them: relayd stops when they expire.",
            hint="give relayd a role, whose credentials are renewed, or long-lived keys",
            evidence=evidence,
        )
    return ok(f"AWS knows relayd as {who['Arn']}.", **evidence)


def _renew(identity: IdentityFacts) -> str:
    if identity.source == "env":
        return f"put new ones into AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN; better: {_GIVE}"
    if identity.source.startswith("sso"):
        return "sign in again: aws sso login"
    return "restart what gives them out, or wait until it has renewed them"


def account(queue: QueueFacts, facts: Facts) -> Verdict:
    """Whether the queue's account is ours. Across accounts a queue works only where its policy says so."""
    ours = str(told(of(facts).caller)["Account"])
    evidence = {"Account": ours, "queue": queue.url}
    if queue.account == ours:
        return ok(f"The queue is of this account ({ours}).", **evidence)
    hint = "use credentials of that account, or name a queue of this one"
    if queue.answer.told is None:
        return failure(f"The queue is of account {queue.account}, relayd of {ours}.", hint=hint, evidence=evidence)
    return warning(
        f"The queue is of account {queue.account}, relayd of {ours}. It answers: if that is meant, all is well.",
        hint=hint,
        evidence=evidence,
    )


def topic_account(arn: str, facts: Facts) -> Verdict:
    """Whether the topic's account is ours."""
    ours, theirs = str(told(of(facts).caller)["Account"]), arn.split(":")[4]
    evidence = {"Account": ours, "topic": arn}
    if theirs == ours:
        return ok(f"The topic is of this account ({ours}).", **evidence)
    return warning(
        f"The topic is of account {theirs}, relayd of {ours}: whoever has that account says what is mail.",
        hint="name the topic of this account in RELAYD_TOPIC_ARNS; if another account receives the mail, all is well",
        evidence=evidence,
    )


def of(facts: Facts) -> IdentityFacts:
    if facts.identity is None:
        raise UnknownError("nobody asked")
    return facts.identity
