"""Whether a challenger is promoted: rules, comparisons, trials, and what they can detect."""
