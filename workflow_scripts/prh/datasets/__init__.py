"""Data sets: sources, samples and shards."""
