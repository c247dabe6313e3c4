"""TF-IDF and a logistic regression: what anything dearer has to beat.

Kept as words and numbers, no pickle: what answers is rebuilt from them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from flywheel.config import UseCase
from flywheel.errors import NotEnoughData
from flywheel.evaluation import baselines
from flywheel.modeling import artifact
from flywheel.modeling.answerer import Probabilities
from flywheel.modeling.methods import Fitted, Work


@dataclass(frozen=True)
class WordWeights:
    """``coefficients`` (labels, words), ``intercepts`` (labels,); -inf for a label never seen."""

    vectorizer: Any
    coefficients: np.ndarray
    intercepts: np.ndarray
    label_names: tuple[str, ...]

    def lengths(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def answer(
        self, texts: Sequence[str], *, progress: Callable[[int, int], None] | None = None
    ) -> tuple[list[Probabilities], float]:
        if not texts:
            return [], 0.0
        begun = time.perf_counter()
        scores = self.vectorizer.transform(list(texts)) @ self.coefficients.T + self.intercepts
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares = powers / powers.sum(axis=1, keepdims=True)
        answers = [dict(zip(self.label_names, row.tolist(), strict=True)) for row in shares]
        if progress:
            progress(len(texts), len(texts))
        return answers, 1_000 * (time.perf_counter() - begun) / len(texts)


@dataclass(frozen=True)
class TfIdf:
    def train(self, work: Work) -> Fitted:
        """Fit it; rows that only say which label is wrong are left out.

        Raises:
            NotEnoughData: the rows have fewer than two labels.
        """
        rows, names = work.rows, work.use_case.label_names
        known = [i for i, target in enumerate(rows.targets) if len(target) == 1]
        labels = [rows.targets[i][0] for i in known]
        if len(set(labels)) < 2:
            raise NotEnoughData("TF-IDF needs examples of at least 2 labels.")
        begun = time.perf_counter()
        vectorizer, model = baselines.fit_tfidf(
            [rows.texts[i] for i in known], labels, [rows.weights[i] for i in known]
        )
        coefficients, intercepts = _for_all(model, len(names))
        work.on_step(1, 1, 0.0, 0.0)
        words = sorted(vectorizer.vocabulary_, key=vectorizer.vocabulary_.__getitem__)
        content = {"terms": "by script", "words": words}
        (work.folder / artifact.VOCABULARY).write_text(json.dumps(content))
        tensors = {"idf": vectorizer.idf_, "coefficients": coefficients, "intercepts": intercepts}
        save_file(tensors, work.folder / artifact.WEIGHTS)
        seconds = time.perf_counter() - begun
        answerer = self.load(work.use_case, None, work.folder)
        return Fitted(answerer, (), seconds, sum(answerer.lengths(rows.texts)))

    def load(self, use_case: UseCase, base: Path | None, folder: Path | None) -> WordWeights:
        assert folder is not None
        content = json.loads((folder / artifact.VOCABULARY).read_text())
        # once a list of words, of which texts without spaces have none
        by_script = not isinstance(content, list)
        tensors = load_file(folder / artifact.WEIGHTS)
        words = content["words"] if by_script else content
        vectorizer = baselines.vectorizer(words, by_script=by_script)
        vectorizer.idf_ = tensors["idf"]
        return WordWeights(
            vectorizer, tensors["coefficients"], tensors["intercepts"], use_case.label_names
        )


def _for_all(model: Any, labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows for every label, as a softmax wants them: with two, scikit-learn keeps one of them."""
    own, offset = model.coef_, model.intercept_
    if len(model.classes_) == 2:
        own, offset = np.vstack([0 * own, own]), np.concatenate([0 * offset, offset])
    coefficients = np.zeros((labels, own.shape[1]))
    intercepts = np.full(labels, -np.inf)
    coefficients[model.classes_], intercepts[model.classes_] = own, offset
    return coefficients, intercepts


METHOD = TfIdf()
