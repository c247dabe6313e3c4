"""Brackets in brackets, and names for lists of names, end no process: they are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from flywheel import sources
from flywheel.config import SourceConfig
from flywheel.errors import ConfigError, DataError
from flywheel.files import bounded_yaml
from flywheel.files.json_files import read_json
from flywheel.ingestion.messages import asked_in

ROOT = Path(__file__).resolve().parents[2]
DEEP = "[" * 100_000
NAMES = "\n".join(["- &a0 [x, x]", *(f"- &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))])
"""A tebi of values in 40 lines."""


@pytest.mark.parametrize(
    "written", [DEEP, "- " * 100_000 + "x", NAMES, "a: &a [" * 70, "a: &a [*a]"]
)
def test_yaml_that_would_end_the_process_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="deeper or of more values"):
        bounded_yaml.load(written.encode())


def test_yaml_as_mlflow_writes_it_is_read() -> None:
    same = ["works", "fails"]
    said = {"flavors": {"python_function": {"config": {"labels": same, "again": same}}}}
    written = yaml.safe_dump(said)
    assert "&id001" in written
    assert bounded_yaml.load(written.encode()) == said


def test_no_other_module_reads_yaml_by_the_reader_that_ends_the_process() -> None:
    using = [
        path.name
        for path in [*ROOT.glob("flywheel/**/*.py"), *ROOT.glob("tasks/*.py")]
        if "CSafeLoader" in path.read_text(encoding="utf-8")
    ]
    assert using == ["bounded_yaml.py"]


def test_json_that_is_nested_too_deep_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    path.write_text(DEEP)
    with pytest.raises(DataError, match="nested too deep"):
        read_json(path, so="")
    for kind in ("files", "label-studio"):
        source = SourceConfig(name="feed", kind=kind, location=str(path))  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=r"'feed' .* cannot be read: RecursionError"):
            sources.read(source, None)
    assert asked_in(DEEP) == DEEP, "a text that is no JSON is a text"
    deep = "[" * 400 + '"x"' + "]" * 400
    assert asked_in(deep) in ("x", "")
