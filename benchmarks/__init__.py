"""Measurements that anyone can repeat: seeded data, everything in one run, medians."""
