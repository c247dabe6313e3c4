"""Retrains a company's own language model every night from what its customers say."""

__version__ = "0.2.0"
