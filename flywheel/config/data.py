"""Where a use case's rows come from, and what becomes of them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from flywheel.config.base import NAME_PATTERN, Section


class SplitConfig(Section):
    """Shares of groups. A salted hash of the group's name decides its side, once and for ever."""

    renamed = {"exam": "holdout"}

    salt: str
    """Never change it: every group would be drawn anew, so that models are tested on rows that they
    learned from. Use another use case name instead."""
    holdout: float = Field(default=0.2, gt=0, lt=0.9)
    """Share of groups that only the gate may look at."""
    validation: float = Field(default=0.1, ge=0, lt=0.9)
    """Share of groups to choose settings on."""
    by_customer: bool = True
    """Whether a text without a ``group_id`` belongs to its customer's group. With ``false`` each
    text is its own group: for few customers."""


class ColumnsConfig(Section):
    """Which columns of the labeled table held what, for a later table of the same system. An unset
    one has no column."""

    text: list[str] = Field(min_length=1)
    """The columns of the text; several are joined."""
    label: str
    """The column of the labels, or of the texts that are to be written."""
    customer: str | None = None
    """The column of the customer whose row it is."""
    time: str | None = None
    """The column of when a row was labeled or said."""
    rater: str | None = None
    """The column of who labeled it."""
    group: str | None = None
    """The column of what stays on one side of the split. Without one it is the customer."""
    separator: str | None = None
    """What is between the cells. Unset: found in the file."""
    encoding: str | None = None
    """The file's encoding, as Python names it. Unset: found in the file."""
    months_first: bool | None = None
    """Whether 3/4/2026 is in March, for tables whose dates do not tell. Unset: it is in April."""

    def in_words(self) -> str:
        """As a person reads it."""
        roles = ("customer", "time", "rater", "group", "separator", "encoding")
        named = [(role, getattr(self, role)) for role in roles]
        shown = [f"{role} {name!r}" for role, name in named if name]
        return ", ".join([f"text {' + '.join(self.text)!r}", f"label {self.label!r}", *shown])


class CurationConfig(Section):
    """What may become an example, and what it weighs."""

    gold_sources: list[str] = Field(min_length=1)
    """Only labels from these sources may enter the holdout."""
    train_on_gold: bool = False
    """Whether gold labels of groups outside the holdout may train."""
    trusted_sources: list[str] = []
    """Sources whose rows are never held back and never capped, as gold is: your own annotators,
    say."""
    min_chars: int = Field(default=3, ge=1)
    """Shorter texts are left out."""
    max_chars: int = Field(default=2_000, ge=1)
    """Longer texts are left out, and longer written answers too."""
    languages: list[str] = []
    """Two-letter codes. Texts that are surely in another language are left out. Unset: any
    language."""
    personal_data: bool = True
    """Replace e-mail and IP addresses, phone, card and account numbers by placeholders."""
    names_in: list[Literal["rater_id", "customer_id"]] = []
    """Fields that hold people's names; these names are replaced in the texts, too."""
    near_duplicates: float = Field(default=0.7, gt=0, le=1)
    """Jaccard similarity from which two texts are near-duplicates. 1: only equal texts are."""
    poison: bool = True
    """Hold back campaigns, and raters that are worse than chance."""
    min_agreement: float = Field(default=0.5, ge=0, lt=1)
    """A text trains only when the probability of its label is above this."""
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
    """The largest share of the training weight that one customer, or one rater, may have. 1: no
    cap."""
    max_customer_rows: int = Field(default=200, ge=1)
    """Rows of one customer that a night takes, or more where `max_customer_share` of all allows it.
    The rest waits for later nights, and is counted."""
    max_change: float = Field(default=0.2, gt=0, le=1)
    """Share of the last snapshot's training rows that one night's feedback may take away or change
    the label of. Beyond it the night fails until a person has looked. 1: no limit."""
    max_source_share: float = Field(default=1.0, gt=0, le=1)
    """The largest share of the training weight that one source may have. 1: no cap."""
    max_day_share: float = Field(default=1.0, gt=0, le=1)
    """The largest share of the training weight that one day's feedback may have. 1: no cap."""
    max_examples: int = Field(default=20_000, ge=1)
    """The most training rows. Beyond it rows are left out, so that classes are as equal as they can
    be."""
    newest: int = Field(default=200_000, ge=1)
    """How many of the newest reactions a night looks at, besides gold and those of the last
    snapshot."""


class SourceConfig(Section):
    """Where feedback is fetched from, besides the inbox."""

    name: str = Field(pattern=NAME_PATTERN)
    """Name of the source. Its rows have it as their ``source``."""
    kind: Literal[
        "files", "mlflow", "label-studio", "argilla", "langfuse", "chat", "datasets", "sql"
    ]
    """The format of what is fetched. ``files`` takes any fsspec URL, ``sql`` a database."""
    location: str
    """A path or URL, an experiment, a dataset, or the variable that holds a connection string."""
    fields: dict[str, str] = {}
    """Our field → the source's column. ``source`` cannot be mapped."""
    values: dict[str, dict[str, str]] = {}
    """Our field → the source's value → ours; of ``rating`` a word → ``up`` or ``down``."""
    ratings: Literal["thumbs", "numbers"] | None = None
    """Whether 1 and 0 are thumbs, or stars and points. None: thumbs, where no others are there."""
    scores: dict[str, Literal["thumb", "rating", "correction", "comment", "none"]] = {}
    """For langfuse and mlflow: what scores of a name are, whoever or whatever gave them. Others
    count where people gave them: booleans and words react, numbers rate."""
    constants: dict[str, str] = {}
    """Our field → its value in every row. ``source`` is the name above unless it is set here."""
    query: str | None = None
    """For sql: the SELECT. ``$watermark`` in it is where the last night ended."""
    watermark: str | None = None
    """For sql: the column whose greatest value is where the next night goes on."""
    split: str = "train"
    """For datasets: which split of the data set."""
    lookback_days: int = Field(default=30, ge=0)
    """How far before the watermark late assessments are looked for."""


class Golden(Section):
    """An example, checked by hand, that must never fail. Nothing like it trains."""

    text: str = Field(min_length=1)
    """The input; of a picture, its address."""
    label: str = Field(min_length=1)
    """The right label, or the text that is wanted."""
