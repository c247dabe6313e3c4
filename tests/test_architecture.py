"""The three rungs hold: who may import what, checked on the syntax tree of every file."""

from __future__ import annotations

import ast
import functools
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNGS = ("flywheel", "tasks", "flows")
FILES = [path for rung in RUNGS for path in sorted((ROOT / rung).rglob("*.py"))]

# a library has one home; the value lists the only modules that may import it
HOMES = {
    "duckdb": {
        "flywheel/store/opening.py",
        "flywheel/store/warehouse.py",
        "flywheel/store/migrations.py",
        "flywheel/store/arrow_columns.py",
        "flywheel/store/feedback/ingest.py",
        "flywheel/store/feedback/judged.py",
        "flywheel/store/feedback/reactions.py",
        "flywheel/store/compaction.py",
        "flywheel/store/external_tables.py",
        "flywheel/store/instance.py",
        "flywheel/store/standstill.py",
    },
    "mlflow": {
        "flywheel/tracking/registry.py",
        "flywheel/tracking/pyfunc_model.py",
        "flywheel/access/mlflow_app.py",
        "flywheel/tracking/assessments.py",
        "flywheel/tracking/traces.py",
        "flywheel/bench/mlflow_runs.py",
        "flywheel/replay/mlflow_run.py",
        "flywheel/sources/mlflow_traces.py",
    },
    "torch": {
        "flywheel/catalog/numeric_types.py",
        "flywheel/modeling/model_loading.py",
        "flywheel/catalog/base_models.py",
        "flywheel/modeling/optim/training_loop.py",
        "flywheel/modeling/optim/checkpoint.py",
        "flywheel/modeling/optim/fused_ops.py",
        "flywheel/modeling/optim/fused_decoder.py",
        "flywheel/modeling/verbalizer/verbalizer.py",
        "flywheel/modeling/verbalizer/trie_scores.py",
        "flywheel/modeling/verbalizer/causal.py",
        "flywheel/modeling/verbalizer/seq2seq.py",
        "flywheel/modeling/verbalizer/prefix_cache.py",
        "flywheel/modeling/verbalizer/soft_prompts.py",
        "flywheel/modeling/generation.py",
        "flywheel/modeling/methods/few_shot.py",
        "flywheel/modeling/classifier.py",
        "flywheel/modeling/image_processor.py",
        "flywheel/modeling/compiled/bodies.py",
        "flywheel/modeling/compiled/lane.py",
        "flywheel/modeling/compiled/openvino_api.py",
        "flywheel/catalog/efficientnet_lite.py",
        "flywheel/modeling/methods/frozen_head.py",
        "flywheel/modeling/methods/finetuned_head.py",
        "flywheel/modeling/methods/setfit.py",
        "flywheel/exports/answer.py",
        "flywheel/exports/weights.py",
    },
    "transformers": {
        "flywheel/catalog/efficientnet_lite.py",
        "flywheel/modeling/model_loading.py",
        "flywheel/catalog/base_models.py",
        "flywheel/modeling/optim/fused_decoder.py",
        "flywheel/modeling/optim/fused_ops.py",
        "flywheel/modeling/verbalizer/verbalizer.py",
        "flywheel/modeling/generation.py",
        "flywheel/modeling/classifier.py",
        "flywheel/exports/answer.py",
    },
    "cleanlab": {"flywheel/curation/label_noise.py"},
    "peft": {
        "flywheel/modeling/optim/fused_ops.py",
        "flywheel/modeling/verbalizer/verbalizer.py",
        "flywheel/modeling/verbalizer/soft_prompts.py",
        "flywheel/modeling/methods/finetuned_head.py",
        "flywheel/modeling/methods/qlora.py",
        "flywheel/modeling/methods/qlora_head.py",
        "flywheel/modeling/methods/prefix.py",
        "flywheel/modeling/methods/prompt.py",
        "flywheel/modeling/methods/ia3.py",
        "flywheel/exports/answer.py",
        "flywheel/exports/weights.py",
    },
    "sklearn": {
        "flywheel/evaluation/baselines.py",
        "flywheel/ingestion/column_contents.py",
        "flywheel/evaluation/metrics.py",
        "flywheel/curation/label_noise.py",
    },
    "PIL": {
        "flywheel/dataset/images.py",
        "flywheel/dataset/image_duplicates.py",
        "flywheel/modeling/image_processor.py",
    },
    "rouge_score": {"flywheel/evaluation/rouge.py"},
    "phonenumbers": {"flywheel/text/pii.py"},
    "stdnum": {"flywheel/text/pii.py"},
    "py3langid": {"flywheel/text/language_id.py"},
    "jinja2": {"flywheel/reports/__init__.py"},
    "markupsafe": {
        "flywheel/reports/charts.py",
        "flywheel/reports/vendor_charts.py",
        "flywheel/reports/svg.py",
        "flywheel/reports/formatting.py",
        "flywheel/bench/page.py",
        "flywheel/replay/page.py",
    },
    "huggingface_hub": {"flywheel/catalog/hub.py"},
    "fastapi": {"flywheel/serving/http/app.py"},
    "uvicorn": {"flywheel/serving/http/connections.py", "flywheel/serving/http/server.py"},
    # Prefect's client raises its errors
    "httpx": {
        "flywheel/vendors/client.py",
        "flows/cli/exits.py",
        "flows/run_page.py",
        "flows/schedules.py",
        "tasks/coordination/run_page.py",
    },
    "apprise": {"tasks/notify.py"},
    "prometheus_client": {
        "flywheel/reports/night_metrics.py",
        "flywheel/serving/prometheus.py",
    },
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
    paths = sorted((ROOT / "flywheel/serving").rglob("*.py"))
    assert len(paths) > 10
    for path in paths:
        for node in nodes(path):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            assert not any(name.startswith("flywheel.store") for name in modules), path.name


def test_every_room_has_its_layer_and_its_line_on_the_page() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (contract,) = project["tool"]["importlinter"]["contracts"]
    layers = {name for layer in contract["layers"] for name in re.split(r" [|:] ", layer)}
    rooms = {
        f"flywheel.{path.stem}"
        for path in (ROOT / "flywheel").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert layers == {"flows", "tasks", *rooms} - {"flywheel.__init__"}
    table = (ROOT / "docs/concepts/layout.md").read_text().partition("## Eight")[0]
    named = {
        f"flywheel.{name}"
        for row in re.findall(r"^\| (`.*?) \|", table, re.M)
        for name in re.findall(r"`(\w+)`", row)
    }
    assert named == layers - {"flows", "tasks"}


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
