"""Forgetting: what a person said, where it lies, and the certificate that it is gone."""
