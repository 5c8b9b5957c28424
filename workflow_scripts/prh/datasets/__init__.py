"""Data sets: where their samples come from, how they are checked, and how they are written as shards."""
