"""The warehouse, one DuckDB file: the only package with DuckDB or SQL in it."""

from flywheel.store.warehouse import Store, open_store

__all__ = ["Store", "open_store"]
