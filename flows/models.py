"""The command ``flywheel models``."""

from __future__ import annotations

import json

import click

from flows.options import json_option
from flows.output import echo
from flywheel.config import Home


@click.command()
@click.argument("name", required=False)
@json_option
def models(name: str | None, as_json: bool) -> None:
    """The catalogue of base models, or the card of one.

    What is called proven was seen working, tiny and with random weights, by the command
    python -m tests.prove; memory is counted from shapes, and measured where a training ran here.

    \b
    Example: flywheel models
             flywheel models falcon-7b
    """
    from flywheel.catalogue import cards, model

    home = Home()
    if name is None:
        entries = cards.every(home)
        echo(json.dumps(entries) if as_json else cards.table(entries))
        return
    entry = cards.facts(model(name), home)
    echo(json.dumps(entry) if as_json else cards.card(entry, model(name), home))
