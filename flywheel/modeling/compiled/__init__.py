"""Answers on CPUs by a compiled model: the same weights, without Python between the layers.

A model is converted once, kept in the home under what it is, and compiled in memory when it is
loaded. Everything around it (tokens, tries of labels, heads, temperature) is the code that torch's
models are read by. Nothing is answered before it has given torch's scores on texts of its own.
"""
