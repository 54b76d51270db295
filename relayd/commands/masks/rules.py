"""`relayd masks rule`: masks that are made by the first mail to them."""

from dataclasses import asdict

import click

from relayd.commands.arguments import (
    ADDRESS,
    COUNT,
    DOMAIN,
    OWNER_NAME,
    RULE_PATTERN,
    directory,
    directory_settings,
    json_option,
    refuse_wrong,
    unverified_option,
)
from relayd.commands.showing import print_json, print_table, tell
from relayd.model.address import Address

_domain = click.argument("domain", type=DOMAIN)
_pattern = click.option(
    "--pattern", type=RULE_PATTERN, default="*", show_default=True, help="What the part before the @ looks like."
)


@click.group(short_help="Let mail make masks: a catch-all, or a pattern.")
def rule() -> None:
    """Make masks by the first mail to them: a catch-all, or a pattern such as shop-*.

    Mail for an address on the domain that is no mask makes one, unless the mail is discarded. A removed mask stays
    removed. Of several rules that fit, the one with the most literal characters counts.

    \b
    relayd masks rule add mask.example --to me@example.org --pattern 'shop-*'
    relayd masks rule add ann.example --to ann@example.org --no-limit
    relayd masks rule list
    """


@rule.command(short_help="Let mail make masks on a domain.")
@_domain
@click.option("--to", "mailboxes", type=ADDRESS, multiple=True, required=True, help="Where the mail goes; repeatable.")
@_pattern
@click.option("--limit", type=COUNT, help="Masks that it may make at most. Default: 100.")
@click.option("--no-limit", is_flag=True, help="Any number of masks.")
@click.option("--owner", type=OWNER_NAME, help="Whose the masks are, by name. Default: whoever has the mailbox.")
@unverified_option
@json_option
def add(
    *,
    domain: str,
    mailboxes: tuple[Address, ...],
    pattern: str,
    limit: int | None,
    no_limit: bool,
    owner: str | None,
    unverified: bool,
    as_json: bool,
) -> None:
    """Let mail make masks on DOMAIN, one of RELAYD_MAIL_DOMAINS. In a pattern `*` stands for any run of characters.

    Over the limit, mail for addresses that are no masks yet is discarded as for unknown ones: whoever guesses names
    at a catch-all must not make thousands.

    \b
    relayd masks rule add mask.example --to me@example.org --pattern 'shop-*' \\
        --limit 50
    relayd masks rule add ann.example --to ann@example.org --to bob@example.org
    """
    from relayd.ops.domain_rules import add_rule
    from relayd.ops.typed import DEFAULT_LIMIT, foreign_problem, loop_problems, mailbox_address

    if no_limit and limit is not None:
        raise click.UsageError("Give --limit or --no-limit, not both.")
    settings = directory_settings()
    boxes = list(dict.fromkeys(mailbox_address(box.full) for box in mailboxes))
    name = f"{pattern}@{domain}"
    wrong = [*foreign_problem(domain, name, settings.mail_domains), *loop_problems(boxes, settings.mail_domains)]
    refuse_wrong(iter(wrong))
    most = None if no_limit else DEFAULT_LIMIT if limit is None else limit
    with directory(settings) as database:
        added = add_rule(database, domain, pattern, boxes, owner=owner, limit=most, verified=not unverified)
    addresses = [box.full for box in boxes]
    document = {"domain": domain, "pattern": pattern, "mailboxes": addresses, "limit": most}
    text = f"{name} -> {', '.join(addresses)}: {'added' if added else 'was there already, unchanged'}"
    tell(document | {"result": "added" if added else "unchanged"}, text, as_json)


@rule.command("list")
@click.option("--domain", type=DOMAIN, help="Only those on this domain.")
@click.option("--owner", help="Only this owner's, by name.")
@json_option
def list_(domain: str | None, owner: str | None, as_json: bool) -> None:
    """List the rules, and how many masks each has made.

    \b
    relayd masks rule list --domain mask.example
    """
    from relayd.ops.domain_rules import list_rules

    with directory() as database:
        views = list_rules(database, domain=domain, owner=owner)
    if as_json:
        print_json([asdict(view) for view in views])
    elif views:
        rows = [
            (
                view.domain,
                view.pattern,
                ", ".join(view.mailboxes),
                view.owner,
                f"{view.made} of {'any number' if view.limit is None else view.limit}",
                "enabled" if view.enabled else "disabled",
            )
            for view in views
        ]
        print_table(("DOMAIN", "PATTERN", "FORWARDS TO", "OWNER", "MADE", "STATE"), rows)
    else:
        click.echo("No rule matches. To make one: relayd masks rule add mask.example --to me@example.org", err=True)


@rule.command(short_help="Remove a rule; its masks stay.")
@_domain
@_pattern
@json_option
def remove(domain: str, pattern: str, as_json: bool) -> None:
    """Remove a rule. The masks that it made stay, and are removed like any other.

    \b
    relayd masks rule remove mask.example --pattern 'shop-*'
    """
    from relayd.ops.domain_rules import remove_rule

    with directory() as database:
        remove_rule(database, domain, pattern)
    _tell(domain, pattern, "removed", as_json)


@rule.command(short_help="Let a rule make masks again.")
@_domain
@_pattern
@json_option
def enable(domain: str, pattern: str, as_json: bool) -> None:
    """Let a rule make masks again.

    \b
    relayd masks rule enable mask.example --pattern 'shop-*'
    """
    _switch(domain, pattern, True, as_json)


@rule.command(short_help="Make no more masks by a rule; those that are there stay.")
@_domain
@_pattern
@json_option
def disable(domain: str, pattern: str, as_json: bool) -> None:
    """Make no more masks by a rule. Those that it made go on forwarding.

    \b
    relayd masks rule disable mask.example --pattern 'shop-*'
    """
    _switch(domain, pattern, False, as_json)


def _switch(domain: str, pattern: str, enabled: bool, as_json: bool) -> None:
    from relayd.ops.domain_rules import switch_rule

    word = "enabled" if enabled else "disabled"
    with directory() as database:
        changed = switch_rule(database, domain, pattern, enabled)
    _tell(domain, pattern, word if changed else "unchanged", as_json)


def _tell(domain: str, pattern: str, result: str, as_json: bool) -> None:
    tell({"domain": domain, "pattern": pattern, "result": result}, f"{pattern}@{domain}: {result}", as_json)


COMMANDS = (rule,)
