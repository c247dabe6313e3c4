"""The use case: one YAML file that says what goes in, what comes out, and what may be promoted.

Loaded once at the door; unknown keys are refused with the nearest valid key named.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import urlsplit

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from flywheel.adapters_config import AdaptersConfig
from flywheel.errors import ConfigError
from flywheel.kinds import BY_LABEL, FLOOR, Kind, misplaced
from flywheel.recipes import RECIPES, MethodName, Recipe

NAME_PATTERN = r"^[a-z][a-z0-9-]*$"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SplitConfig(_Section):
    """Shares of groups, decided once and for ever by a salted hash."""

    salt: str
    """Changing it redraws every split: only ever do so with a new use case name."""
    exam: float = Field(default=0.2, gt=0, lt=0.9)
    """Share of groups that only the gate may look at."""
    validation: float = Field(default=0.1, ge=0, lt=0.9)
    """Share of groups to choose settings on."""


class CurationConfig(_Section):
    """What may become an example, and what it may weigh. The rules are in `flywheel.curation`."""

    gold_sources: list[str] = Field(min_length=1)
    """Only labels from these sources may enter the exam."""
    train_on_gold: bool = False
    """Whether gold labels of groups outside the exam may train."""
    trusted_sources: list[str] = []
    """Never held back and never capped, as gold is; one's own annotators, say."""
    min_chars: int = Field(default=3, ge=1)
    max_chars: int = Field(default=2_000, ge=1)
    languages: list[str] = []
    """Two-letter codes. A text that is surely in another language is left out; empty: any."""
    personal_data: bool = True
    """Put placeholders for e-mail and IP addresses, phone, card and account numbers."""
    names_in: list[Literal["rater_id", "customer_id"]] = []
    """Which fields hold people's names, to be replaced in the texts as well."""
    near_duplicates: float = Field(default=0.7, gt=0, le=1)
    """Texts with at least this Jaccard similarity are almost alike; 1: only equal texts are."""
    poison: bool = True
    """Hold back campaigns and raters that are worse than chance."""
    min_agreement: float = Field(default=0.5, ge=0, lt=1)
    """A text is learned from only when its label is likelier than this."""
    complementary: bool = False
    """Learn "not this one" from rejections without a correction.

    Off, because rejections alone speak of errors only: 300 of them beside 300 labels of the default
    data cost a TF-IDF learner 10.3 points of accuracy (95 % interval 8.7 to 11.8, 20 seeds). Where
    accepted answers come in as well they brought it 1.2 points (0.3 to 2.1). Not measured with the
    QLoRA recipe. ``python -m benchmarks.rejections``.
    """
    suspect_weight: float = Field(default=0.75, gt=0, le=1)
    """What a label that is probably wrong counts for; 1 switches the rule off.

    On the default data 23 % of the suspected labels were wrong and 9 % of the others.
    """
    max_customer_share: float = Field(default=0.2, gt=0, le=1)
    """The most of the training weight that one customer, or one rater, may have; 1: no cap."""
    max_source_share: float = Field(default=1.0, gt=0, le=1)
    max_day_share: float = Field(default=1.0, gt=0, le=1)
    max_examples: int = Field(default=20_000, ge=1)
    """Training rows at most, the classes as level as they can be."""
    newest: int = Field(default=200_000, ge=1)
    """Reactions that a night looks at, besides gold and those of the last snapshot."""


class SourceConfig(_Section):
    """Where feedback is fetched from, besides the inbox. The kinds are in `flywheel.sources`."""

    name: str = Field(pattern=NAME_PATTERN)
    kind: Literal["files", "mlflow", "label-studio", "langfuse", "chat", "datasets", "sql"]
    location: str
    """A path or URL, an experiment, a dataset, or the variable that holds a connection string."""
    fields: dict[str, str] = {}
    """Our field → the source's column."""
    values: dict[str, dict[str, str]] = {}
    """Our field → the source's value → ours."""
    constants: dict[str, str] = {}
    """Our field → its value in every row."""
    query: str | None = None
    watermark: str | None = None
    """For sql: the column whose greatest value is where the next night goes on."""
    split: str = "train"
    lookback_days: int = Field(default=30, ge=0)
    """How far before the watermark late assessments are looked for."""


