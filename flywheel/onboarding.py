"""From a labelled file to a use case: which columns, which labels, what settings.

Everything is a proposal written into a YAML file for a person to read and change.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from flywheel import token_counts
from flywheel.errors import DataError
from flywheel.kinds import Kind
from flywheel.token_counts import Counting

TEXT_NAMES = ("text", "body", "review", "sentence", "utterance", "message", "question", "content")
REFERENCE_NAMES = ("summary", "reply", "response", "answer", "reference", "target", "output")
GENERATION_TEXT_NAMES = ("dialogue", "document", "article", "conversation", "input", *TEXT_NAMES)
LABEL_NAMES = ("label", "category", "intent", "class", "sentiment", "topic", "target", "tag")
MOST_LABELS = 200
FEWEST_PER_LABEL = 5
EXAM_ROWS = 600
BASE = "smollm2-135m-instruct"
"""The base that is proposed."""
MOST_TOKENS = 512
"""Of a prompt, as proposed: memory and time grow with it."""
ROOM_TOKENS = 16
"""For a text's neighbours in the prompt, and the tokens that begin and end it."""
SOURCE = "init"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Columns:
    """Which column holds what; ``group`` None: every text is a group of its own."""

    text: str
    label: str
    group: str | None


@dataclass(frozen=True)
class Proposal:
    """A use case for a labelled file. ``counts`` is label → rows, in the order of the labels.

    Where answers are written it is empty.
    """

    name: str
    columns: Columns
    counts: Mapping[str, int]
    unusable: int
    warnings: tuple[str, ...]
    yaml: str


