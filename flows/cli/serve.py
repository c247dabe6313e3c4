"""The command ``flywheel serve``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from flows.cli.options import json_option, use_case_option
from flows.cli.output import echo
from flywheel.config import Home, load_use_case
from flywheel.home.environment import prepare_serving

PORT = 8077


@click.command()
@use_case_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Others need keys.")
@click.option(
    "--port",
    default=PORT,
    show_default=True,
    type=click.IntRange(0, 65_535),
    help="0 takes any that is free.",
)
@json_option
def serve(use_case: str, host: str, port: int, as_json: bool) -> None:
    """Answer requests with the champion and take feedback, until stopped.

    What it answers and what it is told go to the inbox, for the next night. It follows the
    champion of the registry without a gap; labels changed in the use case's file hold for feedback
    at once, other changes from the next start. FLYWHEEL_SERVE_KEYS holds the keys that may ask, as
    KEY or customer:KEY, with commas between; without any, only this machine may. With
    FLYWHEEL_WEBHOOK_SECRET, MLflow may wake it at /hooks/mlflow when an alias moves.

    \b
    Example: flywheel serve -u product-reviews
             curl -s 127.0.0.1:8077/predict -H 'content-type: application/json' \\
               -d '{"text": "it works"}'
    """
    prepare_serving()
    from flywheel.serving.http.server import run
    from tasks.champion.trusted_versions import publish

    def listening(url: str) -> None:
        echo(json.dumps({"url": url}) if as_json else url)

    case, file, home = load_use_case(use_case), Path(use_case), Home()
    # the service never opens the warehouse: what it says of versions is written down for it
    publish(home, case.name)
    run(case, home, host=host, port=port, listening=listening, file=file)
