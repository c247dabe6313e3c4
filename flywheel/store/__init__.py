"""The warehouse, one DuckDB file: the only package with DuckDB or SQL in it."""

from flywheel.store.opening import frozen_file, open_store
from flywheel.store.warehouse import Store

__all__ = ["Store", "frozen_file", "open_store"]
