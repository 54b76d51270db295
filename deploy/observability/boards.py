"""What Grafana shows of relayd: the state at a glance, what it depends on, and the mail of the service."""

from grafana import Dashboard, Panel, none_is_zero, of, quantile, quantiles, rate, rise

MAIL = 'queue="mail"'
CALL = "relayd_dependency_duration_seconds"
NO_POLL = 'operation!="receive"'
"""A receive waits on purpose."""
UNSETTLED = of("relayd_queue_depth", MAIL, 'state=~"visible|delayed"')
WAITING = f"sum(max by (state) ({UNSETTLED}))"
DEAD = of("relayd_queue_depth", 'queue="dead_letters"', 'state="visible"')
UNKNOWN = rate("relayd_deliveries_total", 'reason="unknown_mask"')
FINISHED = rate("relayd_messages_total", MAIL, 'outcome=~"accepted|rejected"')
RED, ORANGE, GREEN = "red", "orange", "green"
SENDS = rise("relayd_feedback_total", 'kind="send"')
BAD_OF_ALL = ((GREEN, 0.0), (ORANGE, 1.0), (RED, 10.0))

BREAKERS = Panel(
    "Breakers",
    "none",
    [("{{queue}} {{dependency}}", f"max by (queue, dependency) ({of('relayd_breaker')})")],
    "Open: the dependency is unusable, nothing is received and mail waits untouched. relayd tries again by itself; "
    "mend "
    "what is yours.",
    "mail-is-late",
    "stat",
    12,
    words=(("0", "closed", GREEN), ("1", "half open", ORANGE), ("2", "open", RED)),
)
REPLICAS = f"count({of('target_info')})"

NOW = (
    Panel(
        "Replicas",
        "none",
        [("", REPLICAS)],
        "Replicas that answer. None: nothing is forwarded, and mail waits in the queue.",
        "replicas-are-gone",
        "stat",
        4,
        ((RED, 0), (GREEN, 1)),
    ),
    Panel(
        "Mail that waits",
        "short",
        [("", WAITING)],
        "Messages in the mail queue that nobody works on. Look at the time to drain next to it.",
        "mail-is-late",
        "stat",
        4,
        ((GREEN, 0), (ORANGE, 1000)),
    ),
    Panel(
        "Time to drain",
        "s",
        [("", f"{WAITING} / ({FINISHED} > 0)")],
        "At the rate of now. Empty while nothing is finished. More slots or replicas shorten it, if no dependency is "
        "slow.",
        "mail-is-late",
        "stat",
        4,
        ((GREEN, 0), (ORANGE, 300), (RED, 1800)),
    ),
    Panel(
        "Oldest message",
        "s",
        [("{{received}}", f"max by (received) ({of('relayd_queue_oldest_seconds', MAIL)})")],
        "Of those received lately. `first`: how late mail is. `again`: what is tried again and again, for a day at "
        "most.",
        "mail-is-late",
        "stat",
        4,
        ((GREEN, 0), (ORANGE, 300), (RED, 1800)),
    ),
    Panel(
        "Dead letters",
        "short",
        [("", f"max({DEAD})")],
        "They wait for somebody: `relayd replay --dead-letters --dry-run` groups them by reason.",
        "dead-letters-grow",
        "stat",
        4,
        BAD_OF_ALL,
    ),
    Panel(
        "Not ready",
        "none",
        [("", none_is_zero(f"sum({of('relayd_unready')})"))],
        "Things that stand against being ready, added up over replicas. `relayd status` names them.",
        "when-something-is-wrong",
        "stat",
        4,
        ((GREEN, 0), (RED, 1)),
    ),
    BREAKERS,
    Panel(
        "Pauses by operators",
        "none",
        [("{{scope}}", f"max by (scope) ({of('relayd_paused')})")],
        "Somebody holds mail back on purpose. `relayd pause` shows who and why, `relayd resume` ends it.",
        "hold-mail-back",
        "stat",
        12,
        ((GREEN, 0), (ORANGE, 1)),
    ),
)

