"""Who reaches MLflow decides nothing: only what a night measured may serve, and no code is run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.servers import check_champion
from flywheel.config import Home
from flywheel.errors import DataError, DigestMismatch
from flywheel.serving.models.engine import RegistryModelSource
from flywheel.store import open_store
from flywheel.tracking import measured_versions, model_files
from flywheel.tracking.registry import Registry
from flywheel.tracking.version_tags import APPROVAL, JUDGED_AGAINST, WAITING
from flywheel.tracking.versions import Version
from tasks.champion import trusted_versions
from tasks.champion.reconcile import settle_if_free
from tasks.outputs.predict import load_champion
from tasks.promote import await_approval
from tasks.verify import check_measured
from tests import champions, nights
from tests.champions import by_hand, champion, story, tag, tags, tamper, version
from tests.nights import AS_OF, CASE

pytestmark = pytest.mark.model

NOON = AS_OF.replace(hour=12)
FIRST = ("promoted", "1", None)
EVIL = "evil.txt"
CODE = f"open({EVIL!r}, 'w').write('run')\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """Version 1 is champion; 2 and 3 won against it; 4 is no model of flywheel's."""
    home = champions.copy(tmp_path / "home")
    monkeypatch.chdir(tmp_path)
    with nights.living_in(home):
        yield home


def settle(home: Home) -> tuple[str, ...]:
    settled = settle_if_free(CASE, home, at=NOON)
    assert settled is not None
    return settled.notes


def register_past_flywheel(home: Home, folder: Path, tags: dict[str, str]) -> str:
    """What a stranger does who reaches MLflow: a version of its own, with whatever tags."""
    client = Registry(home).client
    made = client.create_model_version(CASE.name, str(folder), tags=tags)
    return str(made.version)


def edited_copy(home: Home, number: str, to: Path) -> Version:
    """A copy of a version's folder whose weights are others and whose digest is right for them."""
    honest = version(home, number)
    shutil.copytree(honest.folder, to)
    adapter = to / honest.adapter_dir.relative_to(honest.folder)
    digest = nights.make_adapter(home, adapter, seed=66)
    model = to / "MLmodel"
    model.write_text(model.read_text().replace(honest.digest, digest))
    forged = {**tags(home, number), "digest": digest}
    forged.pop("folder_sha256")
    parts = {k: v for k, v in forged.items() if not k.startswith("part.")}
    return version(home, register_past_flywheel(home, to, parts))


def test_an_edited_adapter_that_was_registered_by_hand_serves_nobody(
    home: Home, tmp_path: Path
) -> None:
    forged = edited_copy(home, "2", tmp_path / "forged")
    by_hand(home, forged.version)
    with pytest.raises(DigestMismatch, match=f"version {forged.version} was measured by no night"):
        RegistryModelSource(home, CASE.name).load(forged.version)
    with pytest.raises(DigestMismatch, match=r"by no night of this home: .* Nothing was answered"):
        load_champion(CASE, home)
    settle(home)
    assert champion(home) == "1"
    assert story(home) == [FIRST, ("restored", "1", forged.version)]
    assert "measured by no night" in champions.log(home)[-1].why


def test_the_digest_of_a_measured_version_cannot_be_borrowed(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "forged"
    shutil.copytree(version(home, "2").folder, folder)
    forged = register_past_flywheel(home, folder, tags(home, "2"))
    why = "its digest is that of version 2, which a night measured"
    with pytest.raises(DigestMismatch, match=why):
        check_measured(CASE, home, version(home, forged))
    by_hand(home, forged)
    settle(home)
    assert champion(home) == "1"


def test_a_tag_approves_no_version_that_no_night_measured(home: Home, tmp_path: Path) -> None:
    forged = edited_copy(home, "2", tmp_path / "forged").version
    waiting = {WAITING: "true", JUDGED_AGAINST: "1", "verdict": "promote", APPROVAL: "approved"}
    tag(home, forged, **waiting)
    (said,) = settle(home)
    assert "refused" in said
    assert "measured by no night of this home" in said
    assert champion(home) == "1"


def test_a_verdict_that_only_a_tag_tells_approves_nothing(home: Home) -> None:
    trusted_versions.remember(home, version(home, "2"), verdict="reject", at=NOON)
    tag(home, "2", **{WAITING: "true", JUDGED_AGAINST: "1", APPROVAL: "approved"})
    (said,) = settle(home)
    assert "the warehouse says reject" in said
    assert champion(home) == "1"


def test_a_person_moves_the_alias_to_a_measured_version(home: Home) -> None:
    by_hand(home, "2")
    assert RegistryModelSource(home, CASE.name).load("2").version == "2"
    assert settle(home) == ()
    assert story(home) == [FIRST, ("moved_by_hand", "2", "1")]


def test_a_person_approves_a_measured_version_by_tag(home: Home) -> None:
    await_approval.fn(home, version(home, "2"), use_case=CASE, against=version(home, "1"))
    tag(home, "2", **{APPROVAL: "approved"})
    (said,) = settle(home)
    assert "carried out: approved" in said
    assert champion(home) == "2"


def test_code_in_the_registry_is_never_run(home: Home) -> None:
    honest = version(home, "2")
    (code,) = honest.folder.glob("*.py")
    code.write_text(CODE + code.read_text())
    (answer,) = honest.answer_as_served(["works"])
    assert set(answer["probabilities"]) == set(CASE.label_names)
    assert not Path(EVIL).exists()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda folder: (folder / "pyfunc_model.py").write_text(CODE), "pyfunc_model.py was chan"),
        (lambda folder: (folder / "python_model.pkl").write_bytes(b"x"), "python_model.pkl was ad"),
        (lambda folder: (folder / "requirements.txt").unlink(), "requirements.txt was removed"),
    ],
)
def test_a_changed_folder_is_refused_and_the_file_named(
    home: Home, change: Callable[[Path], object], named: str
) -> None:
    change(version(home, "2").folder)
    with pytest.raises(DigestMismatch, match=f"not as it was registered: {named}"):
        check_measured(CASE, home, version(home, "2"))
    with pytest.raises(DigestMismatch, match=named):
        RegistryModelSource(home, CASE.name).load("2")
    by_hand(home, "2")
    settle(home)
    assert champion(home) == "1"
    assert not Path(EVIL).exists()


