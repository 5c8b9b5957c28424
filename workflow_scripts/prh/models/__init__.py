"""Models: locating their weights, loading them, and proving that what was loaded is the published model."""
