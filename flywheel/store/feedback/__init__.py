"""Queries over feedback and predictions."""
