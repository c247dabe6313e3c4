"""The hub's benchmark: methods and bases on the same rows, several draws, intervals shown."""
