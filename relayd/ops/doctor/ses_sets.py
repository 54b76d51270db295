"""SES's configuration set: what mail is sent with, whom SES drops it for, and who hears what became of it."""

from collections.abc import Mapping
from typing import Any

from relayd.ops.doctor.answers import missing, told
from relayd.ops.doctor.facts import Facts, SesFacts
from relayd.ops.doctor.findings import UnknownError, Verdict, aws, failure, listed, ok, warning
from relayd.ops.doctor.ses_account import of

ACTED_ON = ("SEND", "DELIVERY", "BOUNCE", "COMPLAINT", "REJECT")
"""Events without which relayd does not know what became of a send, or goes on sending where it must not."""
LISTENED_TO = ("RENDERING_FAILURE",)
"""Events that an operator is told of."""
DESTINATION = "relayd"


def configuration_set(facts: Facts) -> Verdict:
    """Whether mail is sent with a configuration set that is there, and may send."""
    ses, name = of(facts), facts.setup.configuration_set
    if name is None or ses.configuration is None:
        return warning(
            "Mail is sent without a configuration set: nobody learns of bounces, and suppressed addresses get nothing.",
            *_make_set(ses, DESTINATION),
            f"export RELAYD_CONFIGURATION_SET={DESTINATION}",
            evidence={"RELAYD_CONFIGURATION_SET": None},
        )
    if missing(ses.configuration):
        return failure(
            f"There is no configuration set {name}: SES refuses every mail.",
            *_make_set(ses, name),
            evidence={"RELAYD_CONFIGURATION_SET": name, "answer": ses.configuration.code},
        )
    found = told(ses.configuration)
    enabled = found.get("SendingOptions", {}).get("SendingEnabled", True)
    evidence = {"ConfigurationSetName": name, "SendingEnabled": enabled}
    if not enabled:
        return failure(
            f"Sending is paused for the configuration set {name}.",
            aws(
                "sesv2",
                "put-configuration-set-sending-options",
                ses.region,
                configuration_set_name=name,
                sending_enabled=True,
            ),
            evidence=evidence,
        )
    return ok(f"The configuration set {name} may send.", **evidence)


def _make_set(ses: SesFacts, name: str) -> list[str]:
    return [
        aws(
            "sesv2",
            "create-configuration-set",
            ses.region,
            configuration_set_name=name,
            suppression_options={"SuppressedReasons": []},
            reputation_options={"ReputationMetricsEnabled": True},
        )
    ]


def _set(facts: Facts) -> tuple[str, Mapping[str, Any]]:
    ses, name = of(facts), facts.setup.configuration_set
    if name is None or ses.configuration is None:
        raise UnknownError("there is no configuration set", "see above")
    return name, told(ses.configuration)


def suppression(facts: Facts) -> Verdict:
    """Whether SES drops mail to addresses that once bounced, which it does without a word."""
    name, found = _set(facts)
    ses = of(facts)
    own = found.get("SuppressionOptions", {}).get("SuppressedReasons")
    account = (ses.account.told or {}).get("SuppressionAttributes", {}).get("SuppressedReasons")
    evidence = {"SuppressedReasons": own, "of the account": account}
    counting = account if own is None else own
    if own is None and account is None:
        told(ses.account)
    if counting:
        return failure(
            f"SES takes mail to addresses that once bounced or complained, and drops it ({listed(counting)}): their "
            "owners get nothing, and nobody is told.",
            aws(
                "sesv2",
                "put-configuration-set-suppression-options",
                ses.region,
                configuration_set_name=name,
                suppressed_reasons=[],
            ),
            hint="relayd pauses such mailboxes itself, and tries again",
            evidence=evidence,
        )
    return ok("SES drops nothing on its own.", **evidence)


def reputation(facts: Facts) -> Verdict:
    """Whether anybody can see bounces and complaints grow before AWS does something about it."""
    name, found = _set(facts)
    enabled = bool(found.get("ReputationOptions", {}).get("ReputationMetricsEnabled"))
    evidence = {"ReputationMetricsEnabled": enabled}
    if not enabled:
        return warning(
            "The shares of bounces and complaints are not published: no alarm can watch them.",
            aws(
                "sesv2",
                "put-configuration-set-reputation-options",
                of(facts).region,
                configuration_set_name=name,
                reputation_metrics_enabled=True,
            ),
            evidence=evidence,
        )
    return ok("Shares of bounces and complaints are published.", **evidence)


def events(facts: Facts) -> Verdict:
    """Whether what became of mail comes back: by a destination, a topic and a queue of ours."""
    name, _ = _set(facts)
    ses, queue = of(facts), facts.queue("events")
    if ses.destinations is None:
        raise UnknownError("nobody asked for its event destinations")
    if queue is None:
        return warning(
            "There is no queue for SES's events: bounces change nothing, and a send in doubt is repeated at once.",
            hint="give the events a topic and a queue of their own, and name it in RELAYD_EVENTS_QUEUE_URL",
            evidence={"RELAYD_EVENTS_QUEUE_URL": None},
        )
    if facts.setup.any_topic:
        raise UnknownError("RELAYD_TOPIC_ARNS names no topic, so that nobody knows which one events take")
    reaching = _topics_of(queue.arn, facts)
    found = told(ses.destinations).get("EventDestinations", ())
    usable = [one for one in found if one.get("SnsDestination", {}).get("TopicArn") in reaching]
    evidence = {"destinations": found, "topics of the events' queue": reaching}
    if not usable:
        return failure(
            "No event destination leads to the events' queue: relayd learns of no bounce.",
            _destination("create", ses, name, DESTINATION, reaching[0] if reaching else "TOPIC"),
            evidence=evidence,
        )
    types = {kind for one in usable if one.get("Enabled") for kind in one.get("MatchingEventTypes", ())}
    lost, unheard = (sorted(set(wanted) - types) for wanted in (ACTED_ON, LISTENED_TO))
    first = usable[0]
    command = _destination("update", ses, name, first["Name"], first["SnsDestination"]["TopicArn"])
    if not types:
        return failure(f"The event destination {first['Name']} is switched off.", command, evidence=evidence)
    if lost:
        return failure(f"SES does not tell of {listed(lost)}, which relayd acts on.", command, evidence=evidence)
    if unheard:
        return warning(f"SES does not tell of {listed(unheard)}.", command, evidence=evidence)
    return ok(f"SES tells of {len(types)} kinds of events.", **evidence)


def _topics_of(queue_arn: str, facts: Facts) -> list[str]:
    """The topics that the queue has subscribed."""
    return [one.arn for one in facts.topics if any(each.endpoint == queue_arn for each in one.subscriptions)]


def _destination(verb: str, ses: SesFacts, set_name: str, name: str, topic: str) -> str:
    return aws(
        "sesv2",
        f"{verb}-configuration-set-event-destination",
        ses.region,
        configuration_set_name=set_name,
        event_destination_name=name,
        event_destination={
            "Enabled": True,
            "MatchingEventTypes": [*ACTED_ON, "DELIVERY_DELAY", *LISTENED_TO],
            "SnsDestination": {"TopicArn": topic},
        },
    )