_OF_A_METHOD = ("epochs", "learning_rate", "min_steps")
"""Settings of a training that each method's recipe has its own of."""
_OF_THE_START = ("start_from", "replay", "full_every")
"""Settings that decide where a training starts and on which rows, and nothing else."""


class Candidate(_Section):
    """An entry of a slate: a method, the base it is used on, and settings of its own."""

    method: MethodName
    base: str | None = None
    epochs: int | None = Field(default=None, ge=1)
    min_steps: int | None = Field(default=None, ge=0)
    learning_rate: float | None = Field(default=None, gt=0)


class TrainingConfig(_Section):
    """How a challenger learns. The base has no default; what else is unnamed is the method's."""

    method: MethodName | Literal["auto"] = "qlora"
    """``auto`` trains every entry of the slate; the best on validation rows is the challenger."""
    base: str | None = None
    """An entry of the catalogue; only methods that need none go without."""
    slate: list[Candidate] = []
    where: Literal["inline", "pool"] = "inline"
    """``inline`` trains in a child process here; ``pool`` runs deployment ``train/gpu``."""
    min_examples: int = Field(default=100, ge=1)
    min_per_class: int = Field(default=1, ge=0)
    """Training examples of each label below which a night is skipped; 0 switches the rule off."""
    epochs: int = Field(default=2, ge=1)
    min_steps: int = Field(default=0, ge=0)
    """Optimiser steps at least: with few rows, more epochs."""
    batch_size: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=5e-4, gt=0)
    warmup_share: float = Field(default=0.06, ge=0, lt=1)
    lora_rank: int = Field(default=16, ge=1)
    lora_alpha: int = Field(default=32, ge=1)
    virtual_tokens: int = Field(default=20, ge=1)
    """Learned positions of prefix and prompt tuning."""
    max_length_tokens: int = Field(default=128, ge=8)
    max_tokens_per_pass: int = Field(default=384, ge=8)
    """Bounds activation memory: a batch is cut into passes whose gradients add up."""
    max_new_tokens: int = Field(default=64, ge=1)
    """Tokens of a written answer at most; a reference loses what is over it."""
    seed: int = 0
    start_from: Literal["base", "champion"] = "base"
    """``champion``: learn on from the champion's weights, where `flywheel.warm_start` says it is
    right; a night then costs what is new, not all that is known."""
    replay: float = Field(default=1.0, ge=0)
    """Rows learned before that are learned from again, for each new one."""
    full_every: int = Field(default=7, ge=1)
    """Of so many trainings in a row one is from the base, so that nothing drifts away for ever."""

    @model_validator(mode="before")
    @classmethod
    def _as_the_method_has_it(cls, given: Any) -> Any:
        """Fill in what the method's recipe says and the file does not."""
        recipe = RECIPES.get(given.get("method", "qlora")) if isinstance(given, dict) else None
        if recipe is None:
            return given
        return {**{name: getattr(recipe, name) for name in _OF_A_METHOD}, **given}

    @model_validator(mode="after")
    def _has_what_the_method_needs(self) -> Self:
        if self.method == "auto":
            if not self.slate:
                raise ValueError("method auto needs a slate: a list of methods and bases")
            for name in _OF_A_METHOD:
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"{name} is a method's: set it in the entries of the slate")
        elif self.slate:
            raise ValueError("a slate is for method: auto")
        elif self.recipe.bases and self.base is None:
            raise ValueError(f"method {self.method} needs a base")
        return self

    @property
    def zero_shot_base(self) -> str | None:
        """The base that can be asked as it is: the first that label words are read from."""
        return next((e.base for e in self.entries() if e.recipe.words), None)

    @property
    def decisive(self) -> dict[str, Any]:
        """What decides the weights that it learns from given rows and a given start."""
        return self.model_dump(mode="json", exclude=set(_OF_THE_START))

    @property
    def recipe(self) -> Recipe:
        """What its method is."""
        if self.method == "auto":
            raise ValueError("a slate has several methods; see entries()")
        return RECIPES[self.method]

    def entries(self) -> list[TrainingConfig]:
        """One training for each entry of the slate, or this one."""
        if self.method != "auto":
            return [self]
        shared = self.model_dump(exclude={"method", "base", "slate", *_OF_A_METHOD})
        return [
            TrainingConfig.model_validate({**shared, **one.model_dump(exclude_none=True)})
            for one in self.slate
        ]


