"""How the answers that were served fared: accepted, corrected, rejected; and what audits say.

The holdout says how a model does on its rows, this says how it does on what customers ask now. Who
reacts is not drawn at random, so that the shares are of reactions, not of answers; only audits,
which are drawn without looking at the answer, speak for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Self

from flywheel.stats.paired_tests import wilson_interval


@dataclass(frozen=True)
class Live:
    """What came of the answers of one version (or of all) until a night, since the one before.

    ``answers`` were given; of those reacted to, each counts once, by its last reaction. A
    correction to the label that was answered accepts it. ``audited`` answers were labeled by an
    audit, and ``audited_right`` of them were right. ``of_other_nights`` of the answers reacted to
    were given before the span, or are dated after it, and so are none of ``answers``.
    """

    as_of: datetime
    answers: int = 0
    accepted: int = 0
    corrected: int = 0
    rejected: int = 0
    audited: int = 0
    audited_right: int = 0
    of_other_nights: int = 0

    @property
    def reactions(self) -> int:
        return self.accepted + self.corrected + self.rejected

    @classmethod
    def of(cls, as_of: datetime, parts: Iterable[Live]) -> Self:
        """Several versions' together."""
        counted = [field.name for field in fields(cls) if field.name != "as_of"]
        found = list(parts)
        return cls(as_of, **{name: sum(getattr(p, name) for p in found) for name in counted})


def shares(live: Live) -> dict[str, tuple[float, float, float]]:
    """Name → (share, low, high) with its 95 % interval; what nobody reacted to is left out."""
    found = {}
    for name in ("accepted", "corrected", "rejected"):
        if live.reactions:
            found[name] = _share(getattr(live, name), live.reactions)
    if live.audited:
        found["audited_right"] = _share(live.audited_right, live.audited)
    return found


def metrics(live: Live) -> dict[str, float]:
    """What MLflow shows beside the holdout's figures, as shares in [0, 1] and counts."""
    found = {"live_answers": float(live.answers), "live_reactions": float(live.reactions)}
    for name, (share, low, high) in shares(live).items():
        found |= {f"live_{name}": share, f"live_{name}_low": low, f"live_{name}_high": high}
    return found


def line(live: Live) -> str:
    """The night's figures in one line."""
    told = []
    known = shares(live)
    for name in ("accepted", "corrected", "rejected"):
        if name in known:
            share, low, high = known[name]
            told.append(f"{name} {share:.0%} ({low:.0%} to {high:.0%})")
    said = f"{live.reactions - live.of_other_nights} of {live.answers} answers got a reaction"
    if live.of_other_nights:
        late = f"{live.of_other_nights} answers of other nights got a reaction"
        said = f"{said}, and {late} now" if live.answers else f"no answers were given, {late}"
    if told:
        said += f": {', '.join(told)}"
    if "audited_right" in known:
        share, low, high = known["audited_right"]
        said += (
            f"; of {live.audited} answers drawn for an audit {share:.0%} were right "
            f"({low:.0%} to {high:.0%})"
        )
    return said


def facts(live: Live) -> dict[str, Any]:
    """The night's figures as JSON can hold them."""
    counted: Mapping[str, Any] = vars(live)
    return {
        **{name: value for name, value in counted.items() if name != "as_of"},
        "as_of": live.as_of.isoformat(),
        "reactions": live.reactions,
        "shares": {name: list(found) for name, found in shares(live).items()},
    }


def _share(part: int, whole: int) -> tuple[float, float, float]:
    low, high = wilson_interval(part, whole)
    return part / whole, low, high
