"""Queries over nights: runs, scores, trials, promotions, fresh rows."""
