"""The three rungs hold: who may import what, checked on the syntax tree of every file."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNGS = ("flywheel", "tasks", "flows")
FILES = [path for rung in RUNGS for path in sorted((ROOT / rung).rglob("*.py"))]

# a library has one home; the value lists the only modules that may import it
HOMES = {
    "duckdb": {
        "flywheel/store/warehouse.py",
        "flywheel/store/migrations.py",
        "flywheel/store/columns.py",
        "flywheel/store/intake.py",
        "flywheel/store/reading.py",
        "flywheel/store/rewriting.py",
        "flywheel/store/attached.py",
        "flywheel/store/instance.py",
    },
    "mlflow": {
        "flywheel/registry.py",
        "flywheel/served_model.py",
        "flywheel/mlflow_guard.py",
        "flywheel/assessments.py",
        "flywheel/traces.py",
        "flywheel/bench/runs.py",
        "flywheel/sources/mlflow_traces.py",
    },
    "torch": {
        "flywheel/numeric_types.py",
        "flywheel/inference.py",
        "flywheel/training.py",
        "flywheel/bases.py",
        "flywheel/fitting.py",
        "flywheel/checkpoint.py",
        "flywheel/shortcuts.py",
        "flywheel/decoder_layer.py",
        "flywheel/methods/label_words.py",
        "flywheel/methods/label_paths.py",
        "flywheel/methods/causal_reading.py",
        "flywheel/methods/decoder_reading.py",
        "flywheel/methods/beginning.py",
        "flywheel/methods/learned_prompts.py",
        "flywheel/methods/writing.py",
        "flywheel/methods/few_shot.py",
        "flywheel/methods/heads.py",
        "flywheel/methods/sight.py",
        "flywheel/efficientnet_lite.py",
        "flywheel/methods/frozen_head.py",
        "flywheel/methods/tuned_heads.py",
        "flywheel/methods/setfit.py",
        "flywheel/exports/answer.py",
        "flywheel/exports/weights.py",
    },
    "transformers": {
        "flywheel/efficientnet_lite.py",
        "flywheel/inference.py",
        "flywheel/bases.py",
        "flywheel/decoder_layer.py",
        "flywheel/shortcuts.py",
        "flywheel/methods/label_words.py",
        "flywheel/methods/writing.py",
        "flywheel/methods/heads.py",
        "flywheel/exports/answer.py",
    },
    "cleanlab": {"flywheel/noise.py"},
    "peft": {
        "flywheel/shortcuts.py",
        "flywheel/methods/label_words.py",
        "flywheel/methods/learned_prompts.py",
        "flywheel/methods/tuned_heads.py",
        "flywheel/methods/qlora.py",
        "flywheel/methods/qlora_head.py",
        "flywheel/methods/prefix.py",
        "flywheel/methods/prompt.py",
        "flywheel/methods/ia3.py",
        "flywheel/exports/answer.py",
        "flywheel/exports/weights.py",
    },
    "sklearn": {
        "flywheel/baselines.py",
        "flywheel/column_contents.py",
        "flywheel/metrics.py",
        "flywheel/noise.py",
    },
    "PIL": {
        "flywheel/images.py",
        "flywheel/picture_duplicates.py",
        "flywheel/methods/sight.py",
    },
    "rouge_score": {"flywheel/rouge.py"},
    "phonenumbers": {"flywheel/personal.py"},
    "stdnum": {"flywheel/personal.py"},
    "py3langid": {"flywheel/language.py"},
    "jinja2": {"flywheel/report/__init__.py"},
    "markupsafe": {
        "flywheel/report/charts.py",
        "flywheel/report/offers.py",
        "flywheel/report/svg.py",
        "flywheel/report/words.py",
        "flywheel/bench/page.py",
    },
    "huggingface_hub": {"flywheel/hub.py"},
    "fastapi": {"flywheel/service/app.py"},
    "uvicorn": {"flywheel/service/connections.py", "flywheel/service/server.py"},
    # Prefect's client raises its errors
    "httpx": {"flywheel/vendors/client.py", "flows/ends.py", "tasks/show.py"},
    "prometheus_client": {"flywheel/service/metrics.py"},
}
BELOW = {"flywheel": {"tasks", "flows"}, "tasks": {"flows"}, "flows": set()}


@functools.cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Everything in a file's syntax tree."""
    return tuple(ast.walk(ast.parse(path.read_text())))


def imported(path: Path) -> set[str]:
    """The top-level names of everything that a file imports, at any depth."""
    names = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def test_every_file_is_looked_at() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(RUNGS)
    assert len(FILES) > 30


def test_imports_follow_the_rungs() -> None:
    for path in FILES:
        name, names = str(path.relative_to(ROOT)), imported(path)
        rung = path.relative_to(ROOT).parts[0]
        assert not names & BELOW[rung], name
        assert rung != "flywheel" or "prefect" not in names, name
        for library, homes in HOMES.items():
            assert library not in names or name in homes, f"{library} in {name}: see {homes}"


def test_the_service_never_opens_the_warehouse() -> None:
    paths = sorted((ROOT / "flywheel/service").glob("*.py"))
    assert len(paths) > 10
    for path in paths:
        for node in nodes(path):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            assert not any(name.startswith("flywheel.store") for name in modules), path.name


def test_no_bare_except() -> None:
    for path in FILES:
        for node in nodes(path):
            if isinstance(node, ast.ExceptHandler):
                where = f"{path.relative_to(ROOT)}:{node.lineno}"
                assert node.type is not None, where
                assert not (isinstance(node.type, ast.Name) and node.type.id == "Exception"), where


def test_no_drawer_modules() -> None:
    drawers = {"utils", "helpers", "common", "manager", "misc"}
    assert not [path for path in FILES if path.stem in drawers]
