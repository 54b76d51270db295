"""The whole of it: every service, and what they know of one another."""

from collections.abc import Mapping
from typing import Any

from relayd.sandbox.cloud.calls import Service
from relayd.sandbox.cloud.clock import Now
from relayd.sandbox.cloud.iam import Iam
from relayd.sandbox.cloud.kms import Kms
from relayd.sandbox.cloud.records import Counts, Sends
from relayd.sandbox.cloud.s3 import S3
from relayd.sandbox.cloud.ses import Ses
from relayd.sandbox.cloud.ses_receiving import Receiving
from relayd.sandbox.cloud.ses_v1 import SesV1
from relayd.sandbox.cloud.settings import Settings
from relayd.sandbox.cloud.signing import Signing
from relayd.sandbox.cloud.sns import Sns
from relayd.sandbox.cloud.sqs import Sqs
from relayd.sandbox.cloud.sts import Sts


class Cloud:
    """All state, in memory. A reset makes another one, with the same key."""

    def __init__(self, now: Now, signing: Signing) -> None:
        self.settings = Settings()
        self.sends = Sends()
        self.counts = Counts()
        self.signing = signing
        self.sqs = Sqs(now)
        self.sns = Sns(now, self.sqs.messages.enqueue, signing, self.settings)
        self.s3 = S3(now)
        self.ses = Ses(now, self.settings, self.sends, self.sns)
        self.receiving = Receiving(now, self.settings, self.s3, self.sns, self.ses.covers)
        self.services: Mapping[str, Service] = {
            "sqs": self.sqs,
            "sns": self.sns,
            "s3": self.s3,
            "ses": self.ses,
            "sesv1": SesV1(self.ses.account, self.ses.validate, self.receiving.receipts),
            "sts": Sts(),
            "iam": Iam(),
            "kms": Kms(now),
        }
        self._now = now

    def told(self) -> dict[str, Any]:
        """Counts, for whoever watches."""
        queues = {}
        for one in self.sqs.queues:
            one.queue.tick(self._now())
            queues[one.arn] = {
                "visible": one.queue.visible,
                "in_flight": one.queue.in_flight,
                "delayed": one.queue.delayed,
                "polls": len(one.polls),
                **one.queue.tally.told(),
            }
        return {
            **self.counts.told(),
            "queues": queues,
            "objects": {name: len(bucket) for name, bucket in self.s3.buckets.items()},
            "sent": len(self.sends),
            "undeliverable": self.sns.undeliverable,
        }
