"""The name of every span, attribute, instrument and log event, each with what it means.

docs/operations.md prints these tables, and a test holds the two together: a name that is not here is not known to
whoever reads the logs at night.
"""

from types import MappingProxyType

SCOPE = "relayd"
"""Instrumentation scope of our tracer and meter."""

# Spans. `process <queue>` is the root of a message's trace; the others are its children.
RECEIVE = "receive"
PROCESS = "process"
DECODE = "decode"
DECIDE = "decide"
CLAIM = "claim"
FETCH = "s3.fetch"
REWRITE = "rewrite"
RECORD = "record"
SETTLE = "settle"

SPANS = MappingProxyType(
    {
        RECEIVE: "One receive that brought messages. Named `receive <queue>`; an empty long poll makes no span.",
        PROCESS: "One try of one message, from receive to settled; linked to its producer. Named `process <queue>`.",
        DECODE: "SQS body to notification, signature check included.",
        DECIDE: "Look up the recipient and decide what to do.",
        CLAIM: "Take the delivery in the ledger.",
        FETCH: "The mail from S3: the call and the whole body.",
        REWRITE: "The mail as it came to the mail as it is sent.",
        RECORD: "Write how the delivery ended to the ledger.",
        SETTLE: "Delete, release or dead-letter the message; ends when SQS has answered.",
    }
)

# Attributes: the semantic conventions' names where they have one.
ERROR_TYPE = "error.type"
MESSAGING_SYSTEM = "messaging.system"
MESSAGING_OPERATION = "messaging.operation.name"
MESSAGING_OPERATION_TYPE = "messaging.operation.type"
MESSAGING_DESTINATION = "messaging.destination.name"
MESSAGING_MESSAGE_ID = "messaging.message.id"
MESSAGING_BATCH_COUNT = "messaging.batch.message_count"
QUEUE_URL = "aws.sqs.queue.url"
BUCKET = "aws.s3.bucket"
KEY = "aws.s3.key"
SES_MESSAGE_ID = "aws.ses.message_id"
BODY_SIZE = "http.response.body.size"
REQUEST_SIZE = "http.request.body.size"
RECEIVE_COUNT = "relayd.receive_count"
DELIVERY = "relayd.delivery"
OUTCOME = "relayd.outcome"
REASON = "relayd.reason"
MAIL_BYTES = "relayd.bytes"
REPAIRED_PARTS = "relayd.repaired_parts"

ATTRIBUTES = MappingProxyType(
    {
        ERROR_TYPE: "Why it failed: a reason word, an AWS error code or an exception's type. Never its text.",
        MESSAGING_SYSTEM: "`aws_sqs`.",
        MESSAGING_OPERATION: "`receive`, `process`, `settle`, or the SQS call.",
        MESSAGING_OPERATION_TYPE: "`receive`, `process` or `settle`.",
        MESSAGING_DESTINATION: "The queue's name.",
        MESSAGING_MESSAGE_ID: "The SQS message's id.",
        MESSAGING_BATCH_COUNT: "Messages in a batch call.",
        QUEUE_URL: "The queue's URL.",
        BUCKET: "The bucket of the mail.",
        KEY: "The key of the mail: SES's message id behind the receipt rule's prefix.",
        SES_MESSAGE_ID: "SES's id of the mail that was sent.",
        BODY_SIZE: "Bytes of the mail that was fetched.",
        REQUEST_SIZE: "Bytes of the mail that was sent.",
        RECEIVE_COUNT: "How often SQS has given the message out, releases included.",
        DELIVERY: "The delivery's random id; SES carries it as the tag `relayd-delivery`.",
        OUTCOME: "`accepted`, `rejected`, `deferred` or `released`.",
        REASON: "A reason word: what was decided, or why not.",
        MAIL_BYTES: "Bytes of the mail.",
        REPAIRED_PARTS: "How many parts of the mail had to be encoded anew.",
    }
)

# Instruments. Prometheus shows the dots as underscores and adds the unit.
CONSUMED = "messaging.client.consumed.messages"
PROCESS_DURATION = "messaging.process.duration"
OPERATION_DURATION = "messaging.client.operation.duration"
DEPENDENCY_DURATION = "relayd.dependency.duration"
DELIVERIES = "relayd.deliveries"
MESSAGES = "relayd.messages"
QUEUE_TIME = "relayd.queue.time"
LEASES = "relayd.leases"
IN_DOUBT = "relayd.in_doubt"
IN_FLIGHT = "relayd.in_flight"
LIMIT = "relayd.limit"
BREAKER = "relayd.breaker"
BREAKER_CHANGES = "relayd.breaker.changes"
MEMORY_RESERVED = "relayd.memory.reserved"
PACE = "relayd.pace"
FEEDBACK = "relayd.feedback"
ALERTS = "relayd.alerts"
NOTICES = "relayd.notices"
VERDICTS = "relayd.verdicts"
TRACKERS = "relayd.trackers"

