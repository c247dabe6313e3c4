"""Pictures through the wheel: labeled file, night, answers, feedback, next night, forgetting."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.retrain import flywheel
from flywheel.config import Home, UseCase, load_use_case
from flywheel.dataset import image_duplicates, snapshots
from flywheel.dataset.images import Images
from flywheel.errors import ConfigError, DataError
from flywheel.serving.batch_files import read_rows, with_addresses
from flywheel.store import Store, open_store
from tasks.curate import curate_snapshot
from tasks.erasure.erase import forget, plan
from tasks.ingest import ingest_inbox
from tasks.outputs.predict import predict
from tasks.use_case.onboard import Answers, onboard
from tests.nights import prefect_server, training_here
from tests.pictures import KINDS, draw, encoded
from tests.tiny import make_tiny_efficientnet

pytestmark = [pytest.mark.model, pytest.mark.prefect]

AT = datetime(2026, 3, 1, 2, 30, tzinfo=UTC)
ROWS = 80


def labeled(folder: Path) -> Path:
    """A CSV beside the pictures that it names; one of them is broken."""
    (folder / "photos").mkdir(parents=True)
    rows = []
    for number in range(ROWS):
        kind = KINDS[number % 2]
        name = f"photos/{number}.jpg"
        (folder / name).write_bytes(encoded(draw(kind, number), "JPEG", quality=95))
        rows.append({"path": name, "what": kind, "taken_by": f"ann {number}"})
    (folder / "photos/5.jpg").write_bytes(b"no picture")
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "labels.csv"


@pytest.fixture
def case(home: Home, tmp_path: Path) -> UseCase:
    """A use case from a labeled file, on a tiny base, its rows in the inbox."""
    done = onboard(
        "shapes",
        labeled(tmp_path / "data"),
        home,
        answers=Answers(label="what"),
        folder=tmp_path,
    )
    assert (done["text"], done["rows"], done["unusable"]) == ("path", ROWS - 1, 1)
    # as a spreadsheet counts: the header is row 1
    assert done["warnings"][-1] == "row 7: path is no picture in JPEG, PNG, WEBP"
    content = yaml.safe_load((tmp_path / "shapes.yaml").read_text())
    content["training"] |= {"base": "tiny", "min_examples": 10, "epochs": 1, "min_steps": 0}
    content["gate"] |= {"min_accuracy": 0.0, "min_macro_f1": 0.0, "min_holdout_examples": 5}
    (tmp_path / "shapes.yaml").write_text(yaml.safe_dump(content))
    make_tiny_efficientnet(home.models / "tiny")
    return load_use_case(str(tmp_path / "shapes.yaml"))


def drop(home: Home, name: str, *rows: dict[str, Any]) -> None:
    inbox = home.inbox("shapes")
    inbox.mkdir(parents=True, exist_ok=True)
    (inbox / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def said(image: str, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "label",
        "image": image,
        "value": "dots",
        "rater_id": "eve",
        "source": "app",
        "given_at": "2026-02-01T00:00:00Z",
        **changes,
    }


def pictures(home: Home) -> set[str]:
    return {path.stem for path in home.images.rglob("*.png")}


def test_a_labeled_file_becomes_a_champion_that_learns_from_feedback(
    home: Home, case: UseCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", prefect_server())
    with training_here():
        first = flywheel(case, AT)
    assert first["outcome"] == "promoted"
    assert set(first["baselines"]) == {"majority", "grey_logistic"}

    (tmp_path / "asked").mkdir()
    for number in range(8):
        photo = encoded(draw("stripes", 1_000 + number))
        (tmp_path / "asked" / f"{number}.png").write_bytes(photo)
    asked = tmp_path / "asked" / "asked.jsonl"
    asked.write_text("".join(f'{{"text": "{n}.png", "group_id": "c{n}"}}\n' for n in range(8)))
    rows = with_addresses(read_rows(asked), Images(home.images), asked.parent)
    answers = predict.fn(case, home, rows, at=AT + timedelta(hours=9))
    drop(
        home,
        "reactions.jsonl",
        *(
            {**said(""), "kind": "correct", "value": "stripes", "prediction_id": a.prediction_id}
            for a in answers
        ),
    )
    with training_here():
        second = flywheel(case, AT + timedelta(days=1))
    assert second["outcome"] in ("promoted", "rejected", "undecided")
    learned = {e.text for e in snapshots.read(home.snapshots, second["snapshot_id"])}
    assert learned & {answer.text for answer in answers}


def test_a_picture_in_the_inbox_moves_into_the_home(home: Home, case: UseCase) -> None:
    before = len(pictures(home))
    drop(home, "new.jsonl", said("photos/a.jpg"), said("photos/b.jpg"), said("../../x.png"))
    photos = home.inbox("shapes") / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(encoded(draw("dots", 500), "JPEG"))
    (photos / "b.jpg").write_bytes(b"broken")
    counts = ingest_inbox(case, home, at=AT)
    assert (counts.ingested, counts.quarantined) == (ROWS - 1 + 1, 2)
    assert [path.name for path in photos.iterdir()] == ["b.jpg"]
    assert len(pictures(home)) == before + 1
    with open_store(home.warehouse) as store:
        reasons = store.rows("SELECT reason FROM quarantine ORDER BY row_number", [])
    assert [reason for (reason,) in reasons] == [
        "image is no picture in JPEG, PNG, WEBP",
        "image leads out of the folder of the file that names it",
    ]


def test_a_picture_that_two_files_name_stays_until_both_are_read(home: Home, case: UseCase) -> None:
    ingest_inbox(case, home, at=AT)
    for rater in ("ann", "bob"):
        drop(home, f"{rater}.jsonl", said("photos/a.jpg", rater_id=rater))
    photos = home.inbox("shapes") / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(encoded(draw("dots", 500), "JPEG"))
    counts = ingest_inbox(case, home, at=AT)
    assert (counts.ingested, counts.quarantined) == (2, 0)
    assert not [*photos.iterdir()]


def test_near_duplicates_are_on_one_side_of_the_holdout(home: Home, case: UseCase) -> None:
    images = Images(home.images)
    rows = []
    for number in range(20):
        drawn = draw("dots", 700 + number, side=120)
        for changed in (drawn, drawn.resize((70, 70)), drawn.resize((100, 100))):
            address = images.keep(encoded(changed, "JPEG", quality=80))
            rows.append(said(address, source="init", group_id=f"{number}-{changed.size}"))
    drop(home, "alike.jsonl", *rows)
    ingest_inbox(case, home, at=AT)
    snapshot = curate_snapshot.fn(case, home, at=AT)
    sides: dict[str, set[str]] = {}
    for example in snapshots.read(home.snapshots, snapshot.snapshot_id):
        sides.setdefault(example.cluster_id, set()).add(example.split == "holdout")
    assert max(map(len, sides.values())) == 1
    assert len(sides) < ROWS - 1 + 60


def test_no_picture_is_looked_at_while_the_warehouse_is_held(
    home: Home, case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest_inbox(case, home, at=AT)
    holding, looked = [0], []

    @contextmanager
    def opened(path: Path, **more: Any) -> Iterator[Store]:
        with open_store(path, **more) as store:
            holding[0] += 1
            yield store
            holding[0] -= 1

    def looking(content: bytes) -> Any:
        looked.append(holding[0])
        return signature(content)

    signature = image_duplicates._signature
    image_duplicates._signature_at.cache_clear()
    monkeypatch.setattr("tasks.curate.open_store", opened)
    monkeypatch.setattr(image_duplicates, "_signature", looking)
    curate_snapshot.fn(case, home, at=AT)
    assert looked == [0] * (ROWS - 1)


def test_a_forgotten_customers_pictures_go_unless_others_named_them_too(
    home: Home, case: UseCase
) -> None:
    images = Images(home.images)
    own = images.keep(encoded(draw("dots", 800)))
    shared = images.keep(encoded(draw("dots", 801)))
    elsewhere = images.keep(encoded(draw("dots", 802)))
    theirs = {"customer_id": "customer-17"}
    drop(
        home,
        "theirs.jsonl",
        *(said(address, **theirs) for address in (own, shared, elsewhere)),
        said(shared, rater_id="bob"),
    )
    ingest_inbox(case, home, at=AT)
    other = case.model_copy(update={"name": "other"})
    home.inbox("other").mkdir()
    (home.inbox("other") / "bob.jsonl").write_text(json.dumps(said(elsewhere, rater_id="bob")))
    ingest_inbox(other, home, at=AT)

    planned = plan(home, "customer-17", use_cases=["shapes"]).artifacts
    assert planned == (str(images.path(own).relative_to(home.root)),)
    assert images.path(own).is_file()
    done = forget(home, "customer-17", at=AT, use_cases=["shapes"])
    assert done["complete"]
    assert not images.path(own).exists()
    assert images.path(shared).is_file()
    assert images.path(elsewhere).is_file()

    # what comes again from them is refused, and its picture does not stay
    drop(home, "again.jsonl", said("again.png", **theirs))
    (home.inbox("shapes") / "again.png").write_bytes(encoded(draw("dots", 800)))
    assert ingest_inbox(case, home, at=AT).quarantined == 1
    assert not images.path(own).exists()
    assert not (home.inbox("shapes") / "again.png").exists()


def test_a_row_that_cannot_be_answered_is_named(home: Home, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(draw("dots", 1)))
    with pytest.raises(DataError, match=r"row 2 names a file that is not there; nothing was"):
        with_addresses([("a", "a.png"), ("b", "b.png")], Images(home.images), tmp_path)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"prompt": "{text}"}, "pictures are not asked by a prompt"),
        ({"training": {"base": "tiny"}}, "qlora cannot read pictures; these can: frozen_head"),
        ({"kind": "text-classification"}, "prompt: a text-classification needs one"),
    ],
)
def test_a_use_case_of_pictures_that_is_wrong_is_refused(
    changes: dict[str, Any], fault: str, tmp_path: Path
) -> None:
    right = {
        "name": "shapes",
        "kind": "image-classification",
        "description": "",
        "labels": {kind: kind for kind in KINDS},
        "split": {"salt": "s"},
        "curation": {"gold_sources": ["gold"]},
        "training": {"base": "tiny", "method": "full"},
        "gate": {"min_accuracy": 0.5},
    }
    path = tmp_path / "shapes.yaml"
    path.write_text(yaml.safe_dump(right))
    assert load_use_case(str(path)).is_image
    path.write_text(yaml.safe_dump({**right, **changes}))
    with pytest.raises(ConfigError, match=fault):
        load_use_case(str(path))


def test_a_kind_that_the_file_does_not_hold_is_refused(home: Home, tmp_path: Path) -> None:
    table = labeled(tmp_path / "data")
    done = onboard("shapes", table, home, answers=Answers(label="what"), folder=tmp_path)
    assert done["kind"] == "image-classification"
    named = onboard(
        "named",
        table,
        home,
        answers=Answers(text=(done["text"],), label="what", kind="image-classification"),
        folder=tmp_path,
    )
    assert load_use_case(named["file"]).is_image
    words = tmp_path / "words.csv"
    words.write_text("text,label\n" + "it works,good\nit broke,bad\n" * 20)
    answers = Answers(kind="image-classification")
    with pytest.raises(DataError, match="No column names JPEG"):
        onboard("words", words, home, answers=answers, folder=tmp_path)
    assert not (tmp_path / "words.yaml").exists()
