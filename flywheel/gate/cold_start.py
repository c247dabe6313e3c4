"""Ways out of having no model: what stands between a use case and its first champion.

Without a champion nothing is served, so that no reactions come and nights find nothing new. A
person has to act, and these are the sentences that say how.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from flywheel.config import UseCase
from flywheel.records import Example, Reason

NO_MODEL = "no_model_yet"
"""The rule that says what would end the wait for a first model."""
FEWEST_GROUPS = 20
"""With fewer groups a holdout of whole groups is one customer's or two."""
SHOWN = 3
"""Labels that a sentence names at most."""
FEWEST_TO_JUDGE = 5
"""Holdout rows of a class. With fewer, one row moves the class's recall by more than 20 points."""
SHOWN_FEW = 8
"""Classes with few holdout rows that are named; the others are counted."""
CHANCE = 0.9
"""That as many labels as are asked for are enough: which texts are held out is drawn."""
_SETTING = {"tfidf_logistic": "training.method: tfidf"}
_FLOORS = ("min_accuracy", "min_macro_f1", "min_rouge_l")


def ways_out(
    case: UseCase,
    reasons: Iterable[Reason],
    *,
    holdout: Mapping[str, int],
    score: float | None,
    slate: Sequence[tuple[str, float | None]] = (),
    baselines: Mapping[str, float] | None = None,
    groups: str | None = None,
) -> Reason:
    """What a person can do after a night that could have made the first model and did not.

    Args:
        case: The use case.
        reasons: The verdict's.
        holdout: Label → holdout rows; where texts are written, any one key.
        score: Accuracy or ROUGE-L of the challenger on the holdout.
        slate: What was trained, in words, and how it did on validation rows.
        baselines: Name → accuracy or ROUGE-L on the holdout.
        groups: What `few_groups` says.
    """
    told = []
    for reason in reasons:
        if not reason.on or reason.passed is True:
            continue
        if reason.rule == "holdout_size":
            told += [_larger_holdout(case, holdout), *([groups] if groups else [])]
        elif reason.rule in _FLOORS and reason.passed is False:
            told.append(_floor(case, reason, holdout, score, slate, baselines or {}))
        else:
            told.append(f"{reason.rule}: {reason.detail}.")
    told.append(
        "Meanwhile the best challenger answers, marked as unproven (serving.unproven)."
        if case.serving.unproven
        else "With serving.unproven: true flywheel serve answers meanwhile with the best "
        "challenger, marked as unproven, so that reactions can come."
    )
    return Reason(NO_MODEL, None, " ".join(told))


def few_groups(case: UseCase, examples: Sequence[Example]) -> str | None:
    """Say that examples are of too few groups to split; None where they are not."""
    groups = {one.group_id for one in examples}
    if len(groups) >= FEWEST_GROUPS or len(examples) < 2 * len(groups):
        return None
    seated = len({one.group_id for one in examples if one.split == "holdout"})
    how = (
        "Where they are customers, set split.by_customer: false: each text that comes without a "
        "group_id is then a group of its own. What came before stays where it was drawn"
        if case.split.by_customer
        else "Give one group_id only to texts that belong on one side of the split, such as "
        "those of one conversation"
    )
    return (
        f"The {len(examples)} examples are of {_groups(len(groups))}, {seated} in the holdout. "
        f"A group is on one side of the split as a whole, so that {FEWEST_GROUPS} groups are "
        f"needed for a holdout that says something. {how}."
    )


def _groups(number: int) -> str:
    return f"{number} group{'' if number == 1 else 's'}"


def by_file(case: UseCase, *, to_train: bool = False) -> str:
    """How labels come in where nothing is served, so that there are no requests to label."""
    rules = case.curation
    source = f"source {rules.gold_sources[0]}"
    if to_train and not rules.train_on_gold:
        source = f"a source that is not in curation.gold_sources ({', '.join(rules.gold_sources)})"
    return f"flywheel ingest -u {case.name} FILE, its rows with {source}"


def to_seat(rows: int, share: float) -> int:
    """Labels of which ``rows`` at least are drawn by ``share``, with chance `CHANCE`."""
    from scipy.stats import nbinom

    return rows + int(nbinom.ppf(CHANCE, rows, share)) if rows > 0 else 0


