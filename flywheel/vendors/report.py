"""The build-or-buy report in lines of text; `flywheel.reports.build_or_buy` is its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

UNKNOWN = "not known"


def plan_lines(plans: Sequence[Mapping[str, Any]]) -> list[str]:
    """What would be sent where, and what it could cost."""
    lines = []
    for plan in plans:
        lines.append(f"{plan['name']}: {plan['model']} at {plan['url']}")
        for step in plan["steps"]:
            lines.append(
                f"  {step['split']}, {step['shots']} examples shown: {step['missing']} texts to "
                f"send ({step['recorded']} recorded), at most {money(step['most'])}"
            )
        lines.append(
            f"  in all {plan['requests']} texts, at most {money(plan['most'])} if every first try "
            f"is answered; {money(plan['spent'])} of {money(plan['spend_cap'])} was spent before"
        )
    return [*lines, "nothing was sent; --yes sends these texts to the hosts above"]


def render_text(facts: Mapping[str, Any]) -> list[str]:
    """The whole report; ``facts`` are those of `tasks.outputs.vendors`."""
    told = [
        f"{facts['use_case']}, build or buy, on snapshot {facts['snapshot_id'][:8]}",
        f"  {headline(facts)}",
    ]
    told += _ours(facts)
    for vendor in facts["vendors"]:
        told += ["", *_vendor(vendor, facts)]
    return told


def headline(facts: Mapping[str, Any]) -> str:
    """Who is better and from where on who is cheaper, in a sentence for each vendor."""
    return " ".join(_sentence(vendor) for vendor in facts["vendors"])


def retired(vendor: Mapping[str, Any]) -> list[str]:
    """What it comes to when the vendor retires the model: what stays, and what breaks."""
    served = [name for name in vendor["served_models"] if name]
    told = [
        f"The {vendor['recorded']} recorded answers stay, and this report can be made again from "
        "them (--replay).",
        "The champion is not touched: it runs on its own weights and a pinned base, and no night "
        "asks a vendor.",
        "What breaks is whatever asks the endpoint itself: from that day it gets an error "
        f"about {vendor['model']!r}, which flywheel vendor names; our service goes on.",
        "Its successor is another contender: all rows are to be asked and paid for again, and "
        "nothing measured here holds for it.",
    ]
    if len(served) > 1:
        told.append(
            f"Under the one name these answered: {', '.join(served)}. The model was changed "
            "meanwhile, and the figures mix them."
        )
    return told


def money(amount: object) -> str:
    """An amount in the currency of the use case: two digits, more where it is small."""
    if not isinstance(amount, int | float):
        return UNKNOWN
    return f"{amount:,.2f}" if amount >= 1 or amount == 0 else f"{amount:.3g}"


def _sentence(vendor: Mapping[str, Any]) -> str:
    found, name = vendor["comparison"], vendor["name"]
    if found is None:
        better = f"{name} was not compared with a champion"
    elif found["low"] > 0:
        better = f"Ours is better than {name} by {100 * found['gain']:.1f} points"
    elif found["high"] < 0:
        better = f"{name} is better than ours by {-100 * found['gain']:.1f} points"
    else:
        better = f"Which of ours and {name} is better cannot be told from {found['rows']} rows"
    if vendor["never_cheaper_to_make"] is None:
        return f"{better}; which is cheaper is not known."
    if vendor["never_cheaper_to_make"]:
        return f"{better}; buying is cheaper at any volume."
    return f"{better}; making is cheaper from {vendor['break_even_per_day']:,.0f} answers a day."


def _ours(facts: Mapping[str, Any]) -> list[str]:
    ours = facts["ours"]
    if ours is None:
        return ["  there is no champion yet: run a night, and this one again from the record"]
    told = [f"  ours: version {ours['version']}"]
    if ours["ms_per_answer"] is not None:
        told[0] += (
            f", {ours['ms_per_answer']:.1f} ms per answer in full batches, as measured on the "
            "holdout"
        )
    if ours["busy_price"] is None:
        told.append("    price: not known; set gate.machine_cost_per_hour")
    else:
        told.append(
            f"    price per thousand: {money(ours['busy_price'])} when busy all day with "
            f"{ours['capacity_per_day']:,.0f} answers"
        )
        if ours["price"] is not None:
            told.append(
                f"    price per thousand: {money(ours['price'])} at {facts['per_day']:,.0f} a day "
                f"({facts['per_day_is']}), idle time included"
            )
        else:
            told.append(
                "    nothing was answered in 30 days; --per-day gives a price with idle time"
            )
    if ours["latency"] is not None:
        told.append(f"    latency, one text at a time on this machine: {_latency(ours['latency'])}")
    return told


def _vendor(vendor: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    holdout, price = vendor["holdout"], money(vendor["price"])
    told = [f"  {vendor['name']}: {vendor['model']} at {vendor['url']}"]
    for tried in vendor["tried"]:
        told.append(
            f"    on {tried['rows']} {vendor['chosen_on']} rows with {tried['shots']} examples "
            f"shown: accuracy {_share(tried['accuracy'])}, {tried['abstained']} abstained"
        )
    told.append(
        f"    on {holdout['rows']} holdout rows with {vendor['shots']} examples shown: accuracy "
        f"{_share(holdout['accuracy'])} ({holdout['low']:.3f} to {holdout['high']:.3f}), "
        f"{holdout['abstained']} abstained{_reasons(holdout['reasons'])}; of the labels that it "
        f"gave {_share(holdout['accuracy_given'])} were right"
    )
    if holdout["unanswered"]:
        told.append(
            f"    {holdout['unanswered']} rows got no reply and count nowhere; run again to ask "
            "them"
        )
    told.append(f"    {_comparison(vendor['comparison'])}")
    if vendor["settings_on_holdout"] > 1:
        told.append(
            f"    the holdout was asked under {vendor['settings_on_holdout']} settings by now: the "
            "best of several looks better than it is"
        )
    metered = "" if vendor["metered"] else ", some not counted by the endpoint but bounded"
    told += [
        f"    price per thousand: {price} ({vendor['input_tokens']:.0f} tokens sent, "
        f"{vendor['output_tokens']:.1f} received per text{metered})",
        f"    break-even: {_break_even(vendor, facts)}",
        f"    latency of each request, as seen from here: {_latency(vendor['latency'])}",
    ]
    if holdout["per_second"] is not None:
        told.append(f"    achieved now: {holdout['per_second']:.2f} answers a second")
    told += [
        f"    spent so far: {money(vendor['spent'])} of {money(vendor['spend_cap'])}",
        "    if it is retired:",
        *(f"      {line}" for line in retired(vendor)),
    ]
    return told


def _comparison(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "beside ours: no row that both answered"
    return (
        f"ours on the same {found['rows']} rows: {found['our_accuracy']:.3f} "
        f"({found['our_low']:.3f} to {found['our_high']:.3f}); ours less theirs "
        f"{100 * found['gain']:+.1f} points ({100 * found['low']:+.1f} to "
        f"{100 * found['high']:+.1f}), won {found['won']}, lost {found['lost']}"
    )


def _break_even(vendor: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    if vendor["never_cheaper_to_make"] is None:
        return f"{UNKNOWN}; it needs gate.machine_cost_per_hour, a champion and a price"
    if vendor["never_cheaper_to_make"]:
        return "buying is cheaper at any volume, even than a machine that is busy all day"
    return (
        f"making is cheaper from {vendor['break_even_per_day']:,.0f} answers a day "
        f"(one machine gives up to {facts['ours']['capacity_per_day']:,.0f})"
    )


def _reasons(reasons: Mapping[str, int]) -> str:
    told = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    return f" ({told})" if told else ""


def _latency(found: Mapping[str, float] | None) -> str:
    if found is None:
        return UNKNOWN
    return (
        f"p50 {found['p50_ms']:,.0f} ms, p95 {found['p95_ms']:,.0f} ms "
        f"({found['requests']:.0f} requests)"
    )


def _share(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.3f}"
