"""The command ``flywheel models``."""

from __future__ import annotations

import json

import click

from flows.cli.options import json_option
from flows.cli.output import echo
from flywheel.config import Home


@click.command()
@click.argument("name", required=False)
@json_option
def models(name: str | None, as_json: bool) -> None:
    """The catalog of base models, or the card of one.

    What is called proven was seen working, tiny and with random weights, by the command
    python -m tests.prove; memory is counted from shapes, and measured where a training ran here.

    \b
    Example: flywheel models
             flywheel models falcon-7b
    """
    from flywheel.catalog import model
    from flywheel.reports import model_card

    home = Home()
    if name is None:
        entries = model_card.every(home)
        echo(json.dumps(entries) if as_json else model_card.table(entries))
        return
    entry = model_card.facts(model(name), home)
    echo(json.dumps(entry) if as_json else model_card.card(entry, model(name), home))
