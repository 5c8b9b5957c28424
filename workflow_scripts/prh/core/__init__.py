"""The numerical core: every function takes arrays and returns arrays. It imports nothing else from prh.

Symbols used throughout: n samples, d features of a layer, L layers of a model, k neighbours.
"""
