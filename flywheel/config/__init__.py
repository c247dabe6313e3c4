"""The use case: one YAML file that says what goes in, what comes out, and what may be promoted.

Loaded once at the door; unknown keys are refused with the nearest valid key named.
"""

from __future__ import annotations

import difflib
import functools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import (
    Field,
    ValidationError,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from flywheel.config.base import NAME_PATTERN, Section
from flywheel.config.data import ColumnsConfig, CurationConfig, Golden, SourceConfig, SplitConfig
from flywheel.config.gate import GateConfig
from flywheel.config.home import Home
from flywheel.config.method_specs import RECIPES
from flywheel.config.notify import NotifyConfig
from flywheel.config.serving import ServingConfig
from flywheel.config.task_types import BY_LABEL, FLOOR, Kind, misplaced
from flywheel.config.training import Candidate, TrainingConfig
from flywheel.config.vendors import VendorConfig
from flywheel.config.watch import WatchConfig
from flywheel.errors import ConfigError

_log = logging.getLogger(__name__)

DEFAULT_USE_CASE = "product-reviews"
_SHIPPED = Path(__file__).with_name(f"{DEFAULT_USE_CASE}.yaml")
"""The default use case within the package, for wherever there is no project's folder."""
_FIND = "Change to the project's folder, or give the path of the file; flywheel list shows them."

__all__ = [
    "DEFAULT_USE_CASE",
    "NAME_PATTERN",
    "Candidate",
    "ColumnsConfig",
    "CurationConfig",
    "GateConfig",
    "Golden",
    "Home",
    "NotifyConfig",
    "ServingConfig",
    "SourceConfig",
    "SplitConfig",
    "TrainingConfig",
    "UseCase",
    "VendorConfig",
    "WatchConfig",
    "load_use_case",
    "use_case_path",
]


class UseCase(Section):
    """The contract of one job: what goes in, what comes out, and what may be promoted."""

    name: str = Field(pattern=NAME_PATTERN)
    """Name of the use case, of its folders in the home and of its model in MLflow."""
    kind: Kind
    """What is answered: a label of a text, a label of a picture, or a text."""
    description: str
    """One line for people. Bought models read it, too."""
    labels: dict[str, str] = Field(default={}, validate_default=True)
    """Label → its meaning in one line. Their order is the order of every probability vector.

    At least two for a classification; none for a generation.
    """
    prompt: str = ""
    """What stands around the text. It holds ``{text}`` once, and the label or the answer comes
    next.

    Pictures have none.
    """
    split: SplitConfig
    """Which rows train, validate, or only test."""
    curation: CurationConfig
    """What may become an example, and what it weighs."""
    columns: ColumnsConfig | None = None
    """Columns of the tables that `flywheel ingest` is given. Unset: its options name them."""
    sources: list[SourceConfig] = []
    """Where each night fetches feedback, besides the inbox."""
    training: TrainingConfig
    """How a challenger learns."""
    base_sha256: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = {}
    """Base → the sha256 that it must have; `flywheel doctor` prints it.

    Bases from PyPI are pinned by the catalog. One from a hub is pinned by its commit only, and is
    trusted as it first comes unless it is named here.
    """
    gate: GateConfig
    """When a challenger may replace the champion."""
    serving: ServingConfig = ServingConfig()
    """How ``flywheel serve`` answers."""
    vendors: list[VendorConfig] = []
    """Bought models to compare the champion with. Nothing is sent to them but by command."""
    notify: list[NotifyConfig] = []
    """Who is told what became of a night; without an entry nobody is."""
    watch: WatchConfig = WatchConfig()
    """What starts a night before its time; by default nothing does."""
    golden: list[Golden] = []
    """Examples that a challenger may not get wrong where the champion gets them right."""
    promotion: Literal["automatic", "approval"] = "automatic"
    """``automatic`` promotes what passes the gate. ``approval`` waits for a person, who decides in
    MLflow or by command."""

    @field_serializer("labels", when_used="json")
    def _in_their_order(self, labels: dict[str, str]) -> list[tuple[str, str]]:
        """A list of pairs: MLflow, YAML and databases sort the keys of a mapping."""
        return list(labels.items())

    @field_validator("labels", mode="before")
    @classmethod
    def _of_pairs(cls, given: Any) -> Any:
        if not isinstance(given, list | tuple):
            return given
        if not all(isinstance(one, list | tuple) and len(one) == 2 for one in given):
            return given
        names = [str(name) for name, _ in given]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"named twice: {', '.join(twice)}")
        return dict(given)

    @field_validator("labels")
    @classmethod
    def _as_many_as_the_kind_has(
        cls, labels: dict[str, str], info: ValidationInfo
    ) -> dict[str, str]:
        kind = info.data.get("kind")
        if kind == "text-generation" and labels:
            raise ValueError("labels are for text-classification; a text-generation has none")
        if kind == "text-classification" and len(labels) < 2:
            raise ValueError(f"a text-classification needs 2 at least, found {len(labels)}")
        return labels

    @field_validator("prompt")
    @classmethod
    def _has_text(cls, prompt: str) -> str:
        if prompt and prompt.count("{text}") != 1:
            raise ValueError("the prompt must hold {text} exactly once")
        return prompt

    @model_validator(mode="before")
    @classmethod
    def _slices_of_the_kind(cls, given: Any) -> Any:
        """By default a generation is not sliced by label."""
        gate = given.get("gate") if isinstance(given, dict) else None
        if not isinstance(gate, dict) or given.get("kind") != "text-generation":
            return given
        return {**given, "gate": {"slices": ["length"], **gate}}

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        floor = FLOOR[self.kind]
        if getattr(self.gate, floor) is None:
            raise ValueError(f"gate.{floor}: a {self.kind} needs this floor")
        if self.is_generation and BY_LABEL in self.gate.slices:
            raise ValueError("gate.slices: a text-generation has no slice by label")
        entries = self.training.entries()
        if self.is_generation and len(entries) > 1:
            raise ValueError("training.slate: a text-generation trains one method")
        for entry in entries:
            if not self.is_image and self.kind not in entry.recipe.kinds:
                raise ValueError(f"training.method: {entry.method} is not for {self.kind}")
        sections = {"curation": self.curation, "training": self.training, "gate": self.gate}
        if faults := list(misplaced(self.kind, sections)):
            raise ValueError("; ".join(faults))
        return self

    @model_validator(mode="after")
    def _asks_as_its_kind_does(self) -> Self:
        if not self.is_image:
            if not self.prompt:
                raise ValueError(f"prompt: a {self.kind} needs one")
            return self
        if self.prompt:
            raise ValueError("prompt: pictures are not asked by a prompt; leave it out")
        for entry in self.training.entries():
            if "vision" not in entry.recipe.bases:
                able = ", ".join(name for name, one in RECIPES.items() if "vision" in one.bases)
                raise ValueError(
                    f"training.method: {entry.method} cannot read pictures; these can: {able}"
                )
        return self

    @model_validator(mode="after")
    def _golden_has_labels(self) -> Self:
        for row, golden in enumerate(self.golden):
            if not self.is_generation and golden.label not in self.labels:
                raise ValueError(
                    f"golden.{row}.label is {golden.label!r}; labels: {', '.join(self.labels)}"
                )
        return self

    @field_validator("vendors", "notify")
    @classmethod
    def _have_names(cls, entries: list[Any]) -> list[Any]:
        names = [entry.name for entry in entries]
        if len(set(names)) < len(names):
            raise ValueError("each entry must have a name of its own")
        return entries

    def on_runtime_of(self, serving: ServingConfig) -> UseCase:
        """This one, as it was registered, to be answered by what computes answers now."""
        runtime = {"runtime": serving.runtime}
        return self.model_copy(update={"serving": self.serving.model_copy(update=runtime)})

    @property
    def is_image(self) -> bool:
        """Whether an input is the address of a picture, and not a text."""
        return self.kind == "image-classification"

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels in their order; none where any text may be the answer."""
        return tuple(self.labels)

    @property
    def is_generation(self) -> bool:
        """Whether answers are texts that it writes, not labels that it chooses."""
        return self.kind == "text-generation"


def use_case_path(name_or_path: str | None, *, folder: Path | None = None) -> Path:
    """The file of a use case by name (from ``usecases/``), by path, or unnamed where one is there.

    Of several, the default one is meant where it is among them. Where there is none, the default
    one is there by its name all the same: it is in the package.

    Raises:
        ConfigError: there is no such file, or none is named of several.
    """
    folder = folder or Path("usecases")
    files = {path.stem: path for path in sorted(folder.glob("*.y*ml"))}
    known = f"{folder.resolve()} holds {', '.join(files) or 'no use case'}"
    if name_or_path is None:
        if len(files) == 1 or DEFAULT_USE_CASE in files:
            return files.get(DEFAULT_USE_CASE) or next(iter(files.values()))
        what = "Which use case? Name one with -u" if files else "There is no use case here"
        raise ConfigError(f"{what}: {known}. {_FIND}", path=str(folder))
    path = Path(name_or_path)
    if path.suffix not in {".yaml", ".yml"}:
        path = folder / f"{name_or_path}.yaml"
    if not path.is_file() and name_or_path == DEFAULT_USE_CASE and not files:
        return _SHIPPED
    if not path.is_file():
        near = difflib.get_close_matches(path.stem, files, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ConfigError(
            f"There is no use case {path.absolute()}: {known}.{hint} {_FIND}", path=str(path)
        )
    return path


def load_use_case(name_or_path: str, *, folder: Path | None = None) -> UseCase:
    """Read a use case by name (from ``usecases/``) or by path.

    Raises:
        ConfigError: the file is missing, is not YAML, or breaks the contract; every fault is named.
    """
    path = use_case_path(name_or_path, folder=folder)
    try:
        written = path.read_text(encoding="utf-8")
        root, content = yaml.compose(written, yaml.SafeLoader), yaml.safe_load(written)
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8.", path=str(path)
        ) from error
    except RecursionError as error:
        raise ConfigError(f"{path} is nested too deep to be read.", path=str(path)) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}", path=str(path)) from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold a mapping, found {type(content).__name__}.")
    if misread := list(_misread_labels(root)):
        told = "\n".join(f"  {fault}" for fault in misread)
        raise ConfigError(f"{path} cannot be used:\n{told}", path=str(path))
    try:
        case = UseCase.model_validate(content)
    except ValidationError as error:
        faults = "\n".join(f"  {_explain(fault)}" for fault in error.errors())
        raise ConfigError(f"{path} cannot be used:\n{faults}", path=str(path)) from error
    for old, now in _renamed_in(content):
        _say_once(f"{path}: {old} is called {now} now; the old name is read until version 0.3")
    return case


def _renamed_in(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Keys of a file that have another name since it was written, and that name."""
    for section, field in UseCase.model_fields.items():
        given = content.get(section)
        kind = field.annotation
        if isinstance(given, dict) and isinstance(kind, type) and issubclass(kind, Section):
            for old, now in kind.renamed.items():
                if old in given:
                    yield f"{section}.{old}", f"{section}.{now}"


