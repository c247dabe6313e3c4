"""Ask contenders and baselines the same rows."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

from prefect import task

from flywheel.catalog import memory
from flywheel.config import Home, UseCase
from flywheel.dataset import snapshots
from flywheel.dataset.images import Images
from flywheel.evaluation import baselines, rouge
from flywheel.evaluation.task_type import task_type
from flywheel.gate import slices
from flywheel.modeling import artifact, fingerprint
from flywheel.records import Contender, Example, Question, Reason, Report, Row, Snapshot, Trial
from flywheel.records.answers import top
from flywheel.store import open_store
from flywheel.store.nights import contender_scores as contenders
from flywheel.store.nights import fresh_rows
from flywheel.text.normalize import text_id
from flywheel.tracking.versions import Version
from flywheel.training import adapter_folder
from tasks.score import score

log = logging.getLogger(__name__)

SHADOW_REQUESTS = 200
"""Newest requests that a challenger answers in the champion's shadow."""
MEGABYTE = 1e6


@dataclass(frozen=True)
class Contest:
    """A challenger, whom it stands against, and what both answered on the same rows.

    Without an ``opponent``, ``gone`` says why there is none to compare with; where that is None
    too, there never was a champion.
    ``base`` is the base model itself, zero-shot; ``baselines`` is name → accuracy, or ROUGE-L.
    """

    opponent: Version | None
    question: Question | None
    trial: Trial | None
    challenger: Contender
    champion: Contender | None
    base: Contender
    baselines: Mapping[str, float]
    gone: str | None = None
    note: Reason | None = None
    """What is different tonight from when the champion was measured."""
    learned: Reason | None = None
    """Which holdout rows do not count, as a contender learned from them."""

    @property
    def first(self) -> bool:
        """Whether there never was a champion."""
        return self.opponent is None and self.gone is None

    @property
    def rivals(self) -> dict[str, float]:
        """The score of what a challenger should at least beat, on the same rows."""
        report = self.base.report
        return {**self.baselines, **({"zero_shot": report.score} if report else {})}


@task(timeout_seconds=6 * 3_600, task_run_name="evaluate {name}")
def examine(
    use_case: UseCase,
    home: Home,
    snapshot: Snapshot,
    adapter: Path | None,
    *,
    name: str,
    own: UseCase | None = None,
    rival: tuple[UseCase, Path] | None = None,
    without: Collection[str] = (),
) -> Contender:
    """Everything the gate wants to know of a contender; what it answered before is not asked again.

    ``adapter`` None examines the base itself, zero-shot. ``own`` is the use case that it is asked
    by, where that is not tonight's: a registered version keeps its prompt and labels. ``rival`` is
    whom it would replace, asked by its own, for the share of the newest requests that both answer
    otherwise. Holdout rows ``without`` are not asked: a contender learned from them.
    """
    holdout = _holdout(home, snapshot, without)
    wanted = {e.example_id: e.text for e in holdout}
    asked_by = own or use_case
    answers = ask(asked_by, home, adapter, wanted, name=name)
    digest = digest_of(asked_by, home, adapter)
    with open_store(home.warehouse) as store:
        latency_ms = contenders.latency_ms(store, use_case.name, digest)
        memory_mb = contenders.peak_memory_mb(store, use_case.name, digest)
    report = _report_of(use_case, holdout, answers, own=own, digest=digest, latency_ms=latency_ms)
    return Contender(
        report=report,
        golden=_golden(use_case, home, adapter, asked_by, name=name),
        memory_mb=_here(use_case) if memory_mb is None else memory_mb,
        adapter_mb=_megabytes(adapter) if adapter else 0.0,
        disagreement=_disagreement(use_case, home, adapter, rival, name=name),
    )


def _here(use_case: UseCase) -> float | None:
    """Peak memory where answers are older than its column; of a pool nobody knows it then."""
    return None if use_case.training.where == "pool" else memory.peak_mb()


def _report_of(
    use_case: UseCase,
    holdout: Sequence[Example],
    answers: Mapping[str, Mapping[str, float]],
    *,
    own: UseCase | None,
    digest: str,
    latency_ms: float,
) -> Report:
    labels = (*use_case.label_names, *_further(own, use_case))
    return task_type(use_case, labels).report(
        digest=digest,
        gold={e.example_id: e.label for e in holdout if e.label is not None},
        answers={row: _over(labels, answer, own) for row, answer in answers.items()},
        latency_ms=latency_ms,
    )


def _further(own: UseCase | None, use_case: UseCase) -> tuple[str, ...]:
    """Labels that a version may answer with and the use case has no more."""
    return tuple(n for n in (own.label_names if own else ()) if n not in use_case.labels)


def _over(
    labels: Sequence[str], answer: Mapping[str, float], own: UseCase | None
) -> Mapping[str, float]:
    """An answer over all ``labels``; what was added since a version was measured has no chance."""
    if own is None or set(answer) != set(own.labels):
        return answer
    return {label: answer.get(label, 0.0) for label in labels}


def ask(
    use_case: UseCase, home: Home, adapter: Path | None, texts: Mapping[str, str], *, name: str
) -> dict[str, dict[str, float]]:
    """A contender's probabilities for each of ``texts``, by id; what it answered before is kept."""
    digest = digest_of(use_case, home, adapter)
    with open_store(home.warehouse) as store:
        known = contenders.scores(store, use_case.name, digest)
    missing = {row: text for row, text in texts.items() if row not in known}
    if missing:
        fresh = score(use_case, home, adapter, missing, digest=digest, name=name)
        with open_store(home.warehouse) as store:
            contenders.add(
                store,
                use_case.name,
                digest,
                fresh.answers,
                fresh.latency_ms,
                peak_memory_mb=fresh.peak_memory_mb,
                runtime=fresh.runtime,
            )
        known |= fresh.answers
    log.info("scored %s on %d rows (%d asked now)", name, len(texts), len(missing))
    return {row: known[row] for row in texts}


