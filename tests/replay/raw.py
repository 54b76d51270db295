"""Raw mails as SES stores them, in a bucket in memory."""

from collections.abc import Iterator, Mapping

from relayd.adapters.bucket_listing import Beginning, Listed
from relayd.errors import PermanentError, RelaydError
from relayd.sandbox.receiving import Verdicts, header_fields, received_headers

MAIL = b"From: Shop <news@stranger.example>\r\nTo: shop@mask.example\r\nSubject: hello\r\n\r\nhello\r\n"


def raw_mail(
    mail_id: str, data: bytes = MAIL, *, recipient: str = "shop@mask.example", source: str = "bounce@stranger.example"
) -> bytes:
    """A mail with what SES writes on top of it."""
    verdicts = Verdicts.of(data, header_fields(data))
    return received_headers(mail_id, source, (recipient,), verdicts, now=1.7e9, peer="192.0.2.7") + data


class FakeBucket:
    """Implements `relayd.ops.replay.raw_mails.BucketView`. Objects are written a minute apart, in the keys' order."""

    name = "mail-bucket"

    def __init__(self, objects: Mapping[str, bytes], page: int = 100) -> None:
        self._objects = dict(objects)
        self._page = page
        self.errors: dict[str, RelaydError] = {}
        """What reading an object raises, by its key."""
        self.reads = 0
        self.bytes = 0
        self.pages_read = 0

    def pages(self, prefix: str) -> Iterator[list[Listed]]:
        found = [
            Listed(key, len(self._objects[key]), 1.7e9 + 60 * number)
            for number, key in enumerate(sorted(self._objects))
            if key.startswith(prefix)
        ]
        for start in range(0, len(found), self._page):
            self.pages_read += 1
            yield found[start : start + self._page]

    def beginning(self, key: str, size: int) -> Beginning:
        self.reads += 1
        if key in self.errors:
            raise self.errors[key]
        if key not in self._objects:
            raise PermanentError("content_missing")
        data = self._objects[key]
        self.bytes += min(size, len(data))
        return Beginning(data[:size], size >= len(data))
