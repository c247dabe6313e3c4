"""Versions in MLflow: the registry, what was measured of each, traces."""