class GateConfig(_Section):
    """When a challenger may replace the champion. What is None is switched off, and shown so."""

    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """Chance, over the whole life of the use case, of ever promoting one that is no better."""
    margin: float = Field(default=0.0, gt=-0.5, lt=0.5)
    """Gain in accuracy that must be shown; negative: how much worse a challenger may be."""
    exam_share: float = Field(default=0.5, gt=0, lt=1)
    """Share of ``alpha`` for questions to the exam; the rest is for trials on fresh rows."""
    evidence_sources: list[str] = []
    """Sources whose fresh labels are evidence, besides gold, trusted ones and audits.

    Name one only where nearly every answer gets a reaction: complaints alone always speak against
    the champion.
    """
    unit: Literal["group", "row"] = "group"
    """What counts as one piece of evidence: all rows of a group together, or each by itself.

    ``row`` decides sooner, and is right only where rows of a group go right or wrong on their own.
    """
    max_trial_nights: int = Field(default=14, ge=1)
    """Nights on fresh rows after which a challenger that is not decided gives way."""
    restart_growth: float = Field(default=1.0, gt=0)
    """A challenger on trial gives way when the training examples have grown by this share."""
    min_exam_examples: int = Field(default=200, ge=1)
    min_accuracy: float | None = Field(default=None, ge=0, le=1)
    """Absolute floor; the floors alone decide while there is no champion."""
    min_rouge_l: float | None = Field(default=None, ge=0, le=1)
    """The floor of written answers: mean ROUGE-L F-measure, see docs/generation.md."""
    tie_within: float = Field(default=0.05, ge=0, lt=1)
    """Two written answers to one row tie when their ROUGE-L differs by no more.

    0.05 is about one word of a summary of twenty.
    """
    golden_rouge_l: float = Field(default=0.5, gt=0, le=1)
    """From which ROUGE-L on a written answer to a golden row is right."""
    min_macro_f1: float = Field(default=0.0, ge=0, le=1)
    max_calibration_error: float = Field(default=1.0, ge=0, le=1)
    slices: list[Literal["label", "language", "length", "source", "month", "segment"]] = [
        "label",
        "length",
    ]
    """On none of these may it be significantly worse; corrected for their number. Empty: off."""
    segments: dict[str, str] = {}
    """Customer segment → regular expression that its group ids match."""
    slice_alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """Chance per comparison that a challenger worse on no slice is refused for one."""
    min_slice_rows: int = Field(default=20, ge=1)
    abstain_below: float = Field(default=0.0, ge=0, lt=1)
    """Answers less sure than this count as abstained."""
    max_abstention: float | None = Field(default=None, ge=0, le=1)
    max_latency_ms: float | None = Field(default=None, gt=0)
    """Milliseconds per row at the throughput measured on the exam."""
    max_memory_mb: float | None = Field(default=None, gt=0)
    """Peak memory of the process that scored the exam."""
    max_adapter_mb: float | None = Field(default=None, gt=0)
    machine_cost_per_hour: float | None = Field(default=None, gt=0)
    """What the machine costs, in your currency, for cost per thousand answers."""
    max_cost_per_thousand: float | None = Field(default=None, gt=0)
    leave_one_out: bool = True
    """Refuse a gain that is gone without the compared rows of one source or one group.

    Whose training rows made the gain is not asked: nothing is trained again without them.
    """
    max_disagreement: float | None = Field(default=None, ge=0, le=1)
    """Share of the newest requests that may be answered otherwise than by the champion."""
    max_served_difference: float = Field(default=0.02, ge=0, le=1)
    """Share of a trial's recorded answers that may differ from what was measured."""
    min_canary_groups: int = Field(default=20, ge=1)
    """Groups of each arm without which a canary (`serving.canary_share`) promotes nobody."""
    canary_alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """Chance, per challenger, that a canary refuses one that is no worse."""
    brake: Literal["off", "warn", "rollback"] = "warn"
    """What to do when fresh rows show the champion worse than its predecessor.

    ``warn``: every night says so as long as it serves. ``rollback``: the predecessor is champion
    again, once; a person who puts the other back is not overruled.
    """
    brake_alpha: float = Field(default=0.01, gt=0, lt=0.5)
    """Chance, per champion, of braking one that is no worse."""
    brake_nights: int = Field(default=7, ge=1)
    """Nights for which a predecessor is still asked."""
    verify_rows: int = Field(default=32, ge=1)
    """Exam rows that the registered version answers again before the alias moves."""


