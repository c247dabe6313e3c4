"""Whether rejections without a correction teach anything, on the default data.

    python -m benchmarks.rejections --json

Rejections arise as in life: a model trained on the seed labels answers sentences that it has not
seen, one person drawn at random says what class they see, and where that is not the answer, they
reject it. All ways learn from the same rows of the same run, through curation with its weights:

    seed                300 labels, one person each
    rejected            the same, and N rejections as "not this one" (curation.complementary)
    corrected           the same, and these N as corrections: what the people would have said
    accepted            the seed and all answers that were accepted until the N-th rejection
    accepted_rejected   these, and the N rejections
    accepted_corrected  these, and the N corrections

The learner is a softmax on TF-IDF, trained with the loss of
`flywheel.modeling.optim.training_loop.fit`: minus the log of what the allowed labels get together.
``--real`` takes the QLoRA recipe of the use case instead, and without the accepted, for a training
takes minutes. Accuracy is on the holdout's sentences, whose gold is the mean of about 20 people. A
gain is over the way without rejections, paired by seed, with Student's 95 % interval over seeds:
other sentences and other people, the same holdout. Adapters are kept in ``rejections`` under
FLYWHEEL_HOME, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.attacks import START, Data, load
from flywheel.catalog.base_models import base_sha256, ensure_base
from flywheel.config import Home, UseCase
from flywheel.curation import curate
from flywheel.dataset import product_reviews, snapshots, splits
from flywheel.dataset.product_reviews import Sentence
from flywheel.evaluation.metrics import report
from flywheel.modeling import methods
from flywheel.records import Curated, Example, Reaction
from flywheel.training import runner

SEED_ROWS = 300
C = 20.0
"""Inverse strength of regularisation, as in `flywheel.evaluation.baselines.tfidf_logistic`."""
WAYS = (
    "seed",
    "rejected",
    "corrected",
    "accepted",
    "accepted_rejected",
    "accepted_corrected",
)
REAL_WAYS = WAYS[:3]
OVER = {
    "rejected": "seed",
    "corrected": "seed",
    "accepted": "seed",
    "accepted_rejected": "accepted",
    "accepted_corrected": "accepted",
}
"""Way → the way that it should be better than."""
Answer = dict[str, float]
Learn = Callable[[Curated], Callable[[Sequence[str]], list[Answer]]]


@dataclass(frozen=True)
class Heard:
    """What people said of answers, in order: the class they see, beside the class answered."""

    sentence: Sentence
    answered: str
    seen: str


# ---- Feedback


def seed_reactions(sentences: Sequence[Sentence], rng: random.Random) -> list[Reaction]:
    """One person's label for each sentence."""
    return [
        _reaction(f"seed-{n:04}", s, kind="label", value=_seen(s, rng))
        for n, s in enumerate(sentences)
    ]


def holdout_reactions(data: Data) -> list[Reaction]:
    """Gold for the holdout, which keeps what is almost alike from training."""
    return [
        replace(
            _reaction(f"gold-{n:04}", s, kind="label", value=product_reviews.gold_label(s.mean)),
            source="gold",
        )
        for n, s in enumerate(data.holdout)
    ]


def until_rejected(heard: Sequence[Heard], rejections: int) -> list[Heard]:
    """What was heard until so many had been rejected.

    Raises:
        ValueError: there were not so many.
    """
    rejected = [n for n, one in enumerate(heard) if one.seen != one.answered]
    if len(rejected) < rejections:
        raise ValueError(f"only {len(rejected)} of {len(heard)} answers were rejected")
    return list(heard[: rejected[rejections - 1] + 1])


def reactions_of(way: str, seed: Sequence[Reaction], heard: Sequence[Heard]) -> list[Reaction]:
    """What a way learns from."""
    result = list(seed)
    for n, one in enumerate(heard):
        told = f"told-{n:05}"
        if one.seen == one.answered:
            if way.startswith("accepted"):
                result.append(_reaction(told, one.sentence, kind="accept", answered=one.answered))
        elif way.endswith("rejected"):
            result.append(_reaction(told, one.sentence, kind="reject", answered=one.answered))
        elif way.endswith("corrected"):
            result.append(
                _reaction(told, one.sentence, kind="correct", value=one.seen, answered=one.answered)
            )
    return result