def read_table(path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV, JSON Lines or Parquet file.

    Raises:
        DataError: unknown format, not UTF-8, or not readable as what its name says.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            return list(pq.read_table(path).to_pylist())
        with path.open(encoding="utf-8-sig", newline="") as file:
            if suffix == ".csv":
                return list(csv.DictReader(file, strict=True))
            if suffix in (".jsonl", ".ndjson"):
                return [json.loads(line) for line in file if line.strip()]
    except (UnicodeDecodeError, csv.Error, ValueError, pa.ArrowException) as error:
        raise DataError(
            f"{path} cannot be read as {suffix[1:]} ({type(error).__name__}); expected UTF-8 and "
            "one row a line. Nothing was written.",
            path=str(path),
        ) from error
    raise DataError(
        f"{path} is of unknown format; expected .csv, .jsonl or .parquet. Nothing was written.",
        path=str(path),
    )


def find_columns(
    rows: Sequence[Row],
    *,
    text: str | None,
    label: str | None,
    group: str | None,
    kind: Kind = "text-classification",
) -> Columns:
    """The columns named, or those that look like it: by name first, then by what they hold.

    Raises:
        DataError: there are no rows, a named column is missing, or none looks like it.
    """
    if len(rows) < 2 or not all(isinstance(row, dict) for row in rows):
        raise DataError("The file holds fewer than two rows of fields. Nothing was written.")
    there = list(dict.fromkeys(name for row in rows for name in row))
    for option, name in (("--text", text), ("--label", label), ("--group", group)):
        if name is not None and name not in there:
            near = difflib.get_close_matches(name, there, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise DataError(
                f"{option}: there is no column {name!r}.{hint} The columns are: "
                f"{', '.join(there)}. Nothing was written."
            )
    texts: tuple[str, ...] = TEXT_NAMES
    if kind == "text-generation":
        label, texts = label or _by_name(there, REFERENCE_NAMES, but=text), GENERATION_TEXT_NAMES
    else:
        label = label or _by_name(there, LABEL_NAMES, but=text)
        label = label or _fewest_values(rows, there, but=text)
    text = text or _by_name(there, texts, but=label) or _longest(rows, there, but=label)
    if text is None or label is None:
        raise DataError(
            f"Of the columns {', '.join(there)} none looks like the text and another like the "
            "label; name them with --text and --label. Nothing was written."
        )
    return Columns(text, label, group)


def _by_name(there: Sequence[str], names: Sequence[str], *, but: str | None) -> str | None:
    folded = {column.casefold(): column for column in there if column != but}
    return next((folded[name] for name in names if name in folded), None)


def _fewest_values(rows: Sequence[Row], there: Sequence[str], *, but: str | None) -> str | None:
    values = {name: {str(row.get(name)) for row in rows} for name in there if name != but}
    few = {name: len(found) for name, found in values.items() if 2 <= len(found) <= len(rows) / 3}
    return min(few, key=lambda name: (few[name], name), default=None)


def _longest(rows: Sequence[Row], there: Sequence[str], *, but: str | None) -> str | None:
    lengths = {
        name: sum(len(str(row.get(name) or "")) for row in rows) for name in there if name != but
    }
    return max(lengths, key=lambda name: (lengths[name], name), default=None)


def usable(rows: Sequence[Row], columns: Columns) -> list[tuple[str, str, str | None]]:
    """(text, label, group) of the rows that have both a text and a label."""
    found = []
    for row in rows:
        text, label = str(row.get(columns.text) or "").strip(), row.get(columns.label)
        if text and label is not None and str(label).strip():
            group = row.get(columns.group) if columns.group else None
            found.append((text, str(label).strip(), None if group is None else str(group)))
    return found


def propose(
    name: str,
    rows: Sequence[Row],
    columns: Columns,
    *,
    described: str,
    kind: Kind = "text-classification",
    tokens: Counting | None = None,
) -> Proposal:
    """A use case with settings that suit the file's size, labels and length of texts.

    ``tokens`` counts them as the base does; without it they are bounded by their bytes.

    Raises:
        DataError: fewer than two labels, or so many that they look like free text.
    """
    found = usable(rows, columns)
    tokens = tokens or Counting(token_counts.bounds, exact=False)
    few = [f"{len(found)} rows are few; the exam will prove little"] if len(found) < 300 else []
    if kind == "text-generation":
        from flywheel.generation_proposal import proposal

        if len(found) < 2:
            raise DataError("Fewer than two rows have a text and a reference. Nothing was written.")
        made, cut = proposal(name, found, columns, described=described, tokens=tokens)
        return Proposal(name, columns, {}, len(rows) - len(found), (*few, *cut), made)
    counts = dict(sorted(Counter(label for _, label, _ in found).items()))
    if not 2 <= len(counts) <= MOST_LABELS:
        raise DataError(
            f"Column {columns.label!r} holds {len(counts)} different labels; a use case has 2 to "
            f"{MOST_LABELS}. Is it the right column (--label)? Where it holds texts that are to be "
            "written, --kind text-generation is meant. Nothing was written."
        )
    rare = [label for label, count in counts.items() if count < FEWEST_PER_LABEL]
    warnings = []
    if rare:
        warnings.append(f"fewer than {FEWEST_PER_LABEL} rows: {', '.join(rare)}")
    warnings += few
    lengths = prompt_tokens([text for text, *_ in found], _asked(columns), tokens)
    longest = token_counts.limit(lengths, share=0.99, more=0, step=32, most=MOST_TOKENS)
    warnings += cut_warnings(lengths, longest, tokens)
    return Proposal(
        name=name,
        columns=columns,
        counts=counts,
        unusable=len(rows) - len(found),
        warnings=tuple(warnings),
        yaml=_yaml(name, found, columns, counts, described, longest, tokens),
    )


def prompt_tokens(texts: Sequence[str], prompt: str, tokens: Counting) -> list[int]:
    """Tokens of each text in the prompt."""
    (around,) = tokens.of([prompt.replace("{text}", "")])
    return [count + around + ROOM_TOKENS for count in tokens.of(texts)]


def cut_warnings(lengths: Sequence[int], longest: int, tokens: Counting) -> list[str]:
    """How many texts lose their end at ``longest`` tokens, where some do."""
    over = sum(length > longest for length in lengths)
    if not over:
        return []
    may = "" if tokens.exact else "may "
    return [
        f"{over} of {len(lengths)} texts {may}lose their end: the longest has {max(lengths)} tokens"
        f"{'' if tokens.exact else ' at most'}, and training.max_length_tokens is {longest}"
    ]


def _asked(columns: Columns) -> str:
    return f"{title(columns.text)}: {{text}}\n{title(columns.label)}:"


def _yaml(
    name: str,
    found: Sequence[tuple[str, str, str | None]],
    columns: Columns,
    counts: Mapping[str, int],
    described: str,
    longest: int,
    tokens: Counting,
) -> str:
    total = len(found)
    exam = min(0.2, max(0.05, round(EXAM_ROWS / total, 3)))
    majority = max(counts.values()) / total
    lengths = sorted(len(text) for text, *_ in found)
    labels = "\n".join(
        f"  {quoted(label)}: {quoted(label)}  # {n} rows" for label, n in counts.items()
    )
    return f"""\
# flywheel night -u {name}
name: {name}
kind: text-classification
description: {quoted(described)}

# Label: its meaning in one line, for people. The order is that of every probability vector.
labels:
{labels}

# The label is read as the next word after the prompt, from the language-model head.
prompt: {quoted(_asked(columns))}

split:
  salt: {name}-1  # never change it: it decides who sits the exam
  exam: {exam}  # share of groups, about {round(exam * total)} rows
  validation: 0.1

curation:
  gold_sources: [{SOURCE}, audit]  # trusted: the file that this was made from, and audits
  train_on_gold: true  # what is not in the exam may train
  max_chars: {max(2_000, lengths[-1])}
  max_examples: 1000  # more is better and slower: some six minutes on two CPU cores

training:
  base: {BASE}  # an entry of flywheel models, pinned by hash
  where: inline  # or: pool (deployment train/gpu in work pool gpu)
  min_examples: {min(100, max(2 * len(counts), round(total * 0.5)))}
  epochs: {2 if len(counts) <= 10 else 4}
  max_length_tokens: {longest}  # {fitting(longest, MOST_TOKENS, "99 %")}; {tokens.how}

gate:
  min_exam_examples: {min(200, max(1, round(exam * total * 0.8)))}
  min_accuracy: {min(0.99, round(majority + 0.05, 2))}  # the commonest label: {majority:.2f}
  min_macro_f1: {round(0.5 / len(counts) + 0.05, 2)}
"""


def fitting(longest: int, most: int, share: str) -> str:
    """What a proposed length does, for the comment beside it."""
    if longest < most:
        return f"{share} of the texts have fewer, the others lose their end"
    return "longer texts lose their end, and more tokens take more memory and time"


def quoted(value: str) -> str:
    """The value as YAML holds it on one line."""
    return yaml.safe_dump(value, default_style='"', allow_unicode=True, width=10**9).strip()


def title(column: str) -> str:
    """A column's name as a person would write it."""
    return re.sub(r"[_{}]+", " ", column).strip().capitalize()


def feedback_rows(
    rows: Sequence[Row], columns: Columns, *, given_at: datetime
) -> list[dict[str, str]]:
    """The labelled rows as feedback from one trusted rater; the same row, the same feedback_id."""
    result = []
    for text, label, group in usable(rows, columns):
        content = "\x1f".join((text, label, group or ""))
        row = {
            "feedback_id": f"{SOURCE}-{hashlib.sha256(content.encode()).hexdigest()[:32]}",
            "kind": "label",
            "value": label,
            "text": text,
            "rater_id": SOURCE,
            "source": SOURCE,
            "given_at": given_at.isoformat(),
        }
        result.append(row | {"group_id": group} if group else row)
    return result
