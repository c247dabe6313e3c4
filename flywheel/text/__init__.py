"""Texts: normal forms, languages, near-duplicates, personal data."""