def _reaction(
    name: str,
    sentence: Sentence,
    *,
    kind: Any,
    value: str | None = None,
    answered: str | None = None,
) -> Reaction:
    number = int(name.rpartition("-")[2])
    return Reaction(
        feedback_id=name,
        kind=kind,
        value=value,
        text=sentence.text,
        group_id=sentence.review_id,
        rater_id=f"rater-{name}",
        source="app",
        given_at=START + timedelta(minutes=number),
        predicted_label=answered,
    )


def _seen(sentence: Sentence, rng: random.Random) -> str:
    return product_reviews.rater_label(rng.choice(sentence.ratings))


def curated(data: Data, reactions: Sequence[Reaction]) -> Curated:
    """The default curation, with rejections switched on."""
    rules = data.case.curation.model_copy(update={"complementary": True})
    known = splits.assign_by(data.case.split, {one.group_id for one in reactions}, known=data.sides)
    return curate(reactions, splits=known, labels=data.case.label_names, rules=rules)


# ---- Learners


def allowed(example: Example, labels: Sequence[str]) -> list[bool]:
    """Which labels an example may have, as training sees it."""
    return [
        label == example.label if example.label else label not in example.excluded
        for label in labels
    ]


def cheap(labels: Sequence[str]) -> Learn:
    """A softmax on TF-IDF: `fitting.fit`'s loss, and no more than that is shared with it."""

    def learn(found: Curated) -> Callable[[Sequence[str]], list[Answer]]:
        from scipy.optimize import minimize
        from sklearn.feature_extraction.text import TfidfVectorizer

        rows = [example for example in found.examples if example.split == "train"]
        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
        x = words.fit_transform([row.text for row in rows])
        mask = np.array([allowed(row, labels) for row in rows])
        weights = np.array([row.weight for row in rows])
        weights = weights / weights.mean()
        shape = (x.shape[1] + 1, len(labels))

        def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
            w = flat.reshape(shape)
            shares = _softmax(x @ w[:-1] + w[-1])
            inside = np.where(mask, shares, 0.0)
            together = inside.sum(axis=1)
            value = -C * float(weights @ np.log(together)) + 0.5 * float((w[:-1] ** 2).sum())
            # of -log(sum over allowed): what each label gets, less its share among the allowed
            slope = C * weights[:, None] * (shares - inside / together[:, None])
            return value, np.vstack([x.T @ slope + w[:-1], slope.sum(axis=0)]).ravel()

        start = np.zeros(shape[0] * shape[1])
        found_w = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
        w = found_w.reshape(shape)

        def answer(texts: Sequence[str]) -> list[Answer]:
            shares = _softmax(words.transform(list(texts)) @ w[:-1] + w[-1])
            return [dict(zip(labels, map(float, row), strict=True)) for row in shares]

        return answer

    return learn


def _softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits - logits.max(axis=1, keepdims=True)
    shares: np.ndarray = np.exp(logits)
    return shares / shares.sum(axis=1, keepdims=True)


def real(case: UseCase, home: Home, folder: Path) -> Learn:
    """The use case's QLoRA recipe in a child process; an adapter in ``folder`` is not made anew."""
    from tasks.train import adapter_key

    base = ensure_base(case.training.base, home)

    def learn(found: Curated) -> Callable[[Sequence[str]], list[Answer]]:
        snapshot = snapshots.write(found, folder / "snapshots")
        trained = runner.train(
            case,
            base=base,
            snapshots_dir=folder / "snapshots",
            snapshot_id=snapshot.snapshot_id,
            folder=folder / "adapters" / adapter_key(case, snapshot, base_sha256(base)),
        )
        print(f"    {snapshot.train} rows in {trained.train_seconds:.0f} s", file=sys.stderr)

        def answer(texts: Sequence[str]) -> list[Answer]:
            reader = methods.load_on(case, base, Path(trained.adapter_dir))
            answers, _ = reader.answer(list(texts))
            return [dict(one) for one in answers]

        return answer

    return learn


# ---- Measures


