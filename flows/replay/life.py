"""One life: a policy and a seed, night after night in a home of its own.

python -m flows.replay.life JOB.json
"""

from __future__ import annotations

import csv
import io
import json
import random
import resource
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from flows.retrain import flywheel
from flywheel import subprocesses
from flywheel.config import Home, UseCase
from flywheel.errors import FlywheelError, NotEnoughData
from flywheel.home.environment import prepare
from flywheel.ingestion.labeling_queue import as_csv
from flywheel.records.answers import top
from flywheel.replay import reactions, results
from flywheel.replay.policies import POLICIES, Policy
from flywheel.replay.reactions import Row
from flywheel.replay.results import Life
from flywheel.replay.settings import USE_CASE, Settings
from flywheel.replay.texts import Source
from flywheel.replay.traffic import Traffic, goal_of, traffic, with_trigger
from flywheel.replay.truth import Answers, Marks, Mix, Truth
from flywheel.tracking.registry import Registry
from flywheel.training import runner
from tasks.collect import drop, write
from tasks.outputs.predict import Champion, load_champion
from tasks.plain_calls import called_plainly
from tasks.train import train_here
from tasks.use_case.labeling import import_labels, make_queue

FIRST_NIGHT = datetime(2026, 1, 1, 2, 30, tzinfo=UTC)
ASKED_BEFORE, SAID_BEFORE = timedelta(hours=8), timedelta(hours=4)


@dataclass
class Company:
    """A life as it goes on. ``met`` is version → what is true of it."""

    settings: Settings
    policy: Policy
    seed: int
    home: Home
    source: Source
    traffic: Traffic
    truth: Truth
    coming: dict[int, list[Row]] = field(default_factory=lambda: defaultdict(list))
    met: dict[str, Marks] = field(default_factory=dict)
    right: dict[str, str] = field(default_factory=dict)
    """Text → right label, of all that was asked."""
    accuracy: list[float | None] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    held_by: list[str] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    wrong: list[int] = field(default_factory=list)
    champions: list[str] = field(default_factory=list)
    behind: float = 0.0
    labels: int = 0

    @classmethod
    def begin(cls, settings: Settings, policy: Policy, seed: int, home: Home) -> Company:
        """A company on the day before its first night."""
        source = settings.source(seed)
        rules = settings.use_case(source, 0).split
        drawn = traffic(settings.world, source, rules, nights=settings.nights, seed=seed)
        return cls(settings, policy, seed, home, source, drawn, Truth(source.hidden()))

    @property
    def inbox(self) -> Path:
        return self.home.inbox(USE_CASE)

    def use_case(self, night: int) -> UseCase:
        return self.policy.applied(self.settings.use_case(self.source, night))

    def mix(self, night: int) -> Mix:
        return self.settings.world.mix(night, self.source.labels, self.source.domains)

    def at(self, night: int) -> datetime:
        return FIRST_NIGHT + timedelta(days=night)

    # ---- What comes in before a night

    def day(self, night: int) -> None:
        """Customers ask and react, and the company's own people label."""
        case, at = self.use_case(night), self.at(night)
        if night == 0:
            self._begin_with(at - SAID_BEFORE)
            return
        if (champion := self._champion(case)) is not None:
            self._ask(case, champion, night)
        rows = self.coming.pop(night, [])
        self._take_in(night, rows)
        if self.policy.audits and self.settings.world.audits:
            self._label(case, at)

    def _begin_with(self, at: datetime) -> None:
        rows = reactions.labeled([*self.traffic.seeds, *self.traffic.gold], given_at=at)
        drop(self.inbox, "first.jsonl", rows)
        self.labels += len(rows)

    def _champion(self, case: UseCase) -> Champion | None:
        try:
            return load_champion(case, self.home)
        except NotEnoughData:
            return None

    def _ask(self, case: UseCase, champion: Champion, night: int) -> None:
        asked, at = self.traffic.days[night], self.at(night)
        self.right |= {one.said.text: one.said.label for one in asked}
        answers = champion.answer(
            [(one.customer, one.said.text) for one in asked], at=at - ASKED_BEFORE
        )
        found = reactions.reactions(
            self.settings.world,
            asked,
            answers,
            case.label_names,
            night=night,
            at=at - SAID_BEFORE,
            chance=random.Random(f"reactions {self.seed} {night}"),
        )
        for when, rows in found.items():
            self.coming[when] += rows

    def _take_in(self, night: int, rows: Sequence[Row]) -> None:
        if rows:
            drop(self.inbox, f"day-{night:03}.jsonl", rows)
            self.labels += len(rows)

    def _label(self, case: UseCase, at: datetime) -> None:
        """Draw requests without bias, label each as it is right, and bring the labels back."""
        moment, count = at - SAID_BEFORE, self.settings.world.audits
        items = make_queue(case, self.home, size=count, audit_share=1.0, at=moment)
        sheet = as_csv(items)
        filled = fill_in(sheet, self.right, case.label_names)
        file = self.home.root / "todo.csv"
        write(file, filled)
        import_labels(case, self.home, file, rater="our-own-people", at=moment)
        self.labels += len(items)

    # ---- The night, and what is true after it

    def night(self, night: int) -> None:
        """Live the flow's own night; one that fails is kept as failed, as in a company."""
        before = cpu_s()
        try:
            ended: Any = flywheel.fn(self.use_case(night), self.at(night))
        except FlywheelError as error:
            self.outcomes.append("failed")
            self.errors.append(type(error).__name__)
        else:
            self._end(ended.data)
        self.cpu.append(cpu_s() - before)
        self._look(night)

    def _end(self, night: Mapping[str, Any]) -> None:
        self.outcomes.append(str(night["outcome"]))
        if night["outcome"] != "promoted":
            self.held_by += results.held_by(night["reasons"])

    def _look(self, night: int) -> None:
        case, mix = self.use_case(night), self.mix(night)
        digest = Registry(self.home).champion_digest(case.name)
        if digest is None:
            self.accuracy.append(None)
            return
        if digest not in self.met:
            champion = load_champion(case, self.home)
            self.met[digest] = self.truth.score(answers_of(champion.answerer))
        now = self.met[digest]
        if not self.champions or self.champions[-1] != digest:
            if self.champions and now.worse_than(self.met[self.champions[-1]], mix):
                self.wrong.append(night)
            self.champions.append(digest)
        score = now.accuracy(mix)
        best = max(self.met[one].accuracy(mix) for one in self.champions)
        self.behind = max(self.behind, best - score)
        self.accuracy.append(score)

    def ended(self) -> Life:
        """What the life came to."""
        case, world = self.use_case(self.settings.nights - 1), self.settings.world
        attack: tuple[float | None, float | None] = (None, None)
        champion = self._champion(case)
        if world.attackers and champion is not None:
            attack = self.truth.attack(
                answers_of(champion.answerer),
                self.mix(self.settings.nights - 1),
                goal_of(world, self.source.labels),
                partial(with_trigger, world),
            )
        return Life(
            policy=self.policy.name,
            seed=self.seed,
            accuracy=tuple(self.accuracy),
            outcomes=tuple(self.outcomes),
            promotions=max(0, len(self.champions) - 1),
            wrong=tuple(self.wrong),
            behind=self.behind,
            labels=self.labels,
            attack_success=attack[0],
            goal_share=attack[1],
            errors=tuple(self.errors),
            held_by=tuple(self.held_by),
            cpu_s=cpu_s(),
            cpu_s_by_night=tuple(self.cpu),
        )


