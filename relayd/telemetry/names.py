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
BODY = "s3.body"
MEMORY_WAIT = "memory.wait"
REWRITE = "rewrite"
PACE_WAIT = "pace.wait"
RECORD = "record"
SETTLE = "settle"
NOTICE = "notice"
DATABASE = "db"
CERTIFICATE = "certificates.fetch"

SPANS = MappingProxyType(
    {
        RECEIVE: "One receive that brought messages, a trace of its own, and sampled by itself. Named "
        "`receive <queue>`; an empty long poll makes no span. It links to the producers that SQS itself names.",
        PROCESS: "One try of one message, from when a worker takes it; its `settle` ends after it. Named "
        "`process <queue>`. It links to its producer, to its receive where that is sampled, and to the try before "
        "where that had come to claim a delivery. All tries have the same `messaging.message.id`.",
        DECODE: "SQS body to notification, signature check included.",
        DECIDE: "Look up the recipient and decide what to do.",
        CLAIM: "Take the delivery in the ledger.",
        FETCH: "The mail from S3: the call, the whole body, and what they waited for.",
        BODY: "The body of the mail, once its headers are here.",
        MEMORY_WAIT: "Waiting until other mails have given memory back (RELAYD_MEMORY_BUDGET_MB).",
        REWRITE: "The mail as it came to the mail as it is sent.",
        PACE_WAIT: "Waiting for the right to send: SES lets the account send so many mails a second.",
        RECORD: "Write how the delivery ended to the ledger.",
        SETTLE: "Delete the message, or hand it back: from when the thread that does so in batches was given it until "
        "SQS has answered. It links to the batch's call, and that to it.",
        NOTICE: "One mail of our own to an owner, a trace of its own.",
        DATABASE: "One operation of the ledger, the directory or another part of the database. Named `db <operation>`.",
        CERTIFICATE: "SNS's signing certificate over HTTPS. One fetch serves all messages after it.",
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
DB_SYSTEM = "db.system.name"
DB_OPERATION = "db.operation.name"
DB_NAMESPACE = "db.namespace"
DB_WAITED = "relayd.database.waited"
RECEIVE_COUNT = "relayd.receive_count"
WAITED = "relayd.queue.seconds"
LIMIT_NOW = "relayd.limit"
IN_FLIGHT_NOW = "relayd.in_flight"
BREAKERS_NOW = "relayd.breakers"
DELIVERY = "relayd.delivery"
ATTEMPT = "relayd.attempt"
MASK = "relayd.mask"
OUTCOME = "relayd.outcome"
REASON = "relayd.reason"
MAIL_BYTES = "relayd.bytes"
SURPRISE = "relayd.surprise"
KEPT = "relayd.kept"
REPAIRED_PARTS = "relayd.repaired_parts"

OBSERVED = "relayd.observed"
"""A resource attribute, and a field of every log line: true where nothing was really done (`relayd run --observe`)."""

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
        DB_SYSTEM: "`postgresql` or `sqlite`.",
        DB_OPERATION: "What was asked of the ledger or the directory: `lookup`, `claim`, `begin_send`, ... Never SQL.",
        DB_NAMESPACE: "The database's name, of PostgreSQL.",
        DB_WAITED: "Seconds of the call until a connection was there; on SQLite, until it was its turn to write.",
        RECEIVE_COUNT: "How often SQS has given the message out, releases included.",
        WAITED: "Seconds from the message's sending to SQS until this try, earlier tries included.",
        LIMIT_NOW: "How many messages might be in hand when the try began: the least of all limits.",
        IN_FLIGHT_NOW: "How many messages were in hand when the try began, this one among them.",
        BREAKERS_NOW: "Breakers that were not closed when the try began, as `ses=half_open`, with commas between.",
        DELIVERY: "The delivery's random id, of a send and of SES's events about it. SES carries it, with the "
        "attempt's number behind it, as the tag `relayd-delivery`.",
        ATTEMPT: "Which attempt at the delivery a send is, from 1. Calls to AWS are made once: only the queue retries.",
        MASK: "The mask's keyed hash, as `relayd hash` prints it; of a mail to several, with commas between.",
        OUTCOME: "`accepted`, `rejected`, `deferred` or `released`.",
        REASON: "A reason word: what was decided, or why not.",
        MAIL_BYTES: "Bytes of the mail.",
        SURPRISE: "Of a discard that nobody meant: its reason. See the rule for traces that are kept.",
        KEPT: "Why the trace is here although the sampler had not chosen it: `traced`, `rejected`, `bug`, `slow`, "
        "`surprise`.",
        REPAIRED_PARTS: "How many parts of the mail had to be encoded anew.",
    }
)


def observed(name: str) -> str:
    """What an instrument is called where nothing is really done: it must not be taken for one that counts what was."""
    return f"{OBSERVED}.{name.removeprefix('relayd.')}"


