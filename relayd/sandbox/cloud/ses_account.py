"""The SES account of a region: what it may do, and the rooms that know its parts."""

from collections.abc import Mapping

from relayd.sandbox.cloud.calls import Answer, Call, json_answer
from relayd.sandbox.cloud.clock import Now
from relayd.sandbox.cloud.ses_calls import Operation, Validate
from relayd.sandbox.cloud.ses_configuration import ConfigurationSets
from relayd.sandbox.cloud.ses_identities import Identities
from relayd.sandbox.cloud.ses_quota import Quota
from relayd.sandbox.cloud.ses_suppression import Suppression
from relayd.sandbox.cloud.settings import Settings


class Account:
    """One region's state, and the operations that change or tell it."""

    def __init__(self, now: Now, settings: Settings, validate: Validate) -> None:
        self._settings = settings
        self.quota = Quota(now, settings)
        self.identities = Identities(settings)
        self.sets = ConfigurationSets(validate)
        self.suppression = Suppression(now)
        self.sending_enabled = True
        self.operations: Mapping[str, Operation] = {
            "GetAccount": self._get,
            "PutAccountSendingAttributes": self._put_sending,
            **self.identities.operations,
            **self.sets.operations,
            **self.suppression.operations,
        }

    def verified(self, address: str) -> bool:
        """Whether the address, its domain or a domain above that is an identity whose DNS is as it should be."""
        found = self.identities.covering(address)
        return found is not None and found.name not in self._settings.unverified

    def _get(self, call: Call) -> Answer:  # noqa: ARG002
        settings = self._settings
        quota = {
            "Max24HourSend": float(settings.daily_quota),
            "MaxSendRate": settings.max_send_rate,
            "SentLast24Hours": float(self.quota.look()),
        }
        told = {
            "DedicatedIpAutoWarmupEnabled": False,
            "EnforcementStatus": _enforcement(settings),
            "ProductionAccessEnabled": not settings.sandbox,
            "SendQuota": quota,
            "SendingEnabled": self.sending_enabled and not settings.suspended,
            "SuppressionAttributes": {"SuppressedReasons": list(self.suppression.reasons)},
        }
        return json_answer(told)

    def _put_sending(self, call: Call) -> Answer:
        self.sending_enabled = bool(call.fields.get("SendingEnabled", False))
        return json_answer({})


def _enforcement(settings: Settings) -> str:
    if settings.suspended:
        return "SHUTDOWN"
    return "PROBATION" if settings.probation else "HEALTHY"
