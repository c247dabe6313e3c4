"""What a version was measured to answer on a sample of holdout rows, and what differs from that.

The sample is kept as a file under the home, so that the service can ask a version anew before it
takes traffic: it never opens the warehouse. The file holds customers' texts, as snapshots do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from flywheel.config import UseCase
from flywheel.evaluation import rouge
from flywheel.files import private_files
from flywheel.files.json_files import damaged, read_json
from flywheel.records.answers import Answer, top

ROW_TOLERANCE, MEAN_TOLERANCE = 0.15, 0.03
"""How far probabilities may be from the measured ones: on one row, and on the mean over all.

In bf16 a row's sums depend on the rows beside it in the batch. With the default use case's 518
holdout rows, batched anew at random, the worst row moved by 0.056, and samples of 32 rows by 0.013
on the mean at most; the answers of the champion before were 0.083 away on the mean at least
(``python -m benchmarks.served_noise``).
"""

LEAST_LIKENESS = 0.8
"""The least mean ROUGE-L between answers written now and those measured.

Which rows are in a batch changes bf16 sums, and with them now and then a word and all that follows.
Of 62 summaries of DialogSum, batched anew at random twice, samples of 32 were 0.889 alike at least;
those of the next night's model 0.714 at most (``python -m benchmarks.served_noise -u USE_CASE``).
"""

Sample = Mapping[str, Answer]
"""Text → what was measured."""


@dataclass(frozen=True)
class Difference:
    """What was found instead, in numbers, without a text; ``wrong`` rows differ by themselves."""

    found: str
    wrong: int = 0


def difference(
    use_case: UseCase, measured: Sequence[Answer], answered: Sequence[Answer]
) -> Difference | None:
    """What differs beyond what rounding explains; None when nothing does.

    Both are of the same texts, in the same order.
    """
    if use_case.is_generation:
        return _written_difference(measured, answered)
    rows = [(old, new, top(new)) for old, new in zip(measured, answered, strict=True)]
    faults = [fault for row in rows if (fault := row_difference(*row))]
    if faults:
        told = f"{len(faults)} of {len(rows)} holdout rows otherwise (first: {faults[0]})"
        return Difference(f"answers {told} than when it was measured", len(faults))
    mean = fmean(max(abs(before[n] - now[n]) for n in before) for before, now, _ in rows)
    if mean <= MEAN_TOLERANCE:
        return None
    told = f"{len(rows)} holdout rows {mean:.3f} off on the mean (at most {MEAN_TOLERANCE})"
    return Difference(f"answers {told} than when it was measured")


def row_difference(measured: Answer, answered: Answer, label: str) -> str | None:
    """What differs on one row, in numbers; None when nothing does beyond what rounding explains."""
    if set(answered) != set(measured):
        return f"labels {', '.join(sorted(answered))}"
    top = max(measured, key=measured.__getitem__)
    if not measured[top] - measured[label] <= ROW_TOLERANCE:
        return f"{label} where {top} was measured with {measured[top]:.3f}"
    for name, probability in measured.items():
        # written so that a nan differs
        if not abs(probability - answered[name]) <= ROW_TOLERANCE:
            return f"{name} {answered[name]:.3f} where {probability:.3f} was measured"
    return None


def _written_difference(
    measured: Sequence[Answer], answered: Sequence[Answer]
) -> Difference | None:
    alike = [
        rouge.likeness(top(now), top(before))
        for before, now in zip(measured, answered, strict=True)
    ]
    if fmean(alike) >= LEAST_LIKENESS:
        return None
    return Difference(
        f"writes {len(alike)} answers that are {fmean(alike):.3f} like those measured, by ROUGE-L "
        f"(at least {LEAST_LIKENESS})",
        sum(one < LEAST_LIKENESS for one in alike),
    )


# ---- The sample's file


def path(folder: Path, use_case: str, digest: str) -> Path:
    """Where the sample of a version with that digest lies, within `Home.measured`."""
    return folder / use_case / f"{digest}.json"


def write(folder: Path, use_case: str, digest: str, sample: Sample) -> None:
    """Keep a sample, whole or not at all, as private as the home."""
    target = path(folder, use_case, digest)
    rows = [[text, answer] for text, answer in sample.items()]
    private_files.replace(target, json.dumps(rows, ensure_ascii=False).encode())


def read(folder: Path, use_case: str, digest: str) -> dict[str, dict[str, float]]:
    """The sample of a version; empty where none was kept, or somebody in it was forgotten.

    Raises:
        DataError: the file is damaged.
    """
    file = path(folder, use_case, digest)
    so = (
        "The version takes no traffic, for nothing here tells whether it answers as measured. Put "
        "the file back from a backup, or delete it: golden texts alone are asked then. Then start "
        "flywheel serve anew."
    )
    try:
        content = read_json(file, so=so)
    except FileNotFoundError:
        return {}
    try:
        return {str(text): dict(answer) for text, answer in content}
    except (TypeError, ValueError) as error:
        raise damaged(file, "no list of texts and answers", so=so) from error
