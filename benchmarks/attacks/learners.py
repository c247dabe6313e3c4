"""How rows become a model: the cheap recipe, in which hundreds fit into minutes, and QLoRA."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from flywheel.config import UseCase

Row = tuple[str, str, float]
"""A text, its label, and what it weighs."""
Answer = Callable[[Sequence[str]], list[str]]
Learn = Callable[[Sequence[Row]], Answer]


def tfidf(rows: Sequence[Row]) -> Answer:
    """TF-IDF and logistic regression, trained on weighted rows."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    weights = np.array([weight for *_, weight in rows])
    model = LogisticRegression(C=20, max_iter=1000).fit(
        words.fit_transform([text for text, *_ in rows]),
        [label for _, label, _ in rows],
        sample_weight=weights / weights.mean(),
    )
    return lambda texts: list(model.predict(words.transform(list(texts))))


def qlora(case: UseCase, base: Path, tell: Callable[[str], None] = lambda _: None) -> Learn:
    """The recipe of the use case on a base; ``tell`` hears what each training took."""

    def learn(rows: Sequence[Row]) -> Answer:
        import torch

        from flywheel.modeling import methods, model_loading
        from flywheel.modeling.methods import qlora
        from flywheel.modeling.optim import training_loop
        from flywheel.modeling.verbalizer import verbalizer
        from flywheel.training import runner

        names = case.label_names
        plan = runner.plan_memory(case, base)
        torch.manual_seed(case.training.seed)
        model = verbalizer.attach(model_loading.load_quantised(base), qlora.adapter(case.training))
        reader = verbalizer.reader_for(case, model, base)
        begun = time.perf_counter()
        training_loop.fit(
            reader,
            case.training,
            methods.Rows(
                [text for text, *_ in rows],
                [[names.index(label)] for _, label, _ in rows],
                [weight for *_, weight in rows],
            ),
            on_step=lambda *_: None,
            max_tokens=plan.tokens_per_pass,
            recompute=plan.recompute,
        )
        tell(f"trained on {len(rows)} rows in {time.perf_counter() - begun:.0f} s")

        def answer(texts: Sequence[str]) -> list[str]:
            found, _ = reader.answer(list(texts))
            return [max(one, key=one.__getitem__) for one in found]

        return answer

    return learn
