"""The contenders that a fine-tuned model has to be worth more than.

Of labels: both take training pairs (text, label) and texts to answer, and return one label →
probability mapping per text, in the texts' order, with every label in ``labels``' order; each sums
to 1.

Of written answers: `lead`, the beginning of the text itself, which is hard to beat in summaries of
news (Nallapati et al. 2017) and easy in those of talks.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from flywheel.dataset.images import Images, decoded
from flywheel.errors import DataError, NotEnoughData
from flywheel.text import segmentation

SEED = 0
GREY_SIDE = 32
_SENTENCE_ENDS = re.compile(
    # Hindi's and Arabic's among those that a space follows, Chinese and Japanese have none
    r"(?<=[.!?\u061f\u06d4\u0964])\s+|(?<=[\u3002\uff01\uff1f])\s*|\n+"
)


def majority(
    train: Sequence[tuple[str, str]], texts: Sequence[str], labels: Sequence[str]
) -> list[dict[str, float]]:
    """Answer every text with the labels' shares in ``train``, so that the commonest one wins.

    Shares, not certainty, so that its log loss is the entropy that a model has to beat.

    Raises:
        NotEnoughData: ``train`` is empty.
        DataError: ``train`` holds a label that is not in ``labels``.
    """
    counts = _counts(train, labels)
    return [{label: counts[label] / len(train) for label in labels} for _ in texts]


def lead(text: str, *, sentences: int) -> str:
    """The first ``sentences`` of a text; a line's end ends one as well."""
    found = [part for part in _SENTENCE_ENDS.split(text.strip()) if part.strip()]
    return " ".join(found[:sentences])


class TermCounts:
    """Texts whose terms are counted once, for models that learn from one choice of them or other.

    To find the terms of a text takes longer than to learn from them.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        import numpy as np
        from scipy.sparse import csr_array
        from sklearn.feature_extraction.text import CountVectorizer

        rows = list(dict.fromkeys(texts))
        self._place = {text: place for place, text in enumerate(rows)}
        # scikit-learn refuses texts that have no term at all
        if any(map(segmentation.terms, rows)):
            counter = CountVectorizer(analyzer=segmentation.terms, dtype=np.float64)
            self._counts = counter.fit_transform(rows)
        else:
            self._counts = csr_array((len(rows), 0), dtype=np.float64)

    def of(self, texts: Iterable[str]) -> Any:
        """A sparse matrix (texts, terms of all texts)."""
        return self._counts[[self._place[text] for text in texts]]


def tfidf_logistic(
    train: Sequence[tuple[str, str]],
    texts: Sequence[str],
    labels: Sequence[str],
    *,
    counted: TermCounts | None = None,
) -> list[dict[str, float]]:
    """Answer with a logistic regression on TF-IDF weights of the terms of texts, see `vectorizer`.

    A label that ``train`` lacks gets probability 0. Falls back to :func:`majority` when there is
    nothing to tell apart: one label in ``train``, or no term in its texts. The same
    input gives the same answers. ``counted`` holds all of these texts, where they come again.

    Raises:
        NotEnoughData: ``train`` is empty.
        DataError: ``train`` holds a label that is not in ``labels``.
    """
    import numpy as np
    from sklearn.feature_extraction.text import TfidfTransformer
    from threadpoolctl import threadpool_limits

    counts = _counts(train, labels)
    learned = [text for text, _ in train]
    counted = counted or TermCounts([*learned, *texts])
    terms = counted.of(learned)
    if len(counts) == 1 or not texts or not terms.nnz:
        return majority(train, texts, labels)
    # what no text to learn from holds is no word of this model
    held = np.unique(terms.indices)
    weights, model = TfidfTransformer(sublinear_tf=True), _logistic()
    with threadpool_limits(limits=1):
        model.fit(weights.fit_transform(terms[:, held]), [label for _, label in train])
        shares = model.predict_proba(weights.transform(counted.of(texts)[:, held]))
    known = [str(label) for label in model.classes_]
    given = [dict(zip(known, map(float, row), strict=True)) for row in shares]
    return [{label: row.get(label, 0.0) for label in labels} for row in given]


def grey_logistic(
    train: Sequence[tuple[str, str]], texts: Sequence[str], labels: Sequence[str], *, images: Images
) -> list[dict[str, float]]:
    """Answer with a logistic regression on `GREY_SIDE` by `GREY_SIDE` grey pixels of pictures.

    ``texts`` are addresses. A label that ``train`` lacks gets probability 0. Falls back to
    :func:`majority` when there is one label in ``train``.

    Raises:
        NotEnoughData: ``train`` is empty.
        DataError: ``train`` holds a label that is not in ``labels``, or a picture is not there.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    counts = _counts(train, labels)
    if len(counts) == 1 or not texts:
        return majority(train, texts, labels)
    # many more pixels than rows: the strongest penalty that still learns
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=1000))
    with threadpool_limits(limits=1):
        model.fit([_grey(a, images) for a, _ in train], [label for _, label in train])
        shares = model.predict_proba([_grey(address, images) for address in texts])
    known = [str(label) for label in model.classes_]
    given = [dict(zip(known, map(float, row), strict=True)) for row in shares]
    return [{label: row.get(label, 0.0) for label in labels} for row in given]


def _grey(address: str, images: Images) -> Any:
    import numpy as np

    small = decoded(images.content(address)).convert("L").resize((GREY_SIDE, GREY_SIDE))
    return np.asarray(small, dtype=np.float64).ravel()


def vectorizer(words: Sequence[str] | None = None, *, by_script: bool = True) -> Any:
    """TF-IDF weights of the terms of texts; of exactly ``words`` where they are given.

    Terms are those of `flywheel.text.segmentation`: words and word pairs, and characters in a row
    where words have no spaces between them. Not ``by_script``, they are words and word pairs
    everywhere, as in versions from before 2026-11-30.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not by_script:
        return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, vocabulary=words)
    return TfidfVectorizer(analyzer=segmentation.terms, sublinear_tf=True, vocabulary=words)


def fit_tfidf(
    texts: Sequence[str], labels: Sequence[Any], weights: Sequence[float] | None = None
) -> tuple[Any, Any]:
    """scikit-learn's vectorizer and logistic regression, fitted; rows count by ``weights``."""
    from threadpoolctl import threadpool_limits

    found, model = vectorizer(), _logistic()
    # threads wait for each other longer than they work on a problem this small
    with threadpool_limits(limits=1):
        model.fit(found.fit_transform(texts), labels, sample_weight=weights)
    return found, model


def _logistic() -> Any:
    from sklearn.linear_model import LogisticRegression

    # C=20: TF-IDF rows have length 1, for which the default of 1 regularises too strongly.
    return LogisticRegression(C=20, max_iter=1000, random_state=SEED)


def _counts(train: Sequence[tuple[str, str]], labels: Sequence[str]) -> Counter[str]:
    if not train:
        raise NotEnoughData("A baseline has 0 training examples; it needs at least 1.")
    counts = Counter(label for _, label in train)
    unknown = sorted(set(counts) - set(labels))
    if unknown:
        raise DataError(
            f"Training labels {', '.join(unknown)} are not known; known: {', '.join(labels)}."
        )
    return counts
