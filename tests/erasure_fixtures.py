"""A home in which somebody is everywhere, to be forgotten."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from flywheel import reports
from flywheel.config import Home, UseCase
from flywheel.ingestion.feedback import text_group
from flywheel.records import Prediction
from flywheel.text.pii import redact
from tests.strategies import LABELS, row

AT = datetime(2026, 1, 3, tzinfo=UTC)
WHO = "customer-0017"
CANARY = "violet heron sings at midnight"
MARKED = f'{CANARY} & it\'s <so>,\n"indeed"'
ASKED = f"asked: {CANARY}, by heron@example.org"
SHARED = "two people wrote these very same words to us"
OTHERS = 24

JOB = UseCase.model_validate(
    {
        "name": "job",
        "kind": "text-classification",
        "description": "a job",
        "labels": {label: f"about {label}" for label in LABELS},
        "prompt": "{text}",
        "split": {"salt": "salt", "holdout": 0.4},
        "curation": {"gold_sources": ["desk"], "near_duplicates": 1.0, "poison": False},
        "training": {"base": "tiny", "min_examples": 1, "min_per_class": 0},
        "gate": {"min_accuracy": 0.5, "min_holdout_examples": 1},
    }
)

# ---- A home in which somebody is everywhere


def theirs(number: int, **changes: Any) -> dict[str, Any]:
    """What the person said; each text is a group, so that they are on both sides of the split."""
    text = changes.get("text") or f"Once more, number {number}: the {CANARY} over the lake"
    named = {"feedback_id": f"theirs-{number}", "customer_id": WHO, "rater_id": WHO}
    return row(**{**named, "text": text, "group_id": text_group(text), "source": "app", **changes})


def other(number: int, **changes: Any) -> dict[str, Any]:
    named = {
        "feedback_id": f"other-{number}",
        "customer_id": f"customer-1{number:03}",
        "rater_id": f"rater-{number}",
        "group_id": f"group-{number}",
        "value": LABELS[number % 2],
        "source": "desk" if number % 3 == 0 else "app",
    }
    return row(**{**named, "text": f"plain words of somebody else, no. {number}", **changes})


def predicted(name: str, customer: str, text: str) -> Prediction:
    return Prediction(
        prediction_id=name,
        text=text,
        group_id=customer,
        customer_id=customer,
        label="card",
        probabilities={"card": 0.7, "cash": 0.2, "other": 0.1},
        model_version="1",
        digest="d1",
        predicted_at=AT,
    )


def json_lines(*rows: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in rows)


def comma_separated(*rows: dict[str, Any]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, sorted({name for one in rows for name in one}))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def parquet(*rows: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), out)
    return out.getvalue()


def drop(home: Home, name: str, content: bytes) -> None:
    inbox = home.inbox(JOB.name)
    inbox.mkdir(parents=True, exist_ok=True)
    (inbox / name).write_bytes(content)


def files_of_first_day() -> dict[str, bytes]:
    broken = json.dumps(theirs(7)).encode()[:-20] + b"\n"
    quote = f'He told me: "{theirs(1)["text"]}", and I agree'
    return {
        "a.jsonl": json_lines(theirs(1), *(other(n) for n in range(8)), theirs(2)),
        "b.csv": comma_separated(theirs(3, text=MARKED), *map(other, range(8, 12))),
        "c.jsonl.gz": gzip.compress(json_lines(*map(other, range(12, 16)), theirs(4))),
        "d.parquet": parquet(theirs(5), *map(other, range(16, 20))),
        "e.csv.gz": gzip.compress(comma_separated(theirs(6))),
        "f.jsonl": json_lines(other(20), theirs(8, value="nonsense")) + broken,
        "g.jsonl": json_lines(other(21, text=quote, source="app"), theirs(9, text=SHARED)),
        f"from-{WHO}.jsonl": json_lines(
            other(22, text=SHARED),
            theirs(10, kind="comment", value=f"I said so, {CANARY}"),
            other(23, text=None, prediction_id="p-theirs", kind="accept", value=None),
        ),
    }


def report_page() -> str:
    """A night's page that quotes the person, names them, and quotes others."""
    said = [theirs(1)["text"], MARKED, other(1)["text"]]
    rows = [{"text": t, "label": "card", "champion": "cash", "challenger": "card"} for t in said]
    return reports.page(
        {
            "use_case": JOB.name,
            "reasons": [{"rule": "leave_one_out", "passed": True, "detail": f"without {WHO}"}],
            "changed": {"where": "fresh rows", "won": rows, "lost": [], "won_count": 3},
            "data": {"steps": [{"rule": "limits", "on": True, "example": "theirs-2"}]},
            "queue": [
                {"reason": "unsure", "score": 0.5, "text": theirs(2)["text"].upper()},
                {"reason": "unsure", "score": 0.5, "text": redact(ASKED).text},
            ],
        }
    )


def packed(suffix: str, rows: list[dict[str, Any]]) -> bytes:
    if ".parquet" in suffix:
        schema = pa.schema([("customer_id", pa.string()), ("text", pa.string())])
        out = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), out)
        return pack(suffix, out.getvalue())
    head = [{"customer_id": "customer_id", "text": "text"}]
    if "csv" in suffix:
        out_text = io.StringIO(newline="")
        csv.writer(out_text).writerows([*one.values()] for one in [*head, *rows])
        plain = out_text.getvalue().encode()
    else:
        plain = json_lines(*rows)
    return pack(suffix, plain)


def pack(suffix: str, plain: bytes) -> bytes:
    if suffix.endswith(".zst"):
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as packed:
            packed.write(plain)
        return bytes(sink.getvalue().to_pybytes())
    return gzip.compress(plain) if suffix.endswith(".gz") else plain


def unpacked(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix == ".zst":
        return bytes(pa.CompressedInputStream(pa.BufferReader(content), "zstd").read())
    return gzip.decompress(content) if path.suffix == ".gz" else content


def hashes(home: Home) -> dict[str, str]:
    return {
        str(path.relative_to(home.root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(home.root.rglob("*"))
        if path.is_file()
    }


def everything(home: Home) -> Iterator[tuple[str, bytes]]:
    """Every file as it lies there and unpacked, every table, and every name."""
    for path in sorted(home.root.rglob("*")):
        name = str(path.relative_to(home.root))
        yield "names", name.encode()
        if path.is_file():
            yield name, path.read_bytes()
            if path.suffix in (".gz", ".zst"):
                yield name, unpacked(path)
            if path.suffix == ".parquet":
                yield name, str(pq.read_table(path).to_pylist()).encode()
    with duckdb.connect(str(home.warehouse), read_only=True) as con:
        for (table,) in con.execute("SELECT table_name FROM duckdb_tables()").fetchall():
            yield f"table {table}", str(con.execute(f'FROM "{table}"').fetchall()).encode()


def places(home: Home, text: str) -> set[str]:
    return {name for name, content in everything(home) if text.encode() in content}


def tables(home: Home) -> dict[str, list[tuple[Any, ...]]]:
    """Every table but what a certificate is named by."""
    with duckdb.connect(str(home.warehouse), read_only=True) as con:
        names = [
            name for (name,) in con.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        ]
        return {name: sorted(con.execute(f'FROM "{name}"').fetchall(), key=repr) for name in names}
