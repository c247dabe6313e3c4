"""A training as a process of its own: its rows, its start, its end."""