class ServingConfig(_Section):
    """How ``flywheel serve`` answers. Its keys are secrets, and come from the environment."""

    source: str = Field(default="app", min_length=1, max_length=512)
    """The ``source`` of the feedback that it takes."""
    max_body_bytes: int = Field(default=1_000_000, ge=1_000)
    max_texts: int = Field(default=256, ge=1)
    """Texts in one request."""
    max_text_chars: int = Field(default=20_000, ge=1)
    max_waiting: int = Field(default=512, ge=1)
    """Texts that may wait for the model; more are refused with 429 and a Retry-After."""
    max_batch_tokens: int = Field(default=1_024, ge=8)
    """Tokens of one pass of the model, padding counted."""
    cached_answers: int = Field(default=10_000, ge=0)
    """Answers kept in memory, by digest and text; 0 asks the model every time."""
    texts_per_s: float | None = Field(default=None, gt=0)
    """What one key may ask for; more is refused with 429."""
    durable: bool = True
    """Answer once the prediction is on the disk; a request may ask otherwise."""
    disk_full: Literal["predict", "feedback"] = "predict"
    """What goes on: predictions, unrecorded, while feedback gets 503; or feedback alone."""
    reserve_mb: float = Field(default=200, ge=0)
    """No prediction is recorded when less of the disk is free: the rest is for feedback."""
    segment_s: float = Field(default=30, gt=0)
    """How old a file gets before ingest may have it."""
    segment_mb: float = Field(default=16, gt=0)
    poll_s: float = Field(default=5, gt=0)
    """How often the registry is asked who is champion; MLflow's webhook may wake it before."""
    shadow_share: float = Field(default=0, ge=0, le=1)
    """Share of requests that the challenger answers too, never shown."""
    canary_share: float = Field(default=0, ge=0, le=1)
    """Share of groups that the challenger answers instead, always the same ones."""
    adapters: AdaptersConfig = AdaptersConfig()
    """Versions of their own for some customers or segments."""
    tracing: Literal["off", "mlflow"] = "off"
    """``mlflow`` shows each answer as a trace and each feedback as an assessment, without texts.

    Off, because under load it costs more than a tenth of the latency.
    ``python -m benchmarks.tracing``.
    """

    @field_validator("tracing", mode="before")
    @classmethod
    def _off(cls, given: Any) -> Any:
        # YAML reads a bare off as false
        return "off" if given is False else given

    @model_validator(mode="after")
    def _requests_fit(self) -> Self:
        if self.max_texts > self.max_waiting:
            raise ValueError("max_texts must not be more than max_waiting")
        return self


