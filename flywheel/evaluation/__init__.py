"""How good answers are: metrics, baselines, learning curves, live acceptance."""