def test_mlflow_serves_a_private_copy_that_was_checked(home: Home) -> None:
    """What is changed between the look and the start would have been run."""
    copy = check_champion.main(CASE.name)
    folder = version(home, "1").folder
    assert model_files.hashes(copy) == model_files.hashes(folder)
    assert copy.stat().st_mode & 0o077 == 0
    (folder / "pyfunc_model.py").write_text(CODE)
    assert CODE not in (copy / "pyfunc_model.py").read_text()
    with pytest.raises(DigestMismatch, match=r"pyfunc_model\.py was changed"):
        check_champion.main(CASE.name)
    assert [*home.serving.glob("mlflow-serve-*")] == [copy], "what was refused does not stay"


# ---- Homes from before


def forget_files(home: Home, *, numbers: bool = True) -> None:
    """The home as the migration leaves one that is older than the table."""
    with open_store(home.warehouse) as store:
        store.con.execute(
            "UPDATE measured_versions SET files = NULL, folder_sha256 = NULL, verdict = NULL"
        )
        if numbers:
            store.con.execute("UPDATE measured_versions SET version = ''")
    trusted_versions.publish(home, CASE.name)


def test_versions_from_before_go_on_and_are_recorded_once_verified(home: Home) -> None:
    forget_files(home)
    assert RegistryModelSource(home, CASE.name).load("1").version == "1"
    assert settle(home) == ()
    by_hand(home, "2")
    settle(home)
    known = {one.version: one for one in trusted_versions.known(home, CASE.name) if one.version}
    assert {number for number, one in known.items() if one.files} == {"1", "2"}
    (version(home, "1").folder / "extra.py").write_text(CODE)
    with pytest.raises(DigestMismatch, match=r"extra\.py was added"):
        RegistryModelSource(home, CASE.name).load("1")


def test_a_tampered_version_from_before_is_not_recorded(home: Home) -> None:
    forget_files(home)
    tamper(home, "1")
    (said,) = settle(home)
    assert "adapter: measured" in said
    assert not any(one.files for one in trusted_versions.known(home, CASE.name))


def test_the_migration_takes_what_nights_measured_and_no_hand(home: Home) -> None:
    from flywheel.store.migrations import MIGRATIONS, migrate

    moved = {"use_case": CASE.name, "digest": "moved", "action": "moved_by_hand"}
    promoted = {**moved, "digest": "promoted", "action": "promoted"}
    with open_store(home.warehouse) as store:
        store.con.execute("DROP TABLE measured_versions")
        store.con.execute("DELETE FROM migrations WHERE name = '0013-measured-versions'")
        for number, one in enumerate((moved, promoted), start=90):
            store.con.execute(
                "INSERT INTO promotions VALUES ($use_case, $number, now(), $action, '9', $digest, "
                "NULL, 'x', 'y')",
                {**one, "number": number},
            )
        migrate(store.con, migrations=MIGRATIONS)
    known = trusted_versions.known(home, CASE.name)
    assert {one.digest for one in known} == {"promoted", version(home, "1").digest}
    assert {one.version for one in known} == {None}


def test_a_service_that_was_never_told_serves_nothing(home: Home) -> None:
    file = measured_versions.path(home.measured, CASE.name)
    file.unlink()
    with pytest.raises(DataError, match=r"versions\.json.* is missing.*flywheel serve -u"):
        RegistryModelSource(home, CASE.name).load("1")
    file.write_text(json.dumps([{"nonsense": 1}]))
    with pytest.raises(DataError, match="is damaged"):
        RegistryModelSource(home, CASE.name).load("1")
    trusted_versions.publish(home, CASE.name)
    assert RegistryModelSource(home, CASE.name).load("1").version == "1"