FLOW = (
    Panel(
        "Messages settled",
        "mps",
        [("{{outcome}}", rate("relayd_messages_total", MAIL, by="outcome"))],
        "Deferred ones are tried again; rejected ones are dead letters. Much deferring: see who fails on the "
        "dashboard of "
        "dependencies.",
        "mail-is-late",
        stacked=True,
    ),
    Panel(
        "Queue",
        "short",
        [("{{state}}", f"max by (state) ({of('relayd_queue_depth', MAIL)})")],
        "As SQS tells. `in_flight` holds what waits for another try, too.",
        "mail-is-late",
    ),
    Panel(
        "End to end",
        "s",
        quantiles("relayd_mail_duration_seconds"),
        "From SES's receipt of a mail until SES took what was sent for it. High with a short queue: a slow dependency.",
        "mail-is-late",
    ),
    Panel(
        "Deliveries",
        "mps",
        [("{{state}}", rate("relayd_deliveries_total", by="state"))],
        "What became of mail. A jump of discards is most often a wrong database, or spam.",
        "restore-the-database",
        stacked=True,
    ),
    Panel(
        "Deliveries by reason",
        "short",
        [("", rise("relayd_deliveries_total", by="state, reason"))],
        "In the time shown. `relayd deliveries list --state failed` shows them one by one.",
        "a-customer-misses-a-mail",
        "table",
    ),
    Panel(
        "Messages by reason",
        "short",
        [("", rise("relayd_messages_total", MAIL, 'outcome=~"rejected|deferred|released"', by="outcome, reason"))],
        "Why messages were not accepted, in the time shown. The reasons are explained in the runbook.",
        "dead-letters-grow",
        "table",
    ),
)

SAFETY = (
    Panel(
        "Sends in doubt",
        "short",
        [("{{event}}", none_is_zero(rate("relayd_in_doubt_total", by="event")))],
        "Sends whose end nobody knows. Each `resend` may be a duplicate: look for kills and timeouts of SES at that "
        "time.",
        "when-something-is-wrong",
    ),
    Panel(
        "Duplicates avoided",
        "short",
        [("{{met}}", none_is_zero(rate("relayd_duplicates_total", by="met")))],
        "SQS delivers at least once; the ledger met these. Many `undeleted`: SQS does not take deletes.",
        "when-something-is-wrong",
    ),
    Panel(
        "Slots in use",
        "short",
        [
            ("in hand {{queue}}", f"sum by (queue) ({of('relayd_in_flight')})"),
            ("slots {{queue}}", f"sum by (queue) ({of('relayd_slots')})"),
        ],
        "All in use and a queue that grows: more slots or replicas, unless a dependency is down.",
        "s3-is-slow",
    ),
    Panel(
        "Poll loop",
        "s",
        [("{{instance}} {{queue}}", f"max by (instance, queue) ({of('relayd_poll_age_seconds')})")],
        "Since the loop last turned. It turns in pauses, too: over 90 s it hangs, and liveness restarts the pod.",
        "no-poll-progress",
        steps=((GREEN, 0), (RED, 90)),
    ),
    Panel(
        "Stuck workers",
        "short",
        [("{{queue}}", f"sum by (queue) ({of('relayd_wedged')})")],
        "Messages long past their deadline. `py-spy dump` shows where they are.",
        "when-something-is-wrong",
    ),
    Panel(
        "Not told yet",
        "short",
        [
            ("ledger", f"sum({of('relayd_ledger_debts')})"),
            ("SQS, {{queue}}", f"sum by (queue) ({of('relayd_unsettled')})"),
        ],
        "What is done and could not be recorded or settled. It is made up for by itself; at a stop it may be found in "
        "doubt.",
        "when-something-is-wrong",
    ),
)

