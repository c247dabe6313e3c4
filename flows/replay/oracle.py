"""The oracle: what the same learner makes of the true labels of the same rows, without a loop."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence

from flows.replay.life import Company, answers_of, cpu_s
from flywheel.catalog.base_models import ensure_base
from flywheel.config import Home, UseCase
from flywheel.dataset import splits
from flywheel.modeling import methods
from flywheel.modeling.answerer import Answerer
from flywheel.replay.policies import OURS, POLICIES
from flywheel.replay.results import ORACLE, Life
from flywheel.replay.settings import Settings
from flywheel.replay.traffic import Asked


def learn(settings: Settings, seed: int, home: Home, told: Callable[[int], None]) -> Life:
    """Train on all rows of the training side so far, after each night; in real mode after the last.

    Attackers' requests are left out.
    """
    company = Company.begin(settings, POLICIES[OURS], seed, home)
    rows = list(company.traffic.seeds)
    accuracy: list[float | None] = []
    for night in range(settings.nights):
        rows += [one for one in company.traffic.days[night] if one.goal is None]
        wanted = settings.mode == "statistical" or night == settings.nights - 1
        accuracy.append(_accuracy(company, home, rows, night) if wanted else None)
        told(night + 1)
    return Life(policy=ORACLE, seed=seed, accuracy=tuple(accuracy), labels=len(rows), cpu_s=cpu_s())


def _accuracy(company: Company, home: Home, rows: Sequence[Asked], night: int) -> float:
    case = company.use_case(night)
    sides = splits.assign_by(case.split, {one.customer for one in rows}, known={})
    known = [
        one for one in rows if sides[one.customer] == "train" and one.said.label in case.label_names
    ]
    answerer = _fitted(case, home, known)
    return company.truth.score(answers_of(answerer)).accuracy(company.mix(night))


def _fitted(case: UseCase, home: Home, known: Sequence[Asked]) -> Answerer:
    recipe = case.training
    folder = home.root / ORACLE
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    work = methods.Work(
        use_case=case,
        base=ensure_base(recipe.base, home) if recipe.base else None,
        rows=methods.Rows(
            [one.said.text for one in known],
            [[case.label_names.index(one.said.label)] for one in known],
            [1.0] * len(known),
        ),
        folder=folder,
        max_tokens=recipe.tokens_per_pass,
        on_step=lambda *_: None,
    )
    return methods.method(recipe.method, case.kind).train(work).answerer