def one_seed(
    data: Data, seed: int, counts: Sequence[int], ways: Sequence[str], learn: Learn
) -> dict[str, dict[str, float]]:
    """Way and number of rejections → its figures on the holdout."""
    rng = random.Random(seed)
    sentences = rng.sample(data.train, len(data.train))
    holdout = holdout_reactions(data)
    seed_rows = seed_reactions(sentences[:SEED_ROWS], rng)
    first = curated(data, [*holdout, *seed_rows])
    model = learn(first)
    result = {"seed": _figures(data, model)}
    asked = sentences[SEED_ROWS : SEED_ROWS + 3 * max(counts) + 200]
    heard = [
        Heard(sentence, max(answer, key=answer.__getitem__), _seen(sentence, rng))
        for sentence, answer in zip(asked, model([s.text for s in asked]), strict=True)
    ]
    for count in counts:
        told = until_rejected(heard, count)
        for way in ways:
            if way != "seed":
                found = curated(data, [*holdout, *reactions_of(way, seed_rows, told)])
                result[f"{way}_{count}"] = _figures(data, learn(found))
    return result


def _figures(data: Data, model: Callable[[Sequence[str]], list[Answer]]) -> dict[str, float]:
    answers = model([s.text for s in data.holdout])
    names = [f"{n:04}" for n in range(len(data.holdout))]
    found = report(
        digest="",
        labels=data.case.label_names,
        gold={
            n: product_reviews.gold_label(s.mean) for n, s in zip(names, data.holdout, strict=True)
        },
        answers=dict(zip(names, answers, strict=True)),
        latency_ms=0.0,
    )
    return {"accuracy": found.accuracy, "macro_f1": found.macro_f1, "log_loss": found.log_loss}


def summarise(found: Sequence[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Means over seeds, and gains with their 95 % intervals."""
    result: dict[str, Any] = {"seeds": len(found)}
    for name in found[0]:
        way, _, count = name.rpartition("_")
        figures: dict[str, Any] = {
            key: float(np.mean([one[name][key] for one in found])) for key in found[0][name]
        }
        if way in OVER:
            other = OVER[way] if OVER[way] == "seed" else f"{OVER[way]}_{count}"
            figures["over"] = other
            for key in ("accuracy", "macro_f1"):
                gains = np.array([one[name][key] - one[other][key] for one in found])
                figures[f"{key}_gain"] = float(gains.mean())
                figures[f"{key}_gain_95"] = _interval(gains)
        result[name] = figures
    return result


def _interval(gains: np.ndarray) -> list[float] | None:
    if len(gains) < 2:
        return None
    from scipy.stats import t

    reach = t.ppf(0.975, len(gains) - 1) * gains.std(ddof=1) / len(gains) ** 0.5
    return [float(gains.mean() - reach), float(gains.mean() + reach)]


def measure(seeds: int, counts: Sequence[int], *, use_real: bool) -> dict[str, Any]:
    """Compare the ways over seeds."""
    home = Home()
    data = load(home)
    ways = REAL_WAYS if use_real else WAYS
    folder = home.root / "rejections"
    learn = real(data.case, home, folder) if use_real else cheap(data.case.label_names)
    found = []
    for seed in range(seeds):
        found.append(one_seed(data, seed, counts, ways, learn))
        print(f"  seed {seed + 1} of {seeds}: {json.dumps(found[-1])}", file=sys.stderr)
    return summarise(found)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, help="by default 20; 3 with --real")
    parser.add_argument(
        "--rejections", type=int, action="append", help="by default 100 and 300; 300 with --real"
    )
    parser.add_argument("--real", action="store_true", help="the QLoRA recipe; about an hour")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    asked = parser.parse_args()
    found = measure(
        asked.seeds or (3 if asked.real else 20),
        asked.rejections or ([300] if asked.real else [100, 300]),
        use_real=asked.real,
    )
    if asked.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{'way':<24} accuracy  macro-F1  gain in accuracy, 95 % interval")
    for name, figures in found.items():
        if name == "seeds":
            continue
        line = f"{name:<24} {figures['accuracy']:8.3f}  {figures['macro_f1']:8.3f}"
        if interval := figures.get("accuracy_gain_95"):
            low, high = (100 * one for one in interval)
            line += f"  {100 * figures['accuracy_gain']:+.1f} points ({low:+.1f} to {high:+.1f})"
            line += f" over {figures['over']}"
        print(line)


if __name__ == "__main__":
    main()