INSTRUMENTS = MappingProxyType(
    {
        CONSUMED: "Messages received from the queue.",
        PROCESS_DURATION: "Seconds of work on a message, up to its settlement.",
        OPERATION_DURATION: "Seconds of each SQS call that was measured, by `messaging.operation.name`.",
        DEPENDENCY_DURATION: "Seconds of each call, by `dependency` (`queue`, `s3`, `ses`, `database`, "
        "`certificates`), `operation` and, where it failed, `error.type`.",
        DELIVERIES: "Deliveries that ended or were left open, by `state` and `reason`.",
        MESSAGES: "Messages that were settled, by `outcome` and `reason`.",
        QUEUE_TIME: "Seconds between a message's sending and its settlement.",
        LEASES: "Leases, by `event`: `extended`, `lost`.",
        IN_DOUBT: "Sends whose end is not known, by `event`: `doubt`, `resend`, `given_up`.",
        IN_FLIGHT: "Messages in hand now.",
        LIMIT: "Messages that may be in hand for a `dependency`'s sake.",
        BREAKER: "A `dependency`'s breaker: 0 closed, 1 half open, 2 open.",
        BREAKER_CHANGES: "Changes of a `dependency`'s breaker, by `state`.",
        MEMORY_RESERVED: "Bytes of RELAYD_MEMORY_BUDGET_MB that mails in hand have reserved.",
        PACE: "Mails a second that are sent at most; 0 while nobody knows what the account may send.",
        FEEDBACK: "SES's events about sent mail, by `kind` and whether the ledger knew the delivery (`matched`).",
        ALERTS: "What an operator should look into, by `word`: `suppressed`, ...",
        NOTICES: "Mails of our own to owners, by `kind` and `outcome`.",
        VERDICTS: "What SES found about mail, by `verdict` and `status`; PASS is not counted.",
        TRACKERS: "Trackers taken out of mail that was sent.",
    }
)

LOG_EVENTS = MappingProxyType(
    {
        # The life of the daemon.
        "started": "Polling begins.",
        "stopping": "A stop was asked for: what is in hand, and how long it may take.",
        "stopped": "`clean` says whether everything in hand was finished or handed back; what was not comes back when "
        "its lease lapses.",
        # The life of a message.
        "message_settled": "One line a message: outcome, reason, deliveries, times. Everything else is detail.",
        "message_bug": "An unforeseen exception in one message, as types and places. The message is tried ten times.",
        "in_doubt_resend": "An earlier send is in doubt and its claim expired: it is sent once more.",
        "mail_rebuilt": "SES refused the mail as malformed; it goes out in the next form, `rebuilt` or `attached`.",
        "record_failed": "A send succeeded and could not be recorded by the deadline; that is made up for later.",
        "debts_unpaid": "At the stop the ledger was still away: a send may be found in doubt; claims expire.",
        "debt_forgotten": "What was owed to the ledger could not be made up for, and is not tried again.",
        "give_back_failed": "A claim could not be given back now; that is made up for later.",
        "dead_letter_failed": "The copy for the dead-letter queue failed; the message stays and is tried again.",
        "lease_lost": "The lease ended while the message was in hand; nothing more is sent for it here.",
        # What SES tells about sent mail, and what owners are told.
        "alert": "Something that an operator should look into; `word` says what, docs/operations.md what to do.",
        "mailbox_paused": "A mailbox bounced: nothing is sent to it until the pause ends.",
        "mask_disabled": "Its owner complained twice about its mail.",
        "owner_flagged": "Held for review: nothing is forwarded until somebody looks.",
        "feedback_applied": "Another effect of an event.",
        "notice_deferred": "A notice could not be sent now; it waits.",
        "notice_ended": "A notice was sent, or never will be.",
        # Dependencies.
        "breaker_opened": "A dependency is unusable: receiving pauses, mail waits in the queue untouched.",
        "breaker_trying": "The dependency answers again: one message goes first, then more by steps.",
        "breaker_closed": "The dependency works again, with all slots.",
        "limit_lowered": "A dependency failed or throttled: fewer messages are taken in hand for now.",
        "account_unknown": "SES could not be asked what the account may send.",
        "probe_failed": "A bug in a probe; it counts as a failed probe.",
        "pace_changed": "SES throttled, or the account's rate is another one: mails a second from now on.",
        "worker_wedged": "A worker is stuck past its message's deadline; `worker` names the thread.",
        "poll_failed": "A receive failed; the next one follows after `retry_seconds`.",
        "poll_held": "The queue is missing or denied: not ready, and retried until it is mended.",
        "poll_recovered": "Receiving works again.",
        "ledger_pruned": "Rows older than RELAYD_LEDGER_DAYS were removed.",
        # Bugs that one thread caught so that it lives on. Each deserves a report.
        "turn_failed": "Around a message's work.",
        "settle_failed": "While settling.",
        "extend_failed": "While extending leases.",
        "chore_failed": "In a chore beside the mail.",
        "health_failed": "While answering a probe.",
        "telemetry_hook_failed": "While describing an AWS call; the call itself was not touched.",
        "uncaught_exception": "Nothing caught it; its thread has ended.",
        "python_warning": "A library warned, for instance of something that will be removed.",
    }
)
