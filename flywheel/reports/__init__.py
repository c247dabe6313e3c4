"""The report of a night: one page that loads nothing, made of nothing but the facts given.

`page` writes it, `headline` says it in one sentence, `forget` takes somebody's texts out of it.
`build_or_buy` writes the page that sets bought models beside the champion.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import ChainableUndefined, Environment, PackageLoader

from flywheel.reports import charts, formatting, tables, vendor_charts
from flywheel.reports.headline import fresh_gain, gain_of, headline, nights_to_decide
from flywheel.reports.night_report import NightReport
from flywheel.reports.redact import forget

__all__ = ["NightReport", "build_or_buy", "forget", "headline", "page", "render"]

_FILTERS = {
    "number": formatting.number,
    "percent": formatting.percent,
    "signed": formatting.signed,
    "wrappable": formatting.wrappable,
    "alpha": formatting.alpha,
    "wealth": formatting.wealth,
    "day": formatting.day,
    "short_day": formatting.short_day,
    "rows": lambda value: formatting.count(value, "row"),
    "nights": lambda value: formatting.count(value, "night"),
}


def page(facts: NightReport) -> str:
    """Return a night's report as one HTML page.

    What is not measured is called so; nothing is made up for it. All words in the facts are data
    and are escaped. The same facts give the same page.
    """
    judged = NightReport(evidence=facts.get("evidence") or facts.get("evidence_beside"))
    return render(
        "night.html",
        facts=facts,
        headline=headline(facts),
        gain=gain_of(facts),
        evidence=judged["evidence"],
        fresh=fresh_gain(judged),
        nights_to_decide=nights_to_decide(judged),
    )


def render(template: str, **facts: Any) -> str:
    """Fill in one of the templates; every word is data and is escaped."""
    html: str = _environment().get_template(template).render(**facts)
    # half a surrogate pair is no character, and no file can hold it
    return html.encode("utf-8", "replace").decode("utf-8")


def build_or_buy(facts: Mapping[str, Any]) -> str:
    """Return the facts of `tasks.outputs.vendors` as one HTML page, made as `page` makes one."""
    from flywheel.vendors.report import headline as said
    from flywheel.vendors.report import money, retired

    drawn = {
        "accuracies": vendor_charts.accuracies(facts["vendors"]),
        "prices": vendor_charts.prices(facts),
    }
    return render(
        "offers.html",
        facts=facts,
        headline=said(facts),
        drawn=drawn,
        money=money,
        retired=retired,
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("flywheel.reports"),
        autoescape=True,
        undefined=ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_FILTERS)
    environment.globals.update(charts=charts, tables=tables, words=formatting)
    return environment