CALLS = (
    Panel(
        "Calls",
        "ops",
        [("{{dependency}} {{operation}}", rate(f"{CALL}_count", NO_POLL, by="dependency, operation"))],
        "Calls a second, long polls left out.",
        "mail-is-late",
        width=12,
    ),
    Panel(
        "Errors",
        "ops",
        [
            (
                "{{dependency}} {{operation}} {{error_type}}",
                none_is_zero(rate(f"{CALL}_count", 'error_type!=""', by="dependency, operation, error_type")),
            )
        ],
        "Failed calls by reason. `access_denied` and `credentials` are yours to mend; timeouts and throttling pass.",
        "when-something-is-wrong",
        width=12,
    ),
    *(
        Panel(
            f"p{share * 100:g}",
            "s",
            [("{{dependency}} {{operation}}", quantile(share, CALL, NO_POLL, by="dependency,operation"))],
            "Of each operation. S3 or SES at 25 s, and the breaker closed, is the incident relayd was built after: do "
            "not "
            "restart anything.",
            "s3-is-slow",
        )
        for share in (0.5, 0.95, 0.99)
    ),
)

GOVERNOR = (
    BREAKERS,
    Panel(
        "Changes of breakers",
        "short",
        [
            (
                "{{queue}} {{dependency}} {{state}}",
                none_is_zero(rise("relayd_breaker_changes_total", by="queue, dependency, state")),
            )
        ],
        "In the time shown. Open and closed in turns: an outage of a part, or permissions of one bucket.",
        "mail-is-late",
        "stat",
        12,
    ),
    Panel(
        "Limits",
        "short",
        [("{{queue}} {{dependency}}", f"sum by (queue, dependency) ({of('relayd_limit')})")],
        "Messages that may be in hand for a dependency's sake. Below the slots it failed or throttled lately; it grows "
        "again by itself.",
        "when-something-is-wrong",
    ),
    Panel(
        "SES's pace",
        "mps",
        [
            ("at most", f"sum({of('relayd_pace_per_second')})"),
            ("the account", f"max({of('relayd_pace_account_per_second')})"),
            ("sent", rate("relayd_deliveries_total", 'state="sent"')),
        ],
        "What is sent against what the account may send. Sent at the line: ask AWS for a higher rate.",
        "ses-paused-us",
    ),
    Panel(
        "Waiting for the pace",
        "short",
        [
            ("now", f"sum({of('relayd_pace_waiting')})"),
            ("on average", rate("relayd_pace_time_seconds_total")),
        ],
        "Sends that wait for their turn. Steadily above 0: the account's rate is what limits you; more replicas do "
        "not help.",
        "ses-paused-us",
    ),
    Panel(
        "Memory for mails",
        "bytes",
        [
            ("reserved {{instance}}", f"sum by (instance) ({of('relayd_memory_reserved_bytes')})"),
            ("budget {{instance}}", f"sum by (instance) ({of('relayd_memory_budget_bytes')})"),
        ],
        "At the budget mails wait for each other: raise RELAYD_MEMORY_BUDGET_MB and the container's limit with it.",
        "mail-is-late",
    ),
    Panel(
        "Mails that wait for memory",
        "short",
        [("{{instance}}", f"sum by (instance) ({of('relayd_memory_waiting')})")],
        "Steadily above 0: see the budget beside it.",
        "mail-is-late",
    ),
    Panel(
        "Memory of the process",
        "bytes",
        [("{{instance}}", f"max by (instance) ({of('process_resident_memory_bytes')})")],
        "Against the container's limit. It comes down after large mails.",
        "replicas-are-gone",
    ),
)

DATABASE = (
    Panel(
        "Connections",
        "short",
        [
            (
                "{{db_client_connection_state}}",
                f"sum by (db_client_connection_state) ({of('db_client_connection_count')})",
            ),
            ("at most", f"sum({of('db_client_connection_max')})"),
        ],
        "All used, and threads that wait: the database is slow, or its server allows too few.",
        "mail-is-late",
    ),
    Panel(
        "Waiting for a connection",
        "short",
        [("{{instance}}", f"sum by (instance) ({of('db_client_connection_pending_requests')})")],
        "On SQLite also for the turn to write; then PostgreSQL is the remedy.",
        "mail-is-late",
    ),
    Panel(
        "Time until a connection",
        "s",
        quantiles("db_client_connection_wait_time_seconds"),
        "The pool gives up after 10 s.",
        "mail-is-late",
    ),
)

