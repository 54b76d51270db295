"""Who is who in the sandbox: the masks to begin with, one for each thing that a mask can do or meet."""

from dataclasses import dataclass

from relayd.model.mask import SpamHandling
from relayd.sandbox.world import ANY_DOMAIN, DOMAIN

HOME_DOMAIN = "home.example"
"""Where the sandbox's owners have their mailboxes."""


@dataclass(frozen=True, slots=True)
class SandboxMask:
    """One of the masks to begin with."""

    address: str
    mailboxes: tuple[str, ...]
    owner: str
    enabled: bool = True
    owner_active: bool = True
    spam_handling: SpamHandling = "quarantine"
    language: str = "en"
    unverified: tuple[str, ...] = ()
    """Those of the mailboxes that nobody has shown to be the owner's."""
    blocked: tuple[str, ...] = ()
    """Senders on its block list."""
    display_name: str = ""
    block_lists: bool = False
    banner: bool = False
    remove_trackers: bool = False
    note: str = ""
    """What is special about it, in a few words."""

    @property
    def reached(self) -> tuple[str, ...]:
        """The mailboxes that its mail goes to."""
        return tuple(mailbox for mailbox in self.mailboxes if mailbox not in self.unverified)


@dataclass(frozen=True, slots=True)
class SandboxRule:
    """A domain rule."""

    domain: str
    pattern: str
    mailboxes: tuple[str, ...]
    owner: str


def _home(local: str) -> str:
    return f"{local}@{HOME_DOMAIN}"


ADA, LOST = _home("ada"), _home("lost")
PUSHY = "@pushy.example"

SHOP = SandboxMask(f"shop@{DOMAIN}", (ADA,), "ada", display_name="A. Shopper")
NEWS = SandboxMask(f"news@{DOMAIN}", (ADA,), "ada")
TEAM = SandboxMask(f"team@{DOMAIN}", (_home("grace"), _home("joan")), "team", note="two mailboxes")
CLEAN = SandboxMask(
    f"clean@{DOMAIN}", (ADA,), "ada", banner=True, remove_trackers=True, note="a banner, and no trackers"
)
POST = SandboxMask(f"post@{DOMAIN}", (_home("emmy"),), "emmy", language="de", banner=True, note="a banner, in German")
QUIET = SandboxMask(f"quiet@{DOMAIN}", (ADA,), "ada", block_lists=True, note="no mailing lists")
PICKY = SandboxMask(f"picky@{DOMAIN}", (ADA,), "ada", blocked=(PUSHY,), note=f"nothing from {PUSHY}")
PAIR = SandboxMask(
    f"pair@{DOMAIN}", (_home("alan"), _home("alan.new")), "alan", unverified=(_home("alan.new"),), note="one unverified"
)
WING = SandboxMask(f"wing@{DOMAIN}", (_home("rhea"), LOST), "rhea", note="one of them bounces")
BRAVE = SandboxMask(f"brave@{DOMAIN}", (_home("rosa"),), "rosa", spam_handling="forward", note="wants spam too")
OFF = SandboxMask(f"off@{DOMAIN}", (ADA,), "ada", enabled=False, note="disabled")
GONE = SandboxMask(f"gone@{DOMAIN}", (_home("ivan"),), "ivan", owner_active=False, note="owner inactive")

MASKS = (SHOP, NEWS, TEAM, CLEAN, POST, QUIET, PICKY, PAIR, WING, BRAVE, OFF, GONE)
RULE = SandboxRule(ANY_DOMAIN, "*", (_home("nora"),), "nora")

FATES = {LOST: "no_email"}
"""What becomes of mail to these addresses, where the emulated SES can be told so; to all others it is delivered."""

PIXEL_HOST, CLICK_HOST = "pixel.peephole.example", "click.peephole.example"
TRACKERS = {"categories": {"Email": [{"Peephole": {"https://peephole.example/": ["peephole.example"]}}]}}
"""The sandbox's list of trackers, in the form of Disconnect's `services.json`. The hosts above are covered by it."""
WARNING_URL = f"https://{DOMAIN}/tracker"
"""Where links to trackers lead instead. Nobody answers there."""
