"""Options that many commands share."""

from __future__ import annotations

import click

DEFAULT_USE_CASE = "product-reviews"

use_case_option = click.option(
    "-u",
    "--use-case",
    default=DEFAULT_USE_CASE,
    show_default=True,
    help="A name from usecases/ or the path of a YAML file.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
