"""STS: who am I."""

from relayd.sandbox.cloud.calls import ACCOUNT, Answer, Call, Refusal, element, query_answer, query_refusal
from relayd.sandbox.cloud.iam import USER_ARN

NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"


class Sts:
    """Every caller is the same user of the one account."""

    def recognise(self, call: Call) -> None:
        if call.operation != "GetCallerIdentity":
            raise Refusal("InvalidAction", f"Could not find operation {call.operation} for version 2011-06-15")

    def answer(self, call: Call) -> Answer:
        facts = element("Arn", USER_ARN) + element("UserId", "AIDAEXAMPLE0000000000") + element("Account", ACCOUNT)
        return query_answer(call.operation, NAMESPACE, facts)

    def refuse(self, refusal: Refusal) -> Answer:
        return query_refusal(refusal, NAMESPACE)
