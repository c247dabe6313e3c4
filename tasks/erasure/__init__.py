"""Forget a person: find what is theirs, delete it, see that it is gone."""