@functools.cache
def _say_once(note: str) -> None:
    _log.warning(note)


def _misread_labels(root: Any) -> Iterator[str]:
    """Labels, their meanings and names that YAML takes for something else than words, or twice."""
    for key, node in root.value:
        if key.value == "name" and isinstance(node, yaml.ScalarNode) and not _is_words(node):
            yield _quote_it("name", node)
        if key.value != "labels" or not isinstance(node, yaml.MappingNode):
            continue
        seen = set[str]()
        for label, meaning in node.value:
            for one in (label, meaning):
                if isinstance(one, yaml.ScalarNode) and not _is_words(one):
                    yield _quote_it(f"labels.{label.value}", one)
            if isinstance(label, yaml.ScalarNode) and label.value in seen:
                yield f"labels.{label.value}: line {label.start_mark.line + 1} names it again"
            seen.add(str(label.value))


def _is_words(node: yaml.ScalarNode) -> bool:
    return bool(node.tag == "tag:yaml.org,2002:str")


def _quote_it(where: str, node: yaml.ScalarNode) -> str:
    kind = node.tag.rpartition(":")[2]
    kind = {"bool": "a yes or no", "null": "nothing at all", "int": "a number"}.get(kind, kind)
    line = node.start_mark.line + 1
    if not node.value:
        return f"{where}: nothing stands there in line {line}; write a few words"
    return f'{where}: in line {line} YAML reads {node.value} as {kind}; quote it: "{node.value}"'


def _explain(fault: Any) -> str:
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "string_type" and isinstance(fault["input"], bool | int | float):
        return f"{where}: YAML reads {fault['input']}, which is no text; quote it"
    if fault["type"] != "extra_forbidden":
        return f"{where}: {fault['msg']}" if where else str(fault["msg"])
    valid = _keys_at(fault["loc"][:-1])
    near = difflib.get_close_matches(str(fault["loc"][-1]), valid, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"valid keys: {', '.join(valid)}"
    return f"{where}: unknown key; {hint}"


def _keys_at(location: tuple[Any, ...]) -> list[str]:
    section: Any = UseCase
    for part in location:
        if isinstance(part, int):
            (section,) = get_args(section)
        else:
            section = section.model_fields[str(part)].annotation
    return list(section.model_fields)
