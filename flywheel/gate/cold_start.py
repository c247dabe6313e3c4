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
"""With fewer groups an exam of whole groups is one customer's or two."""
SHOWN = 3
"""Labels that a sentence names at most."""
FEWEST_TO_JUDGE = 5
"""Exam rows of a class. With fewer, one row moves the class's recall by more than 20 points."""
SHOWN_FEW = 8
"""Classes with few exam rows that are named; the others are counted."""
CHANCE = 0.9
"""That as many labels as are asked for are enough: who sits the exam is drawn."""
_SETTING = {"tfidf_logistic": "training.method: tfidf"}
_FLOORS = ("min_accuracy", "min_macro_f1", "min_rouge_l")


def ways_out(
    case: UseCase,
    reasons: Iterable[Reason],
    *,
    exam: Mapping[str, int],
    score: float | None,
    slate: Sequence[tuple[str, float | None]] = (),
    baselines: Mapping[str, float] | None = None,
    groups: str | None = None,
) -> Reason:
    """What a person can do after a night that could have made the first model and did not.

    Args:
        case: The use case.
        reasons: The verdict's.
        exam: Label → exam rows; where texts are written, any one key.
        score: Accuracy or ROUGE-L of the challenger on the exam.
        slate: What was trained, in words, and how it did on validation rows.
        baselines: Name → accuracy or ROUGE-L on the exam.
        groups: What `few_groups` says.
    """
    told = []
    for reason in reasons:
        if not reason.on or reason.passed is True:
            continue
        if reason.rule == "exam_size":
            told += [_larger_exam(case, exam), *([groups] if groups else [])]
        elif reason.rule in _FLOORS and reason.passed is False:
            told.append(_floor(case, reason, exam, score, slate, baselines or {}))
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
    seated = len({one.group_id for one in examples if one.split == "exam"})
    how = (
        "Where they are customers, set split.by_customer: false: each text that comes without a "
        "group_id is then a group of its own. What came before stays where it was drawn"
        if case.split.by_customer
        else "Give one group_id only to texts that must not straddle the exam, such as those of "
        "one conversation"
    )
    return (
        f"The {len(examples)} examples are of {_groups(len(groups))}, {seated} in the exam. "
        f"A group is on one side of the split as a whole, so that {FEWEST_GROUPS} groups are "
        f"needed for an exam that says something. {how}."
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
    exam: Mapping[str, int], labels: Sequence[str], *, share: float, how: str
) -> str | None:
    """Which classes have fewer than `FEWEST_TO_JUDGE` exam rows, and what to do; often nothing.

    ``share`` of groups sits the exam; ``how`` says how labels come in.
    """
    few = sorted(
        (exam.get(label, 0), label) for label in labels if exam.get(label, 0) < FEWEST_TO_JUDGE
    )
    if not few:
        return None
    shown = ", ".join(f"{label} {rows}" for rows, label in few[:SHOWN_FEW])
    more = f" and {len(few) - SHOWN_FEW} more" if len(few) > SHOWN_FEW else ""
    number = to_seat(FEWEST_TO_JUDGE - few[0][0], share)
    return (
        f"fewer than {FEWEST_TO_JUDGE} exam rows: {shown}{more}. The exam cannot judge such a "
        f"class by itself, only as a part of the whole. Label up to {number} more of each, "
        f"from groups that are new, by {how}"
    )


def labels_needed(case: UseCase, *, train: int, exam: int) -> int:
    """About how many further labels make ``train`` and ``exam`` rows enough for a first model."""
    split = case.split
    trains = max(0.01, 1 - split.exam - split.validation)
    needed = (case.training.min_examples - train) / trains
    if case.curation.train_on_gold:
        # elsewhere what trains and what sits the exam are other labels
        needed = max(needed, to_seat(case.gate.min_exam_examples - exam, split.exam))
    return max(1, math.ceil(round(needed, 6)))


def _larger_exam(case: UseCase, exam: Mapping[str, int]) -> str:
    rows, least = sum(exam.values()), case.gate.min_exam_examples
    missing = max(1, least - rows)
    number = to_seat(missing, case.split.exam)
    return (
        f"The exam has {rows} rows and the gate asks none below {least} "
        f"(gate.min_exam_examples). Label about {number} more texts, so that {missing} of them sit "
        f"the exam{_first(case, exam)}: {by_file(case)}{_audits(case, number)}; or set "
        f"gate.min_exam_examples to {rows}: fewer rows prove less."
    )


def _audits(case: UseCase, number: int) -> str:
    """How requests are labelled for the exam, where requests come and audits may sit it."""
    if "audit" not in case.curation.gold_sources or not case.serving.unproven:
        return ""
    return f", or requests, drawn by flywheel queue -u {case.name} --n {number} --audit-share 1"


def _floor(
    case: UseCase,
    reason: Reason,
    exam: Mapping[str, int],
    score: float | None,
    slate: Sequence[tuple[str, float | None]],
    baselines: Mapping[str, float],
) -> str:
    floor = getattr(case.gate, reason.rule)
    told = [f"{reason.rule}: {reason.detail} (gate.{reason.rule})."]
    if reason.rule != "min_macro_f1" and floor is not None:
        told.append(_other_method(floor, slate, baselines))
        told.append(f"More labels help, too{_first(case, exam)}: {by_file(case)}.")
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
        return f"On the exam {name} has {seen:.3f}: set {_SETTING[name]}."
    return "No method that was tried reaches it; flywheel bench compares others."


def _first(case: UseCase, exam: Mapping[str, int]) -> str:
    """The labels that the exam has fewest rows of."""
    if case.generates or not exam:
        return ""
    fewest = sorted(case.label_names, key=lambda label: (exam.get(label, 0), label))[:SHOWN]
    shown = ", ".join(f"{label} ({exam.get(label, 0)} exam rows)" for label in fewest)
    return f", first of {shown}"
