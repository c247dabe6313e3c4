"""One sentence on the night that a product owner understands, and one on what it rests on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flywheel.reports.formatting import at, known, per_hundred, score_ends, score_name
from flywheel.reports.night_report import NightReport
from flywheel.reports.verdict import BETTER, why

BRAKE = "brake"
"""The one rule that speaks of the champion, not of the challenger."""
_BRAKED = " The brake speaks: a new champion was worse than the one before it on fresh rows."


@dataclass(frozen=True)
class Gain:
    """A gain in the share of right answers, in [-1, 1], and where it was seen.

    Of written answers, the share of rows with the better text less that with the worse one.
    ``low`` and ``high`` are None where there is no interval.
    """

    value: float
    low: float | None
    high: float | None
    where: str


def headline(facts: NightReport) -> str:
    """What became of the night, in one sentence; numbers only where they were measured."""
    told = {
        "promoted": _promoted,
        "awaiting_approval": _awaiting,
        "undecided": _undecided,
        "rejected": _rejected,
        "skipped": _skipped,
        "failed": _failed,
    }.get(str(facts.get("outcome")))
    if told is None:
        return "What came of this night is not recorded."
    braked = any(r.get("rule") == BRAKE and r.get("passed") is False for r in _reasons(facts))
    return f"{told(facts)}{_BRAKED if braked else ''}"


def gain_of(facts: NightReport) -> Gain | None:
    """The gain over the champion: on fresh rows where they decided, otherwise on the holdout."""
    fresh, holdout = fresh_gain(facts), _holdout_gain(facts)
    wealth = known(at(facts, "evidence", "log_wealth"))
    threshold = known(at(facts, "evidence", "threshold"))
    decided = wealth is not None and threshold is not None and wealth >= threshold
    # its own night alone says little where others' nights proved the gain with it
    alone = all(night.get("own", True) for night in _nights(facts))
    return (fresh or holdout) if decided and alone else (holdout or fresh)


def fresh_gain(facts: NightReport) -> Gain | None:
    """The gain on its own fresh rows so far: the mean over groups, as the interval has it."""
    seen = [
        (groups, gain)
        for night in _nights(facts)
        if night.get("own", True)
        and (groups := known(night.get("groups")))
        and (gain := known(_first(night.get("weighted_gain"), night.get("gain")))) is not None
    ]
    if not seen:
        return None
    mean = sum(groups * gain for groups, gain in seen) / sum(groups for groups, _ in seen)
    low, high = known(at(facts, "evidence", "low")), known(at(facts, "evidence", "high"))
    return Gain(mean, low, high, "fresh rows")


def nights_to_decide(facts: NightReport) -> int | None:
    """How many further nights like those so far would decide; None when none would."""
    groups = known(at(facts, "evidence", "groups_to_decide"))
    nights = _nights(facts)
    sizes = [size for night in nights if (size := known(night.get("groups")))]
    if groups is None or not sizes:
        return None
    return math.ceil(groups * len(sizes) / sum(sizes))


# ---- One sentence for each outcome


def _promoted(facts: NightReport) -> str:
    new, old = _capital(_version(facts)), facts.get("champion_version")
    did = "is the first model" if old is None else f"replaces version {old}"
    return f"{new} {did}{_answers(facts)}."


def _awaiting(facts: NightReport) -> str:
    new, old = _capital(_version(facts)), facts.get("champion_version")
    waits = f"{new} passed every rule and waits for a person's approval{_answers(facts)}"
    return f"{waits}. Until then {'no model' if old is None else f'version {old}'} answers."


def _answers(facts: NightReport) -> str:
    """How well it answers: by itself where it is the first, else beside the champion."""
    if facts.get("champion_version") is None:
        level = _level(facts)
        return f": it answers {level}" if level else ""
    gain = gain_of(facts)
    return f": it answers {_more(gain, facts)}" if gain else ""


def _undecided(facts: NightReport) -> str:
    new, old = _version(facts), facts.get("champion_version")
    if old is None:
        return f"Still no model: it is not known whether {new} is good enough."
    if not at(facts, "evidence"):
        return f"No change tonight: {new} is not proven better than version {old}{_further(facts)}."
    on_trial = f"No change tonight: {new} is on trial"
    if not _nights(facts):
        return f"{on_trial}; no fresh rows have come yet to judge it by."
    nights = nights_to_decide(facts)
    if nights == 0:
        return f"{on_trial}; its lead is proven, but not every other rule could be checked."
    if nights is None:
        return f"{on_trial}, and so far has no lead over version {old} that could be proven."
    many = "one more night like these" if nights == 1 else f"{nights:,} more nights like these"
    return f"{on_trial}, its lead is not proven yet; about {many} would decide."


def _rejected(facts: NightReport) -> str:
    new, old = _version(facts), facts.get("champion_version")
    rules = [r for r in _reasons(facts) if r.get("on", True) and r.get("rule") != BRAKE]
    failed = [str(r.get("rule")) for r in rules if r.get("passed") is False]
    if old is None:
        return f"Still no model: {new} was measured and rejected{_because(failed)}."
    if failed == [BETTER]:
        said = f"{new} is not proven better: {_beaten(facts)}"
    else:
        said = f"{new} was measured and rejected{_because([r for r in failed if r != BETTER])}"
    return f"No change tonight: {said}; version {old} stays."


def _because(rules: Sequence[str]) -> str:
    if not rules:
        return ""
    more = len(rules) - 1
    others = f" (and {more} more rule{'s' * (more > 1)} failed)" if more else ""
    return f": {why(rules[0])}{others}"


def _beaten(facts: NightReport) -> str:
    """Why no gain over the champion is proven, nor can be waited for."""
    gain = _holdout_gain(facts)
    if gain is None or (gain.value > 0 and at(facts, "evidence")):
        fresh = fresh_gain(facts)
        worse = fresh is not None and fresh.value < 0
        return "worse on fresh rows" if worse else "its trial ended without proof"
    if per_hundred(abs(gain.value)) == "0":
        return "equal on the holdout"
    if gain.value < 0:
        return f"worse on the holdout, by {per_hundred(abs(gain.value))} of 100 {_items(facts)}"
    return "its gain on the holdout is within the margin"


def _further(facts: NightReport) -> str:
    labels = known(at(facts, "holdout", "further_labels"))
    return "" if labels is None else f" yet; about {labels:,.0f} more labels would decide"


def _skipped(facts: NightReport) -> str:
    return f"No change tonight: no model was trained; {_stays(facts)}."


def _failed(facts: NightReport) -> str:
    if (moved := at(facts, "failure", "moved")) is not None:
        return f"The night failed after version {moved} had become champion."
    if at(facts, "failure") and "champion_version" not in facts:
        return "The night failed, and could not even be written down."
    return f"The night failed before it could decide; {_stays(facts)}."


# ---- Its parts


def _version(facts: NightReport) -> str:
    version = facts.get("version")
    return "the challenger" if version is None else f"version {version}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _stays(facts: NightReport) -> str:
    old = facts.get("champion_version")
    return "there is no model yet" if old is None else f"version {old} stays"


def _items(facts: NightReport) -> str:
    return str(facts.get("items") or "texts")


def _level(facts: NightReport) -> str:
    rouge_l = known(at(facts, "holdout", "challenger", "rouge_l"))
    if rouge_l is not None:
        low, high = score_ends(at(facts, "holdout"), "challenger")
        between = "" if low is None or high is None else f" ({low:.2f} to {high:.2f})"
        return f"{_items(facts)} with a ROUGE-L of {rouge_l:.2f}{between}"
    accuracy = known(at(facts, "holdout", "challenger", "accuracy"))
    if accuracy is None:
        return ""
    low = known(at(facts, "holdout", "challenger", "low"))
    high = known(at(facts, "holdout", "challenger", "high"))
    between = ""
    if low is not None and high is not None:
        between = f" ({per_hundred(low)} to {per_hundred(high)})"
    return f"about {per_hundred(accuracy)} of 100 {_items(facts)} rightly{between}"


def _more(gain: Gain, facts: NightReport) -> str:
    items = _items(facts)
    written = score_name(at(facts, "holdout")) == "rouge_l"
    how = "better than worse" if written else "rightly"
    size = per_hundred(abs(gain.value))
    if size == "0":
        said = f"about as many of 100 {items} {'better as worse' if written else how}"
    else:
        said = f"about {size} {'more' if gain.value > 0 else 'fewer'} of 100 {items} {how}"
    if gain.low is None or gain.high is None:
        return said
    low, high = gain.low, gain.high
    if low < 0 < high or size == "0":
        # the sign has to be said where it changes
        return f"{said} (from {_side(low)} to {_side(high)})"
    ends = sorted((abs(low), abs(high)))
    return f"{said} ({per_hundred(ends[0])} to {per_hundred(ends[1])})"


def _side(value: float) -> str:
    said = per_hundred(abs(value))
    return "as many" if said == "0" else f"{said} {'more' if value > 0 else 'fewer'}"


def _reasons(facts: NightReport) -> Sequence[Mapping[str, Any]]:
    return facts.get("reasons") or ()


def _nights(facts: NightReport) -> Sequence[Mapping[str, Any]]:
    return at(facts, "evidence", "nights") or ()


def _holdout_gain(facts: NightReport) -> Gain | None:
    given = known(at(facts, "holdout", "gain", "value"))
    ours = known(at(facts, "holdout", "challenger", "accuracy"))
    theirs = known(at(facts, "holdout", "champion", "accuracy"))
    if given is not None:
        low, high = (known(at(facts, "holdout", "gain", end)) for end in ("low", "high"))
        return Gain(given, low, high, "holdout")
    if ours is None or theirs is None:
        return None
    return Gain(ours - theirs, None, None, "holdout")


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)
