"""The warehouse, one DuckDB file: the only package with DuckDB or SQL in it."""

from flywheel.store.warehouse import Store, frozen_file, open_store

__all__ = ["Store", "frozen_file", "open_store"]
