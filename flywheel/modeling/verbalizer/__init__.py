"""From labels to tokens and back: a causal model's scores of every label."""