def not_judged(
    holdout: Mapping[str, int], labels: Sequence[str], *, share: float, how: str
) -> str | None:
    """Which classes have fewer than `FEWEST_TO_JUDGE` holdout rows, and what to do; often nothing.

    ``share`` of groups is held out; ``how`` says how labels come in.
    """
    few = sorted(
        (holdout.get(label, 0), label)
        for label in labels
        if holdout.get(label, 0) < FEWEST_TO_JUDGE
    )
    if not few:
        return None
    shown = ", ".join(f"{label} {rows}" for rows, label in few[:SHOWN_FEW])
    more = f" and {len(few) - SHOWN_FEW} more" if len(few) > SHOWN_FEW else ""
    number = to_seat(FEWEST_TO_JUDGE - few[0][0], share)
    return (
        f"fewer than {FEWEST_TO_JUDGE} holdout rows: {shown}{more}. The holdout cannot judge such "
        f"a class by itself, only as a part of the whole. Label up to {number} more of each, "
        f"from groups that are new, by {how}"
    )


def labels_needed(case: UseCase, *, train: int, holdout: int) -> int:
    """About how many further labels make ``train`` and ``holdout`` rows enough to begin."""
    split = case.split
    trains = max(0.01, 1 - split.holdout - split.validation)
    needed = (case.training.min_examples - train) / trains
    if case.curation.train_on_gold:
        # elsewhere what trains and what is held out are other labels
        needed = max(needed, to_seat(case.gate.min_holdout_examples - holdout, split.holdout))
    return max(1, math.ceil(round(needed, 6)))


def _larger_holdout(case: UseCase, holdout: Mapping[str, int]) -> str:
    rows, least = sum(holdout.values()), case.gate.min_holdout_examples
    missing = max(1, least - rows)
    number = to_seat(missing, case.split.holdout)
    return (
        f"The holdout has {rows} rows and the gate asks none below {least} "
        f"(gate.min_holdout_examples). Label about {number} more texts, so that {missing} of them "
        f"are held out{_first(case, holdout)}: {by_file(case)}{_audits(case, number)}; or set "
        f"gate.min_holdout_examples to {rows}: fewer rows prove less."
    )


def _audits(case: UseCase, number: int) -> str:
    """How requests are labeled for the holdout, where requests come and audits may enter it."""
    if "audit" not in case.curation.gold_sources or not case.serving.unproven:
        return ""
    return f", or requests, drawn by flywheel queue -u {case.name} --n {number} --audit-share 1"


def _floor(
    case: UseCase,
    reason: Reason,
    holdout: Mapping[str, int],
    score: float | None,
    slate: Sequence[tuple[str, float | None]],
    baselines: Mapping[str, float],
) -> str:
    floor = getattr(case.gate, reason.rule)
    told = [f"{reason.rule}: {reason.detail} (gate.{reason.rule})."]
    if reason.rule != "min_macro_f1" and floor is not None:
        told.append(_other_method(floor, slate, baselines))
        told.append(f"More labels help, too{_first(case, holdout)}: {by_file(case)}.")
        if score is not None:
            lowered = math.floor(100 * score) / 100
            known = baselines.get("majority")
            alone = "" if known is None else f"; always the commonest label has {known:.2f}"
            told.append(
                f"A lower floor is a person's decision: gate.{reason.rule}: {lowered:g} lets this "
                f"model answer{alone}."
            )
    return " ".join(told)


def _other_method(
    floor: float, slate: Sequence[tuple[str, float | None]], baselines: Mapping[str, float]
) -> str:
    reached = [(seen, name) for name, seen in slate if seen is not None and seen >= floor]
    if reached:
        seen, name = max(reached)
        return f"On validation rows {name} reached {seen:.3f}: train with that alone."
    better = [
        (seen, name) for name, seen in baselines.items() if seen >= floor and name in _SETTING
    ]
    if better:
        seen, name = max(better)
        return f"On the holdout {name} has {seen:.3f}: set {_SETTING[name]}."
    return "No method that was tried reaches it; flywheel bench compares others."


def _first(case: UseCase, holdout: Mapping[str, int]) -> str:
    """The labels that the holdout has fewest rows of."""
    if case.is_generation or not holdout:
        return ""
    fewest = sorted(case.label_names, key=lambda label: (holdout.get(label, 0), label))[:SHOWN]
    shown = ", ".join(f"{label} ({holdout.get(label, 0)} holdout rows)" for label in fewest)
    return f", first of {shown}"
