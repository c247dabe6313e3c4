"""Statistics without a domain: paired tests, e-processes, and the budget of alpha."""