SQS = (
    Panel(
        "SQS's calls, p99",
        "s",
        [
            (
                "{{messaging_operation_name}}",
                quantile(
                    0.99,
                    "messaging_client_operation_duration_seconds",
                    'messaging_operation_name!="receive"',
                    by="messaging_operation_name",
                ),
            )
        ],
        "Slow deletes hold slots for longer.",
        "mail-is-late",
    ),
    Panel(
        "Leases",
        "short",
        [("{{queue}} {{event}}", none_is_zero(rate("relayd_leases_total", by="queue, event")))],
        "Extended: slow mail, which is fine. Lost: the process did not run for most of a lease; look for CPU "
        "throttling.",
        "when-something-is-wrong",
    ),
    Panel(
        "Settlements that failed",
        "short",
        [
            (
                "{{queue}} {{operation}} {{reason}}",
                none_is_zero(rate("relayd_settlements_failed_total", by="queue, operation, reason")),
            )
        ],
        "Those messages come again; the ledger keeps them from being sent again.",
        "when-something-is-wrong",
    ),
    Panel(
        "Time in the queue",
        "s",
        [("{{queue}} p99", quantile(0.99, "relayd_queue_time_seconds", by="queue"))],
        "From sending until a receive, earlier tries included.",
        "mail-is-late",
    ),
    Panel(
        "Messages received",
        "mps",
        [
            (
                "{{messaging_destination_name}}",
                rate("messaging_client_consumed_messages_total", by="messaging_destination_name"),
            )
        ],
        "None while mail waits: a breaker is open, a pause, or the queue is denied.",
        "mail-is-late",
    ),
    Panel(
        "Work on a message",
        "s",
        quantiles("messaging_process_duration_seconds"),
        "From receive to settled.",
        "mail-is-late",
    ),
)


def _share(*kind: str) -> str:
    return f"({none_is_zero(rise('relayd_feedback_total', *kind))}) / ({SENDS} > 0)"


REPUTATION = (
    Panel(
        "Bounce rate",
        "percentunit",
        [("", _share('kind="bounce"', 'type="permanent"'))],
        "Permanent bounces of what was sent in the time shown (choose a day or more). SES reviews accounts over 5 %, "
        "and "
        "pauses them over 10 %.",
        "ses-paused-us",
        "stat",
        6,
        ((GREEN, 0), (ORANGE, 0.02), (RED, 0.05)),
    ),
    Panel(
        "Complaint rate",
        "percentunit",
        [("", _share('kind="complaint"'))],
        "Of what was sent in the time shown. SES reviews accounts over 0.1 %: `relayd owners list --flagged`.",
        "ses-paused-us",
        "stat",
        6,
        ((GREEN, 0), (ORANGE, 0.0005), (RED, 0.001)),
    ),
    Panel(
        "Alerts",
        "short",
        [("{{word}}", none_is_zero(rise("relayd_alerts_total", by="word")))],
        "`suppressed`: SES drops an owner's mail without a word. `rendering_failure`: somebody else sends with this "
        "set.",
        "when-something-is-wrong",
        "stat",
        6,
        ((GREEN, 0), (RED, 1)),
    ),
    Panel(
        "Masks",
        "short",
        [("{{state}}", f"max by (state) ({of('relayd_masks')})")],
        "In the directory. A sudden drop is a wrong or newly restored database.",
        "restore-the-database",
        "stat",
        6,
    ),
    Panel(
        "SES's events",
        "short",
        [("{{kind}} {{type}}", rate("relayd_feedback_total", by="kind, type"))],
        "What SES told about mail that was sent. Sends without deliveries: mailboxes are slow, or the events are late.",
        "ses-paused-us",
        width=12,
    ),
    Panel(
        "Events of no delivery",
        "short",
        [("", none_is_zero(rate("relayd_feedback_total", 'matched="false"')))],
        "Somebody else sends with this configuration set, or the ledger forgot it.",
        "when-something-is-wrong",
        width=12,
    ),
)