def describe_holdout(use_case: UseCase, home: Home, snapshot: Snapshot) -> dict[str, Row]:
    """What is known of each holdout row beside its text: who it belongs to, and its slices."""
    return describe(use_case, home, _holdout(home, snapshot))


def describe(use_case: UseCase, home: Home, examples: Sequence[Example]) -> dict[str, Row]:
    """example_id → what the gate may know of each example that has a label."""
    with open_store(home.warehouse) as store:
        origins = fresh_rows.origins(
            store, use_case.name, (f for e in examples for f in e.feedback_ids)
        )
        drawn = fresh_rows.drawn(store, use_case.name, (e.example_id for e in examples))
    rows = {}
    for example in examples:
        given = [origins[name] for name in example.feedback_ids if name in origins]
        if example.label is None or not given:
            continue
        source, given_at = min(given, key=lambda one: one[1])
        rows[example.example_id] = Row(
            example_id=example.example_id,
            label=example.label,
            group_id=example.group_id,
            source=source,
            slices=slices.slices_of(
                example.text,
                label=example.label,
                group_id=example.group_id,
                source=source,
                given_at=given_at,
                rules=use_case.gate,
            ),
            probability=drawn.get(example.example_id),
            cluster_id=example.cluster_id,
        )
    return rows


@task(task_run_name="evaluate the baselines")
def score_baselines(
    use_case: UseCase, home: Home, snapshot: Snapshot, without: Collection[str] = ()
) -> dict[str, float]:
    """The holdout score of the cheap baselines on the same rows and the same training labels."""
    examples = snapshots.read(home.snapshots, snapshot.snapshot_id)
    examples = tuple(e for e in examples if e.split != "holdout" or e.example_id not in without)
    if use_case.is_generation:
        return _leads([e for e in examples if e.split == "holdout"])
    train = [(e.text, e.label) for e in examples if e.split == "train" and e.label]
    holdout = [e for e in examples if e.split == "holdout"]
    texts = [e.text for e in holdout]
    cheap = baselines.tfidf_logistic
    if use_case.is_image:
        cheap = partial(baselines.grey_logistic, images=Images(home.images))
    name = "grey_logistic" if use_case.is_image else "tfidf_logistic"
    contenders = {"majority": baselines.majority, name: cheap}
    return {
        name: _accuracy(holdout, contend(train, texts, use_case.label_names))
        for name, contend in contenders.items()
    }


def _leads(holdout: Sequence[Example]) -> dict[str, float]:
    return {
        name: fmean(
            rouge.share(baselines.lead(e.text, sentences=many), [e.label or ""]).rouge_l
            for e in holdout
        )
        for name, many in {"first_sentence": 1, "lead_3": 3}.items()
        if holdout
    }


def holdout_texts(home: Home, snapshot: Snapshot) -> dict[str, str]:
    """Holdout row → its text."""
    return {example.example_id: example.text for example in _holdout(home, snapshot)}


def _holdout(home: Home, snapshot: Snapshot, without: Collection[str] = ()) -> list[Example]:
    examples = snapshots.read(home.snapshots, snapshot.snapshot_id)
    return [e for e in examples if e.split == "holdout" and e.example_id not in without]


def _golden(
    use_case: UseCase, home: Home, adapter: Path | None, own: UseCase, *, name: str
) -> tuple[bool, ...] | None:
    if not use_case.golden:
        return None
    texts = {text_id(golden.text): golden.text for golden in use_case.golden}
    answers = ask(own, home, adapter, texts, name=name)
    kind = task_type(use_case)
    return tuple(
        kind.row_score(answers[text_id(g.text)], g.label) >= kind.golden_score
        for g in use_case.golden
    )


def _disagreement(
    use_case: UseCase,
    home: Home,
    adapter: Path | None,
    rival: tuple[UseCase, Path] | None,
    *,
    name: str,
) -> float | None:
    if rival is None or use_case.gate.max_disagreement is None:
        return None
    with open_store(home.warehouse) as store:
        requests = fresh_rows.newest_requests(store, use_case.name, newest=SHADOW_REQUESTS)
    texts = {text_id(text): text for text in requests.values()}
    if not texts:
        return None
    ours = ask(use_case, home, adapter, texts, name=name)
    own, folder = rival
    theirs = ask(own, home, folder, texts, name="the champion")
    return sum(top(ours[row]) != top(theirs[row]) for row in texts) / len(texts)


def digest_of(use_case: UseCase, home: Home, adapter: Path | None) -> str:
    """Under which its answers are kept: what its training recorded, where that is this very
    artifact, and only names the build of torch in the way of before."""
    found = fingerprint.of(use_case, artifact.base_folder(use_case, home, adapter), adapter)
    recorded = adapter_folder.recorded_digest(adapter) if adapter else None
    return recorded if recorded in found.earlier else found.digest


def _megabytes(folder: Path) -> float:
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / MEGABYTE


def _accuracy(holdout: Sequence[Example], answers: Sequence[dict[str, float]]) -> float:
    return (
        sum(top(p) == (e.label or "") for e, p in zip(holdout, answers, strict=True)) / len(holdout)
        if holdout
        else float("nan")
    )
