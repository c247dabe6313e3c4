"""Somebody is forgotten: nothing of them is left, comes back, or decides a night again."""
