"""What is made of a champion: predictions, exports, benchmarks, comparisons with vendors."""
