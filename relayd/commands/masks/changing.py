"""`relayd masks add|set|enable|disable|remove`."""

from collections.abc import Callable, Sequence
from functools import reduce

import click

from relayd.commands.arguments import (
    ADDRESS,
    DISPLAY_NAME,
    directory,
    directory_settings,
    json_option,
    refuse_wrong,
    unverified_option,
    yes_option,
)
from relayd.commands.showing import tell
from relayd.model.address import Address

_TRAITS = (
    click.option("--display-name", type=DISPLAY_NAME, help='Stands beside the mask in replies; "" for nothing.'),
    click.option("--banner/--no-banner", default=None, help="Say above the text which mask the mail came through."),
    click.option("--block-lists/--no-block-lists", default=None, help="Discard newsletters and mailing lists."),
    click.option("--remove-trackers/--no-remove-trackers", default=None, help="Take trackers out of the mail."),
)


def _traits(function: Callable[..., None]) -> Callable[..., None]:
    return reduce(lambda decorated, option: option(decorated), reversed(_TRAITS), function)


@click.command()
@click.argument("mask", type=ADDRESS)
@click.option("--to", "mailboxes", type=ADDRESS, multiple=True, required=True, help="Where its mail goes; repeatable.")
@click.option("--owner", help="Whose it is, by name. Default: whoever has the mailbox, or a new owner named like it.")
@_traits
@click.option("--disabled", is_flag=True, help="Add it switched off.")
@unverified_option
@click.option("--replace", is_flag=True, help="When it is there already: change where its mail goes.")
@json_option
def add(
    *,
    mask: Address,
    mailboxes: tuple[Address, ...],
    owner: str | None,
    disabled: bool,
    unverified: bool,
    replace: bool,
    as_json: bool,
    **traits: bool | str | None,
) -> None:
    """Add a mask. To add one that is there already changes nothing and is no error.

    \b
    relayd masks add shop@mask.example --to me@example.org
    relayd masks add team@mask.example --owner "Support team" \\
        --to ann@example.org --to bob@example.org
    relayd masks add ann@mask.example --to ann@example.org \\
        --display-name "Ann Example" --remove-trackers
    relayd masks add shop@mask.example --to new@example.org --replace
    """
    from relayd.ops.mask_entries import MaskTraits, domain_problems, entry
    from relayd.ops.masks import put_mask

    settings = directory_settings()
    boxes = [box.full for box in mailboxes]
    wanted = entry(mask.full, boxes, owner, False if disabled else None, MaskTraits(**traits))  # type: ignore[arg-type]
    refuse_wrong(domain_problems(wanted, settings.mail_domains))
    with directory(settings) as database:
        change = put_mask(database, wanted, replace=replace, verified=not unverified)
    boxes = [box.full for box in wanted.mailboxes]
    text = {"added": "added", "changed": "changed", "unchanged": "was there already, unchanged"}[change]
    document = {"mask": mask.bare, "mailboxes": boxes, "result": change}
    tell(document, f"{mask.bare} -> {', '.join(boxes)}: {text}", as_json)


@click.command("set", short_help="Change what a mask does to mail, and where it goes.")
@click.argument("mask", type=ADDRESS)
@click.option("--to", "mailboxes", type=ADDRESS, multiple=True, help="Where its mail goes instead; repeatable.")
@_traits
@unverified_option
@json_option
def set_(
    *, mask: Address, mailboxes: tuple[Address, ...], unverified: bool, as_json: bool, **traits: bool | str | None
) -> None:
    """Change what a mask does to mail, and where it goes. What is not said stays.

    \b
    relayd masks set shop@mask.example --block-lists --banner
    relayd masks set shop@mask.example --display-name "Ann Example"
    relayd masks set shop@mask.example --to new@example.org
    """
    from relayd.ops.mask_entries import AS_IT_IS, Entry, MaskTraits
    from relayd.ops.masks import set_mask
    from relayd.ops.typed import loop_problems, mailbox_address

    said = MaskTraits(**traits)  # type: ignore[arg-type]
    if not mailboxes and said == AS_IT_IS:
        raise click.UsageError("Say what shall change: --to, --display-name, --banner, --block-lists, ...")
    settings = directory_settings()
    boxes = tuple(dict.fromkeys(mailbox_address(box.full) for box in mailboxes))
    refuse_wrong(loop_problems(boxes, settings.mail_domains))
    with directory(settings) as database:
        change = set_mask(database, Entry(mask, boxes, traits=said), verified=not unverified)
    tell({"mask": mask.bare, "result": change}, f"{mask.bare}: {change}", as_json)


@click.command()
@click.argument("masks", type=ADDRESS, nargs=-1, required=True)
@json_option
def enable(masks: tuple[Address, ...], as_json: bool) -> None:
    """Switch masks on, all or none: their mail is forwarded again.

    \b
    relayd masks enable shop@mask.example bank@mask.example
    """
    _switch(masks, True, as_json)


@click.command(short_help="Switch masks off: their mail is discarded.")
@click.argument("masks", type=ADDRESS, nargs=-1, required=True)
@json_option
def disable(masks: tuple[Address, ...], as_json: bool) -> None:
    """Switch masks off: their mail is discarded, with reason `mask_disabled`, until they are switched on again.

    All of them, or none where one is no mask.

    \b
    relayd masks disable shop@mask.example
    relayd masks list --owner "Support team" --json | jq -r '.[].mask' |
        xargs relayd masks disable
    """
    _switch(masks, False, as_json)


@click.command(short_help="Remove masks for good.")
@click.argument("masks", type=ADDRESS, nargs=-1, required=True)
@yes_option
@json_option
def remove(masks: tuple[Address, ...], yes: bool, as_json: bool) -> None:
    """Remove masks for good, all or none: their mail is for an unknown mask from now on.

    This cannot be undone, and a removed address is never given out again: the world knows it as somebody's. To stop
    mail for a while, use `relayd masks disable`.

    \b
    relayd masks remove shop@mask.example
    """
    from relayd.ops.masks import check_masks, remove_masks

    names = list(dict.fromkeys(mask.bare for mask in masks))
    with directory() as database:
        check_masks(database, masks)
        if not yes:
            click.confirm(f"Remove {', '.join(names)} for ever?", abort=True, err=True)
        remove_masks(database, masks)
    for name in names:
        tell({"mask": name, "result": "removed"}, f"{name}: removed", as_json)


def _switch(masks: Sequence[Address], enabled: bool, as_json: bool) -> None:
    from relayd.ops.masks import set_enabled

    word = "enabled" if enabled else "disabled"
    with directory() as database:
        changed = set_enabled(database, masks, enabled)
    for name in dict.fromkeys(mask.bare for mask in masks):
        result, text = (word, word) if name in changed else ("unchanged", f"was {word} already")
        tell({"mask": name, "result": result}, f"{name}: {text}", as_json)


COMMANDS = (add, set_, enable, disable, remove)
