"""The benchmark: level grids, fair draws, intervals that mean something, a page without holes."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import mlflow
import pytest

from flywheel.bench import results, samples
from flywheel.bench.grid import Entrant, Grid, load_grid
from flywheel.bench.page import page
from flywheel.bench.results import Result
from flywheel.config import Home, UseCase
from flywheel.dataset.images import Images
from flywheel.errors import ConfigError, NotEnoughData
from flywheel.records import Example, Trained
from flywheel.training import runner
from tasks.outputs import bench
from tests.nights import living_in, training_here
from tests.pictures import draw, encoded
from tests.tiny import make_tiny_vit
from tests.writers import make_tiny_writer, talk, written_case

ROOT = Path(__file__).resolve().parents[2]
CHEAP = Entrant(name="cheap", method="tfidf")
DEAR = Entrant(name="dear", method="qlora", base="tiny")
NOTHING = Entrant(name="as it is", method="zero_shot", base="tiny")


def grid(**settings: object) -> Grid:
    given = {
        "name": "g",
        "use_case": "product-reviews",
        "rows": [20, 10],
        "seeds": 3,
        "entrants": [CHEAP, DEAR, NOTHING],
    }
    return Grid.model_validate({**given, **settings})


def result(name: str, *, rows: int = 10, seed: int = 0, accuracy: float = 0.5) -> Result:
    return Result(
        entrant=name,
        method="qlora" if name == "dear" else "tfidf",
        base=None,
        rows=rows,
        seed=seed,
        accuracy=accuracy,
        macro_f1=accuracy,
        log_loss=1.0,
        calibration_error=0.1,
        validation_accuracy=accuracy,
        setting={},
        train_seconds=1.0 + seed,
        train_memory_mb=100.0,
        answer_ms=2.0,
        answers_per_s=500.0,
        weights_mb=1.0,
        holdout_rows=400,
    )


def pool(rows: int = 60) -> samples.Pool:
    words = {"positive": "good works fine", "negative": "bad broke", "neutral": "the screen"}
    examples = []
    for i in range(rows):
        label = list(words)[i % 3]
        split = ("train", "train", "train", "validation", "holdout")[i % 5]
        examples.append(
            Example(
                example_id=f"e{i:03}",
                text=f"{words[label]} {i}",
                label=label,
                confidence=1.0,
                group_id=f"g{i}",
                split=split,  # type: ignore[arg-type]
                feedback_ids=(f"f{i}",),
            )
        )
    return samples.Pool(tuple(examples), {})


def test_the_shipped_grid_can_be_read() -> None:
    small = load_grid(ROOT / "benchmarks/small.yaml")
    assert len({cell.entrant.name for cell in small.cells()}) == len(small.entrants)


def test_a_grid_stopped_early_is_level() -> None:
    cells = list(grid().cells())
    of_trained = [(c.seed, c.rows) for c in cells if c.entrant is not NOTHING and c.rows]
    assert of_trained == sorted(of_trained)
    assert len(cells) == 2 * 2 * 3 + 1, "what learns from no rows is asked once"


def test_a_cell_s_name_follows_what_decides_it() -> None:
    first, second, *_ = grid().cells()
    assert first.key({"data": "a"}) == first.key({"data": "a"})
    assert first.key({"data": "a"}) != first.key({"data": "b"})
    assert first.key({"data": "a"}) != second.key({"data": "a"})
    other = replace(first, entrant=first.entrant.model_copy(update={"settings": [{"epochs": 9}]}))
    assert first.key({"data": "a"}) != other.key({"data": "a"})


def test_faults_of_a_grid_are_named(tmp_path: Path) -> None:
    path = tmp_path / "g.yaml"
    with pytest.raises(ConfigError, match="No grid at"):
        load_grid(path)
    path.write_text("name: g\nuse_case: u\nrows: [1]\nentrants: [{name: a, method: magic}]\n")
    with pytest.raises(ConfigError, match=r"entrants\.0\.method"):
        load_grid(path)
    with pytest.raises(ValueError, match="same name"):
        grid(entrants=[CHEAP, CHEAP])


def test_a_larger_draw_holds_the_smaller_and_the_holdout_is_whole() -> None:
    few, many = (samples.draw(pool(), rows=rows, seed=1).examples for rows in (10, 20))
    of = lambda examples, split: {e.example_id for e in examples if e.split == split}  # noqa: E731
    assert of(few, "train") < of(many, "train")
    assert len(of(few, "train")) == 10
    assert of(few, "holdout") == of(many, "holdout") == of(pool().examples, "holdout")
    other = samples.draw(pool(), rows=10, seed=2).examples
    assert of(other, "train") != of(few, "train")
    with pytest.raises(NotEnoughData, match="there are 36"):
        samples.draw(pool(), rows=37, seed=0)


def test_an_interval_narrows_with_draws_and_one_draw_has_none() -> None:
    assert results.mean_of([0.7]).low is None
    few, many = results.mean_of([0.6, 0.8]), results.mean_of([0.6, 0.8] * 4)
    assert few.mean == pytest.approx(many.mean)
    assert few.low is not None
    assert many.low is not None
    assert few.low < many.low < 0.7


def test_a_lead_is_counted_draw_by_draw() -> None:
    # the draws differ by far more than the entrants do
    found = [
        result(name, seed=seed, accuracy=0.5 + 0.1 * seed + gain + 0.001 * seed)
        for seed in range(4)
        for name, gain in (("cheap", 0.0), ("dear", 0.02 + 0.001 * (seed % 2)))
    ]
    (lead,) = results.leads(found, "dear", "cheap")
    assert lead.gain.mean == pytest.approx(0.0205)
    assert lead.shown
    (other,) = results.leads(found, "cheap", "dear")
    assert other.gain.mean == pytest.approx(-lead.gain.mean)


def test_who_wins_where_is_said_only_where_it_is_shown() -> None:
    found = []
    for seed in range(3):
        found += [
            result("cheap", rows=10, seed=seed, accuracy=0.6 + 0.001 * seed),
            result("dear", rows=10, seed=seed, accuracy=0.5 + 0.002 * seed),
            result("cheap", rows=20, seed=seed, accuracy=0.6 + 0.1 * (-1) ** seed),
            result("dear", rows=20, seed=seed, accuracy=0.6),
        ]
    said = results.crossover(found, "dear", "cheap")
    assert "cheap wins with 10 labels" in said
    assert "no difference is shown with 20" in said
    alone = [one for one in found if one.seed == 0]
    assert "one draw only" in results.crossover(alone, "dear", "cheap")
    assert "not trained on the same rows" in results.crossover(found, "dear", "nobody")


def test_what_needs_no_rows_is_compared_with_every_draw() -> None:
    found = [result("as it is", rows=0, accuracy=0.5)]
    found += [result("dear", seed=seed, accuracy=0.7 + 0.001 * seed) for seed in range(3)]
    (lead,) = results.leads(found, "dear", "as it is")
    assert (lead.rows, lead.gain.seeds) == (10, 3)


def test_times_are_the_least_disturbed() -> None:
    (row,) = results.table([result("cheap", seed=seed) for seed in range(3)])
    assert (row.train_seconds, row.accuracy.seeds) == (1.0, 3)


def test_the_page_shows_what_is_done_and_escapes_names() -> None:
    found = [result("<b>dear</b>", seed=seed, accuracy=0.6 + 0.01 * seed) for seed in range(2)]
    html = page(grid(), found, cells=13)
    assert "2 of 13 cells" in html
    assert "<b>dear" not in html
    assert "&lt;b&gt;dear" in html
    assert "No cell is done yet" in page(grid(), [], cells=13)


def test_the_page_says_which_settings_were_chosen() -> None:
    learns = DEAR.model_copy(update={"settings": [{"epochs": 1}, {"epochs": 2, "seed": 3}]})
    found = [replace(result("dear", seed=seed), setting={"epochs": 1}) for seed in range(2)]
    html = page(grid(entrants=[CHEAP, learns], choose="first draw"), found, cells=4)
    assert '<td>epochs 1</td><td class="n">2 of 2 draws</td>' in html
    assert '<td>epochs 2, seed 3</td><td class="n">0 of 2 draws</td>' in html
    assert "the other draws kept to it" in html
    assert 'id="settings"' not in page(grid(), found, cells=4)


def test_prices_follow_the_machine_and_are_absent_without_it() -> None:
    (row,) = results.table([result("cheap")])
    # 500 answers a second, one second of training, 3.60 an hour
    assert row.answers_price(3.6) == pytest.approx(0.002)
    assert row.training_price(3.6) == pytest.approx(0.001)
    assert row.answers_price(None) is row.training_price(None) is None
    found = [result("cheap")]
    priced = page(grid(machine_cost_per_hour=3.6), found, cells=1)
    assert "0.002000" in priced
    assert "price of 1,000 answers" in priced
    assert "names no machine_cost_per_hour" in page(grid(), found, cells=1)


def test_a_cell_is_trained_asked_and_kept_without_its_texts(home: Home, use_case: UseCase) -> None:
    rows = pool(150)
    cell = next(c for c in grid(rows=[30]).cells() if c.entrant.name == "cheap")
    path = home.bench("g") / "cell.json"
    assert bench.read_result(path) is None
    found = bench.run_cell.fn(cell, use_case, home, rows, path)
    assert found.accuracy == 1.0
    assert found.holdout_rows == 30
    assert bench.read_result(path) == found
    assert [p.name for p in home.bench("g").iterdir()] == ["cell.json"]


def written_pool(rows: int) -> samples.Pool:
    def example(i: int) -> Example:
        text, reference = talk(i)
        return replace(pool(rows).examples[i], text=text, label=reference)

    return samples.Pool(tuple(example(i) for i in range(rows)), {})


@pytest.mark.slow
@pytest.mark.model
def test_written_answers_are_compared_by_what_they_share_with_references(home: Home) -> None:
    case = written_case()
    make_tiny_writer(home.models / "tiny")
    entrant = Entrant(name="writes", method="lora", base="tiny", settings=[{"epochs": 1}])
    once = grid(rows=[12], seeds=1, entrants=[entrant])
    (cell,) = once.cells()
    rows = written_pool(40)
    with living_in(home), training_here():
        bench.require_runnable(once, case, home, rows)
        found = bench.run_cell.fn(cell, case, home, rows, home.bench("g") / "cell.json")
    assert found.rouge_l is not None
    assert 0 <= found.accuracy <= found.score == found.rouge_l <= 1
    assert (found.macro_f1, found.calibration_error, found.holdout_rows) == (None, None, 8)
    assert bench.read_result(home.bench("g") / "cell.json") == found
    folder = bench.write_report(once, home, [found], cells=1)
    told = (folder / "report.html").read_text()
    assert "ROUGE-L by number of training labels" in told
    assert ">ROUGE-L</button>" in told
    bench.log_cells.fn(once, home, [found], folder)


@pytest.mark.slow
@pytest.mark.model
def test_pictures_are_compared_by_accuracy(home: Home) -> None:
    images = Images(home.images)
    kinds = ("dots", "stripes")
    examples = tuple(
        replace(one, text=images.keep(encoded(draw(kinds[i % 2], i))), label=kinds[i % 2])
        for i, one in enumerate(pool(40).examples)
    )
    case = UseCase.model_validate(
        {
            "name": "shapes",
            "kind": "image-classification",
            "description": "Dots or stripes?",
            "labels": {kind: kind for kind in kinds},
            "split": {"salt": "s"},
            "curation": {"gold_sources": ["gold"]},
            "training": {"base": "vit", "method": "frozen_head"},
            "gate": {"min_accuracy": 0.5},
        }
    )
    make_tiny_vit(home.models / "vit")
    entrants = [Entrant(name="head", method="frozen_head", base="vit")]
    once, rows = grid(rows=[20], seeds=1, entrants=entrants), samples.Pool(examples, {})
    (cell,) = once.cells()
    with living_in(home), training_here():
        bench.require_runnable(once, case, home, rows)
        found = bench.run_cell.fn(cell, case, home, rows, home.bench("g") / "cell.json")
    assert (found.holdout_rows, found.measure) == (8, "accuracy")
    assert found.score == found.accuracy > 0


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"rows": [20, 99]}, "cheap is to learn from 99 rows; product-reviews has 90 training"),
        ({"entrants": [CHEAP, Entrant(name="b", method="qlora")]}, "b cannot be trained.*a base"),
        (
            {"entrants": [CHEAP.model_copy(update={"settings": [{"epochs": 0}]})]},
            "cheap cannot be trained",
        ),
    ],
)
def test_a_grid_that_cannot_be_run_is_refused_before_anything_is_paid_for(
    home: Home, use_case: UseCase, changes: dict[str, Any], why: str
) -> None:
    with pytest.raises((ConfigError, NotEnoughData), match=why):
        bench.require_runnable(grid(**{"entrants": [CHEAP], **changes}), use_case, home, pool(150))


def test_a_grid_for_another_kind_or_without_a_holdout_is_refused(
    home: Home, use_case: UseCase
) -> None:
    cheap = grid(entrants=[CHEAP])
    with pytest.raises(ConfigError, match=r"tfidf is not for text-gen.*Nothing was trained"):
        bench.require_runnable(cheap, written_case(), home, pool(150))
    untested = samples.Pool(tuple(e for e in pool(150).examples if e.split != "holdout"), {})
    with pytest.raises(NotEnoughData, match="no holdout rows"):
        bench.require_runnable(cheap, use_case, home, untested)
    bench.require_runnable(cheap, use_case, home, pool(150))


def test_the_best_setting_on_validation_is_scored_on_the_holdout(
    home: Home, use_case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, train = iter([0.2, 0.9, 0.9]), runner.train

    def scored(*given: Any, **named: Any) -> Trained:
        return replace(train(*given, **named), validation_accuracy=next(seen))

    monkeypatch.setattr(runner, "train", scored)
    settings = [{"epochs": 1}, {"epochs": 2}, {"epochs": 3}]
    cell = next(grid(rows=[30], entrants=[CHEAP.model_copy(update={"settings": settings})]).cells())
    with training_here():
        found = bench.run_cell.fn(cell, use_case, home, pool(150), home.bench("g") / "cell.json")
    assert found.setting == {"epochs": 2}, "of those that are level, the first"
    assert found.validation_accuracy == 0.9


def test_settings_are_not_chosen_without_validation_rows(home: Home, use_case: UseCase) -> None:
    rows = pool(150)
    without = samples.Pool(tuple(e for e in rows.examples if e.split != "validation"), {})
    settings = [{"epochs": 1}, {"epochs": 2}]
    cell = next(grid(rows=[30], entrants=[CHEAP.model_copy(update={"settings": settings})]).cells())
    with pytest.raises(NotEnoughData, match="no validation rows to choose by"):
        bench.run_cell.fn(cell, use_case, home, without, home.bench("g") / "cell.json")


def test_the_first_draw_may_choose_for_the_others(home: Home) -> None:
    learns = CHEAP.model_copy(update={"settings": [{"seed": 7}, {"seed": 8}]})
    once = grid(rows=[30, 40], seeds=2, entrants=[learns, DEAR], choose="first draw")
    at = [(cell, home.bench("g") / f"{n}.json") for n, cell in enumerate(once.cells())]
    of = {(c.entrant.name, c.rows, c.seed): (c, path) for c, path in at}
    first, path = of["cheap", 30, 0]
    assert bench.as_chosen(once, first, at) == first, "the first draw tries both"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(asdict(replace(result("cheap", rows=30), setting={"seed": 8}))))
    later, _ = of["cheap", 30, 1]
    assert bench.as_chosen(once, later, at).entrant.settings == [{"seed": 8}]
    assert bench.as_chosen(grid(), later, at) == later, "by default every draw chooses"
    alone, _ = of["dear", 30, 1]
    assert bench.as_chosen(once, alone, at) == alone, "nothing to choose"
    with pytest.raises(NotEnoughData, match=r"cheap with 40 labels.*first draw"):
        bench.as_chosen(once, of["cheap", 40, 1][0], at)


def test_mlflow_shows_each_result_once_and_one_report(home: Home) -> None:
    found = [result("cheap", seed=0), result("cheap", seed=1, accuracy=0.6)]
    for shown in (found[:1], found, found):
        folder = bench.write_report(grid(), home, shown, cells=2)
        bench.log_cells.fn(grid(), home, shown, folder)
    names = [run.info.run_name for run in _runs(home)]
    assert sorted(names) == ["cheap, 10 labels, draw 0", "cheap, 10 labels, draw 1", "report"]
    again = [replace(found[0], accuracy=0.7), found[1]]
    bench.log_cells.fn(grid(), home, again, folder)
    assert len(_runs(home)) == 4, "a cell that was run again is shown again"


def _runs(home: Home) -> list[Any]:
    mlflow.set_tracking_uri(home.mlflow_uri)
    experiment = mlflow.get_experiment_by_name("bench-g")
    assert experiment is not None
    return list(mlflow.search_runs([experiment.experiment_id], output_format="list"))


def test_the_page_on_methods_shows_what_the_committed_run_says() -> None:
    facts = json.loads((ROOT / "benchmarks/small.json").read_text())
    page = (ROOT / "docs/concepts/methods.md").read_text()
    assert facts["grid"] == load_grid(ROOT / "benchmarks/small.yaml").model_dump(mode="json")
    for row in facts["table"]:
        seen = row["accuracy"]
        said = f"{seen['mean']:.3f}"
        if seen["low"] is not None:
            said += f" ({seen['low']:.3f} to {seen['high']:.3f})"
        (line,) = [one for one in page.splitlines() if one.startswith(f"| {row['entrant']} |")]
        assert said in line
    shown = [one for one in page.splitlines() if one.startswith("- SmolLM2, QLoRA")]
    found = [Result(**one) for one in facts["results"]]
    for line in shown:
        first, _, rest = line.removeprefix("- ").partition(" against ")
        second = rest.partition(":")[0]
        assert results.crossover(found, first, second) == line.removeprefix("- ")
    assert len(shown) == 8
