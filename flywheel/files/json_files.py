"""JSON files of our own, read back: what is damaged is named, with what to do about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flywheel.errors import DataError


def read_json(path: Path, *, so: str) -> Any:
    """What a file holds that flywheel wrote.

    Args:
        path: The file.
        so: What follows from a damage, and what to do, in whole sentences.

    Raises:
        DataError: it is no JSON; what stands in it is not in the message.
        FileNotFoundError: it is not there.
    """
    try:
        return json.loads(path.read_bytes())
    except UnicodeDecodeError as error:
        raise damaged(path, f"byte {error.start} is no UTF-8", so=so) from error
    except json.JSONDecodeError as error:
        raise damaged(path, f"line {error.lineno}: {error.msg}", so=so) from error
    except RecursionError as error:
        raise damaged(path, "it is nested too deep", so=so) from error


def damaged(path: Path, found: str, *, so: str) -> DataError:
    """The error for a file of our own that is not as it was written."""
    return DataError(f"{path} is damaged ({found}). {so}", path=str(path))
