"""flywheel as shipped, with one part off, and the rules that others promote by.

A policy changes settings of the use case, or who judges; the rest of the night stays as it is. The
rules of others judge only: what they learn from is curated as ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from flywheel.config import GateConfig, UseCase
from flywheel.errors import ConfigError
from flywheel.gate import decision
from flywheel.records import Contender, Reason, Report, Verdict

Judge = Callable[..., Verdict]
OURS = "ours"


@dataclass(frozen=True)
class Policy:
    """``settings`` is section → key → value; ``audits`` whether the company labels requests."""

    name: str
    says: str
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    judge: Judge = decision.decide
    audits: bool = True
    only_real: bool = False
    """Whether it needs a method that goes on from weights, which the cheap learner does not."""

    def applied(self, use_case: UseCase) -> UseCase:
        """The use case as this policy has it."""
        content = use_case.model_dump()
        for section, values in self.settings.items():
            content[section] |= values
        return UseCase.model_validate(content)


def _without_fresh_rows(**asked: Any) -> Verdict:
    return decision.decide(**{**asked, "trial": None})


def _by_score(
    better: Callable[[Report, Report | None, GateConfig], bool],
    *,
    challenger: Contender,
    champion: Contender | None,
    limits: GateConfig,
    gone: str | None = None,
    **_: Any,
) -> Verdict:
    """Promote by one comparison of tonight's figures; what has none is not promoted."""
    ours, theirs = challenger.report, champion.report if champion else None
    if ours is None or gone is not None or (champion is not None and theirs is None):
        return Verdict("undecided", (Reason("reports", None, "answers are missing"),))
    same = theirs is not None and theirs.digest == ours.digest
    promotes = not same and better(ours, theirs, limits)
    against = f" against {theirs.accuracy:.3f}" if theirs else ", a first model"
    reason = Reason("rule_of_others", promotes, f"{ours.accuracy:.3f}{against}")
    return Verdict("promote" if promotes else "reject", (reason,))


def _at_least_as_good(ours: Report, theirs: Report | None, limits: GateConfig) -> bool:
    return theirs is None or ours.accuracy >= theirs.accuracy


def _always(ours: Report, theirs: Report | None, limits: GateConfig) -> bool:
    return True


def _above_threshold(ours: Report, theirs: Report | None, limits: GateConfig) -> bool:
    return ours.accuracy >= (limits.min_accuracy or 0.0)


POLICIES: dict[str, Policy] = {
    one.name: one
    for one in (
        Policy(OURS, "as shipped"),
        Policy(
            "no-curation",
            "no label is doubted, no copies are left out, no campaign is held back",
            {
                "curation": {
                    "poison": False,
                    "suspect_weight": 1.0,
                    "near_duplicates": 1.0,
                    "min_agreement": 0.0,
                }
            },
        ),
        Policy("no-fresh-rows", "the holdout alone decides", judge=_without_fresh_rows),
        Policy(
            "no-split",
            "texts of one customer are on both sides",
            {"split": {"by_customer": False}},
        ),
        Policy(
            "no-old-rows",
            "each night goes on from the champion and learns what is new alone",
            {"training": {"start_from": "champion", "replay": 0.0, "full_every": 1_000}},
            only_real=True,
        ),
        Policy(
            "no-caps",
            "one customer may have any share of what is learned and what decides",
            {
                "curation": {
                    "max_customer_share": 1.0,
                    "max_customer_rows": 1_000_000,
                    "max_change": 1.0,
                },
                "gate": {
                    "min_evidence_customers": 1,
                    "max_evidence_share": 1.0,
                    "dishonest_customers": 0,
                },
            },
        ),
        Policy("no-audits", "the company labels no requests", audits=False),
        Policy(
            "at-least-as-good",
            "promote what scores at least as well on the holdout",
            judge=partial(_by_score, _at_least_as_good),
        ),
        Policy("newest", "promote every night's model", judge=partial(_by_score, _always)),
        Policy(
            "threshold",
            "promote what reaches gate.min_accuracy on the holdout",
            judge=partial(_by_score, _above_threshold),
        ),
    )
}


def named(names: tuple[str, ...], *, real: bool) -> list[Policy]:
    """The policies of these names; unnamed, all that the mode can have.

    Raises:
        ConfigError: there is no such policy, or the mode cannot have it.
    """
    able = {name: one for name, one in POLICIES.items() if real or not one.only_real}
    for name in names:
        if name not in POLICIES:
            raise ConfigError(f"There is no policy {name!r}; there are {', '.join(POLICIES)}.")
        if name not in able:
            raise ConfigError(
                f"Policy {name!r} needs --mode real: the cheap learner does not go on from weights."
            )
    return [able[name] for name in dict.fromkeys(names)] if names else list(able.values())
