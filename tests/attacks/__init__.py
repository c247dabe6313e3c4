"""Attacks that were tried against flywheel, a file for each door; each of them must fail."""
