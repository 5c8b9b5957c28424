"""Figures: each module draws one figure, a pure function of the table that its ``draw`` names. Never imports torch."""
