"""Figures: the look that all pictures share, and the words under them. Never imports torch."""