def fill_in(sheet: str, right: Mapping[str, str], labels: Sequence[str]) -> str:
    """A queue with its labels; what is of no label of the use case yet is left open."""
    rows = list(csv.DictReader(io.StringIO(sheet)))
    out = io.StringIO()
    filled = csv.DictWriter(out, list(rows[0]) if rows else ["item_id", "text", "label"])
    filled.writeheader()
    for row in rows:
        label = right.get(row["text"], "")
        filled.writerow({**row, "label": label if label in labels else ""})
    return out.getvalue()


def answers_of(answerer: Any) -> Answers:
    """The likeliest label of each text."""

    def answer(texts: Sequence[str]) -> list[str]:
        found, _ = answerer.answer(list(texts))
        return [top(one) for one in found]

    return answer


def cpu_s() -> float:
    """Seconds that this process and its children have computed."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def live(
    settings: Settings, policy: Policy, seed: int, home: Home, told: Callable[[int], None]
) -> Life:
    """A whole life; ``told`` hears of each night that is over."""
    company = Company.begin(settings, policy, seed, home)
    instead: dict[str, Callable[..., Any]] = {
        "gate": policy.judge,
        # they stand on the page and decide nothing
        "score_baselines": lambda *_: {},
    }
    if settings.mode == "statistical":
        instead["train_inline"] = partial(train_here, run=runner.in_this_process)
    with called_plainly(instead):
        for night in range(settings.nights):
            company.day(night)
            company.night(night)
            told(night + 1)
    return company.ended()


def _main() -> None:
    subprocesses.end_with_parent()
    job = json.loads(Path(sys.argv[1]).read_text())
    home, folder = Home(), Path(job["folder"])
    prepare(home)
    settings, seed = Settings.read(job["settings"]), int(job["seed"])
    counted = home.root / "nights"

    def told(nights: int) -> None:
        write(counted, str(nights))

    if job["policy"] == results.ORACLE:
        from flows.replay.oracle import learn

        results.keep(folder, learn(settings, seed, home, told))
    else:
        results.keep(folder, live(settings, POLICIES[job["policy"]], seed, home, told))


if __name__ == "__main__":
    _main()