RECEIVED = (
    Panel(
        "What SES found",
        "mps",
        [("{{verdict}} {{status}}", none_is_zero(rate("relayd_verdicts_total", by="verdict, status")))],
        "Verdicts that are not PASS. `absent` or `disabled` for all mail: scanning is off in the receipt rule.",
        "when-something-is-wrong",
    ),
    Panel(
        "Held back and discarded",
        "mps",
        [("{{reason}}", none_is_zero(rate("relayd_deliveries_total", 'state="discarded"', by="reason")))],
        "By reason. `relayd quarantine list` shows what is held back; `release` sends it after all.",
        "a-customer-misses-a-mail",
    ),
    Panel(
        "Unknown masks",
        "percentunit",
        [
            (
                "",
                f"({none_is_zero(UNKNOWN)}) / ({rate('relayd_deliveries_total')} > 0)",
            )
        ],
        "Of all deliveries. A jump: the wrong database, or somebody who guesses masks.",
        "restore-the-database",
    ),
    Panel(
        "Sizes",
        "bytes",
        [("{{direction}} p99", quantile(0.99, "relayd_mail_size_bytes", by="direction"))],
        "As received and as sent. A mail takes six times its size of the memory budget.",
    ),
    Panel(
        "Bytes",
        "Bps",
        [("{{direction}}", rate("relayd_mail_size_bytes_sum", by="direction"))],
        "What S3 and SES are paid for.",
    ),
    Panel(
        "Trackers removed",
        "short",
        [("", none_is_zero(rate("relayd_trackers_total")))],
        "From mail to masks that ask for it. Always 0: is RELAYD_TRACKERS_FILE set?",
    ),
)

SENT = (
    Panel(
        "Forwards and replies",
        "mps",
        [("{{kind}}", rate("relayd_mail_duration_seconds_count", by="kind"))],
        "Mail that SES took from relayd.",
    ),
    Panel(
        "Latency of forwards and replies, p99",
        "s",
        [("{{kind}}", quantile(0.99, "relayd_mail_duration_seconds", by="kind"))],
        "End to end, waiting in the queue included.",
        "mail-is-late",
    ),
    Panel(
        "Failed",
        "mps",
        [("{{reason}}", none_is_zero(rate("relayd_deliveries_total", 'state="failed"', by="reason")))],
        "Dead letters of mail, by reason.",
        "dead-letters-grow",
    ),
    Panel(
        "Notices",
        "short",
        [("{{kind}} {{outcome}}", none_is_zero(rise("relayd_notices_total", by="kind, outcome")))],
        "Mails of our own to owners in the time shown: sent, or why they never will be.",
        "when-something-is-wrong",
        "stat",
        12,
    ),
    Panel(
        "Notices that wait",
        "short",
        [("", f"max({of('relayd_notices_waiting')})")],
        "Growing: SES does not take them; is RELAYD_NOTICE_FROM on a verified domain?",
        "when-something-is-wrong",
        width=12,
    ),
)

BOARDS = (
    Dashboard(
        "relayd-overview",
        "relayd: overview",
        "The state in one look, from top to bottom: is it well, does mail flow, is anything at risk.",
        (("Now", NOW), ("Mail", FLOW), ("Safety and slots", SAFETY)),
    ),
    Dashboard(
        "relayd-dependencies",
        "relayd: dependencies",
        "Who is slow, who fails, and what relayd does about it.",
        (("Calls", CALLS), ("Limits, pace, memory", GOVERNOR), ("Database", DATABASE), ("Queues", SQS)),
    ),
    Dashboard(
        "relayd-mail",
        "relayd: the service's mail",
        "What came, what went, and what SES and mailboxes think of it.",
        (("Reputation", REPUTATION), ("Received", RECEIVED), ("Sent", SENT)),
    ),
)