class VendorConfig(_Section):
    """An OpenAI-compatible endpoint that is asked the same rows: build or buy."""

    name: str = Field(pattern=NAME_PATTERN)
    url: str
    """What ``/chat/completions`` is put behind; https, or http on this machine."""
    model: str = Field(min_length=1)
    key_env: str | None = Field(default=None, pattern=r"^[A-Z][A-Z0-9_]*$")
    """The variable that holds the key; the key itself is never written anywhere."""
    input_price: float = Field(ge=0)
    """Of a thousand tokens sent, in the currency of ``gate.machine_cost_per_hour``."""
    output_price: float = Field(ge=0)
    """Of a thousand tokens received."""
    spend_cap: float = Field(ge=0)
    """The most that may ever be spent on it in this home; no request is sent that could pass it."""
    concurrency: int = Field(default=4, ge=1, le=64)
    timeout_s: float = Field(default=60, gt=0)
    """For one try, from the first byte sent to the last one received."""
    tries: int = Field(default=5, ge=1)
    """Of one row, before it counts as not answered."""
    backoff_s: float = Field(default=1, gt=0)
    """The longest wait before the second try; doubled for each further one."""
    requests_per_minute: float | None = Field(default=None, gt=0)
    max_output_tokens: int = Field(default=16, ge=1)
    """More than the longest label has; an answer that is cut off counts as abstained."""
    token_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the endpoint calls that limit."""
    temperature: float | None = Field(default=0, ge=0)
    """None leaves it out, for endpoints that refuse it."""
    logprobs: bool = False
    """Ask for the likeliest tokens, and make probabilities of them."""
    shots: list[Annotated[int, Field(ge=0, le=64)]] = Field(default=[0], min_length=1)
    """Training examples to show in each request; of several one is chosen, never on the exam."""
    extra: dict[str, Any] = {}
    """Further fields of the request, such as ``reasoning_effort``."""

    @field_validator("url")
    @classmethod
    def _is_private(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("the url must hold no user, key, query or fragment")
        here = parts.hostname in {"localhost", "127.0.0.1", "::1"}
        if not parts.hostname or parts.scheme not in ({"https", "http"} if here else {"https"}):
            raise ValueError("the url must begin with https://, or http:// on this machine")
        return url.rstrip("/")

    @field_validator("extra")
    @classmethod
    def _leaves_ours_alone(cls, extra: dict[str, Any]) -> dict[str, Any]:
        ours = {"model", "messages", "stream", "n", "max_tokens", "max_completion_tokens"}
        ours |= {"temperature", "logprobs", "top_logprobs"}
        if taken := sorted(ours & set(extra)):
            raise ValueError(f"extra may not set {', '.join(taken)}")
        return extra


class Golden(_Section):
    """An example that must never fail, checked by hand; nothing like it trains."""

    text: str = Field(min_length=1)
    label: str = Field(min_length=1)
    """The right label, or the text that is wanted."""


class UseCase(_Section):
    """The contract of one job."""

    name: str = Field(pattern=NAME_PATTERN)
    kind: Kind
    description: str
    labels: dict[str, str] = Field(default={}, validate_default=True)
    """Label → its meaning in one line. The order is the order of every probability vector.

    At least two for a classification; none for a generation.
    """
    prompt: str = ""
    """Must hold ``{text}``; the label, or the answer, comes next. Pictures have none."""
    split: SplitConfig
    curation: CurationConfig
    sources: list[SourceConfig] = []
    training: TrainingConfig
    gate: GateConfig
    serving: ServingConfig = ServingConfig()
    vendors: list[VendorConfig] = []
    """Bought models to compare the champion with; none is asked unless by command."""
    golden: list[Golden] = []
    """A challenger may fail none that its champion gets right."""
    promotion: Literal["automatic", "approval"] = "automatic"
    """With ``approval`` a night ends awaiting a person, who decides in MLflow or by command."""

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
        if self.generates and BY_LABEL in self.gate.slices:
            raise ValueError("gate.slices: a text-generation has no slice by label")
        entries = self.training.entries()
        if self.generates and len(entries) > 1:
            raise ValueError("training.slate: a text-generation trains one method")
        for entry in entries:
            if not self.sees and self.kind not in entry.recipe.kinds:
                raise ValueError(f"training.method: {entry.method} is not for {self.kind}")
        sections = {"curation": self.curation, "training": self.training, "gate": self.gate}
        if faults := list(misplaced(self.kind, sections)):
            raise ValueError("; ".join(faults))
        return self

    @model_validator(mode="after")
    def _asks_as_its_kind_does(self) -> Self:
        if not self.sees:
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
            if not self.generates and golden.label not in self.labels:
                raise ValueError(
                    f"golden.{row}.label is {golden.label!r}; labels: {', '.join(self.labels)}"
                )
        return self

    @field_validator("vendors")
    @classmethod
    def _vendors_have_names(cls, vendors: list[VendorConfig]) -> list[VendorConfig]:
        names = [vendor.name for vendor in vendors]
        if len(set(names)) < len(names):
            raise ValueError("each vendor must have a name of its own")
        return vendors

    @property
    def sees(self) -> bool:
        """Whether an input is the address of a picture, and not a text."""
        return self.kind == "image-classification"

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels in their order; none where any text may be the answer."""
        return tuple(self.labels)

    @property
    def generates(self) -> bool:
        """Whether answers are texts that it writes, not labels that it chooses."""
        return self.kind == "text-generation"