# Instruments. `relayd.telemetry.catalogue` says what each of them is.
CONSUMED = "messaging.client.consumed.messages"
COPIED = "messaging.client.sent.messages"
PROCESS_DURATION = "messaging.process.duration"
OPERATION_DURATION = "messaging.client.operation.duration"
DEPENDENCY_DURATION = "relayd.dependency.duration"
MESSAGES = "relayd.messages"
DELIVERIES = "relayd.deliveries"
MAIL_DURATION = "relayd.mail.duration"
MAIL_SIZE = "relayd.mail.size"
QUEUE_TIME = "relayd.queue.time"
QUEUE_DEPTH = "relayd.queue.depth"
QUEUE_OLDEST = "relayd.queue.oldest"
VERDICTS = "relayd.verdicts"
TRACKERS = "relayd.trackers"
FEEDBACK = "relayd.feedback"
ALERTS = "relayd.alerts"
NOTICES = "relayd.notices"
NOTICES_WAITING = "relayd.notices.waiting"
MASKS = "relayd.masks"
IN_DOUBT = "relayd.in_doubt"
DUPLICATES = "relayd.duplicates"
LEASES = "relayd.leases"
UNSETTLED_FAILURES = "relayd.settlements.failed"
LEDGER_DEBTS = "relayd.ledger.debts"
LEDGER_PRUNED = "relayd.ledger.pruned"
IN_FLIGHT = "relayd.in_flight"
SLOTS = "relayd.slots"
UNSETTLED = "relayd.unsettled"
WEDGED = "relayd.wedged"
POLL_AGE = "relayd.poll.age"
UNREADY = "relayd.unready"
LIMIT = "relayd.limit"
BREAKER = "relayd.breaker"
BREAKER_CHANGES = "relayd.breaker.changes"
MEMORY_RESERVED = "relayd.memory.reserved"
MEMORY_BUDGET = "relayd.memory.budget"
MEMORY_WAITING = "relayd.memory.waiting"
PACE = "relayd.pace"
PACE_ACCOUNT = "relayd.pace.account"
PACE_WAITING = "relayd.pace.waiting"
PACE_TIME = "relayd.pace.time"
PAUSED = "relayd.paused"
CONNECTIONS = "db.client.connection.count"
CONNECTIONS_MAX = "db.client.connection.max"
CONNECTIONS_PENDING = "db.client.connection.pending_requests"
CONNECTION_WAIT = "db.client.connection.wait_time"
POOL = "db.client.connection.pool.name"
CONNECTION_STATE = "db.client.connection.state"

LOG_EVENTS = MappingProxyType(
    {
        # The life of the daemon.
        "started": "Polling begins.",
        "stopping": "A stop was asked for: what is in hand, and how long it may take.",
        "stopped": "`clean` says whether everything in hand was finished or handed back; what was not comes back when "
        "its lease lapses.",
        # The life of a message.
        "observation_began": "`relayd run --observe`: nothing is sent or changed, and every line says `observed`.",
        "observation_ended": "What a daemon would have done with the mail that was observed, in figures.",
        "report_failed": "The report of `relayd run --observe` could not be written; that is tried again each minute.",
        "message_settled": "One line a message: outcome, reason, deliveries, times. Everything else is detail.",
        "message_bug": "An unforeseen exception in one message, as types and places. The message is tried ten times.",
        "in_doubt_resend": "An earlier send is in doubt and its claim expired: it is sent once more.",
        "mail_rebuilt": "SES refused the mail as malformed; it goes out in the next form, `rebuilt` or `attached`.",
        "record_failed": "A send succeeded and could not be recorded by the deadline; that is made up for later.",
        "debts_unpaid": "At the stop the ledger was still away: a send may be found in doubt; claims expire.",
        "debt_forgotten": "What was owed to the ledger could not be made up for, and is not tried again.",
        "give_back_failed": "A claim could not be given back now; that is made up for later.",
        "dead_letter_failed": "The copy for the dead-letter queue failed; the message stays and is tried again.",
        "extend_refused": "SQS does not let relayd extend leases, most likely for want of a right: they will be lost.",
        "settle_refused": "SQS does not let relayd delete or hand back messages (`operation`): they come again.",
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
        "orders_changed": "What operators hold back or have traced is another from now on, and this replica obeys.",
        "orders_unknown": "The database could not be asked for it; what was known before stays in force.",
        "depth_unknown": "SQS does not tell how much is in a queue (`queue`); that is asked again some minutes later.",
        "account_unknown": "SES could not be asked what the account may send; `access_denied`: the role may not.",
        "probe_failed": "A bug in a probe; it counts as a failed probe.",
        "pace_changed": "SES throttled, or the account's rate is another one: mails a second from now on.",
        "worker_wedged": "A worker is stuck past its message's deadline; `worker` names the thread.",
        "poll_failed": "A receive failed; the next one follows after `retry_seconds`.",
        "poll_held": "The queue is missing or denied: not ready, and retried until it is mended.",
        "poll_recovered": "Receiving works again.",
        "heartbeat_failed": "The database did not take this replica's heartbeat; told once a minute at most.",
        "database_newer": "A newer relayd has upgraded the database, which says that this one still works on it.",
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
