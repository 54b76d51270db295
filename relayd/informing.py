"""What is told of a mail that was not forwarded: to its owner, and to a person who may decide otherwise."""

from relayd.model.delivery import Held
from relayd.model.mask import Mask
from relayd.model.notice import NoticeKind, OwnerNotice
from relayd.ports import Notices
from relayd.stages import Decoded
from relayd.wire import compact


def held_mail(decoded: Decoded, recipient: str) -> Held:
    """The mail as quarantine lists it and as a release puts it into the queue again, for this recipient."""
    sender, subject = compact.sender_and_subject(decoded.text)
    return Held(compact.compact(decoded.text, recipient), sender, subject)


def tell_owner(notices: Notices, kind: NoticeKind, mask: Mask, decoded: Decoded, **facts: str) -> None:
    """Let the mask's owner know. Raises what `Notices.tell` raises."""
    sender, subject = compact.sender_and_subject(decoded.text)
    known = {"mask": mask.address.bare, "sender": sender, "subject": subject, **facts}
    shown = {name: value for name, value in known.items() if value}
    notices.tell(OwnerNotice(mask.owner.owner_id, kind, shown))