def load_use_case(name_or_path: str, *, folder: Path | None = None) -> UseCase:
    """Read a use case by name (from ``usecases/``) or by path.

    Raises:
        ConfigError: the file is missing, is not YAML, or breaks the contract; every fault is named.
    """
    folder = folder or Path("usecases")
    path = Path(name_or_path)
    if path.suffix not in {".yaml", ".yml"}:
        path = folder / f"{name_or_path}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml"))) or "none"
        raise ConfigError(
            f"No use case at {path}. Known use cases in {folder}/: {known}.", path=str(path)
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}", path=str(path)) from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold a mapping, found {type(content).__name__}.")
    try:
        return UseCase.model_validate(content)
    except ValidationError as error:
        faults = "\n".join(f"  {_explain(fault)}" for fault in error.errors())
        raise ConfigError(f"{path} cannot be used:\n{faults}", path=str(path)) from error


def _explain(fault: Any) -> str:
    where = ".".join(str(part) for part in fault["loc"])
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


class Home:
    """Where all state lives: ``FLYWHEEL_HOME``, by default ``data/``."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = Path(root or os.environ.get("FLYWHEEL_HOME", "data")).resolve()

    @property
    def warehouse(self) -> Path:
        return self.root / "warehouse.duckdb"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def images(self) -> Path:
        return self.root / "images"

    @property
    def downloads(self) -> Path:
        return self.root / "downloads"

    @property
    def snapshots(self) -> Path:
        return self.root / "snapshots"

    @property
    def adapters(self) -> Path:
        return self.root / "adapters"

    @property
    def prefect(self) -> Path:
        return self.root / "prefect"

    @property
    def mlflow_artifacts(self) -> Path:
        return self.root / "mlflow-artifacts"

    @property
    def mlflow_uri(self) -> str:
        given = os.environ.get("MLFLOW_TRACKING_URI")
        return given or f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def forget(self) -> Path:
        return self.root / "forget"

    def reports(self, use_case: str) -> Path:
        """The pages of a use case's nights."""
        return self.root / "reports" / use_case

    def vendors(self, use_case: str) -> Path:
        """What vendors answered, and what was spent on them."""
        return self.root / "vendors" / use_case

    @property
    def serving(self) -> Path:
        return self.root / "serving"

    def bench(self, grid: str) -> Path:
        """The results of a benchmark's cells, and its page."""
        return self.root / "bench" / grid

    def inbox(self, use_case: str) -> Path:
        return self.root / "inbox" / use_case
