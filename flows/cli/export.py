"""The command ``flywheel export``."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from flows.cli.options import json_option, use_case_option
from flows.cli.output import echo
from flywheel.config import Home, load_use_case
from flywheel.exports import DTYPES, FORMS, Dtype, Form


@click.command()
@use_case_option
@click.option("--version", metavar="N", help="The number of the version.")
@click.option("--alias", help="Or its alias; by default champion.")
@click.option(
    "--form",
    required=True,
    type=click.Choice(FORMS),
    help="adapter: a PEFT folder for vLLM and, where answers are written, TGI. merged: whole "
    "weights, for CPUs too.",
)
@click.option(
    "--to",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="A folder that is not there yet, or empty.",
)
@click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    default=DTYPES[0],
    show_default=True,
    help="Of merged weights. Into 4 bits nothing is merged.",
)
@click.option(
    "--min-agreement",
    type=click.FloatRange(0, 1, min_open=True),
    help="Share of the holdout to be answered as measured, by default 0.99; a label measured "
    "within 0.15 of the likeliest is a tie. Of written answers their mean ROUGE-L, 0.8.",
)
@click.option("--rows", type=click.IntRange(min=1), help="Holdout rows to ask; by default all.")
@json_option
def export(
    use_case: str,
    version: str | None,
    alias: str | None,
    form: Form,
    to: Path,
    dtype: Dtype,
    min_agreement: float | None,
    rows: int | None,
    as_json: bool,
) -> None:
    """Export a version for other servers, scored again before it is called exported.

    The folder is written beside its place, loaded back by transformers and PEFT alone, asked the
    holdout, and renamed when it answers as measured; otherwise nothing stays. Refused: a version
    that is not what was measured, was never measured, or learned from somebody who was forgotten,
    and a form that cannot hold what its method learned. flywheel forget names what was exported.

    \b
    Example: flywheel export -u product-reviews --form adapter --to /srv/reviews
             flywheel export -u product-reviews --version 3 --form merged --to /srv/reviews-cpu
    """
    if version is not None and alias is not None:
        raise click.UsageError("Name a version or an alias, not both.")
    from tasks.outputs.export import export as export_version

    done = export_version(
        Home(),
        load_use_case(use_case).name,
        to=to,
        form=form,
        at=datetime.now(UTC).replace(microsecond=0),
        version=version,
        alias=alias or "champion",
        dtype=dtype,
        min_agreement=min_agreement,
        rows=rows,
    )
    echo(json.dumps(done) if as_json else _lines(done))


def _lines(done: dict[str, Any]) -> list[str]:
    from flywheel.exports.readme import score_line

    what = f"{done['use_case']} version {done['version']} as {done['form']}"
    lines = [f"{what} {'is there already' if done['already'] else 'exported'}: {done['path']}"]
    return [*lines, *(f"  {score_line(one)}" for one in done["scored"])]
