"""A Hugging Face dataset: a folder that ``save_to_disk`` wrote, or an id at the Hub.

``location`` is the folder or the id, ``split`` which part. Class numbers become class names. The
watermark is the fingerprint of what was read: a dataset that did not change gives nothing new.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flywheel.config import SourceConfig
from flywheel.sources.base import Pulled


def read(source: SourceConfig, watermark: str | None, labels: Sequence[str]) -> Pulled:
    """All rows when the dataset is not the one last read."""
    import datasets

    if Path(source.location).is_dir():
        found: Any = datasets.load_from_disk(source.location)
    else:
        found = datasets.load_dataset(source.location)
    if isinstance(found, dict):
        if source.split not in found:
            raise ValueError(f"no split {source.split!r}; there are: {', '.join(found)}")
        found = found[source.split]
    mark = f"{found._fingerprint}:{len(found)}"
    if mark == watermark:
        return Pulled((), watermark=mark)
    names = {
        column: feature.int2str
        for column, feature in found.features.items()
        if isinstance(feature, datasets.ClassLabel)
    }
    rows = tuple(
        {column: names[column](v) if column in names else v for column, v in row.items()}
        for row in found
    )
    return Pulled(rows, watermark=mark)
