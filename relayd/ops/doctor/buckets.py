"""Buckets: whether mail can be read, for as long as it may be wanted, and by nobody else."""

from collections.abc import Iterator, Mapping
from typing import Any

from relayd.ops.doctor.answers import missing, none_set, told, unknown
from relayd.ops.doctor.facts import BucketFacts, Facts
from relayd.ops.doctor.findings import UnknownError, Verdict, aws, failure, listed, ok, warning
from relayd.ops.doctor.queues import DAY
from relayd.ops.doctor.walls import writing_rules

KEEP_DAYS = 60
"""What the commands below set: as long as the ledger remembers by default."""
_ARCHIVED = frozenset({"GLACIER", "DEEP_ARCHIVE"})
"""Storage classes from which nothing can be read at once."""
_BLOCKS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


def there(bucket: BucketFacts, _: Facts) -> Verdict:
    """Whether it answers at all."""
    head = bucket.head
    if missing(head):
        return failure(
            "The bucket does not exist.",
            aws("s3api", "list-buckets"),
            hint="name the one that the receipt rule writes to in RELAYD_BUCKETS",
            evidence={"HeadBucket": head.code},
        )
    return ok(f"The bucket {bucket.name} answers.", region=told(head).get("BucketRegion"))


def region(bucket: BucketFacts, _: Facts) -> Verdict:
    """Whether it is where relayd asks for it: from elsewhere each mail takes a second call, and crosses the world."""
    theirs = told(bucket.head).get("BucketRegion")
    evidence = {"bucket": theirs, "relayd": bucket.region}
    if theirs and bucket.region and theirs != bucket.region:
        return warning(
            f"The bucket is in {theirs}, and relayd asks in {bucket.region}: every mail makes a detour.",
            f"export AWS_REGION={theirs}",
            hint="the queue's region is that of its URL, whatever AWS_REGION says",
            evidence=evidence,
        )
    return ok(f"The bucket is in {theirs or 'the region that relayd asks'}.", **evidence)


def readable(bucket: BucketFacts, _: Facts) -> Verdict:
    """Whether a mail can be got and decrypted: one byte of one was, or a get of none said so."""
    if bucket.read is not None and bucket.read.told is not None:
        return ok("A byte of an object was read.", GetObject="206")
    answer = bucket.read or bucket.missing_key
    evidence = {"GetObject": answer.code}
    if answer.code.startswith(("KMS.", "AWS.KMS")):
        return failure(
            f"Objects cannot be decrypted ({answer.code}).",
            hint="allow relayd kms:Decrypt on the bucket's key, in its policy or in relayd's",
            evidence=evidence,
        )
    if answer.code == "InvalidObjectState":
        return warning(
            "An object has been archived: mail must stay where it can be read at once.",
            aws("s3api", "get-bucket-lifecycle-configuration", bucket=bucket.name),
            evidence=evidence,
        )
    if answer.code in {"NoSuchKey", "HTTP404"}:
        return ok("relayd may get objects; there is none yet that could be tried.", **evidence)
    if answer.denied and bucket.head.told is not None:
        return failure(
            "relayd may not get objects: all mail waits.",
            hint=f"allow s3:GetObject on arn:aws:s3:::{bucket.name}/*",
            evidence=evidence,
        )
    if answer.denied:
        # S3 does not tell who may not list a bucket that something is not in it.
        raise UnknownError("S3 denies what is not there to whoever may not list the bucket", "allow s3:ListBucket")
    raise unknown(answer)


def lifecycle(bucket: BucketFacts, facts: Facts) -> Verdict:
    """Whether mail outlives both queues, and is not kept for ever."""
    if none_set(bucket.lifecycle, "NoSuchLifecycleConfiguration"):
        return _endless(bucket, [])
    rules = [one for one in told(bucket.lifecycle).get("Rules", ()) if one.get("Status") == "Enabled"]
    found = [one for one in rules if _covers(one, _prefixes(bucket, facts))]
    needed = _needed_days(facts)
    evidence = {"rules": [_shown(one) for one in found], "queues keep": f"{needed:g} days"}
    if short := [one for one in found if (days := _days(one)) is not None and days < needed]:
        return failure(
            f"Mail is deleted after {_days(short[0]):g} days, and a notification may still come after {needed:g}.",
            _put(bucket, rules, without=short),
            evidence=evidence,
        )
    if archived := list(_archiving(found, needed)):
        return failure(
            f"Mail is archived ({listed(archived)}) while it may still be wanted, and cannot be read from there.",
            _put(bucket, rules, without=[one for one in found if list(_archiving([one], needed))]),
            evidence=evidence,
        )
    if not any(_days(one) is not None for one in found):
        return _endless(bucket, rules)
    shortest = min(days for one in found if (days := _days(one)) is not None)
    return ok(f"Mail is kept for {shortest:g} days; a notification lives {needed:g} days at most.", **evidence)


