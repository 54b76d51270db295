"""Raw mails as offers: of each as much is read as its header takes, and what is no mail of SES's is told of."""

from typing import Any

import pytest

from relayd.errors import HoldError, TransientError
from relayd.ops.replay.offers import Offer
from relayd.ops.replay.raw_mails import BucketSource, RawMails
from tests.fakes.clock import VirtualClock
from tests.replay.parts import Bench, mail_id
from tests.replay.raw import MAIL, FakeBucket, raw_mail


def source(bucket: FakeBucket, prefix: str = "in/", **chosen: Any) -> BucketSource:
    return BucketSource(bucket, prefix, RawMails(VirtualClock()), **({"since": None, "until": None} | chosen))


def offers(found: BucketSource) -> list[Offer]:
    return [one for portion in found.offers() for one in portion]


def test_a_mail_as_ses_told_of_it() -> None:
    """For whom, from whom, where, and what SES found; when it was written."""
    [one] = offers(source(FakeBucket({"in/m1": raw_mail("m1", b"X-Sandbox-Verdict: spam\r\n" + MAIL)})))
    assert (one.problem, one.reason, one.at, one.names) == ("", "received", 1.7e9, frozenset({"m1"}))
    assert one.received is not None
    assert one.received.recipients == ("shop@mask.example",)
    assert one.received.source == "bounce@stranger.example"
    assert one.received.verdicts.spam == "FAIL"
    assert not one.received.headers_truncated


def test_what_is_no_mail() -> None:
    """Folders, SES's own notice, empty objects, copies under another name, and whatever else people put there."""
    bucket = FakeBucket(
        {
            "in/": b"",
            "in/AMAZON_SES_SETUP_NOTIFICATION": b"From: ses\r\n\r\nhello",
            "in/empty": b"",
            "in/copy": raw_mail("m1"),
            "in/photo.jpg": b"\xff\xd8\xff\xe0" + bytes(range(256)),
            "in/nobody": raw_mail("nobody").replace(b"\r\n for shop@mask.example", b""),
        }
    )
    assert {next(iter(one.names)): one.problem for one in offers(source(bucket))} == {
        "": "not_mail",
        "AMAZON_SES_SETUP_NOTIFICATION": "not_mail",
        "empty": "not_mail",
        "copy": "not_from_ses",
        "photo.jpg": "not_from_ses",
        "nobody": "recipient_unknown",
    }
    assert bucket.reads == 3


def test_only_the_time_and_the_mail_that_were_asked_for() -> None:
    """From the one on, and before the other; the rest is not even read."""
    bucket = FakeBucket({f"in/m{n}": raw_mail(f"m{n}") for n in range(6)})
    found = offers(source(bucket, since=1.7e9 + 60, until=1.7e9 + 180))
    assert [mail_id(one.text or "") for one in found] == ["m1", "m2"]
    assert bucket.reads == 2
    [one] = offers(source(bucket, mail_id="m4"))
    assert mail_id(one.text or "") == "m4"
    assert bucket.reads == 3


@pytest.mark.parametrize(("size", "reads"), [(0, 1), (100_000, 2), (500_000, 3), (3_000_000, 3)])
def test_as_much_is_read_as_the_header_takes(size: int, reads: int) -> None:
    """A little at first; more where the header goes on; and no more than a megabyte, where it counts as cut off."""
    fields = b"".join(b"X-%d: %s\r\n" % (n, b"y" * 900) for n in range(size // 910))
    bucket = FakeBucket({"in/m1": raw_mail("m1", fields + MAIL) + b"z" * 5_000_000})
    [one] = offers(source(bucket))
    assert one.received is not None
    assert one.problem == ""
    assert bucket.reads == reads
    assert bucket.bytes < 1_400_000
    assert one.received.headers_truncated is (size > 0)


def test_a_field_that_was_cut_is_left_out() -> None:
    """Half a header value would be another one."""
    long = b"".join(b"X-%d: %s\r\n" % (n, b"y" * 990) for n in range(1100))
    bucket = FakeBucket({"in/m1": raw_mail("m1", long + MAIL)})
    headers, complete = RawMails(VirtualClock())._header(bucket, "in/m1")
    assert not complete
    assert {len(value) for name, value in headers if name.startswith("X-") and name[2:].isdigit()} == {990}


def test_objects_that_cannot_be_read() -> None:
    """One by one they are told of; when nothing can be read any more, that is S3, and the end."""
    bucket = FakeBucket({f"in/m{n}": raw_mail(f"m{n}") for n in range(8)})
    bucket.errors = {"in/m1": HoldError("s3", "access_denied", wide=False), "in/m3": TransientError("s3_timeout")}
    assert [one.problem for one in offers(source(bucket))].count("") == 6
    bucket.errors = {f"in/m{n}": TransientError("s3_unreachable") for n in range(8)}
    with pytest.raises(TransientError):
        offers(source(bucket))


def test_a_large_bucket_is_read_page_by_page() -> None:
    """And a stop is heeded between them."""
    bucket = FakeBucket({f"in/m{n:03}": raw_mail(f"m{n:03}") for n in range(400)})
    bench = Bench()
    bench.source = source(bucket)  # type: ignore[assignment]
    bench.watch.left = 3
    assert bench.send(discards_count=True) == "interrupted"
    assert bucket.pages_read == 1
    assert 0 < len(bench.post.parcels) < 100
    assert bench.outcomes.count("sent") == len(bench.post.parcels)


def test_a_whole_bucket_is_put_through() -> None:
    """Each mail once, but for what the ledger knows as over."""
    bucket = FakeBucket({f"in/m{n:03}": raw_mail(f"m{n:03}") for n in range(250)} | {"in/": b""})
    bench = Bench()
    bench.source = source(bucket)  # type: ignore[assignment]
    bench.known["m007"] = {"shop@mask.example": {"me@x.example": "sent"}}
    bench.known["m008"] = {"shop@mask.example": {"": "discarded"}}
    assert bench.send(discards_count=True) == "finished"
    assert sorted(bench.post.mail_ids) == [f"m{n:03}" for n in range(250) if n not in (7, 8)]
    assert bench.outcomes.by_why("skipped") == {"discarded_before": 1, "not_mail": 1, "sent_before": 1}
    assert bench.outcomes.complete
