"""The pure core: arrays in, arrays out. It imports nothing else of prh.

n samples, d width of a layer, L layers of a model, k neighbours.
"""