def _endless(bucket: BucketFacts, rules: list[Mapping[str, Any]]) -> Verdict:
    return warning(
        "Nothing is ever deleted: mail piles up, and so do its cost and what there is to leak.",
        _put(bucket, rules),
        evidence={"rules": [_shown(one) for one in rules]},
    )


def _needed_days(facts: Facts) -> float:
    """How long a notification can live: in the queue, and as a dead letter that relayd itself made at its end."""
    queue = facts.queue("mail")
    if queue is None:
        raise UnknownError("the queue is not known, nor how long it keeps messages")
    kept = queue.number("MessageRetentionPeriod")
    letters = queue.dead_letters
    if letters is not None and letters.answer.told is not None:
        kept += letters.number("MessageRetentionPeriod")
    return kept / DAY


def _prefixes(bucket: BucketFacts, facts: Facts) -> list[str]:
    """Where SES puts mail, as far as that is known; else anywhere."""
    return [action.get("ObjectKeyPrefix", "") for _, action in writing_rules(bucket, facts)] or [""]


def _covers(rule: Mapping[str, Any], prefixes: list[str]) -> bool:
    """Whether a rule may concern mail. SES tags nothing; of sizes, all may be."""
    chosen = rule.get("Filter", {})
    both = chosen.get("And", chosen)
    if both.get("Tag") or both.get("Tags"):
        return False
    prefix = both.get("Prefix", rule.get("Prefix", "")) or ""
    return any(ours.startswith(prefix) or prefix.startswith(ours) for ours in prefixes)


def _days(rule: Mapping[str, Any]) -> float | None:
    """After how many days the rule deletes; None where it does not. A date that has come deletes at once."""
    expiration = rule.get("Expiration", {})
    if "Date" in expiration:
        return 0.0
    days = expiration.get("Days")
    return None if days is None else float(days)


def _archiving(rules: list[Mapping[str, Any]], needed: float) -> Iterator[str]:
    for rule in rules:
        for transition in rule.get("Transitions", ()):
            days = float(transition.get("Days", 0))
            if transition.get("StorageClass") in _ARCHIVED and days < needed:
                yield f"{transition['StorageClass']} after {days:g} days"


def _put(bucket: BucketFacts, rules: list[Mapping[str, Any]], without: list[Mapping[str, Any]] | None = None) -> str:
    ours = {"ID": "relayd-mail", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": KEEP_DAYS}}
    kept = [dict(one) for one in rules if one not in (without or []) and one.get("ID") != ours["ID"]]
    return aws(
        "s3api",
        "put-bucket-lifecycle-configuration",
        bucket=bucket.name,
        lifecycle_configuration={"Rules": [*kept, ours]},
    )


def _shown(rule: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in rule.items() if name != "Status"}


def public(bucket: BucketFacts, _: Facts) -> Verdict:
    """Whether S3 keeps the public out whatever else says."""
    if none_set(bucket.block, "NoSuchPublicAccessBlockConfiguration"):
        found: Mapping[str, bool] = {}
    else:
        found = told(bucket.block).get("PublicAccessBlockConfiguration", {})
    off = [name for name in _BLOCKS if not found.get(name)]
    if off:
        return warning(
            f"S3 would let the public in if a policy or an ACL said so ({listed(off)} off).",
            aws(
                "s3api",
                "put-public-access-block",
                bucket=bucket.name,
                public_access_block_configuration=dict.fromkeys(_BLOCKS, True),
            ),
            evidence={name: bool(found.get(name)) for name in _BLOCKS},
        )
    return ok("S3 keeps the public out.", **dict(found))
