"""`relayd config`: what relayd would run with, where each value comes from, and everything that is wrong."""

import json
import os
import sys

import click

from relayd.commands.showing import print_table
from relayd.settings import effective

EXIT_WRONG = 2
"""The code that every command gives for a configuration that cannot work."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(as_json: bool) -> None:
    """Show the effective settings and say what is wrong with them.

    Secrets are shown as fingerprints, passwords as ***. Exits with 2 when relayd could not run like this.

    \b
    What is missing here?           relayd config
    Only what was set:              relayd config | grep environment
    Same secret on both replicas?   relayd config | grep RELAYD_SECRET
    """
    rows, problems = effective(os.environ, tty=sys.stdout.isatty())
    if as_json:
        settings = [{"name": r.env, "value": r.value or None, "source": r.source, "doc": r.doc} for r in rows]
        found = [{"subject": p.subject, "problem": p.problem, "hint": p.hint} for p in problems]
        click.echo(json.dumps({"settings": settings, "problems": found}, indent=2))
    else:
        print_table(("SETTING", "SOURCE", "VALUE"), [(row.env, row.source, row.value) for row in rows])
        for problem in problems:
            click.echo(f"\n{problem}", err=True)
    if problems:
        sys.exit(EXIT_WRONG)
